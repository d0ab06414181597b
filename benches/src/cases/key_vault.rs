//! Keys in a vault, against the fake one: what the client costs beside bare requests, what a cached document costs beside one under a local key, and what
//! maintenance costs while nothing happens.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use cmkit::{
    EncryptionContext, KeyId, KeyProvider as _, KeyRef, Keyring, UnwrapRequest, WrapAlgorithm,
    WrapRequest,
};
use cmkit_azure::{Environment, Identity, KeyVaultProvider};
use cmkit_testkit::{Addresses, FakeVault};
use serde_json::{Value, json};
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};
use ureq::{Agent, Proxy};

use super::{Row, Target};
use crate::measure::{repetitions, side_by_side};

const HOST: &str = "bench.vault.azure.net";
/// Wraps and unwraps in one measurement.
const CALLS: u32 = 40;
const CAPSULE: [u8; 72] = [7; 72];

/// Rows for the client, the cached path and idling.
///
/// # Panics
/// When the fake vault can't be started, or a call fails.
#[must_use]
pub fn rows() -> Vec<Row> {
    let fake = FakeVault::start().expect("the fake vault");
    let key = KeyId::parse(&fake.create_key(HOST, "bench")).expect("a key id");
    vec![
        wrap_and_unwrap(fake.addresses(), &key),
        cached_document(fake.addresses(), &key),
        idling(fake.addresses(), &key),
    ]
}

fn provider(addresses: &Addresses, key: &KeyRef) -> KeyVaultProvider {
    let application = &addresses.identity;
    KeyVaultProvider::builder()
        .key(key.clone())
        .identity(Identity::client_secret_of(
            application.tenant_id.as_str(),
            application.client_id.as_str(),
            application.client_secret.as_str(),
        ))
        .ca_file(&addresses.ca_file)
        .environment(Environment::from_pairs([(
            "HTTPS_PROXY",
            &*addresses.proxy,
        )]))
        .build()
        .expect("a provider")
}

fn keyring(addresses: &Addresses, key: &KeyId) -> Keyring {
    let key = key.without_version();
    Keyring::builder()
        .provider(Arc::new(provider(addresses, &key)))
        .wrap_with(key)
        .build()
        .expect("a keyring")
}

fn wrap_and_unwrap(addresses: &Addresses, key: &KeyId) -> Row {
    let provider = provider(addresses, &key.without_version());
    let bare = Bare::new(addresses, key);
    let [ours, peer] = side_by_side([
        &mut || {
            for _ in 0..CALLS {
                let wrapped = provider
                    .wrap(&WrapRequest::new(key, &CAPSULE))
                    .expect("wrapped");
                let request = UnwrapRequest::new(key, wrapped.algorithm, &wrapped.wrapped);
                let back = provider.unwrap(&request).expect("unwrapped");
                assert_eq!(back.expose(), CAPSULE);
            }
        },
        &mut || {
            for _ in 0..CALLS {
                let wrapped = bare.transform("wrapkey", &CAPSULE);
                assert_eq!(bare.transform("unwrapkey", &wrapped), CAPSULE);
            }
        },
    ]);
    let each = |seconds: f64| format!("{:.2} ms", seconds * 1e3 / f64::from(CALLS));
    Row {
        what: "wrap + unwrap, RSA 3072 in the fake vault / bare ureq".into(),
        ours: each(ours),
        peer: each(peer),
        figure: ours / peer,
        target: Target::AtMost(1.2),
    }
}

/// A client that does nothing but the two requests.
struct Bare {
    agent: Agent,
    url: String,
    bearer: String,
}

