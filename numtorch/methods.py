"""Binds ops to the Tensor: operators, methods, and in-place forms with a trailing underscore."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import indexing, late_methods
from ._tensor import Tensor, replaced
from .autograd.mode import state
from .dtype import ALL, FLOATING
from .dtype import dtype as DType
from .errors import require_tensor, tensors_only
from .interop import cuda_array_interface, is_pinned, is_shared, pin_memory, record_stream, share_memory_
from .method_table import (
    ALIASES,
    ARITHMETIC,
    CASTS,
    ELEMENTWISE,
    FACTORS,
    IN_PLACE_OPERATORS,
    OUT_OF_PLACE,
    PLAIN,
    TRAILING,
)
from .ops import arithmetic as A
from .ops import copying, inplace, view
from .ops import elementwise as E
from .ops import matmul as M
from .ops.node_names import in_place_view, named
from .ops.pointwise import Elementwise
from .ops.quick import binary, unary

_NUMBERS = (int, float)
DEVICE_MEMORY = (pin_memory, is_pinned, record_stream, share_memory_, is_shared)
D = {d.name: d for d in ALL}


def _binary(op: Callable, reverse: str = "") -> Callable:
    """An operator method; NotImplemented for foreign operands, so that Python can ask them.

    ``reverse``: the operands change places, and what the node is called then.
    """

    def method(self: Tensor, other: Any) -> Any:
        if not isinstance(self, Tensor):
            raise TypeError(f"operators of tensors don't apply to a '{type(self).__name__}' object; write the tensor first")
        if not isinstance(other, Tensor) and not isinstance(other, _NUMBERS):
            if not hasattr(other, "__array__") or isinstance(other, (list, tuple)):
                return NotImplemented
            from .from_data import as_tensor

            other = as_tensor(other) if getattr(other, "ndim", 0) else other.item()
        return named(op(other, self), reverse) if reverse else op(self, other)

    return method


def _matmul(self: Tensor, other: Any) -> Any:
    return M.matmul(self, other) if isinstance(other, Tensor) else NotImplemented


def _invert(self: Tensor) -> Tensor:
    if self._layout.dtype.category == FLOATING:
        raise TypeError(
            f"~ (operator.invert) is only implemented on integer and Boolean-type tensors, got {self.dtype!r}; compare with a"
            " number to get a mask"
        )
    return A.bitwise_not(self)


def _operators() -> dict[str, Any]:
    return {
        "__add__": binary(E.add, _binary(A.add)), "__radd__": _binary(A.add, "AddBackward0"),
        "__sub__": binary(E.sub, _binary(A.sub)), "__rsub__": _binary(A.sub, "RsubBackward1"),
        "__mul__": binary(E.mul, _binary(A.mul)), "__rmul__": _binary(A.mul, "MulBackward0"),
        "__truediv__": binary(E.true_divide, _binary(A.div)), "__rtruediv__": _binary(A.div, "MulBackward0"),
        "__rdiv__": _binary(A.div, "MulBackward0"),
        "__floordiv__": _binary(A.floor_divide), "__rfloordiv__": _binary(A.floor_divide, "FloorDivideBackward0"),
        "__mod__": _binary(A.remainder), "__rmod__": _binary(A.remainder, "RemainderBackward1"),
        "__pow__": _binary(A.pow), "__rpow__": _binary(A.pow, "PowBackward2"),
        "__and__": _binary(E.bitwise_and), "__rand__": _binary(E.bitwise_and, "BitwiseAndBackward0"),
        "__or__": _binary(E.bitwise_or), "__ror__": _binary(E.bitwise_or, "BitwiseOrBackward0"),
        "__xor__": _binary(E.bitwise_xor), "__rxor__": _binary(E.bitwise_xor, "BitwiseXorBackward0"),
        "__lshift__": _binary(E.bitwise_left_shift), "__rshift__": _binary(E.bitwise_right_shift),
        "__rlshift__": _binary(E.bitwise_left_shift, "BitwiseLeftShiftBackward0"),
        "__rrshift__": _binary(E.bitwise_right_shift, "BitwiseRightShiftBackward0"),
        "__eq__": _binary(E.eq), "__ne__": _binary(E.ne), "__lt__": _binary(E.lt), "__le__": _binary(E.le),
        "__gt__": _binary(E.gt), "__ge__": _binary(E.ge),
        "__matmul__": _matmul, "__rmatmul__": lambda self, other: M.matmul(other, self),
        "__getitem__": indexing.getitem, "__setitem__": indexing.setitem,
        "__neg__": lambda self: A.neg(self), "__pos__": lambda self: A.positive(self),
        "__abs__": lambda self: E.abs(self), "__invert__": _invert,
    }  # fmt: skip


def _inplace_operator(name: str) -> Callable:
    def method(self: Tensor, other: Any) -> Any:
        return getattr(self, name)(other)

    return method


def in_place(op: Any, name: str) -> Callable:
    """The form of an op that writes its result into its first operand."""
    if isinstance(op, Elementwise):

        def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            if kwargs:
                args = op.bind((self, *args), kwargs)[1:]
            return op.inplace(self, *args)

    else:

        def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            return via_copy(self, op, name, args, kwargs)

    method.__name__ = name + "_"
    method.__doc__ = f"In-place form of ``{name}``."
    return method


def via_copy(self: Tensor, op: Callable, name: str, args: tuple, kwargs: dict) -> Tensor:
    """Compute out of place, then copy into the operand: for ops whose result is not elementwise in it."""
    from .autograd.mode import state

    needs = state.grad and self._rg
    inplace.check_inplace(self, name, needs)
    result = op(self.clone() if needs else self, *args, **kwargs)  # its backward may read what is overwritten
    inplace.check_result(name, self._layout, result._layout.shape, result._layout.dtype)
    return copying.overwrite(self, result)


def _arith_inplace(op: Elementwise, slow: Callable, name: str) -> Callable:
    def method(self: Tensor, other: Any, **kwargs: Any) -> Tensor:
        if not kwargs and self._layout.dtype.category == FLOATING:
            return op.inplace(self, other)
        alpha = kwargs.pop("alpha", 1)
        if alpha != 1 and not kwargs and name in ("add", "sub"):
            A._check_alpha(name, alpha, self, other)
            return E.add_scaled.inplace(self, other, alpha if name == "add" else -alpha)
        return via_copy(self, slow, name, (other,), kwargs)

    method.__name__ = name + "_"
    method.__doc__ = f"In-place form of ``{name}``."
    return method


def fill_(self: Tensor, value: Any) -> Tensor:
    """Write one value everywhere."""
    from .autograd.mode import state
    from .creation import fill_into

    if isinstance(value, Tensor):
        if value.ndim:
            raise RuntimeError(
                f"fill_ only supports 0-dimension value tensor but got tensor with {value.ndim} dimensions; use copy_"
            )
        return copying.copy_(self, value)
    if not isinstance(value, _NUMBERS):
        raise TypeError(f"fill_(): argument 'value' must be Number, not {type(value).__name__}")
    needs = state.grad and self._rg
    inplace.check_inplace(self, "fill", needs)
    node = inplace_zero_history(self) if needs else None
    fill_into(self, value)
    self._storage.version += not self._untracked
    if needs:
        node.alias = "FillBackward2" if self._base is None else ""
        inplace.rebase(self, node)
    return self


def inplace_zero_history(self: Tensor) -> Any:
    """The history of an overwritten tensor: its old value gets zeros."""
    return copying.Overwrite(self, self.detach())


@tensors_only
def zero_(self: Tensor) -> Tensor:
    """Write zeros everywhere."""
    fill_(self, 0)
    return named(self, "ZeroBackward0") if self._rg and self._base is None else self


def resize_(self: Tensor, *size: Any, memory_format: Any = None) -> Tensor:
    """Give the tensor another shape, keeping the elements that fit; new ones are uninitialised."""
    from .shape import as_shape, check_sizes, contiguous
    from .storage import allocate, copy_start

    shape = as_shape(size[0] if len(size) == 1 else size, "resize_")
    check_sizes(shape, "resize_")
    if self._rg:
        raise RuntimeError("cannot resize variables that require grad; detach() or clone() first")
    inplace.check_inplace(self, "resize", False)
    if shape == self._layout.shape:
        return self
    la = contiguous(shape, self._layout.dtype, self._layout.device)
    if state.recorder is not None:
        state.recorder.geometry(self)
    needed = (self._offset + la.numel) * la.itemsize
    if needed > self._storage.nbytes:
        grown = allocate(needed, la.device)
        copy_start(grown, self._storage, self._storage.nbytes)
        grown.version = self._storage.version
        self._storage = grown
    self._layout = la
    self._storage.version += not self._untracked
    replaced[0] += 1
    return self


def resize_as_(self: Tensor, other: Tensor, *, memory_format: Any = None) -> Tensor:
    """``resize_`` to the shape of another tensor."""
    require_tensor("resize_as_", "other", other)
    if other._layout.shape == self._layout.shape:
        return self
    return resize_(self, other._layout.shape)


def set_(self: Tensor, source: Any = None, *args: Any) -> Tensor:
    """Look at another tensor's memory."""
    from .creation import new_tensor

    source = new_tensor((0,), self.dtype) if source is None else source
    if state.recorder is not None:
        state.recorder.geometry(self)
    self._storage, self._offset, self._layout = source._storage, source._offset, source._layout
    replaced[0] += 1
    return self


