"""Scratch disks from begin to end."""

from __future__ import annotations

import gc
import os
import signal
import stat
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import pytest

import cmkit

from .helpers import LabProvider, refused
from .scratch_helpers import jobs, mounts_below, needs_fuse, needs_mounts, python, records

SIZE = "32M"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def test_a_mounted_disk(state: Path, tmp_path: Path) -> None:
    needs_mounts()
    disk = cmkit.scratch(SIZE, tmp_path, state_dir=state, job="one")
    with disk as path:
        assert path is not None and path == disk.path and path.is_dir() and os.path.ismount(path)
        (path / "file").write_bytes(b"x" * 100_000)
        assert (path / "file").read_bytes() == b"x" * 100_000
        assert jobs(state) == ["one.json"] and disk.record is None
    record = disk.record
    assert record is not None and record.job == "one" and record.mode == "ephemeral" and record.size == 32 << 20
    assert record.left_behind == () and record.discard == "given back" and not record.recovered
    assert record.bytes_written > 100_000 and record.keys == ()
    assert record.created is not None and record.key_destroyed is not None and record.created <= record.key_destroyed
    assert not path.exists() and mounts_below(state) == [] and jobs(state) == []
    assert records(state) == [f"{record.volume}.json"]
    assert disk.end() == record


def test_the_options(state: Path, tmp_path: Path, keyring: cmkit.Keyring) -> None:
    needs_mounts()
    at = tmp_path / "mine"
    at.mkdir()
    disk = cmkit.scratch(
        64 << 20, tmp_path, mode="xts", block_size=512, keyring=keyring, path=at, owner=(65534, 65533), state_dir=state
    )
    with disk as path:
        assert path == at and disk.volume.mode == "xts" and disk.volume.block_size == 512
        status = path.stat()
        assert (status.st_uid, status.st_gid) == (65534, 65533)
    assert disk.record is not None and len(disk.record.keys) == 1 and at.is_dir()


def test_a_file(state: Path, tmp_path: Path) -> None:
    needs_fuse()
    with cmkit.scratch(SIZE, tmp_path, expose="file", state_dir=state) as path:
        assert path is not None and path.stat().st_size == 32 << 20
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with path.open("r+b", buffering=0) as file:
            file.seek(8192)
            file.write(b"content")
            file.seek(8192)
            assert file.read(7) == b"content"
    assert not path.exists() and mounts_below(state) == []


def test_a_socket(state: Path, tmp_path: Path) -> None:
    disk = cmkit.scratch(SIZE, tmp_path, expose="nbd", state_dir=state, job="served")
    with disk as path:
        assert path == state / "served.nbd" and stat.S_ISSOCK(path.stat().st_mode)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()


def test_nothing_but_the_volume(state: Path, tmp_path: Path) -> None:
    disk = cmkit.scratch("1M", tmp_path, expose=None, state_dir=state)
    with disk as path:
        assert path is None and disk.path is None
        disk.volume.write_at(5, b"in this process")
        assert disk.volume.read_at(5, 15) == b"in this process"
        volume = disk.volume
    with refused(cmkit.StateError):
        volume.read_at(5, 15)
    assert volume.is_destroyed


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), SystemExit(3)])
def test_leaving_by_an_exception(state: Path, tmp_path: Path, error: BaseException) -> None:
    disk = cmkit.scratch("1M", tmp_path, expose=None, state_dir=state)
    with pytest.raises(type(error)) as caught, disk:
        raise error
    assert caught.value is error and not hasattr(error, "__notes__")
    assert disk.record is not None and type(error).__name__ in disk.record.end and jobs(state) == []


def test_a_file_that_the_exception_holds_open(state: Path, tmp_path: Path) -> None:
    """The frame that raised still has its file: the disk is erased all the same, soon, and what is left is a note."""
    needs_mounts()
    disk = cmkit.scratch(SIZE, tmp_path, state_dir=state, grace=600.0)
    with pytest.raises(ValueError) as caught, disk as path:
        assert path is not None
        file = open(path / "file", "wb", buffering=0)
        file.write(b"secret" * 1000)
        raise ValueError
    assert disk.record is not None and disk.volume.is_destroyed
    assert "in use" in disk.record.end
    if disk.record.left_behind:
        assert any("still there" in note for note in caught.value.__notes__)
    assert mounts_below(state / "mnt") == []
    file.close()
    _all_is_gone(state)


