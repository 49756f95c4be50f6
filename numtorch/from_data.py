"""Tensors from Python data: numbers, nested sequences, arrays, other tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._tensor import Tensor
from .autograd.mode import state
from .creation import _dtype, _finish, from_array, from_numpy
from .device import canonical
from .dtype import dtype as DType
from .dtype import from_numpy_dtype, get_default_dtype, of_number


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
        _check_range(data, found)
        return np.asarray(data, dtype=found.numpy), found
    data = _plain(data)
    try:
        array = np.asarray(data) if data != [] else np.empty((0,), np.float32)
    except ValueError:
        raise ValueError(_ragged(data)) from None
    if array.dtype == object or array.dtype.kind not in "biuf":
        raise _bad_element(data, array)
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
        return data.item() if data._layout.numel == 1 and data._layout.ndim == 0 else data.detach().tolist()
    if isinstance(data, (list, tuple, range)):
        return [_plain(x) for x in data] if any(not isinstance(x, (int, float)) for x in data) else list(data)
    if hasattr(data, "__array__") or isinstance(data, (bool, int, float, np.generic)):
        return np.asarray(data) if hasattr(data, "__array__") and not np.isscalar(data) else data
    if hasattr(data, "__len__") and hasattr(data, "__getitem__") and not isinstance(data, (str, dict, bytes)):
        return [_plain(data[i]) for i in range(len(data))]
    return data


def _check_range(value: Any, d: DType) -> None:
    if d.category == 1 and isinstance(value, int):
        info = np.iinfo(d.numpy)
        if not info.min <= value <= info.max:
            raise RuntimeError(f"value cannot be converted to type {d.name} without overflow: {value}")


def _ragged(data: Any, dim: int = 0) -> str:
    lengths = [len(x) if isinstance(x, (list, tuple)) else -1 for x in data]
    for n in lengths:
        if n != lengths[0]:
            return f"expected sequence of length {lengths[0]} at dim {dim + 1} (got {n})"
    for x in data:
        if isinstance(x, list):
            found = _ragged(x, dim + 1)
            if found:
                return found
    return (
        ""
        if dim
        else "tensor(): could not determine the shape of the data; make all inner sequences of one length"
    )


def _bad_element(data: Any, array: np.ndarray) -> Exception:
    while isinstance(data, (list, tuple)) and data:
        data = next((x for x in data if not isinstance(x, (bool, int, float))), data[0])
    if isinstance(data, str):
        return TypeError("new(): invalid data type 'str'; give numbers")
    if isinstance(data, complex):
        return TypeError(
            "tensor(): numtorch has no complex numbers; keep real and imaginary part in two tensors"
        )
    return RuntimeError(
        f"Could not infer dtype of {type(data).__name__}; give numbers, sequences of numbers or an array"
    )


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor that shares memory with ``data`` where dtype and device allow it."""
    if isinstance(data, Tensor):
        return data.to(*([device] if device is not None else []), *([dtype] if dtype is not None else []))
    if (
        isinstance(data, np.ndarray)
        and (dtype is None or dtype.numpy == data.dtype)
        and canonical(device) == "cpu"
    ):
        if data.flags.writeable and all(s >= 0 for s in data.strides):
            return from_numpy(data)
    return tensor(data, dtype=dtype, device=device)


asarray = as_tensor
