"""Data types and the one promotion table.

A tensor's dtype decides which kernel is compiled; ``result_type`` decides the dtype of an operation on several
arguments exactly as PyTorch does: tensors with dimensions count before 0-d tensors, those before Python numbers, and
an argument of a lower rank only matters when it is of a higher category (bool < integer < floating point).
"""

from __future__ import annotations

from typing import Any

import numpy as np

BOOL, INTEGER, FLOATING = 0, 1, 2


class dtype:
    """A data type: ``numtorch.float32`` and its like; there is one object for each, so compare with ``is``.

    Example:
        >>> import numtorch
        >>> numtorch.float32.itemsize, numtorch.int64.is_floating_point
        (4, False)
    """

    __slots__ = (
        "category",
        "index",
        "is_complex",
        "is_floating_point",
        "is_signed",
        "itemsize",
        "name",
        "numpy",
    )

    def __init__(self, name: str, numpy_name: str, category: int, index: int):
        self.name = name
        self.numpy = np.dtype(numpy_name)
        self.itemsize = self.numpy.itemsize
        self.category = category
        self.is_floating_point = category == FLOATING
        self.is_signed = self.is_floating_point or self.numpy.kind == "i"
        self.is_complex = False
        self.index = index

    def __repr__(self) -> str:
        return f"numtorch.{self.name}"

    def __reduce__(self) -> tuple[Any, ...]:
        return by_name, (self.name,)

    @property
    def kind(self) -> str:
        """The name that kernels know: bool is stored as one byte, 0 or 1."""
        return self.name

    def numbers(self, stored: np.ndarray) -> np.ndarray:
        """The numbers of an array of elements as they lie in memory: bfloat16, which NumPy lacks, as float32; others as they are."""
        if self.name != "bfloat16":
            return stored
        return np.left_shift(stored, 16, dtype=np.uint32).view(np.float32)

    def stored(self, numbers: Any) -> np.ndarray:
        """Numbers as elements of this dtype in memory (NumPy's dtype ``numpy``): bfloat16 as bits, rounded to the nearest, ties to even."""
        with np.errstate(all="ignore"):
            if self.name != "bfloat16":
                return np.asarray(numbers).astype(self.numpy)
            bits = np.asarray(numbers).astype(np.float32).view(np.uint32)
            rounded = (bits + (np.uint32(0x7FFF) + ((bits >> 16) & np.uint32(1)))) >> 16
        return np.where(bits << 1 > np.uint32(0xFF000000), np.uint32(0x7FC0), rounded).astype(np.uint16)

    def to_complex(self) -> dtype:
        raise NotImplementedError(
            f"{self!r}.to_complex(): numtorch has no complex numbers; keep two real tensors"
        )

    def to_real(self) -> dtype:
        """The real dtype of the same precision: itself."""
        return self


bool_ = dtype("bool", "bool", BOOL, 0)
uint8 = dtype("uint8", "uint8", INTEGER, 1)
int8 = dtype("int8", "int8", INTEGER, 2)
int16 = dtype("int16", "int16", INTEGER, 3)
int32 = dtype("int32", "int32", INTEGER, 4)
int64 = dtype("int64", "int64", INTEGER, 5)
float16 = dtype("float16", "float16", FLOATING, 6)
bfloat16 = dtype("bfloat16", "uint16", FLOATING, 7)  # NumPy's arrays of it hold bits
float32 = dtype("float32", "float32", FLOATING, 8)
float64 = dtype("float64", "float64", FLOATING, 9)
ALL = (bool_, uint8, int8, int16, int32, int64, float16, bfloat16, float32, float64)
REDUCED = (float16, bfloat16)  # 16 bits: computed in float32 and rounded

_NAMES = {d.name: d for d in ALL} | {"half": float16, "float": float32, "double": float64}
_FROM_NUMPY = {d.numpy: d for d in ALL if d is not bfloat16}
_default = [float32]


def by_name(name: str) -> dtype:
    """The dtype of a name; KeyError if there is none."""
    return _NAMES[name]


def from_numpy_dtype(numpy_dtype: np.dtype) -> dtype:
    """The dtype of arrays of a NumPy dtype; TypeError if numtorch has none."""
    try:
        return _FROM_NUMPY[np.dtype(numpy_dtype).newbyteorder("=")]
    except KeyError:
        names = ", ".join(d.name for d in _FROM_NUMPY.values())
        raise TypeError(
            f"can't convert np.ndarray of type {numpy_dtype}. The only supported types are: {names}."
        ) from None


def get_default_dtype() -> dtype:
    """The dtype of floating-point tensors made without one."""
    return _default[0]


