//! Several processes on one directory, and processes that are killed.
//!
//! The children are this test program: they run one ignored test, which does what a file in their
//! working directory says.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::*;

const ORDERS: &str = "orders";

/// Starts a child that works for `orders` on the key directory `cmkit` beside it.
fn start(f: &Fixture, orders: &str) -> Child {
    let home = f.provider.dir().parent().unwrap();
    let place = tempfile::tempdir_in(home).unwrap().keep();
    fs::write(place.join(ORDERS), orders).unwrap();
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "--nocapture",
            "provider::local::tests::processes::child",
        ])
        .current_dir(&place)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
#[ignore = "the other tests run it in a process of its own"]
fn child() {
    let Ok(orders) = fs::read_to_string(ORDERS) else {
        return;
    };
    let provider = LocalKeyProvider::open_or_create("../cmkit").unwrap();
    let report = |what: &str, id: &KeyId| println!("\n{what} {id}");
    match orders.as_str() {
        "create" => {
            for i in 0.. {
                let key = format!("k{i}");
                if i == 40 {
                    return;
                }
                match provider.create_key(&key, KeyType::Oct256) {
                    Ok(id) => report("made", &id),
                    Err(Error::AlreadyExists { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
        "rotate" => {
            for _ in 0..40 {
                report("made", &provider.rotate("k").unwrap());
            }
        }
        "churn" => loop {
            let id = provider.rotate("k").unwrap();
            report("made", &id);
            report("wrapped", &wrap(&provider, &id).unwrap().key);
            let other = provider.rotate("k").unwrap();
            report("made", &other);
            report("disabling", &other);
            provider.disable(&other).unwrap();
            report("disabled", &other);
            report("enabling", &other);
            provider.enable(&other).unwrap();
            report("enabled", &other);
            report("destroying", &other);
            provider.destroy(&other).unwrap();
            report("destroyed", &other);
        },
        other => panic!("{other}"),
    }
}

/// What a child reported, until it ended or was killed. Calls `on_first` after the first report.
fn reports(child: &mut Child, on_first: impl FnOnce(&mut Child)) -> Vec<(String, KeyId)> {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = lines
        .by_ref()
        .map_while(std::result::Result::ok)
        .find(|line| line.contains(" local:"));
    on_first(child);
    first
        .into_iter()
        .map(Ok::<_, std::io::Error>)
        .chain(lines)
        .map_while(std::result::Result::ok)
        .filter_map(|line| {
            let (what, id) = line.split_once(" local:")?;
            // A line that the kill cut off has no whole id.
            Some((what.to_owned(), KeyId::parse(&format!("local:{id}")).ok()?))
        })
        .collect()
}

fn run_many(f: &Fixture, orders: &str) -> Vec<KeyId> {
    let mut children: Vec<Child> = (0..4).map(|_| start(f, orders)).collect();
    let mut made = Vec::new();
    for child in &mut children {
        made.extend(reports(child, |_| {}).into_iter().map(|(_, id)| id));
        assert!(child.wait().unwrap().success());
    }
    made
}

#[test]
fn of_processes_that_create_a_name_exactly_one_wins() {
    let f = Fixture::new();
    let mut made = run_many(&f, "create");
    made.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    let mut listed: Vec<KeyId> = f
        .provider
        .list()
        .unwrap()
        .into_iter()
        .map(|i| i.id)
        .collect();
    listed.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    assert_eq!(made, listed);
    assert_eq!(listed.len(), 40);
    for id in &listed {
        assert_eq!(f.provider.show(&id.without_version()).unwrap().len(), 1);
    }
}

#[test]
fn processes_that_rotate_a_name_get_numbers_of_their_own() {
    let (f, first) = Fixture::with_key("k");
    let mut made = run_many(&f, "rotate");
    made.push(first);
    assert_eq!(made.len(), 161);
    let key = name("k");
    let dir = f.provider.key_dir(&key).unwrap().unwrap();
    let versions = scan::Versions::read(&dir, &key).unwrap();
    let seqs: Vec<u64> = versions.all.iter().map(|v| v.facts.unwrap().seq).collect();
    assert_eq!(seqs, (1..=161).collect::<Vec<u64>>());
    assert!(
        made.iter()
            .all(|id| versions.all.iter().any(|v| v.id == *id))
    );
    assert_eq!(versions.leftovers, [""; 0]);
}

#[test]
fn threads_that_create_and_rotate_are_like_processes() {
    let f = Fixture::new();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let provider = f.again();
                provider.create_key_if_absent("k", KeyType::Oct256).unwrap();
                let id = provider.rotate("k").unwrap();
                assert_opens(&provider, &wrap(&provider, &id).unwrap());
                assert_opens(&provider, &wrap(&provider, &name("k")).unwrap());
            });
        }
    });
    assert_eq!(f.provider.list().unwrap().len(), 9);
}

#[test]
fn a_kill_at_any_moment_loses_no_key_and_leaves_none_torn() {
    let (f, first) = Fixture::with_key("k");
    let mut said: BTreeMap<String, String> = BTreeMap::new();
    said.insert(first.to_string(), "made".to_owned());
    let mut kills = 0;
    let deadline = Instant::now() + Duration::from_secs(12);
    while kills < 40 && Instant::now() < deadline {
        let mut child = start(&f, "churn");
        let kill = |child: &mut Child| {
            let mut random = [0; 2];
            crypto::random(&mut random).unwrap();
            std::thread::sleep(Duration::from_micros(u16::from_le_bytes(random).into()));
            child.kill().unwrap();
        };
        for (what, id) in reports(&mut child, kill) {
            said.insert(id.to_string(), what);
        }
        child.wait().unwrap();
        kills += 1;

        let infos = f.again().show(&name("k")).unwrap();
        for info in &infos {
            assert_ne!(info.state, VersionState::Damaged, "{info:?}");
        }
        for (id, what) in &said {
            let id = KeyId::parse(id).unwrap();
            let info = infos
                .iter()
                .find(|i| i.id == id)
                .unwrap_or_else(|| panic!("{id} is lost"));
            let allowed: &[VersionState] = match what.as_str() {
                "made" | "wrapped" | "enabled" => &[VersionState::Enabled],
                "disabled" => &[VersionState::Disabled],
                "disabling" | "enabling" => &[VersionState::Enabled, VersionState::Disabled],
                "destroyed" => &[VersionState::Destroyed],
                "destroying" => &[
                    VersionState::Enabled,
                    VersionState::DestroyInterrupted,
                    VersionState::Destroyed,
                ],
                other => panic!("{other}"),
            };
            assert!(allowed.contains(&info.state), "{id} {what}: {info:?}");
            if info.state == VersionState::Enabled {
                assert_opens(&f.provider, &wrap(&f.provider, &id).unwrap());
            }
        }
    }
    assert!(
        said.len() > kills,
        "the children did something: {} in {kills}",
        said.len()
    );

    // What was interrupted can be finished, and nothing is left over.
    for info in f.provider.list().unwrap() {
        if info.state == VersionState::DestroyInterrupted {
            f.provider.destroy(&info.id).unwrap();
            assert_eq!(
                super::info(&f.provider, &info.id).state,
                VersionState::Destroyed
            );
        }
    }
    let newest = f.provider.rotate("k").unwrap();
    assert_eq!(wrap(&f.provider, &name("k")).unwrap().key, newest);
    let key = name("k");
    let dir = f.provider.key_dir(&key).unwrap().unwrap();
    assert_eq!(scan::Versions::read(&dir, &key).unwrap().leftovers, [""; 0]);
}
