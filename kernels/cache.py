"""Object code on disk, shared by all processes of a user; a hit needs no numba.

One file per compiled kernel, named by the sha256 of everything the code depends on, with a checksum inside: a
damaged file is a miss. Files appear by an atomic rename, so any number of processes may read and write at
once. Where the directory cannot be written, code lives in memory for this process and one warning says so.

`NUMTORCH_CACHE_DIR` chooses the directory; the default is the user's cache directory of the platform.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import itertools
import linecache
import os
import platform
import struct
import sys
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_MAGIC = b"numtorch object 1\n"


@dataclass(frozen=True)
class ObjectCode:
    """Relocatable object file `blob` with the entry `symbol`; `portable` if other processes can run it."""

    symbol: str
    blob: bytes
    portable: bool = True


def directory() -> Path:
    """NUMTORCH_CACHE_DIR, or the platform's user cache directory. It need not exist yet."""
    chosen = os.environ.get("NUMTORCH_CACHE_DIR")
    if chosen:
        return Path(chosen)
    if sys.platform == "darwin":
        base = Path("~/Library/Caches")
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", "~/AppData/Local"))
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return base.expanduser() / "numtorch"


@cache
def _build_digest() -> bytes:
    """Digest of what all kernels of this process share: versions, CPU, features, the compiler glue."""
    import llvmlite

    from .binding import module_digest
    from .target import target

    glue_names = """compile_cpu compile_front compile_function compile_expressions compile_values syntax lean
    intrinsics_cpu binding jit"""
    glue = [module_digest(f"{__package__}.{name}") for name in glue_names.split()]
    numba = importlib.util.find_spec("numba")  # finds numba without importing it
    if numba is None or numba.origin is None:
        raise ImportError("numtorch needs numba, which is not installed.")
    numba_version = Path(numba.origin).with_name("_version.py").read_bytes()
    avx = os.environ.get("NUMBA_ENABLE_AVX")
    versions = (llvmlite.__version__, sys.version, platform.machine(), sys.platform)
    return hashlib.sha256(repr((_MAGIC, numba_version, versions, target(), avx, glue)).encode()).digest()


def key(*parts: bytes) -> str:
    """Name of the cache entry for code that depends on `parts` (and on what all code here depends on)."""
    return hashlib.sha256(
        b"".join([_build_digest(), *(hashlib.sha256(p).digest() for p in parts)])
    ).hexdigest()


def read(name: str) -> ObjectCode | None:
    """The entry `name`, or None when it is absent, unreadable or damaged."""
    try:
        data = (directory() / f"{name}.o").read_bytes()
    except OSError:
        return _MEMORY.get(name)
    start = len(_MAGIC)
    body = data[start + 32 :]
    if data[:start] != _MAGIC or data[start : start + 32] != hashlib.sha256(body).digest():
        return _MEMORY.get(name)
    (length,) = struct.unpack_from("<I", body)
    return ObjectCode(body[4 : 4 + length].decode(), body[4 + length :])


def write(name: str, code: ObjectCode) -> None:
    """Store `code` as `name`, atomically; in memory only, with one warning, if the directory refuses."""
    symbol = code.symbol.encode()
    body = struct.pack("<I", len(symbol)) + symbol + code.blob
    if not _replace(directory() / f"{name}.o", _MAGIC + hashlib.sha256(body).digest() + body):
        _MEMORY[name] = code


def source_file(text: str, name: str) -> str:
    """Path of a file with `text`, named by its hash; if none can be written, a name that linecache knows."""
    path = directory() / "generated" / f"{name}_{hashlib.sha256(text.encode()).hexdigest()[:24]}.py"
    try:
        if path.read_text(encoding="utf-8") == text:
            return str(path)
    except (OSError, UnicodeDecodeError):
        pass  # absent or damaged: written below
    if not _replace(path, text.encode()):
        linecache.cache[f"<{path.name}>"] = (
            len(text),
            None,
            text.splitlines(keepends=True),
            f"<{path.name}>",
        )
        return f"<{path.name}>"
    return str(path)


_MEMORY: dict[str, ObjectCode] = {}
_COUNT = itertools.count()
_WARNED: list[str] = []


def _replace(path: Path, data: bytes) -> bool:
    """Write `data` to `path` by a temporary file and a rename; False, with one warning, if refused."""
    temporary = path.with_name(f".new-{os.getpid()}-{next(_COUNT)}-{os.urandom(4).hex()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(temporary, "xb") as file:
            file.write(data)
        os.replace(temporary, path)
        return True
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if not _WARNED:
            _WARNED.append(str(error))
            warnings.warn(
                f"compiled kernels cannot be stored in {directory()} ({error}); each process will compile "
                f"them again. Set NUMTORCH_CACHE_DIR to a directory that can be written.",
                RuntimeWarning,
                stacklevel=2,
            )
        return False
