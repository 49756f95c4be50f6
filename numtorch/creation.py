"""Making tensors: from data, filled, in sequences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ._tensor import Tensor
from .autograd.mode import state
from .device import canonical
from .dtype import (
    bfloat16,
    bool_,
    dtype,
    float64,
    from_numpy_dtype,
    get_default_dtype,
    int16,
    int64,
    of_number,
    result_of,
)
from .errors import no_dtype, tensors_only
from .memory_format import in_format
from .ops.declare import empty_like_layout
from .ops.pointwise import Elementwise
from .shape import as_index, as_shape, check_sizes, contiguous, layout
from .storage import Storage, of_array


def _fill_value(value):
    """The value everywhere."""
    return value


class _Fill(Elementwise):
    """Writes one number everywhere, exact in the target's dtype."""

    def program(self, plan: Any, args: Any, compute: dtype) -> Any:
        target = plan.outputs[0].dtype
        return super().program(plan, args, target if target.is_floating_point else compute)


_fill = _Fill(_fill_value, name="fill")


def fill_into(t: Tensor, value: Any) -> Tensor:
    """Write a number into all elements: no checks, no history."""
    la = t._layout
    key = (la, type(value))
    plan = _fill._plans.get(key)
    if plan is None:
        plan, _ = _fill.plan(key, (value,), out=[la])
    _fill.execute(plan, (t,), (value,))
    return t


def new_tensor(shape: tuple[int, ...], d: dtype, device: str = "cpu") -> Tensor:
    """Uninitialised memory."""
    return empty_like_layout(contiguous(shape, d, device))


def _finish(t: Tensor, requires_grad: bool) -> Tensor:
    return t.requires_grad_(True) if requires_grad else t


def _options(size: tuple, kwargs: dict, op: str) -> tuple[tuple[int, ...], dtype, str]:
    if len(size) == 1 and not isinstance(size[0], int) and not isinstance(size[0], Tensor):
        size = size[0]
    elif not size and "size" in kwargs:
        size = kwargs.pop("size")
    shape = as_shape(size, op)
    check_sizes(shape, op)
    return shape, _dtype(kwargs.get("dtype"), op) or get_default_dtype(), canonical(kwargs.get("device"))


def _dtype(d: Any, op: str) -> dtype | None:
    if d is not None and not isinstance(d, dtype):
        builtin = (
            {float: get_default_dtype(), int: int64, bool: bool_}.get(d) if isinstance(d, type) else None
        )
        if builtin is None:
            raise no_dtype(op, d)
        return builtin if d is not float else float64
    return d


def from_array(array: np.ndarray, d: dtype | None = None, device: str = "cpu") -> Tensor:
    """A tensor with a copy of a NumPy array's values."""
    d = d or from_numpy_dtype(array.dtype)
    t = new_tensor(array.shape, d)
    with np.errstate(all="ignore"):
        t._storage.array(array.shape, t._layout.strides, d.numpy, 0)[...] = array if d is not bfloat16 else d.stored(array)
    if state.recorder is not None:
        state.recorder.constant(t)
    return t if device == "cpu" else t.to(device)


