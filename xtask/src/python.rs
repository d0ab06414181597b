//! The Python package: installed as a user would, then its tests, then its types.

use std::path::PathBuf;

use crate::work::{self, Result, Work};

/// Where Python tests live; strictly typed like the package.
const TESTS: [&str; 2] = ["bindings/python/tests", "tests/python"];

pub(crate) fn run(work: &Work, args: &[String]) -> Result {
    work.existing("bindings/python/pyproject.toml")?;
    let tests: Vec<PathBuf> = TESTS
        .iter()
        .map(|path| work.existing(path))
        .collect::<Result<_>>()?;

    let mut install = work.tool("pip")?;
    // The build backend is in the environment already. The version rarely changes while one works
    // on the code, hence the force.
    install.args(["install", "--quiet", "--no-build-isolation", "--no-deps"]);
    install.args(["--force-reinstall", "./bindings/python"]);
    install.env("PATH", path_with(&work.venv().join("bin"))?);
    work::run(&mut install)?;

    let mut pytest = work.tool("pytest")?;
    pytest.args(["-q", "--import-mode=importlib", "-p", "no:cacheprovider"]);
    if args.is_empty() {
        pytest.args(&tests);
    } else {
        pytest.args(args);
    }
    work::run(&mut pytest)?;

    let mut mypy = work.tool("mypy")?;
    mypy.arg("--strict").args(&tests);
    work::run(mypy.arg("--cache-dir").arg(work.target().join("mypy")))?;

    let mut stubtest = work.tool("stubtest")?;
    work::run(stubtest.arg("cmkit"))
}

fn path_with(first: &std::path::Path) -> Result<std::ffi::OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::iter::once(first.to_path_buf()).chain(std::env::split_paths(&path));
    Ok(std::env::join_paths(dirs)?)
}
