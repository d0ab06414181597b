"""Streams over file objects of Python, well-behaved and not."""

from __future__ import annotations

import io
import os
import threading
from pathlib import Path
from typing import Any

import pytest

import cmkit

from .helpers import CONTEXT, refused

DATA = os.urandom(300_000)


class Dripping(io.RawIOBase):
    """Gives and takes a few bytes at a time."""

    def __init__(self, data: bytes = b"", step: int = 7) -> None:
        self.inner = io.BytesIO(data)
        self.step = step

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        return self.inner.readinto(memoryview(buffer)[: self.step])

    def write(self, data: Any, /) -> int:
        return self.inner.write(bytes(data)[: self.step])


class FailsAfter:
    """A writer that has room for so many bytes."""

    def __init__(self, room: int, error: BaseException) -> None:
        self.got = b""
        self.room = room
        self.error = error

    def write(self, data: bytes) -> int:
        if len(self.got) + len(data) > self.room:
            raise self.error
        self.got += data
        return len(data)


def sealed(keyring: cmkit.Keyring, data: bytes = DATA) -> bytes:
    sink = io.BytesIO()
    with keyring.encryptor(sink, CONTEXT) as stream:
        stream.write(data)
    assert not sink.closed
    return sink.getvalue()


@pytest.mark.parametrize("step", [1, 1000, 16_384, 100_001, 300_000])
def test_there_and_back(keyring: cmkit.Keyring, step: int) -> None:
    sink = io.BytesIO()
    with keyring.encryptor(sink, CONTEXT) as stream:
        for at in range(0, len(DATA) if step > 1 else 40_000, step):
            assert stream.write(bytearray(DATA[at : at + step])) == len(DATA[at : at + step])
        total = stream.tell()
    envelope = sink.getvalue()
    assert keyring.decrypt(envelope, CONTEXT) == DATA[:total]
    with keyring.decryptor(io.BytesIO(envelope), CONTEXT) as plaintext:
        assert b"".join(iter(lambda: plaintext.read(step), b"")) == DATA[:total]
        assert not plaintext.seekable()


def test_short_reads_and_writes(keyring: cmkit.Keyring) -> None:
    data = DATA[:40_000]
    envelope = keyring.encrypt(data, CONTEXT)
    assert keyring.decryptor(Dripping(envelope), CONTEXT).read() == data
    slow = Dripping()
    with keyring.encryptor(slow, CONTEXT) as stream:
        stream.write(data)
    assert keyring.decrypt(slow.inner.getvalue(), CONTEXT) == data
    assert cmkit.open(Dripping(envelope), keyring=keyring, context=CONTEXT).read() == data


@pytest.mark.parametrize("room", [0, 100, 500, 20_000, 299_000])
def test_a_writer_that_fails_half_way(keyring: cmkit.Keyring, room: int) -> None:
    error = OSError(28, "No space left on device")
    sink = FailsAfter(room, error)
    with pytest.raises(OSError) as caught:
        with keyring.encryptor(sink, CONTEXT) as stream:
            stream.write(DATA)
            stream.write(DATA)
    assert caught.value is error
    with refused(cmkit.TruncatedError, cmkit.AuthenticationError, cmkit.FormatError):
        keyring.decrypt(sink.got, CONTEXT)


def test_a_failed_stream_stays_failed(keyring: cmkit.Keyring) -> None:
    stream = keyring.encryptor(FailsAfter(1000, RuntimeError("broken")), CONTEXT)
    with pytest.raises(RuntimeError, match="broken"):
        # More than is ever buffered.
        stream.write(DATA * 30)
    for call in (lambda: stream.write(b"x"), stream.close):
        with refused(cmkit.StateError):
            call()
    assert stream.closed

    cut = keyring.decryptor(io.BytesIO(sealed(keyring)[:-1]), CONTEXT)
    for _ in range(3):
        with refused(cmkit.AuthenticationError, cmkit.TruncatedError):
            cut.read()


