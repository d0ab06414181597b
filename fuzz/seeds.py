"""Writes fuzz/seeds from tests/vectors: `python3 fuzz/seeds.py`. The result is committed."""

import json
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VECTORS = ROOT / "tests/vectors/v1"
SEEDS = ROOT / "fuzz/seeds"


def edited(base: bytes, edits: list[dict]) -> bytes:
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


def header(envelope: bytes) -> bytes:
    return envelope[: 48 + int.from_bytes(envelope[12:14]) + int.from_bytes(envelope[14:16])]


def write(target: str, name: str, data: bytes) -> None:
    (SEEDS / target).mkdir(parents=True, exist_ok=True)
    (SEEDS / target / name).write_bytes(data)


def main() -> None:
    shutil.rmtree(SEEDS, ignore_errors=True)
    valid = json.loads((VECTORS / "valid.json").read_text("utf-8"))
    bases = {vector["name"]: (VECTORS / vector["file"]).read_bytes() for vector in valid}
    for name, envelope in bases.items():
        if len(header(envelope)) < 1000:
            write("header", name, header(envelope))
    for case in json.loads((VECTORS / "refused.json").read_text("utf-8")):
        # One of each way to be malformed.
        if case["error"] == "Format" and "edits" in case:
            forged = edited(bases[case["base"]], case["edits"])[:700]
            if forged[:4] == b"\x89CMK":
                write("header", f"refused-{case['name']}", forged)
    # Byte 0 chooses the vector, byte 1 whether the MAC is made right; then come the changes.
    for which in range(17):
        write("document", f"whole-{which}", bytes([which, which % 4]))
        for kind in range(8) if which in (0, 5, 9, 12) else ():
            write("document", f"change-{which}-{kind}", bytes([which, which % 4, kind, 0, 40 + which, 3, 1, 2, 3]))
    write("document", "raw", b"\x12" + bases["one-byte"])
    # Bytes 0 and 1 are the length, byte 2 the options; then come the lengths of pieces.
    for length in (b"\0\0", b"\x80\4", b"\x7f\4", b"\x10\6"):
        for options in (0, 1, 2, 4, 8, 32, 33, 48, 51):
            write("stream", f"{length.hex()}-{options}", length + bytes([options]) + b"\x20\0\x80\4\1\0" * 4)
    # Each byte is a call; what follows it are its arguments.
    for first in range(0, 256, 16):
        write("c_calls", f"from-{first}", bytes(range(first, first + 16)) * 8)
    # Byte 0 chooses the parser.
    kid = "https://v.vault.azure.net/keys/k/" + "0" * 32
    key = {
        "key": {"kid": kid, "kty": "RSA", "key_ops": ["wrapKey", "unwrapKey"], "n": "AQAB" * 128, "e": "AQAB"},
        "attributes": {"enabled": True, "nbf": 1, "exp": 2_000_000_000, "created": 1, "recoveryLevel": "Recoverable"},
    }
    hsm = {"key": {"kid": kid, "kty": "oct-HSM", "key_ops": ["wrapKey", "unwrapKey"]}, "attributes": {"exportable": True}}
    error = {"error": {"code": "Forbidden", "message": "no", "innererror": {"code": "ForbiddenByRbac"}}}
    challenges = (
        'Bearer authorization="https://login.microsoftonline.com/t", resource="https://vault.azure.net"',
        'Bearer authorization_uri="https://login.microsoftonline.com/t", scope="https://vault.azure.net/.default"',
        'Bearer realm="", error="insufficient_claims", claims="eyJhY2Nlc3NfdG9rZW4iOnt9fQ=="',
    )
    token = {"access_token": "t", "token_type": "Bearer", "resource": "https://vault.azure.net"}
    for name, body in (
        ("key-rsa", b"\0" + json.dumps(key).encode()),
        ("key-hsm", b"\0" + json.dumps(hsm).encode()),
        ("error", b"\1" + json.dumps(error).encode()),
        *((f"challenge-{i}", b"\2" + text.encode()) for i, text in enumerate(challenges)),
        ("token-in", b"\3" + json.dumps(token | {"expires_in": 3600}).encode()),
        ("token-on", b"\3" + json.dumps(token | {"expires_on": "1700003600"}).encode()),
        ("token-date", b"\3" + json.dumps(token | {"expires_on": "06/20/2019 02:57:58 +00:00"}).encode()),
        ("date-http", b"\4Wed, 21 Oct 2015 07:28:00 GMT"),
        ("date-loose", b"\4" + b"6/20/2019 2:57:58 AM +00:00"),
        ("date-seconds", b"\x04120"),
    ):
        write("azure", name, body)


if __name__ == "__main__":
    main()
