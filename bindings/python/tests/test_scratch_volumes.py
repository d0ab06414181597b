"""Volumes in this process."""

from __future__ import annotations

import io
import os
import random
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cmkit

from .helpers import names, refused
from .scratch_helpers import needs_mounts, python

MIB = 1 << 20


@pytest.fixture(params=["memory", "dir", "file", "xts"])
def volume(request: pytest.FixtureRequest, tmp_path: Path) -> cmkit.Volume:
    options: dict[str, dict[str, Any]] = {
        "memory": {"memory": True},
        "dir": {"dir": tmp_path},
        "file": {"file": tmp_path / "file", "block_size": 16_384},
        "xts": {"dir": tmp_path, "mode": "xts", "block_size": 512},
    }
    return cmkit.Volume.create(4 * MIB, **options[request.param])


def test_reads_and_writes_like_memory(volume: cmkit.Volume) -> None:
    choose = random.Random(5)
    volume.zeroes(0, volume.size)
    model = bytearray(volume.size)
    for _ in range(300):
        offset = choose.randrange(volume.size)
        size = min(choose.choice([0, 1, 511, 4096, 5000, 300_000]), volume.size - offset)
        data = choose.randbytes(size)
        match choose.randrange(4):
            case 0:
                volume.write_at(offset, data, durable=choose.random() < 0.1)
                model[offset : offset + size] = data
            case 1:
                volume.write_at(offset, bytearray(data))
                model[offset : offset + size] = data
            case 2:
                volume.zeroes(offset, size, keep_room=choose.random() < 0.5)
                model[offset : offset + size] = bytes(size)
            case _:
                assert volume.read_at(offset, size) == model[offset : offset + size]
    out = bytearray(volume.size)
    volume.readinto_at(0, out)
    assert out == model
    volume.flush()
    stats = volume.stats()
    assert stats.reads > 0 and stats.writes > 0 and stats.failed == stats.damaged == 0
    volume.close()


