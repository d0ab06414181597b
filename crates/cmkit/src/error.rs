//! What can go wrong, in sentences that help.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

mod provider;

pub use self::provider::{ProviderError, ProviderErrorKind};

/// A result with cmkit's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation failed.
///
/// Everything cryptographic that fails is [`AuthenticationFailed`](Error::AuthenticationFailed) and says nothing more. What is
/// not secret has its own variant. No variant carries key bytes, plaintext or an encryption context's values.
///
/// `docs/errors.md` lists, for each [`ErrorKind`], the C code, the Python class, the exit code and what to do.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// The envelope, its header, a chunk, the context or the key does not fit. Retrying doesn't help.
    AuthenticationFailed,
    /// The bytes are not a cmkit envelope, or not one that this version reads.
    Format {
        /// What is wrong with the bytes.
        problem: &'static str,
    },
    /// The envelope ends before its last chunk.
    Truncated,
    /// A rewrap in place was interrupted and this reader can't see the sidecar file that completes it.
    RewrapInterrupted,
    /// The envelope belongs to another workspace than the keyring.
    WorkspaceMismatch {
        /// The envelope's workspace; `None` when it has none.
        envelope: Option<String>,
        /// The keyring's workspace; `None` when it has none.
        keyring: Option<String>,
    },
    /// None of the envelope's keys is on the keyring's allow-list. No provider was called.
    KeyNotAllowed {
        /// The keys that the envelope names.
        keys: Vec<String>,
    },
    /// A policy of the keyring, or its set-up, forbids the operation.
    Policy {
        /// Which, and what to do.
        problem: String,
    },
    /// A key provider failed. Its [`ProviderErrorKind`] says how.
    Provider(ProviderError),
    /// A key store failed or doesn't hold the DEK.
    KeyStore {
        /// What failed.
        problem: String,
        /// Whether the same call may succeed later.
        retryable: bool,
    },
    /// What is to be created exists already.
    AlreadyExists {
        /// The file or key.
        what: String,
    },
    /// An argument is outside its documented range.
    InvalidArgument {
        /// Which one, and its limits.
        problem: String,
    },
    /// The output buffer is too small.
    BufferTooSmall {
        /// Bytes needed.
        needed: u64,
        /// Bytes given.
        given: u64,
    },
    /// The stream failed before, is finished, or belongs to another process.
    InvalidState {
        /// Which, and what to do.
        problem: &'static str,
    },
    /// Reading or writing failed.
    Io {
        /// What was being done: "read", "write", "create", ...
        operation: &'static str,
        /// On which file, where there is one.
        path: Option<PathBuf>,
        /// The system's error.
        source: Arc<io::Error>,
    },
    /// A block of a scratch disk is not what was written there last.
    DamagedBlock {
        /// Its number, from 0.
        block: u64,
    },
    /// Something else uses it: mounted, locked, or a job of that name runs.
    Busy {
        /// What, by whom where that is known, and what to do.
        problem: String,
    },
    /// The system doesn't let this user do it.
    NotPermitted {
        /// What, and what to do.
        problem: String,
    },
    /// The caller's progress callback asked to stop.
    Cancelled,
    /// Another error, on this file.
    File {
        /// The file.
        path: PathBuf,
        /// What happened to it.
        source: Box<Error>,
    },
    /// A primitive failed that can't fail with right input: no randomness, or a fault in cmkit.
    Internal {
        /// What failed.
        problem: &'static str,
    },
}

/// The rows of `docs/errors.md`: what every face of cmkit tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Not authentic: forged, damaged, or another key or context.
    Authentication,
    /// Not an envelope, or a version, suite or field that this reader doesn't know.
    Format,
    /// Cut short.
    Truncated,
    /// A rewrap in place has to be completed first.
    RewrapInterrupted,
    /// Another workspace, or a policy said no.
    Policy,
    /// None of the keys is on the allow-list.
    KeyNotAllowed,
    /// No such key or version.
    KeyNotFound,
    /// The key version is disabled.
    KeyDisabled,
    /// The provider, or the file system, refuses access to the key; the system, to a device.
    AccessDenied,
    /// The key is there but can't be used: its file is corrupt, its type is wrong, it has no private half.
    KeyUnusable,
    /// The key was deleted and can perhaps be recovered.
    KeyDeleted,
    /// The key doesn't meet a rule for keys, such as its size or how its vault protects it.
    KeyPolicy,
    /// Another vault or key than the one that was asked for.
    WrongVault,
    /// The provider asks to slow down.
    Throttled,
    /// The provider is out of reach.
    Unavailable,
    /// The provider doesn't know who is asking.
    Identity,
    /// The provider failed in another way.
    Provider,
    /// The key store failed, or doesn't hold the DEK.
    KeyStore,
    /// It exists already.
    AlreadyExists,
    /// An argument is out of range.
    InvalidArgument,
    /// The output buffer is too small.
    BufferTooSmall,
    /// A stream that failed, is finished, or belongs to another process; a volume that was destroyed.
    InvalidState,
    /// Something else uses it.
    Busy,
    /// Reading or writing failed.
    Io,
    /// The caller cancelled.
    Cancelled,
    /// A fault in cmkit or the system's randomness.
    Internal,
}

