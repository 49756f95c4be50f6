"""Writing ``data.pkl``: Python's own pickler, with tensors, dtypes, devices and shapes under PyTorch's names.

PyTorch need not be installed, so its names can't be pickled by reference; they are written as text. That
needs Python's
pickler in Python: the one in C looks every name up.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from typing import Any, ClassVar

from .._tensor import Tensor
from ..device import device as Device
from ..dtype import dtype
from ..shape import Size
from ..storage import Storage
from .names import STORAGE_OF, TorchName

_TENSOR = TorchName("torch._utils", "_rebuild_tensor_v2")
_PARAMETER = TorchName("torch._utils", "_rebuild_parameter")
_FROM_TYPE = TorchName("torch._tensor", "_rebuild_from_type_v2")
_SIZE = TorchName("torch", "Size")
_DEVICE = TorchName("torch", "device")
_STORAGES = {name: TorchName("torch", name) for name in STORAGE_OF.values()}
_UNTYPED = TorchName("torch.storage", "UntypedStorage")
_DTYPES: dict[str, TorchName] = {}


_Base: Any = pickle._Pickler  # the pickler in Python, of which type checkers know nothing


class StorageRef:
    """Stands for a storage in the pickle; its bytes go into a record of their own."""

    __slots__ = ("dtype", "storage")

    def __init__(self, storage: Storage, dtype: dtype | None):
        self.storage, self.dtype = storage, dtype


class Pickler(_Base):
    """Pickles an object; ``records`` then holds the storages in the order of their numbers."""

    dispatch: ClassVar[dict] = dict(_Base.dispatch)

    def __init__(self, file: Any, protocol: int = 2):
        super().__init__(file, protocol)
        self.records: list[Storage] = []
        self._numbers: dict[int, tuple[str, dtype | None]] = {}

    def reducer_override(self, obj: Any) -> Any:
        """How objects of numtorch are written."""
        if isinstance(obj, Tensor):
            return self._reduce_tensor(obj)
        if isinstance(obj, Size):
            return _SIZE, (tuple(obj),)
        if isinstance(obj, Device):
            return _DEVICE, ((obj.type,) if obj.index is None else (obj.type, obj.index))
        return NotImplemented

    def _reduce_tensor(self, t: Tensor) -> Any:
        from ..nn.parameter import Parameter

        kind = type(t)
        if kind is Parameter:
            return _PARAMETER, (t.detach().as_subclass(Tensor), t.requires_grad, OrderedDict())
        if kind is not Tensor and "__reduce_ex__" in kind.__dict__:
            return NotImplemented  # it says itself how it is rebuilt
        if not _inside(t):
            t = t.contiguous()
        ref = StorageRef(t.untyped_storage(), t.dtype)
        # New tuples each time, as in PyTorch: the pickler would write a shared one only once.
        size, stride = (*t.shape,), (*t.stride(),)
        args = (ref, t.storage_offset(), size, stride, t.requires_grad, OrderedDict())
        if kind is Tensor or isinstance(t, Parameter):
            return _TENSOR, args
        return _FROM_TYPE, (_TENSOR, kind, args, {})

    def persistent_id(self, obj: Any) -> Any:
        """The record that holds a storage."""
        if isinstance(obj, Storage):
            obj = StorageRef(obj, None)
        if type(obj) is not StorageRef:
            return None
        storage, d = obj.storage, obj.dtype
        key, first = self._numbers.setdefault(id(storage), (str(len(self._numbers)), d))
        if len(self.records) < len(self._numbers):
            self.records.append(storage)  # alive until it is written, so that its id stays its own
        elif first is not d:
            raise RuntimeError(
                "save: Cannot save multiple tensors or storages that view the same data as different types:"
                f" {first!r} and {d!r}; clone() one of them"
            )
        if d is None:
            return "storage", _UNTYPED, key, storage.device, storage.nbytes
        return "storage", _STORAGES[STORAGE_OF[d]], key, storage.device, storage.nbytes // d.itemsize

    def save_torch_name(self, obj: TorchName) -> None:
        """Write a name of PyTorch as text."""
        self.write(pickle.GLOBAL + f"{obj.module}\n{obj.__name__}\n".encode())
        self.memoize(obj)

    def save_dtype(self, obj: dtype) -> None:
        """Write a dtype under PyTorch's name; the same object each time, so that it is written once."""
        name = _DTYPES.setdefault(obj.name, TorchName("torch", obj.name))
        self.save(name)

    dispatch[TorchName] = save_torch_name
    dispatch[dtype] = save_dtype


def _inside(t: Tensor) -> bool:
    """Whether the storage is known to hold all elements (one made from a strided NumPy array may say too
    little)."""
    if t.numel() == 0:
        return True
    last = t.storage_offset() + sum((n - 1) * s for n, s in zip(t.shape, t.stride()))
    return (last + 1) * t.element_size() <= t.untyped_storage().nbytes
