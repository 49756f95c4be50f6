"""PyTorch's names in a .pth file and what they stand for here.

Reading never imports a name from a file: ``ALLOWED`` holds everything that a file may name, each either a
plain value or a ``Constructor``, a function written here that checks its arguments.
"""

from __future__ import annotations

import collections
import pickle
from collections.abc import Callable
from typing import Any

from .._tensor import Tensor
from ..device import device as Device
from ..dtype import ALL, bfloat16, bool_, float16, float32, float64, int8, int16, int32, int64, uint8
from ..dtype import dtype as DType
from ..shape import Size, layout
from ..storage import Storage

STORAGE_NAMES = {
    "FloatStorage": float32,
    "DoubleStorage": float64,
    "HalfStorage": float16,
    "BFloat16Storage": bfloat16,
    "LongStorage": int64,
    "IntStorage": int32,
    "ShortStorage": int16,
    "CharStorage": int8,
    "ByteStorage": uint8,
    "BoolStorage": bool_,
}
STORAGE_OF = {d: name for name, d in STORAGE_NAMES.items()}
# dtypes of PyTorch that numtorch lacks.
_ABSENT = {
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
    "ComplexHalfStorage": "complex32",
    "QInt8Storage": "qint8",
    "QUInt8Storage": "quint8",
    "QInt32Storage": "qint32",
}
_ABSENT_DTYPES = (
    "complex32",
    "complex64",
    "complex128",
    "uint16",
    "uint32",
    "uint64",
    "float8_e4m3fn",
    "float8_e5m2",
)


def refuse(message: str) -> pickle.UnpicklingError:
    """The error for content that is not accepted."""
    return pickle.UnpicklingError(f"load: {message}")


class TorchName:
    """A global of PyTorch to be written by name; it is never called."""

    __slots__ = ("__name__", "module")

    def __init__(self, module: str, name: str):
        self.module, self.__name__ = module, name

    def __call__(self, *args: Any) -> Any:
        raise TypeError(f"{self.module}.{self.__name__} stands for a name of PyTorch and can't be called")


class Constructor:
    """A function that a file may call, under PyTorch's name for it."""

    __slots__ = ("function", "kind", "name")

    def __init__(self, name: str, function: Callable, kind: type | None = None):
        self.name, self.function, self.kind = name, function, kind

    def __call__(self, *args: Any) -> Any:
        try:
            return self.function(*args)
        except (TypeError, ValueError, OverflowError) as error:
            raise refuse(f"{self.name} can't be called with what the file gives it: {error}") from error

    def __repr__(self) -> str:
        return self.name


class StorageKind:
    """The type of a storage in a file: its dtype here, or None for plain bytes."""

    __slots__ = ("dtype", "name")

    def __init__(self, name: str, dtype: Any):
        self.name, self.dtype = name, dtype


class LoadedStorage:
    """Memory read from a file, and the dtype of its elements (None: plain bytes)."""

    __slots__ = ("dtype", "storage")

    def __init__(self, storage: Storage, dtype: Any):
        self.storage, self.dtype = storage, dtype


# -- tensors


def make_tensor(
    memory: LoadedStorage, offset: int, size: Any, stride: Any, requires_grad: bool = False, dtype: Any = None
) -> Tensor:
    """A tensor over loaded memory; UnpicklingError unless all its elements lie inside."""
    if not isinstance(memory, LoadedStorage):
        raise refuse(f"a tensor's storage is a {type(memory).__name__}; the file is damaged")
    d = dtype or memory.dtype or uint8
    size, stride = tuple(size), tuple(stride)
    numbers = (offset, *size, *stride)
    if len(size) != len(stride) or not all(type(n) is int and n >= 0 for n in numbers):
        raise refuse(
            f"a tensor's shape {size}, strides {stride} and offset {offset} must be counts of equal length"
        )
    last = offset + sum((n - 1) * s for n, s in zip(size, stride)) if 0 not in size else offset - 1
    if (last + 1) * d.itemsize > memory.storage.nbytes:
        raise refuse(
            f"a tensor of shape {size}, strides {stride} and offset {offset} reaches past its storage of"
            f" {memory.storage.nbytes // d.itemsize} elements; the file is damaged"
        )
    tensor = Tensor._make(memory.storage, offset, layout(size, stride, d, memory.storage.device))
    return tensor.requires_grad_(True) if requires_grad else tensor


def _tensor_v2(
    memory: Any, offset: int, size: Any, stride: Any, requires_grad: bool, hooks: Any, meta: Any = None
) -> Any:
    return make_tensor(memory, offset, size, stride, requires_grad)


