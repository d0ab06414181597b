//! Errors in the form of the service.

use serde_json::json;

use crate::server::http::Response;

pub(crate) fn error(status: u16, code: &str, message: &str) -> Response {
    Response::json(
        status,
        &json!({"error": {"code": code, "message": message}}),
    )
}

pub(crate) fn with_inner(status: u16, code: &str, message: &str, inner: &str) -> Response {
    let inner = json!({"code": inner});
    let error = json!({"code": code, "message": message, "innererror": inner});
    Response::json(status, &json!({"error": error}))
}

pub(crate) fn bad(message: &str) -> Response {
    error(400, "BadParameter", message)
}

pub(crate) fn forbidden(message: &str, inner: &str) -> Response {
    with_inner(403, "Forbidden", message, inner)
}

pub(crate) fn no_key(name: &str) -> Response {
    let message = format!("A key with (name/id) {name} was not found in this key vault.");
    error(404, "KeyNotFound", &message)
}

/// The service's JSON for a status that it answers before it looks at the key.
pub(crate) fn general(status: u16) -> Response {
    let (code, message) = match status {
        400 => ("BadParameter", "The request is not valid."),
        401 => ("Unauthorized", "Unauthorized"),
        403 => ("Forbidden", "Caller is not authorized."),
        404 => ("KeyNotFound", "The key was not found."),
        408 => ("RequestTimeout", "The request timed out."),
        409 => ("Conflict", "There is a conflict with the state of the key."),
        429 => (
            "Throttled",
            "Request was not processed because too many requests were received.",
        ),
        500 => ("InternalServerError", "An internal error occurred."),
        _ => ("ServiceUnavailable", "The service is not available."),
    };
    error(status, code, message)
}
