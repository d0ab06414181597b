"""A reader of cmkit envelopes written from docs/format.md alone.

It shares nothing with cmkit: the standard library and `cryptography` only. It is slow, keeps everything
in memory, and says why it refuses; its use is to show that the format can be read from its
specification, and that cmkit writes what the specification says.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import json
import re
import struct
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap

MAGIC = b"\x89CMK\r\n\x1a\n"
MAX_HEADER = 65536
PREFIX_LEN = 16
MAC_LEN = 32
CHUNK = 16384
TAG = 16
SALT = 24
COMMITMENT = 32
A256KW = -5
RSA_OAEP_256 = -41
DATA, VOLUME, KEY_STORE = 1, 2, 3

VERSION = r"[0-9a-f]{32}"
NAME = r"[0-9A-Za-z-]{1,127}"
LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
LOCAL_ID = re.compile(rf"(?!https?:)[a-z][a-z0-9-]{{0,31}}:{NAME}/{VERSION}", re.ASCII)
VAULT_ID = re.compile(
    rf"https://(?P<host>{LABEL}(?:\.{LABEL})*)(?::(?P<port>[1-9][0-9]{{0,4}}))?/keys/{NAME}/{VERSION}",
    re.ASCII,
)

Jwk = Mapping[str, str]


class Refused(Exception):
    """The envelope was refused; `kind` is a row of docs/errors.md."""

    def __init__(self, kind: str, why: str) -> None:
        super().__init__(f"{kind}: {why}")
        self.kind = kind


def malformed(why: str) -> Refused:
    return Refused("Format", why)


def not_authentic(why: str) -> Refused:
    return Refused("Authentication", why)


# Section 12: the subset of CBOR, strictly deterministic.

Cbor = int | bytes | str | list["Cbor"] | dict[int, "Cbor"]


class CborReader:
    """Reads deterministic CBOR of integers, strings, arrays and maps with integer keys."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def done(self) -> bool:
        return self.at == len(self.data)

    def take(self, n: int) -> bytes:
        if n > len(self.data) - self.at:
            raise malformed("CBOR ends too early")
        piece = self.data[self.at : self.at + n]
        self.at += n
        return piece

    def head(self) -> tuple[int, int]:
        """Major type and argument, in its shortest form."""
        (first,) = self.take(1)
        major, info = first >> 5, first & 31
        if info < 24:
            return major, info
        if info > 27:
            raise malformed("indefinite length or reserved CBOR head")
        width = 1 << (info - 24)
        value = int.from_bytes(self.take(width), "big")
        smallest = 24 if width == 1 else 1 << (4 * width)
        if value < smallest:
            raise malformed("CBOR integer not in its shortest form")
        if value >= 1 << 63:
            raise malformed("CBOR integer above 2^63")
        return major, value

    def item(self, depth: int = 0) -> Cbor:
        if depth > 3:
            raise malformed("CBOR nested too deep")
        major, value = self.head()
        if major == 0:
            return value
        if major == 1:
            return -1 - value
        if major == 2:
            return self.take(value)
        if major == 3:
            try:
                return self.take(value).decode("utf-8", "strict")
            except UnicodeDecodeError:
                raise malformed("invalid UTF-8") from None
        if major == 4:
            # Each item has at least one byte: a long length can't make a long loop.
            return [self.item(depth + 1) for _ in range(value)]
        if major == 5:
            return self.map(value, depth)
        raise malformed("CBOR tag, float or simple value")

    def map(self, pairs: int, depth: int) -> dict[int, Cbor]:
        entries: dict[int, Cbor] = {}
        last = b""
        for _ in range(pairs):
            start = self.at
            key = self.item(depth + 1)
            encoded = self.data[start : self.at]
            if not isinstance(key, int):
                raise malformed("CBOR map key is no integer")
            if encoded <= last:
                raise malformed("CBOR keys repeated or out of order")
            last = encoded
            entries[key] = self.item(depth + 1)
        return entries


