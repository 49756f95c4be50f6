"""From object code to a callable address, with llvmlite's MCJIT linker alone (no numba)."""

from __future__ import annotations

import ctypes
from functools import cache

import llvmlite.binding as llvm

from .cache import ObjectCode

# Numba's wrapper takes the GIL to report an exception. Kernels cannot raise, so this path is never run, but
# it must link.
_GIL_SYMBOLS = ("numba_gil_ensure", "numba_gil_release")
_ENGINES: list[llvm.ExecutionEngine] = []


@cache
def _prepare() -> llvm.Target:
    """Make LLVM ready for this machine, and give the GIL symbols an address unless numba already did.

    If numba is imported later it registers its real functions under these names, for its own code; kernels
    that are loaded already keep the address they were linked with.
    """
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    harmless = ctypes.cast(ctypes.pythonapi.Py_IsInitialized, ctypes.c_void_p).value
    for symbol in _GIL_SYMBOLS:
        if not llvm.address_of_symbol(symbol):
            llvm.add_symbol(symbol, harmless)
    return llvm.Target.from_default_triple()


def load(code: ObjectCode) -> int:
    """Link `code` into this process and return the address of its entry; it stays as long as the process.

    Each object gets an engine of its own: equal internal names of two kernels can never be mixed up.
    """
    _prepare()
    empty = llvm.parse_assembly("")
    linker = llvm.create_mcjit_compiler(empty, _prepare().create_target_machine())
    linker.remove_module(empty)  # else finalize_object would compile it: 0.9 ms instead of 0.02
    linker.add_object_file(llvm.ObjectFileRef.from_data(code.blob))
    linker.finalize_object()
    address = linker.get_function_address(code.symbol)
    if not address:
        raise RuntimeError(f"object code without its entry {code.symbol!r}; clear the kernel cache.")
    _ENGINES.append(linker)
    return address
