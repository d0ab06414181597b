from __future__ import annotations

import signal
from pathlib import Path

import pytest

import cmkit

from .helpers import new_keyring


# Whoever runs in the background begins with SIGINT ignored, and processes that the tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def provider(home: Path) -> cmkit.LocalKeyProvider:
    provider = cmkit.LocalKeyProvider(home)
    provider.create_key("team")
    return provider


@pytest.fixture
def keyring(provider: cmkit.LocalKeyProvider) -> cmkit.Keyring:
    return new_keyring(provider.path)
