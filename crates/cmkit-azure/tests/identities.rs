//! Every identity signs in at the fake vault's endpoints, and says what is wrong when it can't.

// Helpers of tests may unwrap as tests do.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cmkit::ProviderErrorKind::{Denied, Identity as NoIdentity};
use cmkit_azure::{Identity, KeyVaultProvider, Token};
use cmkit_testkit::{Command, Op, Rule, TimeFormat};

mod common;

use common::{World, expect, unwrap, wrap};

type Variables<'a> = &'a [(&'a str, &'a str)];

impl World {
    fn with(&self, identity: Identity, variables: Variables<'_>) -> KeyVaultProvider {
        self.builder()
            .identity(identity)
            .environment(self.environment(variables))
            .build()
            .unwrap()
    }

    fn round_trip(&self, provider: &KeyVaultProvider) {
        let wrapped = wrap(provider, &self.key()).unwrap();
        assert_eq!(unwrap(provider, &wrapped).unwrap(), common::CAPSULE);
    }
}

#[test]
fn every_identity_signs_in() {
    let world = World::new();
    let at = world.vault.addresses().clone();
    let id = &at.identity;
    let federated = at.federated_token_file.to_str().unwrap();
    let arc = Identity::auto().arc_key_folder(&at.arc_dir);
    let application = [
        ("AZURE_TENANT_ID", &*id.tenant_id),
        ("AZURE_CLIENT_ID", &*id.client_id),
    ];
    let workload = [
        application[0],
        application[1],
        ("AZURE_FEDERATED_TOKEN_FILE", federated),
    ];
    let secret = [
        application[0],
        application[1],
        ("AZURE_CLIENT_SECRET", &*id.client_secret),
    ];
    let cases: [(&str, Op, Identity, Variables<'_>); 6] = [
        (
            "App Service",
            Op::AppService,
            Identity::auto(),
            &[
                ("IDENTITY_ENDPOINT", &at.app_service),
                ("IDENTITY_HEADER", &id.identity_header),
            ],
        ),
        (
            "Azure Arc",
            Op::Arc,
            arc,
            &[("IDENTITY_ENDPOINT", &at.arc), ("IMDS_ENDPOINT", &at.imds)],
        ),
        (
            "Azure ML",
            Op::AzureMl,
            Identity::auto(),
            &[
                ("MSI_ENDPOINT", &at.azure_ml),
                ("MSI_SECRET", &id.msi_secret),
                ("DEFAULT_IDENTITY_CLIENT_ID", &id.managed_client_id),
            ],
        ),
        ("workload", Op::Entra, Identity::auto(), &workload),
        ("client secret", Op::Entra, Identity::auto(), &secret),
        (
            "IMDS",
            Op::Imds,
            Identity::auto(),
            &[("AZURE_POD_IDENTITY_AUTHORITY_HOST", &at.imds)],
        ),
    ];
    for (name, op, identity, variables) in cases {
        let before = world.vault.count(op);
        let provider = world.with(identity, variables);
        world.round_trip(&provider);
        assert!(
            provider.identity().starts_with("auto: "),
            "{}",
            provider.identity()
        );
        assert!(
            provider.identity().contains(name),
            "{}",
            provider.identity()
        );
        assert!(world.vault.count(op) > before, "{name}");
    }
    // The node's own endpoints are never asked through the proxy; vaults and sign-in always are.
    for entry in world.vault.log() {
        let local = matches!(entry.op, Op::Imds | Op::AppService | Op::Arc | Op::AzureMl);
        if entry.op != Op::Connect {
            assert_eq!(entry.proxied, !local, "{entry:?}");
        }
    }
}

#[test]
fn every_form_of_time_is_read() {
    let world = World::new();
    let imds = world.vault.addresses().imds.clone();
    for form in [
        TimeFormat::Integer,
        TimeFormat::String,
        TimeFormat::Date,
        TimeFormat::DateAmPm,
    ] {
        let order = Command::Tokens {
            lifetime: None,
            expires_on: Some(form),
        };
        world.vault.order(order).unwrap();
        let merge = serde_json::json!({"expires_in": null});
        world.vault.rule(Rule::merging(Op::Imds, merge).times(1));
        let variables = [("AZURE_POD_IDENTITY_AUTHORITY_HOST", &*imds)];
        world.round_trip(&world.with(Identity::imds(), &variables));
    }
}

#[test]
fn user_assigned_identities_are_named() {
    let world = World::new();
    let at = world.vault.addresses().clone();
    let id = &at.identity;
    let imds = [("AZURE_POD_IDENTITY_AUTHORITY_HOST", &*at.imds)];
    let app = [
        ("IDENTITY_ENDPOINT", &*at.app_service),
        ("IDENTITY_HEADER", &*id.identity_header),
    ];
    let ml = [
        ("MSI_ENDPOINT", &*at.azure_ml),
        ("MSI_SECRET", &*id.msi_secret),
    ];
    for (make, variables) in [
        (Identity::imds as fn() -> Identity, &imds[..]),
        (Identity::app_service, &app),
    ] {
        for identity in [
            make().client_id(id.managed_client_id.as_str()),
            make().object_id(id.managed_object_id.as_str()),
            make().resource_id(id.managed_resource_id.as_str()),
        ] {
            world.round_trip(&world.with(identity, variables));
        }
        let provider = world.with(make().client_id("another"), variables);
        let e = expect(
            wrap(&provider, &world.key()),
            NoIdentity,
            &["HTTP 400", "if"],
        );
        assert!(!e.retryable);
    }
    world.round_trip(&world.with(
        Identity::azure_ml().client_id(id.managed_client_id.as_str()),
        &ml,
    ));
    let provider = world.with(Identity::azure_ml(), &ml);
    expect(
        wrap(&provider, &world.key()),
        NoIdentity,
        &["DEFAULT_IDENTITY_CLIENT_ID", "HTTP 400"],
    );
}

#[test]
fn wrong_secrets_are_told_apart_and_never_repeated() {
    let world = World::new();
    let at = world.vault.addresses().clone();
    let id = &at.identity;
    let secret = "not-the-right-secret";
    let identity = Identity::client_secret_of(id.tenant_id.as_str(), id.client_id.as_str(), secret);
    let e = expect(
        wrap(&world.with(identity, &[]), &world.key()),
        NoIdentity,
        &["secret has expired", "login.microsoftonline.com", "AADSTS"],
    );
    assert!(!e.to_string().contains(secret), "{e}");
    assert!(!e.retryable);
    for variables in [
        [
            ("MSI_ENDPOINT", &*at.azure_ml),
            ("MSI_SECRET", secret),
            ("DEFAULT_IDENTITY_CLIENT_ID", "x"),
        ],
        [
            ("IDENTITY_ENDPOINT", &*at.app_service),
            ("IDENTITY_HEADER", secret),
            ("UNUSED", "x"),
        ],
    ] {
        let provider = world.with(Identity::auto(), &variables);
        let e = expect(
            wrap(&provider, &world.key()),
            NoIdentity,
            &["`auto` took", "`cli`", "HTTP 401"],
        );
        assert!(!format!("{e} {e:?} {provider:?}").contains(secret), "{e}");
    }
}

#[test]
fn an_endpoint_that_is_down_is_named() {
    let world = World::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let place = listener.local_addr().unwrap().to_string();
    drop(listener);
    let url = format!("http://{place}");
    let provider = world.with(
        Identity::auto(),
        &[("AZURE_POD_IDENTITY_AUTHORITY_HOST", &url)],
    );
    let e = expect(
        wrap(&provider, &world.key()),
        NoIdentity,
        &[&place, "IMDS", "`auto` took", "`cli`"],
    );
    assert!(e.retryable);
    assert_eq!(world.vault.count(Op::Get), 0);
}

#[test]
fn arc_reads_key_files_of_its_folder_only() {
    let world = World::new();
    let at = world.vault.addresses().clone();
    let variables = [
        ("IDENTITY_ENDPOINT", &*at.arc),
        ("IMDS_ENDPOINT", &*at.imds),
    ];
    let elsewhere = tempfile::tempdir().unwrap();
    let identity = Identity::arc().arc_key_folder(elsewhere.path());
    expect(
        wrap(&world.with(identity, &variables), &world.key()),
        NoIdentity,
        &["not one of the agent's key files"],
    );
    let long = at.arc_dir.join("long.key");
    std::fs::write(&long, vec![b'x'; 4097]).unwrap();
    for (header, problem) in [
        (
            format!("Basic realm={}", long.display()),
            "longer than 4096",
        ),
        (
            format!("Basic realm={}/../x.key", at.arc_dir.display()),
            "not one of",
        ),
        (
            format!("Basic realm={}/x.txt", at.arc_dir.display()),
            "not one of",
        ),
        (
            format!("Basic realm={}/absent.key", at.arc_dir.display()),
            "can't be read",
        ),
        ("Bearer x=y".into(), "named no key file"),
    ] {
        let mut rule = Rule::status(Op::Arc, 401).times(1);
        rule.headers.insert("WWW-Authenticate".into(), header);
        world.vault.rule(rule);
        let identity = Identity::arc().arc_key_folder(&at.arc_dir);
        expect(
            wrap(&world.with(identity, &variables), &world.key()),
            NoIdentity,
            &[problem],
        );
    }
}

#[test]
fn callbacks_give_tokens_and_their_reasons() {
    let world = World::new();
    let provider = world.with(
        Identity::callback("of a test", |_| Err("nobody is\nsigned in".into())),
        &[],
    );
    expect(
        wrap(&provider, &world.key()),
        NoIdentity,
        &["callback of a test", "nobody issigned in"],
    );
    let now = std::time::SystemTime::now();
    let now = now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let asked = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&asked);
    let provider = world.with(
        Identity::callback("of a test", move |request| {
            assert_eq!(request.resource, "https://vault.azure.net");
            assert_eq!(request.scope, "https://vault.azure.net/.default");
            count.fetch_add(1, Ordering::SeqCst);
            Ok(Token::new("a.made-up.token", now + 3600))
        }),
        &[],
    );
    // The vault doesn't know it: that is a no, though a fresh token was got.
    let e = expect(
        wrap(&provider, &world.key()),
        Denied,
        &["HTTP 401", "callback of a test"],
    );
    assert!(!format!("{e:?}").contains("made-up"));
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    let provider = world.with(
        Identity::callback("of a test", move |_| Ok(Token::new("t", now - 1))),
        &[],
    );
    expect(wrap(&provider, &world.key()), NoIdentity, &["has expired"]);
}

