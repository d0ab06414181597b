"""A vault's wrap and unwrap: cmkit's Python package beside the official SDK, in one run, against the fake vault.

    pip install ./bindings/python --requirement tests/requirements.txt
    python benches/compare_vault.py

Both sign in once with a client secret and keep their connections. The SDK wraps RSA keys locally through its CryptographyClient; here its generated client asks
the vault, as cmkit does. Medians of five rounds in which both take turns.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from azure.identity import ClientSecretCredential
from azure.keyvault.keys import KeyClient
from azure.keyvault.keys._generated.models import KeyOperationsParameters

import cmkit
from tests.python.fake_vault import FakeVault, without_foreign

ROUNDS, CALLS = 5, 40
DEK = bytes(range(32))


def ours(kid: str) -> Callable[[], None]:
    key = cmkit.KeyEncryptionKey(cmkit.KeyVaultProvider(kid, "client-secret", ca_file=os.environ["SSL_CERT_FILE"]), kid)

    def there_and_back() -> None:
        assert key.unwrap_key(key.wrap_key(DEK), "RSA-OAEP-256") == DEK

    return there_and_back


def official(kid: str) -> Callable[[], None]:
    tenant, client, secret = (os.environ[f"AZURE_{n}"] for n in ("TENANT_ID", "CLIENT_ID", "CLIENT_SECRET"))
    vault, _, name, version = kid.removeprefix("https://").split("/")
    keys = KeyClient(f"https://{vault}", ClientSecretCredential(tenant, client, secret))
    generated: Any = keys._client

    def operate(operation: str, value: bytes) -> bytes:
        parameters = KeyOperationsParameters(algorithm="RSA-OAEP-256", value=value)
        result: bytes = getattr(generated, operation)(name, version, parameters).result
        return result

    def there_and_back() -> None:
        assert operate("unwrap_key", operate("wrap_key", DEK)) == DEK

    return there_and_back


def main() -> None:
    with FakeVault() as fake:
        kid = fake.create_key("bench")
        for name in without_foreign():
            del os.environ[name]
        os.environ.update(fake.env())
        os.environ["SSL_CERT_FILE"] = os.environ["REQUESTS_CA_BUNDLE"] = str(fake.ca_file)
        contestants = {"cmkit": ours(kid), "azure-keyvault-keys": official(kid)}
        times: dict[str, list[float]] = {name: [] for name in contestants}
        for work in contestants.values():
            work()
        for _ in range(ROUNDS):
            for name, work in contestants.items():
                start = time.perf_counter()
                for _ in range(CALLS):
                    work()
                times[name].append((time.perf_counter() - start) / CALLS)
        for name, rounds in times.items():
            print(f"{name:<22} {statistics.median(rounds) * 1e3:6.2f} ms for a wrap and an unwrap")


if __name__ == "__main__":
    main()
