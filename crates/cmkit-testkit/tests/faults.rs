//! How the fake vault fails when it is told to.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a panic is how a test fails"
)]

mod client;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use client::{Answer, imds, request, secure, send, send_plain, token, tunnel};
use cmkit_testkit::{Certificate, Command, Denial, FakeVault, Op, Rule, TimeFormat, VaultChange};
use serde_json::json;

const HOST: &str = "customer.vault.azure.net";

fn with_key() -> FakeVault {
    let fake = FakeVault::start().unwrap();
    fake.create_key_with(HOST, "kek", json!({"kty": "RSA", "key_size": 2048}));
    fake
}

fn try_get(fake: &FakeVault) -> std::io::Result<Answer> {
    let token = token(fake);
    let target = "/keys/kek?api-version=7.4";
    send(fake, HOST, &request("GET", HOST, target, &token, ""))
}

fn get(fake: &FakeVault) -> Answer {
    try_get(fake).unwrap()
}

#[test]
fn queued_answers() {
    let fake = with_key();
    let mut throttled = Rule::status(Op::Get, 429).times(1);
    throttled.retry_after_date = Some(30);
    fake.rule(throttled);
    fake.rule(Rule::status(Op::Vault, 503).times(2));
    let first = get(&fake);
    assert_eq!(first.status, 429);
    assert!(first.header("Retry-After").unwrap().ends_with(" GMT"));
    assert_eq!(first.json()["error"]["code"], "Throttled");
    assert_eq!(get(&fake).status, 503);
    assert_eq!(get(&fake).status, 503);
    assert_eq!(get(&fake).status, 200);
}

#[test]
fn an_operation_can_be_done_and_its_answer_lost() {
    let fake = with_key();
    let rotate = |fake: &FakeVault| {
        let target = "/keys/kek/rotate?api-version=7.4";
        send(fake, HOST, &request("POST", HOST, target, &token(fake), ""))
    };
    let before = get(&fake).json()["key"]["kid"].clone();
    fake.rule(Rule::dropping(Op::Rotate).times(1));
    assert!(rotate(&fake).is_err());
    assert_eq!(get(&fake).json()["key"]["kid"], before);
    let mut lost = Rule::dropping(Op::Rotate).times(1);
    lost.carry_out = true;
    fake.rule(lost);
    assert!(rotate(&fake).is_err());
    assert_ne!(get(&fake).json()["key"]["kid"], before);
    let statuses = fake
        .log()
        .into_iter()
        .filter(|entry| entry.op == Op::Rotate);
    assert!(statuses.map(|entry| entry.status).eq([None, None]));
}

#[test]
fn bodies_can_be_cut_filled_and_replaced() {
    let fake = with_key();
    let whole = get(&fake).body.len();
    let mut cut = Rule::new(Op::Get).times(1);
    cut.cut_after = Some(10);
    fake.rule(cut);
    let stream = tunnel(&fake, HOST).unwrap();
    let mut tls = secure(&fake, stream, HOST, &[]).unwrap();
    let target = "/keys/kek?api-version=7.4";
    let text = request("GET", HOST, target, &token(&fake), "");
    tls.write_all(text.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    // Not closed as TLS would have it.
    assert!(tls.read_to_end(&mut bytes).is_err());
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("Content-Length: {whole}")));
    assert_eq!(body.len(), 10);

    let mut filled = Rule::new(Op::Get).times(1);
    filled.fill = Some(3_000_000);
    fake.rule(filled);
    let answer = get(&fake);
    assert_eq!(answer.body.len(), 3_000_000);
    assert!(answer.json()["key"].is_object());

    let mut replaced = Rule::new(Op::Get).times(1);
    replaced.body = Some("{\"key\":".into());
    fake.rule(replaced);
    assert_eq!(get(&fake).body, "{\"key\":");

    let mut redirect = Rule::status(Op::Get, 307).times(1);
    let elsewhere = "https://other.vault.azure.net/keys/kek".to_owned();
    redirect
        .headers
        .insert("Location".into(), elsewhere.clone());
    fake.rule(redirect);
    let answer = get(&fake);
    assert_eq!(
        (answer.status, answer.header("Location")),
        (307, Some(elsewhere.as_str()))
    );
    assert_eq!(get(&fake).status, 200);
}

