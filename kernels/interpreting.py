"""Launches as plain Python: what a compiled launch would do, on memory whose bounds are known.

`run` takes a kernel as the compiler does and its operands as `Memory`; `run_program` an elementwise program on strided arrays,
where a function written by a user is called as it is, number by number, so that `breakpoint()` in it stops there.
"""

from __future__ import annotations

import functools
import math
import types
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from . import scalar
from .binding import SCALARS, Device, rebind
from .bodies import BUILTINS
from .interpret import Pointer, bind, poison
from .jit import Kernel, Parameter
from .user import UserKernel, is_compiled
from .values import STORED


class Memory(NamedTuple):
    """An operand: all bytes of the memory that it lies in, and the byte at which it begins."""

    content: np.ndarray
    start: int


_bound: dict[Any, Callable[..., Any]] = {}


def plain(kernel: Kernel, env: dict[str, Any]) -> Callable[..., Any]:
    """The kernel as a function of Pointers and numbers; made once."""
    key = (kernel, *sorted(env.items()))
    found = _bound.get(key)
    if found is None:
        found = _bound[key] = bind(kernel, **({"T": "float32"} | env))
    return found


def scalar_of(param: Parameter, env: dict[str, Any]) -> type:
    """The number type of a parameter."""
    name = param.dtype if isinstance(param.dtype, str) else env.get(param.dtype.name) or "float32"
    return SCALARS[name]


def pointer_to(memory: Memory | None, kind: type, name: str) -> Pointer:
    """A checked pointer to elements of `kind`; to nothing where there is no memory."""
    if memory is None:
        return Pointer(np.empty(0, kind), 0, name)
    size = np.dtype(kind).itemsize
    first, skew = divmod(memory.start, size)
    count = max(0, memory.content.size - skew) // size
    return Pointer(memory.content[skew : skew + count * size].view(kind), first, name)


def run(kernel: Any, env: dict[str, Any], operands: Sequence[Memory | None], words: Sequence[Any], chunks: int) -> None:
    """Run all chunks of a launch as plain Python. Raises IndexError for an access outside of an operand's memory."""
    if isinstance(kernel, UserKernel):
        _run_user(kernel, operands, words)
        return
    params = list(kernel.params.items())[:-2]
    if len(params) != len(operands) + len(words):
        raise TypeError(f"kernel {kernel.name} takes {len(params)} words, got {len(operands)} pointers and {len(words)} more.")
    cells: list[Any] = []
    for (name, param), value in zip(params, (*operands, *words)):
        kind = scalar_of(param, env)
        if param.kind == "pointer":
            cells.append(pointer_to(value or None, kind, f"operand {name!r} of kernel {kernel.name}"))
        else:
            cells.append(kind(value))
    function = plain(kernel, env)
    with np.errstate(all="ignore"):
        for chunk in range(chunks):
            function(*cells, np.int64(chunk), np.int64(chunks))


def first_use(kernel: Any, env: dict[str, Any], place: int) -> type:
    """The number type of a kernel's pointer number `place`: what uninitialised memory is poisoned as."""
    if isinstance(kernel, UserKernel):
        return np.uint8
    return scalar_of(list(kernel.params.values())[place], env)


def _run_user(kernel: UserKernel, operands: Sequence[Memory | None], words: Sequence[Any]) -> None:
    """A user's compiled function as its Python source, on arrays."""
    *arrays, status = operands
    sizes, given, values = list(words), list(arrays), []
    for kind, dtype, ndim in kernel.parameters:
        if kind == "array":
            memory = given.pop(0)
            shape, sizes = sizes[:ndim], sizes[ndim:]
            count = math.prod(shape) * np.dtype(dtype).itemsize
            values.append(memory.content[memory.start : memory.start + count].view(dtype).reshape(shape))  # type: ignore[union-attr]
    numbers, arrays_of = iter(sizes), iter(values)
    status.content[status.start : status.start + 16] = 0  # type: ignore[union-attr]
    function = scalar_function(kernel.function)
    try:
        function(*[next(arrays_of) if kind == "array" else next(numbers) for kind, _, _ in kernel.parameters])
    except IndexError as error:
        error.add_note(f"in the interpreted kernel {kernel.name}")
        raise


# ---- elementwise programs ----------------------------------------------------------------------------------


def run_program(
    program: Any, outputs: Sequence[np.ndarray], inputs: Sequence[np.ndarray], scalars: Sequence[Any], function: Any,
    op_behind: Callable[[Any], Any],
) -> None:  # fmt: skip
    """Run a program of one step on arrays of its broadcast shape. `function`: a user's, to be called instead of the text;
    `op_behind` finds the op of a public function that it may call (None for other functions)."""
    shape = outputs[0].shape
    if function is not None:
        _run_function(program, outputs, inputs, scalars, scalar_function(function, op_behind))
        return
    bound = program.kernel()
    made = [np.empty(shape, out.dtype) for out in outputs]
    for array in made:
        poison(array)
    memories = [Memory(np.ascontiguousarray(a).reshape(-1).view(np.uint8), 0) for a in (*made, *inputs)]
    count = math.prod(shape)
    run(bound.kernel, bound.env, memories, [count, 0, 1, *scalars] if program.uses_index else [count, *scalars], 1)
    for out, memory in zip(outputs, memories):
        out[...] = memory.content.view(out.dtype).reshape(shape)


