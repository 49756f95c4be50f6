"""How tensors are pickled for another process: their memory becomes shared, and its descriptor goes."""

from __future__ import annotations

from multiprocessing import reduction
from multiprocessing.reduction import ForkingPickler
from typing import Any

from .._tensor import Tensor
from ..nn.parameter import Parameter
from ..shape import layout
from ..storage import Storage, allocate
from .shared import opened, share_memory_, shared_of


def reduce_tensor(tensor: Tensor) -> Any:
    """The pickle of a tensor for another process. Its memory is moved to shared memory.

    Raises RuntimeError for a non-leaf that requires grad and for a tensor of a GPU.
    """
    if tensor.requires_grad and not tensor.is_leaf:
        raise RuntimeError(
            "Cowardly refusing to serialize non-leaf tensor which requires_grad, since autograd does not support crossing"
            " process boundaries.  If you just want to transfer the data, call detach() on the tensor before serializing"
            " (e.g., putting it on the queue)."
        )
    if tensor.device.type != "cpu":
        raise RuntimeError(f"multiprocessing: a tensor on {tensor.device} can't be sent to another process; send tensor.cpu()")
    share_memory_(tensor)
    la = tensor._layout
    block = shared_of(tensor._storage)
    handle = None if block is None else reduction.DupFd(block.fd)
    geometry = (tensor._offset, tuple(la.shape), tuple(la.strides), la.dtype)
    return rebuild_tensor, (type(tensor), handle, tensor._storage.nbytes, geometry, tensor.requires_grad, dict(tensor.__dict__))


def _memory(handle: Any, nbytes: int) -> Storage:
    return allocate(nbytes) if handle is None else opened(handle.detach(), nbytes)


def rebuild_tensor(cls: type, handle: Any, nbytes: int, geometry: tuple, requires_grad: bool, attributes: dict) -> Tensor:
    """The tensor over the memory that another process has shared."""
    offset, shape, strides, dtype = geometry
    tensor: Any = Tensor._make(_memory(handle, nbytes), offset, layout(shape, strides, dtype, "cpu"))
    if cls is not Tensor:
        tensor = cls(tensor, requires_grad) if issubclass(cls, Parameter) else tensor.as_subclass(cls)
    plain = {"_seen", "_nr", "_history", "_hooks", "_untracked", "_post_hooks", "_views", "_lent", "_made"}
    tensor.__dict__.update({name: value for name, value in attributes.items() if name not in plain})
    return tensor.requires_grad_(requires_grad) if requires_grad else tensor


def init_reductions() -> None:
    """Register how tensors and parameters travel between processes."""
    for kind in (Tensor, Parameter):
        ForkingPickler.register(kind, reduce_tensor)
