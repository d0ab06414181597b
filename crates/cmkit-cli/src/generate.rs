//! Shell completions and manual pages, from the grammar itself.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::args::Cli;
use crate::failure::{Failure, Result};
use crate::place::cannot;

/// `cmkit completions SHELL`
pub(crate) fn completions(shell: Shell) -> Result {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "cmkit", &mut script);
    io::stdout()
        .write_all(&script)
        .map_err(|e| Failure::print(&e))
}

/// `cmkit man [DIR]`
pub(crate) fn man(dir: Option<&Path>) -> Result {
    let Some(dir) = dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command())
            .render(&mut page)
            .map_err(|e| Failure::print(&e))?;
        return io::stdout()
            .write_all(&page)
            .map_err(|e| Failure::print(&e));
    };
    fs::create_dir_all(dir).map_err(|e| cannot("create", dir, &e))?;
    clap_mangen::generate_to(Cli::command(), dir)
        .map_err(|e| cannot("write manual pages to", dir, &e))
}