def _number(dtype: str) -> Callable[[Any], Any]:
    """From an element in memory (or a number) to the number that a body computes with."""
    if dtype == "bool":
        return lambda v: np.bool_(v != 0)
    return np.float32 if dtype in STORED else SCALARS[dtype]


def _reader(dtype: str) -> Callable[[Any], Any]:
    """From an element in memory to its number."""
    if dtype not in STORED:
        return lambda v: v
    return lambda v: getattr(scalar, STORED[dtype][0])(v.view(SCALARS[dtype]))


def _run_function(program: Any, outputs: Sequence[np.ndarray], inputs: Sequence[np.ndarray], scalars: Sequence[Any], call: Callable[..., Any]) -> None:  # fmt: skip
    """Call a scalar function for each element."""
    (step,) = program.steps
    number = _number(step.compute_dtype)
    readers = [_reader(d) for d in program.inputs]
    given = {name: number(v) for (name, _), v in zip(program.scalars, scalars)}
    results: list[Any] = []
    with np.errstate(all="ignore"):
        for index in np.ndindex(outputs[0].shape):
            values = given | {f"x{k}": number(read(a[index])) for k, (a, read) in enumerate(zip(inputs, readers))}
            result = call(*[values[a] if isinstance(a, str) else number(a) for a in step.args])
            several = result if isinstance(result, tuple) else (result,)
            results.append((index, several if step.component is None else (several[step.component],)))
        for index, several in results:  # at the end: an output may be an input
            for out, dtype, value in zip(outputs, program.outputs, several):
                out[index] = value != 0 if dtype == "bool" else _stored(value, dtype)


def _stored(value: Any, dtype: str) -> Any:
    if dtype in STORED:
        return getattr(scalar, STORED[dtype][1])(np.float32(value))
    return SCALARS[dtype](value)


# ---- a user's functions on numbers -------------------------------------------------------------------------

_copies: dict[Any, Any] = {}


def scalar_function(function: Any, op_behind: Callable[[Any], Any] | None = None) -> Callable[..., Any]:
    """A copy of a function (or `njit` function) that runs as plain Python, as its kernel would.

    Compiled functions that it calls are replaced by their source; with `op_behind` it is a scalar function, and ops are
    replaced by their bodies, `math` by functions that give NaN and infinities instead of raising.
    """
    key = (function, op_behind)
    found = _copies.get(key)
    if found is None:
        source = function
        while not isinstance(source, types.FunctionType):
            source = next(getattr(source, n) for n in ("py_func", "function", "body", "py") if hasattr(source, n))
        _copies[key] = forward = lambda *args: _copies[key](*args)  # for functions that call themselves
        found = rebind(source, {}, functools.partial(_replaced, op_behind=op_behind))
        if op_behind is not None:
            for name in set(BUILTINS) & set(source.__code__.co_names) - set(source.__globals__):
                found.__globals__[name] = _builtin(name)
        found.__globals__.setdefault(source.__name__, forward)
        _copies[key] = found
    return found


def _replaced(value: Any, op_behind: Callable[[Any], Any] | None) -> Any:
    """What stands for a global of a function."""
    if is_compiled(value):
        return scalar_function(value, op_behind)
    if op_behind is None:
        return value
    if isinstance(value, types.ModuleType):
        return value if value is np else _Module(value, op_behind)
    name = getattr(value, "__name__", "")
    if isinstance(value, Device):
        return _named(name) if scalar.FUNCTIONS.get(name) is value else scalar_function(value, op_behind)
    if isinstance(value, types.BuiltinFunctionType) and value.__module__ == "math":
        return _named(scalar.MATH[name]) if name in scalar.MATH else value
    value = op_behind(value) or value
    if not isinstance(value, type) and callable(getattr(value, "body", None)):  # an op
        if value.name in BUILTINS and value.name != "pow":
            return _builtin(value.name)
        return _named(scalar.MATH[value.name]) if value.name in scalar.MATH else scalar_function(value, op_behind)
    return scalar_function(value, op_behind) if isinstance(value, types.FunctionType) else value


class _Module:
    """A module whose functions are replaced as they are looked up."""

    def __init__(self, module: types.ModuleType, op_behind: Callable[[Any], Any]):
        self._module, self._op_behind = module, op_behind

    def __getattr__(self, name: str) -> Any:
        return _replaced(getattr(self._module, name), self._op_behind)


@functools.cache
def _named(name: str) -> Callable[..., Any]:
    """The function `name` of scalar.py on numbers, in the floating type among its arguments."""
    twin = scalar.FUNCTIONS[name].twin  # type: ignore[attr-defined]

    def plain(*args: Any) -> Any:
        kind = next((type(a) for a in args if isinstance(a, np.floating)), type(args[0]))
        return twin(kind(args[0]), *args[1:])

    plain.__name__ = name
    return plain


def _extreme(name: str) -> Callable[..., Any]:
    """min() or max() of two and more numbers, keeping NaN."""
    return lambda *args: functools.reduce(_named(name), args)


def _builtin(name: str) -> Callable[..., Any]:
    """A function of Python's as kernels know it."""
    if name == "abs":
        return abs
    return _extreme(BUILTINS[name]) if name in ("min", "max") else _named(BUILTINS[name])
