"""Shapes, strides and layouts: pure functions on tuples, asked before a device or a kernel is chosen.

A ``Layout`` is everything about a tensor but its memory: shape, strides, dtype and device. Layouts are interned, so that
equal ones are the same object and a whole plan for an operation is found by the identity of its operands' layouts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from operator import index
from typing import Any

from .dtype import dtype


class Size(tuple):
    """A tensor's shape: a tuple that prints as torch.Size and knows its number of elements.

    Example:
        >>> import numtorch
        >>> numtorch.zeros(2, 3).shape.numel()
        6
    """

    __slots__ = ()

    def numel(self) -> int:
        """The product of the sizes."""
        return math.prod(self)

    def __repr__(self) -> str:
        return f"torch.Size({list(self)})"

    def __add__(self, other: Any) -> Size:
        return Size(tuple.__add__(self, tuple(other)))

    def __getitem__(self, index: Any) -> Any:
        item = tuple.__getitem__(self, index)
        return Size(item) if isinstance(index, slice) else item

    def __mul__(self, n: Any) -> Size:
        return Size(tuple.__mul__(self, n))


class Layout:
    """Shape, strides (in elements), dtype and device; compare with ``is`` after ``layout()`` has interned it."""

    __slots__ = (
        "contiguous",
        "dense",
        "device",
        "dtype",
        "itemsize",
        "ndim",
        "numel",
        "shape",
        "size",
        "strides",
    )

    def __init__(self, shape: tuple[int, ...], strides: tuple[int, ...], dtype: dtype, device: str):
        self.shape, self.strides, self.dtype, self.device = shape, strides, dtype, device
        self.numel = math.prod(shape)
        self.ndim = len(shape)
        self.contiguous = is_contiguous(shape, strides)
        self.dense = self.contiguous or is_dense(shape, strides)
        self.size = Size(shape)
        self.itemsize = dtype.itemsize

    def __repr__(self) -> str:
        return f"Layout({self.shape}, {self.strides}, {self.dtype.name}, {self.device})"


_layouts: dict[tuple, Layout] = {}
_contiguous: dict[tuple, Layout] = {}
_MOST = 200_000  # interned layouts: far beyond what one program uses; after that start anew


def layout(shape: tuple[int, ...], strides: tuple[int, ...], dtype: dtype, device: str = "cpu") -> Layout:
    """The interned layout."""
    key = (shape, strides, dtype, device)
    found = _layouts.get(key)
    if found is None:
        if len(_layouts) > _MOST:
            _layouts.clear()
            _contiguous.clear()
        whole = tuple(map(index, shape)), tuple(map(index, strides))  # a size of 2.0 would reach kernels as other bits
        found = _layouts[key] = Layout(*whole, dtype, device)
    return found


def contiguous(shape: tuple[int, ...], dtype: dtype, device: str = "cpu") -> Layout:
    """The interned row-major layout of a shape."""
    key = (shape, dtype, device)
    found = _contiguous.get(key)
    if found is None:
        found = _contiguous[key] = layout(shape, contiguous_strides(shape), dtype, device)
    return found


def contiguous_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Row-major strides in elements; a size of 0 counts as 1, as in PyTorch."""
    strides = [1] * len(shape)
    for d in range(len(shape) - 2, -1, -1):
        strides[d] = strides[d + 1] * max(shape[d + 1], 1)
    return tuple(strides)


