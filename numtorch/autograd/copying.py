"""How tensors are copied and pickled: memory that several tensors share stays shared."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..shape import layout
from ..storage import Storage, allocate, peek


def deep_copy(self: Any, memo: dict) -> Any:
    """A copy with its own memory (once per storage), gradient and flags; RuntimeError for a non-leaf."""
    if id(self) in memo:
        return memo[id(self)]
    if not self.is_leaf:
        raise RuntimeError(
            "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol at the moment. If you"
            " were attempting to deepcopy a module, this may be because of a numtorch.nn.utils.weight_norm usage; detach()"
            " the tensor first."
        )
    import copy

    storage = copy.deepcopy(self._storage, memo)
    t = object.__new__(type(self))
    memo[id(self)] = t
    t._storage, t._offset, t._layout = storage, self._offset, self._layout
    t._rg = self._rg
    t._node = t._base = None
    t._grad = None if self._grad is None else copy.deepcopy(self._grad, memo)
    plain = {"_seen", "_nr", "_history", "_hooks", "_untracked", "_post_hooks"}
    for name, value in self.__dict__.items():
        if name not in plain:
            t.__dict__[name] = copy.deepcopy(value, memo)
    return t


def reduce_tensor(self: Any) -> Any:
    """Pickle as (type, storage, geometry, flags); RuntimeError for a non-leaf that requires grad."""
    if not self.is_leaf:
        raise RuntimeError("Cowardly refusing to serialize non-leaf tensor which requires_grad, since autograd does not support"
                           " crossing process boundaries. If you just want to transfer the data, call detach() on the tensor"
                           " before serializing.")  # fmt: skip
    la = self._layout
    shared = SharedBytes.of(self._storage)
    return rebuild, (
        type(self),
        shared,
        self._offset,
        la.shape,
        la.strides,
        la.dtype,
        la.device,
        self._rg,
        self._grad,
    )


class SharedBytes:
    """A storage's bytes in a pickle: one object per storage, so that tensors over one memory stay so."""

    _known: Any = None

    def __init__(self, storage: Storage):
        self.storage = storage

    @staticmethod
    def of(storage: Storage) -> SharedBytes:
        """The one wrapper of a storage (pickle recognises objects by identity)."""
        import weakref

        if SharedBytes._known is None:
            SharedBytes._known = weakref.WeakValueDictionary()
        found = SharedBytes._known.get(id(storage))
        if found is None or found.storage is not storage:
            found = SharedBytes._known[id(storage)] = SharedBytes(storage)
        return found

    def __reduce__(self) -> Any:
        return _restore, (peek(self.storage.ptr, self.storage.nbytes, self.storage.device),)


def _restore(content: bytes) -> SharedBytes:
    storage = allocate(len(content))
    storage.array((len(content),), (1,), np.dtype(np.uint8), 0)[:] = np.frombuffer(content, np.uint8)
    return SharedBytes.of(storage)


def rebuild(cls: type, shared: SharedBytes, offset: int, shape: tuple, strides: tuple, d: Any, device: str, requires_grad: bool,
            grad: Any) -> Any:  # fmt: skip
    """A tensor from its pickle."""
    t = object.__new__(cls)
    t._storage, t._offset, t._layout = shared.storage, offset, layout(shape, strides, d, "cpu")
    t._rg = requires_grad
    t._node = t._base = None
    t._grad = grad
    return t if device == "cpu" else t.to(device)
