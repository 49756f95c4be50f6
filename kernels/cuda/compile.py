"""From a CUDA kernel to a cubin, without a GPU: numba-cuda makes PTX, nvJitLink makes the cubin and reports
on it.

Imported only when something must be compiled; `cubin()` in cubins.py is the way in, with the cache before it.
"""

from __future__ import annotations

import re
import threading
import weakref
from typing import Any

import numpy as np
from cuda.core import Linker, LinkerOptions, ObjectCode
from numba.cuda import types
from numba.cuda.compiler import _compile_pyfunc_with_fixup, compile_cuda
from numba.cuda.dispatcher import CUDADispatcher
from numba.cuda.np.numpy_support import from_dtype

from .. import binding
from ..binding import Device, Intrinsic, Placeholder
from . import intrinsics, intrinsics_math, intrinsics_tensor, scalar
from .cubins import Cubin, param_dtype
from .launch import CudaKernel

_LOCK = threading.RLock()
# Compiled device functions, by environment and architecture: kernels share them.
_DEVICES: weakref.WeakKeyDictionary[Device, dict[Any, Any]] = weakref.WeakKeyDictionary()

# float64 in PTX: arithmetic, and widening from another type. A float64 parameter that is only narrowed is
# allowed.
_ARITHMETIC = re.compile(
    r"^\s*(?:@\S+\s+)?(?:add|sub|mul|fma|mad|div|rcp|sqrt|rsqrt|neg|abs|min|max|setp?|selp)\.[\w.]*f64\b",
    re.M,
)
_WIDENING = re.compile(r"\bcvt\.(?:[\w]+\.)*f64\.(?!f64)\w+", re.M)


class _DeviceFunction(CUDADispatcher):
    """A helper function compiled for the kernel's architecture.

    (numba's own asks the current GPU, which may be absent.)
    """

    def __init__(self, py: Any, cc: tuple[int, int]):
        super().__init__(
            py, {"device": True, "debug": False, "lineinfo": False, "opt": True, "fastmath": False}
        )
        self._cc = cc

    def compile_device(self, args: Any, return_type: Any = None) -> Any:
        if args not in self.overloads:
            with self._compiling_counter:
                options = {"opt": 3, "fastmath": False}
                made = compile_cuda(
                    self.py_func, return_type, args, forceinline=True, nvvm_options=options, cc=self._cc
                )
                self.overloads[args] = made
                made.target_context.insert_user_function(made.entry_point, made.fndesc, [made.library])
        return self.overloads[args]


class _Specialiser:
    """Replaces placeholders by numba objects for one environment and architecture."""

    def __init__(self, env: binding.Env, cc: tuple[int, int]):
        self.env, self.cc = env, cc

    def replace(self, value: Any) -> Any:
        if isinstance(value, Placeholder):
            return binding.lookup(value, self.env)
        if isinstance(value, Device):
            value = scalar.twin(value)
        if isinstance(value, Intrinsic):
            homes = (intrinsics, intrinsics_math, intrinsics_tensor)
            found = next((getattr(m, value.name) for m in homes if hasattr(m, value.name)), None)
            if found is None:
                raise TypeError(f"{value.name} has no meaning on CUDA; see gpu.py for what a kernel may use.")
            return found
        if isinstance(value, Device):
            made = _DEVICES.setdefault(value, {})
            key = (*sorted(self.env.items()), self.cc)
            if key not in made:
                made[key] = _DeviceFunction(binding.rebind(value.py, self.env, self.replace), self.cc)
            return made[key]
        if isinstance(value, CudaKernel):
            raise TypeError(
                f"a kernel cannot call the kernel {value.name!r}; move the shared part to a @device function."
            )
        return value


def _signature(what: CudaKernel, env: binding.Env) -> tuple[Any, ...]:
    found = []
    for param in what.params.values():
        scalar_type = from_dtype(np.dtype(param_dtype(param, env)))
        found.append(types.CPointer(scalar_type) if param.kind == "pointer" else scalar_type)
    return tuple(found)


def lowered(what: CudaKernel, env: binding.Env, cc: tuple[int, int]) -> Any:
    """numba's library of `what` specialised by `env` (dtype names and numbers).

    LLVM IR that `ptx` turns into PTX.
    """
    with _LOCK:
        function = binding.rebind(what.py, env, _Specialiser(env, cc).replace)
        bounds = (what.threads, what.min_blocks)
        library, _ = _compile_pyfunc_with_fixup(
            function, _signature(what, env), device=False, cc=cc, abi="numba", launch_bounds=bounds
        )  # what numba's compile_ptx does, which has no option for fma
        library._nvvm_options["fma"] = int("contract" in what.fastmath)
        return library


def ptx(library: Any, cc: tuple[int, int]) -> str:
    """PTX of a lowered kernel for compute capability `cc`, e.g. (9, 0)."""
    with _LOCK:
        return library.get_asm_strs(cc=cc)[0]


def compile_kernel(what: CudaKernel, env: binding.Env, *ccs: tuple[int, int]) -> list[Cubin]:
    """Compile and link `what` for each of `ccs`. Raises RuntimeError when the result has no entry."""
    library = lowered(what, env, ccs[0])
    return [_cubin(what, ptx(library, cc), cc) for cc in ccs]


def _cubin(what: CudaKernel, text: str, cc: tuple[int, int]) -> Cubin:
    symbol = re.search(r"\.visible\s+\.entry\s+([\w$]+)", text)
    if symbol is None:
        raise RuntimeError(f"kernel {what.name}: the PTX has no entry.")
    code, log = _link(text, f"sm_{cc[0]}{cc[1]}")
    spilled = _number(r"(\d+) bytes spill stores", log) + _number(r"(\d+) bytes spill loads", log)
    return Cubin(
        symbol=symbol.group(1), code=code, registers=_number(r"Used (\d+) registers", log), spills=spilled,
        stack=_number(r"(\d+) bytes stack frame", log), shared=_number(r"(\d+) bytes smem", log),
        doubles=len(_ARITHMETIC.findall(text)) + len(_WIDENING.findall(text)),
    )  # fmt: skip


def _link(text: str, arch: str) -> tuple[bytes, str]:
    """(cubin, report) of PTX by nvJitLink; needs neither GPU nor driver."""
    options = LinkerOptions(arch=arch, ptxas_options=["-v"], verbose=True)
    linker = Linker(ObjectCode.from_ptx(text.encode()), options=options)
    code = bytes(linker.link("cubin").code)
    return code, linker.get_info_log() or ""


def _number(pattern: str, log: str) -> int:
    found = re.search(pattern, log)
    return int(found.group(1)) if found else 0
