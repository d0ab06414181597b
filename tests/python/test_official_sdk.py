"""Azure's own SDKs as clients of the fake vault, unmodified: what they can't tell from Azure, cmkit's tests
may take for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from azure.identity import (
    ClientSecretCredential,
    CredentialUnavailableError,
    ManagedIdentityCredential,
    WorkloadIdentityCredential,
)
from azure.keyvault.keys import KeyClient, KeyVaultKey
from azure.keyvault.keys._generated.models import KeyOperationsParameters
from azure.keyvault.keys._shared import http_challenge_cache
from azure.keyvault.keys.crypto import CryptographyClient, KeyWrapAlgorithm
from msal import managed_identity  # type: ignore[import-untyped]

from .fake_vault import HSM, VAULT, FakeVault

Credential = ClientSecretCredential | ManagedIdentityCredential | WorkloadIdentityCredential
DEK = bytes(range(72))
PURGEABLE = "purgeable.vault.azure.net"


@pytest.fixture(autouse=True)
def no_challenges() -> Iterator[None]:
    """The SDK keeps challenges for the life of the process."""
    http_challenge_cache.clear()
    yield
    http_challenge_cache.clear()


def application(fake: FakeVault) -> ClientSecretCredential:
    who = fake.identity
    return ClientSecretCredential(who["tenant_id"], who["client_id"], who["client_secret"])


def workload(fake: FakeVault) -> WorkloadIdentityCredential:
    return WorkloadIdentityCredential()


def system_assigned(fake: FakeVault) -> ManagedIdentityCredential:
    return ManagedIdentityCredential()


def by_client_id(fake: FakeVault) -> ManagedIdentityCredential:
    return ManagedIdentityCredential(client_id=fake.identity["managed_client_id"])


def by_object_id(fake: FakeVault) -> ManagedIdentityCredential:
    object_id = fake.identity["managed_object_id"]
    return ManagedIdentityCredential(identity_config={"object_id": object_id})


def by_resource_id(fake: FakeVault) -> ManagedIdentityCredential:
    resource_id = fake.identity["managed_resource_id"]
    return ManagedIdentityCredential(identity_config={"resource_id": resource_id})


SIGN_INS: list[tuple[str, str, Callable[[FakeVault], Credential]]] = [
    ("client_secret", "entra", application),
    ("workload", "entra", workload),
    ("imds", "imds", system_assigned),
    ("imds", "imds", by_client_id),
    ("imds", "imds", by_object_id),
    ("imds", "imds", by_resource_id),
    ("app_service", "app_service", system_assigned),
    ("app_service", "app_service", by_client_id),
    ("arc", "arc", system_assigned),
    ("azure_ml", "azure_ml", by_client_id),
]


def environment(fake: FakeVault, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in fake.env(source).items():
        monkeypatch.setenv(name, value)
    # Only root may write where Azure Arc's agent does.
    prefixes = managed_identity._supported_arc_platforms_and_their_prefixes
    monkeypatch.setitem(prefixes, "linux", fake.addresses["arc_dir"])


@pytest.fixture
def keys(fake_vault: FakeVault) -> KeyClient:
    return KeyClient(f"https://{VAULT}", application(fake_vault))


@pytest.fixture
def hsm_keys(fake_vault: FakeVault) -> KeyClient:
    return KeyClient(f"https://{HSM}", application(fake_vault))


def operate(keys: KeyClient, key: KeyVaultKey, op: str, value: bytes, alg: str) -> bytes:
    """Wraps or unwraps at the server: the SDK's own client wraps with RSA where it is."""
    parameters = KeyOperationsParameters(algorithm=alg, value=value)
    method: Any = getattr(keys._client, op)
    done = method(key.name, key.properties.version, parameters)
    assert done.kid == key.id
    assert isinstance(done.result, bytes)
    return done.result


def wrap(keys: KeyClient, key: KeyVaultKey, alg: str = "RSA-OAEP-256") -> bytes:
    return operate(keys, key, "wrap_key", DEK, alg)


def unwrap(keys: KeyClient, key: KeyVaultKey, value: bytes, alg: str = "RSA-OAEP-256") -> bytes:
    return operate(keys, key, "unwrap_key", value, alg)


def jwk(key: KeyVaultKey) -> dict[str, Any]:
    return vars(key.key)


