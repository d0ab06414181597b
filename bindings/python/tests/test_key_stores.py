"""The compact form: a directory, and key stores written in Python."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

import cmkit

from .helpers import CONTEXT, new_keyring, refused


class Table:
    """A key store in memory."""

    def __init__(self) -> None:
        self.rows: dict[str, bytes] = {}
        self.lock = threading.Lock()

    def get(self, dek_id: str, /) -> cmkit.StoredKey | None:
        row = self.rows.get(dek_id)
        return None if row is None else cmkit.StoredKey(row, row[-32:])

    def put_if_absent(self, dek_id: str, data: bytes, /) -> bool:
        with self.lock:
            return self.rows.setdefault(dek_id, data) is data

    def replace_if_unchanged(self, dek_id: str, data: bytes, tag: bytes, /) -> bool:
        with self.lock:
            if self.rows[dek_id][-32:] != tag:
                return False
            self.rows[dek_id] = data
            return True

    def list(self) -> Iterable[str]:
        return iter(list(self.rows))


@pytest.fixture(params=["directory", "python"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> cmkit.DirectoryKeyStore | Table:
    return cmkit.DirectoryKeyStore(tmp_path / "store") if request.param == "directory" else Table()


def test_compact_documents(home: Path, store: object) -> None:
    keyring = new_keyring(home, key_store=store)
    full = keyring.encrypt(b"row", CONTEXT)
    rows = [keyring.encrypt_compact(b"row", CONTEXT) for _ in range(20)]
    assert all(len(row) == keyring.compact_len(3) < len(full) for row in rows)
    assert cmkit.inspect(rows[0]).is_compact
    out = bytearray(1000)
    assert keyring.encrypt_compact_into(b"row", out, CONTEXT) == len(rows[0])
    fresh = new_keyring(home, key_store=store)
    assert {fresh.decrypt(row, CONTEXT) for row in [*rows, bytes(out[: len(rows[0])])]} == {b"row"}
    large = bytes(2 << 20)
    assert fresh.decrypt(keyring.encrypt_compact(large)) == large


def test_rewrapping_a_store(home: Path, store: object) -> None:
    provider = cmkit.LocalKeyProvider(home)
    keyring = new_keyring(home, key_store=store)
    row = keyring.encrypt_compact(b"row")
    provider.create_key("next")
    assert keyring.rewrap_key_store("local:next") == 1
    reader = cmkit.Keyring(provider, keys=[], allow="local:next", key_store=store)  # type: ignore[arg-type]
    assert reader.decrypt(row) == b"row"
    with refused(cmkit.PolicyError):
        keyring.rewrap(row, to="local:next")


def test_without_the_store(home: Path) -> None:
    row = new_keyring(home, key_store=Table()).encrypt_compact(b"row")
    with refused(cmkit.KeyStoreError):
        new_keyring(home, key_store=Table()).decrypt(row)
    calls: list[Callable[[], object]] = [
        lambda: new_keyring(home).decrypt(row),
        lambda: new_keyring(home).encrypt_compact(b"x"),
    ]
    for call in calls:
        with refused(cmkit.PolicyError):
            call()


def test_what_a_store_raises_is_the_cause(home: Path) -> None:
    class Broken(Table):
        def put_if_absent(self, dek_id: str, data: bytes, /) -> bool:
            raise ConnectionError("table is away")

        def get(self, dek_id: str, /) -> cmkit.StoredKey | None:
            raise cmkit.KeyStoreError("busy", retryable=True)

        def list(self) -> Iterable[str]:
            return ["no id"]

    keyring = new_keyring(home, key_store=Broken())
    with pytest.raises(cmkit.KeyStoreError) as caught:
        keyring.encrypt_compact(b"x")
    assert isinstance(caught.value.__cause__, ConnectionError)
    row = new_keyring(home, key_store=Table()).encrypt_compact(b"x")
    with pytest.raises(cmkit.KeyStoreError, match="busy") as busy:
        keyring.decrypt(row)
    assert busy.value.retryable
    with refused(cmkit.KeyStoreError):
        keyring.rewrap_key_store("local:team")


@pytest.mark.parametrize("answer", [5, b"x", (b"x",), ("x", b""), (b"", b""), (b"garbage", b"tag")])
def test_wrong_rows(home: Path, answer: object) -> None:
    class Wrong(Table):
        def get(self, dek_id: str, /) -> cmkit.StoredKey | None:
            return answer  # type: ignore[return-value]

    row = new_keyring(home, key_store=Table()).encrypt_compact(b"x")
    with pytest.raises(cmkit.CmkitError):
        new_keyring(home, key_store=Wrong()).decrypt(row)


def test_a_store_that_calls_its_keyring(home: Path) -> None:
    class Reentrant(Table):
        keyring: cmkit.Keyring

        def put_if_absent(self, dek_id: str, data: bytes, /) -> bool:
            self.keyring.encrypt_compact(b"inside")
            return True

    store = Reentrant()
    store.keyring = new_keyring(home, key_store=store)
    with pytest.raises((cmkit.KeyStoreError, cmkit.PolicyError)):
        store.keyring.encrypt_compact(b"outside")


def test_what_is_no_store(home: Path) -> None:
    for wrong in (5, "path", object()):
        with refused(TypeError):
            new_keyring(home, key_store=wrong)
