"""The golden vectors of tests/vectors, and the plain reader, for the tests here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import plain_reader

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
VECTORS = ROOT / "tests" / "vectors" / "v1"


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
    keys: list[str]
    context: list[tuple[str, str]]
    workspace: str | None
    rows: Mapping[str, bytes] | None
    allow: list[str]

    def decrypt(self) -> bytes:
        """By the plain reader."""
        keks = {key: KEKS[key] for key in self.keys}
        context = dict(self.context)
        return plain_reader.decrypt(
            self.envelope, keks, context, self.workspace, self.rows, self.allow
        )


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
    names = dict.fromkeys(plain_reader.key_name(key) for key in keys)
    return Case(
        edited(base, changes.get("edits", [])),
        keys,
        [(key, value) for key, value in merged["context"]],
        merged["workspace"],
        rows,
        merged.get("allow", list(names)),
    )
