"""What bad input gets: the class that docs/errors.md names, cleared buffers, no half-written file, no panic."""

from __future__ import annotations

import hashlib
import hmac
import io
import os
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import cmkit

from .helpers import CONTEXT, names, new_keyring, refused

CHUNK = 16_400
DAMAGED = (cmkit.AuthenticationError, cmkit.FormatError, cmkit.TruncatedError, cmkit.PolicyError)
Faces = Callable[[bytes], Iterator[Callable[[], object]]]


@pytest.fixture
def faces(keyring: cmkit.Keyring, tmp_path: Path) -> Faces:
    """Every way of opening an envelope."""
    source = tmp_path / "bad.cmk"

    def each(envelope: bytes) -> Iterator[Callable[[], object]]:
        yield lambda: keyring.decrypt(envelope, CONTEXT)
        yield lambda: keyring.decryptor(io.BytesIO(envelope), CONTEXT).read()
        yield lambda: cmkit.open(io.BytesIO(envelope), keyring=keyring, context=CONTEXT).read()
        source.write_bytes(envelope)
        yield lambda: cmkit.open(source, keyring=keyring, context=CONTEXT).read()
        yield lambda: keyring.decrypt_file(source, tmp_path / "out", CONTEXT)

    return each


def test_every_flipped_bit_of_4_kib(keyring: cmkit.Keyring) -> None:
    data = os.urandom(4096)
    envelope = bytearray(keyring.encrypt(data, CONTEXT))
    header = cmkit.header_len(envelope)
    out = bytearray(b"\xff" * 4096)
    for place in range(len(envelope)):
        for bit in range(8):
            envelope[place] ^= 1 << bit
            # What a header says can be wrong in many ways; what is behind it can only fail to authenticate.
            classes = (*DAMAGED, cmkit.KeyNotAllowedError, cmkit.KeyNotFoundError) if place < header else (cmkit.AuthenticationError,)
            with refused(*classes):
                keyring.decrypt_into(envelope, out, CONTEXT)
            assert out.count(0) == len(out)
            envelope[place] ^= 1 << bit
        out[:] = b"\xff" * len(out)
    assert keyring.decrypt(envelope, CONTEXT) == data


def test_flipped_bits_in_files_and_streams(keyring: cmkit.Keyring, faces: Faces, tmp_path: Path) -> None:
    good = keyring.encrypt(os.urandom(40_000), CONTEXT)
    header = cmkit.header_len(good)
    for place in (*range(0, header, 7), header, header + 30, header + 60, header + 56 + CHUNK, len(good) - 1):
        bad = bytearray(good)
        bad[place] ^= 0x10
        for call in faces(bytes(bad)):
            with refused(*DAMAGED, cmkit.KeyNotAllowedError, cmkit.KeyNotFoundError):
                call()
    assert names(tmp_path) == ["bad.cmk", "home"]


def test_every_truncation(keyring: cmkit.Keyring) -> None:
    envelope = keyring.encrypt(os.urandom(4096), CONTEXT)
    out = bytearray(b"\xff" * 4096)
    for length in range(len(envelope)):
        cut = envelope[:length]
        with refused(cmkit.TruncatedError, cmkit.AuthenticationError, *([cmkit.FormatError] if length < 16 else [])):
            keyring.decrypt_into(cut, out, CONTEXT)
        assert not any(out)
        with refused(cmkit.TruncatedError, cmkit.AuthenticationError, *([cmkit.FormatError] if length < 16 else [])):
            keyring.decryptor(io.BytesIO(cut), CONTEXT).read()


def test_truncations_of_chunks(keyring: cmkit.Keyring, faces: Faces) -> None:
    envelope = keyring.encrypt(os.urandom(50_000), CONTEXT)
    start = cmkit.header_len(envelope) + 56
    for length in (start - 57, start - 56, start, start + 1, start + CHUNK - 1, start + CHUNK, start + CHUNK + 16, len(envelope) - 1):
        for call in faces(envelope[:length]):
            with refused(cmkit.TruncatedError, cmkit.AuthenticationError):
                call()


def test_swapped_repeated_and_appended_chunks(keyring: cmkit.Keyring, faces: Faces) -> None:
    envelope = keyring.encrypt(os.urandom(50_000), CONTEXT)
    start = cmkit.header_len(envelope) + 56
    head = envelope[:start]
    a, b, c, last = (envelope[start + i * CHUNK : start + (i + 1) * CHUNK] for i in range(4))
    for chunks in ([b, a, c, last], [a, a, b, c, last], [a, c, last], [a, b, c, last, last], [a, b, c, last + b"\0"], [last], [a, b, c, c]):
        for call in faces(head + b"".join(chunks)):
            with refused(cmkit.AuthenticationError, cmkit.TruncatedError):
                call()
    other = keyring.encrypt(os.urandom(50_000), CONTEXT)
    for call in faces(head + other[start:]):
        with refused(cmkit.AuthenticationError):
            call()


