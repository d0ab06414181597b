//! What `cargo metadata` and the sources must look like: arrows between the crates point one way,
//! the core has no network and no async crate, `unsafe` lives in two places.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};
use serde_json::Value;

use crate::work::{Result, Work, no_args, output};

/// The directory of a crate, and which of ours it may depend on in what it ships. Tests and
/// benchmarks ship nothing and may use all.
const ARROWS: &[(&str, &[&str])] = &[
    ("crates/cmkit", &[]),
    ("crates/cmkit-azure", &["cmkit"]),
    ("crates/cmkit-scratch", &["cmkit"]),
    (
        "crates/cmkit-cli",
        &["cmkit", "cmkit-azure", "cmkit-scratch"],
    ),
    (
        "crates/cmkit-testkit",
        &["cmkit", "cmkit-azure", "cmkit-scratch"],
    ),
    ("bindings/c", &["cmkit", "cmkit-azure", "cmkit-scratch"]),
    (
        "bindings/python",
        &["cmkit", "cmkit-azure", "cmkit-scratch"],
    ),
    ("xtask", &[]),
];
const UNRESTRICTED: &[&str] = &["benches", "tests"];
const TESTKIT: &str = "cmkit-testkit";

/// Crates that would bring a network or an async runtime into the core, by name or first part.
const NOT_IN_CORE: &[&str] = &[
    "actix",
    "async",
    "attohttpc",
    "curl",
    "embassy",
    "futures",
    "glommio",
    "h2",
    "hickory",
    "hyper",
    "isahc",
    "mio",
    "monoio",
    "native-tls",
    "openssl",
    "polling",
    "quinn",
    "reqwest",
    "rustls",
    "smol",
    "socket2",
    "surf",
    "tokio",
    "trust-dns",
    "ureq",
    "wasi-http",
];

/// Where `unsafe` may live. A fuzz target for the C interface has to call it.
const UNSAFE: &[&str] = &[
    "bindings/c/",
    "bindings/python/src/buffer.rs",
    "fuzz/fuzz_targets/c_",
];

pub(crate) fn run(work: &Work, args: &[String]) -> Result {
    no_args(args)?;
    let mut metadata = work.cargo([
        "metadata",
        "--format-version=1",
        "--all-features",
        "--locked",
    ]);
    let metadata: Value = serde_json::from_str(&output(&mut metadata)?)?;
    let mut faults = Vec::new();
    arrows(work, &metadata, &mut faults);
    core(&metadata, &mut faults)?;
    let files = unsafe_code(work, &mut faults)?;
    if faults.is_empty() {
        let crates = list(&metadata["workspace_members"]).len();
        eprintln!("the shape is right: {crates} crates, {files} source files");
        Ok(())
    } else {
        Err(faults.join("\n  ").into())
    }
}

fn arrows(work: &Work, metadata: &Value, faults: &mut Vec<String>) {
    let members: BTreeSet<&str> = strings(&metadata["workspace_members"]).collect();
    let packages = list(&metadata["packages"]).iter();
    let ours: Vec<&Value> = packages
        .filter(|package| members.contains(text(&package["id"])))
        .collect();
    let names: BTreeSet<&str> = ours.iter().map(|package| text(&package["name"])).collect();
    for package in &ours {
        let dir = directory(work, text(&package["manifest_path"]));
        if UNRESTRICTED.contains(&dir.as_str()) {
            continue;
        }
        let Some((_, allowed)) = ARROWS.iter().find(|(known, _)| *known == dir) else {
            faults.push(format!(
                "{dir}: say in xtask/src/shape.rs what it may depend on"
            ));
            continue;
        };
        for dependency in list(&package["dependencies"]) {
            let name = text(&dependency["name"]);
            let for_tests = dependency["kind"] == "dev";
            let fine = !names.contains(name)
                || allowed.contains(&name)
                || (for_tests && (name == TESTKIT || name == text(&package["name"])));
            if !fine {
                faults.push(format!("{dir} must not depend on {name}"));
            }
        }
    }
}

/// Everything that the core is built from, with all its features, on every platform.
fn core(metadata: &Value, faults: &mut Vec<String>) -> Result {
    let names: HashMap<&str, &str> = list(&metadata["packages"])
        .iter()
        .map(|package| (text(&package["id"]), text(&package["name"])))
        .collect();
    let nodes: HashMap<&str, &Value> = list(&metadata["resolve"]["nodes"])
        .iter()
        .map(|node| (text(&node["id"]), node))
        .collect();
    let (core, _) = names
        .iter()
        .find(|(_, name)| **name == "cmkit")
        .ok_or("there is no crate cmkit")?;
    let mut seen = BTreeSet::from([*core]);
    let mut open = vec![*core];
    while let Some(id) = open.pop() {
        let dependencies = nodes
            .get(id)
            .map(|node| list(&node["deps"]))
            .unwrap_or_default();
        for dependency in dependencies {
            let shipped = list(&dependency["dep_kinds"])
                .iter()
                .any(|kind| kind["kind"].is_null());
            let id = text(&dependency["pkg"]);
            if shipped && seen.insert(id) {
                open.push(id);
            }
        }
    }
    for name in seen.iter().filter_map(|id| names.get(id)) {
        let banned = NOT_IN_CORE.iter().any(|banned| {
            name.strip_prefix(banned)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '_']))
        });
        if banned {
            faults.push(format!(
                "the core must not depend on {name}, not even indirectly"
            ));
        }
    }
    Ok(())
}

/// Looks for the keyword in every source file that is committed or about to be; returns how many
/// files that is.
fn unsafe_code(work: &Work, faults: &mut Vec<String>) -> Result<usize> {
    let mut git = work.command("git");
    git.args([
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "*.rs",
    ]);
    let listed = output(&mut git)?;
    let mut files = 0;
    for path in listed.lines() {
        let full = work.root().join(path);
        if !full.is_file() {
            continue;
        }
        files += 1;
        if UNSAFE.iter().any(|allowed| path.starts_with(allowed)) {
            continue;
        }
        let tokens: TokenStream = fs::read_to_string(full)?
            .parse()
            .map_err(|error| format!("{path}: {error}"))?;
        if has_unsafe(tokens) {
            faults.push(format!("{path} must not contain unsafe code"));
        }
    }
    Ok(files)
}

fn has_unsafe(tokens: TokenStream) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident == "unsafe",
        TokenTree::Group(group) => has_unsafe(group.stream()),
        TokenTree::Punct(_) | TokenTree::Literal(_) => false,
    })
}

fn directory(work: &Work, manifest: &str) -> String {
    let path = Path::new(manifest);
    let path = path.strip_prefix(work.root()).unwrap_or(path);
    path.parent().unwrap_or(path).display().to_string()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn strings(value: &Value) -> impl Iterator<Item = &str> {
    list(value).iter().map(text)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
