"""Envelope encryption for data whose key belongs to somebody else: the customer.

A KEK (key-encryption key) stays with a key provider: a directory on this machine, a vault, an object of your own. It wraps data keys, which encrypt
documents, streams and files.

    >>> import cmkit
    >>> keyring = cmkit.Keyring.local()
    >>> envelope = keyring.encrypt(b"attack at dawn", {"doc": "42"})
    >>> keyring.decrypt(envelope, {"doc": "42"})
    b'attack at dawn'
"""

from ._cmkit import (
    AllowHost,
    DekPolicy,
    DirectoryKeyStore,
    Keyring,
    LocalKeyProvider,
    __version__,
    decrypted_len,
    default_dir,
    header_len,
    inspect,
    is_envelope,
)
from ._errors import (
    AccessDeniedError,
    AuthenticationError,
    CancelledError,
    CmkitError,
    FormatError,
    IdentityError,
    InternalError,
    KeyDeletedError,
    KeyDisabledError,
    KeyNotAllowedError,
    KeyNotFoundError,
    KeyPolicyError,
    KeyStoreError,
    KeyUnusableError,
    PolicyError,
    ProviderError,
    RewrapInterruptedError,
    StateError,
    ThrottledError,
    TruncatedError,
    UnavailableError,
    WrongVaultError,
)
from ._io import Decryptor, Encryptor, Reader, Writer, open
from ._types import (
    Inspection,
    KeyInfo,
    KeyProvider,
    KeyState,
    KeyStore,
    KeyType,
    RecipientInfo,
    StoredKey,
    WrapAlgorithm,
    WrappedKey,
)

__all__ = [
    "AccessDeniedError",
    "AllowHost",
    "AuthenticationError",
    "CancelledError",
    "CmkitError",
    "Decryptor",
    "DekPolicy",
    "DirectoryKeyStore",
    "Encryptor",
    "FormatError",
    "IdentityError",
    "Inspection",
    "InternalError",
    "KeyDeletedError",
    "KeyDisabledError",
    "KeyInfo",
    "KeyNotAllowedError",
    "KeyNotFoundError",
    "KeyPolicyError",
    "KeyProvider",
    "KeyState",
    "KeyStore",
    "KeyStoreError",
    "KeyType",
    "KeyUnusableError",
    "Keyring",
    "LocalKeyProvider",
    "PolicyError",
    "ProviderError",
    "Reader",
    "RecipientInfo",
    "RewrapInterruptedError",
    "StateError",
    "StoredKey",
    "ThrottledError",
    "TruncatedError",
    "UnavailableError",
    "WrapAlgorithm",
    "WrappedKey",
    "Writer",
    "WrongVaultError",
    "__version__",
    "decrypted_len",
    "default_dir",
    "header_len",
    "inspect",
    "is_envelope",
    "open",
]