impl Bare {
    fn new(addresses: &Addresses, key: &KeyId) -> Self {
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .unversioned_rustls_crypto_provider(Arc::new(
                rustls::crypto::aws_lc_rs::default_provider(),
            ))
            .root_certs(RootCerts::Specific(Arc::new(vec![authority(
                &addresses.ca_file,
            )])))
            .build();
        let agent = Agent::new_with_config(
            Agent::config_builder()
                .proxy(Some(Proxy::new(&addresses.proxy).expect("a proxy")))
                .tls_config(tls)
                .build(),
        );
        let application = &addresses.identity;
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", application.client_id.as_str()),
            ("client_secret", application.client_secret.as_str()),
            ("scope", "https://vault.azure.net/.default"),
        ];
        let url = format!(
            "https://login.microsoftonline.com/{}/oauth2/v2.0/token",
            application.tenant_id
        );
        let mut answer = agent.post(&url).send_form(form).expect("a token");
        let answer = answer.body_mut().read_to_vec().expect("a token");
        let token: Value = serde_json::from_slice(&answer).expect("JSON");
        Self {
            agent,
            url: key.to_string(),
            bearer: format!(
                "Bearer {}",
                token["access_token"].as_str().expect("a token")
            ),
        }
    }

    fn transform(&self, operation: &str, value: &[u8]) -> Vec<u8> {
        let body = json!({
            "alg": WrapAlgorithm::RsaOaep256.name(),
            "value": BASE64_URL_SAFE_NO_PAD.encode(value),
        });
        let mut answer = self
            .agent
            .post(format!("{}/{operation}?api-version=7.4", self.url))
            .header("authorization", &self.bearer)
            .header("content-type", "application/json")
            .send(body.to_string())
            .expect("an answer");
        let answer = answer.body_mut().read_to_vec().expect("an answer");
        let answer: Value = serde_json::from_slice(&answer).expect("JSON");
        BASE64_URL_SAFE_NO_PAD
            .decode(answer["value"].as_str().expect("a value"))
            .expect("base64url")
    }
}

fn authority(path: &Path) -> Certificate<'static> {
    let pem = fs::read(path).expect("the CA's file");
    Certificate::from_pem(&pem)
        .expect("a certificate")
        .to_owned()
}

fn cached_document(addresses: &Addresses, key: &KeyId) -> Row {
    let context = EncryptionContext::new([("doc", "42")]).expect("a context");
    let (local, _dir) = crate::keyring();
    let vault = keyring(addresses, key);
    let plaintext = [7; 1024];
    let mut out = [0; 4096];
    let mut back = [0; 1024];
    let mut both = |keyring: &Keyring, n: u32| {
        for _ in 0..n {
            let len = keyring
                .encrypt_into(&plaintext, &context, &mut out)
                .expect("sealed");
            keyring
                .decrypt_into(&out[..len], &context, &mut back)
                .expect("opened");
        }
    };
    let n = repetitions(&mut || both(&local, 1), Duration::from_millis(200));
    let both = std::cell::RefCell::new(both);
    let [ours, peer] = side_by_side([&mut || both.borrow_mut()(&vault, n), &mut || {
        both.borrow_mut()(&local, n)
    }]);
    let each = |seconds: f64| format!("{:.0} ns", seconds * 1e9 / f64::from(n));
    Row {
        what: "1 KiB document there and back, cached DEK: vault key / local key".into(),
        ours: each(ours),
        peer: each(peer),
        figure: ours / peer,
        target: Target::AtMost(1.1),
    }
}

/// The CPU time that ten keyrings with maintenance threads take while nothing happens.
fn idling(addresses: &Addresses, key: &KeyId) -> Row {
    const SECONDS: u64 = 20;
    let keyrings: Vec<Keyring> = (0..10).map(|_| keyring(addresses, key)).collect();
    let context = EncryptionContext::empty();
    for keyring in &keyrings {
        let envelope = keyring.encrypt(b"text", &context).expect("sealed");
        keyring.decrypt(&envelope, &context).expect("opened");
    }
    let threads: Vec<_> = keyrings
        .iter()
        .map(|keyring| keyring.maintenance_thread().expect("a thread"))
        .collect();
    // The first round of each is part of coming up.
    std::thread::sleep(Duration::from_secs(1));
    let (cpu, start) = (cpu_time(), Instant::now());
    std::thread::sleep(Duration::from_secs(SECONDS));
    let share = (cpu_time() - cpu).as_secs_f64() / start.elapsed().as_secs_f64() * 100.0;
    drop(threads);
    Row {
        what: "CPU of ten idle keyrings with maintenance, percent of a core".into(),
        ours: format!("{share:.3} %"),
        peer: String::new(),
        figure: share,
        target: Target::AtMost(0.1),
    }
}

/// What this process has used so far, by the scheduler's count in nanoseconds.
fn cpu_time() -> Duration {
    let mut total = 0;
    for thread in fs::read_dir("/proc/self/task").expect("/proc").flatten() {
        let text = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
        let first = text.split_whitespace().next();
        total += first.and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    }
    Duration::from_nanos(total)
}
