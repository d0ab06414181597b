//! The Azure CLI.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use cmkit::{Error, ProviderError};
use zeroize::Zeroizing;

use super::{Credential, SignIn};
use crate::environment::Environment;
use crate::failure::{identity, invalid};
use crate::http::MAX_BODY;
use crate::token::{AccessToken, parse_lenient};

pub(super) struct Cli {
    tenant: Option<String>,
    /// `None`: it is not installed.
    program: Option<PathBuf>,
}

impl Cli {
    pub(super) fn new(environment: &Environment, tenant: Option<String>) -> Result<Self, Error> {
        // It becomes an argument of a script.
        let fits = |tenant: &String| {
            tenant
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
                && !tenant.starts_with('-')
        };
        if !tenant.as_ref().is_none_or(fits) {
            return Err(invalid(
                "the tenant is a UUID or a domain such as contoso.onmicrosoft.com",
            ));
        }
        Ok(Self {
            tenant,
            program: find(environment.get("PATH").unwrap_or_default()),
        })
    }
}

fn find(path: &str) -> Option<PathBuf> {
    let name = if cfg!(windows) { "az.cmd" } else { "az" };
    // An empty or relative entry would mean whatever directory this process is in.
    std::env::split_paths(path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

impl Credential for Cli {
    fn name(&self) -> String {
        "user of the Azure CLI".into()
    }

    fn sign_in(&self, sign_in: &SignIn<'_>) -> Result<AccessToken, ProviderError> {
        let fail =
            |problem: &str| identity(format!("no token for {}: {problem}", sign_in.audience));
        let missing = "the Azure CLI is not installed, or not on PATH";
        let program = self.program.as_ref().ok_or_else(|| fail(missing))?;
        let mut command = Command::new(program);
        command.args(["account", "get-access-token", "--output", "json", "--scope"]);
        command.arg(sign_in.scope());
        if let Some(tenant) = &self.tenant {
            command.args(["--tenant", tenant]);
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|_| fail("the Azure CLI can't be started"))?;
        let patience = sign_in
            .deadline
            .saturating_duration_since(sign_in.clock().now());
        let output = output(child, patience)
            .ok_or_else(|| fail("the Azure CLI took too long").retryable(true))?;
        let output = output.ok_or_else(|| {
            fail("the Azure CLI has none; run `az login`, and `az account get-access-token` to see what is wrong")
        })?;
        parse_lenient(&output, sign_in.clock().unix()).map_err(|problem| {
            fail(&format!(
                "the answer of the Azure CLI can't be used: {problem}"
            ))
        })
    }
}

/// What a program writes, if it ends well (`Some(None)`: it failed) and in time (`None`: it didn't, and was killed).
///
/// A thread reads, since what the program started may keep the pipe open longer than it lives.
fn output(mut child: Child, patience: Duration) -> Option<Option<Zeroizing<Vec<u8>>>> {
    let (sender, receiver) = mpsc::channel();
    let pipe = child.stdout.take();
    thread::spawn(move || {
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_BODY));
        if let Some(pipe) = pipe {
            let limit = u64::try_from(MAX_BODY).unwrap_or(u64::MAX);
            let _ = pipe.take(limit).read_to_end(&mut bytes);
        }
        // The receiver may have given up.
        let _ = sender.send(bytes);
    });
    let read = receiver.recv_timeout(patience);
    let Ok(bytes) = read else {
        let _ = child.kill();
        let _ = child.wait();
        return None;
    };
    // Its output has ended, so it is ending too, or it wrote more than is wanted.
    if bytes.len() == MAX_BODY {
        let _ = child.kill();
    }
    let succeeded = child.wait().is_ok_and(|status| status.success());
    Some(succeeded.then_some(bytes))
}
