//! How callbacks hand bytes back: into a sink, so that no memory is allocated on one side and freed on the other.

#![allow(unsafe_code)]

use std::ffi::c_char;
use std::time::Duration;

use cmkit::{DekId, KeyId, NewestKey, ProviderError, ProviderErrorKind, WrapAlgorithm};
use zeroize::Zeroizing;

use crate::arg::OneAtATime;
use crate::call::{Outcome, invalid, wrong_state};
use crate::inspection::algorithm_number;
use crate::result::{self, *};
use crate::structure::Structure;

/// Where a callback of a provider, a token source or a key store puts its answer. It is good until that callback returns.
pub struct cmk_sink(OneAtATime<Answer>);

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question {
    Wrap,
    Unwrap,
    Newest,
    Token,
    Row,
    Ids,
    YesOrNo,
}

/// What was put so far.
pub(crate) struct Answer {
    question: Question,
    pub(crate) bytes: Option<Zeroizing<Vec<u8>>>,
    pub(crate) key: Option<(KeyId, WrapAlgorithm)>,
    pub(crate) newest: Option<NewestKey>,
    pub(crate) token: Option<(Zeroizing<String>, u64)>,
    pub(crate) tag: Option<Vec<u8>>,
    pub(crate) ids: Vec<DekId>,
    pub(crate) yes: Option<bool>,
    detail: Detail,
}

/// What is known about a failure beyond its code.
#[derive(Default)]
struct Detail {
    message: Option<String>,
    retryable: Option<bool>,
    retry_after: Option<Duration>,
    http_status: Option<u16>,
    request_id: Option<String>,
}

/// More than any answer has: a row is at most 64 KiB.
const MAX_LEN: usize = 1 << 20;

impl cmk_sink {
    /// Asks a callback and gives its code and what it put.
    pub(crate) fn ask(
        question: Question,
        callback: impl FnOnce(*mut Self) -> cmk_result,
    ) -> (cmk_result, Answer) {
        let mut sink = Self(OneAtATime::new(Answer {
            question,
            bytes: None,
            key: None,
            newest: None,
            token: None,
            tag: None,
            ids: Vec::new(),
            yes: None,
            detail: Detail::default(),
        }));
        let code = callback(&raw mut sink);
        (code, sink.0.into_inner())
    }
}

impl Answer {
    fn takes(&self, questions: &[Question]) -> Outcome {
        if questions.contains(&self.question) {
            Ok(())
        } else {
            Err(wrong_state("this callback isn't asked for that"))
        }
    }

    /// What a callback said about its failure.
    #[cfg_attr(not(feature = "azure"), allow(dead_code))]
    pub(crate) fn said(self, who: &str, code: cmk_result) -> String {
        self.detail.message.unwrap_or_else(|| said(who, code))
    }

    /// A provider's failure, from its code and what was put about it.
    pub(crate) fn provider_error(self, code: cmk_result, key: &str) -> ProviderError {
        let kind = match code {
            CMK_ERR_AUTHENTICATION => ProviderErrorKind::Rejected,
            CMK_ERR_KEY_NOT_FOUND => ProviderErrorKind::NotFound,
            CMK_ERR_KEY_DISABLED => ProviderErrorKind::Disabled,
            CMK_ERR_ACCESS_DENIED => ProviderErrorKind::Denied,
            CMK_ERR_KEY_UNUSABLE => ProviderErrorKind::Unusable,
            CMK_ERR_KEY_DELETED => ProviderErrorKind::Deleted,
            CMK_ERR_KEY_POLICY => ProviderErrorKind::Policy,
            CMK_ERR_WRONG_VAULT => ProviderErrorKind::WrongVault,
            CMK_ERR_THROTTLED => ProviderErrorKind::Throttled,
            CMK_ERR_UNAVAILABLE => ProviderErrorKind::Unavailable,
            CMK_ERR_IDENTITY => ProviderErrorKind::Identity,
            _ => ProviderErrorKind::Other,
        };
        let message = self
            .detail
            .message
            .unwrap_or_else(|| said("the key provider", code));
        let mut error = ProviderError::new(kind, message).on_key(key);
        if let Some(retryable) = self.detail.retryable {
            error.retryable = retryable;
        }
        error.retry_after = self.detail.retry_after;
        error.http_status = self.detail.http_status;
        error.request_id = self.detail.request_id;
        error
    }

