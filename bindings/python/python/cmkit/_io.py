"""Streams: file objects whose other side is an envelope."""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol, overload

from . import _cmkit

if TYPE_CHECKING:
    from typing_extensions import Buffer

# Reads that are no longer come out of one decrypted chunk of this size.
_CHUNK = 16_384


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Seekable(_Readable, Protocol):
    def seek(self, offset: int, whence: int = 0, /) -> Any: ...
    def tell(self) -> int: ...


class _Writable(Protocol):
    def write(self, data: bytes, /) -> Any: ...


class _RawReader(io.RawIOBase):
    """Random access, unbuffered; Reader adds the buffer."""

    def __init__(self, inner: _cmkit.RawReader, name: Any) -> None:
        self._inner = inner
        self.name = name
        self.mode = "rb"

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        return self._inner.readinto(buffer)

    def readall(self) -> bytes:
        return self._inner.readall()

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return self._inner.seek(offset, whence)

    def tell(self) -> int:
        return self._inner.tell()

    def close(self) -> None:
        self._inner.close()
        super().close()


class Reader(io.BufferedReader):
    """Reads the plaintext of an envelope at any place: a binary file object, seekable.

    The length is authenticated when it is opened; each read authenticates the chunks (16 KiB) that it touches.
    """

    def __init__(
        self,
        keyring: _cmkit.Keyring,
        file: str | os.PathLike[str] | _Seekable,
        context: Mapping[str, str] | None = None,
    ) -> None:
        inner = _cmkit.open_raw_reader(keyring, file, context)
        self._inner = inner
        name = file if isinstance(file, (str, os.PathLike)) else getattr(file, "name", None)
        super().__init__(_RawReader(inner, name), buffer_size=_CHUNK)

    @property
    def size(self) -> int:
        """Bytes of plaintext, authenticated."""
        return self._inner.size

    def read_at(self, size: int, offset: int) -> bytes:
        """Up to size bytes from offset on; neither uses nor moves the position. Many threads may call it at once."""
        return self._inner.read_at(size, offset)

    def __repr__(self) -> str:
        return f"<cmkit.Reader name={self.name!r} size={self.size}>"


class _RawDecryptor(io.RawIOBase):
    def __init__(self, inner: _cmkit.RawDecryptor, name: Any) -> None:
        self._inner = inner
        self.name = name
        self.mode = "rb"

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        return self._inner.readinto(buffer)

    def close(self) -> None:
        self._inner.close()
        super().close()


class Decryptor(io.BufferedReader):
    """Decrypts what it reads from a file object, once, from front to end: a pipe, a socket.

    Whether the envelope was whole is known at the end: b"" means so, and one that is cut or damaged raises instead. Discard what came
    before an exception. Closing it doesn't close the file object.
    """

    def __init__(
        self, keyring: _cmkit.Keyring, fileobj: _Readable, context: Mapping[str, str] | None = None
    ) -> None:
        inner = _cmkit.open_raw_decryptor(keyring, fileobj, context)
        super().__init__(_RawDecryptor(inner, getattr(fileobj, "name", None)), buffer_size=_CHUNK)

    def __repr__(self) -> str:
        return f"<cmkit.Decryptor name={self.name!r}>"


class _Sealer(io.BufferedIOBase):
    """What Writer and Encryptor share. The end is written by close() and by leaving `with` without an exception, and by nothing else."""

    _inner: _cmkit.RawEncryptor

    def __init__(self, name: Any, mode: str) -> None:
        self._name = name
        self._mode = mode
        self._process = os.getpid()

    @property
    def name(self) -> Any:
        return self._name

    @property
    def mode(self) -> str:
        return self._mode

    def writable(self) -> bool:
        return True

    def write(self, data: Buffer, /) -> int:
        """Takes all of data."""
        if self.closed:
            raise ValueError("write to closed file")
        return self._inner.write(data)

    def tell(self) -> int:
        """Bytes of plaintext written so far."""
        if self.closed:
            raise ValueError("I/O operation on closed file")
        return self._inner.tell()

    def flush(self) -> None:
        """Does nothing: a chunk can't be written before it is full or the last one."""
        if self.closed:
            raise ValueError("flush of closed file")

    def close(self) -> None:
        """Writes the end. When that fails there is no envelope, and no file."""
        if self.closed:
            return
        try:
            self._inner.finish()
        finally:
            super().close()

    def abort(self) -> None:
        """Gives up: what was written is no envelope, and a file is removed."""
        if self.closed:
            return
        try:
            if self._process == os.getpid():
                self._inner.abort()
        finally:
            super().close()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def __del__(self) -> None:
        # io's own would close, and so make a whole envelope of what may be half the data.
        if not hasattr(self, "_inner") or self.closed or self._process != os.getpid() or sys.is_finalizing():
            return
        warnings.warn(f"unfinished {self!r} was dropped and is aborted", ResourceWarning, source=self)
        self.abort()

    def __repr__(self) -> str:
        return f"<cmkit.{type(self).__name__} name={self.name!r}>"


