"""Forked children: a DataLoader's worker uses its parent's scratch disk and never ends it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import cmkit

from .helpers import in_child, refused
from .scratch_helpers import jobs, mounts_below, needs_mounts, python

# What a child does after the fork, in a function that has the disk and is inside of its `with` block.
LEAVE = {
    "os._exit": "os._exit(0)",
    "sys.exit": "sys.exit(0)",
    "the end": "pass",
    "an exception": "raise ValueError('in the child')",
    "Ctrl-C": "raise KeyboardInterrupt",
    "del": "globals().pop('disk'); gc.collect()",
    "end()": "expect_state_error(disk.end)",
    "close()": "expect_state_error(disk.volume.close); expect_state_error(disk.volume.destroy)",
    "threads": "t = threading.Thread(target=lambda: None); t.start(); t.join(); sys.exit(0)",
}

PROGRAM = """
import gc, os, sys, threading, time
import cmkit

def expect_state_error(call):
    try:
        call()
    except cmkit.StateError:
        return
    raise SystemExit(9)

expose, leave_by = sys.argv[3:5]
exec("def leave(): " + leave_by)
stop = threading.Event()
disk = cmkit.scratch("32M", sys.argv[1], state_dir=sys.argv[2], expose=expose if expose != "none" else None)
volume, server = disk.volume, disk.volume.serve(sys.argv[1] + "/socket")
key = cmkit.BlockKey()
own = cmkit.Volume.create(1 << 20, memory=True)

def work():
    data = bytearray(1 << 20)
    while not stop.is_set():
        volume.write_at(16 << 20, bytes(1 << 20)) if expose != "mount" else volume.read_at(0, 1 << 20)
        key.encrypt_blocks(0, data)

threads = [threading.Thread(target=work, daemon=True) for _ in range(2)]
for thread in threads:
    thread.start()
parent = os.getpid()
pids = []
try:
    with disk as path, server, own:
        if path is not None and path.is_dir():
            (path / "file").write_bytes(b"content")
        for _ in range(5):
            pid = os.fork()
            if pid == 0:
                if path is not None and path.is_dir():
                    assert (path / "file").read_bytes() == b"content"
                leave()
                break
            pids.append(pid)
        if os.getpid() == parent:
            for pid in pids:
                # A child that waits for a lock which nobody holds any more would never end.
                deadline = time.monotonic() + 60
                while (ended := os.waitpid(pid, os.WNOHANG)) == (0, 0):
                    assert time.monotonic() < deadline, "a child hangs"
                    time.sleep(0.01)
                assert ended[1] == 0, "a child failed"
            stop.set()
            for thread in threads:
                thread.join()
            assert os.path.exists(server.socket)
            assert volume.size == 32 << 20 and not volume.is_destroyed
            volume.read_at(0, 100)
            own.read_at(0, 100)
            if path is not None:
                assert path.exists()
                if path.is_dir():
                    assert os.path.ismount(path) and (path / "file").read_bytes() == b"content"
                    (path / "more").write_bytes(b"more")
                    assert (path / "more").read_bytes() == b"more"
            assert len(os.listdir(sys.argv[2] + "/jobs")) == 2, os.listdir(sys.argv[2] + "/jobs")
            print("all is there")
except (ValueError, KeyboardInterrupt):
    assert os.getpid() != parent
if os.getpid() == parent:
    assert disk.record.left_behind == (), disk.record