#[test]
fn stalls_end_with_the_rules() {
    let fake = with_key();
    fake.rule(Rule::stalling(Op::Get, Duration::from_secs(3600)));
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| sender.send(get(&fake).status).unwrap());
        while fake.held() == 0 {
            thread::sleep(Duration::from_millis(10));
        }
        assert!(receiver.try_recv().is_err());
        fake.clear_rules();
        let status = receiver.recv_timeout(Duration::from_secs(60)).unwrap();
        assert_eq!(status, 200);
    });
}

#[test]
fn what_a_reset_interrupts_leaves_no_trace() {
    let fake = with_key();
    fake.rule(Rule::stalling(Op::Get, Duration::from_secs(3600)));
    thread::scope(|scope| {
        let held = scope.spawn(|| try_get(&fake));
        while fake.held() == 0 {
            thread::sleep(Duration::from_millis(10));
        }
        fake.reset();
        assert!(held.join().unwrap().is_err());
    });
    assert_eq!(fake.count(Op::Get), 0);
}

#[test]
fn a_vault_can_be_gone() {
    let fake = with_key();
    assert_eq!(get(&fake).status, 200);
    let gone = |gone| {
        fake.change_vault(VaultChange {
            host: HOST.into(),
            gone: Some(gone),
            ..VaultChange::default()
        });
    };
    gone(true);
    assert!(try_get(&fake).is_err());
    gone(false);
    assert_eq!(get(&fake).status, 200);
}

#[test]
fn a_vault_can_challenge_otherwise() {
    let fake = with_key();
    let ask = |host: &str| {
        let target = "/keys/kek?api-version=7.4";
        send(&fake, host, &request("GET", host, target, "", "")).unwrap()
    };
    for text in [
        "Bearer authorization_uri=\"https://elsewhere.example/t\"",
        "",
    ] {
        fake.change_vault(VaultChange {
            host: HOST.into(),
            challenge: Some(text.into()),
            ..VaultChange::default()
        });
        let answer = ask(HOST);
        assert_eq!(answer.status, 401);
        assert_eq!(answer.header("WWW-Authenticate").unwrap_or_default(), text);
    }
    let other = ask("other.managedhsm.azure.net");
    let challenge = other.header("WWW-Authenticate").unwrap();
    assert!(challenge.ends_with("resource=\"https://managedhsm.azure.net\""));
}

#[test]
fn permissions_are_taken_by_host() {
    let fake = with_key();
    let order = |host: &str| {
        let denial = Denial {
            host: Some(host.into()),
            op: Op::Vault,
            inner: "ForbiddenByPolicy".into(),
        };
        fake.order(Command::Deny(denial)).unwrap();
    };
    order("other.vault.azure.net");
    assert_eq!(get(&fake).status, 200);
    order(&HOST.to_uppercase());
    let answer = get(&fake);
    assert_eq!(
        (answer.status, answer.inner().as_str()),
        (403, "ForbiddenByPolicy")
    );
}

#[test]
fn disabled_keys_can_be_hidden() {
    let fake = with_key();
    let kid = get(&fake).json()["key"]["kid"].as_str().unwrap().to_owned();
    fake.disable(&kid);
    let answer = get(&fake);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["attributes"]["enabled"], false);
    fake.change_vault(VaultChange {
        host: HOST.into(),
        hide_disabled: Some(true),
        ..VaultChange::default()
    });
    let answer = get(&fake);
    assert_eq!(
        (answer.status, answer.inner().as_str()),
        (403, "KeyDisabled")
    );
    fake.enable(&kid);
    assert_eq!(get(&fake).status, 200);
}

#[test]
fn attributes_can_say_anything() {
    let fake = with_key();
    let kid = get(&fake).json()["key"]["kid"].as_str().unwrap().to_owned();
    let attributes = json!({"recoveryLevel": "Unheard", "exportable": true, "created": null});
    fake.set_attributes(&kid, attributes);
    let said = get(&fake).json()["attributes"].clone();
    assert_eq!(said["recoveryLevel"], "Unheard");
    assert_eq!(said["exportable"], true);
    assert!(said.get("created").is_none());
}

