//! `cargo xtask PIECE`: what continuous integration runs, in pieces one can run alone.

mod bench;
mod c;
mod ci;
mod demo;
mod deny;
mod doc;
mod fmt;
mod fuzz;
mod header;
mod lint;
mod python;
mod setup;
mod shape;
mod test;
mod typos;
mod work;

use std::env;
use std::process::ExitCode;

use work::{Result, Work};

/// One piece of CI.
struct Piece {
    name: &'static str,
    options: &'static str,
    about: &'static str,
    run: fn(&Work, &[String]) -> Result,
}

const PIECES: &[Piece] = &[
    Piece {
        name: "demo",
        options: "",
        about: "encrypt a file under a key made on the spot, look inside, decrypt it",
        run: demo::run,
    },
    Piece {
        name: "ci",
        options: "",
        about: "all of the pieces below, with a table of the minutes each took",
        run: ci::run,
    },
    Piece {
        name: "setup",
        options: "",
        about: "install what the other pieces need (Debian packages, Python, tools)",
        run: setup::run,
    },
    Piece {
        name: "fmt",
        options: "[--fix]",
        about: "formatting of all Rust code",
        run: fmt::run,
    },
    Piece {
        name: "typos",
        options: "[--fix]",
        about: "spelling",
        run: typos::run,
    },
    Piece {
        name: "deny",
        options: "[--advisories]",
        about: "licences, sources and banned crates; on request known vulnerabilities",
        run: deny::run,
    },
    Piece {
        name: "shape",
        options: "",
        about: "dependency arrows between the crates, and where `unsafe` may live",
        run: shape::run,
    },
    Piece {
        name: "lint",
        options: "",
        about: "clippy, warnings are errors, on both crypto backends",
        run: lint::run,
    },
    Piece {
        name: "doc",
        options: "",
        about: "the API pages, warnings are errors",
        run: doc::run,
    },
    Piece {
        name: "header",
        options: "[--check]",
        about: "write include/cmkit.h from bindings/c, or compare it",
        run: header::run,
    },
    Piece {
        name: "test",
        options: "",
        about: "Rust tests and examples, on both crypto backends",
        run: test::run,
    },
    Piece {
        name: "c",
        options: "",
        about: "C and C++ tests, again under the sanitizers, again under valgrind",
        run: c::run,
    },
    Piece {
        name: "python",
        options: "[PYTEST-ARGS]",
        about: "install the Python package, its tests, its types",
        run: python::run,
    },
    Piece {
        name: "fuzz",
        options: "[SECONDS] [TARGET]",
        about: "each fuzz target for 30 seconds, or as many as you say",
        run: fuzz::run,
    },
    Piece {
        name: "bench",
        options: "[ARGS]",
        about: "the side-by-side comparison with peers; --quick only shows that it runs",
        run: bench::run,
    },
];

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let Some(name) = args.first().map(String::as_str) else {
        print!("{}", usage());
        return ExitCode::from(2);
    };
    if matches!(name, "help" | "-h" | "--help") {
        print!("{}", usage());
        return ExitCode::SUCCESS;
    }
    let Some(piece) = PIECES.iter().find(|piece| piece.name == name) else {
        eprintln!("xtask: there is no piece '{name}'\n\n{}", usage());
        return ExitCode::from(2);
    };
    match Work::here().and_then(|work| (piece.run)(&work, &args[1..])) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nxtask {name}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> String {
    let mut text = String::from("Usage: cargo xtask PIECE [OPTIONS]\n\nPieces:\n");
    for piece in PIECES {
        let call = format!("{} {}", piece.name, piece.options);
        text.push_str(&format!("  {call:<25}{}\n", piece.about));
    }
    text
}
