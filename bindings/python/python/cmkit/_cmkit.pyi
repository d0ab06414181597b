import os
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final, Literal, TypeAlias, final

from typing_extensions import Buffer

from ._io import Decryptor, Encryptor, _Readable, _Seekable, _Writable
from ._types import (
    AuditEvent,
    DoctorReport,
    ErasureRecord,
    Extent,
    Inspection,
    KeyInfo,
    KeyProvider,
    KeyStore,
    KeyType,
    Maintenance,
    NbdStats,
    NewestKey,
    Rotated,
    RotatedFile,
    TokenCredential,
    Verdict,
    VersionUse,
    VolumeLayout,
    VolumeStats,
    WrapAlgorithm,
)

__all__ = [
    "AllowHost",
    "BlockKey",
    "Census",
    "DekPolicy",
    "DirectoryKeyStore",
    "ERROR_CLASSES",
    "Freshness",
    "KeyEncryptionKey",
    "KeyVaultProvider",
    "Keyring",
    "LocalKeyProvider",
    "MaintenanceContext",
    "NbdServer",
    "RawDecryptor",
    "RawEncryptor",
    "RawReader",
    "RawScratch",
    "Rotation",
    "Volume",
    "XtsKey",
    "__version__",
    "begin_scratch",
    "decrypted_len",
    "default_dir",
    "header_len",
    "inspect",
    "is_envelope",
    "open_raw_decryptor",
    "open_raw_encryptor",
    "open_raw_reader",
    "open_raw_writer",
    "recover_scratch_in",
]

__version__: Final[str]
ERROR_CLASSES: Final[dict[str, type[Exception]]]

_Path: TypeAlias = str | os.PathLike[str]
_Context: TypeAlias = Mapping[str, str] | None
_Progress: TypeAlias = Callable[[int, int | None], object]
_Provider: TypeAlias = LocalKeyProvider | KeyVaultProvider | KeyProvider
_Audit: TypeAlias = _Path | Callable[[AuditEvent], object]
_Named: TypeAlias = Literal["auto", "app-service", "arc", "azure-ml", "workload", "client-secret", "imds", "cli"]
_Allow: TypeAlias = str | AllowHost | Iterable[str | AllowHost]

@final
class LocalKeyProvider:
    """KEKs in files of a private directory: local:NAME/VERSION. Without a path it is default_dir()."""

    def __new__(cls, path: _Path | None = None) -> LocalKeyProvider: ...
    @property
    def path(self) -> Path: ...
    @property
    def name(self) -> str: ...
    def create_key(self, name: str, key_type: KeyType = "oct") -> str: ...
    def rotate(self, name: str) -> str: ...
    def disable(self, id: str) -> None: ...
    def enable(self, id: str) -> None: ...
    def destroy(self, id: str) -> None: ...
    def list(self, key: str | None = None) -> list[KeyInfo]: ...
    def import_key(self, key: str, text: str | Buffer) -> str: ...
    def export_key(self, id: str) -> bytes: ...
    def export_public(self, id: str, format: Literal["pem", "jwk"] = "pem") -> str: ...

@final
class KeyVaultProvider:
    """KEKs in Azure Key Vault and Managed HSM: https://VAULT.vault.azure.net/keys/NAME[/VERSION]. Nothing is contacted before the first operation.

    key_id: one key or several, whose vaults it may talk to; allow_hosts: further vaults. credential: None, the first managed identity, workload identity or
    client secret that the environment has; the name of one; or an object of azure-identity. client_id: of a user-assigned identity or an application.
    ca_file: PEM with roots to trust besides the system's. allow_rsa_2048: RSA keys of 2048 bits, too. no_get: never ask for the key itself. timeout: for
    one call with its retries, 1 to 600 seconds; signing in comes on top, up to 90 s the first time. audience: for private clouds, the host suffix and what
    its tokens are for.
    """

    def __new__(
        cls,
        key_id: str | Iterable[str],
        credential: _Named | TokenCredential | None = None,
        *,
        client_id: str | None = None,
        ca_file: _Path | None = None,
        allow_hosts: str | Iterable[str] | None = None,
        allow_rsa_2048: bool = False,
        no_get: bool = False,
        timeout: float | None = None,
        audience: dict[str, str] | None = None,
    ) -> KeyVaultProvider: ...
    @property
    def name(self) -> str: ...
    @property
    def keys(self) -> tuple[str, ...]: ...
    @property
    def hosts(self) -> tuple[str, ...]: ...
    @property
    def identity(self) -> str: ...
    def doctor(self, key_id: str | None = None) -> DoctorReport: ...

