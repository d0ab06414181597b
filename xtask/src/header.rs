//! `include/cmkit.h`, which cbindgen makes from `bindings/c`.

use std::fs;

use crate::work::{Result, Work, has_option};

const HEADER: &str = "include/cmkit.h";

pub(crate) fn run(work: &Work, args: &[String]) -> Result {
    let check = has_option(args, "--check")?;
    let source = work.existing("bindings/c")?;
    let config = cbindgen::Config::from_file(work.existing("bindings/c/cbindgen.toml")?)?;
    let mut made = Vec::new();
    cbindgen::Builder::new()
        .with_crate(source)
        .with_config(config)
        .generate()?
        .write(&mut made);

    let path = work.root().join(HEADER);
    if !check {
        fs::write(path, made)?;
        eprintln!("wrote {HEADER}");
        return Ok(());
    }
    let found = fs::read(work.existing(HEADER)?)?;
    if found == made {
        eprintln!("{HEADER} is what bindings/c gives");
        return Ok(());
    }
    let line = first_difference(&found, &made);
    Err(format!(
        "{HEADER} differs from what bindings/c gives, first in line {line}: run `cargo xtask header`"
    )
    .into())
}

fn first_difference(left: &[u8], right: &[u8]) -> usize {
    let same = left.iter().zip(right).take_while(|(a, b)| a == b).count();
    1 + left[..same].iter().filter(|byte| **byte == b'\n').count()
}
