"""``save`` and ``load``: PyTorch's .pth files, written and read without PyTorch.

A file that ``save`` writes is read by ``torch.load`` and the other way round. By default loading executes
nothing that a file asks for. Saving replaces a file in one step, so that a crash leaves the old one.
"""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import stat
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

from .absent import hints as _hints
from .device import canonical
from .pth import archive, legacy
from .pth.names import ALLOWED, LoadedStorage, StorageKind, absent_dtype, refuse
from .pth.pickler import Pickler
from .pth.unpickler import Unpickler, user_names
from .storage import Storage

__all__ = ["add_safe_globals", "clear_safe_globals", "get_safe_globals", "load", "safe_globals", "save"]

_safe: list[Any] = []


def save(
    obj: Any,
    f: Any,
    pickle_module: Any = None,
    pickle_protocol: int = 2,
    _use_new_zipfile_serialization: bool = True,
) -> None:
    """Write an object (a state dict, tensors, any nesting of plain values) to a path or a file in PyTorch's
    format.

    Tensors that share memory share it again after loading. A path is replaced atomically once everything is
    written.

    Raises:
        TypeError, pickle.PicklingError: something in the object can't be pickled.
        RuntimeError: two tensors see one memory with different dtypes.

    Example:
        >>> import io, numtorch
        >>> file = io.BytesIO()
        >>> numtorch.save({"w": numtorch.ones(2)}, file)
        >>> _ = file.seek(0)
        >>> numtorch.load(file)
        {'w': tensor([1., 1.])}
    """
    if not _use_new_zipfile_serialization:
        raise NotImplementedError(
            "save: only PyTorch's zip format (of 1.6 and later) is written; leave the flag True"
        )
    if pickle_module not in (None, pickle):
        raise NotImplementedError(
            "save: pickle_module must be Python's pickle, which numtorch extends; leave it out"
        )
    buffer = io.BytesIO()
    pickler = Pickler(buffer, pickle_protocol)
    pickler.dump(obj)
    content = buffer.getvalue(), pickler.records
    if hasattr(f, "write"):
        _write_to_file(f, *content)
    elif isinstance(f, (str, os.PathLike)):
        path = os.path.realpath(os.fspath(f))  # a link stays a link
        with _replacing(path) as file:
            archive.write(file, _archive_name(path), *content)
    else:
        raise AttributeError(
            "save: expected 'f' to be string, path, or a file-like object with a 'write' attribute, got"
            f" {type(f).__name__}"
        )


def _archive_name(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0] or "archive"


def _write_to_file(f: Any, pickled: bytes, records: list[Storage]) -> None:
    """Through a buffer: entries are finished backwards, which a file that can only be written doesn't
    allow."""
    buffer = io.BytesIO()
    archive.write(buffer, "archive", pickled, records)
    f.write(buffer.getbuffer())