impl ErrorKind {
    /// Every kind, in the order of `docs/errors.md`.
    pub const ALL: &'static [ErrorKind] = &[
        Self::Authentication,
        Self::Format,
        Self::Truncated,
        Self::RewrapInterrupted,
        Self::Policy,
        Self::KeyNotAllowed,
        Self::KeyNotFound,
        Self::KeyDisabled,
        Self::AccessDenied,
        Self::KeyUnusable,
        Self::KeyDeleted,
        Self::KeyPolicy,
        Self::WrongVault,
        Self::Throttled,
        Self::Unavailable,
        Self::Identity,
        Self::Provider,
        Self::KeyStore,
        Self::AlreadyExists,
        Self::InvalidArgument,
        Self::BufferTooSmall,
        Self::InvalidState,
        Self::Busy,
        Self::Io,
        Self::Cancelled,
        Self::Internal,
    ];
}

impl Error {
    /// Which row of `docs/errors.md` this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::AuthenticationFailed | Self::DamagedBlock { .. } => ErrorKind::Authentication,
            Self::Format { .. } => ErrorKind::Format,
            Self::Truncated => ErrorKind::Truncated,
            Self::RewrapInterrupted => ErrorKind::RewrapInterrupted,
            Self::WorkspaceMismatch { .. } | Self::Policy { .. } => ErrorKind::Policy,
            Self::KeyNotAllowed { .. } => ErrorKind::KeyNotAllowed,
            Self::Provider(e) => e.kind.error_kind(),
            Self::KeyStore { .. } => ErrorKind::KeyStore,
            Self::AlreadyExists { .. } => ErrorKind::AlreadyExists,
            Self::InvalidArgument { .. } => ErrorKind::InvalidArgument,
            Self::BufferTooSmall { .. } => ErrorKind::BufferTooSmall,
            Self::InvalidState { .. } => ErrorKind::InvalidState,
            Self::Io { .. } => ErrorKind::Io,
            Self::Busy { .. } => ErrorKind::Busy,
            Self::NotPermitted { .. } => ErrorKind::AccessDenied,
            Self::Cancelled => ErrorKind::Cancelled,
            Self::File { source, .. } => source.kind(),
            Self::Internal { .. } => ErrorKind::Internal,
        }
    }

    /// The error without the file names around it.
    #[must_use]
    pub fn root(&self) -> &Error {
        match self {
            Self::File { source, .. } => source.root(),
            other => other,
        }
    }

    /// Whether the same call may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self.root() {
            Self::Provider(e) => e.retryable,
            Self::KeyStore { retryable, .. } => *retryable,
            _ => false,
        }
    }

    /// The provider's part of the story, where a provider failed.
    #[must_use]
    pub fn provider(&self) -> Option<&ProviderError> {
        match self.root() {
            Self::Provider(e) => Some(e),
            _ => None,
        }
    }

    /// The system's error, where reading or writing failed.
    #[must_use]
    pub fn io(&self) -> Option<&io::Error> {
        match self.root() {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }

    /// The same error, naming the file that it is about. An error that names one already stays as it is.
    #[must_use]
    pub fn in_file(self, path: impl AsRef<Path>) -> Error {
        match self {
            Self::File { .. } | Self::Io { path: Some(_), .. } | Self::Cancelled => self,
            Self::Io {
                operation, source, ..
            } => Self::Io {
                operation,
                path: Some(path.as_ref().to_owned()),
                source,
            },
            other => Self::File {
                path: path.as_ref().to_owned(),
                source: Box::new(other),
            },
        }
    }

    /// The error that an [`io::Error`] made from a cmkit error carries, else an [`Error::Io`].
    pub(crate) fn from_io(operation: &'static str, error: io::Error) -> Error {
        match error.downcast::<Error>() {
            Ok(inner) => inner,
            Err(error) => Self::Io {
                operation,
                path: None,
                source: Arc::new(error),
            },
        }
    }

    pub(crate) fn io_at(operation: &'static str, path: &Path, error: io::Error) -> Error {
        Self::from_io(operation, error).in_file(path)
    }

    /// The same without the names of files and workspaces, as a keyring for
    /// [high business impact](crate::KeyringBuilder::high_business_impact) gives it.
    #[must_use]
    pub fn without_names(self) -> Error {
        const WITHHELD: &str = "(a file whose name is withheld)";
        match self {
            Self::File { source, .. } => Self::File {
                path: WITHHELD.into(),
                source: Box::new(source.without_names()),
            },
            Self::Io {
                operation,
                path: Some(_),
                source,
            } => Self::Io {
                operation,
                path: Some(WITHHELD.into()),
                source,
            },
            Self::WorkspaceMismatch { .. } => Self::Policy {
                problem: "the envelope belongs to another workspace than the keyring, or to none; use a keyring of the envelope's workspace".into(),
            },
            Self::AlreadyExists { .. } => Self::AlreadyExists {
                what: "the output file".into(),
            },
            other => other,
        }
    }

    pub(crate) fn format(problem: &'static str) -> Error {
        Self::Format { problem }
    }

    pub(crate) fn invalid(problem: impl Into<String>) -> Error {
        Self::InvalidArgument {
            problem: problem.into(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AuthenticationFailed => f.write_str(
                "authentication failed: the data was changed or damaged, or the key or the encryption context \
                 is another one than at encryption; nothing was decrypted",
            ),
            Self::Format { problem } => write!(f, "not a usable cmkit envelope: {problem}"),
            Self::Truncated => {
                f.write_str("the envelope is cut short: its end is missing; get a whole copy of it")
            }
            Self::RewrapInterrupted => f.write_str(
                "the header is half-written: a rewrap in place is under way or was interrupted; open the file by its name, or run its rewrap again",
            ),
            Self::WorkspaceMismatch { envelope, keyring } => {
                f.write_str("the envelope belongs to ")?;
                workspace(f, envelope.as_deref())?;
                f.write_str(", and the keyring to ")?;
                workspace(f, keyring.as_deref())?;
                f.write_str("; use a keyring of the envelope's workspace")
            }
            Self::KeyNotAllowed { keys } => {
                write!(
                    f,
                    "none of the envelope's keys is on the allow-list: {}; allow the key if you trust it",
                    keys.join(", ")
                )
            }
            Self::Policy { problem }
            | Self::InvalidArgument { problem }
            | Self::KeyStore { problem, .. }
            | Self::Busy { problem }
            | Self::NotPermitted { problem } => f.write_str(problem),
            Self::DamagedBlock { block } => write!(
                f,
                "block {block} is not what was written there: it was changed, swapped, rolled back or damaged; nothing of it was decrypted"
            ),
            Self::Provider(e) => e.fmt(f),
            Self::AlreadyExists { what } => write!(f, "{what} exists already and was left as it is"),
            Self::BufferTooSmall { needed, given } => {
                write!(f, "the output buffer has {given} bytes and needs {needed}")
            }
            Self::InvalidState { problem } | Self::Internal { problem } => f.write_str(problem),
            Self::Io { operation, path: Some(path), source } => {
                write!(f, "cannot {operation} {}: {source}", path.display())
            }
            Self::Io { operation, path: None, source } => write!(f, "cannot {operation}: {source}"),
            Self::Cancelled => f.write_str("cancelled; nothing was kept"),
            Self::File { path, source } => write!(f, "{}: {source}", path.display()),
        }
    }
}

fn workspace(f: &mut fmt::Formatter<'_>, name: Option<&str>) -> fmt::Result {
    match name {
        Some(name) => write!(f, "workspace {name:?}"),
        None => f.write_str("no workspace"),
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source.as_ref()),
            Self::File { source, .. } => Some(source.as_ref()),
            _ => None,
        }
    }
}

impl From<ProviderError> for Error {
    fn from(e: ProviderError) -> Self {
        match e.kind {
            // What the provider refuses to unwrap is forged or damaged: the one opaque answer.
            ProviderErrorKind::Rejected => Self::AuthenticationFailed,
            _ => Self::Provider(e),
        }
    }
}

impl From<Error> for io::Error {
    fn from(e: Error) -> Self {
        let kind = match (e.kind(), e.io()) {
            (_, Some(source)) => source.kind(),
            (ErrorKind::Authentication | ErrorKind::Format, _) => io::ErrorKind::InvalidData,
            (ErrorKind::Truncated, _) => io::ErrorKind::UnexpectedEof,
            (ErrorKind::InvalidArgument, _) => io::ErrorKind::InvalidInput,
            (ErrorKind::AccessDenied | ErrorKind::KeyNotAllowed, _) => {
                io::ErrorKind::PermissionDenied
            }
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, e)
    }
}
