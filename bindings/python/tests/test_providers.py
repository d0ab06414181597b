"""Key providers written in Python."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import cmkit

from .helpers import CONTEXT, LabProvider, in_child, new_keyring, refused


def lab(provider: cmkit.KeyProvider, **options: object) -> cmkit.Keyring:
    return cmkit.Keyring(provider, keys="lab:one", **options)  # type: ignore[arg-type]


def test_it_wraps_and_unwraps() -> None:
    provider = LabProvider()
    envelope = lab(provider).encrypt(b"data", CONTEXT)
    assert cmkit.inspect(envelope).recipients[0].provider == "lab"
    reader = lab(provider)
    assert [reader.decrypt(envelope, CONTEXT) for _ in range(3)] == [b"data"] * 3
    assert (provider.wraps, provider.unwraps) == (1, 1)
    other = LabProvider()
    other.version = provider.version
    with refused(cmkit.AuthenticationError):
        lab(other).decrypt(envelope, CONTEXT)


def test_beside_local_keys(home: Path) -> None:
    local = cmkit.LocalKeyProvider(home)
    local.create_key("team")
    keyring = cmkit.Keyring([local, LabProvider()], keys=["local:team", "lab:one"])
    envelope = keyring.encrypt(b"data")
    assert [r.provider for r in cmkit.inspect(envelope).recipients] == ["local", "lab"]
    assert new_keyring(home).decrypt(envelope) == b"data"


OURS = [
    cmkit.AccessDeniedError("no", key_id="lab:one"),
    cmkit.KeyDisabledError("off"),
    cmkit.KeyNotFoundError("gone"),
    cmkit.KeyUnusableError("odd"),
    cmkit.IdentityError("who"),
    cmkit.ProviderError("else", retryable=True),
    cmkit.ThrottledError("slow", retry_after=1.5, request_id="r-7"),
    cmkit.UnavailableError("away"),
]


@pytest.mark.parametrize("error", OURS, ids=lambda e: type(e).__name__)
def test_our_exceptions_come_back_as_they_are(error: cmkit.CmkitError) -> None:
    class Failing(LabProvider):
        def wrap(self, key_id: str, capsule: bytes, /) -> cmkit.WrappedKey:
            raise error

        def unwrap(self, key_id: str, algorithm: cmkit.WrapAlgorithm, wrapped: bytes, /) -> bytes:
            raise error

    good = LabProvider()
    envelope = lab(good).encrypt(b"x")
    calls: list[Callable[[], object]] = [lambda: lab(Failing()).encrypt(b"x"), lambda: lab(Failing()).decrypt(envelope)]
    for call in calls:
        with pytest.raises(cmkit.CmkitError) as caught:
            call()
        assert type(caught.value) is type(error) and caught.value.__cause__ is error
        assert error.args[0] in str(caught.value) and caught.value.retryable == error.retryable
        if isinstance(error, cmkit.ThrottledError):
            assert isinstance(caught.value, cmkit.ThrottledError)
            assert (caught.value.retry_after, caught.value.request_id) == (1.5, "r-7")


def test_other_exceptions_become_causes() -> None:
    class Failing(LabProvider):
        def wrap(self, key_id: str, capsule: bytes, /) -> cmkit.WrappedKey:
            raise LookupError(f"secret {capsule.hex()}")

    with pytest.raises(cmkit.ProviderError) as caught:
        lab(Failing()).encrypt(b"x")
    assert type(caught.value) is cmkit.ProviderError and "LookupError" in str(caught.value)
    assert isinstance(caught.value.__cause__, LookupError) and "secret" not in str(caught.value)


def test_rejected_bytes_are_an_authentication_failure() -> None:
    class Rejecting(LabProvider):
        def unwrap(self, key_id: str, algorithm: cmkit.WrapAlgorithm, wrapped: bytes, /) -> bytes:
            raise cmkit.AuthenticationError

    with pytest.raises(cmkit.AuthenticationError) as caught:
        lab(Rejecting()).decrypt(lab(LabProvider()).encrypt(b"x"))
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_interrupts_stay_themselves(interrupt: type[BaseException]) -> None:
    class Interrupted(LabProvider):
        def wrap(self, key_id: str, capsule: bytes, /) -> cmkit.WrappedKey:
            raise interrupt

    with pytest.raises(interrupt):
        lab(Interrupted()).encrypt(b"x")


@pytest.mark.parametrize(
    "answer",
    [
        None,
        5,
        ("lab:one", "A256KW", b"x"),
        ("lab:one/" + "0" * 32, "RSA1_5", b"x"),
        ("lab:one/" + "0" * 32, "A256KW", "text"),
        ("lab:one/" + "0" * 32, "A256KW"),
        ("lab:two/" + "0" * 32, "A256KW", b"x"),
        ("lab:one/" + "0" * 32, "A256KW", b""),
        ("lab:one/" + "0" * 32, "A256KW", bytes(1025)),
    ],
)
def test_wrong_answers(answer: object) -> None:
    class Wrong(LabProvider):
        def wrap(self, key_id: str, capsule: bytes, /) -> cmkit.WrappedKey:
            return answer  # type: ignore[return-value]

    with pytest.raises((cmkit.ProviderError, cmkit.PolicyError)):
        lab(Wrong()).encrypt(b"x")
    for unwrapped in (None, "text", b"", bytes(72), bytes(100_000)):

        class WrongUnwrap(LabProvider):
            def unwrap(self, key_id: str, algorithm: cmkit.WrapAlgorithm, wrapped: bytes, /) -> bytes:
                return unwrapped  # type: ignore[return-value]  # noqa: B023

        with pytest.raises((cmkit.ProviderError, cmkit.AuthenticationError)):
            lab(WrongUnwrap()).decrypt(lab(LabProvider()).encrypt(b"x"))


def test_what_is_no_provider(home: Path) -> None:
    class Nameless:
        def wrap(self) -> None: ...

        unwrap = wrap

    class LongName(Nameless):
        name = "n" * 65

    for wrong in (5, None, object(), Nameless(), [object()], "path"):
        with refused(TypeError):
            cmkit.Keyring(wrong)  # type: ignore[arg-type]
    with refused(ValueError):
        cmkit.Keyring(LongName())  # type: ignore[arg-type]
    with refused(cmkit.PolicyError):
        cmkit.Keyring(LabProvider(), keys="other:one")
    with refused(cmkit.PolicyError):
        cmkit.Keyring(LabProvider()).encrypt(b"x")
    with refused(TypeError):
        cmkit.Keyring(LabProvider(), keys=[5])  # type: ignore[list-item]


@pytest.mark.parametrize("policy", [cmkit.DekPolicy(), cmkit.DekPolicy.no_cache()], ids=["cached", "uncached"])
def test_reentry_is_an_error_and_not_a_deadlock(policy: cmkit.DekPolicy) -> None:
    class Reentrant(LabProvider):
        keyring: cmkit.Keyring
        envelope: bytes = b""

        def wrap(self, key_id: str, capsule: bytes, /) -> cmkit.WrappedKey:
            self.keyring.encrypt(b"inside")
            return super().wrap(key_id, capsule)

        def unwrap(self, key_id: str, algorithm: cmkit.WrapAlgorithm, wrapped: bytes, /) -> bytes:
            self.keyring.decrypt(self.envelope)
            return super().unwrap(key_id, algorithm, wrapped)

    provider = Reentrant()
    provider.keyring = lab(provider, policy=policy)
    provider.envelope = lab(LabProvider()).encrypt(b"x")
    with pytest.raises(cmkit.CmkitError, match="called the keyring") as caught:
        provider.keyring.encrypt(b"outside")
    assert isinstance(caught.value, (cmkit.PolicyError, cmkit.ProviderError))
    with pytest.raises(cmkit.CmkitError, match="called the keyring"):
        provider.keyring.decrypt(provider.envelope)


def test_another_keyring_inside_a_provider(keyring: cmkit.Keyring) -> None:
    class Layered(LabProvider):
        def wrap(self, key_id: str, capsule: bytes, /) -> cmkit.WrappedKey:
            assert keyring.decrypt(keyring.encrypt(capsule)) == capsule
            return super().wrap(key_id, capsule)

    assert len(lab(Layered()).encrypt(b"x")) > 100


def test_threads_share_one_wrap_and_run_beside_it() -> None:
    class Slow(LabProvider):
        def wrap(self, key_id: str, capsule: bytes, /) -> cmkit.WrappedKey:
            time.sleep(0.3)
            return super().wrap(key_id, capsule)

    provider = Slow()
    keyring = lab(provider)
    threads = [threading.Thread(target=keyring.encrypt, args=(b"x",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    ticks = 0
    while any(thread.is_alive() for thread in threads):
        ticks += 1
        time.sleep(0.01)
    assert provider.wraps == 1 and ticks > 10


def test_states() -> None:
    class Stateful(LabProvider):
        answer: object = "active"

        def state(self, key_id: str) -> object:
            assert key_id == f"lab:one/{self.version}"
            if isinstance(self.answer, BaseException):
                raise self.answer
            return self.answer

    provider = Stateful()
    keyring = lab(provider)
    envelope = keyring.encrypt(b"x")
    assert keyring.decrypt(envelope) == b"x"
    provider.answer = "revoked"
    with refused(cmkit.KeyDisabledError):
        keyring.decrypt(envelope)
    provider.answer = "unavailable"
    assert keyring.decrypt(envelope) == b"x"
    provider.answer = KeyboardInterrupt()
    with refused(KeyboardInterrupt):
        keyring.decrypt(envelope)
    with refused(KeyboardInterrupt):
        keyring.encrypt(b"x")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("answer", [None, "maybe", ValueError("state")])
def test_an_answer_that_is_none_makes_cached_deks_stop(answer: object) -> None:
    class Stateful(LabProvider):
        def state(self, key_id: str) -> object:
            if isinstance(answer, BaseException):
                raise answer
            return answer

    provider = Stateful()
    keyring = lab(provider)
    for _ in range(3):
        keyring.encrypt(b"x")
    assert provider.wraps == 3


def test_owning_other_schemes() -> None:
    class Owner(LabProvider):
        name = "vaults"

        def owns(self, key_id: str) -> bool:
            return key_id.startswith("https://vault.example/keys/")

        def wrap(self, key_id: str, capsule: bytes, /) -> cmkit.WrappedKey:
            return cmkit.WrappedKey(f"{key_id}/{self.version}", "A256KW", super().wrap(key_id, capsule).wrapped)

    provider = Owner()
    keyring = cmkit.Keyring(provider, keys="https://vault.example/keys/k")
    envelope = keyring.encrypt(b"x")
    assert cmkit.inspect(envelope).recipients[0].key_id == f"https://vault.example/keys/k/{provider.version}"
    for allow, allowed in (
        (cmkit.AllowHost("vault.example"), True),
        (["https://vault.example/keys/k"], True),
        (cmkit.AllowHost("example"), False),
        (["https://vault.example/keys/j"], False),
    ):
        reader = cmkit.Keyring(provider, keys=[], allow=allow)
        if allowed:
            assert reader.decrypt(envelope) == b"x"
        else:
            with refused(cmkit.KeyNotAllowedError):
                reader.decrypt(envelope)


def test_in_a_forked_child() -> None:
    provider = LabProvider()
    keyring = lab(provider)
    envelope = keyring.encrypt(b"x")

    def child() -> None:
        assert keyring.decrypt(envelope) == b"x"
        assert keyring.decrypt(keyring.encrypt(b"y")) == b"y"

    assert in_child(child) == 0