@contextlib.contextmanager
def _replacing(path: str) -> Iterator[Any]:
    """A new file that takes the place of ``path`` when the block ends well, and disappears otherwise."""
    mode = None
    try:
        status = os.stat(path)
        mode = stat.S_IMODE(status.st_mode)
        if not stat.S_ISREG(status.st_mode):  # a pipe or a device can't be replaced
            with open(path, "wb") as file:
                buffer = io.BytesIO()
                yield buffer
                file.write(buffer.getbuffer())
            return
    except FileNotFoundError:
        mask = os.umask(0)
        os.umask(mask)
        mode = 0o666 & ~mask
    folder, name = os.path.split(path)
    if not os.path.isdir(folder):
        raise RuntimeError(f"save: Parent directory {folder} does not exist; make it with os.makedirs")
    handle, temporary = tempfile.mkstemp(prefix=f".{name}.", suffix=".tmp", dir=folder)
    try:
        with open(handle, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    _sync_folder(folder)


def _sync_folder(folder: str) -> None:
    """Make the new name durable, where folders can be opened (not on Windows)."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def load(
    f: Any,
    map_location: Any = None,
    pickle_module: Any = None,
    *,
    weights_only: bool | None = None,
    mmap: bool | None = None,
    **pickle_load_args: Any,
) -> Any:
    """Read what ``save`` or ``torch.save`` has written to a path or a file.

    Args:
        f: a path, or a file opened for reading in binary mode that can seek.
        map_location: where tensors go: a device, a dict from locations to devices, or ``function(storage,
            location)`` that returns a storage or None. By default they go where they were saved from.
        weights_only: True (the default) accepts tensors and plain values only and executes nothing; False
            reads any pickle and may run any code, so use it on files that you trust.
        mmap: accepted; the file is read in full in either case.

    Raises:
        pickle.UnpicklingError: the file is none of these formats, or names something that is not allowed.
        RuntimeError: it is damaged, or its tensors belong to a device that is not here.
        EOFError: it is empty or ends early.
    """
    if pickle_module not in (None, pickle):
        raise NotImplementedError(
            "load: pickle_module must be Python's pickle, which numtorch extends; leave it out"
        )
    if pickle_load_args.keys() - {"encoding", "fix_imports", "errors"}:
        raise TypeError(f"load() got unexpected keyword arguments {sorted(pickle_load_args)}")
    safely = weights_only is None or bool(weights_only)
    place = _placer(map_location)
    if isinstance(f, (str, os.PathLike)):
        with open(f, "rb") as file:
            return _load(file, os.fspath(f), place, safely)
    if not hasattr(f, "read") or not hasattr(f, "seek"):
        raise TypeError(
            f"load: expected 'f' to be a path or a file with read() and seek(), got {type(f).__name__}"
        )
    return _load(f, repr(getattr(f, "name", "the file")), place, safely)


def _load(file: Any, label: str, place: Callable[[Storage, str], Storage], safely: bool) -> Any:
    start = file.tell()
    head = file.read(512)
    file.seek(start)

    def unpickle(source: Any, persistent_load: Callable[[Any], Any]) -> Any:
        if safely:
            return Unpickler(source, ALLOWED, user_names(_safe), persistent_load).load()
        return _AnyUnpickler(source, persistent_load).load()

    if head.startswith(legacy.MAGIC):
        return legacy.load(file, label, unpickle, place)
    if not head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        raise _foreign(head, label)
    reader = archive.Reader(file if start == 0 else io.BytesIO(file.read()), label)
    storages: dict[str, LoadedStorage] = {}

    def persistent_load(pid: Any) -> LoadedStorage:
        if len(pid) != 5 or not isinstance(pid[1], StorageKind) or type(pid[4]) is not int or pid[4] < 0:
            raise refuse(f"storage id {pid!r} is not one of a .pth file; {label} is damaged")
        _, kind, key, location, numel = pid
        if key not in storages:
            memory = reader.storage(str(key), kind, numel)
            memory.storage = place(memory.storage, str(location))
            storages[key] = memory
        return storages[key]

    return unpickle(reader.pickle(), persistent_load)


def _foreign(head: bytes, label: str) -> Exception:
    """The error for a file that is no .pth file, with a guess at what it is."""
    if not head:
        return EOFError(f"load: Ran out of input: {label} is empty")
    guesses = [
        (head[257:262] == b"ustar", "a tar file of PyTorch before 0.1.10; save it anew with a newer PyTorch"),
        (
            head.startswith(b"version https://git-lfs"),
            "a Git LFS pointer, not the file itself; run `git lfs pull`",
        ),
        (
            head[8:9] == b"{" and head[:8][4:] == b"\0\0\0\0",
            "a safetensors file; read it with numtorch.safetensors.load_file",
        ),
        (head.startswith(b"\x93NUMPY"), "a NumPy file; read it with numpy.load"),
        (head.startswith(b"\x89HDF"), "an HDF5 file"),
        (
            head.lstrip().startswith((b"<", b"{")),
            "a text file, perhaps an error page that was downloaded instead",
        ),
        (head.startswith(b"\x80"), "a plain pickle, not one that numtorch.save or torch.save has written"),
    ]
    guess = next((text for fits, text in guesses if fits), "something else")
    return pickle.UnpicklingError(
        f"load: {label} is not a .pth file: it begins with {head[:8]!r} instead of b'PK\\x03\\x04'. It"
        f" seems to be {guess}."
    )


class _AnyUnpickler(pickle.Unpickler):
    """Python's unpickler, for files that are trusted; PyTorch's names stand for numtorch's objects."""

    def __init__(self, file: Any, persistent_load: Callable[[Any], Any]):
        super().__init__(file)
        self._persistent_load = persistent_load

    def persistent_load(self, pid: Any) -> Any:
        return self._persistent_load(pid)

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if module != "torch" and not module.startswith("torch."):
            return super().find_class(module, name)
        if full in ALLOWED:
            return ALLOWED[full]
        if absent_dtype(full) is not None:
            raise refuse(
                f"the file holds {absent_dtype(full)} tensors, which numtorch doesn't have; convert them in"
                " PyTorch"
            )
        raise refuse(
            f"the file holds an object of PyTorch's class {full}, which only PyTorch can rebuild; save"
            " `model.state_dict()`"
        )


# -- where storages go


def _placer(map_location: Any) -> Callable[[Storage, str], Storage]:
    """A function that puts a storage, read into host memory, where it belongs."""
    if map_location is None:
        return _restore
    if callable(map_location):

        def ask(storage: Storage, location: str) -> Storage:
            result: Any = map_location(storage, location)
            return _restore(storage, location) if result is None else result

        return ask
    if isinstance(map_location, dict):
        return lambda storage, location: _restore(storage, str(map_location.get(location, location)))
    target = str(map_location)
    canonical(target)  # an unknown device is an error even in a file without tensors
    return lambda storage, location: _restore(storage, target)


def _restore(storage: Storage, location: str) -> Storage:
    if location == "cpu":
        return storage
    if location.partition(":")[0] != "cuda":
        raise RuntimeError(
            f"load: don't know how to restore a storage on {location!r}; numtorch has 'cpu' and 'cuda':"
            " load the file with map_location='cpu'"
        )
    from . import cuda

    if not cuda.is_available():
        raise RuntimeError(
            "load: Attempting to deserialize object on a CUDA device but numtorch.cuda.is_available() is"
            " False. If you are running on a CPU-only machine, please use numtorch.load with"
            " map_location='cpu' to map your storages to the CPU."
        )
    return archive.moved(storage, canonical(location))


# -- what a user declares safe


def add_safe_globals(safe_globals: list[Any]) -> None:
    """Let ``load`` make objects of these classes (or call these functions); pairs (object, "module.name")
    give another name.

    Example:
        >>> import fractions, numtorch
        >>> numtorch.serialization.add_safe_globals([fractions.Fraction])
        >>> numtorch.serialization.clear_safe_globals()
    """
    user_names(safe_globals)
    _safe.extend(item for item in safe_globals if item not in _safe)


def clear_safe_globals() -> None:
    """Forget everything that was declared safe."""
    _safe.clear()


def get_safe_globals() -> list[Any]:
    """What was declared safe."""
    return list(_safe)


@contextlib.contextmanager
def _safe_within(items: list[Any]) -> Iterator[None]:
    before = list(_safe)
    add_safe_globals(items)
    try:
        yield
    finally:
        _safe[:] = before


def safe_globals(safe_globals: list[Any]) -> contextlib.AbstractContextManager[None]:
    """Declare classes safe for a ``with`` block."""
    return _safe_within(safe_globals)

__getattr__ = _hints(__name__)
