"""python -m cmkit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import cmkit
from cmkit.__main__ import main

from .helpers import names


@pytest.fixture(autouse=True)
def _home(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMKIT_HOME", str(home))
    monkeypatch.chdir(tmp_path)


def run(*arguments: str, data: bytes = b"") -> tuple[int, bytes, str]:
    done = subprocess.run([sys.executable, "-m", "cmkit", *arguments], input=data, capture_output=True, check=False)
    return done.returncode, done.stdout, done.stderr.decode()


def test_there_and_back(tmp_path: Path, home: Path) -> None:
    data = os.urandom(100_000)
    Path("a").write_bytes(data)
    code, _, errors = run("encrypt", "--context", "doc=42", "a")
    assert code == 0 and str(home) in errors and "back this directory up" in errors
    assert run("encrypt", "--context", "doc=42", "a")[0] == 1
    assert run("encrypt", "--force", "--context", "doc=42", "a") == (0, b"", "")
    assert run("decrypt", "a.cmk", "-o", "b")[0] == 3
    assert run("decrypt", "--context", "doc=42", "a.cmk", "-o", "b") == (0, b"", "")
    assert Path("b").read_bytes() == data
    assert run("decrypt", "--context", "doc=42", "a.cmk", "-o", "-") == (0, data, "")
    assert names(tmp_path) == ["a", "a.cmk", "b", "home"]


def test_pipes(tmp_path: Path) -> None:
    data = os.urandom(100_000)
    code, envelope, _ = run("encrypt", data=data)
    assert code == 0 and run("decrypt", data=envelope) == (0, data, "")
    assert run("decrypt", "-o", "out", data=envelope)[0] == 0 and Path("out").read_bytes() == data
    assert run("encrypt", "-o", "sealed", data=data)[0] == 0
    assert run("decrypt", "sealed", "-o", "-")[1] == data
    assert run("decrypt", data=envelope[:-1])[0] == 3
    assert run("decrypt", "-o", "cut", data=envelope[:-1])[0] == 3
    assert names(tmp_path) == ["home", "out", "sealed"]


def test_inspect() -> None:
    Path("a").write_bytes(b"x" * 1000)
    assert main(["encrypt", "--workspace", "w", "a"]) == 0
    code, out, _ = run("inspect", "--json", "a.cmk")
    facts = json.loads(out)
    assert code == 0 and (facts["workspace"], facts["plaintext_length"], facts["header_length"]) == ("w", 1000, 4096)
    assert facts["recipients"][0]["key_id"].startswith("local:default/") and facts["authenticated"] is False
    code, out, _ = run("inspect", "a.cmk")
    assert code == 0 and b"local:default/" in out and b"authenticated" in out
    Path("cut").write_bytes(Path("a.cmk").read_bytes()[:-1010])
    assert run("inspect", "cut")[0] == 3 and run("inspect", "a")[0] == 3
    assert run("decrypt", "a.cmk", "-o", "out")[0] == 4


def test_rewrap_and_keys(home: Path) -> None:
    Path("a").write_bytes(b"data")
    assert main(["key", "create", "next"]) == 0 and main(["encrypt", "a"]) == 0
    assert main(["rewrap", "--to", "local:next", "a.cmk"]) == 0
    code, _, errors = run("decrypt", "a.cmk", "-o", "b")
    assert code == 4 and "--key" in errors
    assert run("decrypt", "--key", "local:next", "a.cmk", "-o", "b")[0] == 0
    assert main(["rewrap", "--to", "local:next", "a.cmk", "a"]) == 3
    (listed,) = [line for line in run("key", "list")[1].decode().splitlines() if line.startswith("local:next/")]
    version = listed.split()[0]
    assert main(["key", "disable", version]) == 0
    assert run("decrypt", "--key", "local:next", "a.cmk", "-o", "c")[0] == 4
    assert main(["key", "enable", version]) == 0 and main(["key", "rotate", "next"]) == 0
    assert len(cmkit.LocalKeyProvider(home).list("local:next")) == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["encrypt", "."],
        ["encrypt", "a", "-o", "a", "--force"],
        ["encrypt", "--context", "no", "a"],
        ["encrypt", "--key", "../x", "a"],
        ["decrypt", "a"],
        ["encrypt", "--unknown", "a"],
        ["rewrap", "a"],
        ["nothing"],
        [],
    ],
)
def test_wrong_usage(arguments: list[str]) -> None:
    Path("a").write_bytes(b"x")
    code, _, errors = run(*arguments)
    assert code == 2 and errors and "Traceback" not in errors


def test_other_exit_codes() -> None:
    assert run("encrypt", "none")[0] == 1
    Path("a").write_bytes(b"x")
    assert run("encrypt", "--key", "local:none", "a")[0] == 4
    Path("b.cmk").write_bytes(b"plain text that was never encrypted")
    assert run("decrypt", "b.cmk")[0] == 3
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "cmkit", "encrypt"], input=bytes(9 << 20), stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 1 and b"Traceback" not in done.stderr
