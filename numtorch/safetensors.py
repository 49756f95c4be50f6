"""State dicts in safetensors files, read and written by the safetensors library (``pip install "numtorch[safetensors]"``).

The functions are those of ``safetensors.torch``; files go both ways between numtorch and PyTorch.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from ._tensor import Tensor
from .creation import new_tensor
from .dtype import by_name
from .nn import Module

__all__ = ["load", "load_file", "load_model", "save", "save_file", "save_model"]

_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8",
           "U8": "uint8", "BOOL": "bool"}  # fmt: skip


def _library(name: str = "safetensors") -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != "safetensors":
            raise
        raise ModuleNotFoundError(
            'numtorch.safetensors needs the safetensors library: pip install "numtorch[safetensors]"', name="safetensors"
        ) from None


def _checked(tensors: Any) -> dict[str, Tensor]:
    """The tensors to be written, on the host. Raises what ``safetensors.torch`` raises for other things and for shared memory."""
    if not isinstance(tensors, Mapping):
        raise ValueError(f"Expected a dict of [str, numtorch.Tensor] but received {type(tensors)}")
    by_storage: dict[int, list[str]] = {}
    for name, t in tensors.items():
        if not isinstance(t, Tensor):
            raise ValueError(f"Key `{name}` is invalid, expected numtorch.Tensor but received {type(t)}")
        if not t.is_contiguous():
            raise ValueError(
                f"You are trying to save a non contiguous tensor: `{name}` which is not allowed. It either means you are trying to"
                " save tensors which are reference of each other in which case it's recommended to save only the full tensors,"
                " and reslice at load time, or simply call `.contiguous()` on your tensor to pack it before saving."
            )
        if t.numel():
            by_storage.setdefault(id(t._storage), []).append(name)
    shared = [names for names in by_storage.values() if len(names) > 1]
    if shared:
        raise RuntimeError(
            f"Some tensors share memory, this will lead to duplicate memory on disk and potential differences when loading them"
            f" again: {shared}. A potential way to correctly save your model is to use `save_model`."
        )
    return {name: t.detach().cpu() for name, t in tensors.items()}


def _entries(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Any], list[np.ndarray]]:
    """What the library's serializers take, since 0.8 by address, and the arrays that must live as long."""
    spec, entries, arrays = getattr(_library(), "TensorSpec", None), {}, []
    for name, t in tensors.items():
        array = t._numpy()
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        arrays.append(array)
        if spec is None:
            entries[name] = {"dtype": t.dtype.name, "shape": array.shape, "data": array.tobytes()}
        else:
            entries[name] = spec(dtype=t.dtype.name, shape=array.shape, data_ptr=array.ctypes.data, data_len=array.nbytes)
    return entries, arrays


def save(tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """The bytes of a safetensors file with these tensors. ValueError for what is no contiguous tensor, RuntimeError for shared memory."""
    entries, _alive = _entries(_checked(tensors))
    return bytes(_library().serialize(entries, metadata=metadata))


def save_file(tensors: Mapping[str, Tensor], filename: str | os.PathLike, metadata: dict[str, str] | None = None) -> None:
    """Write tensors to a safetensors file; ``metadata`` is text for its header."""
    entries, _alive = _entries(_checked(tensors))
    _library().serialize_file(entries, filename, metadata=metadata)


def load(data: bytes) -> dict[str, Tensor]:
    """The tensors in the bytes of a safetensors file; TypeError for a dtype that numtorch doesn't have."""
    return {name: _tensor(name, found) for name, found in _library().deserialize(data)}


def load_file(filename: str | os.PathLike, device: Any = "cpu") -> dict[str, Tensor]:
    """The tensors of a safetensors file."""
    with open(filename, "rb") as file:
        found = load(file.read())
    return {name: t.to(device) for name, t in found.items()}


def _tensor(name: str, found: dict[str, Any]) -> Tensor:
    kind, shape, data = found["dtype"], found["shape"], found["data"]
    if kind not in _DTYPES:
        raise TypeError(f"safetensors: {name} has dtype {kind}, which numtorch doesn't have; convert it in PyTorch")
    d = by_name(_DTYPES[kind])
    made = new_tensor(tuple(shape), d)
    made._numpy()[...] = np.frombuffer(data, d.numpy.newbyteorder("<")).reshape(shape)
    return made


def _kept(model: Module) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(state dict without second names of a tensor, second name -> first name)."""
    first: dict[tuple, str] = {}
    kept, again = {}, {}
    for name, t in sorted(model.state_dict().items()):
        key = (id(t._storage), t._offset, t._layout)
        if t.numel() and key in first:
            again[name] = first[key]
        else:
            first[key] = name
            kept[name] = t
    return kept, again


def save_model(model: Module, filename: str | os.PathLike, metadata: dict[str, str] | None = None, force_contiguous: bool = True) -> None:
    """Write a model's state, tensors that have several names (tied weights) once."""
    kept, again = _kept(model)
    if force_contiguous:
        kept = {name: t.contiguous() for name, t in kept.items()}
    save_file(kept, filename, {**(metadata or {}), **again} or None)


def load_model(model: Module, filename: str | os.PathLike, strict: bool = True, device: Any = "cpu") -> tuple[list[str], list[str]]:
    """Read a model's state; (missing, unexpected) names. RuntimeError for any of them if ``strict``."""
    _, again = _kept(model)
    missing, unexpected = model.load_state_dict(load_file(filename, device), strict=False)
    missing = [n for n in missing if again.get(n, n) in missing]
    if strict and (missing or unexpected):
        raise RuntimeError(
            f"Error(s) in loading state_dict for {type(model).__name__}: missing keys {sorted(missing)}, unexpected keys"
            f" {sorted(unexpected)}; give strict=False to load the others"
        )
    return missing, unexpected
