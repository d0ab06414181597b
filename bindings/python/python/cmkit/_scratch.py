"""Scratch disks: encrypted, for the time of a `with` block."""

from __future__ import annotations

import io
import os
import re
import secrets
import sys
import tempfile
import warnings
import weakref
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from ._types import ErasureRecord

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from ._cmkit import Keyring

_Expose = Literal["mount", "file", "nbd"] | None
_Owner = str | int | tuple[int, int] | None

_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40, "P": 50}
# Whoever leaves by an exception seldom waits for others, and its own frames keep files open for as long as it is under way.
_GRACE_AFTER_EXCEPTION = 2.0


def _bytes(size: int | str) -> int:
    if isinstance(size, int) and not isinstance(size, bool):
        number = size
    elif isinstance(size, str):
        parts = re.fullmatch(r"([0-9]{1,20}) ?(?:([KMGTP])(?:iB)?)?", size, re.ASCII)
        if parts is None:
            raise ValueError(f'{size!r} is no size: a whole number of bytes, or of K, M, G, T or P, which are powers of 1024, such as "10G"')
        number = int(parts[1]) << _UNITS[parts[2] or ""]
    else:
        raise TypeError(f"size must be an int or a str such as \"10G\", not {type(size).__name__}")
    if not 0 < number < 1 << 63:
        raise ValueError(f"a disk has between 1 and 2^63 bytes, not {number}")
    return number


def _state_dir(path: str | os.PathLike[str] | None) -> Path:
    """The directory that is given, else /run/cmkit for root, cmkit in XDG_RUNTIME_DIR, or cmkit-UID in the directory for temporary files."""
    if path is not None:
        return Path(path)
    user = os.geteuid()
    if user == 0:
        return Path("/run/cmkit")
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(runtime) and os.path.isdir(runtime):
        return Path(runtime) / "cmkit"
    return Path(tempfile.gettempdir()) / f"cmkit-{user}"


def _user_and_group(owner: _Owner) -> tuple[int, int] | None:
    import pwd

    if owner is None or isinstance(owner, tuple):
        return owner
    try:
        user = pwd.getpwnam(owner) if isinstance(owner, str) else pwd.getpwuid(owner)
    except KeyError:
        raise ValueError(f"there is no user {owner!r}; (uid, gid) needs none") from None
    return user.pw_uid, user.pw_gid


def _still_there(record: ErasureRecord) -> str:
    return "the scratch disk was erased, and nothing of it can be read; still there: " + "; ".join(record.left_behind)


