//! What the fake vault refuses, and how.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a panic is how a test fails"
)]

mod client;

use client::{Answer, imds, request, send, send_plain, token, token_for};
use cmkit_testkit::{Certificate, Command, FakeVault, Op};
use serde_json::json;

const HOST: &str = "customer.vault.azure.net";
const HSM: &str = "customer.managedhsm.azure.net";

/// A fake vault with a key in an HSM, and what goes before `/wrapkey` in its path.
fn with_key() -> (FakeVault, String) {
    let fake = FakeVault::start().unwrap();
    let kid = fake.create_key(HSM, "kek");
    let path = kid
        .strip_prefix(&format!("https://{HSM}"))
        .unwrap()
        .to_owned();
    (fake, path)
}

fn post(fake: &FakeVault, token: &str, target: &str, body: &str) -> Answer {
    send(fake, HSM, &request("POST", HSM, target, token, body)).unwrap()
}

fn hsm_token(fake: &FakeVault) -> String {
    token_for(fake, "https://managedhsm.azure.net")
}

#[test]
fn without_a_good_token_there_is_a_challenge() {
    let fake = FakeVault::start().unwrap();
    fake.create_key_with(HOST, "kek", json!({"kty": "oct-HSM"}));
    let get = |token: &str| {
        let target = "/keys/kek?api-version=7.4";
        send(&fake, HOST, &request("GET", HOST, target, token, "")).unwrap()
    };
    let tenant = &fake.addresses().identity.tenant_id;
    let challenge = format!(
        "Bearer authorization=\"https://login.microsoftonline.com/{tenant}\", \
         resource=\"https://vault.azure.net\""
    );
    let good = token(&fake);
    assert_eq!(get(&good).status, 200);
    for bad in ["", "made-up", &hsm_token(&fake), &good[1..]] {
        let answer = get(bad);
        assert_eq!(answer.status, 401, "{bad}");
        assert_eq!(answer.header("WWW-Authenticate"), Some(challenge.as_str()));
        assert_eq!(answer.json()["error"]["code"], "Unauthorized");
    }
    fake.set_clock(86_401);
    assert_eq!(get(&good).status, 401);
    fake.set_clock(0);
    assert_eq!(get(&good).status, 200);
    fake.order(Command::RevokeTokens {}).unwrap();
    assert_eq!(get(&good).status, 401);
}

#[test]
fn the_api_version_is_demanded() {
    let (fake, path) = with_key();
    let token = hsm_token(&fake);
    for (query, status) in [("", 400), ("?api-version=", 400), ("?api-version=6.0", 400)] {
        let target = format!("{path}{query}");
        let answer = send(&fake, HSM, &request("GET", HSM, &target, &token, "")).unwrap();
        assert_eq!(answer.status, status, "{query}");
        assert_eq!(answer.json()["error"]["code"], "BadParameter");
    }
}

#[test]
fn values_are_base64url_without_padding() {
    let (fake, path) = with_key();
    let token = hsm_token(&fake);
    let wrap = |body: &str| {
        post(
            &fake,
            &token,
            &format!("{path}/wrapkey?api-version=7.4"),
            body,
        )
    };
    let good = r#"{"alg":"A256KW","value":"AAAAAAAAAAAAAAAAAAAAAA"}"#;
    let answer = wrap(good);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["kid"], format!("https://{HSM}{path}"));
    assert!(!answer.body.contains('='));
    for body in [
        r#"{"alg":"A256KW","value":"AAAAAAAAAAAAAAAAAAAAAA=="}"#,
        r#"{"alg":"A256KW","value":"++++++++++++++++++++++"}"#,
        r#"{"alg":"A256KW","value":""}"#,
        r#"{"alg":"A256KW","value":7}"#,
        r#"{"alg":"A256KW"}"#,
        r#"{"alg":"RSA-OAEP-256","value":"AAAAAAAAAAAAAAAAAAAAAA"}"#,
        r#"{"alg":"A256KW","value":"AAAAAAAAAAAAAAAAAAAAAA","aad":"AA"}"#,
        r#"{"value":"AAAAAAAAAAAAAAAAAAAAAA"}"#,
        r#"["A256KW"]"#,
        "{",
    ] {
        let answer = wrap(body);
        assert_eq!(answer.status, 400, "{body}");
        assert_eq!(answer.json()["error"]["code"], "BadParameter", "{body}");
    }
    let target = format!("{path}/wrapkey?api-version=7.4");
    let untyped = request("POST", HSM, &target, &token, good).replace("/json", "/jason");
    assert_eq!(send(&fake, HSM, &untyped).unwrap().status, 415);
}