def is_contiguous(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether elements lie in row-major order without gaps (sizes of 1 don't matter)."""
    expected = 1
    for n, s in zip(reversed(shape), reversed(strides)):
        if n == 0:
            return True
        if n != 1:
            if s != expected:
                return False
            expected *= n
    return True


def is_dense(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether the elements fill one block of memory, each once, in some order of the dimensions."""
    expected = 1
    for s, n in sorted((s, n) for n, s in zip(shape, strides) if n != 1):
        if s != expected:
            return False
        expected *= n
    return True


def broadcast(*shapes: tuple[int, ...], op: str = "broadcast") -> tuple[int, ...]:
    """The shape to which all shapes broadcast; RuntimeError as in PyTorch if there is none."""
    result = shapes[0]
    for other in shapes[1:]:
        if other == result:
            continue
        result = _broadcast_two(result, other, op)
    return result


def _broadcast_two(a: tuple[int, ...], b: tuple[int, ...], op: str) -> tuple[int, ...]:
    ndim = max(len(a), len(b))
    left = (1,) * (ndim - len(a)) + a
    right = (1,) * (ndim - len(b)) + b
    out = []
    for d, (m, n) in enumerate(zip(left, right)):
        if m != n and m != 1 and n != 1:
            raise RuntimeError(
                f"{op}: The size of tensor a ({m}) must match the size of tensor b ({n}) at non-singleton dimension {d}:"
                f" shapes {list(a)} and {list(b)} don't broadcast; make the sizes equal or one of them 1"
            )
        out.append(n if m == 1 else m)
    return tuple(out)


def expand_strides(shape: Sequence[int], strides: Sequence[int], target: Sequence[int]) -> tuple[int, ...]:
    """Strides of a broadcast view of ``shape`` in ``target`` (which it must fit): 0 where a size is repeated."""
    lead = len(target) - len(shape)
    return (0,) * lead + tuple(
        0 if n == 1 and m != 1 else s for n, s, m in zip(shape, strides, target[lead:])
    )


def wrap_dim(dim: int, ndim: int, op: str = "dim") -> int:
    """A dimension counted from the front; IndexError if out of range (a 0-d tensor has dimension 0 and -1)."""
    n = max(ndim, 1)
    if not isinstance(dim, int):
        dim = as_index(dim, op, "dim")
    if not -n <= dim < n:
        raise IndexError(
            f"{op}: Dimension out of range (expected to be in range of [{-n}, {n - 1}], but got {dim});"
            f" the tensor has {ndim} dimensions"
        )
    return dim + n if dim < 0 else dim


def wrap_dims(dims: Any, ndim: int, op: str = "dim", all_if_empty: bool = True) -> tuple[int, ...]:
    """Sorted distinct dimensions from an int, a sequence or None (all of them)."""
    if dims is None:
        return tuple(range(ndim))
    if isinstance(dims, int):
        dims = (dims,)
    wrapped = [wrap_dim(d, ndim, op) for d in dims]
    if len(set(wrapped)) != len(wrapped):
        repeated = next(d for d in wrapped if wrapped.count(d) > 1)
        raise RuntimeError(
            f"{op}: dim {repeated} appears multiple times in the list of dims {list(dims)}; name it once"
        )
    if not wrapped and all_if_empty:
        return tuple(range(ndim))
    return tuple(sorted(wrapped)) if ndim else ()


def as_index(value: Any, op: str, name: str) -> int:
    """A Python int from anything with ``__index__``; TypeError naming the argument otherwise."""
    try:
        return value.__index__()
    except (AttributeError, TypeError):
        raise TypeError(f"{op}(): argument '{name}' must be int, not {type(value).__name__}") from None


def as_shape(sizes: Any, op: str = "size") -> tuple[int, ...]:
    """A tuple of ints from ``(2, 3)``, ``[2, 3]``, ``Size`` or an int."""
    if isinstance(sizes, int) or (hasattr(sizes, "__index__") and not isinstance(sizes, (tuple, list))):
        sizes = (sizes,)
    try:
        return tuple(n if type(n) is int else as_index(n, op, "size") for n in sizes)
    except TypeError as error:
        if "must be int" in str(error):
            raise
        raise TypeError(
            f"{op}(): argument 'size' must be tuple of ints, not {type(sizes).__name__}"
        ) from None


def check_sizes(shape: Iterable[int], op: str) -> None:
    """RuntimeError if a size is negative."""
    for n in shape:
        if n < 0:
            raise RuntimeError(
                f"{op}: Trying to create tensor with negative dimension {n}: {list(shape)}; sizes are >= 0"
            )


def infer_size(shape: Sequence[int], numel: int) -> tuple[int, ...]:
    """Replace one -1 in a shape so that it has ``numel`` elements; RuntimeError as in PyTorch otherwise."""
    shape = tuple(shape)
    unknown = [d for d, n in enumerate(shape) if n == -1]
    if len(unknown) > 1:
        raise RuntimeError(f"only one dimension can be inferred, but the shape is {list(shape)}")
    for n in shape:
        if n < -1:
            raise RuntimeError(f"invalid shape dimension {n} in {list(shape)}; use sizes >= 0 or one -1")
    known = math.prod(n for n in shape if n != -1)
    if unknown:
        if known == 0 and numel == 0:
            raise RuntimeError(
                f"cannot reshape tensor of 0 elements into shape {list(shape)} because the unspecified dimension size"
                " -1 can be any value and is ambiguous"
            )
        if known and numel % known == 0:
            d = unknown[0]
            return shape[:d] + (numel // known,) + shape[d + 1 :]
    elif known == numel:
        return shape
    raise RuntimeError(
        f"reshape: shape '{list(shape)}' is invalid for input of size {numel}; give sizes whose product is {numel}, or -1 for"
        " one of them"
    )


def view_strides(
    shape: Sequence[int], strides: Sequence[int], target: Sequence[int]
) -> tuple[int, ...] | None:
    """Strides that show the same memory in another shape, or None if that needs a copy."""
    if math.prod(shape) == 0:
        return tuple(strides) if tuple(shape) == tuple(target) else contiguous_strides(target)
    if not shape:
        return (1,) * len(target)
    out: list[int] = []
    view_d = len(target) - 1
    base, tensor_n, view_n = strides[-1], 1, 1
    for d in range(len(shape) - 1, -1, -1):
        tensor_n *= shape[d]
        if d == 0 or (shape[d - 1] != 1 and strides[d - 1] != tensor_n * base):
            while view_d >= 0 and (view_n < tensor_n or target[view_d] == 1):
                out.append(view_n * base)
                view_n *= target[view_d]
                view_d -= 1
            if view_n != tensor_n:
                return None
            if d > 0:
                base, tensor_n, view_n = strides[d - 1], 1, 1
    return tuple(reversed(out)) if view_d == -1 else None


def extent(shape: Sequence[int], strides: Sequence[int]) -> tuple[int, int]:
    """Lowest and highest element offset that a view touches, relative to its start (0, -1 when empty)."""
    if 0 in shape:
        return 0, -1
    low = sum((n - 1) * s for n, s in zip(shape, strides) if s < 0)
    high = sum((n - 1) * s for n, s in zip(shape, strides) if s > 0)
    return low, high
