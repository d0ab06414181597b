"""The plain readers over the golden vectors of tests/vectors."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.cobblestone import Cobblestone256Decryptor

HERE = Path(__file__).resolve().parent
VECTORS = HERE.parent / "vectors" / "v1"


def load_plain_reader() -> Any:
    """Imported by its path: the tests are no package, and the reader is a program of its own."""
    spec = importlib.util.spec_from_file_location("plain_reader", HERE / "plain_reader.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["plain_reader"] = module
    spec.loader.exec_module(module)
    return module


plain_reader = load_plain_reader()


def read_list(name: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads((VECTORS / name).read_text("utf-8"))
    return entries


VALID = {vector["name"]: vector for vector in read_list("valid.json")}
REFUSED = read_list("refused.json")
JWK_FILES = [*sorted(VECTORS.glob("home/keys/*/*.jwk")), VECTORS / "vault.jwk"]
KEKS = plain_reader.load_keks(JWK_FILES)


def plaintext(n: int) -> bytes:
    return bytes((7 * i + i // 251) % 256 for i in range(n))


@dataclass
class Case:
    """What a reader is given."""

    envelope: bytes
    keks: Mapping[str, Mapping[str, str]]
    context: Mapping[str, str]
    workspace: str | None
    rows: Mapping[str, bytes] | None
    allow: Iterable[str]

    def decrypt(self) -> bytes:
        opened: bytes = plain_reader.decrypt(
            self.envelope, self.keks, self.context, self.workspace, self.rows, self.allow
        )
        return opened


def edited(base: bytes, edits: list[dict[str, Any]]) -> bytes:
    out, done = b"", 0
    for edit in edits:
        out += base[done : edit["at"]]
        if "hex" in edit:
            out += bytes.fromhex(edit["hex"])
        elif "zeros" in edit:
            out += bytes(edit["zeros"])
        else:
            out += base[slice(*edit["copy"])]
        done = edit["at"] + edit["remove"]
    return out + base[done:]


def read_case(vector: Mapping[str, Any], changes: Mapping[str, Any]) -> Case:
    """`vector` with the members that `changes` has in their place."""
    merged = {**vector, **{k: v for k, v in changes.items() if k != "row"}}
    base = (VECTORS / vector["file"]).read_bytes()
    rows = None
    if vector["row"] is not None:
        rows = {}
        name = changes.get("row", vector["name"])
        if name is not None:
            row = (VECTORS / f"{name}.row").read_bytes()
            dek_id = plain_reader.parse_header(base).core.dek_id.hex()
            rows[dek_id] = edited(row, changes.get("row_edits", []))
    keys = merged["keys"]
    return Case(
        edited(base, changes.get("edits", [])),
        {key: KEKS[key] for key in keys},
        dict(merged["context"]),
        merged["workspace"],
        rows,
        merged.get("allow", [plain_reader.key_name(key) for key in keys]),
    )


@pytest.mark.parametrize("name", VALID)
def test_opens(name: str) -> None:
    vector = VALID[name]
    opened = read_case(vector, {}).decrypt()
    assert opened == plaintext(vector["plaintext_len"])
    assert hashlib.sha256(opened).hexdigest() == vector["plaintext_sha256"]


@pytest.mark.parametrize("name", VALID)
def test_every_recipient_opens_alone(name: str) -> None:
    vector = VALID[name]
    for key in vector["keys"]:
        case = read_case(vector, {"keys": [key], "allow": [plain_reader.key_name(key)]})
        assert case.decrypt() == plaintext(vector["plaintext_len"])


@pytest.mark.parametrize("name", VALID)
def test_body_is_cobblestone(name: str) -> None:
    """`cryptography` knows the body's format by itself."""
    vector = VALID[name]
    case = read_case(vector, {})
    header = plain_reader.parse_header(case.envelope)
    dek = plain_reader.open_header(header, case.keks, case.workspace, case.rows)
    key, context = plain_reader.body_keys(header, dek, case.context)
    decryptor = Cobblestone256Decryptor(key, context)
    opened = decryptor.update(case.envelope[len(header) :]) + decryptor.finalize()
    assert opened == plaintext(vector["plaintext_len"])


@pytest.mark.parametrize("case", REFUSED, ids=[case["name"] for case in REFUSED])
def test_refuses(case: dict[str, Any]) -> None:
    with pytest.raises(plain_reader.Refused) as refused:
        read_case(VALID[case["base"]], case).decrypt()
    assert refused.value.kind == case["error"], refused.value


def test_every_flipped_bit() -> None:
    case = read_case(VALID["workspace"], {})
    whole = case.envelope
    for bit in range(len(whole) * 8):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << (bit % 8)
        case.envelope = bytes(flipped)
        with pytest.raises(plain_reader.Refused):
            case.decrypt()


def test_every_length() -> None:
    case = read_case(VALID["workspace"], {})
    whole = case.envelope
    for n in range(len(whole)):
        case.envelope = whole[:n]
        with pytest.raises(plain_reader.Refused):
            case.decrypt()


def test_command_line(tmp_path: Path) -> None:
    def run(vector: dict[str, Any], *args: str) -> subprocess.CompletedProcess[bytes]:
        jwks = [f"--jwk={path}" for path in JWK_FILES]
        pairs = [f"--context={key}={value}" for key, value in vector["context"]]
        command = [sys.executable, str(HERE / "plain_reader.py"), *jwks, *pairs, *args]
        return subprocess.run([*command, str(VECTORS / vector["file"])], capture_output=True)

    vector = VALID["compact-workspace"]
    row = f"--row={VECTORS / vector['row']}"
    opened = run(vector, f"--workspace={vector['workspace']}", row)
    assert opened.returncode == 0, opened.stderr
    assert opened.stdout == plaintext(vector["plaintext_len"])
    refused = run(vector, "--workspace=another", row)
    assert refused.returncode == 3
    assert refused.stdout == b""
    assert refused.stderr.startswith(b"Policy: ")
