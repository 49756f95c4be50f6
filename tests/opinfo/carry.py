"""Carry the arguments of a call from PyTorch to numtorch: same values, strides, offsets and shared memory."""

from __future__ import annotations

import types
from typing import Any

import torch

import numtorch

DTYPES = {getattr(torch, n): getattr(numtorch, n) for n in "float16 bfloat16 float32 float64 uint8 int8 int16 int32 int64 bool".split()}


class Skip(Exception):
    """The call has no counterpart in numtorch; the message says why."""


class Carrier:
    """Tensors of one call; those that share memory in PyTorch share it in numtorch."""

    def __init__(self) -> None:
        self.memory: dict[int, Any] = {}
        self.pairs: dict[int, tuple[torch.Tensor, Any]] = {}

    def tensor(self, t: torch.Tensor) -> Any:
        """numtorch's tensor with the values, strides and offset of PyTorch's."""
        if id(t) in self.pairs:
            return self.pairs[id(t)][1]
        if t.layout is not torch.strided or t.is_quantized or t.is_nested or t.device.type != "cpu":
            raise Skip("layout or device")
        if t.dtype not in DTYPES or t.is_neg() or t.is_conj():
            raise Skip(f"dtype {t.dtype}")
        if t.ndim > 32:
            raise Skip("more dimensions than NumPy has")
        key = t.untyped_storage()._cdata
        if key not in self.memory:
            flat = torch.empty(0, dtype=t.dtype).set_(t.untyped_storage())
            self.memory[key] = carried(flat)
        elif self.memory[key].dtype is not DTYPES[t.dtype]:
            raise Skip("one memory in two dtypes")
        made = self.memory[key].as_strided(tuple(t.shape), t.stride(), t.storage_offset()).detach()
        if t.requires_grad:
            made.requires_grad_()
        self.pairs[id(t)] = (t, made)
        return made

    def value(self, value: Any) -> Any:
        """The counterpart of any argument."""
        if isinstance(value, torch.Tensor):
            return self.tensor(value)
        if isinstance(value, torch.dtype):
            if value not in DTYPES:
                raise Skip(f"dtype {value}")
            return DTYPES[value]
        if isinstance(value, torch.Size):
            return numtorch.Size(value)
        if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
            return type(value)(self.value(v) for v in value)
        if isinstance(value, dict):
            return {k: self.value(v) for k, v in value.items()}
        if isinstance(value, torch.device):
            return str(value)
        if isinstance(value, (torch.layout, torch.memory_format)):
            found = getattr(numtorch, str(value).removeprefix("torch."), None)
            if found is None:
                raise Skip(f"{value}")
            return found
        if isinstance(value, complex):
            raise Skip("complex numbers")
        if isinstance(value, types.FunctionType) and value.__module__.startswith("torch.testing"):
            return rebind(value)
        if callable(value):
            return public(value)
        if type(value).__module__.split(".")[0] == "torch":
            raise Skip(f"{type(value).__name__} argument")
        return value


def carried(t: torch.Tensor) -> Any:
    """A numtorch tensor with the values of a contiguous tensor of PyTorch."""
    t = t.detach().clone()
    if t.dtype is torch.bfloat16:
        return numtorch.tensor(t.view(torch.int16).numpy()).view(numtorch.bfloat16)
    return numtorch.tensor(t.numpy(), dtype=DTYPES[t.dtype])


def public(function: Any) -> Any:
    """numtorch's function of the same public name."""
    name = getattr(function, "__name__", "")
    for space in ("", "nn.functional", "nn", "linalg"):
        if getattr(find(torch, space), name, None) is function:
            return getattr(find(numtorch, space), name)
    raise Skip("callable argument")


def find(module: Any, dotted: str) -> Any:
    """A name in a module, or None; methods of tensors are not found through other types."""
    for part in filter(None, dotted.split(".")):
        module = getattr(module, part, None)
    return module


def rebind(function: types.FunctionType) -> types.FunctionType:
    """A function of the database in which ``torch`` means numtorch."""
    names = {**function.__globals__, "torch": numtorch, "F": numtorch.nn.functional, "wrapper_set_seed": _unseeded}
    copy = types.FunctionType(function.__code__, names, function.__name__, function.__defaults__, function.__closure__)
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


def _unseeded(op: Any, *args: Any, **kwargs: Any) -> Any:
    return op(*args, **kwargs)


def counterpart(op: Any) -> Any:
    """numtorch's function for an entry of the database; Skip if it has none."""
    wrapped = (getattr(op.op, "__module__", None) or "").startswith("torch.testing.")
    theirs, ours = find(torch, op.name), find(numtorch, op.name)
    if theirs is None or isinstance(theirs, torch.dtype):
        name = op.name if hasattr(torch.Tensor, op.name) else op.name + "_"
        ours = getattr(numtorch.Tensor, name, None)
    if op.full_name == "normal.in_place":
        ours = numtorch.Tensor.normal_
    if ours is None:
        ours = getattr(numtorch.Tensor, op.name, None)
    if ours is None:
        raise Skip("name is absent")
    return rebind(op.op) if wrapped else ours


def relaid(t: torch.Tensor, how: str) -> torch.Tensor:
    """The tensor in other memory: every second element from an offset, transposed, or one slice expanded (other values)."""
    plain = t.detach()
    if how == "expanded":
        wide = [d for d in range(plain.ndim) if plain.shape[d] > 1]
        made = plain.narrow(wide[0], 0, 1).clone().expand(plain.shape) if wide else plain.clone()
    elif how == "transposed" and plain.ndim > 1:
        turned = tuple(range(plain.ndim))[::-1]
        made = plain.permute(turned).clone(memory_format=torch.contiguous_format).permute(turned)
    else:
        shape = plain.shape if plain.ndim else torch.Size([1])
        memory = torch.zeros(*shape[:-1], 2 * shape[-1] + 1, dtype=plain.dtype)
        made = memory[..., 1::2]
        made = made if plain.ndim else made[0]
        made.copy_(plain)
    return made.requires_grad_(t.requires_grad)


def mapped(value: Any, change: Any) -> Any:
    """A nest of arguments with every tensor replaced."""
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields") and not isinstance(value, torch.Size):
        return type(value)(mapped(v, change) for v in value)
    if isinstance(value, dict):
        return {k: mapped(v, change) for k, v in value.items()}
    return value


def tensors(value: Any, kind: type) -> list[Any]:
    """The tensors in a nested result, in order."""
    if isinstance(value, kind):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [t for v in value for t in tensors(v, kind)] if isinstance(value, (tuple, list)) else []
