"""Keys in a local directory."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

import cmkit

from .helpers import refused


def test_the_life_of_a_key(home: Path) -> None:
    provider = cmkit.LocalKeyProvider(home)
    assert provider.list() == [] and provider.path == home and provider.name == "local"
    assert not home.exists()
    first = provider.create_key("team")
    keyring = cmkit.Keyring(provider, keys="local:team", policy=cmkit.DekPolicy.no_cache())
    old = keyring.encrypt(b"old")
    second = provider.rotate("team")
    new = keyring.encrypt(b"new")
    assert [i.id for i in provider.list("local:team")] == [first, second]
    assert [i.newest for i in provider.list()] == [False, True]
    assert cmkit.inspect(new).recipients[0].key_id == second
    provider.disable(first)
    with refused(cmkit.KeyDisabledError):
        keyring.decrypt(old)
    provider.enable(first)
    assert keyring.decrypt(old) == b"old"

    backup = provider.export_key(first)
    assert json.loads(backup)["kid"] == first
    provider.destroy(first)
    with refused(cmkit.KeyNotFoundError, cmkit.KeyDisabledError):
        keyring.decrypt(old)
    assert [i.state for i in provider.list()] == ["destroyed", "enabled"]
    elsewhere = cmkit.LocalKeyProvider(home.with_name("restored"))
    assert elsewhere.import_key("local:team", backup) == first
    assert cmkit.Keyring(elsewhere, keys=[], allow="local:team").decrypt(old) == b"old"
    with refused(FileExistsError):
        provider.create_key("team")
    with refused(cmkit.KeyNotFoundError):
        provider.rotate("none")
    with refused(ValueError):
        provider.create_key("x", "aes")  # type: ignore[arg-type]


def test_rsa_and_its_public_half(home: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65_537, key_size=3072)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    owner = cmkit.LocalKeyProvider(home / "owner")
    version = owner.import_key("local:rsa", pem.decode())
    writer = cmkit.LocalKeyProvider(home / "writer")
    assert writer.import_key("local:rsa", owner.export_public(version, "jwk")) == version
    assert owner.export_public(version).startswith("-----BEGIN PUBLIC KEY-----")
    envelope = cmkit.Keyring(writer, keys="local:rsa").encrypt(b"for the owner")
    assert cmkit.Keyring(owner, keys="local:rsa").decrypt(envelope) == b"for the owner"
    assert writer.list()[0].public_only
    fresh = cmkit.Keyring(writer, keys="local:rsa")
    with refused(cmkit.KeyUnusableError):
        fresh.decrypt(envelope)
    with refused(cmkit.KeyUnusableError, ValueError):
        writer.export_public(version, "der")  # type: ignore[arg-type]


def test_the_default_key_is_made_by_the_first_encryption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    home = tmp_path / "mine"
    monkeypatch.setenv("CMKIT_HOME", str(home))
    assert cmkit.default_dir() == home
    keyring = cmkit.Keyring.local()
    with refused(cmkit.KeyNotAllowedError):
        keyring.decrypt(new_envelope(tmp_path))
    assert not home.exists()
    with caplog.at_level(logging.WARNING, "cmkit"):
        envelope = keyring.encrypt(b"x")
        keyring.encrypt(b"y")
        cmkit.Keyring.local().encrypt(b"z")
    (record,) = caplog.records
    assert str(home) in record.getMessage() and "back this directory up" in record.getMessage()
    assert keyring.keys == ("local:default",)
    assert cmkit.Keyring(cmkit.LocalKeyProvider()).decrypt(envelope) == b"x"
    assert home.stat().st_mode & 0o777 == 0o700


def new_envelope(tmp_path: Path) -> bytes:
    provider = cmkit.LocalKeyProvider(tmp_path / "other")
    provider.create_key("team")
    return cmkit.Keyring(provider, keys="local:team").encrypt(b"x")


def test_a_named_key_is_not_made(home: Path) -> None:
    with refused(cmkit.KeyNotFoundError):
        cmkit.Keyring(cmkit.LocalKeyProvider(home), keys="local:default").encrypt(b"x")
    assert not home.exists()


def test_policies(provider: cmkit.LocalKeyProvider) -> None:
    policy = cmkit.DekPolicy(max_age=60, max_messages=10)
    assert policy.max_age == 60.0 and policy.max_bytes == 256 << 30 and policy == cmkit.DekPolicy(max_age=60, max_messages=10)
    for age in (-1.0, float("nan"), float("inf")):
        with refused(ValueError):
            cmkit.DekPolicy(max_age=age)
    with refused(ValueError):
        cmkit.Keyring(provider, keys="local:team", policy=cmkit.DekPolicy(max_messages=(1 << 32) + 1))
    with refused(ValueError):
        cmkit.Keyring(provider, keys="local:team", policy=cmkit.DekPolicy(max_age=86_401))
