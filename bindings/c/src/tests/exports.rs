//! Every export is framed: its body is one of the macros that check pointers and catch panics.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use syn::{Item, ItemFn, Stmt};

use super::read;

const FRAMES: &[&str] = &["call", "value", "free"];

/// Every function of the sources, wherever it stands.
fn functions(dir: &Path, found: &mut Vec<(String, ItemFn)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if !path.ends_with("tests") {
                functions(&path, found);
            }
        } else {
            let name = path.display().to_string();
            let file = syn::parse_file(&fs::read_to_string(&path).unwrap()).unwrap();
            collect(&name, file.items, found);
        }
    }
}

fn collect(name: &str, items: Vec<Item>, found: &mut Vec<(String, ItemFn)>) {
    for item in items {
        match item {
            Item::Fn(function) => found.push((name.to_owned(), function)),
            Item::Mod(module) => collect(
                name,
                module.content.map(|(_, items)| items).unwrap_or_default(),
                found,
            ),
            _ => {}
        }
    }
}

fn is_exported(function: &ItemFn) -> bool {
    function.attrs.iter().any(|attribute| {
        let text = quoted(attribute);
        text.contains("no_mangle") || text.contains("export_name")
    })
}

fn quoted(attribute: &syn::Attribute) -> String {
    match &attribute.meta {
        syn::Meta::List(list) => format!("{} {}", list.path.segments[0].ident, list.tokens),
        other => other.path().segments[0].ident.to_string(),
    }
}

/// The macro that the whole body is; `None` when it isn't one.
fn frame(function: &ItemFn) -> Option<String> {
    let invocation = match &function.block.stmts[..] {
        [Stmt::Macro(statement)] => &statement.mac,
        [Stmt::Expr(syn::Expr::Macro(expression), None)] => &expression.mac,
        _ => return None,
    };
    invocation.path.get_ident().map(ToString::to_string)
}

fn exports() -> BTreeSet<String> {
    let mut found = Vec::new();
    functions(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut found,
    );
    let mut names = BTreeSet::new();
    for (file, function) in &found {
        let name = function.sig.ident.to_string();
        let is_c = function
            .sig
            .abi
            .as_ref()
            .is_some_and(|abi| abi.name.as_ref().is_some_and(|n| n.value() == "C"));
        assert_eq!(
            is_exported(function),
            is_c,
            "{file}: {name}: `extern \"C\"` and exported, or neither"
        );
        if !is_c {
            continue;
        }
        let frame = frame(function);
        assert!(
            frame
                .as_deref()
                .is_some_and(|frame| FRAMES.contains(&frame)),
            "{file}: the body of {name} is not one call!, value! or free!"
        );
        assert!(name.starts_with("cmk_"), "{file}: {name}");
        assert!(
            function.attrs.iter().any(|a| a.path().is_ident("doc")),
            "{file}: {name} has no comment"
        );
        assert!(names.insert(name));
    }
    names
}

/// The functions that the header declares: a name at the beginning of a declaration, before its parenthesis.
fn declared() -> BTreeSet<String> {
    let header = read("include/cmkit.h");
    header
        .lines()
        .filter(|line| !line.starts_with(['#', ' ', '/', '}']) && !line.starts_with("typedef"))
        .filter_map(|line| line.split_once('(').map(|(before, _)| before))
        .filter_map(|before| before.rsplit([' ', '*']).next())
        .filter(|name| name.starts_with("cmk_"))
        .map(ToOwned::to_owned)
        .collect()
}

#[test]
fn every_export_is_framed_and_declared() {
    let exports = exports();
    assert!(
        exports.len() > 80,
        "only {} exports were found",
        exports.len()
    );
    assert_eq!(exports, declared());
}
