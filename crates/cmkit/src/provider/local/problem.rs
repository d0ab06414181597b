//! The sentences that more than one room needs.

use std::io;
use std::path::Path;

use crate::error::{Error, ProviderError, ProviderErrorKind};

/// Access is refused, by the system or by the rule that keys are private.
pub(super) fn denied(message: String) -> Error {
    ProviderError::new(ProviderErrorKind::Denied, message).into()
}

/// Something is in the way of reading a key, and only a person can put it right.
pub(super) fn unusable(message: String) -> Error {
    ProviderError::new(ProviderErrorKind::Unusable, message).into()
}

/// A key file whose content is not a key.
pub(super) fn corrupt(path: &Path, problem: &str) -> Error {
    unusable(format!(
        "key file {} is not usable: {problem}; restore it from a backup",
        path.display()
    ))
}

/// An [`Error::Io`], except that a refusal is told as one.
pub(super) fn io_at(operation: &'static str, path: &Path, error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::PermissionDenied {
        return denied(format!(
            "cannot {operation} {}: {error}; run as the user who owns the key directory",
            path.display()
        ));
    }
    Error::io_at(operation, path, error)
}

/// For the trait, which speaks [`ProviderError`].
pub(super) fn into_provider_error(error: Error, key: &str) -> ProviderError {
    let mut error = match error {
        Error::Provider(error) => error,
        Error::AuthenticationFailed => ProviderError::new(
            ProviderErrorKind::Rejected,
            "the wrapped bytes are not what this key wrapped",
        ),
        Error::Io { .. } => ProviderError::new(ProviderErrorKind::Unavailable, error.to_string()),
        Error::InvalidArgument { problem } => ProviderError::new(ProviderErrorKind::Other, problem),
        other => ProviderError::new(ProviderErrorKind::Other, other.to_string()),
    };
    error.key.get_or_insert_with(|| key.to_owned());
    error
}