def cbor_head(major: int, value: int) -> bytes:
    if value < 24:
        return bytes([major << 5 | value])
    for info, width in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if value < 1 << (8 * width):
            return bytes([major << 5 | info]) + value.to_bytes(width, "big")
    raise ValueError("integer too large")


def cbor_text(text: str) -> bytes:
    data = text.encode("utf-8", "strict")
    return cbor_head(3, len(data)) + data


def encryption_context(pairs: Mapping[str, str]) -> bytes:
    """EC of section 11."""
    entries = sorted((cbor_text(key), cbor_text(value)) for key, value in pairs.items())
    encoded = cbor_head(5, len(entries)) + b"".join(key + value for key, value in entries)
    if len(encoded) > 8192:
        raise Refused("InvalidArgument", "encryption context above 8192 bytes")
    return encoded


# Sections 2 to 4: the header.


@dataclass(frozen=True)
class Core:
    dek_id: bytes
    purpose: int
    workspace: str | None
    created: int

    def binding(self) -> bytes:
        """The SHA-256 that the capsule carries."""
        pairs = cbor_head(0, 1) + cbor_head(2, 16) + self.dek_id
        pairs += cbor_head(0, 2) + cbor_head(0, self.purpose)
        count = 2
        if self.workspace is not None:
            pairs += cbor_head(0, 3) + cbor_text(self.workspace)
            count = 3
        return hashlib.sha256(cbor_head(5, count) + pairs).digest()


@dataclass(frozen=True)
class Recipient:
    provider: str
    key_id: str
    algorithm: int
    wrapped: bytes
    wrapped_at: int


@dataclass(frozen=True)
class Header:
    """A parsed header with its bytes as received."""

    prefix: bytes
    core_bytes: bytes
    recipients_bytes: bytes
    mac: bytes
    core: Core
    recipients: list[Recipient]
    padding_len: int

    @property
    def suite(self) -> bytes:
        return self.prefix[10:12]

    def __len__(self) -> int:
        return PREFIX_LEN + len(self.core_bytes) + len(self.recipients_bytes) + MAC_LEN


def uint(value: Cbor, what: str) -> int:
    if not isinstance(value, int) or value < 0:
        raise malformed(f"{what} is no unsigned integer")
    return value


def sized_text(value: Cbor, most: int, what: str) -> str:
    if not isinstance(value, str) or not 1 <= len(value.encode()) <= most:
        raise malformed(f"{what} is no text of 1 to {most} bytes")
    return value


def parse_core(data: bytes) -> Core:
    reader = CborReader(data)
    entries = reader.item()
    if not reader.done():
        raise malformed("bytes after CORE's map")
    if not isinstance(entries, dict) or not {1, 2, 4} <= set(entries) <= {1, 2, 3, 4}:
        raise malformed("CORE is no map of the keys 1, 2, 4 and perhaps 3")
    dek_id = entries[1]
    if not isinstance(dek_id, bytes) or len(dek_id) != 16:
        raise malformed("dek_id is no byte string of 16")
    purpose = uint(entries[2], "purpose")
    if purpose not in (DATA, VOLUME, KEY_STORE):
        raise malformed("unknown purpose")
    workspace = sized_text(entries[3], 512, "workspace") if 3 in entries else None
    return Core(dek_id, purpose, workspace, uint(entries[4], "created"))


def check_key_id(key_id: str) -> None:
    """The grammar of section 10."""
    if LOCAL_ID.fullmatch(key_id):
        return
    vault = VAULT_ID.fullmatch(key_id)
    if vault is None or len(vault["host"]) > 253 or int(vault["port"] or 1) > 65535:
        raise malformed(f"not a versioned key id: {key_id!r}")


