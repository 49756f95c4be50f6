"""What surrounds the driver's calls: memory that runs out, errors of kernels, the current stream. No GPU is asked."""

from __future__ import annotations

from typing import Any

import pytest

from numtorch.cuda import backend, blocks


class Stream:
    error: Exception | None = None

    def sync(self) -> None:
        if self.error is not None:
            raise self.error


class Buffer:
    def __init__(self, handle: int):
        self.handle = handle


class Memory:
    """As much as is left; what does not fit raises as cuda.core does."""

    def __init__(self, left: int):
        self.left, self.given = left, 0

    def allocate(self, nbytes: int, stream: Any) -> Buffer:
        if nbytes > self.left:
            raise RuntimeError("CUDA_ERROR_OUT_OF_MEMORY: The API call failed")
        self.left -= nbytes
        self.given += 1
        return Buffer(0x1000 * self.given)


def a_gpu(monkeypatch: pytest.MonkeyPatch, left: int = 1 << 20) -> Any:
    """A Gpu whose driver is not there."""
    gpu: Any = object.__new__(backend.Gpu)
    gpu.index, gpu.allocated, gpu.peak, gpu.checks, gpu.kept = 0, 0, 0, False, blocks.Kept()
    gpu.first_stream, gpu.memory, gpu._configs = Stream(), Memory(left), {}
    gpu._threads = backend._Current(gpu.first_stream)
    monkeypatch.setattr(backend.Gpu, "enter", lambda self: None)
    monkeypatch.setattr(backend.Gpu, "free", lambda self: (gpu.memory.left, 1 << 20))
    return gpu


def test_small_blocks_are_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = a_gpu(monkeypatch)
    address, block = gpu.allocate(100)
    assert gpu.allocated == 100
    del block
    assert gpu.allocated == 0 and gpu.kept.size == 512
    again, block = gpu.allocate(300)
    assert again == address and gpu.memory.given == 1 and gpu.peak == 300
    del block
    gpu.use(Stream())
    other, block = gpu.allocate(300)
    assert other != address, "work on another stream may still use the kept one"
    del block
    gpu.use(gpu.first_stream)
    gpu.checks = True
    assert gpu.allocate(300)[0] != address, "a sanitizer sees each tensor's own block"


def test_out_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = a_gpu(monkeypatch, left=4096)
    held = gpu.allocate(512)[1]
    kept = gpu.allocate(2048)[1]
    del kept
    gpu.memory.left = 0

    def released(self: Any) -> bool:
        gpu.memory.left = 3000 if self.size else gpu.memory.left
        self.blocks, was, self.size = {}, self.size, 0
        return was > 0

    monkeypatch.setattr(blocks.Kept, "release", released)
    assert gpu.allocate(2500)[0], "kept blocks are given back first"
    with pytest.raises(backend.OutOfMemoryError) as caught:
        gpu.allocate(5 << 20)
    for part in ("CUDA out of memory. Tried to allocate 5.00 MiB", "GPU 0 has", "free of 1.00 MiB", "hold 512 bytes"):
        assert part in str(caught.value)
    del held
    monkeypatch.setattr(gpu.memory, "allocate", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        gpu.allocate(1 << 21)


class Kernel:
    name = "some_kernel"


def test_errors_of_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = a_gpu(monkeypatch)
    given: list[Any] = []
    gpu._launch = lambda *words: given.append(words)
    made = backend.Prepared(Kernel(), (2, 1, 1), "config", "code", [7], [float])
    gpu.start(made, [1, 2], [3])
    assert given == [(gpu.first_stream, "config", "code", 1, 2, 7, 3.0)] and type(given[0][-1]) is float
    gpu.first_stream.error = RuntimeError("CUDA_ERROR_ILLEGAL_ADDRESS")
    gpu.start(made, [1, 2], [3])  # asynchronous: the next wait tells
    with pytest.raises(RuntimeError, match=r"CUDA error: CUDA_ERROR_ILLEGAL_ADDRESS; NUMTORCH_CUDA_SYNC=1 names the kernel"):
        gpu.synchronize()
    gpu.checks = True
    with pytest.raises(RuntimeError, match=r"CUDA error in some_kernel, grid \(2, 1, 1\): CUDA_ERROR_ILLEGAL"):
        gpu.start(made, [1, 2], [3])
    gpu._launch = lambda *words: 1 / 0
    with pytest.raises(RuntimeError, match="CUDA error at the launch of some_kernel: division"):
        gpu.start(made, [1, 2], [3])


def test_each_thread_has_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    gpu, seen = a_gpu(monkeypatch), []
    side = Stream()
    gpu.use(side)
    thread = threading.Thread(target=lambda: seen.append(gpu.stream))
    thread.start()
    thread.join()
    assert gpu.stream is side and seen == [gpu.first_stream]