#[test]
#[cfg(unix)]
fn the_azure_cli_is_asked_by_its_json() {
    use std::os::unix::fs::PermissionsExt;

    let world = World::new();
    let provider = world.with(Identity::cli(), &[]);
    expect(
        wrap(&provider, &world.key()),
        NoIdentity,
        &["not installed"],
    );
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("az");
    let path = folder.path().to_str().unwrap();
    let install = |script: &str| {
        // Renamed into place: a program that is open for writing can't be started.
        let new = folder.path().join("new");
        std::fs::write(&new, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::rename(&new, &program).unwrap();
        world.with(Identity::cli().tenant("contoso.example"), &[("PATH", path)])
    };
    expect(
        wrap(&install("exit 1"), &world.key()),
        NoIdentity,
        &["az login"],
    );
    expect(
        wrap(&install("echo hello"), &world.key()),
        NoIdentity,
        &["can't be used"],
    );
    let want = "account get-access-token --output json --scope https://vault.azure.net/.default --tenant contoso.example";
    let provider = install(&format!(
        r#"[ "$*" = "{want}" ] || exit 1
echo '{{"accessToken":"made-up","expiresOn":"2019-01-01 00:00:00.000000","expires_on":4102444800}}'"#
    ));
    // It was taken from there: the vault refuses it.
    expect(
        wrap(&provider, &world.key()),
        Denied,
        &["HTTP 401", "Azure CLI"],
    );
}

#[test]
fn missing_variables_and_wrong_ids_are_found_when_building() {
    let world = World::new();
    for name in [
        "app-service",
        "arc",
        "azure-ml",
        "workload",
        "client-secret",
    ] {
        let identity = Identity::named(name).unwrap();
        let e = world.builder().identity(identity).build().unwrap_err();
        assert!(
            e.to_string().contains("environment variable"),
            "{name}: {e}"
        );
    }
    let environment = [
        ("IDENTITY_ENDPOINT", "http://h"),
        ("IMDS_ENDPOINT", "http://h"),
    ];
    let e = world
        .builder()
        .identity(Identity::arc().client_id("x"))
        .environment(world.environment(&environment))
        .build()
        .unwrap_err();
    assert!(e.to_string().contains("takes no id"), "{e}");
    for tenant in ["", "a/b", "a?b"] {
        let identity = Identity::client_secret_of(tenant, "c", "s");
        assert!(
            world.builder().identity(identity).build().is_err(),
            "{tenant}"
        );
    }
    assert!(Identity::named("root").is_none());
}

#[test]
fn a_token_serves_for_many_calls_and_a_refused_one_is_replaced_once() {
    let world = World::new();
    let provider = world.provider();
    let wrapped = wrap(&provider, &world.key()).unwrap();
    for _ in 0..5 {
        unwrap(&provider, &wrapped).unwrap();
    }
    assert_eq!(world.vault.count(Op::Entra), 1);
    world.vault.order(Command::RevokeTokens {}).unwrap();
    unwrap(&provider, &wrapped).unwrap();
    assert_eq!(world.vault.count(Op::Entra), 2);
    // A vault that takes no token at all: a new one is tried once per call, then it is a no.
    world.vault.rule(Rule::status(Op::Unwrap, 401));
    expect(unwrap(&provider, &wrapped), Denied, &["HTTP 401"]);
    assert_eq!(world.vault.count(Op::Entra), 3);
}

#[test]
fn demanded_claims_are_brought_once() {
    let world = World::new();
    let provider = world.provider();
    let wrapped = wrap(&provider, &world.key()).unwrap();
    let claims = serde_json::json!({"access_token": {"nbf": {"essential": true, "value": "1"}}});
    let order = Command::Claims {
        claims: Some(claims),
    };
    world.vault.order(order).unwrap();
    unwrap(&provider, &wrapped).unwrap();
    assert_eq!(world.vault.count(Op::Entra), 2);
}
