"""Memory: what is checked, what is copied, what is cleared."""

from __future__ import annotations

import array
import threading
from typing import Any

import numpy as np
import pytest

import cmkit

from .helpers import CONTEXT, refused


def test_wrong_inputs(keyring: cmkit.Keyring) -> None:
    for wrong in ("text", None, 5, [1, 2], object()):
        for call in (keyring.encrypt, keyring.decrypt, cmkit.inspect, cmkit.is_envelope):
            with refused(TypeError):
                call(wrong)  # type: ignore[arg-type]
    with refused(ValueError):
        keyring.encrypt(memoryview(b"abcd")[::2])
    with refused(ValueError):
        keyring.encrypt(np.zeros((4, 4), dtype=np.uint8)[:, 1].data)


def test_wrong_outputs(keyring: cmkit.Keyring) -> None:
    envelope = keyring.encrypt(b"data")
    for wrong in (b"x" * 4000, memoryview(b"x" * 4000), "x", None):
        with refused(TypeError):
            keyring.encrypt_into(b"data", wrong)  # type: ignore[arg-type]
        with refused(TypeError):
            keyring.decrypt_into(envelope, wrong)  # type: ignore[arg-type]
    with refused(ValueError):
        keyring.encrypt_into(b"data", array.array("I", [0] * 1000))
    with refused(ValueError):
        keyring.encrypt_into(b"data", memoryview(bytearray(4000))[::2])
    for length in (0, 1, len(envelope) - 1):
        out = bytearray(b"\xff" * length)
        with refused(ValueError):
            keyring.encrypt_into(b"data", out)
        assert not any(out)
    with refused(ValueError):
        keyring.decrypt_into(envelope, bytearray(3))


def test_overlap(keyring: cmkit.Keyring) -> None:
    memory = bytearray(5000)
    view = memoryview(memory)
    with refused(ValueError):
        keyring.encrypt_into(view[:1000], view[999:])
    with refused(ValueError):
        keyring.encrypt_into(view[1000:2000], view[:1001])
    assert keyring.encrypt_into(view[:1000], view[1000:]) > 1000
    assert keyring.encrypt_into(view[4000:], view[:4000]) > 1000


@pytest.mark.parametrize("length", [0, 100, 20_000, 2 << 20])
def test_a_failure_clears_the_whole_output(keyring: cmkit.Keyring, length: int) -> None:
    envelope = bytearray(keyring.encrypt(bytes(length), CONTEXT))
    envelope[-1] ^= 1
    for data in (bytes(envelope), envelope):
        out = bytearray(b"\xff" * (length + 100))
        with refused(cmkit.AuthenticationError):
            keyring.decrypt_into(data, out, CONTEXT)
        assert not any(out)
    out = bytearray(b"\xff" * 100)
    with refused(TypeError):
        keyring.decrypt_into(envelope, out, 5)  # type: ignore[arg-type]
    assert not any(out)


def test_a_buffer_in_use_is_pinned(keyring: cmkit.Keyring) -> None:
    """Nobody can resize memory that is being worked on; after the call anybody can."""
    data = bytearray(8 << 20)
    errors: list[BufferError] = []
    stop = threading.Event()

    def grow() -> None:
        while not stop.is_set():
            try:
                data.append(0)
                data.pop()
            except BufferError as error:
                errors.append(error)

    thread = threading.Thread(target=grow)
    thread.start()
    try:
        for _ in range(5):
            assert len(keyring.encrypt(data)) > len(data) - 2
    finally:
        stop.set()
        thread.join()
    data.append(0)


def test_what_is_written_meanwhile_is_never_half_authentic(keyring: cmkit.Keyring) -> None:
    """A thread that scribbles over a writable input changes what is encrypted, and never makes an envelope that doesn't open."""
    data = bytearray(1 << 20)
    stop = threading.Event()

    def scribble() -> None:
        n = 0
        while not stop.is_set():
            n = (n + 1) % 256
            data[:] = bytes([n]) * len(data)

    thread = threading.Thread(target=scribble)
    thread.start()
    try:
        for _ in range(20):
            keyring.decrypt(keyring.encrypt(data))
    finally:
        stop.set()
        thread.join()


def as_buffer(array: Any) -> Any:
    """numpy says to type checkers that its arrays are buffers from Python 3.12 on."""
    return array


def test_numpy_arrays(keyring: cmkit.Keyring) -> None:
    numbers = np.arange(100_000, dtype=np.float64)
    envelope = keyring.encrypt(as_buffer(numbers), CONTEXT)
    out = np.empty_like(numbers)
    assert keyring.decrypt_into(envelope, as_buffer(out.view(np.uint8)), CONTEXT) == numbers.nbytes
    assert np.array_equal(numbers, out)
    frozen = numbers.copy()
    frozen.flags.writeable = False
    assert keyring.decrypt(keyring.encrypt(as_buffer(frozen))) == numbers.tobytes()


def test_a_subclass_of_bytes(keyring: cmkit.Keyring) -> None:
    class Sub(bytes):
        pass

    assert keyring.decrypt(Sub(keyring.encrypt(Sub(b"x")))) == b"x"


def test_lengths_of_what_is_no_envelope(keyring: cmkit.Keyring) -> None:
    envelope = keyring.encrypt(b"data")
    header = cmkit.header_len(envelope)
    for length in range(header, header + 72):
        with refused(cmkit.TruncatedError):
            cmkit.decrypted_len(envelope[:length])
    assert cmkit.decrypted_len(envelope[: header + 72]) == 0
    for data in (b"", b"plain text of some length"):
        with refused(cmkit.FormatError, cmkit.TruncatedError):
            cmkit.decrypted_len(data)