    /// A key store's failure, likewise.
    pub(crate) fn store_error(self, code: cmk_result) -> cmkit::Error {
        cmkit::Error::KeyStore {
            problem: self
                .detail
                .message
                .unwrap_or_else(|| said("the key store", code)),
            retryable: self
                .detail
                .retryable
                .unwrap_or(matches!(code, CMK_ERR_THROTTLED | CMK_ERR_UNAVAILABLE)),
        }
    }
}

fn said(who: &str, code: cmk_result) -> String {
    let name = result::NAMES.iter().find(|(known, _)| *known == code);
    match name.and_then(|(_, name)| name.to_str().ok()) {
        Some(name) => format!("{who} failed with {name} and gave no message"),
        None => format!("{who} failed with {code}, which is no CMK_ERR_..."),
    }
}

/// As CMK_ERR_THROTTLED and CMK_ERR_UNAVAILABLE suggest: retry those and no others.
pub const CMK_RETRY_DEFAULT: u32 = 0;
/// The same call may succeed later.
pub const CMK_RETRY_YES: u32 = 1;
/// The same call will fail again.
pub const CMK_RETRY_NO: u32 = 2;

/// What a callback knows about its failure beyond the code that it returns. Everything is copied. Fill it with zeros, set
/// struct_size, then what is known.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cmk_failure {
    /// sizeof(cmk_failure).
    pub struct_size: usize,
    /// What happened and what to do, as a sentence without a full stop, of which 4096 characters are kept; or NULL, or empty. Never put
    /// key bytes into it.
    pub message: *const c_char,
    /// The id of the failed request, for a support or audit log; or NULL, or empty.
    pub request_id: *const c_char,
    /// How many milliseconds to wait; 0 when that isn't known.
    pub retry_after_ms: u64,
    /// The HTTP status; 0 when there is none.
    pub http_status: u32,
    /// A CMK_RETRY_...
    pub retry: u32,
}

// SAFETY: `repr(C)` with the size first; zeros are NULL and 0.
unsafe impl Structure for cmk_failure {
    const MIN_SIZE: usize = size_of::<Self>();
}

/// Puts the answer of a callback: the wrapped key, the unwrapped one, or the row of a key store. The bytes are copied. Once in
/// each call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_sink_put(
    sink: *mut cmk_sink,
    bytes: *const u8,
    len: usize,
) -> cmk_result {
    call!(std::ptr::null_mut(); sink = shared(sink); bytes = bytes(bytes, len); => {
        let mut answer = sink.0.enter()?;
        answer.takes(&[Question::Wrap, Question::Unwrap, Question::Row])?;
        if bytes.len() > MAX_LEN {
            return Err(invalid("an answer has at most 1 MiB"));
        }
        if answer.bytes.is_some() {
            return Err(wrong_state("an answer was put before"));
        }
        answer.bytes = Some(Zeroizing::new(bytes.to_vec()));
        Ok(())
    })
}

/// Puts which key version wrapped, such as "hsm:team/0123456789abcdef0123456789abcdef", and how: a CMK_WRAP_... Only for `wrap`, which
/// must do it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_sink_put_key(
    sink: *mut cmk_sink,
    key_id: *const c_char,
    algorithm: i32,
) -> cmk_result {
    call!(std::ptr::null_mut(); sink = shared(sink); key_id = text(key_id); => {
        let mut answer = sink.0.enter()?;
        answer.takes(&[Question::Wrap])?;
        let known = [WrapAlgorithm::A256Kw, WrapAlgorithm::RsaOaep256];
        let found = known.into_iter().find(|known| algorithm_number(*known) == algorithm);
        let algorithm = found.ok_or_else(|| invalid(format!("{algorithm} is no CMK_WRAP_...")))?;
        answer.key = Some((KeyId::parse(key_id)?, algorithm));
        Ok(())
    })
}