if sys.platform == "linux":
    from . import _cmkit
    from ._cmkit import NbdServer, Volume
    from ._errors import BusyError, StateError

    # The FUSE descriptors of the disks that this process has, by job. A forked child that kept its copies would keep the mounts of a killed parent
    # waiting for an answer that nobody gives, for as long as it lives; without them they fail at once.
    _fuse: dict[str, frozenset[int]] = {}

    def _fuse_descriptors() -> frozenset[int]:
        return frozenset(int(name) for name in os.listdir("/proc/self/fd") if _is_fuse(name))

    def _is_fuse(descriptor: int | str) -> bool:
        try:
            return os.readlink(f"/proc/self/fd/{descriptor}") == "/dev/fuse"
        except OSError:
            return False

    def _in_child() -> None:
        for descriptor in frozenset().union(*_fuse.values()):
            if _is_fuse(descriptor):
                os.close(descriptor)
        _fuse.clear()

    os.register_at_fork(after_in_child=_in_child)

    class Scratch:
        """A scratch disk that cmkit.scratch() made: until end(), the end of its `with` block, the end of the interpreter, or when nobody has it any more.

        A forked child, such as a DataLoader's worker, uses what is mounted and never ends it.
        """

        def __init__(self, raw: _cmkit.RawScratch, grace: float) -> None:
            self._raw = raw
            self._grace = grace
            self._record: ErasureRecord | None = None
            self._process = os.getpid()
            self._finalizer = weakref.finalize(self, _dropped, raw)

        @property
        def path(self) -> Path | None:
            """The mounted directory, the file, or the socket; None if it is not exposed."""
            return self._raw.path

        @property
        def job(self) -> str:
            """The job's name."""
            return self._raw.name

        @property
        def volume(self) -> Volume:
            """The disk itself, for use in this process. Whoever mounted it leaves its bytes to the file system."""
            return self._raw.volume

        @property
        def record(self) -> ErasureRecord | None:
            """What was written down of its end; None before."""
            return self._record

        def end(self, grace: float | None = None) -> ErasureRecord:
            """Erases the disk: waits so many seconds (grace= of scratch() by default) for those who use a mount, destroys the key whatever they do, takes away what exposed it,
            and writes a record into the state directory. Again: the same record.

            What couldn't be taken away is in record.left_behind; it is unreadable all the same. Ctrl-C meanwhile destroys the key at once. In a forked child: StateError.
            """
            if self._record is not None and self._process == os.getpid():
                return self._record
            return self._end(self._grace if grace is None else grace, "ended")

        def _end(self, grace: float, how: str) -> ErasureRecord:
            if self._process == os.getpid():
                _fuse.pop(self.job, None)
            record, interrupt = self._raw.end(grace, how)
            self._record = record
            self._finalizer.detach()
            if interrupt is not None:
                raise interrupt
            return record

        def __enter__(self) -> Path | None:
            if not self._raw.is_live():
                raise StateError("this scratch disk has ended, or belongs to another process; make one of your own")
            return self.path

        def __exit__(
            self,
            kind: type[BaseException] | None,
            value: BaseException | None,
            traceback: TracebackType | None,
        ) -> None:
            if not self._raw.is_live():
                return
            if value is None:
                record = self._end(self._grace, "ended")
                if record.left_behind:
                    raise BusyError(_still_there(record))
                return
            try:
                record = self._end(min(self._grace, _GRACE_AFTER_EXCEPTION), f"ended by {type(value).__name__}")
            except Exception as error:
                value.add_note(f"ending the scratch disk failed: {type(error).__name__}: {error}")
                return
            if record.left_behind:
                value.add_note(_still_there(record))

        def __repr__(self) -> str:
            return f"<cmkit.Scratch job={self.job!r} path={str(self.path) if self.path else None!r}>"

    def _dropped(raw: _cmkit.RawScratch) -> None:
        # Also called at the end of the interpreter, and in a forked child at the end of that.
        if not raw.is_live():
            return
        _fuse.pop(raw.name, None)
        warnings.warn(f"the scratch disk {raw.name!r} was not ended and is erased now", ResourceWarning, stacklevel=2)
        raw.end(0.0, "dropped without an end")

    def scratch(
        size: int | str | None = None,
        dir: str | os.PathLike[str] | None = None,
        *,
        device: str | os.PathLike[str] | None = None,
        force: bool = False,
        mode: Literal["ephemeral", "xts"] = "ephemeral",
        block_size: int = 4096,
        keyring: Keyring | None = None,
        job: str | None = None,
        expose: _Expose = "mount",
        fs: Literal["ext4", "xfs"] = "ext4",
        path: str | os.PathLike[str] | None = None,
        owner: _Owner = None,
        state_dir: str | os.PathLike[str] | None = None,
        grace: float = 30.0,
    ) -> Scratch:
        """Makes an encrypted scratch disk: `with cmkit.scratch("10G") as path:` has a directory to write to, and leaving the block erases it, however that happens.

        size: bytes, or such as "10G" (powers of 1024); the room is taken as it is written, in a nameless file in dir, by default the directory for temporary
        files. Or device: all of a block device, refused with something on it unless force. mode: "ephemeral" is authenticated and gone with the process, "xts" is dm-crypt's layout
        without integrity. block_size: 4096, 16384 or 65536; 512 or 4096 for xts. keyring: whose keys stop the disk when they are taken away.

        expose: "mount", a file system (fs) on an empty directory (path), for which one has to be root; "file", one file over FUSE, in an empty directory (path); "nbd",
        an NBD server on a Unix socket (path); or None, for Scratch.volume alone. Without a path it is in the state directory. owner: whose the mounted directory is: a user's name or id, or (uid, gid).

        job: a name that no other running job has. state_dir: where running jobs and erasure records are written down; by default /run/cmkit for root, else cmkit in
        $XDG_RUNTIME_DIR, else cmkit-UID in the directory for temporary files. grace: seconds that end() waits for those who use a mount, before the key is destroyed all the same.
        """
        state = _state_dir(state_dir)
        name = f"python-{os.getpid()}-{secrets.token_hex(4)}" if job is None else job
        number = None if size is None else _bytes(size)
        if number is not None and device is None and dir is None:
            dir = tempfile.gettempdir()
        if expose == "nbd" and path is None:
            path = state / f"{name}.nbd"
        if not 0 <= grace < 1e9:
            raise ValueError("grace must be a number of seconds, 0 or more")
        foreign = _fuse_descriptors()
        raw = _cmkit.begin_scratch(
            state,
            name,
            number,
            dir,
            device,
            force=force,
            mode=mode,
            block_size=block_size,
            keyring=keyring,
            expose=expose,
            fs=fs,
            path=path,
            owner=_user_and_group(owner),
        )
        disk = Scratch(raw, grace)
        if expose in ("mount", "file") and disk.path is not None:
            # Once it has answered, it has all its descriptors.
            os.stat(disk.path)
            _fuse[name] = _fuse_descriptors() - foreign
        return disk

    def recover_scratch(state_dir: str | os.PathLike[str] | None = None) -> list[ErasureRecord]:
        """Cleans up after jobs whose process died: mounts, loop devices, sockets, files. A record of each; jobs that run are left alone.

        Their keys died with the processes. What couldn't be taken away is in left_behind, and is tried again next time.
        """
        return _cmkit.recover_scratch_in(_state_dir(state_dir))

    class VolumeFile(io.RawIOBase):
        """A volume as a raw file object with a position, for what wants one; from open_volume(). Closing it leaves the volume open."""

        def __init__(self, volume: Volume) -> None:
            self._volume = volume
            self._position = 0
            self.name = volume.id
            self.mode = "rb+"

        def readable(self) -> bool:
            return True

        def writable(self) -> bool:
            return True

        def seekable(self) -> bool:
            return True

        def _check(self) -> None:
            if self.closed:
                raise ValueError("I/O operation on closed file")

        def readinto(self, buffer: Buffer, /) -> int:
            self._check()
            with memoryview(buffer).cast("B") as view:
                size = min(len(view), max(self._volume.size - self._position, 0))
                self._volume.readinto_at(self._position, view[:size])
            self._position += size
            return size

        def write(self, data: Buffer, /) -> int:
            self._check()
            with memoryview(data).cast("B") as view:
                size = min(len(view), max(self._volume.size - self._position, 0))
                if size == 0 and len(view) > 0:
                    raise OSError(28, "the volume ends here")
                self._volume.write_at(self._position, view[:size])
            self._position += size
            return size

        def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
            self._check()
            if whence not in (io.SEEK_SET, io.SEEK_CUR, io.SEEK_END):
                raise ValueError("whence must be 0, 1 or 2")
            position = (0, self._position, self._volume.size)[whence] + offset
            if not 0 <= position < 1 << 63:
                raise ValueError("a seek to before the beginning, or beyond 2^63 bytes")
            self._position = position
            return position

        def tell(self) -> int:
            self._check()
            return self._position

        def truncate(self, size: int | None = None, /) -> int:
            raise io.UnsupportedOperation("a volume's size doesn't change")

        def flush(self) -> None:
            self._check()

    def open_volume(volume: Volume) -> VolumeFile:
        """A volume as a raw binary file object. Put an io.BufferedRandom around it for small reads and writes."""
        return VolumeFile(volume)

else:

    def _linux_only(*_arguments: Any, **_options: Any) -> Any:
        raise NotImplementedError("scratch disks are for Linux only")

    class _LinuxOnly:
        def __new__(cls, *_arguments: Any, **_options: Any) -> Any:
            _linux_only()

        create = create_reopenable = open = open_with_key = staticmethod(_linux_only)

    class Scratch(_LinuxOnly):
        """Linux only."""

    class Volume(_LinuxOnly):
        """Linux only."""

    class NbdServer(_LinuxOnly):
        """Linux only."""

    class VolumeFile(_LinuxOnly):
        """Linux only."""

    def scratch(*_arguments: Any, **_options: Any) -> Any:
        """Linux only."""
        _linux_only()

    def open_volume(*_arguments: Any, **_options: Any) -> Any:
        """Linux only."""
        _linux_only()

    def recover_scratch(*_arguments: Any, **_options: Any) -> Any:
        """Linux only."""
        _linux_only()


for _class in (Scratch, VolumeFile):
    _class.__module__ = "cmkit"
del _class
