"""A scratch disk for a job: encrypted, and erased when the block is left, however that happens."""

import tempfile
from pathlib import Path

import cmkit

with tempfile.TemporaryDirectory() as directory:
    room = {"dir": directory, "state_dir": Path(directory) / "state"}
    try:
        # Without state_dir the node's own is used, where `cmkit.recover_scratch()` finds what a killed process left.
        disk = cmkit.scratch("64M", **room)
    except cmkit.AccessDeniedError as error:
        # Mounting takes root. A file over FUSE or an NBD server doesn't, and the disk in this process takes nothing at all.
        print(error)
        disk = cmkit.scratch("64M", expose=None, **room)
    with disk as path:
        if path is not None:
            (path / "checkpoint").write_bytes(b"intermediate results")
        else:
            disk.volume.write_at(0, b"intermediate results")
    print(disk.record)

    # The same without a job, for use in this process only. What was changed behind its back is an error, never data.
    ciphertext = Path(directory) / "volume"
    with cmkit.Volume.create(1 << 20, file=ciphertext) as volume:
        volume.write_at(8192, b"attack at dawn")
        assert volume.read_at(8192, 14) == b"attack at dawn"
        assert b"attack" not in ciphertext.read_bytes()
        with ciphertext.open("r+b") as file:
            file.seek(8192)
            file.write(b"retreat")
        try:
            volume.read_at(8192, 14)
        except cmkit.AuthenticationError as error:
            print(error.block, error)
