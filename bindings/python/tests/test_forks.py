"""Forked children."""

from __future__ import annotations

import multiprocessing
import os
import threading
from pathlib import Path

import pytest

import cmkit

from .helpers import CONTEXT, in_child, names, refused


def test_a_keyring_works_in_the_child(keyring: cmkit.Keyring) -> None:
    envelope = keyring.encrypt(b"parent", CONTEXT)

    def child() -> None:
        assert keyring.decrypt(envelope, CONTEXT) == b"parent"
        mine = keyring.encrypt(b"child", CONTEXT)
        assert cmkit.inspect(mine).dek_id != cmkit.inspect(envelope).dek_id
        large = bytes(3 << 20)
        assert keyring.decrypt(keyring.encrypt(large)) == large

    assert in_child(child) == 0
    assert cmkit.inspect(keyring.encrypt(b"x")).dek_id == cmkit.inspect(envelope).dek_id


def test_a_fork_in_the_midst_of_other_threads(keyring: cmkit.Keyring) -> None:
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            keyring.decrypt(keyring.encrypt(b"x"))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(30):
            assert in_child(lambda: keyring.decrypt(keyring.encrypt(b"y"))) == 0
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_an_open_writer_belongs_to_its_process(keyring: cmkit.Keyring, tmp_path: Path) -> None:
    path = tmp_path / "file"
    file = cmkit.open(path, "wb", keyring=keyring, context=CONTEXT)
    file.write(b"one " * 10_000)

    def child() -> None:
        for call in (lambda: file.write(b"no"), file.close):
            with refused(cmkit.StateError):
                call()

    def leave() -> None:
        with pytest.raises(ZeroDivisionError):
            with file:
                1 / 0  # noqa: B018

    def drop() -> None:
        nonlocal file
        del file

    for act in (child, leave, drop):
        assert in_child(act) == 0
        assert len(names(tmp_path)) == 2 and not path.exists()
    file.write(b"two")
    file.close()
    assert cmkit.open(path, keyring=keyring, context=CONTEXT).read() == b"one " * 10_000 + b"two"


def test_an_open_encryptor_belongs_to_its_process(keyring: cmkit.Keyring, tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb", buffering=0) as sink:
        stream = keyring.encryptor(sink)
        stream.write(b"one")

        def child() -> None:
            for call in (lambda: stream.write(b"no"), lambda: stream.write(bytes(9 << 20)), stream.close):
                with refused(cmkit.StateError):
                    call()

        assert in_child(child) == 0
        stream.close()
    assert keyring.decrypt(path.read_bytes()) == b"one"


def test_a_reader_works_on_in_the_child(keyring: cmkit.Keyring, tmp_path: Path) -> None:
    data = os.urandom(100_000)
    (tmp_path / "file").write_bytes(keyring.encrypt(data))
    file = cmkit.open(tmp_path / "file", keyring=keyring)

    def child() -> None:
        assert file.read_at(10, 50_000) == data[50_000:50_010] and file.read() == data

    assert in_child(child) == 0
    assert file.read() == data


def _encrypt(keyring: cmkit.Keyring, number: int, queue: multiprocessing.Queue[bytes]) -> None:
    queue.put(keyring.encrypt(b"%d" % number))


def test_multiprocessing_by_fork(keyring: cmkit.Keyring) -> None:
    keyring.encrypt(b"x")
    context = multiprocessing.get_context("fork")
    queue: multiprocessing.Queue[bytes] = context.Queue()
    children = [context.Process(target=_encrypt, args=(keyring, number, queue)) for number in range(4)]
    for process in children:
        process.start()
    envelopes = [queue.get(timeout=30) for _ in children]
    for process in children:
        process.join()
        assert process.exitcode == 0
    assert {keyring.decrypt(envelope) for envelope in envelopes} == {b"0", b"1", b"2", b"3"}
    assert len({cmkit.inspect(envelope).dek_id for envelope in envelopes}) == 4
