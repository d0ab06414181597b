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


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that KeyVaultProvider.doctor() tried."""

    name: str
    """What: sign-in, get, enabled and dates, key type and size, key operations, soft delete, purge protection, exportable, wrap, unwrap, latency."""
    outcome: Literal["pass", "fail", "skipped"]
    """Skipped: something before it failed, or it isn't allowed. Nothing is known about it."""
    detail: str
    """What was found, or what is wrong and what to do."""


@dataclass(frozen=True, slots=True)
class DoctorReport:
    """What KeyVaultProvider.doctor() found. str() of it is a table, a line for each check."""

    key_id: str
    """The key, with the version that was tried if it is known."""
    identity: str
    """As whom, and what that was chosen by."""
    rows: tuple[Check, ...]
    """In the order in which they were tried."""

    @property
    def is_healthy(self) -> bool:
        """Whether nothing failed. What was skipped may still be wrong."""
        return all(row.outcome != "fail" for row in self.rows)

    @property
    def is_verified(self) -> bool:
        """Whether everything was tried and all right."""
        return all(row.outcome == "pass" for row in self.rows)

    def __str__(self) -> str:
        words = {"pass": "pass", "fail": "FAIL", "skipped": "skip"}
        lines = [f"{words[row.outcome]}  {row.name:18}  {row.detail}" for row in self.rows]
        return "\n".join([f"key {self.key_id}", f"as  {self.identity}", *lines])


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One operation of a key provider, or what came of one: ids and outcomes, never content or names of files."""

    time: int
    """When it ended, in milliseconds since 1970."""
    operation: str
    """wrap, unwrap, newest, revoked, recovered, unavailable or other_vault."""
    provider: str
    key_id: str
    """With the version that was used, where that is known."""
    outcome: str
    """ok, or the kind of error: the first column of docs/errors.md."""
    code: str | None
    """The provider's own code for the failure."""
    call_id: str
    """The keyring's id of the operation, which the provider was told; in Azure's log it is the correlation id."""
    request_id: str | None
    region: str | None
    http_status: int | None
    attempts: int
    """Requests that were sent for it; 0 where the provider doesn't count."""
    duration: float
    """Seconds."""
    workspace: str | None
    """None also with high_business_impact."""


@dataclass(frozen=True, slots=True)
class Maintenance:
    """What Keyring.maintain() did."""

    calls: int
    """Calls to providers that were made."""
    problems: tuple[Exception, ...]
    """What went wrong, at most one exception a key. Data keys of keys that were taken away are wiped already."""
    next: float
    """Seconds until the next call is due: 1 to 30."""


RotateOutcome: TypeAlias = (
    Literal["not_ours"]
    | Literal["up_to_date"]
    | Literal["waiting"]
    | Literal["finished"]
    | Literal["replaced"]
    | Literal["added"]
)


@dataclass(frozen=True, slots=True)
class NewestKey:
    """The newest version of a key."""

    key_id: str
    created: int | None
    """When it was made, in seconds since 1970, where the provider tells."""


@dataclass(frozen=True, slots=True)
class Rotated:
    """What became, or would become, of an envelope in memory."""

    outcome: RotateOutcome
    """not_ours: no recipient is a wrapping key. up_to_date: by the newest version alone. waiting: by the newest version, and the old wrap is kept for now.
    finished: old wraps were dropped. replaced: the new wrap took the old one's place. added: the new wrap stands beside the old one."""
    old_kept_until: int | None
    """Until when an old wrap is kept, in seconds since 1970."""
    envelope: bytes | None
    """What to store in the old one's place; None when nothing changed, and in a dry run."""


@dataclass(frozen=True, slots=True)
class RotatedFile:
    """What became, or would become, of a file or a row of a key store."""

    outcome: RotateOutcome
    old_kept_until: int | None
    """Until when an old wrap is kept, in seconds since 1970."""
    written: Literal["in place", "copied"] | None
    """None: it wasn't."""


