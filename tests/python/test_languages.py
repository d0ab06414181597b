"""What one face seals, every other one opens; what one refuses, all refuse, and say so alike."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .faces import FACES, PYTHON, Face, Failure, Keyring, compiled, errors, missing, work
from .vectors import REFUSED, ROOT, VALID, VECTORS, Case, plaintext, read_case

SIZES = [0, 1, 16_383, 16_384, 16_385, 40_000]
CONTEXT = [("doc", "42"), ("é", "ü"), ("a longer key than twenty-three bytes", "")]
KEY = "local:golden"

SEALING = [face for face in FACES if face.seals]
COMPACT = [face for face in FACES if face.compact]


def ids(faces: list[Face]) -> list[str]:
    return [face.name for face in faces]


@pytest.fixture(scope="session", autouse=True)
def cleaned() -> Iterator[None]:
    yield
    shutil.rmtree(work(), ignore_errors=True)


def private_home(target: Path, keys: list[str] | None = None) -> Path:
    """A copy of the vectors' key directory: a checkout's files can be read by others."""
    (target / "keys").mkdir(parents=True, mode=0o700)
    target.chmod(0o700)
    for path in VECTORS.glob("home/keys/*/*.jwk"):
        kid = json.loads(path.read_text("utf-8"))["kid"]
        if keys is not None and kid not in keys:
            continue
        copy = target / "keys" / path.parent.name / path.name
        copy.parent.mkdir(mode=0o700, exist_ok=True)
        copy.touch(mode=0o600)
        copy.write_bytes(path.read_bytes())
    return target


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return private_home(tmp_path_factory.mktemp("golden") / "home")


@pytest.mark.parametrize("opener", FACES, ids=ids(FACES))
@pytest.mark.parametrize("sealer", SEALING, ids=ids(SEALING))
def test_one_seals_another_opens(sealer: Face, opener: Face, home: Path, tmp_path: Path) -> None:
    plain, sealed, opened = (tmp_path / name for name in ("plain", "sealed", "opened"))
    for workspace in (None, "tenant 1"):
        keyring = Keyring(home, [KEY], workspace)
        for size in SIZES if workspace is None else SIZES[:2]:
            plain.write_bytes(plaintext(size))
            sealer.seal(keyring, plain, sealed, CONTEXT)
            opener.open(keyring, sealed, opened, CONTEXT)
            assert opened.read_bytes() == plaintext(size)
        for wrong in (
            (Keyring(home, [KEY], "tenant 2"), CONTEXT),
            (Keyring(home, ["local:stranger"], workspace), CONTEXT),
            (keyring, CONTEXT[:1]),
        ):
            with pytest.raises(Failure):
                opener.open(wrong[0], sealed, opened, wrong[1])


@pytest.mark.parametrize("opener", COMPACT, ids=ids(COMPACT))
@pytest.mark.parametrize("sealer", [f for f in COMPACT if f.seals], ids=ids([f for f in COMPACT if f.seals]))
def test_compact_form(sealer: Face, opener: Face, home: Path, tmp_path: Path) -> None:
    plain, sealed, opened = (tmp_path / name for name in ("plain", "sealed", "opened"))
    keyring = Keyring(home, [KEY, "local:stranger"], store=tmp_path / "store")
    plain.write_bytes(plaintext(100))
    sealer.seal_compact(keyring, plain, sealed, CONTEXT)
    opener.open(keyring, sealed, opened, CONTEXT)
    assert opened.read_bytes() == plaintext(100)


@pytest.mark.parametrize("opener", FACES, ids=ids(FACES))
@pytest.mark.parametrize("sealer", SEALING, ids=ids(SEALING))
def test_second_recipient(sealer: Face, opener: Face, home: Path, tmp_path: Path) -> None:
    plain, sealed, opened = (tmp_path / name for name in ("plain", "sealed", "opened"))
    plain.write_bytes(plaintext(100))
    sealer.seal(Keyring(home, [KEY, "local:rsa"]), plain, sealed, [])
    for key in (KEY, "local:rsa"):
        opener.open(Keyring(home, [key]), sealed, opened, [])
        assert opened.read_bytes() == plaintext(100)


def given(case: Case, tmp_path: Path) -> tuple[Keyring, Path]:
    """The files and the keyring of a vector."""
    envelope = tmp_path / "envelope"
    envelope.write_bytes(case.envelope)
    store = None
    if case.rows is not None:
        store = tmp_path / "store"
        store.mkdir(mode=0o700)
        for dek_id, row in case.rows.items():
            (store / f"{dek_id}.dek").write_bytes(row)
    home = private_home(tmp_path / "home", case.keys)
    return Keyring(home, case.allow, case.workspace, store), envelope


def can(face: Face, vector: dict[str, Any]) -> bool:
    """The command has no key store, and none of them a vault."""
    return vector["name"] != "vault-key-id" and (face.compact or vector["row"] is None)


@pytest.mark.parametrize("face", FACES, ids=ids(FACES))
@pytest.mark.parametrize("name", VALID)
def test_golden(face: Face, name: str, tmp_path: Path) -> None:
    vector = VALID[name]
    if not can(face, vector):
        return
    case = read_case(vector, {})
    keyring, envelope = given(case, tmp_path)
    face.open(keyring, envelope, tmp_path / "opened", case.context)
    assert (tmp_path / "opened").read_bytes() == plaintext(vector["plaintext_len"])


@pytest.mark.parametrize("face", FACES[:-1], ids=ids(FACES[:-1]))
def test_refused(face: Face, tmp_path: Path) -> None:
    exits = {row.kind: f"exit {row.exit}" for row in errors()}
    wrong = []
    for number, changes in enumerate(REFUSED):
        vector = VALID[changes["base"]]
        if not can(face, vector):
            continue
        place = tmp_path / str(number)
        place.mkdir()
        case = read_case(vector, changes)
        keyring, envelope = given(case, place)
        try:
            face.open(keyring, envelope, place / "opened", case.context)
            said = "nothing"
        except Failure as failure:
            said = failure.kind
        if said not in (changes["error"], exits[changes["error"]]):
            wrong.append(f"{changes['name']}: {said}, not {changes['error']}")
        if (place / "opened").exists():
            wrong.append(f"{changes['name']}: something came out")
    assert not wrong, "\n".join(wrong)


def blocks(language: str) -> list[str]:
    """The README's examples in a language."""
    text = (ROOT / "README.md").read_text("utf-8")
    fence = "```"
    parts = text.split(f"\n{fence}{language}\n")[1:]
    return [part.split(f"\n{fence}")[0] + "\n" for part in parts]


@pytest.mark.parametrize("language", ["c", "cpp", "python"])
def test_readme(language: str, tmp_path: Path) -> None:
    examples = blocks(language)
    assert examples
    for number, example in enumerate(examples):
        source = tmp_path / f"example.{language}"
        source.write_text(example, "utf-8")
        if language == "python":
            program = [PYTHON, str(source)]
            if importlib.util.find_spec("cmkit") is None:
                missing("the Python package cmkit")
        else:
            program = [str(compiled(source, f"readme-{number}-{language}"))]
        for _ in range(2):
            # The first time it makes its key.
            done = subprocess.run(
                program,
                cwd=tmp_path,
                env={"CMKIT_HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin"},
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done.stderr
            assert language == "python" or done.stdout == "attack at dawn\n"
