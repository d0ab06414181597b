//! The frame around every export: its pointers are checked, panics stay inside, failures become codes.

#![allow(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::cmk_error;
use crate::result::{CMK_OK, cmk_result};

/// Why an export fails.
pub(crate) enum Fault {
    /// cmkit said so.
    Error(cmkit::Error),
    /// What was asked for doesn't exist in this version.
    Unsupported(String),
    /// A panic was caught.
    Panic,
}

/// What the body of a [`call!`] comes to.
pub(crate) type Outcome<T = ()> = Result<T, Fault>;

impl<E: Into<cmkit::Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

/// An argument that must not be what it is.
#[cold]
pub(crate) fn invalid(problem: impl Into<String>) -> Fault {
    Fault::Error(cmkit::Error::InvalidArgument {
        problem: problem.into(),
    })
}

/// An object that can't do this now.
#[cold]
pub(crate) fn wrong_state(problem: &'static str) -> Fault {
    Fault::Error(cmkit::Error::InvalidState { problem })
}

/// The body of an export that returns a [`cmk_result`]: `call!(err; name = conversion(pointer, ...); ... => body)`.
///
/// The conversions are functions of [`arg`](crate::arg). They run in the given order; what goes out stands first, so that it is
/// zero or NULL whatever else is wrong.
macro_rules! call {
    ($err:expr; $($name:pat_param = $convert:ident($first:expr $(, $rest:expr)*);)* => $body:expr) => {{
        let result = $crate::call::catch(|| -> $crate::call::Outcome {
            $(
                // SAFETY: what the conversion asks of its pointers is what the header asks of the caller.
                let $name = unsafe { $crate::arg::$convert(stringify!($first), $first $(, $rest)*) }?;
            )*
            $body
        });
        // SAFETY: `err` is NULL or points to a place for a pointer, as the header asks of the caller.
        unsafe { $crate::call::finish(result, $err) }
    }};
}

/// The body of an export that can't fail: as [`call!`], but with a value for when a pointer is wrong.
macro_rules! value {
    ($default:expr; $($name:pat_param = $convert:ident($first:expr $(, $rest:expr)*);)* => $body:expr) => {
        match $crate::call::catch(|| {
            $(
                // SAFETY: what the conversion asks of its pointers is what the header asks of the caller.
                let $name = unsafe { $crate::arg::$convert(stringify!($first), $first $(, $rest)*) }?;
            )*
            Ok($body)
        }) {
            Ok(value) => value,
            Err(_) => $default,
        }
    };
}

/// The body of an export that ends a handle.
macro_rules! free {
    ($handle:expr) => {{
        // A panic while dropping has nobody to be told to, and must not unwind into C.
        let _ = $crate::call::catch(|| {
            // SAFETY: NULL, or a handle made here and not freed before, as the header asks of the caller.
            unsafe { $crate::arg::end($handle) };
            Ok(())
        });
    }};
}

pub(crate) fn catch<T>(body: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| {
        // Its drop could panic again.
        std::mem::forget(payload);
        Err(Fault::Panic)
    })
}

/// The code of an outcome, and its details for who wants them.
///
/// # Safety
/// `err` is NULL or valid for writing a pointer.
pub(crate) unsafe fn finish(outcome: Outcome, err: *mut *mut cmk_error) -> cmk_result {
    match outcome {
        Ok(()) => {
            if !err.is_null() {
                // SAFETY: as above.
                unsafe { err.write(std::ptr::null_mut()) };
            }
            CMK_OK
        }
        // SAFETY: as above.
        Err(fault) => unsafe { fail(fault, err) },
    }
}

/// # Safety
/// As for [`finish`].
#[cold]
unsafe fn fail(fault: Fault, err: *mut *mut cmk_error) -> cmk_result {
    let code = fault.code();
    if !err.is_null() {
        let error = Box::into_raw(Box::new(cmk_error::of(fault)));
        // SAFETY: as above.
        unsafe { err.write(error) };
    }
    code
}
