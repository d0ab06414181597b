//! The core's errors as Python's, and Python's as the core's. The classes are those of `cmkit._errors` and of docs/errors.md.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use cmkit::{Error, ErrorKind, ProviderError, ProviderErrorKind};
use pyo3::exceptions::{PyFileExistsError, PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyType};

use crate::raised;

const ERRORS: &str = "cmkit._errors";

/// Runs the body of a function that Python called. A panic becomes an `InternalError`.
pub(crate) fn guard<T>(body: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| {
        // The panic's text stays out: it may quote what it stumbled over.
        Err(Python::try_attach(|py| {
            new_error(
                py,
                "InternalError",
                ("a fault in cmkit; please report it",),
                None,
            )
        })
        .unwrap_or_else(|| PyRuntimeError::new_err("a fault in cmkit; please report it")))
    })
}

/// Runs a call of the core that may take long or ask a provider, with the interpreter released.
pub(crate) fn blocking<T: Send>(
    py: Python<'_>,
    call: impl FnOnce() -> cmkit::Result<T> + Send,
) -> PyResult<T> {
    raised::begin(py);
    let result = py.detach(call);
    finish(py, result)
}

/// What Python gets of a call's result: first of all an interrupt that came up inside.
pub(crate) fn finish<T>(py: Python<'_>, result: cmkit::Result<T>) -> PyResult<T> {
    match raised::take_interrupt(py) {
        Some(interrupt) => Err(interrupt),
        None => result.map_err(|e| to_python(py, e)),
    }
}

/// The class of an error kind: a name in `cmkit._errors`, or one of Python's own.
fn class_name(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Authentication => "AuthenticationError",
        ErrorKind::Format => "FormatError",
        ErrorKind::Truncated => "TruncatedError",
        ErrorKind::RewrapInterrupted => "RewrapInterruptedError",
        ErrorKind::Policy => "PolicyError",
        ErrorKind::KeyNotAllowed => "KeyNotAllowedError",
        ErrorKind::KeyNotFound => "KeyNotFoundError",
        ErrorKind::KeyDisabled => "KeyDisabledError",
        ErrorKind::AccessDenied => "AccessDeniedError",
        ErrorKind::KeyUnusable => "KeyUnusableError",
        ErrorKind::KeyDeleted => "KeyDeletedError",
        ErrorKind::KeyPolicy => "KeyPolicyError",
        ErrorKind::WrongVault => "WrongVaultError",
        ErrorKind::Throttled => "ThrottledError",
        ErrorKind::Unavailable => "UnavailableError",
        ErrorKind::Identity => "IdentityError",
        ErrorKind::Provider => "ProviderError",
        ErrorKind::KeyStore => "KeyStoreError",
        ErrorKind::AlreadyExists => "FileExistsError",
        ErrorKind::InvalidArgument | ErrorKind::BufferTooSmall => "ValueError",
        ErrorKind::InvalidState => "StateError",
        ErrorKind::Busy => "BusyError",
        ErrorKind::Io => "OSError",
        ErrorKind::Cancelled => "CancelledError",
        _ => "InternalError",
    }
}

/// The class of every kind, by the kind's name: for the test that reads docs/errors.md.
pub(crate) fn classes(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let classes = PyDict::new(py);
    for kind in ErrorKind::ALL {
        let name = class_name(*kind);
        let class = py
            .import(ERRORS)?
            .getattr(name)
            .or_else(|_| py.import("builtins")?.getattr(name))?;
        classes.set_item(format!("{kind:?}"), class)?;
    }
    Ok(classes)
}