def test_wrong_context_and_workspace(keyring: cmkit.Keyring, home: Path, faces: Faces) -> None:
    for call in faces(keyring.encrypt(b"x", {"doc": "43"})):
        with refused(cmkit.AuthenticationError):
            call()
    for call in faces(new_keyring(home, workspace="w").encrypt(b"x", CONTEXT)):
        with refused(cmkit.PolicyError):
            call()


def test_foreign_recipient(keyring: cmkit.Keyring, home: Path, faces: Faces) -> None:
    provider = cmkit.LocalKeyProvider(home)
    provider.create_key("other")
    for call in faces(cmkit.Keyring(provider, keys="local:other").encrypt(b"x", CONTEXT)):
        with refused(cmkit.KeyNotAllowedError):
            call()


def with_recipients(envelope: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """The envelope with other RECIPIENTS, its lengths made to fit, and its old MAC."""
    core_len, recipients_len = struct.unpack(">HH", envelope[12:16])
    end = 16 + core_len + recipients_len
    recipients = change(envelope[16 + core_len : end])
    return envelope[:14] + struct.pack(">H", len(recipients)) + envelope[16 : 16 + core_len] + recipients + envelope[end:]


def test_removed_recipient(home: Path) -> None:
    provider = cmkit.LocalKeyProvider(home)
    for name in ("a", "b"):
        provider.create_key(name)
    keyring = cmkit.Keyring(provider, keys=["local:a", "local:b"])
    envelope = keyring.encrypt(b"x", CONTEXT)
    fresh = cmkit.Keyring(provider, keys=["local:a", "local:b"])

    def only_the_first(recipients: bytes) -> bytes:
        # 0x82: an array of two; both are equally long.
        assert recipients[0] == 0x82 and (len(recipients) - 1) % 2 == 0
        return b"\x81" + recipients[1 : 1 + (len(recipients) - 1) // 2]

    for reader in (keyring, fresh):
        with refused(cmkit.AuthenticationError):
            reader.decrypt(with_recipients(envelope, only_the_first), CONTEXT)
        with refused(cmkit.FormatError):
            reader.decrypt(with_recipients(envelope, lambda _: b"\x80"), CONTEXT)
    assert fresh.decrypt(envelope, CONTEXT) == b"x"


def test_a_forged_header_around_a_known_dek(keyring: cmkit.Keyring) -> None:
    """Known DEK, CORE as it was, and a MAC under a key that the forger has: nothing of the cache may vouch for it."""
    envelope = keyring.encrypt(b"x", CONTEXT)
    assert keyring.decrypt(envelope, CONTEXT) == b"x"
    header = cmkit.header_len(envelope)
    forged = with_recipients(envelope, lambda r: r[:-1] + bytes([r[-1] ^ 1]))
    mac = hmac.new(bytes(32), forged[: header - 32], hashlib.sha256).digest()
    for bad in (forged, forged[: header - 32] + mac + forged[header:]):
        with refused(cmkit.AuthenticationError):
            keyring.decrypt(bad, CONTEXT)
    assert keyring.decrypt(envelope, CONTEXT) == b"x"


@pytest.mark.parametrize(("place", "value"), [(0, 0x88), (8, 2), (8, 0), (9, 1), (10, 1), (11, 2), (11, 0)])
def test_unknown_magic_version_flags_and_suite(keyring: cmkit.Keyring, faces: Faces, place: int, value: int) -> None:
    bad = bytearray(keyring.encrypt(b"x", CONTEXT))
    bad[place] = value
    for call in faces(bytes(bad)):
        with refused(cmkit.FormatError):
            call()


def test_non_canonical_and_oversized_headers(keyring: cmkit.Keyring, faces: Faces) -> None:
    envelope = keyring.encrypt(b"x", CONTEXT)
    core_len = struct.unpack(">H", envelope[12:14])[0]
    core = envelope[16 : 16 + core_len]
    # 0xA3: a map of three. The same as a longer head, an indefinite one, and with a byte behind.
    for other in (b"\xb8\x03" + core[1:], b"\xbf" + core[1:] + b"\xff", core + b"\x00"):
        bad = envelope[:12] + struct.pack(">H", len(other)) + envelope[14:16] + other + envelope[16 + core_len :]
        for call in faces(bad):
            with refused(cmkit.FormatError):
                call()
    for call in faces(with_recipients(envelope, lambda r: b"\x98\x01" + r[1:])):
        with refused(cmkit.FormatError):
            call()
    for call in faces(envelope[:12] + b"\xff\xff\xff\xff" + bytes(200_000)):
        with refused(cmkit.FormatError):
            call()


@pytest.mark.parametrize("data", [b"", b"a", b"plain text, and quite a lot of it" * 100, bytes(100_000), b"\x89PNG\r\n\x1a\n" + bytes(500)])
def test_what_is_no_envelope(faces: Faces, data: bytes) -> None:
    assert not cmkit.is_envelope(data)
    for call in faces(data):
        with refused(cmkit.FormatError, *([cmkit.TruncatedError] if len(data) < 16 else [])):
            call()


def test_a_directory(keyring: cmkit.Keyring, tmp_path: Path) -> None:
    keyring.encrypt(b"")
    calls: list[Callable[[], object]] = [
        lambda: cmkit.open(tmp_path, keyring=keyring),
        lambda: cmkit.open(tmp_path, "wb", keyring=keyring),
        lambda: keyring.encrypt_file(tmp_path, tmp_path / "out"),
        lambda: keyring.decrypt_file(tmp_path, tmp_path / "out"),
    ]
    for call in calls:
        with refused(ValueError):
            call()
    with refused(ValueError, IsADirectoryError):
        keyring.rewrap_file(tmp_path, "local:team")
    assert names(tmp_path) == ["home"]


def test_output_equal_to_input(keyring: cmkit.Keyring, tmp_path: Path) -> None:
    path, link = tmp_path / "a", tmp_path / "b"
    path.write_bytes(b"data")
    link.hardlink_to(path)
    for other in (path, link, tmp_path / "home/../a"):
        with refused(ValueError):
            keyring.encrypt_file(path, other, overwrite=True)
    assert path.read_bytes() == b"data"


def test_full_disk(keyring: cmkit.Keyring) -> None:
    with open("/dev/full", "wb", buffering=0) as full:
        with refused(OSError):
            with keyring.encryptor(full) as stream:
                stream.write(b"x" * 100_000)
    with refused(ValueError):
        cmkit.open("/dev/full", "wb", keyring=keyring)


def test_open_modes_of_the_key_directory(keyring: cmkit.Keyring, home: Path) -> None:
    envelope = keyring.encrypt(b"x")
    home.chmod(0o755)
    fresh = cmkit.Keyring(cmkit.LocalKeyProvider(home), keys="local:team")
    with refused(cmkit.AccessDeniedError):
        fresh.encrypt(b"x")
    with refused(cmkit.AccessDeniedError, cmkit.KeyDisabledError):
        fresh.decrypt(envelope)
    home.chmod(0o700)
    assert new_keyring(home).decrypt(envelope) == b"x"


def test_a_corrupt_key_file(keyring: cmkit.Keyring, home: Path, tmp_path: Path) -> None:
    envelope = keyring.encrypt(b"x")
    (path,) = (home / "keys/team").glob("*.jwk*")
    shutil.copy(path, tmp_path / "backup")
    for text in (b"", b"{", b"{}", path.read_bytes()[:-20]):
        path.write_bytes(text)
        fresh = cmkit.Keyring(cmkit.LocalKeyProvider(home), keys="local:team")
        with refused(cmkit.KeyUnusableError):
            fresh.encrypt(b"x")
        with refused(cmkit.KeyUnusableError):
            fresh.decrypt(envelope)
    path.write_bytes((tmp_path / "backup").read_bytes())
    assert cmkit.Keyring(cmkit.LocalKeyProvider(home), keys="local:team").decrypt(envelope) == b"x"


def test_disabled_and_missing_versions(keyring: cmkit.Keyring, provider: cmkit.LocalKeyProvider, tmp_path: Path) -> None:
    envelope = keyring.encrypt(b"x")
    (info,) = provider.list()
    provider.disable(info.id)
    fresh = cmkit.Keyring(provider, keys="local:team")
    with refused(cmkit.KeyDisabledError):
        fresh.decrypt(envelope)
    with refused(cmkit.KeyDisabledError):
        fresh.encrypt(b"x")
    provider.enable(info.id)
    assert fresh.decrypt(envelope) == b"x"
    for empty in (tmp_path / "nothing", tmp_path / "elsewhere"):
        missing = cmkit.Keyring(cmkit.LocalKeyProvider(empty), keys="local:team")
        with refused(cmkit.KeyNotFoundError):
            missing.decrypt(envelope)
        with refused(cmkit.KeyNotFoundError):
            missing.encrypt(b"x")
        assert not empty.exists()
    with refused(cmkit.KeyNotFoundError):
        cmkit.Keyring(provider, keys=f"local:team/{'0' * 32}").encrypt(b"x")


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".", "..", "a\0", "é", "a" * 128, "a b"])
def test_names_that_are_none(provider: cmkit.LocalKeyProvider, home: Path, name: str) -> None:
    before = names(home / "keys")
    calls: list[Callable[[], object]] = [
        lambda: provider.create_key(name),
        lambda: provider.rotate(name),
        lambda: provider.import_key(f"local:{name}", b"{}"),
        lambda: cmkit.Keyring(provider, keys=f"local:{name}"),
        lambda: provider.disable(f"local:{name}/{'0' * 32}"),
    ]
    for call in calls:
        with refused(ValueError):
            call()
    assert names(home / "keys") == before