def _tensor_v3(
    memory: Any,
    offset: int,
    size: Any,
    stride: Any,
    requires_grad: bool,
    hooks: Any,
    dtype: Any,
    meta: Any = None,
) -> Any:
    if not isinstance(dtype, DType):
        raise refuse(f"a tensor's dtype is {dtype!r}, which numtorch doesn't have; convert it in PyTorch")
    return make_tensor(memory, offset, size, stride, requires_grad, dtype)


def _parameter(data: Any, requires_grad: bool = True, hooks: Any = None, state: Any = None) -> Any:
    from ..nn.parameter import Parameter

    return _with_attributes(Parameter(_tensor(data), bool(requires_grad)), state)


def _tensor(value: Any) -> Tensor:
    if not isinstance(value, Tensor):
        raise refuse(f"a parameter's data is a {type(value).__name__}, not a tensor; the file is damaged")
    return value


def _from_type(function: Any, kind: Any, args: Any, state: Any) -> Any:
    """A tensor of a subclass, or with attributes of its own."""
    if not isinstance(function, Constructor):
        raise refuse("a tensor's rebuild function is not an allowed one")
    tensor = _tensor(function(*args))
    if isinstance(kind, type) and issubclass(kind, Tensor) and not isinstance(tensor, kind):
        tensor = tensor.as_subclass(kind)
    return _with_attributes(tensor, state)


def _with_attributes(tensor: Tensor, state: Any) -> Tensor:
    """Set a user's attributes; names that the class itself has stay as they are."""
    parts = state if isinstance(state, tuple) else (state,)  # pickle's (attributes, slots)
    attributes = [pair for part in parts if isinstance(part, dict) for pair in part.items()]
    for name, value in attributes:
        if isinstance(name, str) and not hasattr(type(tensor), name) and name not in tensor.__dict__:
            setattr(tensor, name, value)
    return tensor


# -- other values


def _size(values: Any) -> Size:
    if not all(type(n) is int and n >= 0 for n in values):
        raise refuse(f"a Size must hold counts, got {values!r}")
    return Size(values)


def _device(name: str, index: int | None = None) -> Device:
    try:
        return Device(name, index)
    except RuntimeError as error:
        raise refuse(f"the device {name!r} is unknown here") from error


def _bytes(text: str, encoding: str) -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise refuse(f"bytes in encoding {encoding!r}; pickles use latin1")
    return text.encode("latin1")


def _bytearray(*values: Any) -> bytearray:
    if values and not isinstance(values[0], (bytes, str)):  # a number would allocate as many bytes
        raise refuse("a bytearray must come from bytes")
    return bytearray(
        values[0].encode("latin1") if values and isinstance(values[0], str) else b"".join(values[:1])
    )


def _table() -> dict[str, Any]:
    table: dict[str, Any] = {f"torch.{name}": StorageKind(name, d) for name, d in STORAGE_NAMES.items()}
    table["torch.storage.UntypedStorage"] = table["torch.UntypedStorage"] = StorageKind(
        "UntypedStorage", None
    )
    table |= {f"torch.{d.name}": d for d in ALL}
    constructors: list[tuple[str, Callable, type | None]] = [
        ("torch._utils._rebuild_tensor", make_tensor, None),
        ("torch._utils._rebuild_tensor_v2", _tensor_v2, None),
        ("torch._utils._rebuild_tensor_v3", _tensor_v3, None),
        ("torch._utils._rebuild_parameter", _parameter, None),
        ("torch._utils._rebuild_parameter_with_state", _parameter, None),
        ("torch._tensor._rebuild_from_type_v2", _from_type, None),
        ("torch.nn.parameter.Parameter", _parameter, None),
        ("torch.Size", _size, None),
        ("torch.device", _device, None),
        ("_codecs.encode", _bytes, None),
        ("collections.OrderedDict", collections.OrderedDict, collections.OrderedDict),
        ("collections.Counter", collections.Counter, collections.Counter),
        ("builtins.set", set, None),
        ("builtins.frozenset", frozenset, None),
        ("builtins.bytearray", _bytearray, None),
        ("builtins.complex", complex, None),
    ]
    table |= {name: Constructor(name, function, kind) for name, function, kind in constructors}
    table["torch.Tensor"] = Tensor
    return table


ALLOWED = _table()


def absent_dtype(name: str) -> str | None:
    """The dtype that a name of PyTorch stands for and numtorch doesn't have, or None."""
    short = name.removeprefix("torch.")
    if short in _ABSENT_DTYPES:
        return short
    return _ABSENT.get(short)
