//! As whom to sign in: a name, or a credential object as `azure-identity` has them.

use std::error::Error as StdError;

use cmkit_azure::{Identity, Token, TokenRequest};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::error::ours_text;
use crate::raised;

/// The identity that the arguments `credential` and `client_id` describe.
pub(crate) fn identity(
    credential: Option<&Bound<'_, PyAny>>,
    client_id: Option<&str>,
) -> PyResult<Identity> {
    let named = match credential {
        None => Identity::auto(),
        Some(name) if name.is_instance_of::<PyString>() => {
            let name: String = name.extract()?;
            // The command line takes this spelling, too.
            let known = if name == "azureml" { "azure-ml" } else { &name };
            Identity::named(known).ok_or_else(|| {
                PyValueError::new_err(format!(
                    "credential must be one of {}, or an object with get_token()",
                    Identity::NAMES.join(", ")
                ))
            })?
        }
        Some(object) => {
            if client_id.is_some() {
                return Err(PyValueError::new_err(
                    "client_id is for credentials that cmkit gets by itself; give it to the credential object",
                ));
            }
            return of_object(object);
        }
    };
    Ok(match client_id {
        Some(id) => named.client_id(id),
        None => named,
    })
}

fn of_object(object: &Bound<'_, PyAny>) -> PyResult<Identity> {
    let has = |name: &str| -> PyResult<bool> {
        Ok(object.getattr_opt(name)?.is_some_and(|m| m.is_callable()))
    };
    let class = object.get_type().name()?.to_string();
    // The newer method; some credentials have the older one only.
    let method = if has("get_token_info")? {
        "get_token_info"
    } else if has("get_token")? {
        "get_token"
    } else {
        return Err(PyTypeError::new_err(format!(
            "credential must be a str or an object with get_token(); {class} has none"
        )));
    };
    let credential = Credential {
        object: object.clone().unbind(),
        class: class.clone(),
        method,
    };
    Ok(Identity::callback(class, move |request| {
        credential.token(request)
    }))
}

struct Credential {
    object: Py<PyAny>,
    class: String,
    method: &'static str,
}

impl Credential {
    fn token(&self, request: &TokenRequest<'_>) -> Result<Token, Box<dyn StdError + Send + Sync>> {
        let answer = Python::try_attach(|py| {
            self.ask(py, request).map_err(|e| {
                let said = ours_text(py, &e).unwrap_or_else(|| {
                    let class = e.get_type(py).name().map(|n| n.to_string());
                    format!(
                        "it raised {}; the traceback says more",
                        class.unwrap_or_default()
                    )
                });
                raised::keep(e);
                said
            })
        });
        answer
            .unwrap_or_else(|| Err("the interpreter is shutting down".to_owned()))
            .map_err(Into::into)
    }

    fn ask(&self, py: Python<'_>, request: &TokenRequest<'_>) -> PyResult<Token> {
        let object = self.object.bind(py);
        let keywords = PyDict::new(py);
        if let Some(claims) = request.claims {
            if self.method == "get_token" {
                keywords.set_item("claims", claims)?;
            } else {
                let options = PyDict::new(py);
                options.set_item("claims", claims)?;
                keywords.set_item("options", options)?;
            }
        }
        let answer = object.call_method(self.method, (request.scope,), Some(&keywords))?;
        let wrong =
            |what: &str| PyTypeError::new_err(format!("{}.{}() {what}", self.class, self.method));
        if answer.hasattr("__await__")? {
            // Unless it is closed, Python complains that nobody awaited it.
            if let Some(close) = answer.getattr_opt("close")? {
                close.call0()?;
            }
            return Err(wrong(
                "is asynchronous; give a credential of azure.identity, not of azure.identity.aio",
            ));
        }
        let token: String = match answer.getattr_opt("token")? {
            Some(token) if token.is_instance_of::<PyString>() => token.extract()?,
            _ => return Err(wrong("must return an object with the str `token`")),
        };
        let expires = answer
            .getattr_opt("expires_on")?
            .and_then(|e| e.extract::<f64>().ok())
            .filter(|e| (0.0..=1e15).contains(e))
            .ok_or_else(|| {
                wrong("must return an object with `expires_on`, in seconds since 1970")
            })?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "within bounds"
        )]
        Ok(Token::new(token, expires as u64))
    }
}
