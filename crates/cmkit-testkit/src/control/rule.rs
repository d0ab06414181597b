//! Rules: what to do to the next requests of a kind, instead of or on top of the honest answer.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::log::Facts;
use super::op::Op;
use crate::clock;
use crate::server::http::Response;
use crate::vault::{encoding, error};

/// What to do to the requests it is for. Rules stand in a queue: each request meets the first one that is
/// for it and has times left, and no other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Rule {
    /// The kind of request.
    pub op: Op,
    /// Only for this host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Only for this key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Only when this version is named in the path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Let so many pass first.
    #[serde(default)]
    pub skip: u64,
    /// For so many requests; until the next reset if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    /// Wait before anything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stall_ms: Option<u64>,
    /// Answer this. The operation isn't carried out, and the body is the service's for that status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Carry the operation out although its answer is replaced or lost.
    #[serde(default)]
    pub carry_out: bool,
    /// Close the connection instead of answering.
    #[serde(default)]
    pub drop: bool,
    /// The inner code of the error that `status` gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inner: Option<String>,
    /// Headers to set.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// `Retry-After` in so many seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    /// `Retry-After` as the date in so many seconds, by this machine's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_date: Option<u64>,
    /// The body, whatever it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Merged into the JSON of the answer (RFC 7396: null removes).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merge: Option<Value>,
    /// Pad every base64url value.
    #[serde(default)]
    pub padded: bool,
    /// Put a zero byte before `n`.
    #[serde(default)]
    pub leading_zero: bool,
    /// Write this port into `kid`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kid_port: Option<u16>,
    /// Spaces up to this length after the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fill: Option<usize>,
    /// Send so many bytes of the body, then close.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut_after: Option<usize>,
}

impl Rule {
    /// A rule that does nothing yet, for all requests of this kind until the next reset.
    #[must_use]
    pub fn new(op: Op) -> Self {
        Self {
            op,
            host: None,
            key: None,
            version: None,
            skip: 0,
            times: None,
            stall_ms: None,
            status: None,
            carry_out: false,
            drop: false,
            inner: None,
            headers: BTreeMap::new(),
            retry_after: None,
            retry_after_date: None,
            body: None,
            merge: None,
            padded: false,
            leading_zero: false,
            kid_port: None,
            fill: None,
            cut_after: None,
        }
    }

    /// A rule that answers with a status, as the service would.
    #[must_use]
    pub fn status(op: Op, status: u16) -> Self {
        let mut rule = Self::new(op);
        rule.status = Some(status);
        rule
    }

    /// A rule that closes the connection.
    #[must_use]
    pub fn dropping(op: Op) -> Self {
        let mut rule = Self::new(op);
        rule.drop = true;
        rule
    }

    /// A rule that waits, then lets the request through.
    #[must_use]
    pub fn stalling(op: Op, time: Duration) -> Self {
        let mut rule = Self::new(op);
        rule.stall_ms = Some(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        rule
    }

    /// A rule that changes the JSON of the answer.
    #[must_use]
    pub fn merging(op: Op, changes: Value) -> Self {
        let mut rule = Self::new(op);
        rule.merge = Some(changes);
        rule
    }

    /// The rule for so many requests only.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    fn is_for(&self, facts: &Facts) -> bool {
        let same = |wanted: &Option<String>, given: Option<&str>| match wanted {
            None => true,
            Some(wanted) => given.is_some_and(|given| given.eq_ignore_ascii_case(wanted)),
        };
        self.times != Some(0)
            && self.op.covers(facts.op)
            && same(&self.host, Some(&facts.host))
            && same(&self.key, facts.key.as_deref())
            && same(&self.version, facts.version.as_deref())
    }

    /// The answer that comes in place of the honest one, if one does.
    pub(crate) fn instead(&self) -> Option<Response> {
        let status = self.status?;
        let mut response = error::general(status);
        if status < 400 {
            response = Response::empty(status);
        } else if let Some(inner) = &self.inner {
            let merge = serde_json::json!({"error": {"innererror": {"code": inner}}});
            change_json(&mut response, |value| merge_into(value, &merge));
        }
        Some(response)
    }

    /// Everything that is done to an answer, honest or not.
    pub(crate) fn change(&self, response: &mut Response) {
        if let Some(merge) = &self.merge {
            change_json(response, |value| merge_into(value, merge));
        }
        if self.padded || self.leading_zero || self.kid_port.is_some() {
            change_json(response, |value| self.change_values(value));
        }
        if let Some(body) = &self.body {
            response.body = body.clone().into_bytes();
        }
        if let Some(len) = self.fill {
            response.body.resize(len.max(response.body.len()), b' ');
        }
        if let Some(seconds) = self.retry_after {
            response.set("Retry-After", seconds.to_string());
        }
        if let Some(seconds) = self.retry_after_date {
            let date = SystemTime::now() + Duration::from_secs(seconds);
            response.set("Retry-After", clock::http_date(date));
        }
        for (name, value) in &self.headers {
            response.set(name, value);
        }
        response.cut_after = self.cut_after;
    }

