"""Plain data, and what providers and key stores written in Python look like."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, TypeAlias

WrapAlgorithm: TypeAlias = Literal["A256KW"] | Literal["RSA-OAEP-256"]
KeyType: TypeAlias = Literal["oct"] | Literal["rsa-3072"] | Literal["rsa-4096"]
KeyState: TypeAlias = Literal["active"] | Literal["unavailable"] | Literal["revoked"] | Literal["unknown"]


@dataclass(frozen=True, slots=True)
class RecipientInfo:
    """One key that can open an envelope."""

    provider: str
    key_id: str
    algorithm: WrapAlgorithm
    wrapped_len: int
    wrapped_at: int
    """Seconds since 1970."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What an envelope's header says. Nothing of it is authenticated: that takes a key."""

    version: int
    suite: int
    suite_name: str
    dek_id: str
    """32 hex digits."""
    purpose: str
    workspace: str | None
    created: int
    """When the DEK was made, in seconds since 1970."""
    recipients: tuple[RecipientInfo, ...]
    is_compact: bool
    """Whether the wrapped DEK is in a key store and not in the envelope."""
    padding_len: int
    header_len: int


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """One version of a local key; nothing in it is secret."""

    id: str
    key_type: KeyType | None
    """None where the file that says it is damaged."""
    created: int | None
    """Seconds since 1970."""
    state: str
    """enabled, disabled, destroyed, half destroyed or damaged."""
    public_only: bool
    newest: bool
    """Whether it is the one that wrapping without a version uses."""


class WrappedKey(NamedTuple):
    """What KeyProvider.wrap returns."""

    key_id: str
    """The full id, with the version that was used: SCHEME:NAME/VERSION, the version being 32 lower-case hex digits."""
    algorithm: WrapAlgorithm
    wrapped: bytes
    """1 to 1024 bytes."""


class StoredKey(NamedTuple):
    """A row of a key store, and a tag that says which state of the row it is: an ETag, or the row itself."""

    data: bytes
    tag: bytes


class KeyProvider(Protocol):
    """Holds KEKs; write one for a key service of your own.

    Called from any thread, several at a time, with no lock held, when a DEK is new, unknown or too old. Raise cmkit's exceptions
    (KeyNotFoundError, KeyDeletedError, KeyDisabledError, AccessDeniedError, KeyUnusableError, ThrottledError, UnavailableError, IdentityError,
    ProviderError; AuthenticationError when the wrapped bytes are not what the key wrapped): callers get the same class. Any other exception becomes a
    ProviderError with that one as its __cause__. Calling the keyring that is calling is an error.

    Two more methods are optional: owns(key_id: str) -> bool, by default whether the id's scheme is the name; and
    state(key_id: str) -> KeyState, asked on every use of a cached DEK, so it must be fast; by default "active".
    """

    @property
    def name(self) -> str:
        """A short name that goes into every envelope, 1 to 64 bytes. Key ids begin with it and a colon."""

    def wrap(self, key_id: str, capsule: bytes, /) -> WrappedKey:
        """Wraps 72 secret bytes with a key; without a version in key_id, with its newest one."""

    def unwrap(self, key_id: str, algorithm: WrapAlgorithm, wrapped: bytes, /) -> bytes:
        """Gives back what wrap() wrapped, with exactly this key version."""


class KeyStore(Protocol):
    """Keeps wrapped DEKs by their ids (32 hex digits), for the compact form: a table, a blob container.

    Called from any thread with no lock held. What it raises becomes a KeyStoreError with that exception as its __cause__.
    """

    def get(self, dek_id: str, /) -> StoredKey | None:
        """The row of a DEK; None when there is none."""

    def put_if_absent(self, dek_id: str, data: bytes, /) -> bool:
        """Stores a row unless there is one; whether it did. The row must be durable before this returns."""

    def replace_if_unchanged(self, dek_id: str, data: bytes, tag: bytes, /) -> bool:
        """Replaces a row unless it changed since get() gave this tag; whether it did."""

    def list(self) -> Iterable[str]:
        """The ids of all rows."""