def requires_same(self: Tensor, other: Tensor) -> bool:
    """Whether two tensors share their memory."""
    return self._storage is other._storage


def swap_geometry(self: Tensor, name: str, *args: Any, **kwargs: Any) -> Tensor:
    """The in-place forms of views: the tensor itself takes the view's shape and strides."""
    inplace.check_leaf(self, name)
    if state.recorder is not None:
        state.recorder.geometry(self)
    v = getattr(view, name)(self.detach() if not self._rg else self, *args, **kwargs)
    self._storage.version += not self._untracked
    if self._rg:
        self._set_history(v._node, v._nr, v._rg)
        if v._node is not None:
            v._node.alias = in_place_view(name, bool(args or kwargs))
    self._offset, self._layout = v._offset, v._layout
    replaced[0] += 1
    return self


def cpu(self: Tensor, memory_format: Any = None) -> Tensor:
    """On the CPU (itself if it is there)."""
    return copying.to(self, "cpu")


def cuda(self: Tensor, device: Any = None, non_blocking: bool = False, memory_format: Any = None) -> Tensor:
    """On a GPU; RuntimeError where there is none."""
    return copying.to(self, "cuda" if device is None else device, non_blocking=non_blocking)


def _cast_method(d: DType, name: str) -> Callable:
    def method(self: Tensor, memory_format: Any = None) -> Tensor:
        return self if self._layout.dtype is d else copying.cast(self, d)

    method.__name__ = name
    method.__doc__ = f"In {d.name}."
    return method


