//! `cmkit rotate` and `cmkit census`.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;
mod world;

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cmkit_testkit::{Op, Rule, Source};
use serde_json::{Value, json};
use world::{World, recipients, unversioned};

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_rotation_is_followed_and_finished_later() {
    let world = World::new("follow");
    let old = world.key("kek");
    let key = unversioned(&old);
    fs::create_dir(world.place.path("tree")).unwrap();
    world.sealed("tree/a.cmk", key);
    world.sealed("tree/b.cmk", key);
    world.place.write("tree/readme", "no envelope");
    let new = world.fake.rotate(&world.host, "kek");

    let before = world.place.read("tree/a.cmk");
    let dry = world.ok(&["rotate", "--dry-run", "--key", key, "tree"]);
    assert!(
        dry.contains("tree/a.cmk: would be wrapped by the newest version too"),
        "{dry}"
    );
    assert!(
        dry.contains("2 envelopes: 2 ") && dry.contains("nothing was changed"),
        "{dry}"
    );
    assert_eq!(world.place.read("tree/a.cmk"), before);

    let done = world.ok(&["rotate", "--key", key, "tree"]);
    assert!(
        done.contains("tree/b.cmk: wrapped by the newest version too, the old wrap kept until 2"),
        "{done}"
    );
    assert!(done.contains("run it again after 2"), "{done}");
    assert_eq!(recipients(&world, "tree/a.cmk"), [&*old, &*new]);
    let again = world.ok(&["rotate", "--key", key, "tree"]);
    assert!(
        again.starts_with("2 envelopes: 2 with an old wrap that is still kept"),
        "{again}"
    );

    let json = lines(&world.ok(&["rotate", "--keep-old", "0", "--json", "--key", key, "tree"]));
    assert_eq!(json.len(), 3);
    assert!(
        json[..2].iter().all(|line| line["outcome"] == "finished"),
        "{json:?}"
    );
    let summary = &json[2]["summary"];
    assert_eq!(
        (&summary["finished"], &summary["envelopes"]),
        (&json!(2), &json!(2))
    );
    assert_eq!(summary["newest"], json!([new]));
    assert_eq!(recipients(&world, "tree/b.cmk"), [&*new]);
    world.fake.disable(&old);
    world.opens("tree/a.cmk", key);
    assert_eq!(world.ok(&["rotate", "-q", "--key", key, "tree"]), "");
}

#[test]
fn local_keys_rotate_too() {
    let world = World::new("local");
    world.place.write("a", "text");
    world.ok(&["encrypt", "a"]);
    world.ok(&["encrypt", "-o", "b.cmk", "a"]);
    world.ok(&["key", "create", "team"]);
    world.ok(&["encrypt", "--key", "local:team", "-o", "c.cmk", "a"]);
    let new = world
        .ok(&["key", "rotate", "default"])
        .trim_end()
        .to_owned();
    let done = world.ok(&["rotate", "--keep-old", "0", "a.cmk", "b.cmk", "c.cmk"]);
    assert!(
        done.contains("a.cmk: moved to the newest version"),
        "{done}"
    );
    assert!(
        done.contains("3 envelopes: 2 moved to the newest version, 1 under other keys"),
        "{done}"
    );
    let text = world.ok(&["rotate", "c.cmk"]);
    assert!(
        text.contains("1 under other keys; name those with `--key`"),
        "{text}"
    );
    assert_eq!(recipients(&world, "a.cmk"), [new]);
    assert_eq!(world.calls(), 0);
}

