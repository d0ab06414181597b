"""The examples and what the guides and READMEs show."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from .helpers import repository

# The one with a vault is run against the fake one: tests/python/test_key_vault.py.
EXAMPLES = sorted(path for path in (repository() / "examples/python").glob("*.py") if path.name != "key_vault.py")


def run(arguments: list[str], tmp_path: Path) -> None:
    environment = {"CMKIT_HOME": str(tmp_path / "home"), "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-W", "error", *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_run(path: Path, tmp_path: Path) -> None:
    run([str(path)], tmp_path)


@pytest.mark.parametrize("page", ["docs/guides/python.md", "docs/guides/scratch-python.md", "bindings/python/README.md"])
def test_what_is_shown_works(page: str, tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", (repository() / page).read_text("utf-8"), re.M | re.S)
    assert blocks
    run(["-c", "import pickle\nmodel = [1, 2, 3]\n" + "\n".join(blocks)], tmp_path)


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 3
