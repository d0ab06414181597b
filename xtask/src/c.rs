//! The C and C++ tests: a CMake project at `tests/c`, run as it is, then built with the address
//! and undefined-behaviour sanitizers, then under valgrind.
//!
//! The project finds the library through `CMKIT_LIBRARY_DIR` (where Cargo put `libcmkit_c.so` and
//! `.a`), the fake vault through `CMKIT_FAKE_VAULT`, and starts every test program through `CMKIT_TEST_RUNNER` (a list, empty or valgrind).

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::work::{self, Result, Work, no_args, output};

/// The C library itself isn't instrumented: a second build of it would cost minutes.
const SANITIZE: &str =
    "-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer";

const VALGRIND: &str = "valgrind;--quiet;--error-exitcode=9;--leak-check=full;\
                        --errors-for-leak-kinds=definite,indirect;--trace-children=no";

pub(crate) fn run(work: &Work, args: &[String]) -> Result {
    no_args(args)?;
    work.existing("bindings/c/Cargo.toml")?;
    work.existing("tests/c/CMakeLists.txt")?;
    work::run(&mut work.cargo(["build", "--release", "--locked", "--package=cmkit-c"]))?;
    work::run(&mut work.cargo(["build", "--locked", "--package=cmkit-testkit"]))?;

    test(work, "plain", &[])?;
    test(
        work,
        "sanitize",
        &[
            "-DCMKIT_SANITIZE=ON".into(),
            format!("-DCMAKE_C_FLAGS={SANITIZE}"),
            format!("-DCMAKE_CXX_FLAGS={SANITIZE}"),
        ],
    )?;
    test(
        work,
        "valgrind",
        &[format!("-DCMKIT_TEST_RUNNER={VALGRIND}")],
    )
}

/// Configures, builds and runs the tests in a build directory of its own.
fn test(work: &Work, name: &str, settings: &[String]) -> Result {
    let dir = work.target().join("c").join(name);
    let mut configure = work.command("cmake");
    configure
        .args(["-S", "tests/c", "-B"])
        .arg(&dir)
        .args(["-G", "Unix Makefiles", "-DCMAKE_BUILD_TYPE=Debug"])
        .arg(define("CMKIT_LIBRARY_DIR", &work.target().join("release")))
        .arg(define(
            "CMKIT_FAKE_VAULT",
            &work.target().join("debug/cmkit-fake-vault"),
        ))
        .args(settings);
    work::run(&mut configure)?;

    let mut build = work.command("cmake");
    build.arg("--build").arg(&dir).args(["--parallel", "2"]);
    work::run(&mut build)?;

    let listed = output(ctest(work, &dir).arg("--show-only=json-v1"))?;
    let listed: Value = serde_json::from_str(&listed)?;
    if listed["tests"].as_array().is_none_or(Vec::is_empty) {
        return Err("tests/c has no tests".into());
    }
    if name == "valgrind" && !listed["tests"].to_string().contains("--error-exitcode") {
        return Err("tests/c does not start its programs through CMKIT_TEST_RUNNER".into());
    }
    let mut tests = ctest(work, &dir);
    tests.args(["--output-on-failure", "--parallel", "2", "--timeout", "300"]);
    tests.env(
        "ASAN_OPTIONS",
        "detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=1",
    );
    tests.env("UBSAN_OPTIONS", "print_stacktrace=1:halt_on_error=1");
    work::run(&mut tests)
}

fn ctest(work: &Work, dir: &Path) -> Command {
    let mut command = work.command("ctest");
    command.arg("--test-dir").arg(dir);
    command
}

fn define(name: &str, path: &Path) -> OsString {
    let mut setting = OsString::from(format!("-D{name}="));
    setting.push(path);
    setting
}
