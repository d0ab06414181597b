"""cmkit.open over paths, and files into files."""

from __future__ import annotations

import gc
import io
import os
import resource
import signal
import stat
import warnings
from pathlib import Path

import pytest

import cmkit

from .helpers import CONTEXT, in_child, names, refused

DATA = os.urandom(200_000)


@pytest.fixture
def path(keyring: cmkit.Keyring, tmp_path: Path) -> Path:
    path = tmp_path / "file.cmk"
    with cmkit.open(path, "wb", keyring=keyring, context=CONTEXT) as file:
        assert file.write(DATA) == len(DATA)
    return path


def test_reading_anywhere(keyring: cmkit.Keyring, path: Path) -> None:
    with cmkit.open(path, keyring=keyring, context=CONTEXT) as file:
        assert file.size == len(DATA) and file.readable() and file.seekable() and not file.writable()
        assert file.read(10) == DATA[:10] and file.tell() == 10
        assert file.seek(-5, io.SEEK_END) == len(DATA) - 5 and file.read() == DATA[-5:] and file.read() == b""
        assert file.seek(100) == 100 and file.seek(20, io.SEEK_CUR) == 120
        buffer = bytearray(50_000)
        assert file.readinto(buffer) == 50_000 and buffer == DATA[120:50_120]
        assert file.read1(7) == DATA[50_120:50_127] and file.peek(1)[:1] == DATA[50_127:50_128]
        assert file.read_at(100, 16_380) == DATA[16_380:16_480] and file.tell() == 50_127
        assert file.read_at(10, len(DATA) - 4) == DATA[-4:] and file.read_at(10, 1 << 60) == b""
        assert file.seek(len(DATA) + 10) == len(DATA) + 10 and file.read(1) == b""
        with refused(ValueError):
            file.seek(-1)
        file.seek(0)
        assert file.read() == DATA
        with refused(io.UnsupportedOperation):
            file.write(b"x")
    assert file.closed
    with refused(ValueError):
        file.read()


def test_lines_and_text(keyring: cmkit.Keyring, tmp_path: Path) -> None:
    path = tmp_path / "text"
    with io.TextIOWrapper(cmkit.open(path, "wb", keyring=keyring), "utf-8") as text:
        text.write("één\ntwee\n" * 3000)
    with io.TextIOWrapper(cmkit.open(path, keyring=keyring), "utf-8") as text:
        assert text.readlines() == ["één\n", "twee\n"] * 3000
    with cmkit.open(path, keyring=keyring) as file:
        assert file.readline() == "één\n".encode() and sum(1 for _ in file) == 5999


def test_a_file_appears_when_it_is_closed(keyring: cmkit.Keyring, tmp_path: Path) -> None:
    path = tmp_path / "new"
    file = cmkit.open(path, "wb", keyring=keyring)
    file.write(b"x" * 100_000)
    assert not path.exists() and file.tell() == 100_000 and not file.seekable()
    file.close()
    file.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and names(tmp_path) == ["home", "new"]
    with refused(ValueError):
        file.write(b"x")
    path.chmod(0o640)
    with cmkit.open(path, "wb", keyring=keyring) as file:
        file.write(b"other")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    with refused(FileExistsError):
        cmkit.open(path, "xb", keyring=keyring)
    with cmkit.open(tmp_path / "x", "xb", keyring=keyring):
        pass
    assert cmkit.open(tmp_path / "x", keyring=keyring).read() == b""


def test_an_exception_aborts(keyring: cmkit.Keyring, path: Path, tmp_path: Path) -> None:
    for target in (path, tmp_path / "new"):
        with pytest.raises(ZeroDivisionError):
            with cmkit.open(target, "wb", keyring=keyring) as file:
                file.write(b"half" * 10_000)
                1 / 0  # noqa: B018
        assert file.closed
    assert names(tmp_path) == ["file.cmk", "home"]
    assert cmkit.open(path, keyring=keyring, context=CONTEXT).read() == DATA