def inner_code(error: HttpResponseError) -> str | None:
    """The code by which a client tells one refusal from another."""
    inner = error.error.innererror if error.error else None
    return None if inner is None else str(inner["code"])


@pytest.mark.parametrize(
    ("source", "op", "credential"),
    SIGN_INS,
    ids=[f"{source}-{credential.__name__}" for source, _, credential in SIGN_INS],
)
def test_sign_in(
    fake_vault: FakeVault,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    op: str,
    credential: Callable[[FakeVault], Credential],
) -> None:
    environment(fake_vault, source, monkeypatch)
    keys = KeyClient(f"https://{VAULT}", credential(fake_vault))
    key = keys.create_rsa_key("kek", size=2048)
    assert unwrap(keys, key, wrap(keys, key)) == DEK
    # One token serves all of it; Arc's is fetched in two steps.
    assert fake_vault.count(op) == (2 if source == "arc" else 1)
    assert fake_vault.count("challenge") == 1
    for entry in fake_vault.log():
        at_node = entry["op"] in ("imds", "app_service", "arc", "azure_ml")
        assert entry["proxied"] != at_node
        assert entry["op"] != "unknown"
    logged = str(fake_vault.log())
    for secret in ("client_secret", "identity_header", "msi_secret"):
        assert fake_vault.identity[secret] not in logged
    # Every token begins like this.
    assert "eyJ" not in logged


