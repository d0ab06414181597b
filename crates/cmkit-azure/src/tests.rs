//! What depends on time, in virtual time.

use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cmkit::{
    Call, KeyId, KeyProvider, KeyRef, NewestRequest, ProviderError, ProviderErrorKind,
    UnwrapRequest, WrapAlgorithm, WrapRequest,
};

use crate::fake::{EPOCH, FakeClock, Script, answer, answer_after, fault, net};
use crate::http::{Fault, FaultKind, Request, Response};
use crate::{Environment, Identity, KeyVaultProvider};

const KEY: &str = "https://v.vault.azure.net/keys/team";
const V: &str = "0123456789abcdef0123456789abcdef";
const SECOND: Duration = Duration::from_secs(1);

type Answer = Result<Response, Fault>;

/// A provider whose vault says what `vault` says, and whose IMDS says what `imds` says.
fn provider(
    imds: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    vault: impl Fn(&Request) -> Answer + Send + Sync + 'static,
) -> (KeyVaultProvider, Arc<Script>, Arc<FakeClock>) {
    let (net, script, clock) = net(move |request| {
        if request.url.starts_with("http://169.254.169.254/") {
            imds(request)
        } else {
            vault(request)
        }
    });
    let provider = KeyVaultProvider::builder()
        .key(KeyRef::parse(KEY).unwrap())
        .identity(Identity::imds())
        .build_on(net, &Environment::default())
        .unwrap();
    (provider, script, clock)
}

