//! The codes are those of docs/errors.md, in the header and in what errors become.

use cmkit::ErrorKind;

use super::read;
use crate::result::{self, NAMES};

/// (kind, code, number) of each row of the table.
fn rows(document: &str) -> Vec<(String, String, u32)> {
    let cells = |line: &str| {
        line.split('|')
            .map(|cell| cell.trim().to_owned())
            .collect::<Vec<_>>()
    };
    document
        .lines()
        .map(cells)
        .filter(|cells| cells.len() > 3 && cells[2].starts_with("`CMK_"))
        .map(|cells| {
            let (name, number) = cells[2].split_once(' ').unwrap();
            (
                cells[1].replace('`', ""),
                name.replace('`', ""),
                number.parse().unwrap(),
            )
        })
        .collect()
}

/// The codes that only C has: "`CMK_OK` 0; `CMK_UNSUPPORTED` 901, ...".
fn only_in_c(document: &str) -> Vec<(String, u32)> {
    let line = document
        .lines()
        .find(|line| line.starts_with("Only in C:"))
        .unwrap();
    let mut found = Vec::new();
    for part in line.split('`').collect::<Vec<_>>().windows(2) {
        if part[0].starts_with("CMK_") {
            let digits: String = part[1]
                .trim()
                .chars()
                .take_while(char::is_ascii_digit)
                .collect();
            found.push((part[0].to_owned(), digits.parse().unwrap()));
        }
    }
    found
}

#[test]
fn every_kind_has_the_code_that_the_document_gives_it() {
    let document = read("docs/errors.md");
    let rows = rows(&document);
    assert_eq!(rows.len(), ErrorKind::ALL.len());
    for (kind, (name, code, number)) in ErrorKind::ALL.iter().zip(&rows) {
        assert_eq!(&format!("{kind:?}"), name);
        assert_eq!(result::code_of(*kind), *number, "{name}");
        assert!(
            NAMES
                .iter()
                .any(|(known, text)| known == number && text.to_str() == Ok(code.as_str())),
            "{code}"
        );
    }
    let others = only_in_c(&document);
    assert_eq!(others.len(), 3);
    assert_eq!(rows.len() + others.len(), NAMES.len());
    for (code, number) in others {
        assert!(
            NAMES
                .iter()
                .any(|(known, text)| *known == number && text.to_str() == Ok(code.as_str())),
            "{code}"
        );
    }
}

#[test]
fn the_header_defines_every_code() {
    let header = read("include/cmkit.h");
    for (number, name) in NAMES {
        let name = name.to_str().unwrap();
        assert!(
            header
                .lines()
                .any(|line| line == format!("#define {name} {number}")),
            "{name}"
        );
    }
    let defined = header
        .lines()
        .filter(|line| line.starts_with("#define CMK_ERR_"))
        .count();
    assert_eq!(
        defined,
        NAMES
            .iter()
            .filter(|(_, name)| name.to_bytes().starts_with(b"CMK_ERR_"))
            .count()
    );
}

#[test]
fn the_header_defines_what_the_structures_are_checked_with() {
    assert_eq!(crate::CMK_KEY_ID_CAPACITY, crate::arg::ID_CAPACITY);
}
