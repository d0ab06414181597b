"""The exceptions: docs/errors.md is the table, and nothing of them is secret."""

from __future__ import annotations

import builtins
import copy
import pickle
import re

import pytest

import cmkit
from cmkit import _cmkit
from cmkit.__main__ import exit_code

from .helpers import repository


def table() -> list[tuple[str, str, int]]:
    """Kind, Python class and exit code of each row."""
    rows = []
    for line in (repository() / "docs/errors.md").read_text("utf-8").splitlines():
        cells = [cell.strip().strip("`") for cell in line.strip("|").split("|")]
        if len(cells) == 5 and re.fullmatch(r"CMK_ERR_\w+` \d+", cells[1]):
            rows.append((cells[0], cells[2], int(cells[3])))
    return rows


def class_of(name: str) -> type[Exception]:
    found = getattr(cmkit, name, None) or getattr(builtins, name)
    assert isinstance(found, type) and issubclass(found, Exception)
    return found


def test_the_classes_are_those_of_the_table() -> None:
    rows = table()
    assert len(rows) == 26
    assert {kind: class_of(name) for kind, name, _ in rows} == _cmkit.ERROR_CLASSES


def test_the_exit_codes_are_those_of_the_table() -> None:
    for kind, name, code in table():
        # Wrong usage and a buffer that is too small are both ValueError; the command gives buffers to nobody.
        if kind != "BufferTooSmall":
            assert exit_code(class_of(name)()) == code, name


def test_the_tree() -> None:
    for _, name, _ in table():
        found = class_of(name)
        if name in ("FileExistsError", "ValueError", "OSError"):
            assert found is getattr(builtins, name)
        else:
            assert issubclass(found, cmkit.CmkitError) and found.__module__ == "cmkit"
    assert issubclass(cmkit.FormatError, ValueError)
    assert issubclass(cmkit.KeyNotAllowedError, cmkit.PolicyError)
    for child in (cmkit.ThrottledError, cmkit.UnavailableError, cmkit.IdentityError):
        assert issubclass(child, cmkit.ProviderError)


def test_provider_errors_say_whether_to_retry() -> None:
    error = cmkit.ThrottledError("slow down", retry_after=2.5, request_id="r-1")
    assert (error.retryable, error.retry_after, error.request_id) == (True, 2.5, "r-1")
    assert cmkit.ProviderError("x").retryable is False and cmkit.UnavailableError("x").retryable is True


def test_an_authentication_error_says_nothing_more() -> None:
    with pytest.raises(TypeError):
        cmkit.AuthenticationError("why")  # type: ignore[call-arg]
    assert cmkit.AuthenticationError().args == ()


@pytest.mark.parametrize("name", sorted(name for name in cmkit.__all__ if name.endswith("Error")))
def test_exceptions_travel_between_processes(name: str) -> None:
    found = class_of(name)
    error = found() if found is cmkit.AuthenticationError else found("text")
    error.filename = "f"  # type: ignore[attr-defined]
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is found and again.args == error.args and vars(again) == vars(error)
        assert str(again) == str(error)
