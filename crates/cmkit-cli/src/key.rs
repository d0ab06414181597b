//! `cmkit key`: the keys of a key directory.

mod exchange;

use std::io::{self, Write};

use cmkit::{KeyId, KeyInfo, KeyType, LocalKeyProvider};

use crate::args::Key;
use crate::failure::{Doing, Failure, Result, say};
use crate::keys::Home;
use crate::signals::Signals;
use crate::text::{table, time};

/// `cmkit key ...`
pub(crate) fn run(command: Key, home: &Home, signals: &Signals) -> Result {
    let provider = home.provider()?;
    // Making an RSA key takes seconds, and nothing is on disk meanwhile: Ctrl-C may end that at once.
    let slow = match &command {
        Key::Create { key_type, .. } => *key_type != KeyType::Oct256,
        Key::Rotate { .. } => true,
        _ => false,
    };
    let _held = (!slow).then(|| signals.hold());
    match command {
        Key::Create { name, key_type } => {
            let id = provider.create_key(&name, key_type).map_err(failed)?;
            print(&format!("{id}\n"))?;
            remind(&provider);
            Ok(())
        }
        Key::List => list(&provider),
        Key::Show { id } => print(&rows(&provider.show(&id).map_err(failed)?)),
        Key::Rotate { name } => {
            let id = provider.rotate(&name).map_err(failed)?;
            print(&format!("{id}\n"))?;
            remind(&provider);
            Ok(())
        }
        Key::Disable { id } => provider.disable(&id).map_err(failed),
        Key::Enable { id } => provider.enable(&id).map_err(failed),
        Key::Import { name, file } => exchange::import(&provider, &name, &file),
        Key::Export {
            public,
            format,
            output,
            force,
            id,
        } => {
            let public = public.then_some(format);
            exchange::export(&provider, &id, public, output.as_deref(), force)
        }
        Key::Delete { yes_destroy, id } => delete(&provider, &id, yes_destroy),
    }
}

fn failed(error: cmkit::Error) -> Failure {
    Failure::of(&error, Doing::Else)
}

fn print(text: &str) -> Result {
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(|e| Failure::print(&e))
}

fn remind(provider: &LocalKeyProvider) {
    say(&format!(
        "back up {}: what is encrypted can't be read without it",
        provider.dir().display()
    ));
}

fn list(provider: &LocalKeyProvider) -> Result {
    let keys = provider.list().map_err(failed)?;
    if keys.is_empty() {
        say(&format!(
            "no keys in {}; `cmkit key create NAME` makes one",
            provider.dir().display()
        ));
        return Ok(());
    }
    print(&rows(&keys))
}

fn rows(keys: &[KeyInfo]) -> String {
    let mut rows = vec![
        ["ID", "TYPE", "STATE", "MADE", ""]
            .map(str::to_owned)
            .to_vec(),
    ];
    for key in keys {
        let mut notes = Vec::new();
        if key.newest {
            notes.push("newest");
        }
        if key.public_only {
            notes.push("public half only");
        }
        rows.push(vec![
            key.id.to_string(),
            key.key_type.map_or("?".to_owned(), |t| t.to_string()),
            key.state.name().to_owned(),
            key.created.map_or("?".to_owned(), time),
            notes.join(", "),
        ]);
    }
    table(&rows)
}

fn delete(provider: &LocalKeyProvider, id: &KeyId, sure: bool) -> Result {
    if !sure {
        return Err(Failure::usage(format!(
            "nothing was deleted: what is encrypted under {id} alone would be lost for ever; to keep a \
             copy of it, run `cmkit key export -o FILE {id}`; to destroy it all the same, run \
             `cmkit key delete --yes-destroy {id}`"
        )));
    }
    provider.destroy(id).map_err(failed)
}