#[test]
fn paths_are_exact() {
    let (fake, path) = with_key();
    let token = hsm_token(&fake);
    let body = r#"{"alg":"A256KW","value":"AAAAAAAAAAAAAAAAAAAAAA"}"#;
    for (target, status) in [
        ("/keys/kek/wrapkey".to_owned(), 404),
        ("/keys/kek//wrapkey".into(), 404),
        (format!("{path}/wrapKey"), 404),
        (format!("{path}/"), 404),
        (format!("{path}0/wrapkey"), 404),
        (format!("/{path}/wrapkey"), 404),
        (path.clone(), 405),
    ] {
        let target = format!("{target}?api-version=7.4");
        assert_eq!(
            post(&fake, &token, &target, body).status,
            status,
            "{target}"
        );
    }
    let other = path.replace("kek", "kek2");
    let answer = post(
        &fake,
        &token,
        &format!("{other}/wrapkey?api-version=7.4"),
        body,
    );
    assert_eq!(answer.status, 404);
    assert_eq!(answer.json()["error"]["code"], "KeyNotFound");
}

#[test]
fn key_ops_and_versions_are_minded() {
    let (fake, path) = with_key();
    let token = hsm_token(&fake);
    let body = r#"{"alg":"A256KW","value":"AAAAAAAAAAAAAAAAAAAAAA"}"#;
    let kid = format!("https://{HSM}{path}");
    fake.set_key_ops(&kid, &["unwrapKey"]);
    let target = format!("{path}/wrapkey?api-version=7.4");
    let answer = post(&fake, &token, &target, body);
    assert_eq!(
        (answer.status, answer.inner().as_str()),
        (403, "KeyOperationForbidden")
    );
    // Another version has operations of its own.
    let newer = fake.rotate(HSM, "kek");
    fake.set_key_ops(&newer, &["wrapKey"]);
    let newer = newer.strip_prefix(&format!("https://{HSM}")).unwrap();
    let target = format!("{newer}/wrapkey?api-version=7.4");
    assert_eq!(post(&fake, &token, &target, body).status, 200);
    fake.disable(&kid);
    assert_eq!(post(&fake, &token, &target, body).status, 200);
}

#[test]
fn a_short_key_has_no_a256kw() {
    let fake = FakeVault::start().unwrap();
    let kid = fake.create_key_with(HSM, "kek", json!({"kty": "oct-HSM", "key_size": 128}));
    let target = format!(
        "{}/wrapkey?api-version=7.4",
        &kid["https://".len() + HSM.len()..]
    );
    let body = r#"{"alg":"A256KW","value":"AAAAAAAAAAAAAAAAAAAAAA"}"#;
    assert_eq!(post(&fake, &hsm_token(&fake), &target, body).status, 400);
}

