//! Access tokens: what endpoints answer, and the cache per audience.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cmkit::ProviderError;
use serde::Deserialize;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::call::Operation;
use crate::clock::Clock;
use crate::failure::{About, identity};
use crate::flight::Flight;
use crate::http::Net;
use crate::http::date::loose_date;
use crate::identity::{Credential, SignIn};
use crate::text::JsonText;

/// Seconds before its end at which a token is renewed.
const EARLY: u64 = 300;
/// Seconds to leave a failed renewal alone while the old token is good.
const RENEWAL_PAUSE: u64 = 30;
/// For the very first token: a node that has just started may not have its identity yet.
pub(crate) const FIRST_SIGN_IN: Duration = Duration::from_secs(90);
/// For any later one that a call waits for.
const SIGN_IN: Duration = Duration::from_secs(30);
/// For one that isn't needed yet.
const RENEWAL: Duration = Duration::from_secs(10);

/// A token and its end, in seconds since 1970. Wiped when dropped, without `Debug`.
pub(crate) struct AccessToken {
    secret: Zeroizing<String>,
    expires: u64,
    renew: u64,
}

impl AccessToken {
    pub(crate) fn new(secret: Zeroizing<String>, expires: u64, now: u64) -> Self {
        let life = expires.saturating_sub(now);
        Self {
            secret,
            expires,
            renew: expires - EARLY.min(life / 2),
        }
    }

    pub(crate) fn secret(&self) -> &str {
        &self.secret
    }

    pub(crate) fn expires(&self) -> u64 {
        self.expires
    }
}

/// The answer of a token endpoint. All that it may say is optional here; the parser says what is missing.
#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow, alias = "accessToken")]
    access_token: Option<JsonText<'a>>,
    expires_in: Option<Value>,
    expires_on: Option<Value>,
}

/// The token of an answer, `now` being the time.
pub(crate) fn parse(body: &[u8], now: u64) -> Result<AccessToken, &'static str> {
    let (secret, expires) = parse_parts(body, now)?;
    let expires = expires.ok_or("it does not say when the token ends")?;
    check(secret, expires, now)
}

/// As [`parse`], for an answer that needn't say when the token ends: then it is taken for five minutes.
pub(crate) fn parse_lenient(body: &[u8], now: u64) -> Result<AccessToken, &'static str> {
    let (secret, expires) = parse_parts(body, now)?;
    check(secret, expires.unwrap_or(now.saturating_add(300)), now)
}

fn check(secret: Zeroizing<String>, expires: u64, now: u64) -> Result<AccessToken, &'static str> {
    if expires <= now {
        return Err("the token has expired already; check this machine's clock");
    }
    Ok(AccessToken::new(secret, expires, now))
}

fn parse_parts(body: &[u8], now: u64) -> Result<(Zeroizing<String>, Option<u64>), &'static str> {
    let answer: Answer<'_> =
        serde_json::from_slice(body).map_err(|_| "it is not the JSON of a token")?;
    let token = answer
        .access_token
        .ok_or("there is no access_token in it")?;
    let secret = Zeroizing::new(token.as_str().to_owned());
    let fits = !secret.is_empty() && secret.bytes().all(|b| b.is_ascii_graphic());
    fits.then_some(())
        .ok_or("its access_token is not one for a header")?;
    // How long is better than until when: it needs no right clock.
    let relative = answer.expires_in.as_ref().and_then(number);
    let expires = match relative {
        Some(seconds) => Some(now.saturating_add(seconds)),
        None => answer.expires_on.as_ref().and_then(moment),
    };
    Ok((secret, expires))
}

/// An integer, or its digits in a string.
fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Number(n) => n.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn moment(value: &Value) -> Option<u64> {
    number(value).or_else(|| loose_date(value.as_str()?))
}

/// The tokens of one provider, for one audience each.
pub(crate) struct Tokens {
    slots: Mutex<Vec<Arc<Slot>>>,
}

struct Slot {
    audience: String,
    state: Mutex<SlotState>,
    flight: Flight<Arc<AccessToken>>,
    /// For tokens with claims: one without them is no answer to a thread that needs them.
    claims_flight: Flight<Arc<AccessToken>>,
}

#[derive(Default)]
struct SlotState {
    token: Option<Arc<AccessToken>>,
    /// What `token` was asked to have.
    claims: Option<String>,
    ever: bool,
    /// No renewal before this, in seconds since 1970.
    pause_until: u64,
}

/// Whether a token stood in the cache before this operation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Age {
    Cached,
    New,
}

impl Tokens {
    pub(crate) fn new() -> Self {
        Self {
            slots: Mutex::default(),
        }
    }

