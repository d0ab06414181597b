"""What can go wrong. One table for all of cmkit's faces: docs/errors.md."""

from __future__ import annotations

_AUTHENTICATION = (
    "authentication failed: the data was changed or damaged, or the key or the encryption context is another one "
    "than at encryption; nothing was decrypted"
)


class CmkitError(Exception):
    """The base of cmkit's exceptions, but for ValueError, TypeError and OSError, which are Python's own."""

    filename: str | None = None
    """The file that it is about, where there is one."""

    retryable: bool = False
    """Whether the same call may succeed later without anybody changing anything."""


class AuthenticationError(CmkitError):
    """Not authentic: forged, damaged, or another key or context. Has no arguments and says nothing more."""

    block: int | None = None
    """The number of the block of a scratch disk that was damaged, where it is about one."""

    def __init__(self) -> None:
        super().__init__()

    def __str__(self) -> str:
        problem = _AUTHENTICATION
        if self.block is not None:
            problem = (
                f"block {self.block} is not what was written there: it was changed, swapped, rolled back or damaged; "
                "nothing of it was decrypted"
            )
        return problem if self.filename is None else f"{self.filename}: {problem}"


class FormatError(CmkitError, ValueError):
    """Not an envelope, or one of a newer version."""


class TruncatedError(CmkitError):
    """Cut short."""


class RewrapInterruptedError(CmkitError):
    """A rewrap in place has to be completed first: run it again."""


class PolicyError(CmkitError):
    """Another workspace, or the keyring's set-up says no."""


class KeyNotAllowedError(PolicyError):
    """None of the envelope's keys is on the allow-list. No provider was called."""


class _AnswerError(CmkitError):
    """What a key provider answered, and how to find it in its logs."""

    def __init__(
        self,
        message: str = "",
        *,
        key_id: str | None = None,
        request_id: str | None = None,
        client_request_id: str | None = None,
        code: str | None = None,
        region: str | None = None,
    ) -> None:
        super().__init__(message)
        self.key_id = key_id
        self.request_id = request_id
        self.client_request_id = client_request_id
        self.code = code
        self.region = region


class KeyNotFoundError(_AnswerError):
    """No such key or version."""


class KeyDisabledError(_AnswerError):
    """The key version is disabled."""


class AccessDeniedError(_AnswerError):
    """The provider, or the file system, refuses access to the key."""


class KeyUnusableError(_AnswerError):
    """The key is there and can't be used: its file is damaged, or it can't do this."""


class KeyDeletedError(KeyNotFoundError):
    """The key was deleted; its owner can perhaps recover it."""


class KeyPolicyError(_AnswerError, PolicyError):
    """The key doesn't meet a rule for keys; the message says which."""


class WrongVaultError(_AnswerError, PolicyError):
    """Another vault or key than the one that was asked for."""


class ProviderError(_AnswerError):
    """A key provider failed."""

    _RETRYABLE = False

    def __init__(
        self,
        message: str = "",
        *,
        retryable: bool | None = None,
        retry_after: float | None = None,
        key_id: str | None = None,
        request_id: str | None = None,
        client_request_id: str | None = None,
        code: str | None = None,
        region: str | None = None,
    ) -> None:
        super().__init__(
            message,
            key_id=key_id,
            request_id=request_id,
            client_request_id=client_request_id,
            code=code,
            region=region,
        )
        self.retryable = self._RETRYABLE if retryable is None else retryable
        self.retry_after = retry_after


class ThrottledError(ProviderError):
    """The provider asks to slow down; retry_after says for how long, in seconds."""

    _RETRYABLE = True


class UnavailableError(ProviderError):
    """The provider is out of reach."""

    _RETRYABLE = True


class IdentityError(ProviderError):
    """The provider doesn't know who is asking."""


class KeyStoreError(CmkitError):
    """The key store failed, or doesn't hold the DEK."""

    def __init__(self, message: str = "", *, retryable: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable


class StateError(CmkitError):
    """The stream failed before, is finished, or belongs to another process."""


class BusyError(CmkitError):
    """Something else uses it: mounted, locked, or a job of that name runs."""


class CancelledError(CmkitError):
    """The caller asked to stop. Nothing was kept."""


class InternalError(CmkitError):
    """A fault in cmkit, or no randomness. Please report it."""


for _class in list(globals().values()):
    if isinstance(_class, type) and issubclass(_class, CmkitError) and not _class.__name__.startswith("_"):
        _class.__module__ = "cmkit"
del _class
