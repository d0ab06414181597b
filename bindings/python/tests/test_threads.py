"""Threads scale, and Ctrl-C is seen."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import cmkit

from .helpers import names

CPUS = len(os.sched_getaffinity(0))


def seconds(work: Callable[[], object], threads: int) -> float:
    """How long so many threads take that each do all the work."""
    barrier = threading.Barrier(threads + 1)

    def run() -> None:
        barrier.wait()
        work()

    running = [threading.Thread(target=run) for _ in range(threads)]
    for thread in running:
        thread.start()
    barrier.wait()
    start = time.perf_counter()
    for thread in running:
        thread.join()
    return time.perf_counter() - start


def test_threads_do_not_wait_for_one_another(keyring: cmkit.Keyring) -> None:
    """While one thread encrypts 16 MiB, others run Python: the interpreter is released."""
    data = bytes(16 << 20)
    out = bytearray(keyring.encrypted_len(len(data)))
    ticks = 0
    stop = threading.Event()

    def tick() -> None:
        nonlocal ticks
        while not stop.is_set():
            ticks += 1
            time.sleep(0)

    thread = threading.Thread(target=tick)
    thread.start()
    before = ticks
    for _ in range(30):
        keyring.encrypt_into(data, out)
    stop.set()
    thread.join()
    assert ticks - before > 30


@pytest.mark.skipif(CPUS < 2, reason="needs two CPUs")
def test_two_threads_gain_over_one_after_the_other(home: Path, tmp_path: Path) -> None:
    """Each call is held to one CPU's worth of threads by its size, so that what is measured is the interpreter."""
    provider = cmkit.LocalKeyProvider(home)
    provider.create_key("team")
    keyring = cmkit.Keyring(provider, keys="local:team")
    # Below this size a call uses no second thread of its own.
    data = bytes(900 << 10)

    def work() -> None:
        out = bytearray(keyring.encrypted_len(len(data)))
        for _ in range(400):
            keyring.encrypt_into(data, out)

    work()
    gains = [2 * seconds(work, 1) / seconds(work, 2) for _ in range(5)]
    assert max(gains) > 1.3, gains


@pytest.mark.skipif(CPUS < 2, reason="needs two CPUs")
def test_two_threads_of_16_mib_take_less_than_twice_one(keyring: cmkit.Keyring) -> None:
    data = os.urandom(16 << 20)

    def work() -> None:
        out = bytearray(keyring.encrypted_len(len(data)))
        for _ in range(20):
            keyring.encrypt_into(data, out)

    work()
    # One call uses both CPUs by itself, so two threads can't halve the time; they must not queue up either.
    ratio = statistics.median(seconds(work, 2) / seconds(work, 1) for _ in range(5))
    assert ratio < 2.3, ratio


def interrupted(home: Path, code: str) -> float:
    """Runs code in a process of its own, interrupts it, and says how many seconds later the code saw it.

    The process says itself when: what it takes to give a gigabyte back to the system and to end is not counted.
    """
    program = "import cmkit, sys, os, io, time\nk = cmkit.Keyring(cmkit.LocalKeyProvider(sys.argv[1]), keys='local:team')\n"
    program += "try:\n" + textwrap.indent(textwrap.dedent(code).strip(), "    ")
    program += "\nexcept KeyboardInterrupt:\n    print(time.monotonic(), flush=True)\n    raise\n"
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(home)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline() == "ready\n", process.stderr.read()
    time.sleep(0.3)
    assert process.poll() is None
    sent = time.monotonic()
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in errors, errors
    return float(output) - sent


def soonest(home: Path, code: str) -> float:
    """The shortest of up to three tries: a busy machine delays some, a call that doesn't look for signals all."""
    times: list[float] = []
    while len(times) < 3 and min(times, default=1.0) >= 1:
        times.append(interrupted(home, code))
    return min(times)


LONG = {
    "encrypt": "b = bytes(1 << 30)\nprint('ready', flush=True)\nwhile True: k.encrypt(b)",
    "encrypt a bytearray": "b = bytearray(1 << 30)\nprint('ready', flush=True)\nwhile True: k.encrypt(b)",
    "decrypt": "e = k.encrypt(bytes(1 << 30))\nprint('ready', flush=True)\nwhile True: k.decrypt(e)",
    "decrypt_into": """
        e = k.encrypt(bytes(1 << 30))
        out = bytearray(1 << 30)
        print('ready', flush=True)
        while True: k.decrypt_into(e, out)
    """,
    "a stream": """
        class Null(io.RawIOBase):
            def write(self, data): return len(data)
        s = k.encryptor(Null())
        b = bytes(1 << 30)
        print('ready', flush=True)
        while True: s.write(b)
    """,
    "small messages": "print('ready', flush=True)\nwhile True: k.encrypt(b'x')",
}


@pytest.mark.parametrize("what", LONG)
def test_ctrl_c_is_seen_within_a_second(keyring: cmkit.Keyring, home: Path, what: str) -> None:
    assert soonest(home, LONG[what]) < 1


def test_ctrl_c_in_files_leaves_nothing_behind(keyring: cmkit.Keyring, home: Path, tmp_path: Path) -> None:
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(20 << 30)
    code = f"""
        print('ready', flush=True)
        k.encrypt_file({str(big)!r}, {str(tmp_path / "out")!r})
    """
    assert soonest(home, code) < 1
    code = f"""
        print('ready', flush=True)
        with cmkit.open({str(tmp_path / "out")!r}, 'wb', keyring=k) as f:
            while True: f.write(bytes(1 << 26))
    """
    assert soonest(home, code) < 1
    assert names(tmp_path) == ["big", "home"]


def test_a_cleared_output_after_ctrl_c(keyring: cmkit.Keyring) -> None:
    data = bytes([1]) * (512 << 20)
    envelope = keyring.encrypt(data)
    out = bytearray(len(data))
    main = threading.main_thread().ident
    assert main is not None
    timer = threading.Timer(0.02, signal.pthread_kill, (main, signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        for _ in range(50):
            keyring.decrypt_into(envelope, out)
    timer.join()
    # The interrupt came inside a call or between two; inside, all was cleared.
    assert out.count(0) == len(out) or out.count(1) == len(out)