#[test]
fn the_worst_decides_and_the_others_go_on() {
    let world = World::new("worst");
    let old = world.key("kek");
    let key = unversioned(&old);
    world.sealed("good.cmk", key);
    world.sealed("bad.cmk", key);
    let mut bytes = world.place.read("bad.cmk");
    let at = bytes.windows(5).position(|w| w == b"https").unwrap() + 160;
    bytes[at] ^= 1;
    world.place.write("bad.cmk", &bytes);
    world.place.write("other", "no envelope");
    world.fake.rotate(&world.host, "kek");
    let ended = world.run(&[
        "rotate", "--key", key, "missing", "bad.cmk", "other", "good.cmk",
    ]);
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    ended.said(&["missing", "bad.cmk", "other"]);
    let text = String::from_utf8(ended.stdout).unwrap();
    assert!(
        text.contains("good.cmk: wrapped by the newest version too"),
        "{text}"
    );
    assert!(
        text.contains("4 envelopes") && text.contains("3 failed"),
        "{text}"
    );
    assert_eq!(
        world.run(&["rotate", "--key", key, "missing"]).code,
        Some(1)
    );

    world
        .run(&["rotate", "--key", &old, "good.cmk"])
        .failed(4, &["without"]);
    world
        .run(&["rotate", "--keep-old", "soon", "good.cmk"])
        .failed(2, &["24h"]);
    let none = format!("https://{}/keys/none", world.host);
    world
        .run(&["rotate", "--key", &none, "good.cmk"])
        .failed(4, &[&none]);
}