def test_large_data_in_slices(tmp_path: Path) -> None:
    with cmkit.Volume.create(40 * MIB, dir=tmp_path) as volume:
        data = os.urandom(35 * MIB)
        volume.write_at(777, data)
        assert volume.read_at(777, len(data)) == data
        volume.write_at(MIB + 5, bytearray(data))
        array: Any = np.empty(35 * MIB // 4, dtype=np.uint32)
        volume.readinto_at(MIB + 5, array)
        assert array.tobytes() == data


def test_extents(tmp_path: Path) -> None:
    with cmkit.Volume.create(MIB, memory=True) as volume:
        assert volume.extents() == [cmkit.Extent(0, MIB, "zero")]
        volume.write_at(8192, b"x")
        assert volume.extents() == [
            cmkit.Extent(0, 8192, "zero"),
            cmkit.Extent(8192, 4096, "data"),
            cmkit.Extent(12_288, MIB - 12_288, "zero"),
        ]
        assert volume.extents(8192, 100) == [cmkit.Extent(8192, 100, "data")]
        volume.discard(0, MIB)
        assert volume.extents(4096) == [cmkit.Extent(4096, MIB - 4096, "zero")]
        assert volume.read_at(8192, 1) == b"\0" and volume.stats().bytes_discarded == MIB


def test_a_damaged_block(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with cmkit.Volume.create(MIB, file=path) as volume:
        volume.write_at(0, b"x" * MIB)
        with path.open("r+b", buffering=0) as file:
            file.seek(5 * 4096 + 7)
            file.write(b"damage")
        out = bytearray(b"\xff" * MIB)
        for call in (lambda: volume.read_at(0, MIB), lambda: volume.readinto_at(0, out)):
            with pytest.raises(cmkit.AuthenticationError) as caught:
                call()
            assert caught.value.block == 5
        assert not any(out) and volume.stats().damaged == 2
        assert volume.read_at(0, 4096) == b"x" * 4096


def test_one_that_is_opened_again(tmp_path: Path, keyring: cmkit.Keyring) -> None:
    path = tmp_path / "file"
    volume, file = cmkit.Volume.create_reopenable(MIB, file=path, keyring=keyring, sector_size=512)
    with volume:
        volume.write_at(100, b"kept")
        assert len(volume.key_ids) == 1 and volume.mode == "xts" and volume.warning is None
        with refused(cmkit.BusyError):
            cmkit.Volume.open(path, file, keyring)
        with refused(cmkit.StateError):
            volume.reset()
    with cmkit.Volume.open(path, file, keyring, read_only=True) as volume:
        assert volume.read_at(100, 4) == b"kept"
        with refused(cmkit.PolicyError):
            volume.write_at(0, b"x")
    key = keyring.open_xts_volume(file)[0].kernel_key()
    with cmkit.Volume.open_with_key(path, key, sector_size=512) as volume:
        assert volume.read_at(100, 4) == b"kept" and volume.size == MIB
    with cmkit.Volume.open_with_key(path, key, sector_size=512, size=1024) as volume:
        assert volume.size == 1024
    with refused(ValueError):
        cmkit.Volume.open_with_key(path, key, size=2 * MIB)
    os.truncate(path, 4096)
    with refused(ValueError):
        cmkit.Volume.open(path, file, keyring)
    with refused(ValueError):
        cmkit.Volume.create_reopenable(MIB, keyring=keyring)


def test_a_file_that_is_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"precious" * 1024)
    for size in (None, MIB, 8192):
        with refused(FileExistsError, ValueError):
            cmkit.Volume.create(size, file=path)
    with refused(ValueError):
        cmkit.Volume.create(4096, file=path, force=True)
    assert path.read_bytes() == b"precious" * 1024
    with cmkit.Volume.create(file=path, force=True) as volume:
        assert volume.size == 8192
    # One that was made for a volume which couldn't be.
    with refused(ValueError):
        cmkit.Volume.create(1000, file=tmp_path / "other")
    assert names(tmp_path) == ["file"]


def test_a_device_with_something_on_it(tmp_path: Path) -> None:
    with refused(ValueError, cmkit.AccessDeniedError):
        cmkit.Volume.create(device="/dev/null")
    with refused(ValueError):
        cmkit.Volume.create(device=tmp_path)
    with refused(FileNotFoundError):
        cmkit.Volume.create(device=tmp_path / "none")


def test_reset_and_destroy() -> None:
    volume = cmkit.Volume.create(MIB, memory=True)
    volume.write_at(0, b"x" * MIB)
    assert volume.reset() in ("given back", "unsupported")
    assert volume.read_at(0, MIB) == bytes(MIB) and not volume.is_destroyed
    volume.destroy()
    volume.destroy()
    assert volume.is_destroyed
    for call in (lambda: volume.read_at(0, 1), lambda: volume.write_at(0, b"x"), volume.flush, volume.check):
        with refused(cmkit.StateError):
            call()
    volume.close()
    volume.close()
    out = bytearray(b"x" * 10)
    for call in (lambda: volume.readinto_at(0, out), volume.stats, volume.reset, volume.__enter__, volume.extents):
        with refused(cmkit.StateError):
            call()
    assert volume.is_destroyed and not any(out) and volume.size == MIB


def test_wrong_arguments(tmp_path: Path) -> None:
    wrong_options: list[dict[str, Any]] = [
        {},
        {"size": 0},
        {"size": 1000},
        {"size": MIB, "memory": True, "dir": tmp_path},
        {"size": MIB, "mode": "cbc"},
        {"size": MIB, "block_size": 8192},
        {"size": 1 << 62, "memory": False, "dir": tmp_path},
        {"size": MIB, "metadata_budget": 10},
    ]
    for options in wrong_options:
        with refused(ValueError):
            cmkit.Volume.create(**options)
    with refused(OverflowError):
        cmkit.Volume.create(-1)
    with cmkit.Volume.create(MIB, memory=True) as volume:
        volume.write_at(0, b"x" * 100)
        for offset, size in ((MIB, 1), (0, MIB + 1), (1 << 63, 1), ((1 << 64) - 1, 2), (0, 1 << 62)):
            with refused(ValueError):
                volume.read_at(offset, size)
            with refused(ValueError):
                volume.zeroes(offset, size)
            with refused(ValueError):
                volume.discard(offset, size)
            with refused(ValueError):
                volume.extents(offset, size)
        for data in (b"xy", bytearray(b"xy")):
            with refused(ValueError):
                volume.write_at(MIB - 1, data)
        with refused(ValueError):
            volume.write_at(0, memoryview(b"abcd")[::2])
        for wrong in ("x", None, 5):
            with refused(TypeError):
                volume.write_at(0, wrong)  # type: ignore[arg-type]
        for readonly in ("x", b"x", None):
            with refused(TypeError):
                volume.readinto_at(0, readonly)  # type: ignore[arg-type]
        assert volume.read_at(0, 100) == b"x" * 100 and volume.read_at(MIB, 0) == b""


def test_as_a_file(tmp_path: Path) -> None:
    with cmkit.Volume.create(MIB, dir=tmp_path) as volume:
        raw = cmkit.open_volume(volume)
        assert isinstance(raw, io.RawIOBase) and raw.seek(0, io.SEEK_END) == MIB
        assert raw.read(10) == b"" and raw.write(b"") == 0
        with refused(OSError):
            raw.write(b"x")
        assert raw.seek(-3, io.SEEK_END) == MIB - 3 and raw.write(b"12345") == 3
        with io.BufferedRandom(raw) as file:
            file.seek(10)
            file.write(b"line one\nline two\n")
            file.seek(10)
            assert file.readline() == b"line one\n" and file.readline() == b"line two\n"
        for call in (raw.tell, raw.read, lambda: raw.write(b"x"), lambda: raw.seek(0)):
            with refused(ValueError):
                call()
        assert volume.read_at(10, 4) == b"line" and volume.read_at(MIB - 3, 3) == b"123"


def test_an_nbd_server(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with cmkit.Volume.create(MIB, memory=True) as volume:
        volume.write_at(4096, b"served")
        with volume.serve(path, name="disk") as server:
            assert server.socket == path
            with refused(cmkit.BusyError):
                volume.serve(path)
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(60)
                client.connect(str(path))
                stream = client.makefile("rwb")
                assert stream.read(18)[:16] == b"NBDMAGICIHAVEOPT"
                # EXPORT_NAME with no zeroes, then READ.
                stream.write(struct.pack(">I", 3) + b"IHAVEOPT" + struct.pack(">II", 1, 4) + b"disk")
                stream.flush()
                assert struct.unpack(">QH", stream.read(10))[0] == MIB
                stream.write(struct.pack(">IHHQQI", 0x25609513, 0, 0, 1, 4096, 6))
                stream.flush()
                assert stream.read(16) == struct.pack(">IIQ", 0x67446698, 0, 1) and stream.read(6) == b"served"
                stats = server.stats()
                assert stats.accepted >= 1 and stats.connections == 1 and stats.bytes_read == 6
        assert not path.exists()
        server.stop()
        for bad in (tmp_path / ("x" * 200), tmp_path / "none" / "socket"):
            with refused(ValueError, FileNotFoundError):
                volume.serve(bad)
        with refused(ValueError):
            volume.serve(path, max_connections=0)


def test_threads_and_a_destroy_in_their_midst(tmp_path: Path) -> None:
    volume = cmkit.Volume.create(8 * MIB, dir=tmp_path)
    errors: list[BaseException] = []
    begun = threading.Barrier(5)

    def work(number: int) -> None:
        data = bytes([number]) * MIB
        begun.wait()
        try:
            while True:
                volume.write_at(number * MIB, data)
                assert volume.read_at(number * MIB, MIB) == data
        except cmkit.StateError:
            pass
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    begun.wait()
    while volume.stats().writes < 50:
        pass
    volume.destroy()
    for thread in threads:
        thread.join()
    assert errors == []
    volume.close()


def test_dropping_is_no_deadlock(tmp_path: Path) -> None:
    """Threads of a server and of the volume may call into Python while they are waited for."""
    code = """
import sys, threading, cmkit
provider = cmkit.LocalKeyProvider(sys.argv[1] + "/keys")
provider.create_key("team")
keyring = cmkit.Keyring(provider, keys="local:team", audit=lambda event: None)
for _ in range(20):
    volume = cmkit.Volume.create(1 << 20, memory=True, keyring=keyring)
    server = volume.serve(sys.argv[1] + "/socket")
    volume.write_at(0, b"x")
    del server, volume
volume = cmkit.Volume.create(1 << 20, memory=True, keyring=keyring)
server = volume.serve(sys.argv[1] + "/socket")
"""
    python(code, str(tmp_path))


def test_shown(keyring: cmkit.Keyring) -> None:
    with cmkit.Volume.create(MIB, memory=True, keyring=keyring) as volume:
        assert repr(volume) == f"<cmkit.Volume id={volume.id} size={MIB}>" and len(volume.id) == 32


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Path]:
    needs_mounts()
    room = tmp_path / "device"
    room.write_bytes(b"")
    os.truncate(room, 8 * MIB)
    path = subprocess.run(["losetup", "--find", "--show", str(room)], check=True, capture_output=True, text=True).stdout.strip()
    yield Path(path)
    subprocess.run(["losetup", "--detach", path], check=True)


def test_a_device(device: Path, tmp_path: Path) -> None:
    with cmkit.Volume.create(device=device) as volume:
        assert volume.size == 8 * MIB and volume.read_at(0, 4) == bytes(4)
        volume.write_at(0, b"x" * MIB)
        with refused(cmkit.BusyError):
            cmkit.Volume.create(device=device, force=True)
    for call in (
        lambda: cmkit.Volume.create(device=device),
        lambda: cmkit.scratch(device=device, expose=None, state_dir=tmp_path / "state"),
    ):
        with refused(FileExistsError):
            call()
    with refused(ValueError):
        cmkit.Volume.create(MIB, device=device, force=True)
    disk = cmkit.scratch(device=device, force=True, expose=None, state_dir=tmp_path / "state")
    with disk:
        assert disk.volume.size == 8 * MIB and disk.volume.read_at(0, MIB) == bytes(MIB)
    assert disk.record is not None and disk.record.size == 8 * MIB and disk.record.left_behind == ()
