"""What the framework asks of a GPU: memory for storages, copies between devices, launches of kernels and programs.

The framework plans for a device exactly as for the CPU; here a launch finds the kernel's twin, gets the same words, and
runs on the device's stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..autograd.mode import state
from ..storage import Storage
from . import detect

LEGACY = 1  # the driver's number of the default stream, which DLPack means where it says none
SMALL = 4096  # bytes of a CPU operand that may be staged: a scalar, a generator's state

_gpus: dict[int, Any] = {}
_named: dict[str, Any] = {}


def gpu(device: str) -> Any:
    """The GPU named "cuda:n". Raises as `detect.require` does, and RuntimeError for a number that no GPU has."""
    found = _named.get(device)  # a name is looked up more quickly than it is read
    if found is not None and found is _gpus.get(found.index):
        return found
    index = int(device.partition(":")[2] or 0)
    found = _gpus.get(index)
    if found is None:
        detect.require()
        if index >= detect.device_count():
            raise RuntimeError(
                f"CUDA error: invalid device ordinal: {device} does not exist; there are {detect.device_count()} GPUs."
            )
        from .backend import Gpu

        found = _gpus[index] = Gpu(index)
    _named[device] = found
    return found


def started() -> list[Any]:
    """The GPUs in use so far."""
    return list(_gpus.values())


def allocate(nbytes: int, device: str) -> Storage:
    """Uninitialised memory on a GPU."""
    address, owner = gpu(device).allocate(nbytes)
    storage = Storage.external(address, nbytes, owner, device)
    if state.recorder is not None:
        state.recorder.make(storage)
    if state.notes is not None:
        state.notes.memory.append(storage)
    return storage


def owner_of(storage: Storage) -> Any:
    """What a storage's memory belongs to, if it is not the CPU's pool."""
    found = storage._block
    return found[1] if type(found) is tuple else None


# ---- copies


def copy(target: Any, source: Any, non_blocking: bool = False) -> None:
    """Write the values of `source` (broadcast, cast) into `target`, which is on another device.

    `non_blocking`: from or to page-locked memory, return before it is done.
    """
    from ..ops.copying import write
    from . import pinned

    to, here = target._layout, source._layout
    _not_to_be_noted()
    if state.recorder is not None:
        state.recorder.refuse(f"a tensor is copied from {here.device} to {to.device}")
    if to.numel == 0:
        return
    source = source.detach()
    if here.device == "cpu":
        values = source.to(to.dtype).expand(to.shape).contiguous()
        staged = target.detach() if to.contiguous else _empty(to, to.device)
        wait = not (non_blocking and pinned.owner(values._storage))
        gpu(to.device).upload(staged._address(), values._address(), to.numel * to.itemsize, wait)
        pinned.note_copy(values._storage, gpu(to.device))
    elif to.device == "cpu":
        values = source.contiguous()
        exact = to.contiguous and to.shape == here.shape and to.dtype is here.dtype
        staged = target.detach() if exact else _empty(here, "cpu")
        wait = not (non_blocking and pinned.owner(staged._storage))
        gpu(here.device).download(staged._address(), values._address(), here.numel * here.itemsize, wait)
        pinned.note_copy(staged._storage, gpu(here.device))
    else:
        values = source.to(to.dtype).expand(to.shape).contiguous()
        staged = target.detach() if to.contiguous else _empty(to, to.device)
        gpu(here.device).synchronize()
        gpu(to.device).move(staged._address(), values._address(), to.numel * to.itemsize)
        gpu(to.device).synchronize()
    if staged._storage is not target._storage:
        write(target.detach(), staged)


def _not_to_be_noted() -> None:
    """Something is done that is more than launches on memory of one GPU."""
    if state.notes is not None:
        state.notes.only_launches = False


def _empty(la: Any, device: str) -> Any:
    from ..creation import new_tensor

    return new_tensor(la.shape, la.dtype, device)


class _Staging:
    """Small CPU operands of launches on a GPU: uploaded before, and where they may be written, downloaded after."""

    def __init__(self, device: str):
        self.gpu, self.device = gpu(device), device
        self.held: dict[int, tuple[Any, Storage]] = {}

    def address(self, t: Any) -> int:
        """Where a launch on the GPU finds a tensor. Raises RuntimeError for another device, unless it is small."""
        la = t._layout
        if la.device == self.device:
            return t._address()
        if la.device != "cpu" or la.numel * la.itemsize > SMALL or not la.contiguous:
            raise RuntimeError(
                "Expected all tensors to be on the same device, but found at least two devices,"
                f" {self.device} and {la.device}! Move one of them with .to()"
            )
        _not_to_be_noted()
        place = t._address()
        if place not in self.held:
            memory = allocate(la.numel * la.itemsize, self.device)
            self.gpu.upload(memory.ptr, place, memory.nbytes)
            self.held[place] = (t, memory)
        return self.held[place][1].ptr

    def finish(self) -> None:
        """Bring back what the launches may have written."""
        for place, (_, memory) in self.held.items():
            self.gpu.download(place, memory.ptr, memory.nbytes)


# ---- launches


def run_launches(launches: Sequence[Any], device: str) -> None:
    """Run launches in order on a GPU."""
    from ..ops.launch import Scratch

    staging = _Staging(device)
    memory: dict[Any, Storage] = {}
    for la in launches:
        addresses: list[Any] = []
        for p in la.pointers:
            if type(p) is Scratch:
                if p not in memory:
                    memory[p] = allocate(p.nbytes, device)
                addresses.append(memory[p].ptr)
            else:
                addresses.append(p if type(p) is int else staging.address(p))
        made = staging.gpu.prepare(twin(la.kernel), la.env, [*addresses, *la.words], len(addresses))
        if made is not None:
            staging.gpu.start(made, addresses)
            if state.notes is not None:
                state.notes.launch(made, [memory.get(p, p) for p in la.pointers], addresses)
    staging.finish()


def run_program(plan: Any, outputs: Sequence[Any], args: Sequence[Any]) -> None:
    """Run an elementwise plan on the GPU of its outputs."""
    staging = _Staging(outputs[0]._layout.device)
    tensors = [*outputs, *[args[i] for i in plan.tensors]]
    addresses = [staging.address(t) for t in tensors]
    numbers = [args[i] for i in plan.scalars]
    for made, shifts in prepared(plan, staging.gpu):
        places = [a + s for a, s in zip(addresses, shifts)] if shifts else addresses
        staging.gpu.start(made, places, numbers)
        if state.notes is not None:
            state.notes.launch(made, tensors, places, numbers)


def prepared(plan: Any, gpu: Any) -> Sequence[tuple[Any, Sequence[int]]]:
    """The launches of an elementwise plan, and how many bytes into each operand they start (none: all at the start)."""
    ready = getattr(plan, "ready", None)
    if ready is not None and ready[0] is gpu:
        return ready[1]
    from ..kernels.binding import SCALARS
    from ..kernels.cuda import elementwise

    program, count, numbers = plan.program, len(plan.outputs) + len(plan.tensors), len(plan.scalars)
    sizes = [SCALARS[kind]().itemsize for kind in (*program.outputs, *program.inputs)]
    found = []
    for call in elementwise.plan(program, *plan.sizes):
        words = [*[0] * count, *call.words, *[0] * numbers]
        made = gpu.prepare(call.kernel, program.written.env, words, count, numbers)
        if made is not None:
            found.append((made, [s * n for s, n in zip(call.starts, sizes)] if any(call.starts) else ()))
    plan.ready = (gpu, found)
    return found


def run_programs(calls: Sequence[tuple[Any, Sequence[Any], Sequence[Any]]]) -> None:
    """Run elementwise plans (plan, outputs, operands each) that write different tensors, as few launches."""
    from . import together

    _not_to_be_noted()
    for group in together.levels(calls):
        for part in together.parts(group):
            kernel, sizes = together.kernel_of(part)
            if kernel is None:
                for plan, outputs, args in part:
                    run_program(plan, outputs, args)
                continue
            plan, outputs, args = part[0]
            staging = _Staging(outputs[0]._layout.device)
            places = [[staging.address(t) for t in (*o, *(a[i] for i in p.tensors))] for p, o, a in part]
            numbers = [args[i] for i in plan.scalars]
            words = [*together.words(places, sizes), *numbers]
            staging.gpu.launch(kernel, plan.program.written.env, words)


def twin(kernel: Any) -> Any:
    """The CUDA kernel for a launch's (module, name), CPU kernel or CUDA kernel. Raises NotImplementedError without one."""
    from ..kernels.cuda.launch import CudaKernel, find

    if isinstance(kernel, CudaKernel):
        return kernel
    module, name = kernel if type(kernel) is tuple else (kernel.py.__module__.rpartition(".")[2], kernel.name)
    try:
        return find(module, name)
    except LookupError as error:
        raise NotImplementedError(f"Could not run the kernel on 'CUDA': {error}") from error