def parse_recipient(item: Cbor) -> Recipient:
    if not isinstance(item, dict) or set(item) != {1, 2, 3, 4, 5}:
        raise malformed("a recipient is no map of the keys 1 to 5")
    key_id = sized_text(item[2], 512, "key_id")
    check_key_id(key_id)
    algorithm, wrapped = item[3], item[4]
    if algorithm not in (A256KW, RSA_OAEP_256) or not isinstance(algorithm, int):
        raise malformed("unknown wrap algorithm")
    if not isinstance(wrapped, bytes) or not 1 <= len(wrapped) <= 1024:
        raise malformed("wrapped is no byte string of 1 to 1024")
    provider = sized_text(item[1], 64, "provider")
    return Recipient(provider, key_id, algorithm, wrapped, uint(item[5], "wrapped_at"))


def parse_recipients(data: bytes) -> tuple[list[Recipient], int]:
    reader = CborReader(data)
    items = reader.item()
    if not isinstance(items, list) or len(items) > 16:
        raise malformed("RECIPIENTS is no array of at most 16")
    recipients = [parse_recipient(item) for item in items]
    if len({recipient.key_id for recipient in recipients}) != len(recipients):
        raise malformed("two recipients with the same key_id")
    if reader.done():
        return recipients, 0
    zeros = reader.item()
    if not isinstance(zeros, bytes) or any(zeros) or not reader.done():
        raise malformed("what follows the recipients is no padding of zeros")
    return recipients, len(zeros)


def parse_header(data: bytes) -> Header:
    """The header at the front of `data`; what follows it is not looked at."""
    if data[: len(MAGIC)] != MAGIC[: len(data)] or not data:
        raise malformed("not an envelope")
    if len(data) < PREFIX_LEN:
        raise Refused("Truncated", "ends within the prefix")
    if data[8] != 1:
        raise malformed("unsupported version")
    if data[9] != 0:
        raise malformed("unsupported flags")
    suite, core_len, recipients_len = struct.unpack(">HHH", data[10:PREFIX_LEN])
    if suite != 1:
        raise malformed("unsupported suite")
    if core_len < 1 or recipients_len < 1:
        raise malformed("an empty CORE or RECIPIENTS")
    total = PREFIX_LEN + core_len + recipients_len + MAC_LEN
    if total > MAX_HEADER:
        raise malformed("header above 65536 bytes")
    if len(data) < total:
        raise Refused("Truncated", "ends within the header")
    core_bytes = data[PREFIX_LEN : PREFIX_LEN + core_len]
    recipients_bytes = data[PREFIX_LEN + core_len : total - MAC_LEN]
    core = parse_core(core_bytes)
    recipients, padding_len = parse_recipients(recipients_bytes)
    mac = data[total - MAC_LEN : total]
    return Header(
        data[:PREFIX_LEN], core_bytes, recipients_bytes, mac, core, recipients, padding_len
    )


# Section 5: KEKs and the capsule.


def unb64(text: str) -> bytes:
    if not re.fullmatch(r"[A-Za-z0-9_-]*", text):
        raise ValueError("not base64url without padding")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def rsa_key(jwk: Jwk) -> rsa.RSAPrivateKey:
    number = {name: int.from_bytes(unb64(jwk[name]), "big") for name in jwk.keys() & _RSA_FIELDS}
    public = rsa.RSAPublicNumbers(number["e"], number["n"])
    return rsa.RSAPrivateNumbers(
        number["p"],
        number["q"],
        number["d"],
        number["dp"],
        number["dq"],
        number["qi"],
        public,
    ).private_key()


_RSA_FIELDS = {"n", "e", "d", "p", "q", "dp", "dq", "qi"}