def test_what_is_dropped_is_aborted(keyring: cmkit.Keyring, tmp_path: Path) -> None:
    with pytest.warns(ResourceWarning, match="aborted"):
        file = cmkit.open(tmp_path / "new", "wb", keyring=keyring)
        file.write(b"half")
        del file
        gc.collect()
    assert names(tmp_path) == ["home"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with refused(cmkit.KeyNotFoundError):
            empty = cmkit.Keyring(cmkit.LocalKeyProvider(tmp_path / "none"), keys="local:a")
            cmkit.open(tmp_path / "new", "wb", keyring=empty)
        gc.collect()
    assert names(tmp_path) == ["home"]


def test_wrong_arguments(keyring: cmkit.Keyring, tmp_path: Path) -> None:
    for mode in ("r", "w", "rb+", "ab", "", "U"):
        with refused(ValueError):
            cmkit.open(tmp_path / "x", mode, keyring=keyring)  # type: ignore[call-overload]
    for wrong in (5, None, object()):
        with refused(TypeError):
            cmkit.open(wrong, keyring=keyring)  # type: ignore[call-overload]
    with refused(FileNotFoundError):
        cmkit.open(tmp_path / "nothing", keyring=keyring)
    with refused(FileNotFoundError):
        cmkit.open(tmp_path / "no/where", "wb", keyring=keyring)
    with refused(TypeError):
        cmkit.open(tmp_path / "x")  # type: ignore[call-overload]


def test_paths_of_every_kind(keyring: cmkit.Keyring, path: Path) -> None:
    for same in (path, str(path), os.fsencode(path)):
        with cmkit.open(same, keyring=keyring, context=CONTEXT) as file:
            assert file.read(3) == DATA[:3]


def test_errors_name_the_file(keyring: cmkit.Keyring, path: Path) -> None:
    with pytest.raises(cmkit.AuthenticationError) as caught:
        cmkit.open(path, keyring=keyring)
    assert str(caught.value.filename) == str(path) and str(path) in str(caught.value)
    with pytest.raises(FileNotFoundError) as missing:
        keyring.decrypt_file(path.with_name("none"), path.with_name("out"))
    assert str(missing.value.filename) == str(path.with_name("none"))


def test_files_into_files(keyring: cmkit.Keyring, tmp_path: Path) -> None:
    plain, sealed, back = tmp_path / "plain", tmp_path / "sealed", tmp_path / "back"
    plain.write_bytes(DATA)
    plain.chmod(0o644)
    seen: list[tuple[int, int | None]] = []
    progress = lambda done, total: seen.append((done, total))  # noqa: E731
    assert keyring.encrypt_file(plain, str(sealed), CONTEXT, progress=progress) == len(DATA)
    assert seen[-1] == (len(DATA), len(DATA)) and stat.S_IMODE(sealed.stat().st_mode) == 0o644
    assert cmkit.inspect(sealed.read_bytes()).header_len == 4096
    assert keyring.decrypt_file(sealed, back, CONTEXT) == len(DATA) and back.read_bytes() == DATA
    with refused(FileExistsError):
        keyring.decrypt_file(sealed, back, CONTEXT)
    keyring.decrypt_file(sealed, back, CONTEXT, overwrite=True)
    assert keyring.decrypt(sealed.read_bytes(), CONTEXT) == DATA


def test_what_a_progress_callback_raises_comes_out(keyring: cmkit.Keyring, tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(DATA)

    def stop(done: int, total: int | None) -> None:
        raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        keyring.encrypt_file(tmp_path / "plain", tmp_path / "sealed", progress=stop)
    assert names(tmp_path) == ["home", "plain"]


def test_rewrap_file(provider: cmkit.LocalKeyProvider, keyring: cmkit.Keyring, path: Path) -> None:
    provider.create_key("next")
    size = path.stat().st_size
    assert keyring.rewrap_file(path, "local:next") == "in place"
    assert path.stat().st_size == size and names(path.parent) == ["file.cmk", "home"]
    reader = cmkit.Keyring(provider, keys=[], allow="local:next")
    assert cmkit.open(path, keyring=reader, context=CONTEXT).read() == DATA
    path.write_bytes(keyring.encrypt(DATA, CONTEXT))
    provider.create_key("wide", "rsa-3072")
    wide = cmkit.Keyring(provider, keys=["local:team", "local:wide"])
    assert wide.rewrap_file(path, "local:wide") == "copied"
    assert cmkit.open(path, keyring=wide, context=CONTEXT).read() == DATA


def test_a_damaged_chunk_spoils_only_itself(keyring: cmkit.Keyring, path: Path) -> None:
    damaged = bytearray(path.read_bytes())
    damaged[4096 + 56 + 2 * 16_400] ^= 1
    path.write_bytes(damaged)
    with cmkit.open(path, keyring=keyring, context=CONTEXT) as file:
        buffer = bytearray(b"\xff" * 60_000)
        with refused(cmkit.AuthenticationError):
            file.readinto(buffer)
        assert file.read_at(1000, 0) == DATA[:1000]
        with refused(cmkit.AuthenticationError):
            file.read_at(1, 2 * 16_384)
        assert file.read_at(1000, 100_000) == DATA[100_000:101_000]


def test_a_disk_that_fills_up(keyring: cmkit.Keyring, tmp_path: Path) -> None:
    """Simulated by a limit on the size of files, in a process of its own."""
    (tmp_path / "plain").write_bytes(DATA)
    keyring.encrypt_file(tmp_path / "plain", tmp_path / "sealed")

    def child() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        with refused(OSError):
            with cmkit.open(tmp_path / "new", "wb", keyring=keyring) as file:
                file.write(DATA)
        with refused(OSError):
            keyring.encrypt_file(tmp_path / "plain", tmp_path / "new")
        with refused(OSError):
            keyring.decrypt_file(tmp_path / "sealed", tmp_path / "new")
        assert names(tmp_path) == ["home", "plain", "sealed"]

    assert in_child(child) == 0
