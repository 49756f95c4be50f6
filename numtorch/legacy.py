"""PyTorch's constructors from before dtypes: ``Tensor(2, 3)``, ``FloatTensor([1, 2])``, ``x.new(3)``, ``isinstance(x, LongTensor)``."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._tensor import Tensor
from .dtype import ALL, get_default_dtype, set_default_dtype
from .errors import TORCH_NAMES

DTYPES = {TORCH_NAMES[d.name] + "Tensor": d for d in ALL}


def constructed(d: Any, *args: Any, device: Any = None) -> Tensor:
    """Uninitialised memory of a shape (numbers or a ``Size``), or the values of a sequence, an array or a tensor.

    ``d``: the dtype; None for the default one, and a tensor's own. TypeError for a lone number that is no size.
    """
    from .creation import empty
    from .from_data import tensor
    from .shape import Size

    kind = get_default_dtype() if d is None else d
    if len(args) == 1 and isinstance(args[0], Tensor):
        if d is not None and args[0].dtype is not d:
            raise TypeError(f"new(): expected a tensor of {d!r}, got {args[0].dtype!r}; convert it with .to()")
        return args[0].detach()
    if len(args) == 1 and not isinstance(args[0], Size) and (not hasattr(args[0], "__index__") or isinstance(args[0], np.ndarray)):
        if isinstance(args[0], (str, bytes)) or not hasattr(args[0], "__len__"):
            raise TypeError(f"new(): data must be a sequence (got {type(args[0]).__name__}); make a tensor with numtorch.tensor(...)")
        return tensor(args[0], dtype=kind, device=device)
    return empty(*args, dtype=kind, device=device) if args else empty(0, dtype=kind, device=device)


class TensorType(type):
    """The class of ``FloatTensor`` and its like: a tensor is an instance if it has the dtype."""

    dtype: Any

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, Tensor) and instance._layout.dtype is cls.dtype and not instance.is_cuda

    def __call__(cls, *args: Any, **kwargs: Any) -> Tensor:
        wrong = set(kwargs) - {"device"}
        if wrong:
            raise TypeError(f"{cls.__name__}(): got an unexpected keyword argument '{wrong.pop()}'; use numtorch.tensor(..., dtype=...)")
        return constructed(cls.dtype, *args, **kwargs)


def tensor_type(name: str) -> TensorType:
    """``FloatTensor`` and its like by name.

    Example:
        >>> import numtorch
        >>> numtorch.LongTensor([1, 2]).dtype
        numtorch.int64
    """
    found = _types.get(name)
    if found is None:
        doc = f"Tensors of {DTYPES[name].name}: ``{name}(2, 3)`` of a shape, ``{name}([1, 2])`` of values."
        found = _types[name] = TensorType(name, (), {"dtype": DTYPES[name], "__module__": "numtorch", "__doc__": doc})
    return found


_types: dict[str, TensorType] = {}


def __getattr__(name: str) -> Any:
    if name in DTYPES:
        return tensor_type(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def new(self: Tensor, *args: Any, device: Any = None) -> Tensor:
    """A tensor of this one's dtype: uninitialised of a shape, or of values."""
    if len(args) == 1 and isinstance(args[0], Tensor):
        return args[0].detach().to(self.dtype)
    return constructed(self.dtype, *args, device=self.device if device is None else device)


def set_default_tensor_type(t: Any) -> None:
    """The default dtype by the name or the class of a tensor type, such as ``"torch.DoubleTensor"``."""
    name = t if isinstance(t, str) else getattr(t, "__name__", type(t).__name__)
    d = DTYPES.get(name.rsplit(".", 1)[-1])
    if d is None or not d.is_floating_point:
        raise TypeError(
            f"set_default_tensor_type(): only floating-point types are supported as the default type, got {name}; use"
            " numtorch.set_default_dtype(numtorch.float32)"
        )
    set_default_dtype(d)