/// Puts the newest version of a key, and when it was made, in seconds since 1970; 0 when that isn't known. Only for `newest`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_sink_put_newest(
    sink: *mut cmk_sink,
    key_id: *const c_char,
    created: u64,
) -> cmk_result {
    call!(std::ptr::null_mut(); sink = shared(sink); key_id = text(key_id); => {
        let mut answer = sink.0.enter()?;
        answer.takes(&[Question::Newest])?;
        answer.newest = Some(NewestKey {
            key: KeyId::parse(key_id)?,
            created: (created > 0).then_some(created),
        });
        Ok(())
    })
}

/// Puts an access token and when it ends, in seconds since 1970. Only for `token`, which must do it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_sink_put_token(
    sink: *mut cmk_sink,
    token: *const c_char,
    expires: u64,
) -> cmk_result {
    call!(std::ptr::null_mut(); sink = shared(sink); token = text(token); => {
        let mut answer = sink.0.enter()?;
        answer.takes(&[Question::Token])?;
        if token.len() > MAX_LEN {
            return Err(invalid("a token has at most 1 MiB"));
        }
        answer.token = Some((Zeroizing::new(token.to_owned()), expires));
        Ok(())
    })
}

/// Puts what says in which state a row is: an ETag or a row version. Only for `get`. Without it, the row itself says so.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_sink_put_tag(
    sink: *mut cmk_sink,
    tag: *const u8,
    len: usize,
) -> cmk_result {
    call!(std::ptr::null_mut(); sink = shared(sink); tag = bytes(tag, len); => {
        let mut answer = sink.0.enter()?;
        answer.takes(&[Question::Row])?;
        if tag.len() > MAX_LEN {
            return Err(invalid("a tag has at most 1 MiB"));
        }
        answer.tag = Some(tag.to_vec());
        Ok(())
    })
}

/// Puts one of the ids of a key store, 16 bytes. Only for `list`, any number of times.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_sink_put_id(sink: *mut cmk_sink, id: *const u8) -> cmk_result {
    call!(std::ptr::null_mut(); sink = shared(sink); id = bytes(id, 16); => {
        let mut answer = sink.0.enter()?;
        answer.takes(&[Question::Ids])?;
        let id = id.try_into().map_err(|_| invalid("an id has 16 bytes"))?;
        answer.ids.push(DekId(id));
        Ok(())
    })
}

/// Puts whether it was done: 1, or 0 when it was not because the row was there already, or had changed. Only for `put_if_absent` and
/// `replace_if_unchanged`, which must do it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_sink_put_done(sink: *mut cmk_sink, done: i32) -> cmk_result {
    call!(std::ptr::null_mut(); sink = shared(sink); => {
        let mut answer = sink.0.enter()?;
        answer.takes(&[Question::YesOrNo])?;
        answer.yes = Some(match done {
            0 => false,
            1 => true,
            _ => return Err(invalid("done is 0 or 1")),
        });
        Ok(())
    })
}

/// Puts the details of a failure; the callback then returns its code, a CMK_ERR_...
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_sink_fail(
    sink: *mut cmk_sink,
    failure: *const cmk_failure,
) -> cmk_result {
    call!(std::ptr::null_mut(); sink = shared(sink); failure = structure(failure); => {
        let text = |name, p| {
            // SAFETY: the header asks the caller of cmk_sink_fail that these point to strings.
            let text = unsafe { crate::arg::optional_text(name, p) }?;
            let text = text.filter(|text| !text.is_empty());
            Outcome::Ok(text.map(|text| text.chars().take(4096).collect::<String>()))
        };
        let detail = Detail {
            message: text("message", failure.message)?,
            request_id: text("request_id", failure.request_id)?,
            retryable: match failure.retry {
                CMK_RETRY_DEFAULT => None,
                CMK_RETRY_YES => Some(true),
                CMK_RETRY_NO => Some(false),
                other => return Err(invalid(format!("{other} is no CMK_RETRY_..."))),
            },
            retry_after: (failure.retry_after_ms > 0).then(|| Duration::from_millis(failure.retry_after_ms)),
            http_status: u16::try_from(failure.http_status).ok().filter(|status| *status != 0),
        };
        sink.0.enter()?.detail = detail;
        Ok(())
    })
}