    fn slot(&self, audience: &str) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.iter().find(|slot| slot.audience == audience) {
            return Arc::clone(slot);
        }
        let slot = Arc::new(Slot {
            audience: audience.to_owned(),
            state: Mutex::default(),
            flight: Flight::default(),
            claims_flight: Flight::default(),
        });
        slots.push(Arc::clone(&slot));
        slot
    }

    /// A token that is good now: cached, renewed or new.
    pub(crate) fn get(
        &self,
        net: &Net,
        credential: &dyn Credential,
        audience: &str,
        operation: &Operation<'_>,
    ) -> Result<(Arc<AccessToken>, Age), ProviderError> {
        let slot = self.slot(audience);
        let now = net.clock.unix();
        if let Some(token) = slot.good(now) {
            let due = now >= token.renew && now >= slot.lock().pause_until;
            // While somebody renews it, or when that fails, it serves to its end.
            if !due || slot.flight.is_in_the_air() {
                return Ok((token, Age::Cached));
            }
            let renewed = slot.fetch(net, credential, None, operation, RENEWAL, |other| {
                now < other.renew
            });
            return match renewed {
                Ok(token) => Ok((token, Age::New)),
                Err(_) => {
                    slot.lock().pause_until = now + RENEWAL_PAUSE;
                    Ok((token, Age::Cached))
                }
            };
        }
        let limit = if slot.lock().ever {
            SIGN_IN
        } else {
            FIRST_SIGN_IN
        };
        let token = slot.fetch(net, credential, None, operation, limit, |_| true)?;
        Ok((token, Age::New))
    }

    /// Another token than `refused`, which the vault didn't take; with these claims, if it named some.
    pub(crate) fn replace(
        &self,
        net: &Net,
        credential: &dyn Credential,
        audience: &str,
        refused: &Arc<AccessToken>,
        claims: Option<&str>,
        operation: &Operation<'_>,
    ) -> Result<Arc<AccessToken>, ProviderError> {
        let slot = self.slot(audience);
        {
            let mut state = slot.lock();
            if state
                .token
                .as_ref()
                .is_some_and(|token| Arc::ptr_eq(token, refused))
            {
                state.token = None;
            }
        }
        // Another thread may have been faster.
        slot.fetch(net, credential, claims, operation, SIGN_IN, |other| {
            !std::ptr::eq(other, &**refused)
        })
    }
}

impl Slot {
    fn lock(&self) -> std::sync::MutexGuard<'_, SlotState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn good(&self, now: u64) -> Option<Arc<AccessToken>> {
        self.lock()
            .token
            .clone()
            .filter(|token| now < token.expires)
    }

    /// Signs in, unless what is there by now is `enough`.
    fn fetch(
        &self,
        net: &Net,
        credential: &dyn Credential,
        claims: Option<&str>,
        operation: &Operation<'_>,
        limit: Duration,
        enough: impl Fn(&AccessToken) -> bool,
    ) -> Result<Arc<AccessToken>, ProviderError> {
        let clock = &*net.clock;
        let begun = clock.now();
        let deadline = operation.own_deadline(clock, limit);
        let ready = || {
            let fits = claims.is_none() || self.lock().claims.as_deref() == claims;
            self.good(clock.unix())
                .filter(|token| fits && enough(token))
        };
        let work = || {
            let sign_in = SignIn {
                net,
                audience: &self.audience,
                claims,
                deadline,
            };
            let token = Arc::new(credential.sign_in(&sign_in)?);
            let mut state = self.lock();
            state.token = Some(Arc::clone(&token));
            state.claims = claims.map(str::to_owned);
            state.ever = true;
            state.pause_until = 0;
            Ok(token)
        };
        let flight = match claims {
            Some(_) => &self.claims_flight,
            None => &self.flight,
        };
        let result = flight
            .run(|| clock.now(), deadline, ready, work)
            .unwrap_or_else(|| {
                Err(identity(
                    "another thread is still signing in, and there was no time left to wait for it",
                )
                .retryable(true))
            });
        operation.waited(clock.now().saturating_duration_since(begun));
        result.map_err(|e| e.during(operation))
    }
}

/// Now and the token's own time are compared in whole seconds.
pub(crate) fn seconds_left(token: &AccessToken, clock: &dyn Clock) -> u64 {
    token.expires().saturating_sub(clock.unix())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_560_990_000;

    fn end(body: &str) -> Result<u64, &'static str> {
        parse(body.as_bytes(), NOW).map(|token| token.expires)
    }

    #[test]
    fn every_way_of_saying_when_it_ends() {
        for said in [
            r#""expires_on":1560999478"#,
            r#""expires_on":"1560999478""#,
            r#""expires_on":"06/20/2019 02:57:58 +00:00""#,
            r#""expires_on":"6/20/2019 2:57:58 AM +00:00""#,
            r#""expires_in":9478"#,
            r#""expires_in":"9478","expires_on":"1""#,
        ] {
            assert_eq!(
                end(&format!(r#"{{"access_token":"t",{said}}}"#)),
                Ok(1_560_999_478),
                "{said}"
            );
        }
    }

    #[test]
    fn what_is_not_a_token() {
        for body in [
            "",
            "[]",
            "{}",
            r#"{"access_token":1,"expires_in":9}"#,
            r#"{"access_token":"","expires_in":9}"#,
            r#"{"access_token":"a\nb","expires_in":9}"#,
            r#"{"access_token":"t"}"#,
            r#"{"access_token":"t","expires_on":true}"#,
            r#"{"access_token":"t","expires_on":1}"#,
            r#"{"access_token":"t","expires_in":0}"#,
        ] {
            assert!(end(body).is_err(), "{body}");
        }
        assert!(parse_lenient(br#"{"accessToken":"t"}"#, NOW).is_ok());
    }

    #[test]
    fn tokens_are_renewed_early_and_short_ones_at_half_time() {
        let renew =
            |life| AccessToken::new(Zeroizing::new("t".into()), NOW + life, NOW).renew - NOW;
        assert_eq!(renew(3600), 3300);
        assert_eq!(renew(100), 50);
    }
}
