"""Streams, events, memory figures and pinned memory on a simulated GPU."""

from __future__ import annotations

from typing import Any

import pytest

import numtorch as torch

pytestmark = pytest.mark.simulator


def test_streams(gpu: Any) -> None:
    first = torch.cuda.current_stream()
    assert first == torch.cuda.default_stream("cuda:0") and hash(first) == hash(torch.cuda.current_stream(0))
    side = torch.cuda.Stream()
    assert side != first and str(side.device) == "cuda:0" and "Stream" in repr(side)
    with torch.cuda.stream(side):
        assert torch.cuda.current_stream() == side
        with torch.cuda.stream(None):
            assert torch.cuda.current_stream() == side
        x = torch.ones(4, device="cuda") * 2
    assert torch.cuda.current_stream() == first
    first.wait_stream(side)
    x.record_stream(first)
    assert x.cpu().tolist() == [2.0] * 4 and side.query()
    torch.cuda.set_stream(side)
    assert torch.cuda.current_stream() == side
    torch.cuda.set_stream(first)
    with pytest.raises(RuntimeError, match="expected a CUDA tensor"):
        torch.ones(2).record_stream(first)


def test_a_trace_runs_where_its_memory_is_ready(gpu: Any) -> None:
    x = torch.arange(4.0).cuda()
    traced = torch.jit.trace(lambda t: (t * 2).sum() + (t.exp() + 1).sum(), x, check_trace=False)
    assert traced.paths()[0].program.arena.nbytes, "working memory, which was made on the default stream"
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        traced(x)
        assert gpu.first_stream in side._stream.awaited
    traced(x)
    assert side._stream in gpu.first_stream.awaited


def test_the_current_stream_belongs_to_a_thread(gpu: Any) -> None:
    with pytest.raises(ValueError, match="inside"), torch.cuda.stream(torch.cuda.Stream()):
        raise ValueError("inside")
    assert torch.cuda.current_stream() == torch.cuda.default_stream()


def test_events(gpu: Any) -> None:
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    assert start.query() and "never" in repr(start)
    with pytest.raises(ValueError, match="must be recorded before"):
        start.elapsed_time(end)
    start.record()
    end.record(torch.cuda.current_stream())
    end.synchronize()
    end.wait()
    assert start.elapsed_time(end) == 0.25
    with pytest.raises(ValueError, match="enable_timing=True"):
        torch.cuda.Event().elapsed_time(end)
    with pytest.raises(NotImplementedError, match="interprocess"):
        torch.cuda.Event(interprocess=True)


def test_memory_figures(gpu: Any) -> None:
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    x = torch.zeros(1000, device="cuda")
    assert torch.cuda.memory_allocated() == before + 4 * x.numel()
    del x
    assert torch.cuda.max_memory_allocated() >= before + 4000 and torch.cuda.memory_allocated() == before
    stats = torch.cuda.memory_stats()
    assert stats["allocated_bytes.all.peak"] == torch.cuda.max_memory_allocated()
    assert torch.cuda.max_memory_reserved() >= torch.cuda.memory_reserved() >= 0
    assert torch.cuda.mem_get_info() == (1 << 30, 1 << 30)
    properties = torch.cuda.get_device_properties("cuda")
    assert (properties.major, properties.minor) == torch.cuda.get_device_capability() and properties.total_memory
    assert torch.cuda.is_bf16_supported()


def test_pinned_memory(gpu: Any) -> None:
    x = torch.arange(12.0).reshape(3, 4).t()
    assert not x.is_pinned()
    pinned = x.pin_memory()
    assert pinned.is_pinned() and pinned.pin_memory() is pinned and pinned.tolist() == x.tolist()
    waits = gpu.waits
    y = pinned.to("cuda", non_blocking=True)
    back = torch.empty(4, 3).pin_memory().copy_(y, non_blocking=True)
    assert gpu.waits == waits, "copies with pinned memory do not wait"
    assert back.tolist() == x.tolist() == y.cpu().tolist()
    x.to("cuda", non_blocking=True)
    assert gpu.waits > waits, "the source may change at once if it is not pinned"
    with pytest.raises(RuntimeError, match="only dense CPU tensors can be pinned"):
        y.pin_memory()
    address = pinned.data_ptr()
    del pinned
    assert torch.ones(4, 3).pin_memory().data_ptr() == address, "blocks are used again"


def test_loader_pins(gpu: Any) -> None:
    data = torch.utils.data.TensorDataset(torch.arange(6.0), torch.arange(6))
    batches = list(torch.utils.data.DataLoader(data, batch_size=3, pin_memory=True))
    assert all(t.is_pinned() for batch in batches for t in batch)
    assert batches[1][0].cuda(non_blocking=True).tolist() == [3.0, 4.0, 5.0]


def test_packed_sequences_are_pinned(gpu: Any) -> None:
    packed = torch.nn.utils.rnn.pack_sequence([torch.ones(3, 2), torch.ones(2, 2)])
    assert not packed.is_pinned() and packed.pin_memory().is_pinned()


def test_array_interface(gpu: Any) -> None:
    x = torch.arange(6.0).reshape(2, 3).cuda()
    found = x.t().__cuda_array_interface__
    assert found["shape"] == (3, 2) and found["strides"] == (4, 12) and found["typestr"] == "<f4"
    assert found["data"] == (x.data_ptr(), False) and found["stream"] == torch.cuda.current_stream().cuda_stream
    assert x.__cuda_array_interface__["strides"] is None
    assert not hasattr(torch.ones(2), "__cuda_array_interface__")
    with pytest.raises(RuntimeError, match=r"use var\.detach\(\)"):
        x.requires_grad_().__cuda_array_interface__  # noqa: B018 - the attribute raises
