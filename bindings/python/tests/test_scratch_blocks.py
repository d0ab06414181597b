"""Block and XTS keys: in place, authenticated or not."""

from __future__ import annotations

import array
import os
import re
import resource
import threading
from collections.abc import Iterator
from importlib import resources
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

import cmkit

from .helpers import refused

SEAL = 22


@pytest.mark.parametrize("size", [4096, 16_384, 65_536])
@pytest.mark.parametrize("blocks", [0, 1, 2, 40])
def test_there_and_back(size: int, blocks: int) -> None:
    key = cmkit.BlockKey(size)
    plain = os.urandom(size * blocks)
    data = bytearray(plain)
    seals = key.encrypt_blocks(7, data)
    assert len(seals) == SEAL * blocks and len(data) == size * blocks and (not blocks or data != plain)
    key.decrypt_blocks(7, data, seals)
    assert data == plain and key.block_size == size and key.key_ids == () and key.dek_id is None


def test_more_than_a_slice() -> None:
    key = cmkit.BlockKey()
    plain = os.urandom((3 << 20) + 4096)
    data = bytearray(plain)
    seals = key.encrypt_blocks(0, data)
    versions = {seals[at : at + 6] for at in range(0, len(seals), SEAL)}
    assert len(versions) == len(plain) // 4096
    # In pieces, from the middle.
    middle = data[2 << 20 :]
    key.decrypt_blocks(512, middle, memoryview(seals)[512 * SEAL :])
    assert middle == plain[2 << 20 :]
    key.decrypt_blocks(0, data, bytearray(seals))
    assert data == plain


def test_what_was_changed_is_told_and_cleared() -> None:
    key = cmkit.BlockKey()
    plain = bytearray(os.urandom(2 << 20))
    sealed = bytearray(plain)
    seals = key.encrypt_blocks(100, sealed)
    older = bytearray(seals)
    older[300 * SEAL : 301 * SEAL] = seals[301 * SEAL : 302 * SEAL]
    changed = bytearray(sealed)
    changed[300 * 4096] ^= 1
    for data, of, first, block in (
        (changed, seals, 100, 400),
        (bytearray(sealed), older, 100, 400),
        (bytearray(sealed), seals, 101, 101),
    ):
        with pytest.raises(cmkit.AuthenticationError) as caught:
            key.decrypt_blocks(first, data, of)
        assert caught.value.block == block and f"block {block} " in str(caught.value) and caught.value.args == ()
        assert not any(data)
    with pytest.raises(cmkit.AuthenticationError):
        cmkit.BlockKey().decrypt_blocks(100, sealed, seals)
    assert cmkit.AuthenticationError().block is None


def test_unwritten_blocks_are_zeros() -> None:
    key = cmkit.BlockKey()
    data = bytearray(b"x" * 8192)
    seals = key.encrypt_blocks(0, data)
    key.decrypt_blocks(0, data, seals[:SEAL] + bytes(SEAL))
    assert data == b"x" * 4096 + bytes(4096)


@pytest.mark.parametrize(
    "make",
    [
        lambda: bytearray(8192),
        lambda: memoryview(bytearray(8192)),
        lambda: memoryview(bytearray(9000))[100:8292],
        lambda: array.array("Q", [0] * 1024),
        lambda: np.zeros((2, 1024), dtype=np.float32),
    ],
)
def test_buffers_of_any_kind(make: Any) -> None:
    key, xts = cmkit.BlockKey(), cmkit.XtsKey.random()
    data = make()
    seals = key.encrypt_blocks(0, data)
    assert any(bytes(data))
    key.decrypt_blocks(0, data, seals)
    assert not any(bytes(data))
    xts.encrypt_sectors(0, data)
    assert any(bytes(data))
    xts.decrypt_sectors(0, data)
    assert not any(bytes(data))