class Writer(_Sealer):
    """Encrypts into a file, which appears under its name, whole, when it is closed.

    Leaving `with` by an exception aborts it: no file appears, and one that was there stays as it was. A new file has mode 0600, one that is
    replaced hands on its mode.
    """

    def __init__(
        self,
        keyring: _cmkit.Keyring,
        path: str | os.PathLike[str],
        context: Mapping[str, str] | None = None,
        *,
        replace: bool = True,
    ) -> None:
        super().__init__(path, "wb" if replace else "xb")
        self._inner = _cmkit.open_raw_writer(keyring, path, replace, context)


class Encryptor(_Sealer):
    """Encrypts what is written to it into a file object.

    close() writes the end and doesn't close the file object. Leaving `with` by an exception writes none: what the file object got is then no
    envelope, and every reader refuses it.
    """

    def __init__(
        self, keyring: _cmkit.Keyring, fileobj: _Writable, context: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(getattr(fileobj, "name", None), "wb")
        self._inner = _cmkit.open_raw_encryptor(keyring, fileobj, context)


@overload
def open(
    file: str | bytes | os.PathLike[str],
    mode: Literal["rb"] = "rb",
    *,
    keyring: _cmkit.Keyring,
    context: Mapping[str, str] | None = None,
) -> Reader: ...
@overload
def open(
    file: str | bytes | os.PathLike[str],
    mode: Literal["wb", "xb"],
    *,
    keyring: _cmkit.Keyring,
    context: Mapping[str, str] | None = None,
) -> Writer: ...
@overload
def open(
    file: _Readable,
    mode: Literal["rb"] = "rb",
    *,
    keyring: _cmkit.Keyring,
    context: Mapping[str, str] | None = None,
) -> Reader | Decryptor: ...
@overload
def open(
    file: _Writable,
    mode: Literal["wb"],
    *,
    keyring: _cmkit.Keyring,
    context: Mapping[str, str] | None = None,
) -> Encryptor: ...
def open(
    file: Any,
    mode: str = "rb",
    *,
    keyring: _cmkit.Keyring,
    context: Mapping[str, str] | None = None,
) -> Reader | Decryptor | Writer | Encryptor:
    """Opens an envelope as a file.

    "rb" reads the plaintext, seekable; "wb" encrypts into a file that appears, whole, when it is closed, and replaces one that is there; "xb" does so
    unless one is there. For text put an io.TextIOWrapper around it.

    file is a path, or a binary file object: then "rb" is seekable if the file object is, and closing doesn't close the file object.
    """
    if mode not in ("rb", "wb", "xb"):
        raise ValueError(f'mode must be "rb", "wb" or "xb", not {mode!r}; for text use io.TextIOWrapper')
    if isinstance(file, (str, bytes, os.PathLike)):
        path = os.fsdecode(file)
        if mode == "rb":
            return Reader(keyring, path, context)
        return Writer(keyring, path, context, replace=mode == "wb")
    if mode == "xb":
        raise ValueError('mode "xb" needs a path')
    if mode == "wb":
        return Encryptor(keyring, file, context)
    seekable = getattr(file, "seekable", None)
    if seekable() if seekable is not None else hasattr(file, "seek"):
        return Reader(keyring, file, context)
    return Decryptor(keyring, file, context)


for _class in (Reader, Decryptor, Writer, Encryptor):
    _class.__module__ = "cmkit"
del _class