@final
class KeyEncryptionKey:
    """A key that wraps other libraries' data keys: what azure-storage-blob takes as key_encryption_key.

    Without a version in key_id it finds the newest one when it is first used and keeps to it; a new object follows a rotation. Over a keyring, its allow-list,
    call_timeout and audit hold. Nothing is cached.
    """

    def __new__(cls, provider: Keyring | _Provider, key_id: str) -> KeyEncryptionKey: ...
    def wrap_key(self, key: Buffer) -> bytes: ...
    def unwrap_key(self, key: Buffer, algorithm: str) -> bytes: ...
    def get_kid(self) -> str: ...
    def get_key_wrap_algorithm(self) -> WrapAlgorithm: ...

@final
class DirectoryKeyStore:
    """A directory that keeps wrapped DEKs, made if it is missing."""

    def __new__(cls, path: _Path) -> DirectoryKeyStore: ...
    @property
    def path(self) -> Path: ...

@final
class DekPolicy:
    """How long a cached DEK serves: seconds, messages, bytes of plaintext, and entries kept for decrypting. Zero: don't cache."""

    def __new__(
        cls,
        *,
        max_age: float = 3600.0,
        max_messages: int = 1_048_576,
        max_bytes: int = 274_877_906_944,
        max_entries: int = 1000,
    ) -> DekPolicy: ...
    @staticmethod
    def no_cache() -> DekPolicy: ...
    @property
    def max_age(self) -> float: ...
    @property
    def max_messages(self) -> int: ...
    @property
    def max_bytes(self) -> int: ...
    @property
    def max_entries(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...

@final
class Freshness:
    """How often keys of remote providers are asked about, and how soon their DEKs stop serving without an answer; all in seconds.

    soft: asked again so long after the last yes, by maintain(); 10 or more. hard: DEKs stop serving; 60 to 7200. failover: so long may another key of the
    same envelope serve instead; at most 7 days. poll: how often the newest version of wrapping keys is asked for; 60 to 86400.
    """

    def __new__(
        cls, *, soft: float = 300.0, hard: float = 600.0, failover: float = 86_400.0, poll: float = 3600.0
    ) -> Freshness: ...
    @property
    def soft(self) -> float: ...
    @property
    def hard(self) -> float: ...
    @property
    def failover(self) -> float: ...
    @property
    def poll(self) -> float: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...

@final
class AllowHost:
    """Allows every key of one https host, given as in a key id, with its port if it has one. Exact, never a suffix."""

    def __new__(cls, host: str) -> AllowHost: ...
    @property
    def host(self) -> str: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...

@final
class Keyring:
    """The keys that data is encrypted under and may be decrypted with, for one workspace. Thread-safe.

    keys: ids of the keys to wrap with, each a recipient; without them, those that KeyVaultProviders were given, else, with a LocalKeyProvider,
    local:default, which the first encryption makes. An empty list: only decrypt. allow: other keys that may unwrap. call_timeout: seconds after which a
    provider's call is given up, retries included. audit: a file that gets a line of JSON, or a function that gets an AuditEvent, for each operation of a
    provider. high_business_impact: no names of files and workspaces in exceptions, events and repr().
    """

    def __new__(
        cls,
        providers: _Provider | list[_Provider] | tuple[_Provider, ...],
        *,
        keys: str | Iterable[str] | None = None,
        workspace: str | None = None,
        allow: _Allow | None = None,
        policy: DekPolicy | None = None,
        key_store: DirectoryKeyStore | KeyStore | None = None,
        freshness: Freshness | None = None,
        call_timeout: float | None = None,
        audit: _Audit | None = None,
        high_business_impact: bool = False,
    ) -> Keyring: ...
    @staticmethod
    def local(
        *,
        workspace: str | None = None,
        allow: _Allow | None = None,
        policy: DekPolicy | None = None,
        key_store: DirectoryKeyStore | KeyStore | None = None,
        freshness: Freshness | None = None,
        call_timeout: float | None = None,
        audit: _Audit | None = None,
        high_business_impact: bool = False,
    ) -> Keyring: ...
    @property
    def workspace(self) -> str | None: ...
    @property
    def keys(self) -> tuple[str, ...]: ...
    def encrypt(self, data: Buffer, context: _Context = None) -> bytes: ...
    def encrypt_into(self, data: Buffer, out: Buffer, context: _Context = None) -> int: ...
    def encrypt_compact(self, data: Buffer, context: _Context = None) -> bytes: ...
    def encrypt_compact_into(self, data: Buffer, out: Buffer, context: _Context = None) -> int: ...
    def decrypt(self, data: Buffer, context: _Context = None) -> bytes: ...
    def decrypt_into(self, data: Buffer, out: Buffer, context: _Context = None) -> int: ...
    def encrypted_len(self, length: int) -> int: ...
    def compact_len(self, length: int) -> int: ...
    def encryptor(self, fileobj: _Writable, context: _Context = None) -> Encryptor: ...
    def decryptor(self, fileobj: _Readable, context: _Context = None) -> Decryptor: ...
    def encrypt_file(
        self,
        source: _Path,
        destination: _Path,
        context: _Context = None,
        *,
        overwrite: bool = False,
        progress: _Progress | None = None,
    ) -> int: ...
    def decrypt_file(
        self,
        source: _Path,
        destination: _Path,
        context: _Context = None,
        *,
        overwrite: bool = False,
        progress: _Progress | None = None,
    ) -> int: ...
    def rewrap(self, data: Buffer, to: str, *, only: bool = False, allow_other_vault: bool = False) -> bytes: ...
    def rewrap_file(
        self, path: _Path, to: str, *, only: bool = False, allow_other_vault: bool = False
    ) -> Literal["in place", "copied"]: ...
    def rewrap_key_store(self, to: str, *, only: bool = False, allow_other_vault: bool = False) -> int: ...
    def rotation(self, *, keep_old: float = 86_400.0, dry_run: bool = False) -> Rotation: ...
    def maintain(self) -> Maintenance: ...
    def maintenance(self) -> MaintenanceContext: ...
    def new_block_key(self, block_size: int = 4096) -> BlockKey: ...
    def create_xts_volume(self, size: int, sector_size: int = 4096, iv_offset: int = 0) -> tuple[XtsKey, bytes]: ...
    def open_xts_volume(self, volume_file: Buffer) -> tuple[XtsKey, VolumeLayout]: ...

@final
class MaintenanceContext:
    """What Keyring.maintenance() gives: a thread calls maintain() during the with block. A forked child has none, and may begin its own."""

    def __enter__(self) -> MaintenanceContext: ...
    def __exit__(self, *_exception: object) -> None: ...

@final
class Rotation:
    """The newest versions of a keyring's wrapping keys as of now, to bring any number of envelopes to; from Keyring.rotation().

    Where an envelope has a wrap by an older version, one by the newest is added and the older kept for keep_old seconds; the same call made later drops it. A
    function that is told of each file or row gets its name and a RotatedFile or an exception; when it raises, the walk ends.
    """

    @property
    def newest(self) -> tuple[NewestKey, ...]: ...
    def rotate(self, data: Buffer) -> Rotated: ...
    def rotate_file(self, path: _Path) -> RotatedFile: ...
    def rotate_paths(
        self, paths: _Path | Iterable[_Path], on_file: Callable[[str, RotatedFile | Exception], object]
    ) -> None: ...
    def rotate_key_store(self, on_row: Callable[[str, RotatedFile | Exception], object]) -> None: ...

@final
class Census:
    """A count of the key versions that envelopes are wrapped by. Takes no key and no network: headers are read, and nothing of them is authenticated.

    Begin it, add everything that there is, then ask safe_to_disable(), with the key's newest version from Rotation.newest. poll_interval and dek_age: how
    long, in seconds, writers may take to notice a new version, and how old a data key gets that they still encrypt under.
    """

    def __new__(cls, keyring: Keyring) -> Census: ...
    @property
    def begun(self) -> int: ...
    @property
    def versions(self) -> tuple[VersionUse, ...]: ...
    @property
    def headers(self) -> int: ...
    @property
    def rows(self) -> int: ...
    @property
    def compact(self) -> int: ...
    @property
    def skipped(self) -> int: ...
    @property
    def links(self) -> int: ...
    @property
    def unreadable_count(self) -> int: ...
    @property
    def unreadable(self) -> tuple[tuple[str, str], ...]: ...
    def add_envelope(self, data: Buffer) -> None: ...
    def add_file(self, path: _Path) -> None: ...
    def add_path(self, path: _Path) -> None: ...
    def add_key_store(self, store: Keyring | DirectoryKeyStore | KeyStore) -> None: ...
    def add_unreadable(self, name: str, problem: str) -> None: ...
    def safe_to_disable(
        self, key_id: str, newest: NewestKey, *, poll_interval: float = 3600.0, dek_age: float = 3600.0
    ) -> Verdict: ...

@final
class BlockKey:
    """A key for blocks of a scratch disk, of 4096, 16384 or 65536 bytes: AES-256-GCM, authenticated, gone with the process. Keyring.new_block_key() gives one that stops
    when the keyring's keys are taken away.

    Works in place on any writable buffer. Ciphertext is as long as plaintext; of each block a seal of 22 bytes is to be kept, in memory, and whoever keeps the newest one sees every
    change, swap and rollback. A seal of zeros is an unwritten block, which reads as zeros. After an exception the whole buffer is zero; one about a damaged block
    has its number in AuthenticationError.block. Thread-safe. Refuses to work in a forked child.
    """

    def __new__(cls, block_size: int = 4096) -> BlockKey: ...
    @property
    def block_size(self) -> int: ...
    @property
    def key_ids(self) -> tuple[str, ...]: ...
    @property
    def dek_id(self) -> str | None: ...
    @property
    def is_destroyed(self) -> bool: ...
    def check(self) -> None: ...
    def encrypt_blocks(self, first: int, data: Buffer) -> bytes: ...
    def decrypt_blocks(self, first: int, data: Buffer, seals: Buffer) -> None: ...
    def destroy(self) -> None: ...

@final
class XtsKey:
    """A key for the sectors of one volume, of 512 or 4096 bytes, byte for byte dm-crypt's aes-xts-plain64. No integrity: what was changed becomes garbage, unseen.

    key: 64 bytes, first the half that encrypts data. iv_offset: the number of the first sector, in units of 512 bytes. Offsets are bytes from the volume's beginning. Works in place on any
    writable buffer; an exception that isn't about the arguments may leave it all zero. kernel_key(): what cryptsetup --volume-key-file takes, for keys that a keyring has.
    """

    def __new__(cls, key: Buffer, sector_size: int = 4096, iv_offset: int = 0) -> XtsKey: ...
    @staticmethod
    def random(sector_size: int = 4096) -> XtsKey: ...
    @property
    def sector_size(self) -> int: ...
    @property
    def key_ids(self) -> tuple[str, ...]: ...
    @property
    def dek_id(self) -> str | None: ...
    @property
    def is_destroyed(self) -> bool: ...
    def check(self) -> None: ...
    def encrypt_sectors(self, offset: int, data: Buffer) -> None: ...
    def decrypt_sectors(self, offset: int, data: Buffer) -> None: ...
    def kernel_key(self) -> bytes: ...
    def destroy(self) -> None: ...

if sys.platform == "linux":
    @final
    class Volume:
        """An encrypted disk of a fixed size, read and written at any byte, for use in this process. Linux only.

        Its bytes go to one of: a nameless file in dir (by default the directory for temporary files), a new file, a block device, memory. force: a file that is there already, or a device with
        something on it, is taken, all of it. mode: "ephemeral" is authenticated, reads as zeros where nothing was written, and lives as long as this object; "xts" is dm-crypt's layout without integrity,
        and can be opened again if it was made by create_reopenable(), whose second result is the volume file to be kept beside it. metadata_budget: bytes of memory that the seals of the
        ephemeral mode may take, 22 for each block written; by default half of the machine's.

        destroy() zeroizes the key: what was written can't be read by anybody, and everything else raises StateError. close(), and leaving a with block, is that and lets go of the
        file or device. reset() makes it an empty disk with a new key. A damaged block raises AuthenticationError with its number as block. Thread-safe; in a forked child every call raises
        StateError, and dropping it does nothing.
        """

        @staticmethod
        def create(
            size: int | None = None,
            *,
            dir: _Path | None = None,
            file: _Path | None = None,
            device: _Path | None = None,
            memory: bool = False,
            force: bool = False,
            mode: Literal["ephemeral", "xts"] = "ephemeral",
            block_size: int = 4096,
            keyring: Keyring | None = None,
            metadata_budget: int | None = None,
        ) -> Volume: ...
        @staticmethod
        def create_reopenable(
            size: int | None = None,
            *,
            keyring: Keyring,
            file: _Path | None = None,
            device: _Path | None = None,
            force: bool = False,
            sector_size: int = 4096,
        ) -> tuple[Volume, bytes]: ...
        @staticmethod
        def open(path: _Path, volume_file: Buffer, keyring: Keyring, *, read_only: bool = False) -> Volume: ...
        @staticmethod
        def open_with_key(
            path: _Path,
            key: Buffer,
            *,
            size: int | None = None,
            sector_size: int = 4096,
            iv_offset: int = 0,
            read_only: bool = False,
        ) -> Volume: ...
        @property
        def size(self) -> int: ...
        @property
        def block_size(self) -> int: ...
        @property
        def id(self) -> str: ...
        @property
        def mode(self) -> Literal["ephemeral", "xts"]: ...
        @property
        def key_ids(self) -> tuple[str, ...]: ...
        @property
        def warning(self) -> str | None: ...
        @property
        def is_destroyed(self) -> bool: ...
        def read_at(self, offset: int, size: int) -> bytes: ...
        def readinto_at(self, offset: int, buffer: Buffer) -> None: ...
        def write_at(self, offset: int, data: Buffer, *, durable: bool = False) -> None: ...
        def zeroes(self, offset: int, size: int, *, durable: bool = False, keep_room: bool = False) -> None: ...
        def discard(self, offset: int, size: int) -> None: ...
        def flush(self) -> None: ...
        def extents(self, offset: int = 0, size: int | None = None) -> list[Extent]: ...
        def stats(self) -> VolumeStats: ...
        def check(self) -> None: ...
        def reset(self) -> Literal["given back", "unsupported"]: ...
        def destroy(self) -> None: ...
        def close(self) -> None: ...
        def serve(
            self, socket: _Path, *, name: str = "", max_connections: int = 64, uid: int | None = None
        ) -> NbdServer: ...
        def __enter__(self) -> Volume: ...
        def __exit__(self, *_exception: object) -> None: ...

    @final
    class NbdServer:
        """Serves a volume at a Unix socket (mode 0600) until stop() or the end of its with block; from Volume.serve(). In a forked child both do nothing or raise StateError."""

        @property
        def socket(self) -> Path: ...
        def stats(self) -> NbdStats: ...
        def stop(self) -> None: ...
        def __enter__(self) -> NbdServer: ...
        def __exit__(self, *_exception: object) -> None: ...

    @final
    class RawScratch:
        @property
        def name(self) -> str: ...
        @property
        def path(self) -> Path | None: ...
        @property
        def volume(self) -> Volume: ...
        def is_live(self) -> bool: ...
        def end(self, grace: float, how: str) -> tuple[ErasureRecord, BaseException | None]: ...

    def begin_scratch(
        state_dir: _Path,
        job: str,
        size: int | None,
        dir: _Path | None,
        device: _Path | None,
        *,
        force: bool,
        mode: str,
        block_size: int,
        keyring: Keyring | None,
        expose: str | None,
        fs: str,
        path: _Path | None,
        owner: tuple[int, int] | None,
    ) -> RawScratch: ...
    def recover_scratch_in(state_dir: _Path) -> list[ErasureRecord]: ...

def is_envelope(data: Buffer) -> bool:
    """Whether data begins as an envelope that this version may read."""

def decrypted_len(data: Buffer) -> int:
    """Bytes of plaintext in a whole envelope, by arithmetic: takes no key and proves nothing."""

def header_len(data: Buffer) -> int:
    """Bytes of the header that these at least 16 bytes begin."""

def inspect(data: Buffer) -> Inspection:
    """What the header says that data begins with. Nothing of it is authenticated."""

def default_dir() -> Path:
    """The key directory when none is named: CMKIT_HOME, else cmkit in XDG_DATA_HOME, else ~/.local/share/cmkit."""

@final
class RawReader:
    @property
    def size(self) -> int: ...
    def readinto(self, out: Buffer) -> int: ...
    def readall(self) -> bytes: ...
    def read_at(self, size: int, offset: int) -> bytes: ...
    def seek(self, offset: int, whence: int = 0) -> int: ...
    def tell(self) -> int: ...
    def close(self) -> None: ...

@final
class RawEncryptor:
    def write(self, data: Buffer) -> int: ...
    def finish(self) -> None: ...
    def abort(self) -> None: ...
    def tell(self) -> int: ...

@final
class RawDecryptor:
    def readinto(self, out: Buffer) -> int: ...
    def close(self) -> None: ...

def open_raw_reader(keyring: Keyring, file: _Path | _Seekable, context: _Context) -> RawReader: ...
def open_raw_encryptor(keyring: Keyring, fileobj: _Writable, context: _Context) -> RawEncryptor: ...
def open_raw_writer(keyring: Keyring, path: _Path, replace: bool, context: _Context) -> RawEncryptor: ...
def open_raw_decryptor(keyring: Keyring, fileobj: _Readable, context: _Context) -> RawDecryptor: ...
