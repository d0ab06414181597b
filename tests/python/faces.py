"""Every face of cmkit behind one interface: what a program in that language does, from files to files."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest

from . import plain_reader
from .vectors import ROOT

TARGET = ROOT / os.environ.get("CARGO_TARGET_DIR", "target")
C_FLAGS = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", f"-I{ROOT / 'include'}"]
LINK_FLAGS = ["-lpthread", "-ldl", "-lm"]


def missing(what: str) -> None:
    """Whoever has no compiler may run the other tests; where all is tested, it must be there."""
    if os.environ.get("CI"):
        pytest.fail(f"{what} is missing")
    pytest.skip(f"{what} is missing")


@dataclass
class Failure(Exception):
    """How a face says no: the row of docs/errors.md."""

    kind: str
    said: str


@dataclass
class Keyring:
    """What a keyring is made of."""

    home: Path
    keys: list[str]
    workspace: str | None = None
    store: Path | None = None


Context = Iterable[tuple[str, str]]


@dataclass(frozen=True)
class Row:
    """A row of docs/errors.md."""

    kind: str
    c: str
    python: str
    exit: int


@cache
def errors() -> list[Row]:
    rows = []
    for line in (ROOT / "docs" / "errors.md").read_text("utf-8").splitlines():
        row = re.match(r"\| `(\w+)` \| `(\w+)` \d+ \| `(\w+)` \| (\d+) \|", line)
        if row:
            rows.append(Row(row[1], row[2], row[3], int(row[4])))
    assert len(rows) > 15
    return rows


def run(command: list[str], env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LC_ALL": "C.UTF-8", **(env or {})}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def cargo(*args: str) -> None:
    if shutil.which("cargo") is None:
        missing("cargo")
    built = subprocess.run(
        ["cargo", "build", "--locked", *args], cwd=ROOT, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr


@cache
def work() -> Path:
    directory = TARGET / "languages"
    directory.mkdir(parents=True, exist_ok=True)
    return Path(mkdtemp(dir=directory))


@cache
def library() -> Path:
    cargo("--release", "--package=cmkit-c")
    return TARGET / "release" / "libcmkit_c.a"


def compiled(source: Path, name: str) -> Path:
    """A C or C++ program with the library in it."""
    language, standard = ("cc", "-std=c11") if source.suffix == ".c" else ("c++", "-std=c++17")
    if shutil.which(language) is None:
        missing(language)
    program = work() / name
    command = [language, standard, *C_FLAGS, str(source), str(library()), *LINK_FLAGS]
    built = run([*command, "-o", str(program)])
    assert built.returncode == 0, built.stderr
    return program


@cache
def driver(name: str) -> Path:
    return compiled(ROOT / "tests" / "languages" / name, name.replace(".", "-"))


@cache
def command() -> Path:
    cargo("--package=cmkit-cli")
    return TARGET / "debug" / "cmkit"


def by_driver(
    name: str, how: str, keyring: Keyring, source: Path, out: Path, context: Context
) -> None:
    fixed = [str(keyring.home), str(keyring.store or "-"), keyring.workspace or "-"]
    pairs = [text for pair in context for text in pair]
    program = str(driver(name))
    done = run([program, how, *fixed, ",".join(keyring.keys), str(source), str(out), *pairs])
    if done.returncode == 1:
        code, _, said = done.stderr.partition(" ")
        raise Failure(next(row.kind for row in errors() if row.c == code), said)
    assert done.returncode == 0, done


def by_command(how: str, keyring: Keyring, source: Path, out: Path, context: Context) -> None:
    verb = {"seal": "encrypt", "open": "decrypt"}[how]
    options = [f"--home={keyring.home}", *[f"--key={key}" for key in keyring.keys]]
    options += [f"--context={key}={value}" for key, value in context]
    if keyring.workspace is not None:
        options.append(f"--workspace={keyring.workspace}")
    done = run([str(command()), verb, *options, "--force", "-o", str(out), str(source)])
    if done.returncode:
        # The command has an exit code for several kinds.
        raise Failure(f"exit {done.returncode}", done.stderr)


def by_python(how: str, keyring: Keyring, source: Path, out: Path, context: Context) -> None:
    try:
        import cmkit
    except ImportError:
        missing("the Python package cmkit")
        raise
    try:
        provider = cmkit.LocalKeyProvider(keyring.home)
        opens = how == "open"
        ring = cmkit.Keyring(
            provider,
            keys=[] if opens else keyring.keys,
            allow=keyring.keys if opens else None,
            workspace=keyring.workspace,
            key_store=None if keyring.store is None else cmkit.DirectoryKeyStore(keyring.store),
        )
        calls: dict[str, Callable[[bytes, dict[str, str]], bytes]] = {
            "seal": ring.encrypt,
            "seal-compact": ring.encrypt_compact,
            "open": ring.decrypt,
        }
        out.write_bytes(calls[how](source.read_bytes(), dict(context)))
    except Exception as error:
        name = type(error).__name__
        raise Failure(next(row.kind for row in errors() if row.python == name), str(error)) from error


def by_plain_reader(how: str, keyring: Keyring, source: Path, out: Path, context: Context) -> None:
    assert how == "open"
    keks = plain_reader.load_keks(keyring.home.glob("keys/*/*.jwk"))
    rows = None
    if keyring.store is not None:
        rows = {row.stem: row.read_bytes() for row in keyring.store.glob("*.dek")}
    names = [plain_reader.key_name(key) if key.count("/") else key for key in keyring.keys]
    try:
        opened = plain_reader.decrypt(
            source.read_bytes(), keks, dict(context), keyring.workspace, rows, names
        )
    except plain_reader.Refused as refused:
        raise Failure(refused.kind, str(refused)) from refused
    out.write_bytes(opened)


@dataclass
class Face:
    """How one language seals and opens."""

    name: str
    call: Callable[[str, Keyring, Path, Path, Context], None]
    seals: bool = True
    compact: bool = True

    def seal(self, keyring: Keyring, source: Path, out: Path, context: Context) -> None:
        self.call("seal", keyring, source, out, context)

    def seal_compact(self, keyring: Keyring, source: Path, out: Path, context: Context) -> None:
        self.call("seal-compact", keyring, source, out, context)

    def open(self, keyring: Keyring, source: Path, out: Path, context: Context) -> None:
        self.call("open", keyring, source, out, context)


def driven(name: str) -> Callable[[str, Keyring, Path, Path, Context], None]:
    return lambda how, keyring, source, out, context: by_driver(
        name, how, keyring, source, out, context
    )


FACES = [
    Face("command", by_command, compact=False),
    Face("c", driven("driver.c")),
    Face("c++", driven("driver.cpp")),
    Face("python", by_python),
    Face("plain reader", by_plain_reader, seals=False),
]
PYTHON = sys.executable