@pytest.mark.parametrize("by_exception", [False, True])
def test_what_is_left_behind(state: Path, tmp_path: Path, by_exception: bool) -> None:
    """Another process is still in the mounted directory."""
    needs_mounts()
    disk = cmkit.scratch(SIZE, tmp_path, state_dir=state, grace=0.0)
    user = None
    expected = ZeroDivisionError if by_exception else cmkit.BusyError
    try:
        with pytest.raises(expected) as caught, disk as path:
            assert path is not None
            (path / "held").write_bytes(b"x")
            user = subprocess.Popen(["tail", "-f", "held"], cwd=path, stdout=subprocess.PIPE)
            assert user.stdout is not None
            user.stdout.read(1)
            if by_exception:
                raise ZeroDivisionError
        assert disk.record is not None and disk.record.left_behind and disk.volume.is_destroyed
        told = caught.value.__notes__[0] if by_exception else str(caught.value)
        assert "still there" in told and disk.record.left_behind[0] in told
        assert jobs(state) != []
    finally:
        if user is not None:
            user.kill()
            user.communicate()
    _all_is_gone(state)


def _all_is_gone(state: Path) -> None:
    """What a lazily unmounted file system holds goes by itself or with recovery."""
    deadline = time.monotonic() + 60
    while jobs(state) and time.monotonic() < deadline:
        cmkit.recover_scratch(state)
        time.sleep(0.1)
    assert jobs(state) == [] and mounts_below(state) == []


def test_without_root(tmp_path: Path) -> None:
    needs_mounts()
    code = """
import os, sys, cmkit
os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    cmkit.scratch("1M", state_dir=sys.argv[1])
except cmkit.AccessDeniedError as error:
    assert 'expose="file"' in str(error) and 'expose="nbd"' in str(error), error
else:
    raise SystemExit("mounted")
disk = cmkit.scratch("1M", os.path.dirname(sys.argv[1]), state_dir=sys.argv[1], expose="nbd")
with disk as path:
    assert path.exists()
assert disk.record.left_behind == () and not path.exists()
"""
    room = tmp_path / "nobody"
    room.mkdir()
    os.chown(room, 65534, 65534)
    # The way to it.
    for parent in [tmp_path, *tmp_path.parents]:
        if not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o011)
    python(code, str(room / "state"))


def test_dropped_without_an_end(state: Path, tmp_path: Path) -> None:
    disk = cmkit.scratch("1M", tmp_path, expose="nbd", state_dir=state)
    path, volume = disk.path, disk.volume
    assert path is not None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del disk
        gc.collect()
    assert [w.category for w in caught] == [ResourceWarning]
    assert volume.is_destroyed and not path.exists() and jobs(state) == [] and len(records(state)) == 1


@pytest.mark.parametrize("leave", ["pass", "sys.exit(0)", "del disk"])
def test_the_end_of_the_interpreter(state: Path, tmp_path: Path, leave: str) -> None:
    needs_mounts()
    code = f"""
import sys, cmkit
disk = cmkit.scratch("32M", sys.argv[1], state_dir=sys.argv[2])
(disk.path / "file").write_bytes(b"x" * 10000)
{leave}
"""
    python(code, str(tmp_path), str(state))
    assert jobs(state) == [] and mounts_below(state) == [] and len(records(state)) == 1


def test_a_process_that_is_killed(state: Path, tmp_path: Path) -> None:
    needs_mounts()
    code = """
import os, sys, signal, cmkit
disk = cmkit.scratch("32M", sys.argv[1], state_dir=sys.argv[2], job="killed")
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert python(code, str(tmp_path), str(state), check=False).returncode == -signal.SIGKILL
    assert jobs(state) == ["killed.json"]
    with cmkit.scratch("1M", tmp_path, expose=None, state_dir=state, job="alive"):
        (record,) = cmkit.recover_scratch(state)
    assert record.recovered and record.job == "killed" and record.left_behind == ()
    assert cmkit.recover_scratch(state) == [] and mounts_below(state) == []


def test_ctrl_c_in_the_block(state: Path, tmp_path: Path) -> None:
    code = """
import sys, time, cmkit
with cmkit.scratch("1M", sys.argv[1], expose="nbd", state_dir=sys.argv[2]) as path:
    print("ready", flush=True)
    time.sleep(600)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path), str(state)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert "KeyboardInterrupt" in errors and jobs(state) == [] and len(records(state)) == 1


def test_ctrl_c_while_it_waits(state: Path, tmp_path: Path) -> None:
    """The key goes at once, not at the end of the grace."""
    needs_mounts()
    disk = cmkit.scratch(SIZE, tmp_path, state_dir=state)
    assert disk.path is not None
    file = open(disk.path / "file", "wb", buffering=0)
    volume = disk.volume
    destroyed_early: list[bool] = []

    def interrupt() -> None:
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGINT)
        deadline = time.monotonic() + 60
        while not volume.is_destroyed and time.monotonic() < deadline:
            time.sleep(0.01)
        destroyed_early.append(volume.is_destroyed and disk.record is None)
        file.close()

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        disk.end(120.0)
    thread.join()
    assert destroyed_early == [True] and disk.record is not None
    assert disk.record.left_behind == () and jobs(state) == []