def _new(name: str) -> Callable:
    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        from . import creation, from_data

        kwargs.setdefault("dtype", self.dtype)
        kwargs.setdefault("device", self.device)
        return getattr(from_data if name == "tensor" else creation, name)(*args, **kwargs)

    method.__name__ = "new_" + name
    method.__doc__ = f"``{name}`` in this tensor's dtype and on its device."
    return method


def _transposed(name: str) -> property:
    def get(self: Tensor) -> Tensor:
        n = self._layout.ndim
        if name == "T":
            return view.permute(self, tuple(range(n - 1, -1, -1)))
        if name == "H" and n not in (0, 2):
            raise RuntimeError(f"tensor.H is only supported on matrices (2-D tensors). Got {n}-D tensor.")
        if n < 2:
            if n == 1:
                raise RuntimeError(
                    f"tensor.{name} is only supported on matrices or batches of matrices. Got 1-D tensor."
                )
            return self
        return view.transpose(self, -2, -1)

    return property(get, doc="Transposed.")


def bind() -> None:
    """Put all of it on the class; called once by the package."""
    for name, method in _operators().items():
        setattr(Tensor, name, method)
    for name in FACTORS.split():
        setattr(Tensor, name, late_methods.factor(name))
    for module, names in PLAIN:
        for name in names.split():
            setattr(Tensor, name, getattr(module, name))
    for name in ELEMENTWISE:
        bind_method(name, getattr(E, name))
    for name in ("addmm", "addmv", "addr", "baddbmm", "addbmm"):
        bind_method(name, getattr(M, name))
    for module, names in TRAILING:
        for name in names.split():
            bind_method(name, getattr(module, name))
    _bind_arithmetic()
    _bind_conversions()
    bind_method("polygamma", late_methods.polygamma)
    for name in ("T", "mT", "H", "mH"):
        setattr(Tensor, name, _transposed(name))
    for name in ("hardshrink", "prelu"):
        setattr(Tensor, name, late_methods.functional(name))
    for function in (late_methods.new, late_methods.where, fill_, zero_, resize_, resize_as_, set_, cpu, cuda, *DEVICE_MEMORY):
        setattr(Tensor, function.__name__, function)
    Tensor.__cuda_array_interface__ = property(cuda_array_interface)  # type: ignore[attr-defined]
    for name in ("squeeze", "unsqueeze", "transpose", "t", "as_strided"):
        setattr(Tensor, name + "_", _geometry_method(name))
    for name, target in ALIASES.items():
        setattr(Tensor, name, getattr(Tensor, target))
        if hasattr(Tensor, target + "_"):
            setattr(Tensor, name + "_", getattr(Tensor, target + "_"))


def _bind_arithmetic() -> None:
    for name in ARITHMETIC:
        bind_method(name, getattr(A, name), inplace_form=name not in ("positive", "float_power"))
    fast = {"add": E.add, "sub": E.sub, "mul": E.mul, "div": E.true_divide}
    for name, op in fast.items():
        setattr(Tensor, name + "_", _arith_inplace(op, getattr(A, name), name))
    for operator, name in IN_PLACE_OPERATORS.items():
        setattr(Tensor, operator, _inplace_operator(name))


def _bind_conversions() -> None:
    for name, d in CASTS.items():
        setattr(Tensor, name, _cast_method(D[d], name))
    for name in ("empty", "empty_strided", "zeros", "ones", "full", "tensor"):
        setattr(Tensor, "new_" + name, _new(name))
    Tensor.type = late_methods.type_  # type: ignore[attr-defined]


def _geometry_method(name: str) -> Callable:
    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return swap_geometry(self, name, *args, **kwargs)

    method.__name__ = name + "_"
    return method


def bind_method(name: str, op: Any, inplace_form: bool = True) -> None:
    """Bind an op as ``Tensor.name`` and, if wanted, ``Tensor.name_``."""

    if isinstance(op, Elementwise):

        method = unary(op)
        method.__name__, method.__doc__ = name, op.__doc__
        setattr(Tensor, name, method)
    else:
        setattr(Tensor, name, op)
    if inplace_form and name not in OUT_OF_PLACE:
        setattr(Tensor, name + "_", in_place(op, name))


__all__ = ["ALIASES", "ARITHMETIC", "ELEMENTWISE", "PLAIN", "bind", "bind_method"]
