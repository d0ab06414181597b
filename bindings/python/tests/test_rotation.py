"""Following rotations, and counting which key versions are still used."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

import cmkit

from .helpers import CONTEXT, LabProvider, new_keyring, refused


def recipients(envelope: bytes) -> list[str]:
    return [r.key_id for r in cmkit.inspect(envelope).recipients]


def test_envelopes(provider: cmkit.LocalKeyProvider, keyring: cmkit.Keyring) -> None:
    envelope = keyring.encrypt(b"x", CONTEXT)
    (first,) = recipients(envelope)
    assert keyring.rotation().rotate(envelope) == cmkit.Rotated("up_to_date", None, None)
    second = provider.rotate("team")
    dry = keyring.rotation(dry_run=True).rotate(envelope)
    assert (dry.outcome, dry.envelope) == ("added", None)
    rotation = keyring.rotation()
    assert [key.key_id for key in rotation.newest] == [second]
    added = rotation.rotate(envelope)
    assert added.outcome == "added" and added.old_kept_until is not None and added.envelope is not None
    assert set(recipients(added.envelope)) == {first, second}
    assert rotation.rotate(added.envelope).outcome == "waiting"
    finished = keyring.rotation(keep_old=0).rotate(added.envelope)
    assert finished.outcome == "finished" and finished.envelope is not None
    assert recipients(finished.envelope) == [second]
    assert new_keyring(provider.path).decrypt(finished.envelope, CONTEXT) == b"x"
    foreign = cmkit.Keyring(LabProvider(), keys="lab:one").encrypt(b"x")
    assert rotation.rotate(foreign).outcome == "not_ours"
    with refused(cmkit.FormatError, cmkit.TruncatedError):
        rotation.rotate(b"no envelope")
    with refused(cmkit.PolicyError):
        cmkit.Keyring(provider, keys=second).rotation()
    for wrong in (-1, float("nan"), 1e300):
        with refused(ValueError):
            keyring.rotation(keep_old=wrong)


def test_files_and_trees(provider: cmkit.LocalKeyProvider, tmp_path: Path) -> None:
    store = cmkit.DirectoryKeyStore(tmp_path / "data" / "store")
    keyring = new_keyring(provider.path, key_store=store)
    data = tmp_path / "data"
    for name in ("one", "two"):
        (data / name).write_bytes(keyring.encrypt(name.encode()))
    compact = keyring.encrypt_compact(b"row")
    (data / "letter").write_text("no envelope")
    second = provider.rotate("team")
    rotation = keyring.rotation(keep_old=0)
    done = rotation.rotate_file(data / "one")
    assert done.outcome == "replaced" and done.written is not None
    told: dict[str, cmkit.RotatedFile | Exception] = {}
    rotation.rotate_paths([data, data / "letter"], told.__setitem__)
    outcomes = {os.path.basename(path): getattr(result, "outcome", type(result)) for path, result in told.items()}
    assert len(outcomes) == 4
    assert (outcomes["one"], outcomes["two"], outcomes["letter"]) == ("up_to_date", "replaced", cmkit.FormatError)
    rows: list[tuple[str, cmkit.RotatedFile | Exception]] = []
    rotation.rotate_key_store(lambda dek_id, result: rows.append((dek_id, result)))
    assert rows == [(cmkit.inspect(compact).dek_id, cmkit.RotatedFile("up_to_date", None, None))]
    reader = new_keyring(provider.path, key_store=store)
    assert reader.decrypt(compact) == b"row" and reader.decrypt((data / "two").read_bytes()) == b"two"
    assert recipients((data / "two").read_bytes()) == [second]


def test_a_callback_ends_the_walk(provider: cmkit.LocalKeyProvider, keyring: cmkit.Keyring, tmp_path: Path) -> None:
    paths = [tmp_path / str(number) for number in range(5)]
    for path in paths:
        path.write_bytes(keyring.encrypt(b"x"))
    provider.rotate("team")
    for error in (LookupError, KeyboardInterrupt):
        seen: list[str] = []

        def stop(path: str, result: object) -> None:
            seen.append(path)
            raise error  # noqa: B023

        with pytest.raises(error):
            keyring.rotation().rotate_paths(paths, stop)
        assert seen == [str(paths[0])]
    with refused(TypeError):
        keyring.rotation().rotate_paths(5, print)  # type: ignore[arg-type]


def test_census(provider: cmkit.LocalKeyProvider, keyring: cmkit.Keyring, tmp_path: Path) -> None:
    envelope = keyring.encrypt(b"x")
    (first,) = recipients(envelope)
    second = provider.rotate("team")
    rotation = keyring.rotation()
    census = cmkit.Census(keyring)
    census.add_envelope(envelope)
    census.add_envelope(memoryview(rotation.rotate(envelope).envelope or b""))
    (tmp_path / "file").write_bytes(envelope)
    census.add_file(tmp_path / "file")
    by_id = {use.key_id: use for use in census.versions}
    assert set(by_id) == {first, second}
    use = by_id[first]
    assert (use.headers, use.only_key, use.old_kept) == (3, 2, 1)
    assert use.example is not None and use.example.endswith("file") and use.oldest_wrap <= use.newest_wrap
    assert (census.headers, census.skipped, census.unreadable_count) == (3, 0, 0)
    (newest,) = rotation.newest
    verdict = census.safe_to_disable(first, newest)
    assert not verdict and len(verdict.reasons) == 2
    # As of an hour's time, with nothing left under it.
    clean = cmkit.Census(keyring)
    new = keyring.rotation(keep_old=0).rotate(envelope).envelope
    assert new is not None
    clean.add_envelope(new)
    long_ago = cmkit.NewestKey(newest.key_id, clean.begun - 3 * 3600)
    verdict = clean.safe_to_disable(first, long_ago)
    assert verdict and verdict.reasons == ()
    assert not clean.safe_to_disable(first, long_ago, poll_interval=4 * 3600)
    assert not clean.safe_to_disable(first, cmkit.NewestKey(newest.key_id, None))
    clean.add_unreadable("row 7", "the table is gone")
    assert clean.unreadable == (("row 7", "the table is gone"),)
    assert not clean.safe_to_disable(first, long_ago)


def test_census_of_trees_and_stores(provider: cmkit.LocalKeyProvider, tmp_path: Path) -> None:
    store = cmkit.DirectoryKeyStore(tmp_path / "data" / "store")
    keyring = new_keyring(provider.path, key_store=store)
    (tmp_path / "data" / "compact").write_bytes(keyring.encrypt_compact(b"x"))
    (tmp_path / "data" / "letter").write_text("no envelope")
    (tmp_path / "data" / "link").symlink_to("letter")
    census = cmkit.Census(keyring)
    census.add_path(tmp_path / "data")
    assert (census.headers, census.rows, census.compact, census.skipped, census.links) == (2, 1, 1, 1, 1)
    census.add_key_store(store)
    census.add_key_store(keyring)
    assert census.rows == 3
    census.add_path(tmp_path / "none")
    assert census.unreadable_count == 1
    with refused(cmkit.PolicyError):
        census.add_key_store(new_keyring(provider.path))
    with refused(TypeError):
        census.add_key_store(object())  # type: ignore[arg-type]


def test_a_census_belongs_to_one_call_at_a_time(keyring: cmkit.Keyring) -> None:
    entered, leave = threading.Event(), threading.Event()

    class Slow:
        def get(self, dek_id: str, /) -> None: ...
        def put_if_absent(self, dek_id: str, data: bytes, /) -> bool: ...  # type: ignore[empty-body]
        def replace_if_unchanged(self, dek_id: str, data: bytes, tag: bytes, /) -> bool: ...  # type: ignore[empty-body]

        def list(self) -> list[str]:
            entered.set()
            assert leave.wait(60)
            return []

    census = cmkit.Census(keyring)
    thread = threading.Thread(target=census.add_key_store, args=(Slow(),))
    thread.start()
    assert entered.wait(60)
    with refused(cmkit.StateError):
        _ = census.headers
    leave.set()
    thread.join()
    assert census.headers == 0


def test_providers_of_ones_own_tell_the_newest_version() -> None:
    class Telling(LabProvider):
        told: object = None

        def newest(self, key_id: str, /) -> str | None:
            return self.told  # type: ignore[return-value]

    provider = Telling()
    keyring = cmkit.Keyring(provider, keys="lab:one")
    envelope = keyring.encrypt(b"x")
    (first,) = recipients(envelope)
    provider.told = first
    assert keyring.rotation().newest == (cmkit.NewestKey(first, None),)
    provider.told = None
    # Then a wrap tells.
    assert keyring.rotation().newest[0].key_id == first
    for wrong in (5, "lab:one", "nonsense"):
        provider.told = wrong
        with refused(cmkit.ProviderError):
            keyring.rotation()


def test_remote_providers_of_ones_own() -> None:
    class Remote(LabProvider):
        remote = True
        gone = False

        def unwrap(self, key_id: str, algorithm: cmkit.WrapAlgorithm, wrapped: bytes, /) -> bytes:
            if self.gone:
                raise cmkit.KeyDisabledError("off")
            return super().unwrap(key_id, algorithm, wrapped)

        def wrap(self, key_id: str, capsule: bytes, /) -> cmkit.WrappedKey:
            if self.gone:
                raise cmkit.KeyDisabledError("off")
            return super().wrap(key_id, capsule)

    provider = Remote()
    events: list[cmkit.AuditEvent] = []
    keyring = cmkit.Keyring(provider, keys="lab:one", audit=events.append)
    envelope = keyring.encrypt(b"x")
    assert keyring.decrypt(envelope) == b"x"
    provider.gone = True
    assert keyring.decrypt(envelope) == b"x"
    with refused(cmkit.KeyDisabledError):
        keyring.rotation()
    # A refused wrap made it ask, and the cached key is gone.
    with refused(cmkit.KeyDisabledError):
        keyring.decrypt(envelope)
    assert "revoked" in [event.operation for event in events]

    class Odd(LabProvider):
        remote = "yes"

    with refused(TypeError):
        cmkit.Keyring(Odd())


def test_options_of_keyrings(home: Path) -> None:
    provider = cmkit.LocalKeyProvider(home)
    for options in (
        {"freshness": cmkit.Freshness(soft=1)},
        {"freshness": cmkit.Freshness(soft=300, hard=300)},
        {"call_timeout": -1.0},
        {"call_timeout": float("inf")},
    ):
        with refused(ValueError):
            cmkit.Keyring(provider, **options)
    for wrong in (-1, float("nan")):
        with refused(ValueError):
            cmkit.Freshness(hard=wrong)
    assert cmkit.Freshness() == cmkit.Freshness(soft=300, hard=600, failover=86_400, poll=3600)
    assert repr(cmkit.Freshness(soft=60)) == "Freshness(soft=60.0, hard=600.0, failover=86400.0, poll=3600.0)"
    with refused(TypeError):
        cmkit.Keyring(provider, audit=5)  # type: ignore[arg-type]
    shown = repr(cmkit.Keyring.local(workspace="w", high_business_impact=True))
    assert "'w'" not in shown


def test_maintenance_of_local_keys_has_nothing_to_do(keyring: cmkit.Keyring) -> None:
    keyring.encrypt(b"x")
    assert keyring.maintain() == cmkit.Maintenance(0, (), 30.0)
    with keyring.maintenance():
        assert keyring.decrypt(keyring.encrypt(b"x")) == b"x"
