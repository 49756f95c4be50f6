"""The short way of ops on a GPU: what operands of certain layouts lead to, prepared once.

``DeviceWay`` is for elementwise ops what ``ops/ways.py:Way`` is on the CPU, ``DeviceSteps`` for kernel ops what
``ops/steady.py:Steps`` is there: the kernels are loaded and their launches laid out, a call makes the result's memory and
gives the addresses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._tensor import Tensor
from ..ops.ways import Saves
from ..storage import Storage
from . import runtime

_make = Tensor._make


def empty(gpu: Any, la: Any) -> Any:
    """A new tensor of a layout on a GPU, uninitialised, while nobody watches."""
    nbytes = la.numel * la.itemsize
    address, owner = gpu.allocate(nbytes)
    return _make(Storage.external(address, nbytes, owner, la.device), 0, la)


class DeviceWay:
    """What an elementwise op does with operands of certain layouts on a GPU; the fields are those of a ``Way``."""

    __slots__ = ("device", "direct", "gpu", "is_one", "layout", "metas", "op", "out_metas", "plan", "prepared", "saves", "scalars",
                 "small", "tensors")  # fmt: skip

    def __init__(self, op: Any, plan: Any, args: Sequence[Any]):
        la = plan.alone
        self.op, self.plan, self.layout, self.device = op, plan, la, la.device
        self.tensors, self.scalars = plan.tensors, plan.scalars
        self.small = False  # no recipe makes it
        self.direct = hasattr(args[0], "_layout") and args[0]._layout.dtype.category == 2
        self.metas = tuple([a._layout if hasattr(a, "_layout") else None for a in args])
        self.out_metas = (la,)
        self.saves: dict[tuple[bool, ...], Saves] = {}
        self.gpu: Any = None
        self.prepared: Any = None
        self.is_one = self._prepare()  # launch does it all

    def _prepare(self) -> bool:
        self.gpu = runtime.gpu(self.device)
        found = runtime.prepared(self.plan, self.gpu)
        self.prepared = found[0][0] if found else None
        return len(found) == 1 and not found[0][1]

    def run(self, *args: Any) -> Any:
        """The result for operands of these layouts; an operand may also be memory (a node's own result)."""
        gpu = runtime.gpu(self.device)
        if gpu is not self.gpu:
            self._prepare()
        out = empty(gpu, self.layout)
        addresses = [out._storage.ptr]
        for i in self.tensors:
            a = args[i]
            addresses.append(a.ptr if type(a) is Storage else a._storage.ptr + a._offset * a._layout.itemsize)
        gpu.start(self.prepared, addresses, [args[i] for i in self.scalars] if self.scalars else ())
        return out


def way(op: Any, plan: Any, args: Sequence[Any]) -> DeviceWay | None:
    """The short way of an elementwise plan on a GPU; None for operands elsewhere, no elements, or several launches."""
    la = plan.alone
    if la is None or not la.numel or any(args[i]._layout.device != la.device for i in plan.tensors):
        return None
    if any(type(args[i]) not in (float, int) for i in plan.scalars):
        return None
    found = DeviceWay(op, plan, args)
    return found if found.is_one else None


class DeviceSteps:
    """The launches of a kernel op for operands of certain layouts, run without planning.

    Their memory is numbered: outputs, inputs, working memory (of so many bytes), then ``fixed`` addresses.
    """

    __slots__ = ("fixed", "gpu", "keep", "launches", "layouts", "single", "working")

    def __init__(self, gpu: Any, layouts: Sequence[Any], single: bool, working: Sequence[int], fixed: Sequence[int]):
        self.gpu, self.layouts, self.single = gpu, tuple(layouts), single
        self.working, self.fixed = tuple(working), tuple(fixed)
        # (prepared, numbers of its memory, bytes into each or none: at the start, its last words)
        self.launches: list[tuple[Any, tuple[int, ...], tuple[int, ...], tuple]] = []
        self.keep: Any = None  # whatever the fixed addresses are of stays alive

    def run(self, inputs: Sequence[Any]) -> Any:
        """The outputs for inputs of these layouts."""
        gpu = self.gpu
        outputs = [empty(gpu, la) for la in self.layouts]
        memory = [0 if t is None else t._storage.ptr + t._offset * t._layout.itemsize for t in (*outputs, *inputs)]
        working = [gpu.allocate(n) for n in self.working]
        memory += [address for address, _ in working]
        memory += self.fixed
        for made, places, starts, numbers in self.launches:
            addresses = [memory[p] for p in places]
            if starts:
                addresses = [a + s for a, s in zip(addresses, starts)]
            gpu.start(made, addresses, numbers)
        return outputs[0] if self.single else tuple(outputs)