/// The exception for an error of the core.
pub(crate) fn to_python(py: Python<'_>, error: Error) -> PyErr {
    let cause = raised::take();
    let cause = match (error.root(), cause) {
        // A progress callback raised: that is why.
        (Error::Cancelled, Some(cause)) => return cause,
        (_, cause) => cause,
    };
    let name = class_name(error.kind());
    let path = match &error {
        Error::File { path, .. } => Some(path.clone()),
        _ => None,
    };
    let err = match error.root() {
        Error::AuthenticationFailed => new_error(py, name, (), None),
        Error::DamagedBlock { block } => {
            let err = new_error(py, name, (), None);
            // Best effort, as below.
            let _ = err.value(py).setattr("block", *block);
            err
        }
        Error::Provider(e) => return from_provider(py, name, e, cause),
        Error::KeyStore { problem, retryable } => {
            let err = keyword_error(py, name, problem, |k| k.set_item("retryable", retryable));
            err.set_cause(py, cause);
            err
        }
        Error::Io {
            operation,
            path,
            source,
        } => return from_io(py, operation, path.as_deref(), source),
        Error::AlreadyExists { what } if what.starts_with("key ") => {
            PyFileExistsError::new_err(error.root().to_string())
        }
        Error::AlreadyExists { what } => PyFileExistsError::new_err((
            std::io::Error::from(std::io::ErrorKind::AlreadyExists)
                .raw_os_error()
                .unwrap_or(17),
            "It exists already and was left as it is",
            what.clone(),
        )),
        // With the file's name in the sentence, for ValueError has no attribute of ours.
        Error::InvalidArgument { .. } | Error::BufferTooSmall { .. } => {
            PyValueError::new_err(error.to_string())
        }
        other => new_error(py, name, (other.to_string(),), None),
    };
    if let Some(path) = path {
        // Best effort: an exception without the attribute is better than another exception.
        let _ = err.value(py).setattr("filename", path);
    }
    err
}

fn from_provider(py: Python<'_>, name: &str, e: &ProviderError, cause: Option<PyErr>) -> PyErr {
    let err = keyword_error(py, name, &e.to_string(), |k| {
        k.set_item("key_id", e.key.as_deref())?;
        k.set_item("request_id", e.request_id.as_deref())?;
        k.set_item("client_request_id", e.client_request_id.as_deref())?;
        k.set_item("code", e.code.as_deref())?;
        k.set_item("region", e.region.as_deref())?;
        if matches!(
            e.kind,
            ProviderErrorKind::NotFound
                | ProviderErrorKind::Deleted
                | ProviderErrorKind::Policy
                | ProviderErrorKind::WrongVault
                | ProviderErrorKind::Disabled
                | ProviderErrorKind::Denied
                | ProviderErrorKind::Unusable
        ) {
            return Ok(());
        }
        k.set_item("retryable", e.retryable)?;
        k.set_item("retry_after", e.retry_after.map(|d| d.as_secs_f64()))
    });
    err.set_cause(py, cause);
    err
}

fn from_io(
    py: Python<'_>,
    operation: &str,
    path: Option<&std::path::Path>,
    source: &std::io::Error,
) -> PyErr {
    // What a file object in Python raised comes back as it was.
    if let Some(err) = source
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<PyErr>())
    {
        return err.clone_ref(py);
    }
    let Some(code) = source.raw_os_error() else {
        return PyOSError::new_err(match path {
            Some(path) => format!("cannot {operation} {}: {source}", path.display()),
            None => format!("cannot {operation}: {source}"),
        });
    };
    let text = py
        .import("os")
        .and_then(|os| os.call_method1("strerror", (code,))?.extract::<String>())
        .unwrap_or_else(|_| source.to_string());
    match path {
        Some(path) => PyOSError::new_err((code, text, path.to_path_buf())),
        None => PyOSError::new_err((code, text)),
    }
}

pub(crate) fn state_error(py: Python<'_>, message: &str) -> PyErr {
    new_error(py, "StateError", (message,), None)
}

fn keyword_error(
    py: Python<'_>,
    name: &str,
    message: &str,
    fill: impl FnOnce(&Bound<'_, PyDict>) -> PyResult<()>,
) -> PyErr {
    let keywords = PyDict::new(py);
    match fill(&keywords) {
        Ok(()) => new_error(py, name, (message,), Some(&keywords)),
        Err(e) => e,
    }
}

/// An exception of ours; where even that fails, the failure.
fn new_error<'py>(
    py: Python<'py>,
    name: &str,
    args: impl pyo3::call::PyCallArgs<'py>,
    keywords: Option<&Bound<'py, PyDict>>,
) -> PyErr {
    let made = py
        .import(ERRORS)
        .and_then(|m| m.getattr(name))
        .and_then(|class| class.call(args, keywords));
    match made {
        Ok(value) => PyErr::from_value(value),
        Err(e) => e,
    }
}