def test_a_key_that_is_disabled(state: Path, tmp_path: Path, provider: cmkit.LocalKeyProvider) -> None:
    keyring = cmkit.Keyring(provider, keys="local:team")
    disk = cmkit.scratch("1M", tmp_path, expose=None, state_dir=state, keyring=keyring)
    with disk:
        assert len(disk.volume.key_ids) == 1
        disk.volume.write_at(0, b"x")
        provider.disable(disk.volume.key_ids[0])
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                disk.volume.check()
            except cmkit.KeyDisabledError:
                break
            time.sleep(0.1)
        with refused(cmkit.KeyDisabledError):
            disk.volume.read_at(0, 1)


def test_a_provider_in_python(state: Path, tmp_path: Path) -> None:
    needs_mounts()
    lab = LabProvider()
    disk = cmkit.scratch(SIZE, tmp_path, state_dir=state, keyring=cmkit.Keyring(lab, keys="lab:one"))
    with disk as path:
        assert path is not None and lab.wraps == 1
        (path / "file").write_bytes(b"x" * 1_000_000)
    assert disk.record is not None and disk.record.left_behind == () and disk.record.keys == (f"lab:one/{lab.version}",)


def test_one_job_of_a_name(state: Path, tmp_path: Path) -> None:
    with cmkit.scratch("1M", tmp_path, expose=None, state_dir=state, job="one"):
        with refused(cmkit.BusyError):
            cmkit.scratch("1M", tmp_path, expose=None, state_dir=state, job="one")
        with cmkit.scratch("1M", tmp_path, expose=None, state_dir=state, job="two"):
            assert jobs(state) == ["one.json", "two.json"]


def test_wrong_arguments(state: Path, tmp_path: Path) -> None:
    def scratch(size: object = "1M", **options: object) -> None:
        cmkit.scratch(size, **{"dir": tmp_path, "expose": None, "state_dir": state, **options})  # type: ignore[arg-type]

    for size in ("", "x", "1.5G", "1GB", "-1", "1E", "10 G B", "1" * 30, 0, -5, 1 << 63, "9000000T", 1000, "1K"):
        with refused(ValueError):
            scratch(size)
    for other in (1.5, b"1M", True, [1]):
        with refused(TypeError):
            scratch(other)
    wrong: list[dict[str, object]] = [
        {"size": None},
        {"device": "/dev/none"},
        {"mode": "cbc"},
        {"block_size": 512},
        {"mode": "xts", "block_size": 16384},
        {"expose": "usb"},
        {"expose": "mount", "fs": "fat"},
        {"job": "a/b"},
        {"job": ""},
        {"grace": -1.0},
        {"grace": float("nan")},
        {"owner": "nobody-of-this-name"},
        {"expose": "nbd", "path": tmp_path / ("x" * 200)},
    ]
    for options in wrong:
        with refused(ValueError):
            scratch(**options)
    of_another_type: list[dict[str, object]] = [{"owner": 1.5}, {"owner": ("a", "b")}, {"keyring": "local:team"}, {"job": 7}]
    for options in of_another_type:
        with refused(TypeError):
            scratch(**options)
    with refused(FileNotFoundError, OSError):
        scratch(dir=tmp_path / "none")
    assert jobs(state) == []


def test_sizes(state: Path, tmp_path: Path) -> None:
    for size, number in (("1M", 1 << 20), ("1 MiB", 1 << 20), ("64K", 65_536), ("8192", 8192), (12_288, 12_288), ("1G", 1 << 30)):
        with cmkit.scratch(size, tmp_path, expose=None, state_dir=state, block_size=4096) as _:
            pass
        record = max((state / "records").glob("*.json"), key=lambda path: path.stat().st_mtime_ns).read_text()
        assert f'"size": {number}' in record


def test_where_state_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from cmkit import _scratch

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert _scratch._state_dir(None) == Path("/run/cmkit")
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert _scratch._state_dir(None) == tmp_path / "cmkit"
    for none in ("", "relative", str(tmp_path / "none")):
        monkeypatch.setenv("XDG_RUNTIME_DIR", none)
        assert _scratch._state_dir(None).name == "cmkit-1234"
    assert _scratch._state_dir("here") == Path("here")


def test_elsewhere_than_on_linux() -> None:
    code = """
import sys
sys.platform = "darwin"
import cmkit
for name in ("scratch", "recover_scratch", "Volume", "Scratch", "NbdServer", "open_volume"):
    try:
        getattr(cmkit, name)("1M")
    except NotImplementedError as error:
        assert "Linux" in str(error)
    else:
        raise SystemExit(name)
try:
    cmkit.Volume.create(1 << 20)
except NotImplementedError:
    pass
else:
    raise SystemExit("create")
assert cmkit.BlockKey().block_size == 4096
"""
    python(code)