def test_wrong_arguments() -> None:
    key, xts = cmkit.BlockKey(), cmkit.XtsKey.random()
    for wrong in (b"x" * 4096, "x", None, memoryview(b"x" * 4096)):
        for call in (key.encrypt_blocks, xts.encrypt_sectors, xts.decrypt_sectors):
            with refused(TypeError):
                call(0, wrong)  # type: ignore[arg-type]
        with refused(TypeError):
            key.decrypt_blocks(0, wrong, bytes(SEAL))  # type: ignore[arg-type]
    frozen: Any = np.zeros(4096, dtype=np.uint8)
    frozen.flags.writeable = False
    with refused(TypeError):
        key.encrypt_blocks(0, frozen)
    with refused(ValueError):
        key.encrypt_blocks(0, memoryview(bytearray(8192))[::2])
    for length in (1, 4095, 4097):
        data = bytearray(b"x" * length)
        with refused(ValueError):
            key.encrypt_blocks(0, data)
        assert not any(data)
        data = bytearray(b"x" * length)
        with refused(ValueError):
            xts.encrypt_sectors(0, data)
        assert data == b"x" * length
    for seals in (b"", bytes(SEAL - 1), bytes(SEAL + 1), bytes(2 * SEAL)):
        with refused(ValueError):
            key.decrypt_blocks(0, bytearray(4096), seals)
    with refused(TypeError):
        key.decrypt_blocks(0, bytearray(4096), "x" * SEAL)  # type: ignore[arg-type]
    with refused(ValueError):
        key.encrypt_blocks((1 << 48) - 1, bytearray(8192))
    for number in (-1, 1 << 64):
        with refused(OverflowError):
            key.encrypt_blocks(number, bytearray(4096))
    for offset in (1, 2048, 1 << 48):
        with refused(ValueError):
            xts.encrypt_sectors(offset, bytearray(4096))
    for size in (0, 512, 1000, 8192):
        with refused(ValueError):
            cmkit.BlockKey(size)
    for size in (0, 1024, 16_384):
        with refused(ValueError):
            cmkit.XtsKey.random(size)
    for bad in (b"", bytes(63), bytes(65), bytes(64), b"x" * 64):
        with refused(ValueError):
            cmkit.XtsKey(bad)
    with refused(ValueError):
        cmkit.XtsKey(bytes(range(64)), 4096, 1)


def test_overlap() -> None:
    key = cmkit.BlockKey()
    memory = bytearray(4096 + SEAL)
    view = memoryview(memory)
    for seals in (view[:SEAL], view[4095 : 4095 + SEAL]):
        with refused(ValueError):
            key.decrypt_blocks(0, view[:4096], seals)
    view[4096:] = key.encrypt_blocks(0, view[:4096])
    key.decrypt_blocks(0, view[:4096], view[4096:])


def test_destroyed(keyring: cmkit.Keyring) -> None:
    for key in (cmkit.BlockKey(), keyring.new_block_key()):
        data = bytearray(4096)
        seals = key.encrypt_blocks(0, data)
        key.destroy()
        key.destroy()
        assert key.is_destroyed
        for call in (key.check, lambda: key.encrypt_blocks(0, bytearray(4096)), lambda: key.decrypt_blocks(0, data, seals)):
            with refused(cmkit.StateError):
                call()
    xts = cmkit.XtsKey.random()
    xts.destroy()
    data = bytearray(b"x" * 4096)
    with refused(cmkit.StateError):
        xts.encrypt_sectors(0, data)
    assert data == b"x" * 4096 and xts.is_destroyed


def test_keys_of_a_keyring(provider: cmkit.LocalKeyProvider) -> None:
    keyring = cmkit.Keyring(provider, keys="local:team")
    key = keyring.new_block_key(16_384)
    assert key.block_size == 16_384 and len(key.key_ids) == 1 and key.dek_id is not None
    xts, file = keyring.create_xts_volume(1 << 20, 512, 8)
    again, layout = keyring.open_xts_volume(bytearray(file))
    assert layout == cmkit.VolumeLayout(1 << 20, 512, 8) and again.sector_size == 512 and again.key_ids == xts.key_ids
    one, other = bytearray(1024), bytearray(1024)
    xts.encrypt_sectors(512, one)
    again.encrypt_sectors(512, other)
    assert one == other
    kernel = xts.kernel_key()
    assert len(kernel) == 64
    cmkit.XtsKey(kernel, 512, 8).decrypt_sectors(512, one)
    assert not any(one)
    with refused(cmkit.StateError):
        cmkit.XtsKey.random().kernel_key()
    for bad in (b"", b"x" * 1000, bytes(file)[:-1], keyring.encrypt(b"x")):
        with refused(cmkit.FormatError, cmkit.TruncatedError, cmkit.AuthenticationError):
            keyring.open_xts_volume(bad)
    with refused(ValueError):
        keyring.create_xts_volume(1000)