/// A token that is good for an hour.
fn hourly(_: &Request) -> Answer {
    answer(200, r#"{"access_token":"t","expires_in":"3600"}"#)
}

fn unwrapped(_: &Request) -> Answer {
    answer(200, &format!(r#"{{"kid":"{KEY}/{V}","value":"AAAA"}}"#))
}

fn unwrap(provider: &KeyVaultProvider) -> Result<usize, ProviderError> {
    let key = KeyId::parse(&format!("{KEY}/{V}")).unwrap();
    let request = UnwrapRequest::new(&key, WrapAlgorithm::RsaOaep256, &[1; 384]);
    provider.unwrap(&request).map(|bytes| bytes.expose().len())
}

/// A vault that keeps what it is given to wrap: `GET`, wrap and unwrap as they should be.
fn honest() -> impl Fn(&Request) -> Answer + Send + Sync {
    let modulus = "gA".to_owned() + &"A".repeat(510);
    let kept = Mutex::new(String::new());
    move |request| {
        if request.body.is_none() {
            return answer(
                200,
                &format!(
                    r#"{{"key":{{"kid":"{KEY}/{V}","kty":"RSA","n":"{modulus}","e":"AQAB","key_ops":["wrapKey","unwrapKey"]}},
                    "attributes":{{"enabled":true,"created":5,"recoveryLevel":"Recoverable"}}}}"#
                ),
            );
        }
        let body = &request.body.as_ref().unwrap().bytes;
        let body: serde_json::Value = serde_json::from_slice(body).unwrap();
        let mut kept = kept.lock().unwrap();
        if request.url.contains("/wrapkey?") {
            *kept = body["value"].as_str().unwrap().to_owned();
        }
        answer(200, &format!(r#"{{"kid":"{KEY}/{V}","value":"{kept}"}}"#))
    }
}

#[test]
fn pauses_double_until_the_deadline() {
    let (provider, script, clock) = provider(hourly, |_| answer(503, ""));
    let e = unwrap(&provider).unwrap_err();
    assert_eq!(e.kind, ProviderErrorKind::Unavailable, "{e}");
    // 0, 1, 3, 7, 15 s, a quarter more or less; the next pause would end behind 30 s.
    let attempts = script.count("unwrapkey");
    assert!((5..=6).contains(&attempts), "{attempts}");
    assert!(clock.elapsed() < 30 * SECOND);
    assert!(clock.elapsed() >= 11 * SECOND);
}

#[test]
fn a_wait_beyond_the_deadline_is_told_at_once() {
    let (provider, script, clock) = provider(hourly, |_| answer_after(429, "31"));
    let e = unwrap(&provider).unwrap_err();
    assert_eq!(e.kind, ProviderErrorKind::Throttled);
    assert_eq!(e.retry_after, Some(31 * SECOND));
    assert_eq!(
        (script.count("unwrapkey"), clock.elapsed()),
        (1, Duration::ZERO)
    );
}

#[test]
fn a_wait_within_the_deadline_is_kept_to_the_second() {
    let first = AtomicBool::new(true);
    let (provider, _, clock) = provider(hourly, move |request| {
        if first.swap(false, Ordering::SeqCst) {
            return answer_after(429, "17");
        }
        unwrapped(request)
    });
    assert_eq!(unwrap(&provider).unwrap(), 3);
    assert_eq!(clock.elapsed(), 17 * SECOND);
}

#[test]
fn certificates_are_not_tried_twice() {
    for (kind, again) in [
        (FaultKind::Tls, false),
        (FaultKind::Malformed, false),
        (FaultKind::Name, true),
        (FaultKind::Connect, true),
        (FaultKind::Timeout, true),
        (FaultKind::Proxy, true),
        (FaultKind::Broken, true),
    ] {
        let (provider, script, _) = provider(hourly, move |_| fault(kind));
        let e = unwrap(&provider).unwrap_err();
        assert_eq!(e.kind, ProviderErrorKind::Unavailable);
        assert_eq!(e.retryable, again);
        assert_eq!(script.count("unwrapkey") > 1, again, "{kind:?}");
    }
}

#[test]
fn tokens_are_renewed_five_minutes_before_their_end() {
    let (provider, script, clock) = provider(hourly, unwrapped);
    unwrap(&provider).unwrap();
    clock.advance(3299 * SECOND);
    unwrap(&provider).unwrap();
    assert_eq!(script.count("169.254"), 1);
    clock.advance(SECOND);
    unwrap(&provider).unwrap();
    assert_eq!(script.count("169.254"), 2);
}

#[test]
fn a_good_token_outlives_a_failed_renewal_but_not_its_end() {
    let status = Arc::new(AtomicU16::new(200));
    let now = Arc::clone(&status);
    let (provider, script, clock) = provider(
        move |request| match now.load(Ordering::SeqCst) {
            200 => hourly(request),
            status => answer(status, ""),
        },
        unwrapped,
    );
    unwrap(&provider).unwrap();
    status.store(400, Ordering::SeqCst);
    clock.advance(3400 * SECOND);
    for _ in 0..10 {
        unwrap(&provider).unwrap();
    }
    // Not with every call.
    assert_eq!(script.count("169.254"), 2);
    clock.advance(31 * SECOND);
    unwrap(&provider).unwrap();
    assert_eq!(script.count("169.254"), 3);
    clock.advance(169 * SECOND);
    let e = unwrap(&provider).unwrap_err();
    assert_eq!(e.kind, ProviderErrorKind::Identity, "{e}");
    status.store(200, Ordering::SeqCst);
    unwrap(&provider).unwrap();
}

#[test]
fn the_first_sign_in_has_ninety_seconds_and_later_ones_thirty() {
    let status = Arc::new(AtomicU16::new(500));
    let now = Arc::clone(&status);
    let (provider, _, clock) = provider(
        move |request| match now.load(Ordering::SeqCst) {
            200 => hourly(request),
            status => answer(status, ""),
        },
        unwrapped,
    );
    let e = unwrap(&provider).unwrap_err();
    assert!(e.retryable && e.kind == ProviderErrorKind::Identity, "{e}");
    let first = clock.elapsed();
    assert!((60 * SECOND..90 * SECOND).contains(&first), "{first:?}");
    status.store(200, Ordering::SeqCst);
    unwrap(&provider).unwrap();
    status.store(500, Ordering::SeqCst);
    clock.advance(3600 * SECOND);
    let begun = clock.elapsed();
    unwrap(&provider).unwrap_err();
    assert!(clock.elapsed() - begun < 30 * SECOND);
}

#[test]
fn imds_is_waited_for_while_it_is_updated_but_not_where_it_is_not() {
    let run = |answer: fn() -> Answer| {
        let (provider, script, clock) = provider(move |_| answer(), unwrapped);
        unwrap(&provider).unwrap_err();
        (script.count("169.254"), clock.elapsed())
    };
    let (attempts, waited) = run(|| answer(410, ""));
    assert!(
        attempts > 5 && waited >= 60 * SECOND && waited < 90 * SECOND,
        "{attempts} {waited:?}"
    );
    let (attempts, waited) = run(|| answer(404, ""));
    assert!(
        attempts > 5 && waited > 60 * SECOND,
        "{attempts} {waited:?}"
    );
    let (attempts, _) = run(|| answer(400, ""));
    assert_eq!(attempts, 1);
    let (attempts, _) = run(|| fault(FaultKind::Connect));
    assert_eq!(attempts, 3);
}

#[test]
fn threads_sign_in_once() {
    let (provider, script, _) = provider(
        |request| {
            std::thread::sleep(Duration::from_millis(50));
            hourly(request)
        },
        unwrapped,
    );
    std::thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| unwrap(&provider).unwrap());
        }
    });
    assert_eq!(script.count("169.254"), 1);
    assert_eq!(script.count("unwrapkey"), 32);
}

#[test]
fn a_binding_stands_for_an_hour() {
    let (provider, script, clock) = provider(hourly, honest());
    let key = KeyRef::parse(KEY).unwrap();
    let wrap = || provider.wrap(&WrapRequest::new(&key, &[7; 72]));
    assert_eq!(wrap().unwrap().key.version(), V);
    assert_eq!(script.asked.lock().unwrap().len(), 1 + 3 + 1);
    clock.advance(3599 * SECOND);
    wrap().unwrap();
    assert_eq!(script.count("team?"), 1);
    clock.advance(SECOND);
    wrap().unwrap();
    assert_eq!(script.count("team?"), 2);
    let newest = provider.newest(&NewestRequest::new(&key)).unwrap().unwrap();
    assert_eq!((newest.key.version(), newest.created), (V, Some(5)));
    assert_eq!(script.count("team?"), 3);
}

