"""What several tests use."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import cmkit

CONTEXT = {"doc": "42"}
PANIC = "PanicException"


def repository() -> Path:
    return Path(__file__).resolve().parents[3]


def new_keyring(home: Path, **options: object) -> cmkit.Keyring:
    """A keyring over one new key, `local:team`."""
    provider = cmkit.LocalKeyProvider(home)
    if not provider.list():
        provider.create_key("team")
    return cmkit.Keyring(provider, keys="local:team", **options)  # type: ignore[arg-type]


@contextmanager
def refused(*classes: type[BaseException]) -> Iterator[None]:
    """One of exactly these classes, and never a panic."""
    try:
        yield
    except BaseException as error:
        assert type(error).__name__ != PANIC, error
        assert type(error) in classes, f"{type(error).__name__}: {error}"
    else:
        pytest.fail(f"no exception; expected {classes}")


def names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


def in_child(child: object) -> int:
    """Runs a function in a forked child; its exit code: 0, or 1 after an exception."""
    assert callable(child)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            child()
            code = 0
        except BaseException as error:
            os.write(2, f"in the child: {type(error).__name__}: {error}\n".encode())
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


class LabProvider:
    """A key provider in Python: XOR with a pad, which is all that a test needs."""

    name = "lab"

    def __init__(self) -> None:
        self.version = secrets.token_hex(16)
        self.pad = secrets.token_bytes(72)
        self.wraps = 0
        self.unwraps = 0

    def _xor(self, data: bytes) -> bytes:
        return bytes(a ^ b for a, b in zip(data, self.pad, strict=True))

    def wrap(self, key_id: str, capsule: bytes, /) -> cmkit.WrappedKey:
        self.wraps += 1
        return cmkit.WrappedKey(f"{key_id.split('/')[0]}/{self.version}", "A256KW", self._xor(capsule))

    def unwrap(self, key_id: str, algorithm: cmkit.WrapAlgorithm, wrapped: bytes, /) -> bytes:
        self.unwraps += 1
        return self._xor(wrapped)