@dataclass(frozen=True, slots=True)
class VersionUse:
    """How much one key version is used."""

    key_id: str
    headers: int
    """Headers that have a wrap by it."""
    only_key: int
    """Those of them that nothing else opens."""
    old_kept: int
    """Those of them that have a newer version's wrap beside it."""
    oldest_wrap: int
    """In seconds since 1970."""
    newest_wrap: int
    example: str | None
    """One of the files or rows that have it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a key version may be disabled without taking any data away. True only if it may."""

    reasons: tuple[str, ...]
    """Why not; empty for a yes."""

    def __bool__(self) -> bool:
        return not self.reasons


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

    Three more methods are optional: owns(key_id: str) -> bool, by default whether the id's scheme is the name; state(key_id: str) -> KeyState, asked on
    every use of a cached DEK, so it must be fast, by default "active"; and newest(key_id: str) -> str | None, the full id of a key's newest version,
    asked about once an hour.

    An optional attribute, remote: bool, says that keys can be taken away without this object noticing, as in a service over a network. Then the keyring
    asks again while a key's DEKs are in use (Freshness).
    """

    @property
    def name(self) -> str:
        """A short name that goes into every envelope, 1 to 64 bytes. Key ids begin with it and a colon."""

    def wrap(self, key_id: str, capsule: bytes, /) -> WrappedKey:
        """Wraps 72 secret bytes with a key; without a version in key_id, with its newest one."""

    def unwrap(self, key_id: str, algorithm: WrapAlgorithm, wrapped: bytes, /) -> bytes:
        """Gives back what wrap() wrapped, with exactly this key version."""


class AccessToken(Protocol):
    """What a credential gives."""

    @property
    def token(self) -> str:
        """The token."""

    @property
    def expires_on(self) -> int:
        """Until when it is good, in seconds since 1970."""


class TokenCredential(Protocol):
    """An object that signs in: every synchronous credential of azure-identity. Where it has get_token_info(*scopes, options=...), that is called instead.

    Called from any thread, one call at a time, and its tokens are cached. What it raises becomes an IdentityError with that exception as its __cause__.
    """

    def get_token(self, *scopes: str, claims: str | None = None) -> AccessToken:
        """A token for https://vault.azure.net/.default or whatever the vault takes; claims are what it demands besides."""


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


@dataclass(frozen=True, slots=True)
class ErasureRecord:
    """That a scratch disk was erased, when, and what of it may still be somewhere. Times are in seconds since 1970. Nothing in it is secret."""

    volume: str
    """The volume's id. Empty where recovery couldn't read what was written down of it."""
    job: str | None
    mode: str
    """ephemeral or xts."""
    keys: tuple[str, ...]
    """The ids of the keys that wrapped its data key. None: it was in the process's memory only."""
    created: int | None
    ended: int | None
    key_destroyed: int | None
    """From when on nobody could read it."""
    size: int
    bytes_written: int
    discard: Literal["given back"] | Literal["unsupported"] | Literal["failed"] | Literal["not tried"] | Literal["unknown"]
    """What became of the room. Unless it was given back the ciphertext is there until it is overwritten."""
    discard_problem: str | None
    left_behind: tuple[str, ...]
    """What is still there and couldn't be taken away, a sentence each. Unreadable all the same."""
    recovered: bool
    """Whether recovery wrote it, because the process died. The key died at an unknown moment before key_destroyed."""
    end: str
    """How the job ended, in words."""


@dataclass(frozen=True, slots=True)
class VolumeStats:
    """What a volume did since it was made, and what it holds now."""

    reads: int
    bytes_read: int
    writes: int
    bytes_written: int
    bytes_discarded: int
    damaged: int
    """Requests that met a block which wasn't what was written there."""
    failed: int
    """Requests that failed otherwise."""
    poisoned_blocks: int
    """Blocks whose last write failed: they can't be read until they are written again."""
    metadata_bytes: int
    """Bytes of memory that the seals of its blocks take."""


@dataclass(frozen=True, slots=True)
class Extent:
    """A part of a volume."""

    offset: int
    size: int
    kind: Literal["data"] | Literal["zero"]
    """Zero: nothing was written there, and it reads as zeros."""


@dataclass(frozen=True, slots=True)
class NbdStats:
    """What an NBD server has done so far."""

    connections: int
    """Clients that are connected."""
    accepted: int
    refused: int
    """Clients that weren't let in: another user's, or beyond the limit."""
    broken: int
    """Connections that ended in the middle of a request or because the client broke the protocol."""
    requests: int
    failed: int
    bytes_read: int
    bytes_written: int


@dataclass(frozen=True, slots=True)
class VolumeLayout:
    """How the bytes of a volume in XTS mode lie."""

    size: int
    sector_size: int
    iv_offset: int
    """The number of the first sector, in units of 512 bytes: dm-crypt's iv_offset."""
