"""Tensors from Python data: numbers, nested sequences, arrays, other tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._tensor import Tensor
from .autograd.mode import state
from .creation import _dtype, _finish, from_array, from_numpy
from .device import canonical
from .dtype import bfloat16, float32, from_numpy_dtype, get_default_dtype, of_number
from .dtype import dtype as DType


def tensor(
    data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False, pin_memory: bool = False
) -> Tensor:
    """A tensor with a copy of ``data``: numbers, nested sequences, a NumPy array or a tensor.

    Example:
        >>> import numtorch
        >>> numtorch.tensor([[1, 2], [3, 4]]).dtype
        numtorch.int64
    """
    d = _dtype(dtype, "tensor")
    if isinstance(data, Tensor):
        if state.recorder is None:
            import warnings

            warnings.warn(
                "To copy construct from a tensor, it is recommended to use sourceTensor.detach().clone() or"
                " sourceTensor.detach().clone().requires_grad_(True), rather than numtorch.tensor(sourceTensor).",
                stacklevel=2,
            )
        t = data.detach().clone()
        t = t.to(d) if d else t
        return _finish(t if device is None else t.to(device), requires_grad)
    return _finish(from_array(*_as_array(data, d), device=canonical(device)), requires_grad)


def _as_array(data: Any, d: DType | None) -> tuple[np.ndarray, DType]:
    if isinstance(data, (np.ndarray, np.generic)):
        array = np.asarray(data)
        return array, d or from_numpy_dtype(array.dtype)
    if isinstance(data, (bool, int, float)):
        found = d or of_number(data)
        assert found is not None
        if d is None and type(data) is int and not -(1 << 63) <= data < 1 << 63:
            raise _too_long(data)
        if found.category == 1:
            _check_range(data, found)
        return np.asarray(data, dtype=(found if found is not bfloat16 else float32).numpy), found
    data = _plain(data)
    try:
        array = np.asarray(data) if data != [] else np.empty((0,), np.float32)
    except ValueError:
        raise _fault(data) from None
    if array.dtype == object or array.dtype.kind not in "biuf" or array.dtype == np.uint64:
        if d is None or not d.is_floating_point or not _only_numbers(data):
            raise _fault(data)
        array = np.asarray(data, np.float64)
    if d is not None and d.category == 1 and array.size:
        _check_range(array, d)
    if d is None:
        d = (
            get_default_dtype()
            if array.dtype.kind == "f" or array.size == 0
            else from_numpy_dtype(array.dtype)
        )
        if _holds_numpy(data):
            d = from_numpy_dtype(array.dtype)
    return array, d


def _holds_numpy(data: Any) -> bool:
    while isinstance(data, (list, tuple)) and data:
        data = data[0]
    return isinstance(data, (np.ndarray, np.generic))


def _plain(data: Any) -> Any:
    """Nested lists in which tensors are replaced by their values."""
    if isinstance(data, Tensor):
        if data._layout.numel != 1:
            raise ValueError(
                "tensor(): only one element tensors can be converted to Python scalars, got one of shape"
                f" {list(data._layout.shape)}; put tensors together with numtorch.stack or cat"
            )
        return data.item()
    if isinstance(data, (list, tuple, range)):
        return [_plain(x) for x in data] if any(not isinstance(x, (int, float)) for x in data) else list(data)
    if hasattr(data, "__array__") or isinstance(data, (bool, int, float, np.generic)):
        return np.asarray(data) if hasattr(data, "__array__") and not np.isscalar(data) else data
    if hasattr(data, "__len__") and hasattr(data, "__getitem__") and not isinstance(data, (str, dict, bytes)):
        return [_plain(data[i]) for i in range(len(data))]
    return data


def _check_range(values: Any, d: DType) -> None:
    """RuntimeError unless an integer dtype can hold the numbers (of an unsigned one: their negatives, too, as in PyTorch)."""
    info = np.iinfo(d.numpy)
    low, high = (values.min(), values.max()) if isinstance(values, np.ndarray) else (values, values)
    for value in (low, high):
        if not (info.min or -info.max) <= value <= info.max:
            raise RuntimeError(
                f"value cannot be converted to type {d.name} without overflow: {value} is not in {info.min}..{info.max}; give"
                " another dtype"
            )


def _too_long(value: int) -> ValueError:
    return ValueError(
        f"tensor(): Overflow when unpacking long long: {value} does not fit into int64; give dtype=numtorch.float64"
    )


def _is_sequence(x: Any) -> bool:
    return isinstance(x, (list, tuple, np.ndarray))


def _only_numbers(data: Any) -> bool:
    return all(_only_numbers(x) for x in data) if _is_sequence(data) else isinstance(data, (int, float, np.number))


def _fault(data: Any) -> Exception:
    """Why nested sequences are no tensor: an element that is no number, or inner sequences that differ."""
    sizes, first = [], data
    while _is_sequence(first) and len(first):
        sizes.append(len(first))
        first = first[0]
    if isinstance(first, str) and sizes:
        return ValueError("tensor(): too many dimensions 'str': the elements are strings; give numbers")
    return _bad_element(data) or _ragged(data, sizes, 0) or ValueError("tensor(): the data has no shape; give numbers")


def _bad_element(data: Any) -> Exception | None:
    """The error of the first element that is no number."""
    if _is_sequence(data):
        return next((e for e in map(_bad_element, data) if e is not None), None)
    if isinstance(data, (bool, int, float, np.bool_, np.integer, np.floating)):
        return _too_long(data) if type(data) is int and not -(1 << 63) <= data < 1 << 63 else None
    if isinstance(data, (str, bytes)):
        return TypeError(f"new(): invalid data type '{type(data).__name__}'; give numbers")
    if isinstance(data, complex):
        return TypeError(
            "tensor(): numtorch has no complex numbers; keep real and imaginary part in two tensors"
        )
    return RuntimeError(
        f"Could not infer dtype of {type(data).__name__}; give numbers, sequences of numbers or an array"
    )


def _ragged(data: Any, sizes: list[int], dim: int) -> Exception | None:
    """The error of the first inner sequence that is not as the first ones are."""
    if dim == len(sizes):
        if not _is_sequence(data):
            return None
        return TypeError(
            f"tensor(): '{type(data).__name__}' object cannot be interpreted as a number: an element at dim {dim} is a sequence"
            " of its own, the first one a number; make all inner sequences of one length"
        )
    if not _is_sequence(data):
        return TypeError(
            f"tensor(): not a sequence: {data!r} stands where a sequence of length {sizes[dim]} was expected at dim {dim}; make"
            " all inner sequences of one length"
        )
    if len(data) != sizes[dim]:
        return ValueError(
            f"expected sequence of length {sizes[dim]} at dim {dim} (got {len(data)}); make all inner sequences of one length,"
            " or pad them"
        )
    return next((e for e in (_ragged(x, sizes, dim + 1) for x in data) if e is not None), None)


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor that shares memory with ``data`` where dtype and device allow it."""
    if isinstance(data, Tensor):
        return data.to(*([device] if device is not None else []), *([dtype] if dtype is not None else []))
    if (
        isinstance(data, np.ndarray)
        and (dtype is None or (dtype.numpy == data.dtype and dtype is not bfloat16))
        and canonical(device) == "cpu"
    ):
        if data.flags.writeable and all(s >= 0 for s in data.strides):
            return from_numpy(data)
    if hasattr(data, "__cuda_array_interface__"):
        from .interop import from_cuda_array

        return as_tensor(from_cuda_array(data), dtype, device)
    return tensor(data, dtype=dtype, device=device)


asarray = as_tensor