#[test]
fn imds_wants_its_header_and_no_proxy() {
    let fake = FakeVault::start().unwrap();
    let resource = "https://vault.azure.net";
    let good = "Metadata: true\r\n";
    for (resource, headers, status) in [
        (resource, good, 200),
        ("https%3A%2F%2Fvault.azure.net", good, 200),
        (resource, "", 400),
        (resource, "Metadata: false\r\n", 400),
        (
            resource,
            "Metadata: true\r\nX-Forwarded-For: 10.0.0.1\r\n",
            400,
        ),
        ("https://vault.azure.net/.default", good, 400),
        ("https://storage.azure.com", good, 400),
        ("https://vault.azure.net&client_id=another", good, 400),
    ] {
        let answer = send_plain(&fake, &imds(resource, headers)).unwrap();
        assert_eq!(answer.status, status, "{resource} {headers}");
        if status == 200 {
            assert!(answer.json()["expires_on"].is_string());
        }
    }
    let posted = imds(resource, good).replace("GET", "POST");
    assert_eq!(send_plain(&fake, &posted).unwrap().status, 405);
    assert_eq!(fake.count(Op::Imds), 9);
}

#[test]
fn azure_ml_is_as_it_is() {
    let fake = FakeVault::start().unwrap();
    let (client, secret) = {
        let identity = &fake.addresses().identity;
        (&identity.managed_client_id, &identity.msi_secret)
    };
    let url = &fake.addresses().azure_ml;
    let path = &url[fake.addresses().http.len()..];
    let ask = |query: &str, secret: &str| {
        let target = format!("{path}?resource=https://vault.azure.net{query}");
        let head = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nsecret: {secret}\r\n\r\n");
        send_plain(&fake, &head).unwrap()
    };
    let version = "&api-version=2017-09-01";
    let good = ask(&format!("{version}&clientid={client}"), secret);
    assert_eq!(good.status, 200);
    assert!(good.json()["expires_on"].is_i64());
    assert_eq!(ask(version, secret).status, 400);
    assert_eq!(
        ask(&format!("{version}&client_id={client}"), secret).status,
        400
    );
    assert_eq!(
        ask(&format!("{version}&clientid=another"), secret).status,
        400
    );
    assert_eq!(ask(&format!("&clientid={client}"), secret).status, 400);
    assert_eq!(
        ask(&format!("{version}&clientid={client}"), "guessed").status,
        401
    );
}

#[test]
fn arc_key_files_are_good_once() {
    let fake = FakeVault::start().unwrap();
    let path = &fake.addresses().arc[fake.addresses().http.len()..];
    let target = format!("{path}?api-version=2020-06-01&resource=https://vault.azure.net");
    let ask = |headers: &str| {
        let head = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
        send_plain(&fake, &head).unwrap()
    };
    assert_eq!(ask("").status, 400);
    let first = ask("Metadata: true\r\n");
    assert_eq!(first.status, 401);
    let file = first.header("WWW-Authenticate").unwrap();
    let file = std::path::Path::new(file.strip_prefix("Basic realm=").unwrap());
    assert_eq!(file.parent(), Some(fake.addresses().arc_dir.as_path()));
    assert_eq!(file.extension().unwrap(), "key");
    let secret = std::fs::read_to_string(file).unwrap();
    let headers = format!("Metadata: true\r\nAuthorization: Basic {secret}\r\n");
    assert_eq!(ask(&headers).status, 200);
    assert!(!file.exists());
    assert_eq!(ask(&headers).status, 401);
}

#[test]
fn the_proxy_leads_nowhere_else() {
    let fake = FakeVault::start().unwrap();
    for host in [
        "example.com",
        "vault.azure.net",
        "a.b.vault.azure.net",
        "evilvault.azure.net",
        "customer.vault.azure.net.example.com",
    ] {
        let error = client::tunnel(&fake, host).unwrap_err().to_string();
        assert!(error.starts_with("HTTP/1.1 502 "), "{host}: {error}");
    }
    let answer = send(
        &fake,
        HOST,
        &request("GET", "other.vault.azure.net", "/keys", "", ""),
    );
    assert_eq!(answer.unwrap().status, 421);
    let order = Command::Tls {
        certificate: Certificate::WrongHost,
        only_tls12: false,
    };
    fake.order(order).unwrap();
    assert!(send(&fake, HOST, &request("GET", HOST, "/keys", "", "")).is_err());
}
