//! The programs that the guides show are parts of the examples, which are compiled and run as tests.

use super::read;

const EXAMPLES: &[&str] = &[
    "examples/c/block_device.c",
    "examples/c/encrypt.c",
    "examples/c/node_daemon.c",
    "examples/cpp/encrypt.cpp",
    "examples/cpp/key_vault.cpp",
];

/// The blocks of code in a document that are marked as one of these languages.
fn blocks(document: &str, languages: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let mut open: Option<String> = None;
    for line in document.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(language)) if languages.contains(&language) => open = Some(String::new()),
            (Some(_), Some(_)) => found.extend(open.take()),
            (Some(block), None) => *block += &format!("{line}\n"),
            (None, _) => {}
        }
    }
    found
}

#[test]
fn the_guides_show_the_examples() {
    let examples: Vec<String> = EXAMPLES.iter().map(|path| read(path)).collect();
    for (guide, count) in [("docs/guides/c.md", 5), ("docs/guides/scratch-c.md", 4)] {
        let blocks = blocks(&read(guide), &["c", "cpp"]);
        assert_eq!(blocks.len(), count, "{guide}");
        for block in blocks {
            assert!(
                examples.iter().any(|example| example.contains(&block)),
                "no example has this:\n{block}"
            );
        }
    }
}
