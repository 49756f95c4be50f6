"""Users' compiled functions in the kernel convention, so that programs can call them.

`UserKernel(dispatcher, parameters)` compiles an entry `void(args, chunk, nchunks)` that builds arrays from the words and calls
the user's function. An exception in it sets the status words; the caller then asks the function itself what it was.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

_POINTER: list[Any] = []  # the intrinsic, made when numba is first needed


def is_compiled(function: Any) -> bool:
    """Whether `function` was made by `numba.njit`."""
    return hasattr(function, "py_func") and hasattr(function, "overloads") and hasattr(function, "targetoptions")


def _pointer() -> Any:
    """`pointer(word)`: an address as a void pointer."""
    if not _POINTER:
        from numba.core import types
        from numba.extending import intrinsic

        @intrinsic
        def pointer(typingctx, word):
            def generate(context, builder, signature, args):
                return builder.inttoptr(args[0], context.get_value_type(types.voidptr))

            return types.voidptr(types.int64), generate

        _POINTER.append(pointer)
    return _POINTER[0]


class UserKernel:
    """A `njit` function with typed parameters: `("array", dtype, ndim)` or `("int", ...)` or `("float", ...)`.

    Words of a launch: the arrays' addresses, the status' address, each array's sizes, then the numbers. Results do not depend
    on the number of chunks, because there is one.
    """

    def __init__(self, function: Any, parameters: Sequence[tuple]):
        self.function, self.parameters = function, tuple(parameters)
        self.name = function.py_func.__name__
        self._compiled: Any = None

    def address(self, **env: str) -> int:
        """The entry's address; compiled at the first call. Raises numba's typing errors."""
        if self._compiled is None:
            self._compiled = self._compile()
        return self._compiled.address

    @property
    def raises(self) -> bool:
        """Whether the function may raise: whether its machine code can return anything but success."""
        self.address()
        for made in self.function.overloads.values():
            text = made.library.get_llvm_str()
            found = re.search(rf'^define [^\n]*@"?{re.escape(made.fndesc.mangled_name)}"?\(.*?^}}', text, re.M | re.S)
            if found is None or set(re.findall(r"^ +ret i32 (\S+)", found.group(), re.M)) - {"0"}:
                return True
        return False

    def source(self) -> str:
        """The entry's text."""
        arrays = [i for i, p in enumerate(self.parameters) if p[0] == "array"]
        at = len(arrays) + 1
        lines = ["def entry(args, chunk, nchunks):", "    words = carray(pointer(args), (64,), int64)"]
        lines.append("    reals = carray(pointer(args), (64,), float64)")
        lines.append(f"    status = carray(pointer(words[{len(arrays)}]), (2,), int64)")
        lines += ["    status[0] = 0", "    status[1] = 0", "    try:"]
        names = []
        for i, (kind, dtype, ndim) in enumerate(self.parameters):
            names.append(f"p{i}")
            if kind == "array":
                sizes = "".join(f"words[{at + k}], " for k in range(ndim))
                at += ndim
                lines.append(f"        p{i} = carray(pointer(words[{arrays.index(i)}]), ({sizes}), {dtype})")
        for i, (kind, _, _) in enumerate(self.parameters):
            if kind != "array":
                lines.append(f"        p{i} = {'reals' if kind == 'float' else 'words'}[{at}]")
                at += 1
        lines += [f"        function({', '.join(names)})", "    except Exception:"]
        lines += ["        status[0] = 1", "        status[1] = 1"]
        return "\n".join(lines) + "\n"

    def _compile(self) -> Any:
        import numba
        import numpy as np

        from .compile_cpu import callback

        carray: Any = numba.carray  # type: ignore[attr-defined]
        space: dict[str, Any] = {"carray": carray, "pointer": _pointer(), "function": self.function}
        space |= {n: getattr(np, n) for n in ("float32", "float64", "int64", "int32", "int16", "int8", "uint8")}
        space["bool"] = np.bool_
        exec(compile(self.source(), f"<entry of {self.name}>", "exec"), space)
        return callback(space["entry"])

    def __repr__(self) -> str:
        return f"<user kernel {self.name}>"

