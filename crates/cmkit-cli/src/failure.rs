//! What a failed command says, and with which exit code it ends.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use cmkit::{Error, ErrorKind, KeyRef};

use crate::discreet::{is_discreet, shown};
use crate::text::{printable, shell};
use crate::vault::is_reachable;

/// What a command returns.
pub(crate) type Result<T = ()> = std::result::Result<T, Failure>;

/// The sentence for the user and the exit code for the script.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    message: Option<String>,
}

/// What was being done, where advice depends on it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doing {
    Encrypt,
    Decrypt,
    Rewrap,
    Else,
}

/// Exit code of a kind of error: the table of `docs/errors.md`.
fn exit_code(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::InvalidArgument => 2,
        ErrorKind::Authentication | ErrorKind::Format | ErrorKind::Truncated => 3,
        ErrorKind::Policy
        | ErrorKind::KeyNotAllowed
        | ErrorKind::KeyNotFound
        | ErrorKind::KeyDisabled
        | ErrorKind::AccessDenied
        | ErrorKind::KeyUnusable
        | ErrorKind::KeyDeleted
        | ErrorKind::KeyPolicy
        | ErrorKind::WrongVault => 4,
        ErrorKind::Throttled
        | ErrorKind::Unavailable
        | ErrorKind::Identity
        | ErrorKind::Provider => 5,
        ErrorKind::Cancelled => 130,
        _ => 1,
    }
}

impl Failure {
    /// Wrong usage.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self {
            code: 2,
            message: Some(message.into()),
        }
    }

    /// Something of the system that has no row of its own.
    pub(crate) fn other(message: impl Into<String>) -> Self {
        Self {
            code: 1,
            message: Some(message.into()),
        }
    }

    /// A signal asked to stop, and nothing is left behind.
    pub(crate) fn signal(number: usize) -> Self {
        let code = u8::try_from(number)
            .ok()
            .and_then(|n| n.checked_add(128))
            .unwrap_or(130);
        Self {
            code,
            message: Some("stopped; nothing was kept".to_owned()),
        }
    }

    /// Whoever read the output went away: nobody is left to tell.
    pub(crate) fn unread() -> Self {
        Self {
            code: 1,
            message: None,
        }
    }

    /// This exit code, for what was said already.
    pub(crate) fn silent(code: u8) -> Self {
        Self {
            code,
            message: None,
        }
    }

    /// A core error, in the words of the command line.
    pub(crate) fn of(error: &Error, doing: Doing) -> Self {
        Self::missing_from(error, doing, None)
    }

    /// The same; with a directory it is about a key that isn't in there.
    pub(crate) fn missing_from(error: &Error, doing: Doing, home: Option<&Path>) -> Self {
        if error
            .io()
            .is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
        {
            return Self::unread();
        }
        let message = if is_discreet() {
            sentence(&error.clone().without_names(), doing, home)
        } else {
            sentence(error, doing, home)
        };
        Self {
            code: exit_code(error.kind()),
            message: Some(message),
        }
    }

    /// Writing a command's own output failed.
    pub(crate) fn print(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::unread();
        }
        Self::other(format!("cannot write to standard output: {error}"))
    }

    /// A fault that was seen after authentic chunks before it had been given away.
    pub(crate) fn after_release(error: &Error, done: u64, to: &Path) -> Self {
        let what = match error.root() {
            // Its own sentence says that nothing was decrypted.
            Error::AuthenticationFailed => {
                "authentication failed: the data was changed or damaged".to_owned()
            }
            other if is_discreet() => other.clone().without_names().to_string(),
            other => other.to_string(),
        };
        let what = match error {
            Error::File { path, .. } => format!("{}: {what}", shown(path)),
            _ => what,
        };
        let message = format!(
            "{what}; {done} bytes went to {} before that was seen: don't use them",
            shown(to)
        );
        Self {
            code: exit_code(error.kind()),
            message: Some(message),
        }
    }

    /// The same, with more to say.
    pub(crate) fn and(mut self, more: &str) -> Self {
        if let Some(message) = &mut self.message {
            message.push_str("; ");
            message.push_str(more);
        }
        self
    }

    /// The same exit code, in other words.
    pub(crate) fn saying(mut self, message: &str) -> Self {
        self.message = Some(message.to_owned());
        self
    }

    /// The same, with another exit code.
    pub(crate) fn with_code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// What it says, if anything.
    pub(crate) fn message(&self) -> Option<&str> {
        self.message.as_deref()
    }

    /// The exit code.
    pub(crate) fn code(&self) -> u8 {
        self.code
    }

    /// Says it on standard error.
    pub(crate) fn say(&self) {
        if let Some(message) = &self.message {
            say(message);
        }
    }

    /// Says it; what `main` returns.
    pub(crate) fn report(&self) -> ExitCode {
        self.say();
        ExitCode::from(self.code)
    }
}

/// A line on standard error. If nobody can read it, that is no reason to fail.
pub(crate) fn say(message: &str) {
    let _ = writeln!(io::stderr(), "cmkit: {}", printable(message));
}

