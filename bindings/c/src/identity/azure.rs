//! The identities of `cmkit-azure`.

#![allow(unsafe_code)]

use std::ffi::CString;

use super::*;
use crate::error::c_string;
use crate::result::CMK_OK;
use crate::sink::Question;

impl Identity {
    pub(crate) fn of_azure(self) -> Outcome<cmkit_azure::Identity> {
        use cmkit_azure::Identity as Azure;
        Ok(match self {
            Self::Auto => Azure::auto(),
            Self::Number(CMK_IDENTITY_APP_SERVICE) => Azure::app_service(),
            Self::Number(CMK_IDENTITY_ARC) => Azure::arc(),
            Self::Number(CMK_IDENTITY_AZURE_ML) => Azure::azure_ml(),
            Self::Number(CMK_IDENTITY_WORKLOAD) => Azure::workload(),
            Self::Number(CMK_IDENTITY_CLIENT_SECRET) => Azure::client_secret(),
            Self::Number(CMK_IDENTITY_IMDS) => Azure::imds(),
            Self::Number(CMK_IDENTITY_CLI) => Azure::cli(),
            Self::Number(other) => {
                return Err(invalid(format!("{other} is no CMK_IDENTITY_...")));
            }
            Self::Secret {
                tenant,
                client_id,
                secret,
            } => Azure::client_secret_of(tenant, client_id, secret.as_str()),
            Self::Source(source) => Azure::callback(source.name.clone(), move |request| {
                source.token(
                    &c_string(request.resource),
                    &c_string(request.scope),
                    request.claims.map(c_string).as_ref(),
                )
            }),
        })
    }
}

impl Source {
    fn token(
        &self,
        resource: &CString,
        scope: &CString,
        claims: Option<&CString>,
    ) -> Result<cmkit_azure::Token, Box<dyn std::error::Error + Send + Sync>> {
        let claims = claims.map_or(std::ptr::null(), |claims| claims.as_ptr());
        let (code, mut answer) = cmk_sink::ask(Question::Token, |sink| {
            // SAFETY: the header asks for a callback that can be called with these arguments from any thread.
            unsafe {
                (self.token)(
                    self.userdata.pointer(),
                    resource.as_ptr(),
                    scope.as_ptr(),
                    claims,
                    sink,
                )
            }
        });
        if code != CMK_OK {
            return Err(answer.said("the token callback", code).into());
        }
        match answer.token.take() {
            Some((mut token, expires)) => Ok(cmkit_azure::Token::new(
                std::mem::take(&mut *token),
                expires,
            )),
            None => Err("it returned CMK_OK, but put no token".into()),
        }
    }
}