def unwrap(recipient: Recipient, jwk: Jwk) -> bytes:
    if recipient.algorithm == A256KW:
        if jwk["kty"] != "oct":
            raise not_authentic("A256KW, but the KEK is no symmetric key")
        if len(recipient.wrapped) != 80:
            raise not_authentic("wrapped capsule is not 80 bytes")
        try:
            return aes_key_unwrap(unb64(jwk["k"]), recipient.wrapped)
        except InvalidUnwrap:
            raise not_authentic("the KEK doesn't unwrap it") from None
    if jwk["kty"] != "RSA":
        raise not_authentic("RSA-OAEP-256, but the KEK is no RSA key")
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    try:
        return rsa_key(jwk).decrypt(recipient.wrapped, oaep)
    except ValueError:
        raise not_authentic("the KEK doesn't unwrap it") from None


def open_capsule(header: Header, capsule: bytes) -> bytes:
    """The DEK, after every field of the capsule was checked."""
    if len(capsule) != 72:
        raise not_authentic("capsule is not 72 bytes")
    if capsule[:8] != b"cmkD" + bytes([1, 1]) + header.suite:
        raise not_authentic("capsule of another kind")
    if not hmac.compare_digest(capsule[40:], header.core.binding()):
        raise not_authentic("capsule is bound to another CORE")
    return capsule[8:40]


# Sections 6 and 7.


def expand(prk: bytes, algorithm: hashes.HashAlgorithm, info: bytes, n: int) -> bytes:
    return HKDFExpand(algorithm, n, info).derive(prk)


def check_mac(header: Header, dek: bytes) -> None:
    mac_key = expand(dek, hashes.SHA512(), b"cmkit/v1/header-mac\x00" + header.suite, 32)
    covered = header.prefix + header.core_bytes + header.recipients_bytes
    if not hmac.compare_digest(hmac.digest(mac_key, covered, "sha256"), header.mac):
        raise not_authentic("header MAC")


# Section 13, steps 2 to 7.


def key_name(key_id: str) -> str:
    """A key id without its version: what an allow-list names."""
    return key_id.rpartition("/")[0]


def dek_from_recipients(header: Header, keks: Mapping[str, Jwk], allow: Iterable[str]) -> bytes:
    names = set(allow)
    allowed = [recipient for recipient in header.recipients if key_name(recipient.key_id) in names]
    if not allowed:
        raise Refused("KeyNotAllowed", "no recipient's key is on the allow-list")
    mismatch: Refused | None = None
    for recipient in allowed:
        if recipient.key_id not in keks:
            continue
        try:
            capsule = unwrap(recipient, keks[recipient.key_id])
        except Refused as refused:
            mismatch = refused
            continue
        return open_capsule(header, capsule)
    raise mismatch or Refused("KeyNotFound", "none of the recipients' keys is here")


def open_header(
    header: Header,
    keks: Mapping[str, Jwk],
    workspace: str | None = None,
    rows: Mapping[str, bytes] | None = None,
    allow: Iterable[str] | None = None,
) -> bytes:
    """The DEK of an envelope with a body, after steps 2 to 7."""
    compact = header.core.purpose == KEY_STORE
    if compact != (not header.recipients):
        raise malformed("recipients and purpose don't fit each other")
    if header.core.workspace != workspace:
        raise Refused("Policy", "another workspace")
    if header.core.purpose == VOLUME:
        raise malformed("a volume has no body")
    allow = [key_name(key_id) for key_id in keks] if allow is None else allow
    if not compact:
        dek = dek_from_recipients(header, keks, allow)
        check_mac(header, dek)
        return dek
    name = header.core.dek_id.hex()
    if rows is None or name not in rows:
        raise Refused("KeyStore", "the row is not in the store")
    try:
        row = parse_header(rows[name])
    except Refused as refused:
        raise Refused("KeyStore", f"the row is damaged: {refused}") from None
    if len(row) != len(rows[name]):
        raise Refused("KeyStore", "bytes after the row")
    if row.prefix[:12] != header.prefix[:12] or row.core_bytes != header.core_bytes:
        raise Refused("KeyStore", "the row's CORE is another one")
    if not row.recipients:
        raise Refused("KeyStore", "a row without recipients")
    dek = dek_from_recipients(row, keks, allow)
    check_mac(row, dek)
    check_mac(header, dek)
    return dek