#[test]
fn an_interrupt_leaves_all_whole() {
    let world = World::new("interrupt");
    let old = world.key("kek");
    let key = unversioned(&old);
    let names = ["a.cmk", "b.cmk", "c.cmk"];
    for name in names {
        world.sealed(name, key);
    }
    let new = world.fake.rotate(&world.host, "kek");
    // The rotation itself asks first, with a trial of the new version.
    let mut stall = Rule::stalling(Op::Unwrap, Duration::from_secs(3)).times(1);
    stall.version = old.rsplit('/').next().map(str::to_owned);
    world.rule(stall);
    let args = ["rotate", "--key", key, "a.cmk", "b.cmk", "c.cmk"];
    let child = world.command(Source::ClientSecret, &args).spawn().unwrap();
    while world.fake.held() == 0 {
        std::thread::sleep(Duration::from_millis(10));
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let ended: common::Ended = child.wait_with_output().unwrap().into();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    ended.said(&["stopped; what was done stays"]);
    let moved = names.map(|name| recipients(&world, name).contains(&new));
    assert_eq!(moved, [true, false, false]);
    for name in names {
        world.opens(name, key);
    }
    assert!(
        world
            .place
            .names()
            .iter()
            .all(|name| !name.contains("rewrap"))
    );
    world.ok(&args);
    assert!(
        names
            .iter()
            .all(|name| recipients(&world, name).contains(&new))
    );
}

#[test]
fn a_census_knows_what_is_safe_to_disable() {
    let world = World::new("census");
    let old = world.key("kek");
    let key = unversioned(&old);
    fs::create_dir(world.place.path("tree")).unwrap();
    world.sealed("tree/a.cmk", key);
    world.place.write("tree/readme", "no envelope");
    let text = world.ok(&["census", "tree"]);
    assert!(text.contains(&old) && text.contains("tree/a.cmk"), "{text}");
    assert!(
        text.contains("1 headers") && text.contains("1 other files"),
        "{text}"
    );

    let safe = ["census", "tree", "--safe-to-disable", &old];
    let no = world.run(&safe);
    assert_eq!(no.code, Some(1), "{}", no.stderr);
    let text = String::from_utf8(no.stdout).unwrap();
    assert!(
        text.contains("no: ") && text.contains("rotate the key first"),
        "{text}"
    );

    let new = world.fake.rotate(&world.host, "kek");
    world.ok(&["rotate", "--keep-old", "0", "--key", key, "tree"]);
    // Others may be writing under the old version for two hours.
    let no = world.run(&safe);
    let text = String::from_utf8(no.stdout).unwrap();
    assert!(
        no.code == Some(1) && text.contains("begin another one in"),
        "{text}"
    );
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    world
        .fake
        .set_attributes(&new, json!({"created": now - 2 * 3600 - 60}));
    let yes = world.ok(&safe);
    assert!(
        yes.contains(&format!("yes: {old} may be disabled")),
        "{yes}"
    );
    let longer = [&safe[..], &["--dek-age", "24h"]].concat();
    assert_eq!(world.run(&longer).code, Some(1));

    let json: Value = serde_json::from_str(&world.ok(&[&safe[..], &["--json"]].concat())).unwrap();
    assert_eq!(json["safe_to_disable"]["safe"], true);
    assert_eq!(json["versions"][0]["key_id"], *new);
    assert_eq!(json["versions"][0]["only_key"], 1);

    world
        .place
        .write("tree/a.cmk", &world.place.read("tree/a.cmk")[..100]);
    world.run(&["census", "tree"]).said(&["tree/a.cmk"]);
    assert_eq!(world.run(&["census", "tree"]).code, Some(1));
    assert_eq!(world.run(&safe).code, Some(1));
    world
        .run(&["census", "tree", "--safe-to-disable", key])
        .failed(2, &["version"]);
}

#[test]
fn high_business_impact_names_nothing() {
    let world = World::new("discreet");
    let old = world.key("kek");
    let key = unversioned(&old);
    let name = "acquisition.cmk";
    let secrets = ["acquisition", "merger-ws", "project-x"];
    let silent = |ended: &common::Ended, what: &str| {
        let said = format!("{}{}", ended.stderr, String::from_utf8_lossy(&ended.stdout));
        for secret in secrets {
            assert!(!said.contains(secret), "{what}: {said}");
        }
    };
    world.place.write("acquisition", "text");
    let more = ["--high-business-impact", "--audit", "audit.jsonl"];
    let bound = ["--workspace", "merger-ws", "--context", "deal=project-x"];
    world.ok(&[&["encrypt", "--key", key, "acquisition"][..], &bound, &more].concat());
    let run = |args: &[&str], code: i32| {
        let ended = world.run(&[args, &more].concat());
        assert_eq!(ended.code, Some(code), "{args:?}: {}", ended.stderr);
        silent(&ended, &format!("{args:?}"));
        ended
    };
    run(&["encrypt", "--key", key, "acquisition"], 1);
    run(&["decrypt", "--key", key, "-o", "out", name], 4);
    run(
        &[
            "decrypt",
            "--key",
            key,
            "--workspace",
            "merger-ws",
            "-o",
            "out",
            name,
        ],
        3,
    );
    run(&["decrypt", "-o", "out", "acquisition.none"], 1);
    run(&["decrypt", "--key", key, "acquisition"], 2);
    run(&["decrypt", "-o", "out", name], 4);
    run(&["decrypt", "--context", "project-x", name], 2);
    run(&["decrypt", "--frob=acquisition", name], 2);
    let twice = ["--context", "project-x=1", "--context", "project-x=2"];
    run(&[&["decrypt", name][..], &twice].concat(), 2);
    let new = world.fake.rotate(&world.host, "kek");
    let told = run(
        &[
            "rotate",
            "--key",
            key,
            name,
            "acquisition",
            "acquisition.none",
        ],
        3,
    );
    let text = String::from_utf8(told.stdout).unwrap();
    assert!(
        text.starts_with("3 envelopes: 1 wrapped by the newest version too, 2 failed"),
        "{text}"
    );
    run(&["rotate", "--json", "--key", key, name, "acquisition"], 3);
    let census = run(&["census", name, "acquisition.none"], 1);
    let text = String::from_utf8(census.stdout).unwrap();
    assert!(
        text.contains(&new) && text.contains("1 unreadable"),
        "{text}"
    );
    run(&["census", "--json", name, "acquisition.none"], 1);
    run(
        &[
            "census",
            "--safe-to-disable",
            &old,
            name,
            "acquisition.none",
        ],
        1,
    );
    run(&["rewrap", "--to", key, name, "acquisition.none"], 1);

    let audit = String::from_utf8(world.place.read("audit.jsonl")).unwrap();
    assert!(audit.contains(&new));
    for secret in secrets {
        assert!(!audit.contains(secret), "{audit}");
    }
    let mut command = world.command(
        Source::ClientSecret,
        &["decrypt", "-o", "out", "acquisition.none"],
    );
    let output = command
        .env("CMKIT_HIGH_BUSINESS_IMPACT", "true")
        .output()
        .unwrap();
    silent(&output.into(), "by the environment");
}
