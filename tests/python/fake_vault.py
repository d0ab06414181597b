"""The fake vault for Python tests: starting it, steering it, and the environment for its clients.

What `order` can do is in crates/cmkit-testkit/src/control/command.rs, what a rule can in rule.rs beside it.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

from .faces import TARGET, cargo

VAULT = "customer.vault.azure.net"
HSM = "customer.managedhsm.azure.net"

# Whatever of these is set outside would lead a client elsewhere.
FOREIGN = (
    "ALL_PROXY",
    "AZURE_",
    "CURL_CA_BUNDLE",
    "DEFAULT_IDENTITY_CLIENT_ID",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "IDENTITY_",
    "IMDS_ENDPOINT",
    "MSI_",
    "NO_PROXY",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_",
)
# Loopback, without a thought for proxies.
DIRECT = build_opener(ProxyHandler({}))


class Refused(Exception):
    """The fake vault didn't understand an order, or couldn't carry it out."""


class FakeVault:
    """A fake vault in a process of its own, which ends with this object's `with` block."""

    def __init__(self, *args: str) -> None:
        cargo("--package=cmkit-testkit")
        self._process = subprocess.Popen(
            [TARGET / "debug" / "cmkit-fake-vault", *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.addresses: dict[str, Any] = json.loads(self._process.stdout.readline())
        self.identity: dict[str, str] = self.addresses["identity"]
        self.ca_file = Path(self.addresses["ca_file"])

    def __enter__(self) -> FakeVault:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> int:
        """Ends it by closing its standard input; returns its exit code."""
        with self._process as process:
            assert process.stdin is not None
            process.stdin.close()
            return process.wait(60)

    def env(self, source: str = "client_secret") -> dict[str, str]:
        """The variables by which clients find it and sign in: from `client_secret`, `workload`, `imds`,
        `app_service`, `arc` or `azure_ml`."""
        variables: dict[str, str] = self.addresses["env"][source]
        return variables

    def order(self, command: str, **fields: Any) -> Any:
        """Carries a command out and returns what it answers."""
        body = json.dumps(fields).encode()
        request = Request(self.addresses["control"] + command, body, method="POST")
        try:
            with DIRECT.open(request, timeout=60) as answer:
                return json.load(answer)
        except HTTPError as error:
            raise Refused(error.read().decode()) from None

    def create_key(self, key: str, host: str = VAULT, **body: Any) -> str:
        """Makes a key or a new version, RSA of 3072 bits or in an HSM AES of 256; returns its full id."""
        made = self.order("create_key", host=host, key=key, body=body)
        return str(made["key"]["kid"])

    def rotate(self, key: str, host: str = VAULT) -> str:
        """Makes a new version; returns its full id."""
        return str(self.order("rotate", host=host, key=key)["key"]["kid"])

    def set(self, kid: str, **attributes: Any) -> None:
        """Changes a version's attributes, without any check; `None` removes."""
        host, _, key, version = kid.removeprefix("https://").split("/")
        self.order("set", host=host, key=key, version=version, attributes=attributes)

    def rule(self, op: str, **fields: Any) -> None:
        """Says what is done to the next requests of a kind: `times`, `status`, `stall_ms`, `merge`..."""
        self.order("rule", op=op, **fields)

    def log(self) -> list[dict[str, Any]]:
        """The requests since the last reset."""
        entries: list[dict[str, Any]] = self.order("log")
        return entries

    def count(self, op: str) -> int:
        """How many requests of a kind there were since the last reset."""
        return int(self.order("counts").get(op, 0))

    def held(self) -> int:
        """How many requests a rule holds up at this moment."""
        return int(self.order("held"))

    def reset(self) -> None:
        """Everything as it was at the start."""
        self.order("reset")


def without_foreign(environment: Mapping[str, str] = os.environ) -> list[str]:
    """The names that must be unset so that a client finds the fake vault and nothing else."""
    return [name for name in environment if name.upper().startswith(FOREIGN)]
