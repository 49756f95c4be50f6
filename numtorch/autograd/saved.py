"""What happens to tensors saved for backward: ``saved_tensors_hooks`` packs and unpacks them, ``save_on_cpu`` moves them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .mode import set_saved_hooks, state


class saved_tensors_hooks:
    """Within the block, ``pack(tensor)`` replaces every tensor saved for backward; ``unpack`` gives it back when needed.

    Example:
        >>> import numtorch
        >>> x = numtorch.ones(3, requires_grad=True)
        >>> with numtorch.autograd.graph.saved_tensors_hooks(lambda t: t.numpy(force=True), numtorch.from_numpy):
        ...     y = (x * x).sum()
        >>> y.backward()
        >>> x.grad
        tensor([2., 2., 2.])
    """

    def __init__(self, pack_hook: Callable[[Any], Any], unpack_hook: Callable[[Any], Any]):
        self.pack_hook, self.unpack_hook = pack_hook, unpack_hook
        self._before: Any = None

    def __enter__(self) -> None:
        self._before = state.saved_hooks
        if state.recorder is not None:
            state.recorder.custom()
        set_saved_hooks((self.pack_hook, self.unpack_hook))

    def __exit__(self, *exc: Any) -> None:
        set_saved_hooks(self._before)


class save_on_cpu(saved_tensors_hooks):
    """Keep tensors saved for backward in host memory."""

    def __init__(self, pin_memory: bool = False, device_type: str = "cuda"):
        super().__init__(lambda t: (t.device, t.cpu()), lambda packed: packed[1].to(packed[0]))
