"""Data in memory."""

from __future__ import annotations

import array
import mmap
import os
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

import cmkit

from .helpers import CONTEXT, new_keyring, refused

# Around the chunk, the size up to which the interpreter is held, and those from which copies and slices begin.
LENGTHS = [0, 1, 16_383, 16_384, 16_385, 32_768, 100_000, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3_000_000]


@pytest.mark.parametrize("length", LENGTHS)
def test_every_form_opens_every_other(keyring: cmkit.Keyring, length: int) -> None:
    data = os.urandom(length)
    envelope = keyring.encrypt(data, CONTEXT)
    assert len(envelope) == keyring.encrypted_len(length)
    assert cmkit.is_envelope(envelope)
    assert cmkit.decrypted_len(envelope) == cmkit.decrypted_len(bytearray(envelope)) == length
    assert keyring.decrypt(envelope, CONTEXT) == data
    assert keyring.decrypt(bytearray(envelope), CONTEXT) == data

    out = bytearray(len(envelope) + 7)
    assert keyring.encrypt_into(bytearray(data), out, CONTEXT) == len(envelope)
    assert bytes(out[-7:]) == bytes(7)
    back = bytearray(b"\xff") * (length + 5)
    assert keyring.decrypt_into(memoryview(out)[:-7], back, CONTEXT) == length
    assert bytes(back) == data + b"\xff" * 5


@pytest.mark.parametrize("writable", [False, True])
def test_large_data_goes_in_slices(keyring: cmkit.Keyring, writable: bool) -> None:
    data = os.urandom(1 << 20) * 129 + b"end"
    envelope = keyring.encrypt(bytearray(data) if writable else data, CONTEXT)
    assert len(envelope) == keyring.encrypted_len(len(data))
    assert keyring.decrypt(envelope, CONTEXT) == data
    out = bytearray(len(data))
    assert keyring.decrypt_into(envelope, out, CONTEXT) == len(data) and out == data
    with refused(ValueError):
        keyring.decrypt_into(envelope, bytearray(len(data) - 1), CONTEXT)
    with refused(ValueError):
        keyring.encrypt_into(data, bytearray(len(envelope) - 1), CONTEXT)
    damaged = bytearray(envelope)
    damaged[-1] ^= 1
    with refused(cmkit.AuthenticationError):
        keyring.decrypt_into(damaged, out, CONTEXT)
    assert not any(out)
    # In a slice that is not the first, so that plaintext had been written before.
    damaged = bytearray(envelope)
    damaged[40 << 20] ^= 1
    out[:] = b"\xff" * len(out)
    with refused(cmkit.AuthenticationError):
        keyring.decrypt_into(damaged, out, CONTEXT)
    assert not any(out)


def test_a_first_message_may_be_large(home: Path) -> None:
    data = bytes(2 << 20)
    keyring = new_keyring(home)
    assert keyring.decrypt(keyring.encrypt(data)) == data


