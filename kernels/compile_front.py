"""The short way from a kernel to LLVM: one walk over the syntax tree, with numba's types and operators.

Numba's own front end (bytecode, SSA, type inference to a fixed point, a library for each function) costs
ten times as much as this walk, and kernels need little of it: numbers, pointers, tiles, `for` over `range`,
`while`, `if`, tuples as results, calls of @device functions and intrinsics. What each operator means, on which
types, is asked of numba, so both ways mean the same.

Every variable has the type of its first assignment. Whatever is not known here (a variable that changes its
type, powers, keywords, ...) raises Unsupported, and compile_cpu.py goes numba's way. All functions of a kernel
are in one module and only the entry is visible outside: LLVM works on what is inlined, once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from llvmlite import ir
from numba import from_dtype, types
from numba.core.errors import NumbaError
from numba.core.registry import cpu_target
from numba.core.targetconfig import ConfigStack

from . import binding
from .compile_function import I64, Function
from .compile_values import flags_of
from .syntax import Unsupported

if TYPE_CHECKING:
    from .jit import Kernel, Parameter

Replace = Callable[[Any], Any]


class Unit:
    """The module of one kernel: its functions, specialised for argument types; `library` after `finish`."""

    def __init__(self, name: str, env: binding.Env, fastmath: frozenset[str], replace: Replace):
        self.env, self.fastmath, self.replace, self.symbol = env, fastmath, replace, symbol(name)
        context: Any = cpu_target.target_context
        cpu_target.typing_context.refresh()
        context.refresh()
        self.library = context.codegen().create_library(name)
        self.module = self.library.create_ir_module(name)
        self._functions: dict[Any, Function] = {}
        self._pending: set[Any] = set()

    def function(self, py: Any, kinds: tuple[Any, ...], fastmath: frozenset[str], inline: bool) -> Function:
        """`py` for arguments of `kinds` (types, or Static), written at the first call."""
        key = (py, kinds, fastmath)
        if key in self._pending:
            raise Unsupported(f"{py.__name__} calls itself")
        if key not in self._functions:
            self._pending.add(key)
            flags = flags_of(fastmath)
            with ConfigStack().enter(flags):
                self._functions[key] = Function(self, py, kinds, flags, inline, len(self._functions))
            self._pending.discard(key)
        return self._functions[key]

    def finish(self) -> Any:
        """The library with the module in it."""
        self.library.add_ir_module(self.module)
        self.library.finalize()
        return self.library

    def entry(self, kinds: list[Any]) -> tuple[Any, Any]:
        """The visible function of words (of `kinds`, a result first) and a builder in it."""
        function = ir.Function(self.module, ir.FunctionType(kinds[0], kinds[1:]), self.symbol)
        return function, ir.IRBuilder(function.append_basic_block("entry"))


# ---- entries -----------------------------------------------------------------------------------------------


def symbol(name: str) -> str:
    """Name of the entry of kernel or native function `name`; no C function is called like that."""
    return f"numtorch.{name}"


def kernel_library(what: Kernel, env: binding.Env, replace: Replace) -> Any:
    """Numba's library with the entry void(int64 args, int64 chunk, int64 nchunks) of `what`; None if unsupported."""
    try:
        unit = Unit(what.name, env, what.fastmath, replace)
        params = [_param(param, env) for param in list(what.params.values())[:-2]]
        body = unit.function(
            what.py, (*(kind for _, kind in params), types.int64, types.int64), what.fastmath, True
        )
        entry, builder = unit.entry([ir.VoidType(), I64, I64, I64])
        block, chunk, nchunks = entry.args
        words = builder.inttoptr(block, I64.as_pointer())
        args = [_word(body, builder, builder.gep(words, [I64(i)]), *param) for i, param in enumerate(params)]
        body.called(builder, [*args, chunk, nchunks])
        builder.ret_void()
        return unit.finish()
    except (Unsupported, NumbaError, NotImplementedError):
        return None  # numba's front end compiles it, or says what is wrong with it


def native_library(py: Any, nargs: int, fastmath: frozenset[str], replace: Replace) -> Any:
    """Numba's library with the entry int64 py(int64, ...); None if unsupported."""
    try:
        unit = Unit(py.__name__, {}, fastmath, replace)
        body = unit.function(py, (types.int64,) * nargs, fastmath, True)
        if body.results != (types.int64,) or not body.single:
            return None
        entry, builder = unit.entry([I64] * (nargs + 1))
        builder.ret(body.called(builder, list(entry.args)).llvm)
        return unit.finish()
    except (Unsupported, NumbaError, NotImplementedError):
        return None


def _param(param: Parameter, env: binding.Env) -> tuple[str, Any]:
    """(kind, numba type) of a kernel's parameter."""
    if isinstance(param.dtype, str):
        dtype = binding.SCALARS[param.dtype]
    else:
        dtype = binding.lookup(param.dtype, env)
    element = from_dtype(np.dtype(dtype))
    return param.kind, types.CPointer(element) if param.kind == "pointer" else element


def _word(body: Function, builder: Any, place: Any, kind: str, wanted: Any) -> Any:
    """The argument in the word at `place`."""
    word = builder.load(place)
    if kind == "pointer":
        return builder.inttoptr(word, body.context.get_value_type(wanted))
    if kind == "int":
        return word
    number = builder.bitcast(word, ir.DoubleType())
    return body.context.cast(builder, number, types.float64, wanted)