def from_numpy(array: np.ndarray) -> Tensor:
    """A tensor over a NumPy array's memory; TypeError for anything else or an unknown dtype."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(array).__name__})")
    d = from_numpy_dtype(array.dtype)
    n = d.itemsize
    if any(s < 0 for s in array.strides):
        raise ValueError(
            "At least one stride in the given numpy array is negative, and tensors with negative strides are not currently"
            " supported. (You can probably work around this by making a copy of your array with array.copy().)"
        )
    if any(s % n for s in array.strides) or not array.dtype.isnative:
        raise ValueError(
            "given numpy array strides or byte order not supported; make a copy with array.astype(...)"
        )
    if not array.flags.writeable:
        import warnings

        warnings.warn(
            "The given NumPy array is not writable, and numtorch does not support non-writable tensors: the tensor holds a"
            " copy of it.",
            UserWarning,
            stacklevel=2,
        )
        array = array.copy()
    la = layout(array.shape, tuple(s // n for s in array.strides), d)
    t = Tensor._make(_storage_of(array), 0, la)
    if state.recorder is not None:
        state.recorder.constant(t)
    return t


def _storage_of(array: np.ndarray) -> Storage:
    from .shape import extent

    storage = of_array(array)
    storage.nbytes = (
        extent(array.shape, [s // array.itemsize for s in array.strides])[1] + 1
    ) * array.itemsize
    return storage


def frombuffer(
    buffer: Any, *, dtype: Any, count: int = -1, offset: int = 0, requires_grad: bool = False
) -> Tensor:
    """A 1-d tensor over the memory of an object with the buffer protocol."""
    d = dtype if dtype is not bfloat16 else int16  # the bits
    t = from_numpy(np.frombuffer(buffer, d.numpy, count, offset))
    return _finish(t if d is dtype else t.view(dtype), requires_grad)


def empty(*size: Any, **kwargs: Any) -> Tensor:
    """Uninitialised memory of a shape."""
    requires_grad = kwargs.pop("requires_grad", False)
    out = kwargs.pop("out", None)
    shape, d, device = _options(size, kwargs, "empty")
    if out is not None:
        return out.resize_(shape)
    if kwargs.get("memory_format") is not None:
        found = in_format("empty", contiguous(shape, d, device), kwargs["memory_format"])
        return _finish(empty_like_layout(found), requires_grad)
    return _finish(new_tensor(shape, d, device), requires_grad)


def _filled(op: str, value: Any, size: tuple, kwargs: dict) -> Tensor:
    requires_grad = kwargs.pop("requires_grad", False)
    out = kwargs.pop("out", None)
    if not size and "size" not in kwargs:
        raise TypeError(f'{op}() missing 1 required positional arguments: "size"; {op}(()) makes a tensor of one number')
    shape, d, device = _options(size, kwargs, op)
    if out is not None:
        return out.resize_(shape).fill_(value)
    return _finish(fill_into(new_tensor(shape, d, device), value), requires_grad)


def zeros(*size: Any, **kwargs: Any) -> Tensor:
    """Zeros of a shape: ``zeros(2, 3)`` or ``zeros((2, 3))``; dtype, device, requires_grad."""
    return _filled("zeros", 0, size, kwargs)


def ones(*size: Any, **kwargs: Any) -> Tensor:
    """Ones of a shape."""
    return _filled("ones", 1, size, kwargs)


def full(size: Any, fill_value: Any, *, out: Any = None, dtype: Any = None, device: Any = None, requires_grad: bool = False,
         layout: Any = None) -> Tensor:  # fmt: skip
    """One value everywhere; the dtype follows the value unless given."""
    if isinstance(fill_value, Tensor):
        fill_value = fill_value.item()
    d = dtype or of_number(fill_value)
    return _filled(
        "full",
        fill_value,
        (as_shape(size, "full"),),
        {"dtype": d, "device": device, "requires_grad": requires_grad, "out": out},
    )


def _like(x: Tensor, kwargs: dict) -> Any:
    la = x._layout
    d = _dtype(kwargs.get("dtype"), "like") or la.dtype
    device = canonical(kwargs["device"]) if kwargs.get("device") is not None else la.device
    return in_format("like", layout(la.shape, la.strides, d, device), kwargs.get("memory_format"))


def empty_like(input: Tensor, **kwargs: Any) -> Tensor:
    """Uninitialised, like another tensor."""
    return _finish(empty_like_layout(_like(input, kwargs)), kwargs.get("requires_grad", False))


@tensors_only
def zeros_like(input: Tensor, **kwargs: Any) -> Tensor:
    """Zeros like another tensor."""
    return _finish(fill_into(empty_like_layout(_like(input, kwargs)), 0), kwargs.get("requires_grad", False))


@tensors_only
def ones_like(input: Tensor, **kwargs: Any) -> Tensor:
    """Ones like another tensor."""
    return _finish(fill_into(empty_like_layout(_like(input, kwargs)), 1), kwargs.get("requires_grad", False))


@tensors_only
def full_like(input: Tensor, fill_value: Any, **kwargs: Any) -> Tensor:
    """One value like another tensor."""
    value = fill_value.item() if isinstance(fill_value, Tensor) else fill_value
    return _finish(
        fill_into(empty_like_layout(_like(input, kwargs)), value), kwargs.get("requires_grad", False)
    )


def arange(start: Any = 0, end: Any = None, step: Any = 1, *, out: Any = None, dtype: Any = None, device: Any = None,
           requires_grad: bool = False, layout: Any = None) -> Tensor:  # fmt: skip
    """start, start + step, ... below end."""
    if end is None:
        start, end = 0, start
    start, end, step = (x.item() if isinstance(x, Tensor) else x for x in (start, end, step))
    if step == 0:
        raise RuntimeError("arange: step must be nonzero, got 0; give the distance of two values")
    if not all(math.isfinite(x) for x in (start, end)):
        raise RuntimeError(f"arange: unsupported range: {start} -> {end}; the bounds must be finite")
    if (end - start) * step < 0:
        raise RuntimeError(
            f"arange: upper bound and lower bound inconsistent with step sign: {start} -> {end}, step {step}"
        )
    floating = any(isinstance(x, float) for x in (start, end, step))
    d = _dtype(dtype, "arange") or (out.dtype if isinstance(out, Tensor) else None) or (get_default_dtype() if floating else int64)
    size = None
    if floating and not d.is_floating_point:  # as PyTorch, which cuts the bounds and the step first
        size = max(0, math.ceil((end - start) / step)) if d is not int64 else None
        start, end, step, floating = int(start), int(end), int(step), False
        if step == 0:
            kind = RuntimeError if out is None else ValueError
            raise kind(f"arange: the step must be nonzero in the dtype {d!r}; give a whole one")
    n = size if size is not None else max(0, math.ceil((end - start) / step)) if floating else max(0, -(-(end - start) // step))
    array = np.arange(n, dtype=np.float64 if d.is_floating_point else np.int64) * step + start
    result = from_array(array, d, canonical(device))
    return _finish(_out(result, out), requires_grad)


def _out(result: Tensor, out: Any) -> Tensor:
    if out is None:
        return result
    from .ops.inplace import write_out

    return write_out(result, out, "out")


def linspace(start: Any, end: Any, steps: int, *, out: Any = None, dtype: Any = None, device: Any = None,
             requires_grad: bool = False, layout: Any = None) -> Tensor:  # fmt: skip
    """``steps`` values from start to end, both included, evenly spaced."""
    steps = as_index(steps, "linspace", "steps")
    if steps < 0:
        raise RuntimeError(f"number of steps must be non-negative, got {steps}")
    d = _dtype(dtype, "linspace") or get_default_dtype()
    values = _spaced(_bound("linspace", "start", start), _bound("linspace", "end", end), steps, d)
    return _finish(_out(from_array(values, d, canonical(device)), out), requires_grad)


def _bound(op: str, name: str, x: Any) -> Any:
    """A bound as a number; RuntimeError for a tensor with dimensions."""
    if not isinstance(x, Tensor):
        return x
    if x._layout.ndim:
        raise RuntimeError(
            f"{op} only supports 0-dimensional start and end tensors, but got {name} with {x.ndim} dimension(s); give numbers"
        )
    return x.detach().item()


def _spaced(start: Any, end: Any, steps: int, d: dtype) -> Any:
    """``steps`` float64 values from both ends towards the middle, as PyTorch; integers are made of whole bounds."""
    if not d.is_floating_point:
        start, end = np.trunc(start), np.trunc(end)
    step = (np.float64(end) - np.float64(start)) / max(steps - 1, 1)
    k = np.arange(steps)
    return np.where(k < steps // 2 if steps > 1 else k == k, start + step * k, end - step * (steps - 1 - k))


def logspace(start: Any, end: Any, steps: int, base: float = 10.0, *, out: Any = None, dtype: Any = None, device: Any = None,
             requires_grad: bool = False, layout: Any = None) -> Tensor:  # fmt: skip
    """``base`` to the power of evenly spaced exponents."""
    steps = as_index(steps, "logspace", "steps")
    if steps < 0:
        raise RuntimeError(f"number of steps must be non-negative, got {steps}")
    d = _dtype(dtype, "logspace") or get_default_dtype()
    values = np.power(float(base), _spaced(_bound("logspace", "start", start), _bound("logspace", "end", end), steps, d))
    return _finish(_out(from_array(values, d, canonical(device)), out), requires_grad)


def eye(n: int, m: int | None = None, *, out: Any = None, dtype: Any = None, device: Any = None, requires_grad: bool = False,
        layout: Any = None) -> Tensor:  # fmt: skip
    """Ones on the diagonal of an n x m matrix of zeros."""
    m = n if m is None else m
    if n < 0 or m < 0:
        raise RuntimeError(f"eye: n and m must be greater or equal to 0, got {n}, {m}")
    d = _dtype(dtype, "eye") or get_default_dtype()
    return _finish(_out(from_array(np.eye(n, m, dtype=np.bool_), d, canonical(device)), out), requires_grad)


def scalar_tensor(
    value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """A 0-d tensor of a number."""
    from .from_data import tensor

    return tensor(value, dtype=dtype or get_default_dtype(), device=device, requires_grad=requires_grad)


def empty_strided(size: Any, stride: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False,
                  layout: Any = None, pin_memory: bool = False) -> Tensor:  # fmt: skip
    """Uninitialised with given strides."""
    from .shape import extent
    from .shape import layout as make_layout
    from .storage import allocate

    shape, strides = as_shape(size, "empty_strided"), as_shape(stride, "empty_strided")
    if len(shape) != len(strides):
        raise RuntimeError(
            f"empty_strided: mismatch in length of strides and shape: {list(strides)} and {list(shape)}"
        )
    check_sizes(shape, "empty_strided")
    la = make_layout(shape, strides, _dtype(dtype, "empty_strided") or get_default_dtype(), canonical(device))
    storage = allocate((extent(shape, strides)[1] + 1) * la.itemsize, la.device)
    return _finish(Tensor._make(storage, 0, la), requires_grad)


def empty_permuted(size: Any, physical_layout: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False,
                   layout: Any = None, pin_memory: bool = False) -> Tensor:  # fmt: skip
    """Uninitialised, dense, with the dimensions in memory in the order ``physical_layout`` (outermost first)."""
    shape, order = as_shape(size, "empty_permuted"), as_shape(physical_layout, "empty_permuted")
    if len(order) != len(shape):
        raise RuntimeError(
            f"Number of dimensions in size does not match the length of the physical_layout; i.e. len(size) = {len(shape)}"
            f" is not equal to len(physical_layout) = {len(order)}"
        )
    if sorted(order) != list(range(len(shape))):
        raise RuntimeError(f"empty_permuted: physical_layout {list(order)} must name every dimension once")
    strides, step = [0] * len(shape), 1
    for d in reversed(order):
        strides[d], step = step, step * max(shape[d], 1)
    return empty_strided(shape, strides, dtype=dtype, device=device, requires_grad=requires_grad)


def result_type(a: Any, b: Any) -> dtype:
    """The dtype of an operation on two tensors or numbers."""
    found: list[dtype | None] = [None, None, None]
    from .dtype import promote_types

    for x in (a, b):
        place = 2 if not isinstance(x, Tensor) else 0 if x.ndim else 1
        d = x.dtype if isinstance(x, Tensor) else of_number(x)
        if d is None:
            raise TypeError(f"result_type(): argument must be Tensor or Number, not {type(x).__name__}; pass a tensor or a number")
        held = found[place]
        found[place] = d if held is None else promote_types(held, d)
    return result_of(*found)


def sequence_of_tensors(tensors: Any, op: str) -> Sequence[Tensor]:
    """A list of tensors; TypeError naming the position of what is none."""
    if isinstance(tensors, Tensor) or not isinstance(tensors, (tuple, list)):
        raise TypeError(f"{op}(): argument 'tensors' must be tuple of Tensors, not {type(tensors).__name__}")
    for i, t in enumerate(tensors):
        if not isinstance(t, Tensor):
            raise TypeError(
                f"{op}(): expected Tensor as element {i} in argument 0, but got {type(t).__name__}"
            )
    return tensors