@pytest.mark.parametrize("max_messages", [1, 2, 5])
def test_a_message_counts_once(home: Path, max_messages: int) -> None:
    keyring = new_keyring(home, policy=cmkit.DekPolicy(max_messages=max_messages))
    ids = [cmkit.inspect(keyring.encrypt(b"x")).dek_id for _ in range(10)]
    assert [ids.count(i) for i in dict.fromkeys(ids)] == [max_messages] * (10 // max_messages)


def test_without_a_cache_each_message_has_its_own_dek(home: Path) -> None:
    keyring = new_keyring(home, policy=cmkit.DekPolicy.no_cache())
    assert len({cmkit.inspect(keyring.encrypt(b"x")).dek_id for _ in range(5)}) == 5


def test_a_longer_header_is_coped_with(home: Path) -> None:
    """From AES to RSA the header grows, and back it shrinks, under a keyring that has learnt its length."""
    provider = cmkit.LocalKeyProvider(home)
    provider.create_key("a", "rsa-3072")
    rsa = provider.export_key(provider.list("local:a")[0].id)
    small = cmkit.LocalKeyProvider(home.with_name("other"))
    small.create_key("team")
    keyring = cmkit.Keyring(small, keys="local:team", policy=cmkit.DekPolicy(max_messages=1))
    first = keyring.encrypt(b"data", CONTEXT)
    jwk = rsa.replace(b"local:a/", b"local:team/")
    small.import_key("local:team", jwk)
    second = keyring.encrypt(b"data", CONTEXT)
    if cmkit.inspect(second).recipients[0].algorithm == "RSA-OAEP-256":
        assert len(second) > len(first)
    assert keyring.decrypt(second, CONTEXT) == keyring.decrypt(first, CONTEXT) == b"data"


def test_anything_with_a_buffer_goes_in(keyring: cmkit.Keyring, tmp_path: Path) -> None:
    numbers = array.array("d", [1.5, 2.5])
    path = tmp_path / "map"
    path.write_bytes(b"mapped")
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        inputs: list[Any] = [b"x", bytearray(b"x"), memoryview(b"abc")[1:2], memoryview(bytearray(b"abc"))[1:], numbers, mapped]
        for data in inputs:
            assert keyring.decrypt(keyring.encrypt(data, CONTEXT), CONTEXT) == bytes(memoryview(data).cast("B"))


def test_contexts(keyring: cmkit.Keyring) -> None:
    envelope = keyring.encrypt(b"x", {"a": "1", "b": "é"})
    for same in ({"b": "é", "a": "1"}, MappingProxyType({"a": "1", "b": "é"})):
        assert keyring.decrypt(envelope, same) == b"x"
    for other in (None, {}, {"a": "1"}, {"a": "1", "b": "e"}, {"a": "1", "b": "é", "c": ""}):
        with refused(cmkit.AuthenticationError):
            keyring.decrypt(envelope, other)
    assert keyring.decrypt(keyring.encrypt(b"x", {}), None) == b"x"
    for wrong in ([("a", "1")], "a=1", {"a": 1}, {1: "a"}, {b"a": "1"}, 5):
        with refused(TypeError):
            keyring.encrypt(b"x", wrong)  # type: ignore[arg-type]
    with refused(ValueError):
        keyring.encrypt(b"x", {"k": "v" * 9000})
    with refused(UnicodeEncodeError):
        keyring.encrypt(b"x", {"k": "\ud800"})


def test_workspaces(home: Path) -> None:
    mine, other = new_keyring(home, workspace="mine"), new_keyring(home, workspace="other")
    assert mine.workspace == "mine"
    envelope = mine.encrypt(b"x")
    assert mine.decrypt(envelope) == b"x" and cmkit.inspect(envelope).workspace == "mine"
    for keyring in (other, new_keyring(home)):
        with refused(cmkit.PolicyError):
            keyring.decrypt(envelope)
    with refused(ValueError):
        new_keyring(home, workspace="")


def test_rewrap(home: Path) -> None:
    provider = cmkit.LocalKeyProvider(home)
    provider.create_key("team")
    provider.create_key("next")
    keyring = cmkit.Keyring(provider, keys="local:team")
    envelope = keyring.encrypt(b"data", CONTEXT)
    rewrapped = keyring.rewrap(envelope, to="local:next")
    assert [r.key_id.split("/")[0] for r in cmkit.inspect(rewrapped).recipients] == ["local:next"]
    assert rewrapped[-76:] == envelope[-76:]
    with refused(cmkit.KeyNotAllowedError):
        keyring.decrypt(rewrapped, CONTEXT)
    reader = cmkit.Keyring(provider, keys=[], allow=["local:next"])
    assert reader.keys == () and reader.decrypt(rewrapped, CONTEXT) == b"data"
    with refused(cmkit.PolicyError):
        reader.encrypt(b"x")
    header = envelope[: cmkit.header_len(envelope)]
    assert len(keyring.rewrap(header, to="local:next")) == len(header)


def test_several_recipients(home: Path) -> None:
    provider = cmkit.LocalKeyProvider(home)
    for name in ("a", "b"):
        provider.create_key(name)
    envelope = cmkit.Keyring(provider, keys=["local:a", "local:b"]).encrypt(b"data")
    for name in ("a", "b"):
        assert cmkit.Keyring(provider, keys=f"local:{name}").decrypt(envelope) == b"data"
    with refused(ValueError):
        cmkit.Keyring(provider, keys=["local:a", "local:a"])


def test_inspect_is_frozen_data(keyring: cmkit.Keyring) -> None:
    found = cmkit.inspect(keyring.encrypt(b"x"))
    assert (found.version, found.suite, found.purpose, found.is_compact) == (1, 1, "data", False)
    assert found.recipients[0].provider == "local" and found == cmkit.inspect(keyring.encrypt(b"y"))
    with pytest.raises(AttributeError):
        found.version = 2  # type: ignore[misc]
