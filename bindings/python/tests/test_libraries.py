"""Other people's code over our file objects."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped,unused-ignore]
import pyarrow.parquet as pq  # type: ignore[import-untyped,unused-ignore]
import pytest

import cmkit


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file.cmk"


def test_shutil(keyring: cmkit.Keyring, path: Path) -> None:
    data = os.urandom(1_000_000)
    with cmkit.open(path, "wb", keyring=keyring) as sink:
        shutil.copyfileobj(io.BytesIO(data), sink)
    out = io.BytesIO()
    with cmkit.open(path, keyring=keyring) as file:
        shutil.copyfileobj(file, out)
    assert out.getvalue() == data


def test_pickle(keyring: cmkit.Keyring, path: Path) -> None:
    value = {"numbers": list(range(10_000)), "array": np.arange(100_000), "text": "é" * 50_000}
    with cmkit.open(path, "wb", keyring=keyring) as sink:
        pickle.dump(value, sink, protocol=5)
        pickle.dump("next", sink)
    with cmkit.open(path, keyring=keyring) as file:
        again = pickle.load(file)
        assert pickle.load(file) == "next"
    assert again["numbers"] == value["numbers"] and np.array_equal(again["array"], np.arange(100_000))


def test_numpy(keyring: cmkit.Keyring, path: Path) -> None:
    array = np.random.default_rng(1).random((300, 1000))
    with cmkit.open(path, "wb", keyring=keyring) as sink:
        np.save(sink, array)
        np.save(sink, array[:2])
    with cmkit.open(path, keyring=keyring) as file:
        assert np.array_equal(np.load(file), array) and np.array_equal(np.load(file), array[:2])
    with cmkit.open(path, "wb", keyring=keyring) as sink:
        np.savez(sink, a=array, b=np.arange(3))
    with cmkit.open(path, keyring=keyring) as file, np.load(file) as loaded:
        assert np.array_equal(loaded["a"], array) and list(loaded["b"]) == [0, 1, 2]


def test_pyarrow(keyring: cmkit.Keyring, path: Path) -> None:
    table = pa.table({"n": list(range(50_000)), "s": [str(n) for n in range(50_000)]})
    with cmkit.open(path, "wb", keyring=keyring) as sink:
        pq.write_table(table, sink, row_group_size=10_000)
    with cmkit.open(path, keyring=keyring) as file:
        assert pq.read_table(file).equals(table)
    with cmkit.open(path, keyring=keyring) as file:
        parquet = pq.ParquetFile(pa.PythonFile(file, mode="r"))
        assert parquet.read_row_group(3, columns=["n"])["n"][0].as_py() == 30_000


def test_zip_and_tar(keyring: cmkit.Keyring, path: Path) -> None:
    data = os.urandom(100_000)
    with cmkit.open(path, "wb", keyring=keyring) as sink, zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("a/b", data)
        archive.writestr("c", b"c")
    with cmkit.open(path, keyring=keyring) as file, zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None and archive.read("a/b") == data
    with cmkit.open(path, "wb", keyring=keyring) as sink, tarfile.open(fileobj=sink, mode="w") as tar:
        info = tarfile.TarInfo("x")
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    with cmkit.open(path, keyring=keyring) as file, tarfile.open(fileobj=file) as tar:
        member = tar.extractfile("x")
        assert member is not None and member.read() == data


def test_what_torch_load_does(keyring: cmkit.Keyring, path: Path) -> None:
    """It looks at the first bytes, seeks to the end for the length, reads a zip's directory there, and reads each tensor by readinto."""
    tensors = {f"archive/data/{n}": os.urandom(40_000 + n) for n in range(5)}
    with cmkit.open(path, "wb", keyring=keyring) as sink, zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for name, data in tensors.items():
            archive.writestr(name, data)
    with cmkit.open(path, keyring=keyring) as file:
        for method in ("read", "readline", "tell", "seek", "readinto"):
            assert callable(getattr(file, method))
        start = file.tell()
        assert file.read(4) == b"PK\x03\x04"
        file.seek(0, os.SEEK_END)
        assert file.tell() == file.size
        file.seek(start)
        with zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                file.seek(info.header_offset + 30 + len(info.filename))
                buffer = bytearray(info.file_size)
                assert file.readinto(buffer) == info.file_size and buffer == tensors[info.filename]


def test_io_wrappers(keyring: cmkit.Keyring, path: Path) -> None:
    with io.BufferedWriter(cmkit.open(path, "wb", keyring=keyring)) as buffered:  # type: ignore[arg-type,type-var,unused-ignore]
        for n in range(10_000):
            buffered.write(b"%d\n" % n)
    with io.BufferedReader(cmkit.open(path, keyring=keyring)) as reader:  # type: ignore[arg-type,type-var,unused-ignore]
        assert [int(line) for line in reader] == list(range(10_000))