def test_shown() -> None:
    raw = os.urandom(64)
    for key in (cmkit.BlockKey(), cmkit.XtsKey(raw)):
        assert repr(key) in ("<cmkit.BlockKey>", "<cmkit.XtsKey>")


@pytest.mark.parametrize("sector", [512, 4096])
def test_xts_against_cryptography(sector: int) -> None:
    raw = os.urandom(64)
    for first in (0, 8, 1 << 36, (1 << 39) - 16 * sector // 512):
        data = os.urandom(16 * sector)
        ours = bytearray(data)
        cmkit.XtsKey(raw, sector).encrypt_sectors(first * 512, ours)
        theirs = b""
        for at in range(16):
            # 512-byte units, whatever the sector's size.
            tweak = (first + at * sector // 512).to_bytes(16, "little")
            encryptor = Cipher(algorithms.AES(raw), modes.XTS(tweak)).encryptor()
            theirs += encryptor.update(data[at * sector : (at + 1) * sector]) + encryptor.finalize()
        assert ours == theirs
        moved = bytearray(data)
        cmkit.XtsKey(raw, sector, first).encrypt_sectors(0, moved)
        assert moved == theirs
        cmkit.XtsKey(raw, sector).decrypt_sectors(first * 512, ours)
        assert ours == data


def test_xts_against_nist() -> None:
    """The vectors whose data is whole AES blocks: those are the beginning of a sector."""
    path = "ciphers/AES/XTS/tweak-dataunitseqno/XTSGenAES256.rsp"
    text = resources.files("cryptography_vectors").joinpath(path).read_text("ascii")
    done = 0
    for case in text.split("COUNT = ")[1:]:
        fields = dict(re.findall(r"^(\w+) = (\w+)", case, re.M))
        plain, sealed = bytes.fromhex(fields["PT"]), bytes.fromhex(fields["CT"])
        if int(fields["DataUnitLen"]) % 128:
            continue
        key = cmkit.XtsKey(bytes.fromhex(fields["Key"]), 512, int(fields["DataUnitSeqNumber"]))
        for call, given, expected in ((key.encrypt_sectors, plain, sealed), (key.decrypt_sectors, sealed, plain)):
            data = bytearray(given.ljust(512, b"x"))
            call(0, data)
            assert data[: len(expected)] == expected
        done += 1
    assert done >= 500, done


def test_what_is_written_meanwhile_is_never_half_authentic() -> None:
    key = cmkit.BlockKey()
    data: Any = np.zeros(1 << 20, dtype=np.uint8)
    stop = threading.Event()

    def scribble() -> None:
        n = 0
        while not stop.is_set():
            n = (n + 1) % 256
            data[:] = n

    thread = threading.Thread(target=scribble)
    thread.start()
    refusals = 0
    try:
        for _ in range(50):
            seals = key.encrypt_blocks(0, data)
            taken = bytearray(data)
            try:
                key.decrypt_blocks(0, taken, seals)
            except cmkit.AuthenticationError:
                # Scribbled over after it was encrypted.
                refusals += 1
                assert not any(taken)
    finally:
        stop.set()
        thread.join()


def test_threads() -> None:
    key = cmkit.BlockKey()
    seen: list[bytes] = []
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for _ in range(20):
                plain = bytes([number]) * (256 << 10)
                data = bytearray(plain)
                seals = key.encrypt_blocks(number * 1000, data)
                seen.extend(seals[at : at + 6] for at in range(0, len(seals), SEAL))
                key.decrypt_blocks(number * 1000, data, seals)
                assert data == plain
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [] and len(set(seen)) == len(seen) == 4 * 20 * 64


@pytest.fixture
def memory() -> Iterator[None]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    # KiB.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10


@pytest.mark.usefixtures("memory")
def test_nothing_is_kept() -> None:
    data = bytearray(4 << 20)
    for _ in range(100):
        key = cmkit.BlockKey()
        key.decrypt_blocks(0, data, key.encrypt_blocks(0, data))
        with cmkit.Volume.create(8 << 20, memory=True) as volume:
            volume.write_at(0, data)
            volume.readinto_at(0, data)
            with pytest.raises(ValueError):
                volume.read_at(8 << 20, 1)
