"""Compiled CUDA kernels: what one is, where it is kept, and when it is unfit. A cache hit imports neither
numba nor CUDA.

A cubin is keyed by the content of all code that decides it, the architecture, and the versions of the
compilers; it lies in the object cache of cache.py beside the CPU's kernels.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import threading
from dataclasses import asdict, dataclass
from functools import cache as cache_result
from typing import Any

from .. import binding, cache
from ..jit import Parameter
from .launch import CudaKernel

_COMPILERS = ("numba", "numba-cuda", "nvidia-nvvm", "nvidia-nvjitlink", "cuda-core")
_GLUE = ("compile", "intrinsics", "intrinsics_math", "intrinsics_tensor", "scalar", "gpu", "launch", "trigonometry", "gamma")
_LOCK = threading.RLock()
_REGISTERS_OF_A_MULTIPROCESSOR = 65536


@dataclass(frozen=True)
class Cubin:
    """Machine code and the linker's report: entry name; registers a thread; bytes spilled, of stack, of
    shared memory.

    `doubles` counts float64 arithmetic and conversions to float64 in the PTX.
    """

    symbol: str
    code: bytes
    registers: int
    spills: int
    stack: int
    shared: int
    doubles: int


def param_dtype(param: Parameter, env: binding.Env) -> type:
    """The scalar type a kernel parameter (or its pointee) has in `env`.

    Raises TypeError when `env` does not say.
    """
    if isinstance(param.dtype, str):
        return binding.SCALARS[param.dtype]
    return binding.lookup(param.dtype, env)


@cache_result
def _build_digest() -> bytes:
    """Digest of what all cubins of this process depend on: the compilers and this folder's glue."""
    found = []
    for name in _COMPILERS:
        try:
            found.append((name, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            found.append(
                (name, "")
            )  # cubins of another environment may still be there, and are not to be mixed up
    glue = [binding.module_digest(f"{__package__}.{name}") for name in _GLUE]
    return hashlib.sha256(repr((found, glue)).encode()).digest()


def key(what: CudaKernel, env: binding.Env, cc: tuple[int, int]) -> str:
    """The name of a cubin in the cache."""
    options = (
        what.name,
        sorted(env.items()),
        cc,
        what.threads,
        what.min_blocks,
        sorted(what.fastmath),
        list(what.params.values()),
    )
    parts = (_build_digest(), repr(options).encode(), binding.fingerprint(what.py, env))
    return hashlib.sha256(b"".join(hashlib.sha256(p).digest() for p in parts)).hexdigest()


def cubin(
    what: CudaKernel, cc: tuple[int, int], T: str = "float32", S: str | None = None, **more: Any
) -> Cubin:
    """The code of `what` for compute capability `cc`: from the cache, else compiled now (needs numba-cuda)
    and stored.

    Raises ModuleNotFoundError, naming the extra to install, when it must be compiled and numba-cuda is
    absent.
    """
    env = {"T": T, **({} if S is None else {"S": S}), **more}
    name = key(what, env, cc)
    with _LOCK:
        stored = cache.read(name)
        if stored is not None:
            return Cubin(code=stored.blob, **json.loads(stored.symbol))
        try:
            from . import compile
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"CUDA kernel {what.name} must be compiled, but {error.name} is not installed; "
                "pip install 'numtorch[cuda]'."
            ) from error
        (made,) = compile.compile_kernel(what, env, cc)
        report = {k: v for k, v in asdict(made).items() if k != "code"}
        cache.write(name, cache.ObjectCode(json.dumps(report), made.code))
        return made


def faults(made: Cubin, what: CudaKernel, env: binding.Env) -> list[str]:
    """What makes a compiled kernel unfit.

    Spills, stack, float64 arithmetic it did not ask for, too many registers.
    """
    found = []
    if made.spills:
        found.append(f"spills {made.spills} bytes of registers")
    if made.stack:
        found.append(f"uses {made.stack} bytes of stack")
    if made.doubles and "float64" not in env.values():
        found.append(f"has {made.doubles} float64 operations")
    if made.registers * what.threads * what.min_blocks > _REGISTERS_OF_A_MULTIPROCESSOR:
        found.append(
            f"needs {made.registers} registers for {what.min_blocks} blocks of {what.threads} threads"
        )
    return found
