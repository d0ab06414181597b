import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final, Literal, TypeAlias, final

from typing_extensions import Buffer

from ._io import Decryptor, Encryptor, _Readable, _Seekable, _Writable
from ._types import Inspection, KeyInfo, KeyProvider, KeyStore, KeyType

__all__ = [
    "AllowHost",
    "DekPolicy",
    "DirectoryKeyStore",
    "ERROR_CLASSES",
    "Keyring",
    "LocalKeyProvider",
    "RawDecryptor",
    "RawEncryptor",
    "RawReader",
    "__version__",
    "decrypted_len",
    "default_dir",
    "header_len",
    "inspect",
    "is_envelope",
    "open_raw_decryptor",
    "open_raw_encryptor",
    "open_raw_reader",
    "open_raw_writer",
]

__version__: Final[str]
ERROR_CLASSES: Final[dict[str, type[Exception]]]

_Path: TypeAlias = str | os.PathLike[str]
_Context: TypeAlias = Mapping[str, str] | None
_Progress: TypeAlias = Callable[[int, int | None], object]
_Provider: TypeAlias = LocalKeyProvider | KeyProvider
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

    keys: ids of the keys to wrap with, each a recipient; without them, and with a LocalKeyProvider, local:default, which the first encryption
    makes. An empty list: only decrypt. allow: other keys that may unwrap.
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
    ) -> Keyring: ...
    @staticmethod
    def local(
        *,
        workspace: str | None = None,
        allow: _Allow | None = None,
        policy: DekPolicy | None = None,
        key_store: DirectoryKeyStore | KeyStore | None = None,
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
    def rewrap(self, data: Buffer, to: str, *, only: bool = False) -> bytes: ...
    def rewrap_file(self, path: _Path, to: str, *, only: bool = False) -> Literal["in place", "copied"]: ...
    def rewrap_key_store(self, to: str, *, only: bool = False) -> int: ...

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