"""


@pytest.mark.parametrize("expose", ["mount", "none"])
@pytest.mark.parametrize("leave", LEAVE)
def test_a_child_that_leaves(expose: str, leave: str, tmp_path: Path) -> None:
    if expose == "mount":
        needs_mounts()
    state = tmp_path / "state"
    done = python(PROGRAM, str(tmp_path), str(state), expose, LEAVE[leave])
    assert done.stdout.splitlines() == ["all is there"], done.stderr
    assert jobs(state) == []


@pytest.fixture
def volume() -> Iterator[cmkit.Volume]:
    with cmkit.Volume.create(1 << 20, memory=True) as volume:
        yield volume


def test_everything_refuses_in_the_child(volume: cmkit.Volume, tmp_path: Path) -> None:
    key, xts = cmkit.BlockKey(), cmkit.XtsKey.random()
    server = volume.serve(tmp_path / "socket")
    data = bytearray(b"x" * 4096)

    def child() -> None:
        for call in (
            lambda: volume.read_at(0, 1),
            lambda: volume.write_at(0, b"x"),
            lambda: volume.stats(),
            lambda: volume.serve(tmp_path / "other"),
            volume.flush,
            volume.reset,
            volume.destroy,
            volume.close,
            volume.__enter__,
            server.stop,
            server.stats,
            lambda: key.encrypt_blocks(0, bytearray(4096)),
            key.check,
            key.destroy,
            lambda: xts.encrypt_sectors(0, data),
            xts.destroy,
        ):
            with refused(cmkit.StateError):
                call()
        assert data == b"x" * 4096
        with cmkit.Volume.create(1 << 20, memory=True) as mine:
            mine.write_at(0, b"mine")
            assert mine.read_at(0, 4) == b"mine"

    assert in_child(child) == 0
    volume.write_at(0, b"on")
    assert (tmp_path / "socket").exists()
    server.stop()
    key.check()


def _work(path: Path, number: int) -> None:
    (path / str(number)).write_bytes(b"x" * number)


def test_multiprocessing_by_fork(tmp_path: Path) -> None:
    needs_mounts()
    with cmkit.scratch("32M", tmp_path, state_dir=tmp_path / "state") as path:
        assert path is not None
        context = multiprocessing.get_context("fork")
        children = [context.Process(target=_work, args=(path, number)) for number in range(4)]
        for child in children:
            child.start()
        for child in children:
            child.join()
            assert child.exitcode == 0
        assert os.path.ismount(path)
        assert [(path / str(number)).stat().st_size for number in range(4)] == [0, 1, 2, 3]
    assert jobs(tmp_path / "state") == []


def test_a_fork_while_it_ends(tmp_path: Path) -> None:
    """The child of a fork in the midst of end() has nothing to end."""
    for _ in range(10):
        disk = cmkit.scratch("1M", tmp_path, expose="nbd", state_dir=tmp_path / "state")
        thread = threading.Thread(target=disk.end)
        thread.start()

        def child() -> None:
            with refused(cmkit.StateError):
                disk.end()

        assert in_child(child) == 0
        thread.join()
        assert disk.record is not None and disk.record.left_behind == ()


ORPHAN = """
import os, signal, sys, time, cmkit
disk = cmkit.scratch("32M", sys.argv[1], state_dir=sys.argv[2], job="orphaned", expose=sys.argv[3])
if disk.path.is_dir():
    (disk.path / "file").write_bytes(os.urandom(5 << 20))
pid = os.fork()
if pid == 0:
    time.sleep(600)
    os._exit(0)
print(pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("expose", ["mount", "file"])
def test_a_child_that_outlives_its_killed_parent(expose: str, tmp_path: Path) -> None:
    """The child must not keep a mount alive that nobody serves: whoever touched it would wait for ever."""
    needs_mounts()
    state = tmp_path / "state"
    # Not by a pipe, which the child would keep open.
    output = tmp_path / "output"
    with output.open("wb") as out:
        process = subprocess.Popen([sys.executable, "-c", ORPHAN, str(tmp_path), str(state), expose], stdout=out)
        assert process.wait(120) == -signal.SIGKILL
    child = int(output.read_text())
    recover = "import sys, cmkit; (record,) = cmkit.recover_scratch(sys.argv[1]); assert record.left_behind == (), record"
    try:
        python(recover, str(state))
        os.kill(child, 0)
    finally:
        os.kill(child, signal.SIGKILL)
    assert jobs(state) == [] and mounts_below(state) == []
