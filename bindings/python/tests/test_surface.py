"""The surface as a whole: nothing leaks, nothing can be changed, no function is left unguarded."""

from __future__ import annotations

import inspect
import io
import json
import pickle
import re
from pathlib import Path

import pytest

import cmkit
from cmkit import _cmkit

from .helpers import CONTEXT, LabProvider, repository


def test_nothing_secret_is_shown(home: Path) -> None:
    provider = cmkit.LocalKeyProvider(home)
    version = provider.create_key("team")
    secret = json.loads(provider.export_key(version))["k"]
    keyring = cmkit.Keyring(provider, keys="local:team", workspace="w")
    stream = keyring.encryptor(io.BytesIO(), CONTEXT)
    stream.write(b"plaintext")
    plain = cmkit.open(io.BytesIO(keyring.encrypt(b"plaintext")), keyring=keyring)
    for thing in (provider, keyring, stream, plain, provider.list(), cmkit.DekPolicy(), cmkit.AllowHost("h")):
        for text in (repr(thing), str(thing)):
            assert secret not in text and "plaintext" not in text and "42" not in text.replace(version, "")
    assert repr(keyring) == "<cmkit.Keyring keys=('local:team',) workspace='w'>"
    stream.abort()


def test_no_exception_quotes_data(keyring: cmkit.Keyring) -> None:
    bad = bytearray(keyring.encrypt(b"plaintext-marker", {"secret-key": "secret-value"}))
    bad[-1] ^= 1
    with pytest.raises(cmkit.CmkitError) as caught:
        keyring.decrypt(bad, {"secret-key": "secret-value"})
    assert "marker" not in repr(caught.value) and "secret" not in str(caught.value)

    class Telling(LabProvider):
        def wrap(self, key_id: str, capsule: bytes, /) -> cmkit.WrappedKey:
            raise ValueError(capsule)

    with pytest.raises(cmkit.ProviderError) as told:
        cmkit.Keyring(Telling(), keys="lab:one").encrypt(b"x")
    assert "cmkD" not in str(told.value)


def test_classes_are_frozen(keyring: cmkit.Keyring, provider: cmkit.LocalKeyProvider) -> None:
    vault = cmkit.KeyVaultProvider("https://v.vault.azure.net/keys/k", "imds")
    things = [keyring, provider, cmkit.DekPolicy(), cmkit.AllowHost("h"), cmkit.Freshness(), vault, keyring.maintenance()]
    things += [cmkit.BlockKey(), cmkit.XtsKey.random(), cmkit.Volume.create(4096, memory=True)]
    for thing in [*things, keyring.rotation(), cmkit.Census(keyring), cmkit.KeyEncryptionKey(vault, vault.keys[0])]:
        for name in ("workspace", "name", "max_age", "host", "keys", "soft", "begun", "new", "size", "key_ids"):
            with pytest.raises((AttributeError, TypeError)):
                setattr(thing, name, 1)
    for thing in (keyring, provider, vault, *things[-3:]):
        with pytest.raises(TypeError):
            pickle.dumps(thing)


def test_everything_public_is_documented() -> None:
    assert sorted(cmkit.__all__) == cmkit.__all__
    for name in cmkit.__all__:
        thing = getattr(cmkit, name)
        if inspect.isclass(thing) or inspect.isroutine(thing):
            assert thing.__doc__, name
    for cls in (
        cmkit.BlockKey,
        cmkit.Census,
        cmkit.KeyEncryptionKey,
        cmkit.KeyVaultProvider,
        cmkit.Keyring,
        cmkit.LocalKeyProvider,
        cmkit.NbdServer,
        cmkit.Rotation,
        cmkit.Scratch,
        cmkit.Volume,
        cmkit.XtsKey,
    ):
        for name, member in vars(cls).items():
            assert name.startswith("_") or member.__doc__, f"{cls.__name__}.{name}"


# Constants and fields: there is nothing in them that could panic.
HARMLESS = {"new", "no_cache", "__repr__", "name", "path", "workspace", "size"}


def test_every_function_that_python_calls_is_guarded() -> None:
    """A panic must become an InternalError: each body is inside guard()."""
    unguarded = []
    for path in sorted((repository() / "bindings/python/src").glob("*.rs")):
        source = path.read_text("utf-8")
        blocks = re.findall(r"^#\[pymethods\]\nimpl[^{]*\{\n(.*?)^\}", source, re.M | re.S)
        functions = [f for block in blocks for f in re.findall(r"^    fn (\w+)(.*?)^    \}", block, re.M | re.S)]
        functions += re.findall(r"^#\[pyfunction\]\npub\(crate\) fn (\w+)(.*?)^\}", source, re.M | re.S)
        unguarded += [f"{path.name}: {name}" for name, body in functions if "guard(" not in body and name not in HARMLESS]
    assert unguarded == []


def test_unsafe_is_in_one_file() -> None:
    for path in (repository() / "bindings/python/src").glob("*.rs"):
        code = re.sub(r"//.*", "", path.read_text("utf-8"))
        assert ("unsafe" in code) == (path.name == "buffer.rs"), path.name


def test_the_version() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", cmkit.__version__) and cmkit.__version__ == _cmkit.__version__