#[test]
fn a_binding_does_not_outlive_the_machines_sleep() {
    let (provider, script, clock) = provider(hourly, honest());
    let key = KeyRef::parse(KEY).unwrap();
    let wrap = || provider.wrap(&WrapRequest::new(&key, &[7; 72]));
    wrap().unwrap();
    clock.sleep_the_machine(3600 * SECOND);
    wrap().unwrap();
    assert_eq!(script.count("team?"), 2);
}

#[test]
fn a_failed_second_look_leaves_nothing_bound() {
    let gone = Arc::new(AtomicBool::new(false));
    let (vault, now) = (honest(), Arc::clone(&gone));
    let (provider, _, _) = provider(hourly, move |request| {
        if now.load(Ordering::SeqCst) {
            return answer(404, "");
        }
        vault(request)
    });
    let key = KeyRef::parse(KEY).unwrap();
    let wrap = || provider.wrap(&WrapRequest::new(&key, &[7; 72]));
    wrap().unwrap();
    gone.store(true, Ordering::SeqCst);
    let e = provider.newest(&NewestRequest::new(&key)).unwrap_err();
    assert_eq!(e.kind, ProviderErrorKind::NotFound);
    assert_eq!(wrap().unwrap_err().kind, ProviderErrorKind::NotFound);
    gone.store(false, Ordering::SeqCst);
    wrap().unwrap();
}

#[test]
fn attempts_are_counted_for_the_caller() {
    let count = AtomicU64::new(0);
    let (provider, _, _) = provider(hourly, move |request| {
        if count.fetch_add(1, Ordering::SeqCst) < 2 {
            return answer(500, "");
        }
        unwrapped(request)
    });
    let key = KeyId::parse(&format!("{KEY}/{V}")).unwrap();
    let call = Call::new();
    let request = UnwrapRequest::new(&key, WrapAlgorithm::RsaOaep256, &[1; 384]).in_call(&call);
    assert!(provider.unwrap(&request).is_ok());
    assert_eq!(call.answer().attempts, 3);
}

#[test]
fn dates_are_those_of_the_clock() {
    // Virtual time begins in 2027; what the vault says is compared with it.
    assert_eq!(EPOCH, 1_800_000_000);
    let (provider, _, clock) = provider(hourly, |_| {
        answer_after(429, "Fri, 15 Jan 2027 08:00:20 GMT")
    });
    let e = unwrap(&provider).unwrap_err();
    // Waited for once, then the date has passed and our own pauses take over, to the deadline.
    assert_eq!(e.kind, ProviderErrorKind::Throttled);
    assert!(clock.elapsed() >= 20 * SECOND, "{:?}", clock.elapsed());
}

#[test]
fn no_secret_is_shown() {
    let secret = "very-secret-token";
    let (provider, _, _) = provider(
        move |_| {
            answer(
                200,
                &format!(r#"{{"access_token":"{secret}","expires_in":9999}}"#),
            )
        },
        |request| {
            let bearer = &request.headers[0].1;
            // A vault that says it all back.
            answer(
                403,
                &format!(
                    r#"{{"error":{{"code":"{0}","message":"{0}","innererror":{{"code":"{0}"}}}}}}"#,
                    bearer.as_str()
                ),
            )
        },
    );
    let e = unwrap(&provider).unwrap_err();
    assert!(!format!("{e} {e:?} {provider:?}").contains(secret), "{e:?}");
    let environment = Environment::from_pairs([("AZURE_CLIENT_SECRET", secret)]);
    assert_eq!(format!("{environment:?}"), r#"{"AZURE_CLIENT_SECRET"}"#);
    let identity = Identity::client_secret_of("t", "c", secret);
    assert_eq!(format!("{identity:?}"), r#"Identity("client-secret")"#);
}

#[test]
fn the_parsers_take_anything() {
    let samples: &[&[u8]] = &[
        b"",
        b"{",
        b"{}",
        b"[]",
        b"null",
        b"\xff",
        b"{\"key\":{}}",
        b"{\"key\":{\"n\":\"!\"},\"attributes\":{\"nbf\":-1}}",
        b"{\"error\":{\"innererror\":{\"innererror\":{}}}}",
        b"{\"access_token\":\"\\u0000\",\"expires_in\":1e99}",
    ];
    for sample in samples {
        crate::fuzz::key(sample);
        crate::fuzz::error(sample);
        crate::fuzz::token(sample);
        let text = String::from_utf8_lossy(sample);
        crate::fuzz::challenge(&format!("Bearer {text}"));
        crate::fuzz::dates(&text);
    }
}
