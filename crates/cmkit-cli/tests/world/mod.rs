//! A place to work in, and a vault of its own in the fake vault that all tests of a program share.

#![allow(dead_code, reason = "each test program uses its part")]

use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use cmkit_testkit::{Command as Order, Denial, FakeVault, Op, Rule, Source};

use crate::common::{Ended, Place};

/// Ends with the last test that uses it.
static SHARED: Mutex<Weak<FakeVault>> = Mutex::new(Weak::new());

/// Tests run side by side, so each has hosts of its own, and rules are for a host.
pub(crate) struct World {
    pub(crate) place: Place,
    pub(crate) fake: Arc<FakeVault>,
    /// Of an HSM, whose keys are made at once.
    pub(crate) host: String,
}

impl World {
    /// `name` is that of the test.
    pub(crate) fn new(name: &str) -> Self {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let fake = shared.upgrade().unwrap_or_else(|| {
            let fake = Arc::new(FakeVault::start().unwrap());
            *shared = Arc::downgrade(&fake);
            fake
        });
        Self {
            place: Place::new(),
            fake,
            host: format!("{name}.managedhsm.azure.net"),
        }
    }

    /// Makes a key, or a new version of it, and gives its full id.
    pub(crate) fn key(&self, name: &str) -> String {
        self.fake.create_key(&self.host, name)
    }

    /// A rule for this world's host only.
    pub(crate) fn rule(&self, mut rule: Rule) {
        rule.host = Some(self.host.clone());
        self.fake.rule(rule);
    }

    pub(crate) fn deny(&self, op: Op) {
        let denial = Denial {
            host: Some(self.host.clone()),
            op,
            inner: "ForbiddenByRbac".into(),
        };
        self.fake.order(Order::Deny(denial)).unwrap();
    }

    /// Requests to this world's host.
    pub(crate) fn calls(&self) -> usize {
        let log = self.fake.log();
        log.iter().filter(|entry| entry.host == self.host).count()
    }

    /// The command with the environment of a node that signs in so, and no other.
    pub(crate) fn command(&self, source: Source, args: &[&str]) -> Command {
        let addresses = self.fake.addresses();
        let mut command = self.place.command(args);
        command.env_clear().env("CMKIT_HOME", self.place.home());
        command.envs(&addresses.env[&source]);
        // The CA is to come from where we say.
        command
            .env_remove("SSL_CERT_FILE")
            .env_remove("REQUESTS_CA_BUNDLE")
            .env("CMKIT_CA_FILE", &addresses.ca_file);
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        let mut command = self.command(Source::ClientSecret, args);
        command.output().unwrap().into()
    }

    /// Runs it; it must end with 0. What it printed.
    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let ended = self.run(args);
        assert_eq!(ended.code, Some(0), "cmkit {args:?}: {}", ended.stderr);
        String::from_utf8(ended.stdout).unwrap()
    }

    /// Encrypts a text to `NAME` under this key.
    #[track_caller]
    pub(crate) fn sealed(&self, name: &str, key: &str) {
        self.place.write("plain", "text");
        let said = self.ok(&["encrypt", "--key", key, "-o", name, "plain"]);
        assert_eq!(said, "");
    }

    #[track_caller]
    pub(crate) fn opens(&self, name: &str, key: &str) {
        let text = self.ok(&["decrypt", "--key", key, "-o", "-", name]);
        assert_eq!(text, "text");
    }
}

/// A key id without its version.
pub(crate) fn unversioned(kid: &str) -> &str {
    kid.rsplit_once('/').unwrap().0
}

/// The keys that wrap an envelope, in order.
pub(crate) fn recipients(world: &World, name: &str) -> Vec<String> {
    let text = world.ok(&["inspect", "--json", name]);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let recipients = value["recipients"].as_array().unwrap().iter();
    recipients
        .map(|r| r["key_id"].as_str().unwrap().to_owned())
        .collect()
}
