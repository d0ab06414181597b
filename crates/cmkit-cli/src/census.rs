//! `cmkit census`: which key versions are still needed, and whether one may be disabled.

use std::io::{self, Write};
use std::ops::ControlFlow;

use cmkit::{Census, KeyId, Keyring, SafeToDisable, Verdict};
use serde_json::{Value, json};

use crate::args;
use crate::discreet::is_discreet;
use crate::failure::{Doing, Failure, Result, say};
use crate::keyrings::Keyrings;
use crate::keys::Home;
use crate::progress::Count;
use crate::text::{printable, table, time};

/// `cmkit census`
pub(crate) fn run(args: args::Census, home: Home) -> Result {
    let mut conditions = None;
    let keyring = match &args.safe_to_disable {
        None => uncalled()?,
        Some(key) => {
            let keys = Keyrings::new(home, args.vault, args.audit)?;
            let keyring = keys.following(&[key.without_version()])?;
            // Before the census: a wrong key is to fail at once.
            let rotation = keyring.rotation(&cmkit::Rotate::default());
            let rotation = rotation.map_err(|e| keys.failure(&e, Doing::Else))?;
            conditions = rotation.newest().first().map(|newest| {
                SafeToDisable::new(newest.clone())
                    .poll_interval(args.poll_interval)
                    .dek_age(args.dek_age)
            });
            keyring
        }
    };
    let mut census = keyring.census();
    let mut count = Count::new(args.quiet);
    let mut files = 0;
    for path in &args.paths {
        let walked = census.add_path_with(path, |_| {
            files += 1;
            count.tick(files);
            ControlFlow::Continue(())
        });
        walked.map_err(|e| Failure::of(&e, Doing::Else))?;
    }
    drop(count);
    let asked = args.safe_to_disable.as_ref().zip(conditions.as_ref());
    let answer = asked.map(|(key, conditions)| (key, census.safe_to_disable(key, conditions)));
    let text = if args.json {
        as_json(&census, answer.as_ref())?
    } else {
        for thing in census.unreadable() {
            say(&format!("{}: {}", thing.name, thing.problem));
        }
        human(&census, answer.as_ref())
    };
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(|e| Failure::print(&e))?;
    let is_fine = match &answer {
        Some((_, verdict)) => verdict.is_yes(),
        None => census.unreadable_count() == 0,
    };
    if is_fine {
        Ok(())
    } else {
        Err(Failure::silent(1))
    }
}

/// A keyring to count with: no key plays a part.
fn uncalled() -> Result<Keyring> {
    let builder = Keyring::builder();
    let builder = if is_discreet() {
        builder.high_business_impact()
    } else {
        builder
    };
    builder.build().map_err(|e| Failure::of(&e, Doing::Else))
}

fn human(census: &Census, answer: Option<&(&KeyId, Verdict)>) -> String {
    let mut text = String::new();
    if census.versions().len() > 0 {
        let titles = [
            "KEY VERSION",
            "HEADERS",
            "ONLY KEY",
            "OLD WRAPS",
            "LAST WRAP",
            "FOR INSTANCE",
        ];
        let mut rows = vec![titles.map(str::to_owned).to_vec()];
        rows.extend(census.versions().map(|version| {
            vec![
                version.key.to_string(),
                version.headers.to_string(),
                version.only_key.to_string(),
                version.old_kept.to_string(),
                time(version.newest_wrap),
                version.example.clone().unwrap_or_default(),
            ]
        }));
        if is_discreet() {
            rows.iter_mut().for_each(|row| row.truncate(5));
        }
        text.push_str(&table(&rows));
    }
    text.push_str(&format!(
        "{} headers, {} of them rows of key stores and {} of compact envelopes; {} other files, {} links not followed, {} unreadable\n",
        census.headers(),
        census.rows(),
        census.compact(),
        census.skipped(),
        census.links(),
        census.unreadable_count()
    ));
    match answer {
        None => {}
        Some((key, Verdict::Yes)) => text.push_str(&format!(
            "yes: {key} may be disabled, as far as this census went; backups and what it wasn't shown may need it\n"
        )),
        Some((key, verdict)) => {
            text.push_str(&format!("no: {key} had better stay enabled\n"));
            for reason in verdict.reasons() {
                text.push_str(&format!("- {reason}\n"));
            }
        }
    }
    printable(&text)
}

fn as_json(census: &Census, answer: Option<&(&KeyId, Verdict)>) -> Result<String> {
    let versions = census.versions().map(|version| {
        json!({
            "key_id": version.key.as_str(),
            "headers": version.headers,
            "only_key": version.only_key,
            "old_kept": version.old_kept,
            "oldest_wrap": time(version.oldest_wrap),
            "newest_wrap": time(version.newest_wrap),
            "example": version.example,
        })
    });
    let unreadable = census.unreadable().iter();
    let unreadable = unreadable.map(|thing| json!({"name": thing.name, "problem": thing.problem}));
    let answer = answer.map(|(key, verdict)| {
        json!({
            "key_id": key.as_str(),
            "safe": verdict.is_yes(),
            "reasons": verdict.reasons(),
        })
    });
    let value = json!({
        "authenticated": false,
        "begun": time(census.begun()),
        "versions": versions.collect::<Vec<Value>>(),
        "headers": census.headers(),
        "rows": census.rows(),
        "compact": census.compact(),
        "skipped": census.skipped(),
        "links": census.links(),
        "unreadable_count": census.unreadable_count(),
        "unreadable": unreadable.collect::<Vec<Value>>(),
        "safe_to_disable": answer,
    });
    let text = serde_json::to_string_pretty(&value);
    text.map(|text| text + "\n")
        .map_err(|e| Failure::other(format!("cannot write JSON: {e}")))
}
