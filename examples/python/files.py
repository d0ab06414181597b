"""Files: whole, in part, and as what other libraries read and write."""

import pickle
import shutil
import tempfile
import zipfile
from pathlib import Path

import cmkit

with tempfile.TemporaryDirectory() as directory:
    folder = Path(directory)
    provider = cmkit.LocalKeyProvider(folder / "keys")
    provider.create_key("team")
    keyring = cmkit.Keyring(provider, keys="local:team")

    # The file appears, whole, at the end of the block. Leaving it by an exception leaves nothing.
    with cmkit.open(folder / "model.cmk", "wb", keyring=keyring, context={"model": "7"}) as sink:
        pickle.dump({"weights": list(range(100_000))}, sink)
    with cmkit.open(folder / "model.cmk", keyring=keyring, context={"model": "7"}) as file:
        print(f"{file.size} bytes of plaintext, the last ones: {file.read_at(4, file.size - 4)!r}")
        assert len(pickle.load(file)["weights"]) == 100_000

    # Anything that takes a seekable binary file takes this one.
    with cmkit.open(folder / "archive.cmk", "wb", keyring=keyring) as sink, zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("notes.txt", "inside a zip inside an envelope")
    with cmkit.open(folder / "archive.cmk", keyring=keyring) as file, zipfile.ZipFile(file) as archive:
        print(archive.read("notes.txt").decode())

    # From file to file, over all CPUs.
    (folder / "big").write_bytes(bytes(10_000_000))
    keyring.encrypt_file(folder / "big", folder / "big.cmk")
    keyring.decrypt_file(folder / "big.cmk", folder / "big.back")

    # A stream in the midst of others.
    with open(folder / "sealed", "wb") as raw, keyring.encryptor(raw) as stream:
        with open(folder / "big", "rb") as source:
            shutil.copyfileobj(source, stream)

    # Another key for the same file; the data stays as it is.
    provider.create_key("archive")
    print("rewrapped", keyring.rewrap_file(folder / "big.cmk", "local:archive"))
