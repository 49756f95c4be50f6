"""The Tensor: memory, a layout over it, and its place in the autograd graph.

Operators and most methods are ops from ``ops/`` and are bound in ``methods.py``; this file holds what a tensor is.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from operator import index
from typing import TYPE_CHECKING, Any

import numpy as np

from .autograd.mode import state
from .device import device as Device
from .dtype import bfloat16
from .dtype import dtype as DType
from .shape import Layout, Size, layout
from .storage import Storage

if TYPE_CHECKING:
    from ._tensor_methods import TensorMethods  # a stub: what methods.py binds at run time (make stubs)
else:

    class TensorMethods:
        """What every tensor has, at fixed places: read and written on hot paths, also by compiled code."""

        __slots__ = ("_base", "_grad", "_layout", "_node", "_offset", "_rg", "_storage")


class Tensor(TensorMethods):
    """An n-dimensional array that records how it was computed.

    Make one with ``numtorch.tensor(data)`` or any creation function. Attributes: ``shape``, ``dtype``, ``device``,
    ``requires_grad``, ``grad``, ``grad_fn``, ``is_leaf``, ``data``, ``T``.

    Example:
        >>> import numtorch
        >>> x = numtorch.tensor([1.0, 2.0], requires_grad=True)
        >>> (x * x).sum().backward()
        >>> x.grad
        tensor([2., 4.])
    """

    __module__ = "numtorch"  # where users find it, and what its type is printed with
    _storage: Storage
    _offset: int
    _layout: Layout
    _rg: bool
    _node: Any
    _grad: Any
    _base: Any  # the tensor of which this one is a view, itself no view
    # The rest is rarely set: defaults on the class.
    _nr = 0
    _seen = 0  # base._history when this view's history was made
    _history = 0  # how often views of this tensor gave it a new history
    _untracked = False  # ``.data``: in-place changes don't count as versions
    _hooks: Any = None
    _post_hooks: Any = None
    _made = 0  # a view that must not be written while gradients are recorded: why (autograd/views.py)
    _lent = False  # requires grad only because its base does
    _views: Any = None  # weak references of views made while this tensor required no grad

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        from .legacy import constructed

        t = constructed(None, *args, **kwargs)
        return t if cls is Tensor else t.as_subclass(cls)

    @staticmethod
    def _make(storage: Storage, offset: int, la: Layout) -> Tensor:
        """A tensor over given memory, without history."""
        self = _new(Tensor)
        self._storage = storage
        self._offset = offset
        self._layout = la
        self._rg = False
        self._node = self._grad = self._base = None
        return self

    def _alias(self) -> Tensor:
        """Another tensor over the same memory, without history."""
        return _make(self._storage, self._offset, self._layout)

    def _address(self) -> int:
        """The address of the first element."""
        return self._storage.ptr + self._offset * self._layout.itemsize

    # -- autograd

    def _grad_fn(self) -> Any:
        """The node that computed this tensor; of a view, after its base was changed in place, made anew."""
        base = self._base
        if base is not None and self._seen != base._history:
            if base._rg and self._made:
                from .autograd.views import forbidden

                raise forbidden(self)
            self._seen = base._history
            if base._rg:
                from .ops.view import strided_history

                strided_history(self, base)
        return self._node

    def _set_history(self, node: Any, number: int, requires_grad: bool = True) -> None:
        self._node = node
        self._nr = number
        self._rg = requires_grad
        base = self._base
        if base is not None:
            self._seen = base._history

    @property
    def grad_fn(self) -> Any:
        """The node of the operation that made this tensor, or None for a leaf."""
        return self._grad_fn()

    @property
    def requires_grad(self) -> bool:
        """Whether gradients reach this tensor."""
        if self._base is not None:
            self._grad_fn()
        return self._rg

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if self._node is not None:
            if not value:
                raise RuntimeError(
                    "you can only change requires_grad flags of leaf variables. If you want to use a computed variable in"
                    " a subgraph that doesn't require differentiation use var_no_grad = var.detach()."
                )
            return
        if value and not self._layout.dtype.is_floating_point:
            raise RuntimeError(
                "only Tensors of floating point dtype can require gradients, this one has dtype"
                f" {self._layout.dtype!r}; convert it with .float()"
            )
        if value and self.is_inference() and not state.inference:
            raise RuntimeError(
                "Setting requires_grad=True on inference tensor outside InferenceMode is not allowed; clone() it first"
            )
        if value:
            self._lent = False
        elif self._lent:
            return
        self._rg = bool(value)
        if self._views is not None:
            from .autograd.views import lend

            lend(self)
        replaced[0] += 1

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Set ``requires_grad`` and return self."""
        self.requires_grad = requires_grad
        return self

    @property
    def grad(self) -> Any:
        """The gradient that backward passes have accumulated, or None."""
        if self._grad is None and self._node is not None and state.recorder is None and not self._retains():
            import warnings

            warnings.warn(
                "The .grad attribute of a Tensor that is not a leaf Tensor is being accessed. Its .grad attribute won't be"
                " populated during autograd.backward(). If you indeed want the .grad field to be populated for a non-leaf"
                " Tensor, use .retain_grad() on the non-leaf Tensor.",
                stacklevel=2,
            )
        if state.recorder is not None:
            state.recorder.grad_read(self)
        return self._grad

    @grad.setter
    def grad(self, value: Any) -> None:
        if value is not None:
            if not isinstance(value, Tensor):
                raise TypeError(
                    f"assigned grad expected to be a Tensor or None but got grad of type {type(value).__name__}"
                )
            if value._layout.shape != self._layout.shape:
                raise RuntimeError(
                    f"assigned grad has data of a different size: expected {list(self._layout.shape)}, got"
                    f" {list(value._layout.shape)}; reshape it first"
                )
            if value._layout.dtype is not self._layout.dtype:
                raise RuntimeError(
                    f"assigned grad has data of a different type: expected {self._layout.dtype!r}, got"
                    f" {value._layout.dtype!r}; convert it with .to()"
                )
            if value._layout.device != self._layout.device:
                raise RuntimeError(
                    f"assigned grad has data located on a different device: expected {self._layout.device}, got"
                    f" {value._layout.device}; move it with .to()"
                )
            if value is self:
                raise RuntimeError("can't assign Variable as its own grad; assign a clone()")
        if state.recorder is not None:
            state.recorder.grad_write(self)
        self._grad = value

    @grad.deleter
    def grad(self) -> None:
        self.grad = None

    def _retains(self) -> bool:
        node = self._node
        return bool(node is not None and node.captures and self._nr in node.captures)

    @property
    def is_leaf(self) -> bool:
        """Whether no recorded operation made this tensor."""
        return self._grad_fn() is None

    @property
    def retains_grad(self) -> bool:
        """Whether ``retain_grad`` was called on this non-leaf tensor."""
        return self._node is not None and self._retains()

    @property
    def output_nr(self) -> int:
        """Which output of ``grad_fn`` this is."""
        return self._nr

    def retain_grad(self) -> None:
        """Keep the gradient of a non-leaf tensor in ``.grad``; RuntimeError if it requires none."""
        if not self.requires_grad:
            raise RuntimeError(
                "can't retain_grad on Tensor that has requires_grad=False; set requires_grad first"
            )
        node = self._grad_fn()
        if node is not None:
            import weakref

            if node.captures is None:
                node.captures = {}
            node.captures[self._nr] = weakref.ref(self)

    def register_hook(self, hook: Callable) -> Any:
        """Call ``hook(grad)`` when this tensor's gradient is known; what it returns (if not None) replaces it."""
        from .autograd.hooks import register

        if not self.requires_grad:
            raise RuntimeError(
                "cannot register a hook on a tensor that doesn't require gradient; set requires_grad first"
            )
        node = self._grad_fn()
        if node is None:
            if self._hooks is None:
                self._hooks = {}
            return register(self._hooks, hook)
        if node.pre_hooks is None:
            node.pre_hooks = {}
        return register(node.pre_hooks.setdefault(self._nr, {}), hook)

    def register_post_accumulate_grad_hook(self, hook: Callable) -> Any:
        """Call ``hook(tensor)`` after a backward pass has added to this leaf's ``.grad``."""
        from .autograd.hooks import register

        if not self._rg or self._grad_fn() is not None:
            raise RuntimeError(
                "post accumulate grad hooks cannot be registered on non-leaf tensors; use register_hook"
            )
        if self._post_hooks is None:
            self._post_hooks = {}
        return register(self._post_hooks, hook)

    def backward(
        self,
        gradient: Any = None,
        retain_graph: bool | None = None,
        create_graph: bool = False,
        inputs: Any = None,
    ) -> None:
        """Add the gradients of this tensor (a scalar, or with ``gradient`` given) to the leaves' ``.grad``."""
        from .autograd import backward

        backward(self, gradient, retain_graph, create_graph, inputs=inputs)

    def detach(self) -> Tensor:
        """The same memory and version counter without history."""
        t = self._alias()
        if state.recorder is not None:
            state.recorder.alias(self, t)
        return t

    def detach_(self) -> Tensor:
        """Forget this tensor's history."""
        if self._base is not None:
            raise RuntimeError("Can't detach views in-place. Use detach() instead.")
        self._set_history(None, 0, False)
        return self

    @property
    def data(self) -> Tensor:
        """The same memory without history; changes through it are not seen by autograd."""
        t = self.detach()
        t._untracked = True
        return t

    @data.setter
    def data(self, value: Tensor) -> None:
        if not isinstance(value, Tensor):
            raise TypeError(f"Variable data has to be a tensor, but got {type(value).__name__}")
        if self._rg and not value._layout.dtype.is_floating_point:
            raise RuntimeError("data set to a tensor that requires gradients must be floating point dtype")
        if state.recorder is not None:
            state.recorder.geometry(self)
        self._storage, self._offset, self._layout = value._storage, value._offset, value._layout
        replaced[0] += 1

    @property
    def _version(self) -> int:
        if self.is_inference():
            raise RuntimeError("Inference tensors do not track version counter; clone() it for a tensor that does")
        return self._storage.version

    def is_inference(self) -> bool:
        """Whether the tensor's memory was made in inference mode."""
        return self._storage.version < 0 and not self._untracked

    # -- what it is

    @property
    def shape(self) -> Size:
        """The sizes of the dimensions."""
        return self._layout.size

    @property
    def dtype(self) -> DType:
        """The data type."""
        return self._layout.dtype

    @property
    def device(self) -> Device:
        """Where the memory is."""
        return Device(self._layout.device)

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return self._layout.ndim

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return self._layout.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self._layout.numel * self._layout.itemsize

    is_cuda = property(lambda self: self._layout.device != "cpu", doc="Whether the memory is on a GPU.")
    is_cpu = property(lambda self: self._layout.device == "cpu", doc="Whether the memory is the CPU's.")
    is_xpu = is_mps = property(lambda self: False, doc="Whether the memory is on a GPU of another maker: never.")
    is_sparse = property(lambda self: False, doc="False: numtorch has dense tensors only.")
    is_quantized = property(lambda self: False, doc="False: numtorch has no quantized tensors.")
    is_meta = property(lambda self: False, doc="False: numtorch has no meta tensors.")
    names = property(lambda self: (None,) * self._layout.ndim, doc="No names.")
    layout = property(lambda self: _strided(), doc="numtorch.strided.")

    def size(self, dim: int | None = None) -> Any:
        """The shape, or one size."""
        la = self._layout
        if dim is None:
            return la.size
        if type(dim) is int and 0 <= dim < la.ndim:
            return la.shape[dim]
        from .shape import wrap_dim

        if not self._layout.ndim:
            raise IndexError(f"size: Dimension specified as {dim} but tensor has no dimensions; use item()")
        return self._layout.shape[wrap_dim(dim, self._layout.ndim, "size")]

    def stride(self, dim: int | None = None) -> Any:
        """Strides in elements, all or of one dimension."""
        from .shape import wrap_dim

        strides = self._layout.strides
        return strides if dim is None else strides[wrap_dim(dim, len(strides), "stride")]

    def storage_offset(self) -> int:
        """Elements before the first one in its storage."""
        return self._offset

    def dim(self) -> int:
        """The number of dimensions."""
        return self._layout.ndim

    ndimension = dim

    def numel(self) -> int:
        """The number of elements."""
        return self._layout.numel

    nelement = numel

    def element_size(self) -> int:
        """Bytes of one element."""
        return self._layout.itemsize

    def data_ptr(self) -> int:
        """The address of the first element."""
        return self._address()

    def is_contiguous(self, memory_format: Any = None) -> bool:
        """Whether elements lie in row-major order without gaps."""
        if memory_format is None:
            return self._layout.contiguous
        from .memory_format import is_in

        return is_in("is_contiguous", self._layout, memory_format)

    def is_floating_point(self) -> bool:
        """Whether the dtype is a floating one."""
        return self._layout.dtype.is_floating_point

    def is_complex(self) -> bool:
        """False: numtorch has real numbers only."""
        return False

    def is_signed(self) -> bool:
        """Whether the dtype has a sign."""
        return self._layout.dtype.is_signed

    def get_device(self) -> int:
        """The GPU's number, -1 on the CPU."""
        return -1 if self._layout.device == "cpu" else self.device.index or 0

    def untyped_storage(self) -> Storage:
        """The memory this tensor looks at."""
        return self._storage

    # -- to Python and NumPy

    def _numpy(self) -> np.ndarray:
        """A NumPy array over the memory, history ignored."""
        la = self._layout
        if la.device != "cpu":
            raise TypeError(
                f"can't convert {la.device} device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory"
                " first."
            )
        if state.recorder is not None:
            state.recorder.read(self, "numpy")
        return self._storage.array(la.shape, la.strides, la.dtype.numpy, self._offset)

    def _numbers(self) -> np.ndarray:
        """The numbers as an array, history ignored: over the memory, or a copy for a dtype that NumPy lacks."""
        return self._layout.dtype.numbers(self._numpy())

    def numpy(self, *, force: bool = False) -> np.ndarray:
        """A NumPy array that shares this tensor's memory (``force``: a detached copy on the host where needed).

        TypeError for bfloat16, which NumPy doesn't have.
        """
        if not force and state.grad and self.requires_grad:
            raise RuntimeError(
                "Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead."
            )
        if self._layout.dtype is bfloat16:
            raise TypeError("Got unsupported ScalarType BFloat16: NumPy has no bfloat16; convert with .float() first")
        if force and self._layout.device != "cpu":
            return self.detach().cpu()._numpy()
        return self._numpy()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = self.numpy()
        if dtype is not None and array.dtype != dtype:
            if copy is False:
                raise ValueError(f"Unable to avoid copy: {array.dtype} tensor asked for as {np.dtype(dtype)}")
            return array.astype(dtype)
        return array.copy() if copy else array

    __array_priority__ = 1000

    def item(self) -> Any:
        """The value of a one-element tensor as a Python number."""
        la = self._layout
        if la.numel != 1:
            raise RuntimeError(
                f"a Tensor with {la.numel} elements cannot be converted to Scalar; index one element or reduce first"
            )
        if state.recorder is not None:
            return state.recorder.item(self)
        if la.device != "cpu":
            return self.detach().cpu().item()
        kind = _C_TYPES.get(la.dtype.name)
        if kind is not None:
            return kind.from_address(self._address()).value
        return la.dtype.numbers(self._storage.array((), (), la.dtype.numpy, self._offset)).item()

    def tolist(self) -> Any:
        """Nested lists of Python numbers."""
        return self.detach().cpu()._numbers().tolist()

    def __bool__(self) -> bool:
        la = self._layout
        if la.numel == 0:
            raise RuntimeError("Boolean value of Tensor with no values is ambiguous; use .numel() or .any()")
        if la.numel > 1:
            raise RuntimeError(
                "Boolean value of Tensor with more than one value is ambiguous; use .any() or .all()"
            )
        return bool(self.item())

    def __int__(self) -> int:
        return int(self._scalar("int"))

    def __float__(self) -> float:
        if self._rg and state.grad and _to_warn:
            _warn_of_scalar()
        return float(self._scalar("float"))

    def __complex__(self) -> complex:
        if self._rg and state.grad and _to_warn:
            _warn_of_scalar()
        return complex(self._scalar("complex"))

    def __index__(self) -> int:
        if self._layout.numel != 1 or self._layout.dtype.is_floating_point:
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return int(self.item())

    def _scalar(self, kind: str) -> Any:
        if self._layout.numel != 1:
            raise ValueError(
                f"{kind}(): only one element tensors can be converted to Python scalars, got one with {self._layout.numel}"
                " elements; index one element or reduce first"
            )
        return self.item()

    def __len__(self) -> int:
        if not self._layout.ndim:
            raise TypeError("len() of a 0-d tensor")
        return self._layout.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        if not self._layout.ndim:
            raise TypeError("iteration over a 0-d tensor")
        return iter(self.unbind(0))  # type: ignore[attr-defined]

    def __contains__(self, element: Any) -> bool:
        if isinstance(element, (Tensor, bool, int, float)):
            return bool((element == self).any().item())  # type: ignore[union-attr]
        raise RuntimeError(
            f"Tensor.__contains__ only supports Tensor or scalar, but you passed in a {type(element)}."
        )

    def __hash__(self) -> int:
        return id(self) >> 4

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        from .printing import tensor_repr

        return tensor_repr(self)

    def _repr_html_(self) -> str:
        from .display import tensor

        return tensor(self)

    def __format__(self, spec: str) -> str:
        if self._layout.ndim == 0 and type(self) is Tensor:
            return self.item().__format__(spec)
        return object.__format__(self, spec)

    def __dir__(self) -> list[str]:
        return sorted(n for n in object.__dir__(self) if not n.startswith("_rg"))

    def __deepcopy__(self, memo: dict) -> Tensor:
        from .autograd.copying import deep_copy

        return deep_copy(self, memo)

    def __reduce_ex__(self, protocol: Any) -> Any:
        from .autograd.copying import reduce_tensor

        return reduce_tensor(self)

    def __setstate__(self, attributes: dict) -> None:
        self.__dict__.update(attributes)

    def __dlpack__(self, **kwargs: Any) -> Any:
        from .interop import to_dlpack

        return to_dlpack(self, **kwargs)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0) if self._layout.device == "cpu" else (2, self.get_device())

    def as_subclass(self, cls: type) -> Any:
        """This tensor as an instance of a subclass, sharing memory and history."""
        t = _new(cls)
        for name in TensorMethods.__slots__:  # type: ignore[attr-defined]
            setattr(t, name, getattr(self, name))
        t.__dict__.update(self.__dict__)
        return t

    def data_layout(self) -> Layout:
        """Shape, strides, dtype and device in one object."""
        return self._layout


