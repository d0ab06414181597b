"""Client-side encryption of azure-storage-blob, unmodified, with cmkit's keys: over the loopback to a server that keeps blobs in memory."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobClient

import cmkit

from .fake_vault import VAULT, FakeVault
from .test_key_vault import KEY, empty, provider, vault

__all__ = ["empty", "vault"]


class Blobs(BaseHTTPRequestHandler):
    """As much of Blob Storage as an upload and a download of one block blob take."""

    protocol_version = "HTTP/1.1"
    kept: dict[str, tuple[bytes, dict[str, str]]] = {}

    def log_message(self, format: str, *args: object) -> None:
        pass

    def answer(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        headers = {"ETag": '"0x1"', "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT", **headers}
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        metadata = {name: value for name, value in self.headers.items() if name.lower().startswith("x-ms-meta-")}
        self.kept[self.path] = (body, metadata)
        self.answer(201, {"x-ms-request-server-encrypted": "true"})

    def do_HEAD(self) -> None:
        _, metadata = self.kept[self.path]
        self.answer(200, {"x-ms-blob-type": "BlockBlob", **metadata})

    def do_GET(self) -> None:
        body, metadata = self.kept[self.path]
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("x-ms-range", ""))
        first, last = (int(wanted[1]), min(int(wanted[2]), len(body) - 1)) if wanted else (0, len(body) - 1)
        headers = {"x-ms-blob-type": "BlockBlob", "Content-Range": f"bytes {first}-{last}/{len(body)}", **metadata}
        self.answer(206, headers, body[first : last + 1])


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    Blobs.kept = {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), Blobs)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/account"
    server.shutdown()
    thread.join()
    server.server_close()


def blob(storage: str, kek: cmkit.KeyEncryptionKey | None, **options: Any) -> BlobClient:
    encryption: dict[str, Any] = {"require_encryption": True, "encryption_version": "2.0", "key_encryption_key": kek}
    return BlobClient(storage, "container", "blob", max_single_put_size=1 << 30, **{**encryption, **options})


def there_and_back(storage: str, kek: cmkit.KeyEncryptionKey, again: cmkit.KeyEncryptionKey) -> None:
    # Two whole regions of 4 MiB and a part.
    data = os.urandom((9 << 20) + 5)
    blob(storage, kek).upload_blob(data)
    ((kept, metadata),) = Blobs.kept.values()
    assert data[:100] not in kept and kek.get_kid() in str(metadata)
    client = blob(storage, again)
    assert client.download_blob().readall() == data
    for offset, length in ((0, 10), ((4 << 20) - 5, 10), (5 << 20, 4 << 20), (9 << 20, 100)):
        assert client.download_blob(offset, length).readall() == data[offset : offset + length]


def test_with_a_key_in_a_vault(vault: FakeVault, storage: str) -> None:
    kek = cmkit.KeyEncryptionKey(provider(vault), KEY)
    there_and_back(storage, kek, cmkit.KeyEncryptionKey(provider(vault), KEY))
    old = kek.get_kid()
    # After a rotation old blobs are found by their key's id.
    assert vault.rotate("kek") != old
    assert kek.get_kid() == old
    newer = cmkit.KeyEncryptionKey(provider(vault), KEY)
    assert newer.get_kid() != old
    asked: list[str] = []

    def resolve(kid: str) -> cmkit.KeyEncryptionKey:
        asked.append(kid)
        return cmkit.KeyEncryptionKey(provider(vault), kid)

    client = blob(storage, newer, key_resolver_function=resolve)
    assert len(client.download_blob(0, 100).readall()) == 100
    assert set(asked) == {old}
    vault.set(old, enabled=False)
    with pytest.raises(HttpResponseError) as caught:
        client.download_blob(0, 100)
    causes: list[BaseException | None] = [caught.value]
    while causes[-1] is not None:
        causes.append(causes[-1].__cause__ or causes[-1].__context__)
    assert any(isinstance(cause, cmkit.KeyDisabledError) for cause in causes)


@pytest.mark.parametrize("key_type", ["oct", "rsa-3072"])
def test_with_a_local_key(tmp_path: Path, storage: str, key_type: cmkit.KeyType) -> None:
    local = cmkit.LocalKeyProvider(tmp_path / "home")
    local.create_key("team", key_type)
    kek = cmkit.KeyEncryptionKey(local, "local:team")
    assert kek.get_key_wrap_algorithm() == ("A256KW" if key_type == "oct" else "RSA-OAEP-256")
    there_and_back(storage, kek, cmkit.KeyEncryptionKey(local, kek.get_kid()))


def test_another_key_opens_nothing(tmp_path: Path, storage: str) -> None:
    local = cmkit.LocalKeyProvider(tmp_path / "home")
    local.create_key("one")
    local.create_key("two")
    one, two = (cmkit.KeyEncryptionKey(local, f"local:{name}") for name in ("one", "two"))
    wrapped = one.wrap_key(bytes(40))
    with pytest.raises(cmkit.AuthenticationError):
        two.unwrap_key(wrapped, "A256KW")
    with pytest.raises(ValueError):
        one.unwrap_key(wrapped, "RSA1_5")
    for data in (b"", bytes(1025)):
        with pytest.raises(ValueError):
            one.unwrap_key(data, "A256KW")
    with pytest.raises(ValueError):
        cmkit.KeyEncryptionKey(local, f"https://{VAULT}/keys/kek")
    assert repr(one) == "<cmkit.KeyEncryptionKey local:one>"


def test_over_a_keyring(vault: FakeVault, storage: str) -> None:
    """Then the keyring's allow-list, audit and time limit hold."""
    events: list[cmkit.AuditEvent] = []
    ring = cmkit.Keyring(provider(vault), audit=events.append, call_timeout=10.0)
    kek = cmkit.KeyEncryptionKey(ring, KEY)
    there_and_back(storage, kek, cmkit.KeyEncryptionKey(ring, kek.get_kid()))
    assert {event.operation for event in events} == {"newest", "wrap", "unwrap"}
    for other in (f"https://{VAULT}/keys/other", "https://elsewhere.vault.azure.net/keys/kek"):
        with pytest.raises(cmkit.KeyNotAllowedError):
            cmkit.KeyEncryptionKey(ring, other).wrap_key(bytes(32))


def test_data_keys_of_cmkits_own_stay_inside(tmp_path: Path) -> None:
    local = cmkit.LocalKeyProvider(tmp_path / "home")
    local.create_key("team")
    seen: list[bytes] = []

    class Watching:
        name = "local"

        def wrap(self, key_id: str, capsule: bytes, /) -> cmkit.WrappedKey:
            kek = cmkit.KeyEncryptionKey(local, key_id)
            with pytest.raises(ValueError, match="own"):
                kek.wrap_key(capsule)
            raise cmkit.KeyDisabledError("that is all")

        def unwrap(self, key_id: str, algorithm: cmkit.WrapAlgorithm, wrapped: bytes, /) -> bytes:
            with pytest.raises(cmkit.AuthenticationError):
                cmkit.KeyEncryptionKey(local, key_id).unwrap_key(wrapped, algorithm)
            seen.append(wrapped)
            raise cmkit.KeyDisabledError("that is all")

    ring = cmkit.Keyring(Watching(), keys="local:team")
    with pytest.raises(cmkit.KeyDisabledError):
        ring.encrypt(b"x")
    with pytest.raises(cmkit.KeyDisabledError):
        ring.decrypt(cmkit.Keyring(local, keys="local:team").encrypt(b"x"))
    assert seen
