"""A GPU that is not there: kernels run in the simulator, device memory has addresses that the host cannot read.

With it, `device="cuda"` tensors work as on hardware, only slowly; every access of every kernel is checked. Host code that
follows an address of the GPU crashes, as on hardware (faulthandler, which pytest enables, says where).
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
from simulator import run

from numtorch.kernels.cuda.cubins import param_dtype
from numtorch.kernels.interpret import Pointer

# No processor maps addresses with these high bits, so that following one faults everywhere.
FIRST_ADDRESS = 0x04F0 << 48


class _Memory:
    """One allocation; its owner. Addresses of what is given back are not given again."""

    def __init__(self, gpu: SimulatedGpu, nbytes: int):
        self.gpu, self.nbytes = gpu, nbytes
        self.streams: tuple[Any, ...] = ()
        room = np.full(max(nbytes, 1) + 255, 0xFF, np.uint8)
        start = -room.ctypes.data % 256  # as the driver aligns
        self.bytes = room[start : start + max(nbytes, 1)]
        self.address = gpu.next_address
        gpu.next_address += -(-max(nbytes, 1) // 256) * 256 + 256
        gpu.blocks[self.address] = self.bytes
        gpu.allocated += nbytes
        gpu.peak = max(gpu.peak, gpu.allocated)

    def __del__(self) -> None:
        self.gpu.blocks.pop(self.address, None)
        self.gpu.allocated -= self.nbytes


class _Stream:
    """A stream on which everything is done at once; `awaited`: what it was told to wait for."""

    def __init__(self, handle: int):
        self.handle = handle
        self.awaited: list[Any] = []

    def wait(self, other: Any) -> None:
        """Nothing is left to wait for."""
        self.awaited.append(other)


class _Event:
    is_done = True

    def sync(self) -> None:
        """It is over already."""

    def __sub__(self, other: Any) -> float:
        return 0.25


class _Graph:
    """Launches to be run again and again."""

    def __init__(self, gpu: SimulatedGpu, calls: Sequence[tuple[Any, dict, Sequence[Any]]]):
        self.gpu, self.calls = gpu, [list(call) for call in calls]
        gpu.graphs.append(self)
        self.launches = self.updates = 0

    def update(self, number: int, words: Sequence[Any]) -> None:
        self.calls[number][2] = words
        self.updates += 1

    def launch(self) -> None:
        self.launches += 1
        for kernel, env, words in self.calls:
            self.gpu.launch(kernel, env, words)


class SimulatedGpu:
    """Stands for numtorch.cuda.backend.Gpu. `launched` lists the names of the kernels run."""

    index, capability, name = 0, (9, 0), "simulated"

    def __init__(self) -> None:
        self.blocks: dict[int, np.ndarray] = {}
        self.next_address = FIRST_ADDRESS
        self.allocated = self.peak = 0
        self.launched: list[str] = []
        self.graphs: list[_Graph] = []
        self.waits = 0  # how often the host waited for the GPU
        self.stream = self.first_stream = _Stream(1)
        self.properties = {"name": self.name, "major": 9, "minor": 0, "total_memory": 1 << 30}

    def use(self, stream: _Stream) -> None:
        self.stream = stream

    def new_stream(self, priority: int = 0) -> _Stream:
        return _Stream(self.first_stream.handle + id(object()))

    def record(self, stream: _Stream, timing: bool, blocking: bool) -> _Event:
        return _Event()

    def reserved(self) -> tuple[int, int]:
        return self.allocated, self.peak

    def reset_peak(self) -> None:
        self.peak = self.allocated

    def pinned(self, nbytes: int) -> tuple[int, Any]:
        room = np.zeros(nbytes, np.uint8)
        return room.ctypes.data, room

    def allocate(self, nbytes: int) -> tuple[int, _Memory]:
        made = _Memory(self, nbytes)
        return made.address, made

    def free(self) -> tuple[int, int]:
        return 1 << 30, 1 << 30

    def release(self) -> None:
        """There is no pool."""

    def synchronize(self, stream: Any = None) -> None:
        """Everything is done at once."""
        self.waits += 1

    finish = synchronize

    def checked(self, wait: Any) -> None:
        wait()

    def upload(self, target: int, source: int, nbytes: int, wait: bool = True) -> None:
        self.waits += wait
        ctypes.memmove(self._bytes(target, nbytes), source, nbytes)

    def download(self, target: int, source: int, nbytes: int, wait: bool = True) -> None:
        self.waits += wait
        ctypes.memmove(target, self._bytes(source, nbytes), nbytes)

    def move(self, target: int, source: int, nbytes: int) -> None:
        ctypes.memmove(self._bytes(target, nbytes), self._bytes(source, nbytes), nbytes)

    def launch(self, kernel: Any, env: dict[str, Any], words: Sequence[Any]) -> None:
        self.launched.append(kernel.name)
        env = {name: value for name, value in env.items() if value is not None}
        if 0 in kernel.config(words).grid:
            return  # nothing is launched on hardware either: addresses of what is empty need not be memory
        args = []
        for param, word in zip(kernel.params.values(), words):
            if param.kind == "pointer" and word:
                args.append(self._pointer(word, np.dtype(param_dtype(param, env))))
            else:
                args.append(word)
        run(kernel, *args, **env)

    def prepare(self, kernel: Any, env: dict[str, Any], words: Sequence[Any], pointers: int = 0, numbers: int = 0) -> Any:
        if 0 in kernel.config(words).grid:
            return None
        return kernel, env, words[pointers : len(words) - numbers]

    def start(self, made: Any, addresses: Sequence[int], numbers: Sequence[Any] = ()) -> None:
        kernel, env, fixed = made
        self.launch(kernel, env, [*addresses, *fixed, *numbers])

    def graph(self, calls: Sequence[tuple[Any, dict, Sequence[Any]]]) -> _Graph:
        return _Graph(self, calls)

    def _inside(self, address: int, nbytes: int) -> tuple[np.ndarray, int]:
        """The allocation that holds this range, and where in it it begins.

        AssertionError if none does: a host address, or memory given back.
        """
        for start, memory in self.blocks.items():
            if start <= address and address + nbytes <= start + len(memory):
                return memory, address - start
        raise AssertionError(f"address {address:#x} (+{nbytes}) is no memory of the GPU")

    def _bytes(self, address: int, nbytes: int) -> int:
        """Where the simulator keeps the bytes of an address of the GPU."""
        memory, start = self._inside(address, nbytes)
        return memory.ctypes.data + start

    def _pointer(self, address: int, dtype: np.dtype) -> Pointer:
        memory, start = self._inside(address, 0)
        assert start % dtype.itemsize == 0, f"address {address:#x} is not aligned for {dtype}"
        whole = len(memory) // dtype.itemsize * dtype.itemsize
        return Pointer(memory[:whole].view(dtype), start // dtype.itemsize)
