"""Tensors that a module owns: Parameter (trained), Buffer (saved, not trained) and their lazy forms."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numtorch

from .._tensor import Tensor


def _as_leaf(cls: type, data: Tensor, requires_grad: bool) -> Any:
    """A tensor of another class over the same memory, without history."""
    leaf = data.detach().as_subclass(cls)
    leaf.requires_grad = requires_grad
    return leaf


class _ParameterMeta(type(Tensor)):
    """Makes ``isinstance(t, Parameter)`` true for tensor subclasses that were marked as parameters."""

    def __instancecheck__(cls, instance: Any) -> bool:
        if super().__instancecheck__(instance):
            return True
        return cls is Parameter and isinstance(instance, Tensor) and getattr(instance, "_is_param", False)


class Parameter(Tensor, metaclass=_ParameterMeta):
    """A tensor that a ``Module`` lists in ``parameters()`` when it is assigned as an attribute.

    ``data`` is shared, not copied; it must be floating point to require a gradient (RuntimeError).

    Example:
        >>> import numtorch
        >>> numtorch.nn.Parameter(numtorch.ones(2)).requires_grad
        True
    """

    def __new__(cls, data: Any = None, requires_grad: bool = True) -> Parameter:
        if data is None:
            data = numtorch.empty(0)
        if type(data) is Tensor or type(data) is Parameter:
            return _as_leaf(cls, data, requires_grad)
        if not isinstance(data, Tensor):
            raise TypeError(
                f"Parameter: data must be a Tensor, not {type(data).__name__}; wrap it with"
                " numtorch.tensor(data)"
            )
        custom = data.detach().requires_grad_(requires_grad)
        if type(custom) is not type(data):
            return _as_leaf(cls, data, requires_grad)
        custom._is_param = True  # type: ignore[attr-defined]
        return custom  # type: ignore[return-value]

    # The class must accept what __new__ accepts.
    def __init__(self, data: Any = None, requires_grad: bool = True):
        pass

    def __deepcopy__(self, memo: dict) -> Parameter:
        if id(self) in memo:
            return memo[id(self)]
        with numtorch.no_grad():
            copied = type(self)(self.detach().as_subclass(Tensor).clone(), self.requires_grad)
        memo[id(self)] = copied
        return copied

    def __reduce_ex__(self, protocol: int) -> tuple[Any, ...]:
        return rebuild_parameter, (self.detach().as_subclass(Tensor), self.requires_grad, OrderedDict())


def rebuild_parameter(data: Tensor, requires_grad: bool, backward_hooks: Any) -> Parameter:
    """A Parameter from its pickled parts (hooks are not pickled, as in PyTorch)."""
    return Parameter(data, requires_grad)


class _BufferMeta(type(Tensor)):
    """Makes ``isinstance(t, Buffer)`` true for plain tensors that were marked as buffers."""

    def __instancecheck__(cls, instance: Any) -> bool:
        if super().__instancecheck__(instance):
            return True
        return cls is Buffer and isinstance(instance, Tensor) and getattr(instance, "_is_buffer", False)


class Buffer(Tensor, metaclass=_BufferMeta):
    """A tensor that a ``Module`` registers as a buffer when it is assigned; not saved if ``persistent`` is
    false.

    Example:
        >>> import numtorch
        >>> module = numtorch.nn.Module()
        >>> module.count = numtorch.nn.Buffer(numtorch.zeros(1))
        >>> list(module.state_dict())
        ['count']
    """

    def __new__(cls, data: Any = None, *, persistent: bool = True) -> Tensor:
        if data is None:
            data = numtorch.empty(0)
        buffer = data.detach().requires_grad_(data.requires_grad)
        buffer.persistent = persistent
        buffer._is_buffer = True
        return buffer


_UNINITIALIZED = (
    "Can't access the shape of an uninitialized parameter or buffer. This error usually happens in"
    " `load_state_dict` when trying to load an uninitialized parameter into an initialized one. Call"
    " `forward` to initialize the parameters before accessing their attributes."
)


class UninitializedTensorMixin:
    """A tensor of unknown shape: everything but dtype, device and ``materialize`` raises until the shape is
    known.
    """

    cls_to_become: type

    def materialize(self, shape: Any, device: Any = None, dtype: Any = None) -> None:
        """Allocate the tensor and become an ordinary Parameter or tensor."""
        data = numtorch.empty(shape, device=device or self.device, dtype=dtype or self.dtype)  # type: ignore[attr-defined]
        self.data = data
        self.__class__ = self.cls_to_become

    @property
    def shape(self) -> Any:
        raise RuntimeError(_UNINITIALIZED)

    def share_memory_(self) -> None:
        raise RuntimeError(
            "Can't share memory on an uninitialized parameter or buffer. Call `forward` to initialize the"
            " parameters before calling `module.share_memory()`."
        )

    def __repr__(self, **kwargs: Any) -> str:
        return f"<{type(self).__name__}>"


class UninitializedParameter(UninitializedTensorMixin, Parameter):
    """A Parameter whose shape a lazy module infers at its first call.

    Example:
        >>> import numtorch
        >>> p = numtorch.nn.UninitializedParameter()
        >>> p.materialize((2, 3))
        >>> tuple(p.shape)
        (2, 3)
    """

    cls_to_become = Parameter

    def __new__(
        cls, requires_grad: bool = True, device: Any = None, dtype: Any = None
    ) -> UninitializedParameter:
        return _as_leaf(cls, numtorch.empty(0, device=device, dtype=dtype), requires_grad)

    def __init__(self, requires_grad: bool = True, device: Any = None, dtype: Any = None):
        pass

    def __deepcopy__(self, memo: dict) -> UninitializedParameter:
        if id(self) not in memo:
            memo[id(self)] = type(self)(self.requires_grad, self.device, self.dtype)
        return memo[id(self)]

    def __reduce_ex__(self, protocol: int) -> tuple[Any, ...]:
        return UninitializedParameter, (self.requires_grad, self.device, self.dtype)


class UninitializedBuffer(UninitializedTensorMixin, Tensor):
    """A buffer whose shape a lazy module infers at its first call."""

    cls_to_become = Tensor

    def __new__(
        cls, requires_grad: bool = False, device: Any = None, dtype: Any = None
    ) -> UninitializedBuffer:
        return _as_leaf(cls, numtorch.empty(0, device=device, dtype=dtype), requires_grad)

    def __init__(self, requires_grad: bool = False, device: Any = None, dtype: Any = None):
        pass

    def __deepcopy__(self, memo: dict) -> UninitializedBuffer:
        if id(self) not in memo:
            memo[id(self)] = type(self)(self.requires_grad, self.device, self.dtype)
        return memo[id(self)]

    def __reduce_ex__(self, protocol: int) -> tuple[Any, ...]:
        return UninitializedBuffer, (self.requires_grad, self.device, self.dtype)


def is_lazy(tensor: Any) -> bool:
    """Whether a tensor waits for its shape."""
    return isinstance(tensor, UninitializedTensorMixin)
