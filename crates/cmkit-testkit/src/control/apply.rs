//! Carrying commands out.

use std::fs;
use std::io;

use serde_json::{Value, json};

use super::command::Command;
use crate::addresses::FEDERATED_TOKEN_FILE;
use crate::random;
use crate::server::http::Response;
use crate::state::{Shared, State};
use crate::vault::{self, keys};

/// Carries a command out and returns what it answers.
///
/// # Errors
/// A sentence that says what was wrong with it.
pub(crate) fn apply(shared: &Shared, command: Command) -> Result<Value, String> {
    match command {
        Command::CreateKey {
            host,
            key,
            mut body,
        } => {
            let hsm = host.contains(".managedhsm.");
            let usual = if hsm { "oct-HSM" } else { "RSA" };
            body.entry("kty").or_insert_with(|| usual.into());
            if body.get("kty").is_some_and(|kty| kty != "oct-HSM") {
                body.entry("key_size").or_insert_with(|| 3072.into());
            }
            said(keys::create(shared, &lower(&host), &key, &body))
        }
        Command::Rotate { host, key } => said(keys::rotate(shared, &lower(&host), &key)),
        Command::Set {
            host,
            key,
            version,
            attributes,
            key_ops,
        } => {
            let mut state = shared.state();
            let vault = state.vault(&host);
            let found = vault
                .find_mut(&key)
                .and_then(|key| key.version_mut(version.as_deref()));
            let found =
                found.ok_or_else(|| format!("{host} has no key {key}, or not that version"))?;
            found.merge_attributes(&attributes);
            if let Some(key_ops) = key_ops {
                found.key_ops = key_ops;
            }
            said(keys::bundle(vault, &key, version.as_deref()))
        }
        Command::Delete { host, key } => said(vault::delete(shared, &lower(&host), &key)),
        Command::Recover { host, key } => said(vault::recover(shared, &lower(&host), &key)),
        Command::Purge { host, key } => {
            let mut state = shared.state();
            let deleted = &mut state.vault(&host).deleted;
            match deleted.remove(&key.to_ascii_lowercase()) {
                Some(_) => Ok(json!({})),
                None => Err(format!("{host} has no deleted key {key}")),
            }
        }
        Command::Claims { claims } => {
            let mut state = shared.state();
            state.claims_era += u64::from(claims.is_some());
            state.claims = claims;
            Ok(json!({}))
        }
        Command::NewFederatedToken {} => {
            let made = new_federated_token(shared);
            made.map(|()| json!({})).map_err(|error| error.to_string())
        }
        Command::ClearRules {} => {
            shared.state().rules.clear();
            shared.end_pauses();
            Ok(json!({}))
        }
        Command::Log {} => Ok(json!(shared.state().log.entries())),
        Command::Counts {} => Ok(json!(shared.state().log.counts())),
        Command::Held {} => Ok(json!(shared.held())),
        Command::Reset {} => {
            {
                let mut state = shared.state();
                *state = State {
                    resets: state.resets + 1,
                    ..State::default()
                };
            }
            shared.end_pauses();
            let made = new_federated_token(shared);
            made.map(|()| json!({})).map_err(|error| error.to_string())
        }
        command => {
            change(&mut shared.state(), command);
            Ok(json!({}))
        }
    }
}

/// The commands that only write something down.
fn change(state: &mut State, command: Command) {
    match command {
        Command::Vault(change) => {
            let vault = state.vault(&change.host);
            vault.firewall = change.firewall.unwrap_or(vault.firewall);
            vault.gone = change.gone.unwrap_or(vault.gone);
            vault.hide_disabled = change.hide_disabled.unwrap_or(vault.hide_disabled);
            vault.challenge = change.challenge.or(vault.challenge.take());
            if let Some(level) = change.recovery_level {
                vault.recovery_level = level;
            }
        }
        Command::Deny(mut denial) => {
            denial.host = denial.host.as_deref().map(lower);
            state.denials.push(denial);
        }
        Command::Allow { host, op } => {
            let host = host.as_deref().map(lower);
            state
                .denials
                .retain(|denial| denial.op != op || denial.host != host);
        }
        Command::Rule(rule) => state.rules.push(*rule),
        Command::Clock { offset } => state.clock_offset = offset,
        Command::Tokens {
            lifetime,
            expires_on,
        } => {
            state.tokens.lifetime = lifetime.unwrap_or(state.tokens.lifetime);
            state.tokens.expires_on = expires_on.or(state.tokens.expires_on);
        }
        Command::RevokeTokens {} => state.tokens.revoke_all(),
        Command::Tls {
            certificate,
            only_tls12,
        } => {
            state.certificate = certificate;
            state.only_tls12 = only_tls12;
        }
        _ => {}
    }
}

/// Writes a new federated token into its file.
pub(crate) fn new_federated_token(shared: &Shared) -> io::Result<()> {
    let token = format!("{}.{}.{}", random::hex(8), random::hex(16), random::hex(16));
    let mut state = shared.state();
    fs::write(shared.dir.join(FEDERATED_TOKEN_FILE), &token)?;
    state.federated_token = token;
    Ok(())
}

/// The body of the service's answer, or the message of its error.
fn said(answer: Result<Response, Response>) -> Result<Value, String> {
    let (good, response) = match answer {
        Ok(response) => (true, response),
        Err(response) => (false, response),
    };
    let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    match good {
        true => Ok(body),
        false => {
            let message = body["error"]["message"].as_str().unwrap_or("refused");
            Err(format!("{}: {message}", response.status))
        }
    }
}

fn lower(host: &str) -> String {
    host.to_ascii_lowercase()
}
