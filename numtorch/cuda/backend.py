"""One GPU through cuda.core: stream-ordered memory, copies, launches. The only file that talks to the driver."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from .blocks import LARGEST, Block, Kept, size_class

_MOST_CONFIGS = 4096
_AS_THEY_ARE = {np.int64: int, np.float64: float}  # cuda.core takes Python's numbers for these
_here = threading.local()  # .index: the device that is current to the driver in this thread, as far as numtorch knows


class OutOfMemoryError(RuntimeError):
    """The GPU has no room for an allocation; the message says how much was asked for, used and free."""


class Prepared:
    """A launch that only lacks the addresses, and the numbers that change: `fixed` are the words between them."""

    __slots__ = ("code", "config", "fixed", "grid", "kernel", "numbers")

    def __init__(self, kernel: Any, grid: tuple[int, int, int], config: Any, code: Any, fixed: Any, numbers: Any):
        self.kernel, self.grid, self.config, self.code = kernel, grid, config, code
        self.fixed, self.numbers = fixed, numbers


class _Current(threading.local):
    """The stream that work goes to, of each thread by itself."""

    def __init__(self, stream: Any):
        self.stream = stream


class Gpu:
    """One device. `allocated` and `peak` count the bytes of living storages; `first_stream` is its default stream."""

    def __init__(self, index: int):
        from cuda.core import Device, DeviceMemoryResource, LaunchConfig, launch

        from .detect import device_count

        self.index = index
        self.device = Device(index)
        self.alone = device_count() == 1
        self._launch, self._config = launch, LaunchConfig
        self.enter()
        self.first_stream = self.device.create_stream()
        self.memory = DeviceMemoryResource(self.device)
        self.allocated = self.peak = 0
        self.checks = os.environ.get("NUMTORCH_CUDA_SYNC", "") not in ("", "0")
        self.kept = Kept()  # free blocks of the default stream
        self._kernels: dict[Any, tuple[Any, list[Any]]] = {}
        self._configs: dict[Any, Any] = {}
        self._threads = _Current(self.first_stream)
        self._pinned: Any = None

    @property
    def capability(self) -> tuple[int, int]:
        """Compute capability, such as (9, 0)."""
        return tuple(self.device.compute_capability)[:2]  # type: ignore[return-value]

    @property
    def name(self) -> str:
        """The device's name."""
        return self.device.name

    @property
    def properties(self) -> dict[str, Any]:
        """What the driver says of the device, by PyTorch's names."""
        given, (major, minor) = self.device.properties, self.capability
        return {
            "name": self.name, "major": major, "minor": minor, "total_memory": self.free()[1],
            "multi_processor_count": given.multiprocessor_count, "warp_size": given.warp_size,
            "max_threads_per_multi_processor": given.max_threads_per_multiprocessor,
            "max_threads_per_block": given.max_threads_per_block,
            "regs_per_multiprocessor": given.max_registers_per_multiprocessor,
            "shared_memory_per_block": given.max_shared_memory_per_block,
            "shared_memory_per_multiprocessor": given.max_shared_memory_per_multiprocessor,
            "L2_cache_size": given.l2_cache_size, "clock_rate": given.clock_rate,
            "memory_clock_rate": given.memory_clock_rate, "memory_bus_width": given.global_memory_bus_width,
        }  # fmt: skip

    def enter(self) -> None:
        """Make the device current to the driver in this thread, which every other call relies on.

        Where there are several GPUs other libraries may have chosen another one, so that it is said each time.
        """
        if not self.alone or getattr(_here, "index", -1) != self.index:
            self.device.set_current()
            _here.index = self.index

    # -- streams

    @property
    def stream(self) -> Any:
        """The stream that this thread's work goes to."""
        return self._threads.stream

    def use(self, stream: Any) -> None:
        """Send this thread's work to another stream."""
        self._threads.stream = stream

    def new_stream(self, priority: int = 0) -> Any:
        """A stream of its own, which waits for no other."""
        from cuda.core import StreamOptions

        low, high = self._driver("cuCtxGetStreamPriorityRange")
        return self.device.create_stream(options=StreamOptions(priority=min(max(priority, high), low)))

    def record(self, stream: Any, timing: bool, blocking: bool) -> Any:
        """An event behind the work given to a stream so far."""
        from cuda.core import EventOptions

        self.enter()
        return stream.record(options=EventOptions(timing_enabled=timing, blocking_sync=blocking))

    def precede(self, handle: int) -> None:
        """Let another library's stream (1, 2: the driver's default ones) wait for the work given to this thread's so far."""
        if handle != int(self.stream.handle):
            event = self.record(self.stream, False, False)
            self._driver("cuStreamWaitEvent", handle, event.handle, 0)

    # -- memory

    def allocate(self, nbytes: int) -> tuple[int, Block]:
        """(address, owner) of uninitialised memory. Raises OutOfMemoryError."""
        stream = self._threads.stream
        if nbytes > LARGEST or stream is not self.first_stream or self.checks:
            address, buffer = self._from_driver(nbytes, nbytes, stream)
            return address, Block(self, stream, address, buffer, nbytes, nbytes, None)
        size = size_class(nbytes)
        address, buffer = self.kept.take(size) or self._from_driver(size, nbytes, stream)
        return address, Block(self, stream, address, buffer, nbytes, size, self.kept)

    def _from_driver(self, size: int, nbytes: int, stream: Any) -> tuple[int, Any]:
        """(address, buffer) of `size` bytes for a tensor of `nbytes`."""
        self.enter()
        try:
            buffer = self.memory.allocate(max(size, 1), stream=stream)
        except Exception as error:
            if "OUT_OF_MEMORY" not in str(error):
                raise
            if self.kept.release():
                return self._from_driver(size, nbytes, stream)
            raise OutOfMemoryError(
                f"CUDA out of memory. Tried to allocate {_size(nbytes)}. GPU {self.index} has {_size(self.free()[0])}"
                f" free of {_size(self.free()[1])}; numtorch's tensors hold {_size(self.allocated)}. Use a smaller batch"
                " or numtorch.no_grad(), and drop tensors that are no longer needed."
            ) from error
        return int(buffer.handle), buffer

    def free(self) -> tuple[int, int]:
        """(free, total) bytes of the device."""
        return tuple(self._driver("cuMemGetInfo"))  # type: ignore[return-value]

    def release(self) -> None:
        """Give the pool's unused memory back to the system."""
        self.kept.release()
        self.synchronize()
        self._driver("cuMemPoolTrimTo", self.memory.handle, 0)

    def reserved(self) -> tuple[int, int]:
        """(now, at most) bytes that the pool holds, tensors' memory and free blocks together."""
        found = self.memory.attributes
        return found.reserved_mem_current, found.reserved_mem_high

    def reset_peak(self) -> None:
        """Count the peaks from now on."""
        from cuda.bindings import driver

        self.peak = self.allocated
        high = driver.CUmemPool_attribute.CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH
        self._driver("cuMemPoolSetAttribute", self.memory.handle, high, driver.cuuint64_t(0))

    def pinned(self, nbytes: int) -> tuple[int, Any]:
        """(address, owner) of page-locked host memory."""
        self.enter()
        if self._pinned is None:
            from cuda.core import LegacyPinnedMemoryResource

            self._pinned = LegacyPinnedMemoryResource()
        buffer = self._pinned.allocate(nbytes)
        return int(buffer.handle), buffer

    def upload(self, target: int, source: int, nbytes: int, wait: bool = True) -> None:
        """Copy from host memory, which may change as soon as this returns, unless `wait` is False."""
        self._driver("cuMemcpyHtoDAsync", target, source, nbytes, self.stream.handle)
        if wait:
            self.synchronize()

    def download(self, target: int, source: int, nbytes: int, wait: bool = True) -> None:
        """Copy to host memory, after everything launched before; there when this returns, unless `wait` is False."""
        self._driver("cuMemcpyDtoHAsync", target, source, nbytes, self.stream.handle)
        if wait:
            self.synchronize()

    def move(self, target: int, source: int, nbytes: int) -> None:
        """Copy within (or between) devices."""
        self._driver("cuMemcpyAsync", target, source, nbytes, self.stream.handle)

    # -- work

    def synchronize(self, stream: Any = None) -> None:
        """Wait until all launches and copies of a stream (None: the current one) are done.

        Raises RuntimeError with an earlier launch's error.
        """
        self.checked((self.stream if stream is None else stream).sync)

    def finish(self) -> None:
        """Wait until everything on the device is done, on all streams."""
        self.checked(lambda: self._driver("cuCtxSynchronize"))

    def checked(self, wait: Any) -> None:
        """Call a function that waits; RuntimeError with an earlier launch's error."""
        self.enter()
        try:
            wait()
        except Exception as error:
            raise RuntimeError(f"CUDA error: {error}; NUMTORCH_CUDA_SYNC=1 names the kernel.") from error

    def launch(self, kernel: Any, env: dict[str, Any], words: Sequence[Any]) -> None:
        """Run a kernel of kernels/cuda with the words of a call: addresses and numbers."""
        made = self.prepare(kernel, env, words)
        if made is not None:
            self.start(made, ())

    def prepare(
        self, kernel: Any, env: dict[str, Any], words: Sequence[Any], pointers: int = 0, numbers: int = 0
    ) -> Prepared | None:
        """The launch of a kernel with words whose first (`pointers`) and last (`numbers`) `start` gets; None for nothing to do."""
        grid, threads = kernel.config(words)
        if 0 in grid:
            return None
        self.enter()
        code, converters = self.code(kernel, env)
        last = len(words) - numbers
        fixed = [convert(word) for convert, word in zip(converters[pointers:last], words[pointers:last])]
        config = self._configs.get((grid, threads))
        if config is None:
            if len(self._configs) > _MOST_CONFIGS:
                self._configs.clear()
            config = self._configs[grid, threads] = self._config(grid=grid, block=(threads, 1, 1))
        return Prepared(kernel, grid, config, code, fixed, converters[last:])

    def start(self, made: Prepared, addresses: Sequence[int], numbers: Sequence[Any] = ()) -> None:
        """Give a prepared launch to the current stream."""
        self.enter()
        if numbers:
            numbers = [convert(number) for convert, number in zip(made.numbers, numbers)]
        stream = self._threads.stream
        try:
            self._launch(stream, made.config, made.code, *addresses, *made.fixed, *numbers)
        except Exception as error:
            raise RuntimeError(f"CUDA error at the launch of {made.kernel.name}: {error}") from error
        if self.checks:
            try:
                stream.sync()
            except Exception as error:
                raise RuntimeError(f"CUDA error in {made.kernel.name}, grid {made.grid}: {error}") from error

    def code(self, kernel: Any, env: dict[str, Any]) -> tuple[Any, list[Any]]:
        """The loaded kernel, and what makes each word of a call an argument."""
        key = (kernel, *sorted(env.items()))
        found = self._kernels.get(key)
        if found is None:
            found = self._kernels[key] = self._load(kernel, env)
        return found

    def graph(self, calls: Sequence[tuple[Any, dict, Sequence[Any]]]) -> Any:
        """A CUDA graph of launches."""
        from .graphs import Graph

        self.enter()
        return Graph(self, calls)

    def _load(self, kernel: Any, env: dict[str, Any]) -> tuple[Any, list[Any]]:
        from cuda.core import ObjectCode

        from ..kernels.cuda.cubins import cubin, param_dtype

        made = cubin(kernel, self.capability, **env)
        code = ObjectCode.from_cubin(made.code).get_kernel(made.symbol)
        env = {name: value for name, value in env.items() if value is not None}
        kinds = [int if p.kind == "pointer" else param_dtype(p, env) for p in kernel.params.values()]
        return code, [_AS_THEY_ARE.get(kind, kind) for kind in kinds]  # type: ignore[arg-type]

    def _driver(self, name: str, *args: Any) -> Any:
        from cuda.bindings import driver

        self.enter()
        error, *values = getattr(driver, name)(*args)
        if int(error) != 0:
            raise RuntimeError(f"CUDA error: {name} failed with {error}.")
        return values


def _size(nbytes: int) -> str:
    """A number of bytes to read."""
    for unit, step in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if nbytes >= step:
            return f"{nbytes / step:.2f} {unit}"
    return f"{nbytes} bytes"
