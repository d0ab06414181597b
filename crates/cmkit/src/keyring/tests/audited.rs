//! Events, and what is kept out of them.

use std::sync::{Arc, Mutex};

use super::fakes::{Fake, Rows};
use super::{Scene, key, none};
use crate::{
    AuditEvent, AuditSink, DekPolicy, ErrorKind, FileOptions, JsonLines, ProviderError,
    ProviderErrorKind,
};

/// Keeps every event as its debug text and as a line of JSON.
#[derive(Default)]
struct Kept {
    events: Mutex<Vec<String>>,
    lines: Mutex<Vec<u8>>,
}

impl AuditSink for Kept {
    fn record(&self, event: &AuditEvent<'_>) {
        self.events.lock().unwrap().push(format!("{event:?}"));
        let lines = JsonLines::new(Vec::new());
        lines.record(event);
        assert_eq!(lines.lost(), 0);
        self.lines.lock().unwrap().extend(lines.into_inner());
    }
}

impl Kept {
    fn json(&self) -> Vec<serde_json::Value> {
        let lines = String::from_utf8(self.lines.lock().unwrap().clone()).unwrap();
        lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn everything(&self) -> String {
        let events = self.events.lock().unwrap().concat();
        events + &String::from_utf8_lossy(&self.lines.lock().unwrap())
    }
}

fn scene(kept: &Arc<Kept>, discreet: bool) -> Scene {
    let fake = Arc::<Fake>::default();
    Scene::with(&fake, |builder| {
        let builder = builder
            .policy(DekPolicy::no_cache())
            .wrap_with(key("test:a"))
            .workspace("contoso-payroll")
            .key_store(Arc::new(Rows::default()))
            .audit(Arc::clone(kept) as _);
        if discreet {
            builder.high_business_impact()
        } else {
            builder
        }
    })
}

#[test]
fn each_operation_is_told_with_ids_and_outcome() {
    let kept = Arc::<Kept>::default();
    let s = scene(&kept, false);
    let envelope = s.seal();
    s.keyring.decrypt(&envelope, &none()).unwrap();
    s.fake.fail("test:a", ProviderErrorKind::Denied);
    s.keyring.decrypt(&envelope, &none()).unwrap_err();
    let lines = kept.json();
    assert_eq!(lines.len(), 3);
    let texts = |name: &str| -> Vec<String> {
        let text = |line: &serde_json::Value| line[name].as_str().unwrap().to_owned();
        lines.iter().map(text).collect()
    };
    assert_eq!(texts("operation"), ["wrap", "unwrap", "unwrap"]);
    assert_eq!(texts("outcome"), ["ok", "ok", "AccessDenied"]);
    assert_eq!(texts("workspace"), ["contoso-payroll"; 3]);
    assert!(texts("key").iter().all(|key| key.starts_with("test:a/")));
    assert!(
        lines
            .iter()
            .all(|line| line["time"] == 1_750_000_000_000_u64)
    );
    let ids = texts("call_id");
    assert!(ids[0] != ids[1] && ids[1] != ids[2]);
}

#[test]
fn the_request_id_of_a_providers_own_error_is_told() {
    let kept = Arc::<Kept>::default();
    let s = scene(&kept, false);
    s.fake.hook(|_| {
        let mut error = ProviderError::new(ProviderErrorKind::Denied, "as told");
        error.request_id = Some("of-the-service".into());
        Err(error)
    });
    s.keyring.encrypt(b"text", &none()).unwrap_err();
    assert_eq!(kept.json()[0]["request_id"], "of-the-service");
}

#[test]
fn with_high_business_impact_no_name_gets_out() {
    let kept = Arc::<Kept>::default();
    let s = scene(&kept, true);
    let dir = tempfile::tempdir().unwrap();
    let plain = dir.path().join("salaries.csv");
    let sealed = dir.path().join("salaries.cmk");
    std::fs::write(&plain, "secret words").unwrap();
    let context = crate::EncryptionContext::new([("document", "board-minutes")]).unwrap();
    let options = FileOptions::default();
    s.keyring
        .encrypt_file(&plain, &sealed, &context, &options)
        .unwrap();

    let mut errors = Vec::new();
    let missing = dir.path().join("salaries.none");
    let k = &s.keyring;
    errors.push(
        k.encrypt_file(&plain, &sealed, &context, &options)
            .unwrap_err(),
    );
    errors.push(
        k.encrypt_file(&plain, &plain, &context, &options)
            .unwrap_err(),
    );
    errors.push(
        k.encrypt_file(dir.path(), &missing, &context, &options)
            .unwrap_err(),
    );
    errors.push(
        k.decrypt_file(&missing, &plain, &context, &options)
            .unwrap_err(),
    );
    errors.push(
        k.decrypt_file(&plain, &missing, &context, &options)
            .unwrap_err(),
    );
    errors.push(k.open_file(&sealed, &none()).unwrap_err());
    errors.push(k.open_file(dir.path(), &none()).unwrap_err());
    errors.push(
        k.rewrap_file(&missing, &crate::Rewrap::to(key("test:a")))
            .unwrap_err(),
    );
    errors.push(
        k.rewrap_file(&plain, &crate::Rewrap::to(key("test:a")))
            .unwrap_err(),
    );
    let other = Scene::with(&s.fake, |builder| {
        builder
            .wrap_with(key("test:a"))
            .workspace("fabrikam-payroll")
            .high_business_impact()
    });
    let mismatch = other.keyring.decrypt(&s.seal(), &none()).unwrap_err();
    assert_eq!(mismatch.kind(), ErrorKind::Policy);
    errors.push(mismatch);

    let mut told = kept.everything() + &format!("{k:?}{:?}", other.keyring);
    for error in errors {
        told += &format!("{error} {error:?} ");
        let io = std::io::Error::from(error);
        told += &format!("{io} {io:?} ");
    }
    for name in [
        "salaries",
        "contoso",
        "fabrikam",
        "board-minutes",
        "document",
        "secret words",
        dir.path().to_str().unwrap(),
    ] {
        assert!(!told.contains(name), "{name} in {told}");
    }
    assert!(told.contains("withheld"));
    assert!(k.is_high_business_impact());
}

#[test]
fn a_file_for_events_is_private_and_appended_to() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    for _ in 0..2 {
        let fake = Arc::<Fake>::default();
        let s = Scene::with(&fake, |builder| {
            builder
                .wrap_with(key("test:a"))
                .audit(Arc::new(JsonLines::append(&path).unwrap()))
        });
        s.seal();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn a_line_that_cannot_be_written_is_counted() {
    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let sink = Arc::new(JsonLines::new(Full));
    let fake = Arc::<Fake>::default();
    let s = Scene::with(&fake, |builder| {
        builder
            .wrap_with(key("test:a"))
            .audit(Arc::clone(&sink) as _)
    });
    s.seal();
    assert_eq!(sink.lost(), 1);
}