#[test]
fn token_endpoints_fail_as_well() {
    let fake = FakeVault::start().unwrap();
    let ask = || {
        send_plain(
            &fake,
            &imds("https://vault.azure.net", "Metadata: true\r\n"),
        )
    };
    fake.rule(Rule::status(Op::Token, 500).times(1));
    fake.rule(Rule::dropping(Op::Imds).times(1));
    assert_eq!(ask().unwrap().status, 500);
    assert!(ask().is_err());
    for (format, end) in [
        (TimeFormat::Integer, ""),
        (TimeFormat::String, ""),
        (TimeFormat::Date, " +00:00"),
        (TimeFormat::DateAmPm, "M +00:00"),
    ] {
        let order = Command::Tokens {
            lifetime: Some(100),
            expires_on: Some(format),
        };
        fake.order(order).unwrap();
        let said = ask().unwrap().json();
        assert_eq!(said["expires_in"], "100");
        match said["expires_on"].as_str() {
            Some(text) => assert!(text.ends_with(end)),
            None => assert_eq!(format, TimeFormat::Integer),
        }
    }
}

#[test]
fn certificates_can_be_wrong() {
    let fake = with_key();
    let tls = |certificate, only_tls12| {
        let order = Command::Tls {
            certificate,
            only_tls12,
        };
        fake.order(order).unwrap();
    };
    tls(Certificate::Good, true);
    assert_eq!(get(&fake).status, 200);
    for certificate in [
        Certificate::SelfSigned,
        Certificate::WrongHost,
        Certificate::Expired,
        Certificate::UnknownCa,
    ] {
        tls(certificate, false);
        assert!(try_get(&fake).is_err(), "{certificate:?}");
    }
    tls(Certificate::Good, false);
    assert_eq!(get(&fake).status, 200);
}

#[test]
fn without_the_proxy_it_is_an_emulator() {
    let fake = FakeVault::start().unwrap();
    let port = fake.addresses().https_port;
    let host = format!("localhost:{port}");
    let kid = fake.create_key_with(&host, "kek", json!({"kty": "oct-HSM"}));
    assert!(kid.starts_with(&format!("https://{host}/keys/kek/")));
    let pem = std::fs::read(&fake.addresses().self_signed_file).unwrap();
    for certificate in [Certificate::Good, Certificate::SelfSigned] {
        let order = Command::Tls {
            certificate,
            only_tls12: true,
        };
        fake.order(order).unwrap();
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let mut tls = secure(&fake, stream, "localhost", &pem).unwrap();
        let target = "/keys/kek?api-version=7.4";
        let text = request("GET", &host, target, &token(&fake), "");
        tls.write_all(text.as_bytes()).unwrap();
        let answer = client::answer(&mut tls).unwrap();
        assert_eq!(answer.json()["key"]["kid"], kid);
    }
}

#[test]
fn reset_makes_all_new() {
    let fake = with_key();
    fake.rule(Rule::status(Op::Vault, 500));
    fake.deny(Op::Get);
    fake.set_clock(1000);
    assert_eq!(get(&fake).status, 500);
    fake.reset();
    assert!(fake.log().is_empty());
    let answer = get(&fake);
    assert_eq!(answer.status, 404);
    assert_eq!(fake.counts().len(), 3);
    let kinds: Vec<Op> = fake.log().iter().map(|entry| entry.op).collect();
    assert_eq!(kinds, [Op::Imds, Op::Connect, Op::Get]);
}

#[test]
fn connections_are_kept() {
    let fake = with_key();
    let stream = tunnel(&fake, HOST).unwrap();
    let mut tls = secure(&fake, stream, HOST, &[]).unwrap();
    let target = "/keys/kek?api-version=7.4";
    let text = request("GET", HOST, target, &token(&fake), "");
    // Both at once: the second waits for the first.
    tls.write_all((text.clone() + &text).as_bytes()).unwrap();
    for _ in 0..2 {
        assert_eq!(client::answer(&mut tls).unwrap().status, 200);
    }
    let id = "x-ms-client-request-id: 9b0b5a4c\r\n\r\n";
    tls.write_all(text.replace("\r\n\r\n", &format!("\r\n{id}")).as_bytes())
        .unwrap();
    let answer = client::answer(&mut tls).unwrap();
    assert_eq!(answer.header("x-ms-client-request-id"), Some("9b0b5a4c"));
    assert_eq!(
        fake.log().last().unwrap().client_request_id.as_deref(),
        Some("9b0b5a4c")
    );
    drop(fake);
    // The end of the fake vault is the end of its connections.
    assert!(!matches!(tls.read(&mut [0]), Ok(1)));
}