# Section 8: the body.


def body_keys(header: Header, dek: bytes, context: Mapping[str, str]) -> tuple[bytes, bytes]:
    """Cobblestone's input key and context."""
    input_key = expand(dek, hashes.SHA512(), b"cmkit/v1/body\x00" + header.suite, 32)
    covered = b"cmkit/v1/body-context\x00" + header.prefix[:12]
    covered += len(header.core_bytes).to_bytes(2, "big") + header.core_bytes
    covered += encryption_context(context)
    return input_key, hashlib.sha256(covered).digest()


def open_body(input_key: bytes, context: bytes, body: bytes) -> bytes:
    chunks = body[SALT + COMMITMENT :]
    if len(chunks) % (CHUNK + TAG) < TAG:
        raise Refused("Truncated", "no last chunk: it is full, or shorter than a tag")
    salt, commitment = body[:SALT], body[SALT : SALT + COMMITMENT]
    info = b"c2sp.org/chunked-encryption@v1+" + b"AEAD_AES_256_GCM\x00" + salt + context
    keys = expand(input_key, hashes.SHA512(), info, 76)
    if not hmac.compare_digest(keys[44:], commitment):
        raise not_authentic("commitment")
    aead, base_nonce = AESGCM(keys[:32]), int.from_bytes(keys[32:44], "big")
    last = len(chunks) // (CHUNK + TAG)
    plaintext = []
    for index in range(last + 1):
        piece = chunks[index * (CHUNK + TAG) : (index + 1) * (CHUNK + TAG)]
        try:
            nonce = (base_nonce ^ index).to_bytes(12, "big")
            plaintext.append(aead.decrypt(nonce, piece, None))
        except InvalidTag:
            raise not_authentic(f"chunk {index}") from None
    return b"".join(plaintext)


def decrypt(
    envelope: bytes,
    keks: Mapping[str, Jwk],
    context: Mapping[str, str] | None = None,
    workspace: str | None = None,
    rows: Mapping[str, bytes] | None = None,
    allow: Iterable[str] | None = None,
) -> bytes:
    """The plaintext of an envelope.

    `keks` are private JWKs by key id, `rows` the key store by DEK id in hex, `allow` key ids without
    their version (by default: those of `keks`). Raises `Refused`.
    """
    header = parse_header(envelope)
    dek = open_header(header, keks, workspace, rows, allow)
    input_key, body_context = body_keys(header, dek, context or {})
    return open_body(input_key, body_context, envelope[len(header) :])


def load_keks(paths: Iterable[Path]) -> dict[str, Jwk]:
    """JWK files by their `kid`."""
    keks = {}
    for path in paths:
        jwk = json.loads(path.read_text("utf-8"))
        keks[jwk["kid"]] = jwk
    return keks


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Decrypts a cmkit envelope to stdout.")
    parser.add_argument("envelope", type=Path)
    parser.add_argument("--jwk", type=Path, action="append", default=[], metavar="FILE")
    parser.add_argument("--context", action="append", default=[], metavar="K=V")
    parser.add_argument("--workspace")
    parser.add_argument("--row", type=Path, action="append", default=[], metavar="FILE")
    args = parser.parse_args(argv)
    context: dict[str, str] = {}
    for pair in args.context:
        key, equals, value = pair.partition("=")
        if not equals or key in context:
            parser.error(f"--context {pair}: not K=V, or given twice")
        context[key] = value
    rows = {}
    for path in args.row:
        data = path.read_bytes()
        rows[parse_header(data).core.dek_id.hex()] = data
    try:
        plaintext = decrypt(
            args.envelope.read_bytes(), load_keks(args.jwk), context, args.workspace, rows
        )
    except Refused as refused:
        print(refused, file=sys.stderr)
        return 3
    sys.stdout.buffer.write(plaintext)
    return 0


if __name__ == "__main__":
    sys.exit(main())
