"""The zip archive of a .pth file: stored records, each beginning at a multiple of 64 bytes, as PyTorch writes
them.

``<name>/data.pkl`` is the pickle, ``<name>/data/<number>`` the bytes of each storage, ``<name>/version`` and
``<name>/byteorder`` say how to read them.
"""

from __future__ import annotations

import io
import struct
import sys
import zipfile
import zlib
from collections.abc import Sequence
from typing import Any

from ..storage import Storage, allocate
from .names import LoadedStorage, StorageKind, refuse

ALIGNMENT = 64
_HEADER = 30  # bytes of a zip entry's local header before its name
_ZIP64_EXTRA = 20
_BIG = 0xF0000000  # entries from here on get 64-bit sizes
# What zipfile raises for archives that are damaged, encrypted or compressed in unknown ways.
_ZIP_ERRORS = (
    zipfile.BadZipFile,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    struct.error,
    zlib.error,
)


def host_bytes(storage: Storage) -> memoryview:
    """The bytes of a storage, copied to the host if they are elsewhere."""
    if storage.device != "cpu":
        return host_bytes(moved(storage, "cpu"))
    return storage.bytes()


def moved(storage: Storage, device: str) -> Storage:
    """A copy of a storage on another device."""
    from .._tensor import Tensor
    from ..dtype import uint8
    from ..shape import contiguous

    flat = Tensor._make(storage, 0, contiguous((storage.nbytes,), uint8, storage.device))
    return flat.to(device).untyped_storage()


class Writer:
    """Writes records into a zip file; ``close`` adds what ends it."""

    def __init__(self, file: Any, name: str):
        self._zip = zipfile.ZipFile(file, "w", zipfile.ZIP_STORED)
        self._root = name
        self._names: list[str] = []
        self._crc = 0

    def add(self, name: str, data: bytes | memoryview) -> None:
        """One record."""
        info = zipfile.ZipInfo(f"{self._root}/{name}", (1980, 1, 1, 0, 0, 0))
        info.file_size = len(data)
        big = len(data) >= _BIG
        file = self._zip.fp
        assert file is not None
        start = file.tell() + _HEADER + len(info.filename.encode()) + 4 + (_ZIP64_EXTRA if big else 0)
        padding = -start % ALIGNMENT
        info.extra = b"FB" + padding.to_bytes(2, "little") + b"Z" * padding
        with self._zip.open(info, "w", force_zip64=big) as entry:
            entry.write(data)
        info.extra = b""  # the directory at the end needs no padding
        self._names.append(info.filename)
        self._crc = zlib.crc32(info.CRC.to_bytes(4, "little"), self._crc)

    def close(self) -> None:
        """Write the version, the serialization id and the directory."""
        self.add("version", b"3\n")
        names = zlib.crc32("".join(self._names).encode())
        self.add(".data/serialization_id", f"{names:020d}{self._crc:020d}".encode())
        self._zip.close()


def write(file: Any, name: str, pickled: bytes, storages: Sequence[Storage]) -> None:
    """The whole archive of a pickle and its storages."""
    out = Writer(file, name)
    out.add("data.pkl", pickled)
    out.add(".format_version", b"1")
    out.add(".storage_alignment", str(ALIGNMENT).encode())
    out.add("byteorder", sys.byteorder.encode())
    for i, storage in enumerate(storages):
        out.add(f"data/{i}", host_bytes(storage))
    out.close()


class Reader:
    """The records of an archive; ``label`` names the file in messages.

    Raises RuntimeError for an archive that is damaged or not one of a .pth file.
    """

    def __init__(self, file: Any, label: str):
        self._label = label
        try:
            self._zip = zipfile.ZipFile(file)
        except _ZIP_ERRORS as error:
            raise self._damaged("failed finding central directory", error) from error
        names = self._zip.namelist()
        pickles = [n for n in names if n.endswith("/data.pkl")]
        if not pickles:
            what = "holds no data.pkl" + (f", but {', '.join(names[:3])}" if names else ", it is empty")
            raise RuntimeError(
                f"load: {label} is a zip file but not one of numtorch.save or torch.save: it {what}"
            )
        self._root = min(pickles, key=len).removesuffix("data.pkl")
        if self._root + "constants.pkl" in names:
            raise RuntimeError(
                f"load: {label} is a TorchScript archive; load it in PyTorch and save its state_dict() with"
                " torch.save"
            )
        order = self.optional("byteorder", sys.byteorder.encode()).decode("ascii", "replace")
        if order not in ("little", "big"):
            raise RuntimeError(
                f"load: {label} has the unknown byte order {order!r}; expected 'little' or 'big'"
            )
        self._swap = order != sys.byteorder

    def _damaged(self, what: str, error: Exception) -> RuntimeError:
        return RuntimeError(
            f"load: {self._label} is a damaged or truncated .pth file: {what} ({error}); copy or save it anew"
        )

    def _info(self, name: str) -> zipfile.ZipInfo:
        try:
            return self._zip.getinfo(self._root + name)
        except KeyError as error:
            raise self._damaged(f"record {name} is missing", error) from error

    def read(self, name: str) -> bytes:
        """The content of a record."""
        info = self._info(name)
        try:
            return self._zip.read(info)
        except _ZIP_ERRORS as error:
            raise self._damaged(f"record {name} can't be read", error) from error

    def optional(self, name: str, default: bytes) -> bytes:
        """The content of a record, or the default if there is none."""
        return self.read(name) if self._root + name in self._zip.NameToInfo else default

    def pickle(self) -> io.BytesIO:
        """The pickle."""
        return io.BytesIO(self.read("data.pkl"))

    def storage(self, key: str, kind: StorageKind, numel: int) -> LoadedStorage:
        """The storage in record ``data/<key>``, read into new memory."""
        itemsize = kind.dtype.itemsize if kind.dtype is not None else 1
        info = self._info(f"data/{key}")
        if info.file_size != numel * itemsize:
            raise refuse(
                f"storage {key} should have {numel} elements of {itemsize} bytes, but its record has"
                f" {info.file_size} bytes; {self._label} is damaged"
            )
        storage = allocate(info.file_size)
        try:
            self._fill(info, storage)
        except _ZIP_ERRORS as error:
            raise self._damaged(f"storage {key} can't be read", error) from error
        return finished(storage, kind, self._swap)

    def _fill(self, info: zipfile.ZipInfo, storage: Storage) -> None:
        target = storage.bytes()
        done = 0
        with self._zip.open(info) as opened:
            record: Any = opened  # a ZipExtFile, which can read into memory
            while True:
                n = record.readinto(target[done : done + (1 << 24)] if done < len(target) else bytearray(1))
                if not n:  # reading past the last byte makes zipfile compare the checksum
                    break
                done += n
        if done != len(target):
            raise EOFError(f"{done} of {len(target)} bytes")


def finished(storage: Storage, kind: StorageKind, swap: bool) -> LoadedStorage:
    """A storage as read from a file, in this machine's byte order."""
    import numpy as np

    if swap and kind.dtype is not None and kind.dtype.itemsize > 1:
        whole = np.dtype(f"u{kind.dtype.itemsize}")
        storage.array((storage.nbytes // whole.itemsize,), (1,), whole, 0).byteswap(inplace=True)
    return LoadedStorage(storage, kind.dtype)