# ---- exchange with other libraries


def to_dlpack(tensor: Any, stream: Any = None, **kwargs: Any) -> Any:
    """A DLPack capsule of a CUDA tensor's memory; ``stream``: that of the consumer, -1 for one that orders work itself."""
    from cuda.core.utils import StridedMemoryView

    if stream != -1:
        gpu(tensor._layout.device).precede(stream or LEGACY)
    return _view(StridedMemoryView, tensor).__dlpack__()


def _view(kind: Any, tensor: Any) -> Any:
    from cuda.core import Buffer

    la, storage = tensor._layout, tensor._storage
    # The storage is its owner: a block that is kept must not be given away while another library reads it.
    buffer = Buffer.from_handle(tensor._address(), storage.nbytes - tensor._offset * la.itemsize, owner=storage)
    return kind.from_buffer(buffer, la.shape, la.strides, dtype=la.dtype.numpy)


def from_dlpack(ext_tensor: Any, as_bits: bool = False) -> Any:
    """A tensor over the memory of an object on a GPU, ordered after the producer's work; ``as_bits``: int16 of any 16 bits."""
    return _imported(ext_tensor, f"cuda:{ext_tensor.__dlpack_device__()[1]}", as_bits)


def from_cuda_array(data: Any) -> Any:
    """The same for an object with `__cuda_array_interface__`, on the chosen GPU."""
    from . import current_device

    return _imported(data, f"cuda:{current_device()}")


def _imported(data: Any, device: str, as_bits: bool = False) -> Any:
    from cuda.core.utils import StridedMemoryView

    from .._tensor import Tensor
    from ..dtype import from_numpy_dtype
    from ..shape import extent, layout

    view = StridedMemoryView.from_any_interface(data, stream_ptr=int(gpu(device).stream.handle))
    kind = np.dtype(np.int16) if as_bits else view.dtype
    d, shape = from_numpy_dtype(kind), tuple(view.shape)
    strides = tuple(view.strides) if view.strides is not None else contiguous_strides(shape)
    nbytes = (extent(shape, strides)[1] + 1) * d.itemsize if 0 not in shape else 0
    storage = Storage.external(int(view.ptr), nbytes, (view, data), device)
    return Tensor._make(storage, 0, layout(shape, strides, d, device))


def contiguous_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Element strides of a row-major array."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))
