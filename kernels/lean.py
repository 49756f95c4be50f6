"""Make numba's back end do its work once per kernel. Imported only when compiling.

Numba optimises and assembles every function on its own, although all of them are inlined into the kernel's entry and only
that is kept: measured, half of the compile time. Inside `lean()` functions are merely linked; `emit` optimises and assembles
the entry.

`emit` assembles without LLVM's loop strength reduction, which took two thirds of that time for loops over many pointers
(register tiles); the loops that gained by it count in steps themselves (conv.py). On AVX-512, whose tiles have more rows, it
stays: they would need more registers for addresses than there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import llvmlite.binding as llvm
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target

from .target import target


class _LinkedOnly(JITCodeLibrary):
    """A library of functions to be linked into others: neither optimised nor assembled."""

    def _optimize_functions(self, ll_module: Any) -> None:
        """Left to the entry."""

    def _optimize_final_module(self) -> None:
        """Left to the entry."""

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True


def _no_executable(library: Any, fndesc: Any, env: Any) -> Any:
    """Stands for the Python callable of a function; numba wants a new built-in function object for each."""
    library._ensure_finalized()
    return [].append


@contextmanager
def lean() -> Iterator[None]:
    """Compile inside without machine code: dispatchers made here can only be linked or passed to `emit`."""
    context = cpu_target.target_context
    codegen = context.codegen()
    with global_compiler_lock:
        if codegen._library_class is _LinkedOnly:
            yield
            return
        usual, codegen._library_class = codegen._library_class, _LinkedOnly
        context.get_executable = _no_executable
        try:
            yield
        finally:
            codegen._library_class = usual
            del context.get_executable


@contextmanager
def _quick_code() -> Iterator[None]:
    """The code generator without loop strength reduction, where that costs no speed (not with AVX-512)."""
    if target().vector_bytes < 64:
        llvm.set_option("", "-disable-lsr")  # for the whole process, hence only for this moment
    try:
        yield
    finally:
        llvm.set_option("", "-disable-lsr=false")


def emit(library: Any) -> bytes:
    """Object code of a library compiled inside `lean()`."""
    with global_compiler_lock:
        library._ensure_finalized()
        JITCodeLibrary._optimize_final_module(library)
        library._final_module.verify()
        with _quick_code():
            return library._codegen._tm.emit_object(library._final_module)


def texts(library: Any) -> tuple[str, str]:
    """LLVM and assembly text of a library compiled inside `lean()`."""
    with global_compiler_lock:
        library._ensure_finalized()
        JITCodeLibrary._optimize_final_module(library)
        with _quick_code():
            return str(library._final_module), library._codegen._tm.emit_assembly(library._final_module)