_new = object.__new__
_make = Tensor._make
# Counts what may invalidate a trace (``p.data = ...``, flags, hooks, attributes of modules): traces look again at what they
# captured when it has moved.
replaced = [0]


_to_warn = [True]  # once in a process, as PyTorch


def _warn_of_scalar() -> None:
    import warnings

    _to_warn.clear()
    warnings.warn(
        "Converting a tensor with requires_grad=True to a scalar may lead to unexpected behavior.\nConsider using tensor.detach() first.",
        stacklevel=3,
    )


def _strided() -> Any:
    from . import strided

    return strided


# How single numbers are read where they lie.
_C_TYPES: dict[str, Any] = {
    "float32": ctypes.c_float, "float64": ctypes.c_double, "bool": ctypes.c_bool, "uint8": ctypes.c_uint8,
    "int8": ctypes.c_int8, "int16": ctypes.c_int16, "int32": ctypes.c_int32, "int64": ctypes.c_int64,
}  # fmt: skip


def make_view(x: Tensor, shape: tuple[int, ...], strides: tuple[int, ...], offset: int) -> Tensor:
    """A view of ``x``'s memory (offset in elements from the start of the storage), without its history yet."""
    la = x._layout
    return make_view_as(x, layout(shape, strides, la.dtype, la.device), offset)


def make_view_as(x: Tensor, la: Layout, offset: int) -> Tensor:
    """The same, for a layout in ``x``'s dtype and on its device."""
    t = _new(Tensor)
    t._storage = x._storage
    t._offset = offset if type(offset) is int else index(offset)  # kernels take its bits
    t._layout = la
    t._rg = False
    t._node = t._grad = None
    base = x if x._base is None else x._base
    t._base = base
    t._seen = base._history
    if x._untracked:
        t._untracked = True
    if x._made:
        t._made = x._made
    return t


def contiguous_like(x: Tensor, d: DType | None = None) -> Layout:
    """The contiguous layout of ``x``'s shape."""
    from .shape import contiguous

    la = x._layout
    return contiguous(la.shape, d or la.dtype, la.device)