/// The core's sentence, or a better one where the command line has a flag to offer.
fn sentence(error: &Error, doing: Doing, home: Option<&Path>) -> String {
    let with_file = |text: String| match error {
        Error::File { path, .. } => format!("{}: {text}", path.display()),
        _ => text,
    };
    match error.root() {
        Error::KeyNotAllowed { keys } => with_file(not_allowed(keys)),
        Error::WorkspaceMismatch { envelope, keyring } => {
            with_file(other_workspace(envelope.as_deref(), keyring.as_deref()))
        }
        Error::AlreadyExists { .. } if doing != Doing::Else => {
            format!("{error}; add `--force` to replace it, or name another file with `-o`")
        }
        Error::AuthenticationFailed if doing == Doing::Decrypt => {
            format!("{error}; was it encrypted with `--context`? Then give the same again")
        }
        // The provider would advise to create the key, which opens nothing.
        Error::Provider(e) if home.is_some() => {
            let key = e.key.as_deref().unwrap_or("the key");
            let dir = home.unwrap_or(Path::new("")).display();
            with_file(format!(
                "key {key} is not in the key directory {dir}; name the right one with `--home`, or \
                 restore the key from a backup with `cmkit key import`"
            ))
        }
        _ => in_flags(&error.to_string()),
    }
}

/// Advice of the libraries in the words of the command line.
pub(crate) fn in_flags(text: &str) -> String {
    text.replace("`Rewrap::allow_other_vault`", "`--allow-other-vault`")
        .replace(
            "allow RSA keys of 2048 bits explicitly",
            "allow RSA keys of 2048 bits with `--allow-rsa-2048`",
        )
}

/// The keys are what an envelope says that nobody vouched for: the user is to decide.
fn not_allowed(keys: &[String]) -> String {
    let reachable: BTreeSet<String> = keys
        .iter()
        .filter_map(|key| KeyRef::parse(key).ok())
        .filter(is_reachable)
        .map(|key| format!("`--key {}`", key.without_version()))
        .collect();
    let named = keys.join(", ");
    if reachable.is_empty() {
        return format!(
            "it can be opened with {named} only, which this version can't reach: it knows local keys, Azure Key Vault and \
             Managed HSM"
        );
    }
    let flags: Vec<_> = reachable.into_iter().collect();
    format!(
        "it can be opened with {named}, which is not allowed so far; if you trust that, add {}",
        flags.join(" or ")
    )
}

fn other_workspace(envelope: Option<&str>, given: Option<&str>) -> String {
    match (envelope, given) {
        (Some(theirs), given) => {
            let given = given.map_or("none".to_owned(), |w| format!("{w:?}"));
            format!(
                "it belongs to workspace {theirs:?}, and the one given is {given}; if that is where it \
                 should come from, use `--workspace {}`",
                shell(theirs)
            )
        }
        (None, _) => {
            "it belongs to no workspace; if that is right, leave out `--workspace`".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows of `docs/errors.md`: kind and exit code.
    fn table() -> Vec<(String, u8)> {
        include_str!("../../../docs/errors.md")
            .lines()
            .filter_map(|line| {
                let cells: Vec<_> = line.split('|').map(str::trim).collect();
                let kind = cells.get(1)?.strip_prefix('`')?.strip_suffix('`')?;
                Some((kind.to_owned(), cells.get(4)?.parse().ok()?))
            })
            .collect()
    }

    #[test]
    fn exit_codes_are_those_of_the_table() {
        let ours: Vec<_> = ErrorKind::ALL
            .iter()
            .map(|kind| (format!("{kind:?}"), exit_code(*kind)))
            .collect();
        assert_eq!(ours, table());
    }

    #[test]
    fn advice_names_the_flag() {
        let version = "0123456789abcdef0123456789abcdef";
        let error = Error::KeyNotAllowed {
            keys: vec![
                format!("local:team/{version}"),
                format!("https://v.example/keys/k/{version}"),
                format!("https://v.vault.azure.net/keys/k/{version}"),
            ],
        };
        let failure = Failure::of(&error.in_file("a.cmk"), Doing::Decrypt);
        assert_eq!(failure.code, 4);
        let message = failure.message.unwrap();
        assert!(
            message.starts_with("a.cmk: ")
                && message.ends_with(
                    "add `--key https://v.vault.azure.net/keys/k` or `--key local:team`"
                ),
            "{message}"
        );

        let error = Error::WorkspaceMismatch {
            envelope: Some("it's".into()),
            keyring: None,
        };
        let message = Failure::of(&error, Doing::Decrypt).message.unwrap();
        assert!(message.ends_with(r"`--workspace 'it'\''s'`"), "{message}");

        let error = Error::AlreadyExists {
            what: "a.cmk".into(),
        };
        assert!(
            Failure::of(&error, Doing::Encrypt)
                .message
                .unwrap()
                .contains("--force")
        );
        assert!(
            !Failure::of(&error, Doing::Else)
                .message
                .unwrap()
                .contains("--force")
        );
    }
}