    fn change_values(&self, value: &mut Value) {
        let Value::Object(map) = value else { return };
        for (name, value) in map {
            match (name.as_str(), &mut *value) {
                ("n" | "e" | "value", Value::String(text)) => self.change_bytes(name, text),
                ("kid", Value::String(kid)) => {
                    if let Some(port) = self.kid_port {
                        *kid = kid.replacen("/keys/", &format!(":{port}/keys/"), 1);
                    }
                }
                (_, value) => self.change_values(value),
            }
        }
    }

    fn change_bytes(&self, name: &str, text: &mut String) {
        if self.leading_zero && name == "n" {
            let mut bytes = vec![0];
            bytes.extend(encoding::decode(text).unwrap_or_default());
            *text = encoding::encode(&bytes);
        }
        while self.padded && !text.len().is_multiple_of(4) {
            text.push('=');
        }
    }
}

/// Counts the request against the queue and returns the rule it meets.
pub(crate) fn take(rules: &mut [Rule], facts: &Facts) -> Option<Rule> {
    for rule in rules {
        if !rule.is_for(facts) {
            continue;
        }
        if rule.skip > 0 {
            rule.skip -= 1;
            continue;
        }
        rule.times = rule.times.map(|times| times - 1);
        return Some(rule.clone());
    }
    None
}

fn change_json(response: &mut Response, change: impl FnOnce(&mut Value)) {
    if let Ok(mut value) = serde_json::from_slice(&response.body) {
        change(&mut value);
        response.body = value.to_string().into_bytes();
    }
}

fn merge_into(value: &mut Value, changes: &Value) {
    let Value::Object(changes) = changes else {
        *value = changes.clone();
        return;
    };
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    if let Value::Object(map) = value {
        for (name, change) in changes {
            match change {
                Value::Null => {
                    map.remove(name);
                }
                change => merge_into(map.entry(name.clone()).or_insert(Value::Null), change),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn facts(op: Op, key: &str) -> Facts {
        let mut facts = Facts::new("v.vault.azure.net", op);
        facts.key = Some(key.into());
        facts
    }

    #[test]
    fn a_queue_is_worked_off_in_order() {
        let mut rules = [
            Rule::status(Op::Wrap, 429).times(2),
            Rule::status(Op::Vault, 503).times(1),
        ];
        let mut next = |op| take(&mut rules, &facts(op, "kek")).and_then(|rule| rule.status);
        assert_eq!(next(Op::Wrap), Some(429));
        assert_eq!(next(Op::Wrap), Some(429));
        assert_eq!(next(Op::Entra), None);
        assert_eq!(next(Op::Get), Some(503));
        assert_eq!(next(Op::Get), None);
    }

    #[test]
    fn a_rule_can_be_for_one_key_and_skip() {
        let mut rule = Rule::status(Op::Unwrap, 500);
        rule.key = Some("KEK".into());
        rule.skip = 1;
        let mut rules = [rule];
        assert!(take(&mut rules, &facts(Op::Unwrap, "other")).is_none());
        assert!(take(&mut rules, &facts(Op::Unwrap, "kek")).is_none());
        assert!(take(&mut rules, &facts(Op::Unwrap, "kek")).is_some());
    }

    #[test]
    fn answers_change_as_told() {
        let body = json!({"key": {"kid": "https://h/keys/k/1", "n": "gIA"}, "managed": true});
        let mut response = Response::json(200, &body);
        let mut rule = Rule::merging(Op::Get, json!({"managed": null, "tags": {"a": "b"}}));
        rule.padded = true;
        rule.leading_zero = true;
        rule.kid_port = Some(8443);
        rule.change(&mut response);
        let changed: Value = serde_json::from_slice(&response.body).unwrap();
        let key = json!({"kid": "https://h:8443/keys/k/1", "n": "AICA"});
        assert_eq!(changed, json!({"key": key, "tags": {"a": "b"}}));
    }

    #[test]
    fn errors_have_azures_form() {
        let mut rule = Rule::status(Op::Get, 403);
        rule.inner = Some("ForbiddenByFirewall".into());
        let body: Value = serde_json::from_slice(&rule.instead().unwrap().body).unwrap();
        assert_eq!(body["error"]["code"], "Forbidden");
        assert_eq!(body["error"]["innererror"]["code"], "ForbiddenByFirewall");
    }
}