def test_an_exception_writes_no_end(keyring: cmkit.Keyring) -> None:
    sink = io.BytesIO()
    with pytest.raises(ZeroDivisionError):
        with keyring.encryptor(sink, CONTEXT) as stream:
            stream.write(DATA)
            1 / 0  # noqa: B018
    with refused(cmkit.TruncatedError, cmkit.AuthenticationError):
        keyring.decrypt(sink.getvalue(), CONTEXT)


def test_random_access_over_a_file_object(keyring: cmkit.Keyring) -> None:
    file = cmkit.open(io.BytesIO(sealed(keyring)), keyring=keyring, context=CONTEXT)
    assert isinstance(file, cmkit.Reader) and file.size == len(DATA)
    file.seek(150_000)
    assert file.read(100) == DATA[150_000:150_100]
    assert file.read() == DATA[150_100:]


def test_a_pipe(keyring: cmkit.Keyring) -> None:
    read, write = os.pipe()

    def fill() -> None:
        with os.fdopen(write, "wb") as sink, keyring.encryptor(sink, CONTEXT) as stream:
            stream.write(DATA)

    thread = threading.Thread(target=fill)
    thread.start()
    with os.fdopen(read, "rb") as source, cmkit.open(source, keyring=keyring, context=CONTEXT) as plaintext:
        assert isinstance(plaintext, cmkit.Decryptor) and plaintext.read() == DATA
    thread.join()


class Odd:
    """A file object whose methods return this."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def read(self, size: int = -1) -> Any:
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer

    write = read


@pytest.mark.parametrize(
    ("answer", "error"),
    [("text", TypeError), (5, TypeError), (bytes(1 << 22), ValueError), (None, BlockingIOError), (KeyError("k"), KeyError)],
)
def test_odd_readers(keyring: cmkit.Keyring, answer: object, error: type[Exception]) -> None:
    with refused(error):
        keyring.decryptor(Odd(answer), CONTEXT).read()


@pytest.mark.parametrize(
    ("answer", "error"),
    [("text", TypeError), (1 << 40, ValueError), (-1, OverflowError), (0, OSError), (KeyError("k"), KeyError)],
)
def test_odd_writers(keyring: cmkit.Keyring, answer: object, error: type[Exception]) -> None:
    with refused(error):
        keyring.encryptor(Odd(answer), CONTEXT)  # type: ignore[arg-type]


def test_no_file_objects(keyring: cmkit.Keyring) -> None:
    for wrong in (5, None, "name", b"data"):
        with refused(TypeError):
            keyring.encryptor(wrong, CONTEXT)  # type: ignore[arg-type]
        with refused(TypeError):
            keyring.decryptor(wrong, CONTEXT)  # type: ignore[arg-type]
    with refused(TypeError):
        with keyring.encryptor(io.BytesIO()) as stream:
            stream.write("text")  # type: ignore[arg-type]


def test_a_file_object_that_calls_its_stream(keyring: cmkit.Keyring) -> None:
    class Loop:
        stream: cmkit.Encryptor | None = None

        def write(self, data: bytes) -> int:
            if self.stream is not None:
                self.stream.write(b"again")
            return len(data)

    loop = Loop()
    stream = keyring.encryptor(loop)
    loop.stream = stream
    with refused(cmkit.StateError):
        stream.write(DATA * 30)
    stream.abort()


def test_threads_that_share_a_stream_take_turns(keyring: cmkit.Keyring, tmp_path: Path) -> None:
    path = tmp_path / "log"
    with cmkit.open(path, "wb", keyring=keyring) as file:
        threads = [threading.Thread(target=lambda n=n: [file.write(bytes([n]) * 5000) for _ in range(200)]) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    data = cmkit.open(path, keyring=keyring).read()
    records = [data[at : at + 5000] for at in range(0, len(data), 5000)]
    assert len(records) == 800 and all(len(set(record)) == 1 for record in records)
