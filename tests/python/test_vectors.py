"""The plain readers over the golden vectors of tests/vectors."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.cobblestone import Cobblestone256Decryptor

from . import plain_reader
from .vectors import HERE, JWK_FILES, KEKS, REFUSED, VALID, VECTORS, plaintext, read_case


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
        case = read_case(vector, {"keys": [key]})
        assert case.decrypt() == plaintext(vector["plaintext_len"])


@pytest.mark.parametrize("name", VALID)
def test_body_is_cobblestone(name: str) -> None:
    """`cryptography` knows the body's format by itself."""
    vector = VALID[name]
    case = read_case(vector, {})
    header = plain_reader.parse_header(case.envelope)
    dek = plain_reader.open_header(header, KEKS, case.workspace, case.rows)
    key, context = plain_reader.body_keys(header, dek, dict(case.context))
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


def test_command_line() -> None:
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


def test_reader_stands_alone() -> None:
    """Nothing of cmkit, and nothing but `cryptography` beside the standard library."""
    lines = (HERE / "plain_reader.py").read_text("utf-8").splitlines()
    imports = [line.split()[1].split(".")[0] for line in lines if line.startswith(("import ", "from "))]
    foreign = {name for name in imports if name not in sys.stdlib_module_names}
    assert foreign == {"cryptography"}


def test_folder_stays_small() -> None:
    assert sum(path.stat().st_size for path in Path(VECTORS).rglob("*") if path.is_file()) < 1 << 20
