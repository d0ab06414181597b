"""Keys in a vault over time: revocation, maintenance, stalled calls, Ctrl-C, forks."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable

import pytest

import cmkit

from .fake_vault import VAULT, FakeVault
from .test_key_vault import CONTEXT, KEY, empty, keyring, provider, vault

__all__ = ["empty", "vault"]

# The least that there may be.
QUICK = cmkit.Freshness(soft=10, hard=60)


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_revocation_is_noticed(vault: FakeVault) -> None:
    """By maintain() after the soft bound, and by maintenance() too."""
    events: list[cmkit.AuditEvent] = []
    by_hand = keyring(vault, freshness=QUICK)
    by_thread = keyring(vault, freshness=QUICK, audit=events.append)
    envelope = by_hand.encrypt(b"x")
    assert by_hand.decrypt(envelope) == by_thread.decrypt(envelope) == b"x"
    done = by_hand.maintain()
    assert (done.calls, done.problems) == (0, ()) and 1 <= done.next <= 30
    kid = cmkit.inspect(envelope).recipients[0].key_id
    vault.set(kid, enabled=False)
    # Cached data keys serve on for now.
    assert by_hand.decrypt(envelope) == b"x"
    problems: list[Exception] = []

    def noticed() -> bool:
        problems.extend(by_hand.maintain().problems)
        return bool(problems)

    with by_thread.maintenance():
        until(noticed)
        until(lambda: any(e.operation == "revoked" for e in events))
    assert isinstance(problems[0], cmkit.KeyDisabledError) and problems[0].key_id == kid
    unwraps = vault.count("unwrap")
    for ring in (by_hand, by_thread):
        with pytest.raises(cmkit.KeyDisabledError):
            ring.decrypt(envelope)
    # It doesn't take the vault to say so.
    assert vault.count("unwrap") == unwraps


def test_a_refused_wrap_takes_cached_keys_away(vault: FakeVault) -> None:
    ring = keyring(vault, policy=cmkit.DekPolicy(max_messages=1))
    envelope = ring.encrypt(b"x")
    assert ring.decrypt(envelope) == b"x"
    vault.set(cmkit.inspect(envelope).recipients[0].key_id, enabled=False)
    with pytest.raises(cmkit.KeyDisabledError):
        ring.encrypt(b"y")
    with pytest.raises(cmkit.KeyDisabledError):
        ring.decrypt(envelope)


def test_the_maintenance_thread(vault: FakeVault) -> None:
    ring = keyring(vault)
    context = ring.maintenance()
    for _ in range(3):
        with context as entered:
            assert entered is context
            assert ring.decrypt(ring.encrypt(b"x")) == b"x"
    with pytest.raises(ZeroDivisionError), ring.maintenance():
        1 / 0  # noqa: B018


def test_deadlines_hold(vault: FakeVault) -> None:
    envelope = keyring(vault).encrypt(b"x")
    vault.rule("unwrap", stall_ms=60_000)
    limited = cmkit.Keyring(provider(vault, timeout=1))
    for ring in (keyring(vault, call_timeout=1.0), limited):
        begun = time.monotonic()
        with pytest.raises(cmkit.UnavailableError):
            ring.decrypt(envelope)
        assert time.monotonic() - begun < 20


def interrupt(fake: FakeVault, call: Callable[[], object]) -> float:
    """How many seconds after Ctrl-C a stalled call ended by it."""
    main = threading.main_thread().ident
    assert main is not None
    sent: list[float] = []

    def send() -> None:
        until(lambda: fake.held() > 0)
        sent.append(time.monotonic())
        signal.pthread_kill(main, signal.SIGINT)

    # Whoever runs in the background begins with SIGINT ignored.
    old = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread = threading.Thread(target=send)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            call()
        ended = time.monotonic()
    finally:
        thread.join()
        signal.signal(signal.SIGINT, old)
        fake.order("clear_rules")
    return ended - sent[0]


@pytest.mark.parametrize("op", ["entra", "get", "wrap", "unwrap", "doctor"])
def test_ctrl_c_during_a_stalled_call(vault: FakeVault, op: str) -> None:
    envelope = keyring(vault).encrypt(b"x", CONTEXT)
    took: list[float] = []
    while len(took) < 3 and min(took, default=1.0) >= 1:
        ring = keyring(vault)
        vault.rule("get" if op == "doctor" else op, stall_ms=120_000)
        calls: dict[str, Callable[[], object]] = {
            "unwrap": lambda: ring.decrypt(envelope, CONTEXT),
            "doctor": lambda: provider(vault).doctor(),
        }
        took.append(interrupt(vault, calls.get(op, lambda: ring.encrypt(b"x"))))
        # What was given up is over: the next call is a new one.
        fresh = keyring(vault)
        assert fresh.decrypt(envelope, CONTEXT) == b"x"
    assert min(took) < 1, took


def test_after_ctrl_c_the_keyring_goes_on(vault: FakeVault) -> None:
    ring = keyring(vault)
    envelope = keyring(vault).encrypt(b"x", CONTEXT)
    vault.rule("unwrap", stall_ms=120_000)
    interrupt(vault, lambda: ring.decrypt(envelope, CONTEXT))

    def works() -> bool:
        try:
            return ring.decrypt(envelope, CONTEXT) == b"x"
        except cmkit.ProviderError as error:
            # A key whose call was given up is left alone for a moment.
            assert error.retryable
            return False

    until(works)


def in_child(child: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            child()
            code = 0
        except BaseException as error:
            os.write(2, f"in the child: {type(error).__name__}: {error}\n".encode())
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_fork_with_a_maintenance_thread(vault: FakeVault, capfd: pytest.CaptureFixture[str]) -> None:
    ring = keyring(vault)
    envelope = ring.encrypt(b"x")
    with ring.maintenance() as context:

        def child() -> None:
            assert ring.decrypt(envelope) == b"x"
            assert ring.decrypt(ring.encrypt(b"y")) == b"y"
            context.__exit__(None, None, None)
            with ring.maintenance():
                assert ring.maintain().problems == ()

        for _ in range(5):
            assert in_child(child) == 0
        assert ring.decrypt(envelope) == b"x"
    assert capfd.readouterr().err == ""


def test_rotation_in_the_vault(vault: FakeVault) -> None:
    ring = keyring(vault)
    envelope = ring.encrypt(b"x", CONTEXT)
    newest = vault.rotate("kek")
    old = cmkit.inspect(envelope).recipients[0].key_id
    rotation = ring.rotation(keep_old=0)
    assert [key.key_id for key in rotation.newest] == [newest]
    assert rotation.newest[0].created is not None
    rotated = rotation.rotate(envelope)
    assert rotated.outcome == "replaced" and rotated.envelope is not None
    assert [r.key_id for r in cmkit.inspect(rotated.envelope).recipients] == [newest]
    census = cmkit.Census(ring)
    census.add_envelope(rotated.envelope)
    verdict = census.safe_to_disable(old, rotation.newest[0])
    assert not verdict and "begin another one" in verdict.reasons[0]
    vault.set(old, enabled=False)
    assert keyring(vault).decrypt(rotated.envelope, CONTEXT) == b"x"


def test_rewrapping_out_of_a_vault_takes_a_word(vault: FakeVault) -> None:
    elsewhere = "https://elsewhere.vault.azure.net/keys/kek"
    vault.create_key("kek", "elsewhere.vault.azure.net")
    ring = cmkit.Keyring(provider(vault, [KEY, elsewhere]), keys=KEY)
    envelope = ring.encrypt(b"x")
    with pytest.raises(cmkit.WrongVaultError, match=VAULT):
        ring.rewrap(envelope, elsewhere)
    moved = ring.rewrap(envelope, elsewhere, allow_other_vault=True)
    assert cmkit.inspect(moved).recipients[0].key_id.startswith(elsewhere)