def test_azure_ml_wants_a_client_id(
    fake_vault: FakeVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK sends none for the system-assigned identity."""
    environment(fake_vault, "azure_ml", monkeypatch)
    keys = KeyClient(f"https://{VAULT}", ManagedIdentityCredential())
    with pytest.raises(CredentialUnavailableError):
        keys.get_key("kek")
    assert fake_vault.count("azure_ml") == 1


def test_wrong_secrets(fake_vault: FakeVault, monkeypatch: pytest.MonkeyPatch) -> None:
    who = fake_vault.identity
    wrong = ClientSecretCredential(who["tenant_id"], who["client_id"], "guessed")
    with pytest.raises(ClientAuthenticationError, match="AADSTS7000215"):
        KeyClient(f"https://{VAULT}", wrong).get_key("kek")
    environment(fake_vault, "app_service", monkeypatch)
    monkeypatch.setenv("IDENTITY_HEADER", "guessed")
    with pytest.raises(CredentialUnavailableError):
        KeyClient(f"https://{VAULT}", ManagedIdentityCredential()).get_key("kek")


def test_federated_tokens_rotate(
    fake_vault: FakeVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment(fake_vault, "workload", monkeypatch)
    fake_vault.create_key("kek")
    fake_vault.order("new_federated_token")
    keys = KeyClient(f"https://{VAULT}", WorkloadIdentityCredential())
    assert keys.get_key("kek").name == "kek"


def test_key_as_described(keys: KeyClient) -> None:
    before = int(time.time())
    made = keys.create_rsa_key("kek", size=3072, hardware_protected=True, tags={"for": "tests"})
    assert made.id == f"https://{VAULT}/keys/kek/{made.properties.version}"
    for key in (keys.get_key("kek"), keys.get_key("kek", made.properties.version)):
        properties = key.properties
        assert key.id == made.id
        assert key.key_type == "RSA-HSM"
        assert set(key.key_operations) >= {"wrapKey", "unwrapKey"}
        assert len(jwk(key)["n"]) == 384 and jwk(key)["n"][0] >= 0x80
        assert jwk(key)["e"] == b"\1\0\1"
        assert properties.enabled and properties.tags == {"for": "tests"}
        assert properties.recovery_level == "Recoverable"
        assert properties.recoverable_days == 90
        assert properties.exportable is False
        assert properties.hsm_platform == "2"
        assert properties.created_on is not None
        assert properties.created_on.timestamp() >= before


def test_local_wrap(fake_vault: FakeVault, keys: KeyClient) -> None:
    """With the public numbers that the fake gives out, `cryptography` wraps what the fake unwraps."""
    key = keys.create_rsa_key("kek", size=2048)
    client = CryptographyClient(key, application(fake_vault))
    wrapped = client.wrap_key(KeyWrapAlgorithm.rsa_oaep_256, DEK)
    assert fake_vault.count("wrap") == 0
    unwrapped = client.unwrap_key(KeyWrapAlgorithm.rsa_oaep_256, wrapped.encrypted_key)
    assert unwrapped.key == DEK
    assert fake_vault.count("unwrap") == 1


def test_hsm(fake_vault: FakeVault, hsm_keys: KeyClient) -> None:
    key = hsm_keys.create_oct_key("kek", size=256, hardware_protected=True)
    assert key.key_type == "oct-HSM"
    assert jwk(key)["k"] is None and jwk(key)["n"] is None
    client = CryptographyClient(key, application(fake_vault))
    wrapped = client.wrap_key(KeyWrapAlgorithm.aes_256, DEK)
    assert len(wrapped.encrypted_key) == len(DEK) + 8
    assert client.unwrap_key(KeyWrapAlgorithm.aes_256, wrapped.encrypted_key).key == DEK
    rsa = hsm_keys.create_rsa_key("rsa", size=2048, hardware_protected=True)
    assert unwrap(hsm_keys, rsa, wrap(hsm_keys, rsa)) == DEK
    with pytest.raises(HttpResponseError) as caught:
        unwrap(hsm_keys, key, wrapped.encrypted_key[::-1], "A256KW")
    assert caught.value.status_code == 400


@pytest.mark.parametrize("alg", ["RSA1_5", "A256KW"])
def test_algorithms_refused(keys: KeyClient, alg: str) -> None:
    key = keys.create_rsa_key("kek", size=2048)
    with pytest.raises(HttpResponseError) as caught:
        wrap(keys, key, alg)
    assert caught.value.status_code == 400


def test_rotate(keys: KeyClient) -> None:
    old = keys.create_rsa_key("kek", size=2048)
    wrapped = wrap(keys, old)
    new = keys.rotate_key("kek")
    assert new.id != old.id and jwk(new)["n"] != jwk(old)["n"]
    assert keys.get_key("kek").id == new.id
    assert unwrap(keys, old, wrapped) == DEK
    with pytest.raises(HttpResponseError) as caught:
        unwrap(keys, new, wrapped)
    assert caught.value.status_code == 400
    versions = {item.version for item in keys.list_properties_of_key_versions("kek")}
    assert versions == {old.properties.version, new.properties.version}


def test_disable(keys: KeyClient) -> None:
    key = keys.create_rsa_key("kek", size=2048)
    wrapped = wrap(keys, key)
    keys.update_key_properties("kek", enabled=False)
    assert keys.get_key("kek").properties.enabled is False
    for op in ("wrap_key", "unwrap_key"):
        with pytest.raises(HttpResponseError) as caught:
            operate(keys, key, op, wrapped[:72] if op == "wrap_key" else wrapped, "RSA-OAEP-256")
        assert caught.value.status_code == 403
        assert inner_code(caught.value) == "KeyDisabled"
    keys.update_key_properties("kek", key.properties.version, enabled=True)
    assert unwrap(keys, key, wrapped) == DEK


def test_delete_recover(keys: KeyClient) -> None:
    key = keys.create_rsa_key("kek", size=2048)
    wrapped = wrap(keys, key)
    keys.begin_delete_key("kek", _polling_interval=0).wait(60)
    with pytest.raises(ResourceNotFoundError):
        keys.get_key("kek")
    with pytest.raises(ResourceNotFoundError):
        unwrap(keys, key, wrapped)
    with pytest.raises(ResourceExistsError) as caught:
        keys.create_rsa_key("kek", size=2048)
    assert inner_code(caught.value) == "ObjectIsDeletedButRecoverable"
    deleted = keys.get_deleted_key("kek")
    assert deleted.recovery_id == f"https://{VAULT}/deletedkeys/kek"
    assert [item.name for item in keys.list_deleted_keys()] == ["kek"]
    # Protected.
    with pytest.raises(HttpResponseError) as refused:
        keys.purge_deleted_key("kek")
    assert refused.value.status_code == 403
    keys.begin_recover_deleted_key("kek", _polling_interval=0).wait(60)
    assert keys.get_key("kek").id == key.id
    assert unwrap(keys, key, wrapped) == DEK


def test_purge(fake_vault: FakeVault) -> None:
    level = "Recoverable+Purgeable"
    fake_vault.order("vault", host=PURGEABLE, recovery_level=level)
    keys = KeyClient(f"https://{PURGEABLE}", application(fake_vault))
    assert keys.create_rsa_key("kek", size=2048).properties.recovery_level == level
    keys.begin_delete_key("kek", _polling_interval=0).wait(60)
    keys.purge_deleted_key("kek")
    with pytest.raises(ResourceNotFoundError):
        keys.get_deleted_key("kek")
    keys.create_rsa_key("kek", size=2048)


def test_lists_come_in_pages(fake_vault: FakeVault, hsm_keys: KeyClient) -> None:
    names = {f"kek-{number}" for number in range(30)}
    for name in names:
        fake_vault.create_key(name, HSM)
    assert {item.name for item in hsm_keys.list_properties_of_keys()} == names
    assert fake_vault.count("list") == 2


@pytest.mark.parametrize("attribute", ["nbf", "exp"])
def test_times(fake_vault: FakeVault, keys: KeyClient, attribute: str) -> None:
    """Outside of its times a key still unwraps."""
    key = keys.create_rsa_key("kek", size=2048)
    wrapped = wrap(keys, key)
    now = int(time.time())
    fake_vault.set(str(key.id), **{attribute: now + 3600 if attribute == "nbf" else now})
    with pytest.raises(HttpResponseError) as caught:
        wrap(keys, key)
    assert caught.value.status_code == 403
    assert unwrap(keys, key, wrapped) == DEK
    # In an hour the one has begun; an hour ago the other hadn't ended.
    fake_vault.order("clock", offset=3601 if attribute == "nbf" else -3600)
    assert unwrap(keys, key, wrap(keys, key)) == DEK


def test_permissions(fake_vault: FakeVault, keys: KeyClient) -> None:
    key = keys.create_rsa_key("kek", size=2048)
    wrapped = wrap(keys, key)
    fake_vault.order("deny", op="unwrap")
    with pytest.raises(HttpResponseError) as caught:
        unwrap(keys, key, wrapped)
    assert caught.value.status_code == 403
    assert inner_code(caught.value) == "ForbiddenByRbac"
    wrap(keys, key)
    fake_vault.order("allow", op="unwrap")
    assert unwrap(keys, key, wrapped) == DEK
    fake_vault.order("vault", host=VAULT, firewall=True)
    with pytest.raises(HttpResponseError) as caught:
        keys.get_key("kek")
    assert inner_code(caught.value) == "ForbiddenByFirewall"


def test_throttled(fake_vault: FakeVault, keys: KeyClient) -> None:
    """The SDK waits as it is told, and tries again."""
    key = keys.create_rsa_key("kek", size=2048)
    wrapped = wrap(keys, key)
    fake_vault.rule("unwrap", status=429, retry_after=1, times=1)
    fake_vault.rule("unwrap", status=503, times=1)
    begin = time.monotonic()
    assert unwrap(keys, key, wrapped) == DEK
    assert time.monotonic() - begin >= 1
    assert [
        entry["status"] for entry in fake_vault.log() if entry["op"] == "unwrap"
    ] == [429, 503, 200]


@pytest.mark.parametrize("credential", [application, system_assigned])
def test_claims(
    fake_vault: FakeVault,
    monkeypatch: pytest.MonkeyPatch,
    credential: Callable[[FakeVault], Credential],
) -> None:
    """Continuous access evaluation: the SDK asks for another token, with the claims where it can."""
    environment(fake_vault, "imds", monkeypatch)
    fake_vault.create_key("kek")
    keys = KeyClient(f"https://{VAULT}", credential(fake_vault))
    keys.get_key("kek")
    nbf = {"essential": True, "value": str(int(time.time()))}
    fake_vault.order("claims", claims={"access_token": {"nbf": nbf}})
    if credential is application:
        keys.get_key("kek")
        assert fake_vault.count("challenge") == 2
        assert fake_vault.count("entra") == 2
    else:
        # A managed identity has no claims to send: it gets a new token, which is one the vault takes.
        keys.get_key("kek")
        assert fake_vault.count("imds") == 2


def test_client_request_id(fake_vault: FakeVault, keys: KeyClient) -> None:
    """What the client calls a request is what the log calls it."""
    fake_vault.create_key("kek")
    seen: dict[str, str] = {}
    keys.get_key("kek", raw_response_hook=lambda raw: seen.update(raw.http_response.headers))
    found = {name.lower(): value for name, value in seen.items()}
    assert found["x-ms-request-id"] and found["x-ms-keyvault-region"]
    last = fake_vault.log()[-1]
    assert last["client_request_id"] == found["x-ms-client-request-id"]
