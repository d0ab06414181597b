"""Fixtures."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .fake_vault import FakeVault, without_foreign


@pytest.fixture(scope="session")
def fake_vault_process() -> Iterator[FakeVault]:
    """One fake vault for all tests."""
    with FakeVault() as fake:
        yield fake


@pytest.fixture
def fake_vault(
    fake_vault_process: FakeVault, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FakeVault]:
    """The fake vault as it was at its start, and an environment in which clients find it alone. Which source
    of tokens they use is up to the test: `env`."""
    for name in without_foreign():
        monkeypatch.delenv(name)
    for name in ("HTTPS_PROXY", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, fake_vault_process.env()[name])
    fake_vault_process.reset()
    yield fake_vault_process
    # Whatever a test has made it hold up goes on.
    fake_vault_process.reset()
