"""From a list of samples to a batch: tensors, arrays and numbers are stacked, whatever containers they are
in."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any

import numpy as np

import numtorch

from ..._tensor import Tensor

_MESSAGE = "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found {}"


def _rebuilt(original: Any, convert: Callable[[Any], Any], keys: Any) -> Any:
    """A mapping or sequence like the original with its items converted; a plain dict or list where that type
    can't be made."""
    kind = type(original)
    try:
        if isinstance(original, (MutableMapping, MutableSequence)):
            # A copy keeps what a subclass needs (the factory of a defaultdict).
            clone = copy.copy(original)
            for key in keys:
                clone[key] = convert(key)
            return clone
        if isinstance(original, Mapping):
            return kind({key: convert(key) for key in keys})  # type: ignore[call-arg]
        return kind([convert(key) for key in keys])
    except TypeError:
        if isinstance(original, Mapping):
            return {key: convert(key) for key in keys}
        return [convert(key) for key in keys]


def _is_text(array: np.ndarray) -> bool:
    return array.dtype.kind in "SUO"


def default_convert(data: Any) -> Any:
    """Turn arrays and NumPy numbers into tensors, wherever they are in nested containers; all else stays.

    Example:
        >>> import numpy, numtorch
        >>> numtorch.utils.data.default_convert({"a": numpy.zeros(2), "b": "text"})
        {'a': tensor([0., 0.], dtype=torch.float64), 'b': 'text'}
    """
    if isinstance(data, Tensor):
        return data
    if isinstance(data, np.ndarray):
        return data if _is_text(data) else numtorch.as_tensor(data)
    if isinstance(data, (np.bool_, np.number)):
        return numtorch.as_tensor(data)
    if isinstance(data, Mapping):
        return _rebuilt(data, lambda key: default_convert(data[key]), list(data))
    if isinstance(data, tuple):
        items = [default_convert(d) for d in data]
        return type(data)(*items) if hasattr(data, "_fields") else items
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return _rebuilt(data, lambda i: default_convert(data[i]), range(len(data)))
    return data


def collate(batch: Sequence[Any], *, collate_fn_map: dict[Any, Callable] | None = None) -> Any:
    """Collate by the functions in ``collate_fn_map`` (from types, or tuples of them), descending into
    containers.

    A function is called as ``f(batch, collate_fn_map=...)``. Raises TypeError for samples of a type it
    doesn't know, RuntimeError for sequences of unequal length.
    """
    elem = batch[0]
    known = collate_fn_map or {}
    if type(elem) in known:
        return known[type(elem)](batch, collate_fn_map=collate_fn_map)
    for kind, function in known.items():
        if isinstance(elem, kind):
            return function(batch, collate_fn_map=collate_fn_map)
    if isinstance(elem, Mapping):
        return _rebuilt(
            elem, lambda key: collate([d[key] for d in batch], collate_fn_map=collate_fn_map), list(elem)
        )
    if isinstance(elem, tuple) and hasattr(elem, "_fields"):
        return type(elem)(*(collate(samples, collate_fn_map=collate_fn_map) for samples in zip(*batch)))
    if isinstance(elem, Sequence):
        sizes = {len(e) for e in batch}
        if len(sizes) > 1:
            raise RuntimeError(
                f"each element in list of batch should be of equal size; got sizes {sorted(sizes)}"
            )
        columns = list(zip(*batch))
        if isinstance(elem, tuple):
            return [collate(samples, collate_fn_map=collate_fn_map) for samples in columns]
        return _rebuilt(
            elem, lambda i: collate(columns[i], collate_fn_map=collate_fn_map), range(len(columns))
        )
    raise TypeError(_MESSAGE.format(type(elem)))


def collate_tensor_fn(batch: Sequence[Tensor], *, collate_fn_map: Any = None) -> Tensor:
    """Stack tensors of equal shape."""
    return numtorch.stack(list(batch), 0)


def collate_numpy_array_fn(batch: Sequence[np.ndarray], *, collate_fn_map: Any = None) -> Any:
    """Stack arrays; TypeError for arrays of text or objects."""
    if _is_text(batch[0]):
        raise TypeError(_MESSAGE.format(batch[0].dtype))
    return collate([numtorch.as_tensor(b) for b in batch], collate_fn_map=collate_fn_map)


def collate_numpy_scalar_fn(batch: Sequence[Any], *, collate_fn_map: Any = None) -> Tensor:
    """NumPy numbers to a tensor of their dtype."""
    return numtorch.as_tensor(np.asarray(batch))


def collate_float_fn(batch: Sequence[float], *, collate_fn_map: Any = None) -> Tensor:
    """Python floats to a float64 tensor."""
    return numtorch.as_tensor(list(batch), dtype=numtorch.float64)


def collate_int_fn(batch: Sequence[int], *, collate_fn_map: Any = None) -> Tensor:
    """Python ints (and bools) to a tensor."""
    return numtorch.as_tensor(list(batch))


def collate_str_fn(batch: Sequence[Any], *, collate_fn_map: Any = None) -> Any:
    """Text stays a list (or tuple) of samples."""
    return batch


default_collate_fn_map: dict[Any, Callable] = {
    Tensor: collate_tensor_fn,
    np.ndarray: collate_numpy_array_fn,
    (np.bool_, np.number, np.object_): collate_numpy_scalar_fn,
    float: collate_float_fn,
    int: collate_int_fn,
    str: collate_str_fn,
    bytes: collate_str_fn,
}


def default_collate(batch: Sequence[Any]) -> Any:
    """A batch from samples: tensors, arrays and numbers get a new first dimension; containers keep their
    structure.

    Example:
        >>> import numtorch
        >>> numtorch.utils.data.default_collate([{"x": 1, "name": "a"}, {"x": 2, "name": "b"}])
        {'x': tensor([1, 2]), 'name': ['a', 'b']}
    """
    return collate(batch, collate_fn_map=default_collate_fn_map)
