//! What every compiled-in backend must do, and what they must do alike.