def set_default_dtype(d: dtype) -> None:
    """Make ``d`` (a floating dtype) the default; TypeError otherwise."""
    if not isinstance(d, dtype) or not d.is_floating_point:
        raise TypeError(
            f"set_default_dtype: only floating-point types are supported as the default type, got {d!r}"
        )
    from ._tensor import replaced

    _default[0] = d
    replaced[0] += 1  # traces look whether they were recorded so


def _promotion_table() -> list[list[dtype]]:
    table = []
    for a in ALL:
        row = []
        for b in ALL:
            if a.category == b.category == INTEGER or {a.category, b.category} == {BOOL, INTEGER}:
                r = from_numpy_dtype(np.promote_types(a.numpy, b.numpy))
            elif {a, b} == {float16, bfloat16}:
                r = float32
            elif a.category == b.category:
                r = a if a.index >= b.index else b
            else:
                r = a if a.category > b.category else b
            row.append(r)
        table.append(row)
    return table


_TABLE = _promotion_table()


def promote_types(a: dtype, b: dtype) -> dtype:
    """The smallest dtype to which both can be converted without losing their category.

    Example:
        >>> import numtorch
        >>> numtorch.promote_types(numtorch.int64, numtorch.float32)
        numtorch.float32
    """
    if type(a) is not dtype or type(b) is not dtype:
        raise _no_dtype("promote_types", a, b)
    return _TABLE[a.index][b.index]


def of_number(x: Any) -> dtype | None:
    """The dtype that a Python number stands for, or None if it is no number."""
    if isinstance(x, (bool, np.bool_)):
        return bool_
    if isinstance(x, (int, np.integer)):
        return int64
    if isinstance(x, (float, np.floating)):
        return _default[0]
    return None


def result_of(dimensioned: dtype | None, zero_dim: dtype | None, number: dtype | None) -> dtype:
    """Combine the promoted dtypes of tensors with dimensions, 0-d tensors and numbers."""
    result = dimensioned
    for d in (zero_dim, number):
        if d is None:
            continue
        if result is None:
            result = d
        elif d.category > result.category:
            result = d if d is not number or d.category != FLOATING else _default[0]
    assert result is not None
    return result


def can_cast(source: dtype, target: dtype) -> bool:
    """Whether PyTorch lets a result of ``source`` be written into a tensor of ``target``: no category is lost.

    Example:
        >>> import numtorch
        >>> numtorch.can_cast(numtorch.float32, numtorch.int64)
        False
    """
    if type(source) is not dtype or type(target) is not dtype:
        raise _no_dtype("can_cast", source, target)
    return source.category <= target.category


def _no_dtype(op: str, *given: Any) -> TypeError:
    wrong = next(x for x in given if type(x) is not dtype)
    return TypeError(f"{op}(): both arguments must be numtorch.dtype, not {type(wrong).__name__}; give a dtype such as tensor.dtype")


class finfo:
    """Limits of a floating dtype (default: the default dtype): eps, max, min, tiny, smallest_normal, bits.

    Example:
        >>> import numtorch
        >>> numtorch.finfo(numtorch.float32).bits
        32
    """

    def __init__(self, type: dtype | None = None):
        d = _default[0] if type is None else type
        if not d.is_floating_point:
            raise TypeError(
                f"numtorch.finfo() requires a floating point input type, got {d!r}. Use numtorch.iinfo"
            )
        info = np.finfo(np.float32 if d is bfloat16 else d.numpy)
        self.dtype, self.bits = d.name, d.itemsize * 8
        self.eps, self.max, self.min = float(info.eps), float(info.max), float(info.min)
        self.tiny = self.smallest_normal = float(info.tiny)
        self.resolution = float(info.resolution)
        if d is bfloat16:  # the exponents of float32, 8 digits
            self.eps, self.max, self.resolution = 2.0**-7, (2.0 - 2.0**-7) * 2.0**127, 0.01
            self.min = -self.max

    def __repr__(self) -> str:
        names = ("resolution", "min", "max", "eps", "smallest_normal", "tiny")
        return f"finfo({', '.join(f'{n}={getattr(self, n):g}' for n in names)}, dtype={self.dtype})"


class iinfo:
    """Limits of an integer dtype: max, min, bits.

    Example:
        >>> import numtorch
        >>> numtorch.iinfo(numtorch.int8).max
        127
    """

    def __init__(self, type: dtype):
        if type.category != INTEGER:
            raise TypeError(
                f"numtorch.iinfo() requires an integer input type, got {type!r}. Use numtorch.finfo"
            )
        info = np.iinfo(type.numpy)
        self.dtype, self.bits = type.name, type.itemsize * 8
        self.max, self.min = int(info.max), int(info.min)

    def __repr__(self) -> str:
        return f"iinfo(min={self.min}, max={self.max}, dtype={self.dtype})"