/// What a provider written in Python raised, as the core understands it; the exception is kept for the caller to see.
///
/// Only the text of cmkit's own exceptions is taken over: any other may quote what it was working on.
pub(crate) fn provider_error(
    py: Python<'_>,
    provider: &str,
    key: &str,
    raised_error: PyErr,
) -> ProviderError {
    let value = raised_error.value(py);
    let kind = provider_kind(&value.get_type());
    let text = || value.str().map(|s| s.to_string()).unwrap_or_default();
    let mut error = match kind {
        Some(kind) => ProviderError::new(kind, text()),
        None => {
            let class = value
                .get_type()
                .name()
                .map(|n| n.to_string())
                .unwrap_or_default();
            ProviderError::new(
                ProviderErrorKind::Other,
                format!("the key provider {provider:?} raised {class}; the traceback says more"),
            )
            .on_key(key)
        }
    };
    if kind.is_some() {
        let attribute = |name: &str| value.getattr(name).ok().filter(|v| !v.is_none());
        error.key = attribute("key_id").and_then(|v| v.extract().ok());
        error.request_id = attribute("request_id").and_then(|v| v.extract().ok());
        error.client_request_id = attribute("client_request_id").and_then(|v| v.extract().ok());
        error.code = attribute("code").and_then(|v| v.extract().ok());
        error.region = attribute("region").and_then(|v| v.extract().ok());
        if let Some(retryable) = attribute("retryable").and_then(|v| v.extract().ok()) {
            error.retryable = retryable;
        }
        error.retry_after = attribute("retry_after")
            .and_then(|v| v.extract::<f64>().ok())
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    }
    // An authentication failure says nothing more, not even by its cause.
    if kind != Some(ProviderErrorKind::Rejected) {
        raised::keep(raised_error);
    }
    error
}

/// The text of an exception of ours. Only that is taken over: any other may quote what it was working on.
pub(crate) fn ours_text(py: Python<'_>, e: &PyErr) -> Option<String> {
    let base = py.import(ERRORS).ok()?.getattr("CmkitError").ok()?;
    let value = e.value(py);
    let is_ours = value.is_instance(&base).unwrap_or(false);
    is_ours.then(|| value.str().map(|s| s.to_string()).unwrap_or_default())
}

fn provider_kind(class: &Bound<'_, PyType>) -> Option<ProviderErrorKind> {
    const KINDS: [(&str, ProviderErrorKind); 13] = [
        ("AuthenticationError", ProviderErrorKind::Rejected),
        // Before its base.
        ("KeyDeletedError", ProviderErrorKind::Deleted),
        ("KeyPolicyError", ProviderErrorKind::Policy),
        ("WrongVaultError", ProviderErrorKind::WrongVault),
        ("KeyNotFoundError", ProviderErrorKind::NotFound),
        ("KeyDisabledError", ProviderErrorKind::Disabled),
        ("AccessDeniedError", ProviderErrorKind::Denied),
        ("KeyUnusableError", ProviderErrorKind::Unusable),
        ("ThrottledError", ProviderErrorKind::Throttled),
        ("UnavailableError", ProviderErrorKind::Unavailable),
        ("IdentityError", ProviderErrorKind::Identity),
        // The base of the three before.
        ("ProviderError", ProviderErrorKind::Other),
        // Whatever else is ours, from another keyring that the provider uses for instance.
        ("CmkitError", ProviderErrorKind::Other),
    ];
    let errors = class.py().import(ERRORS).ok()?;
    KINDS.into_iter().find_map(|(name, kind)| {
        class
            .is_subclass(&errors.getattr(name).ok()?)
            .unwrap_or(false)
            .then_some(kind)
    })
}
