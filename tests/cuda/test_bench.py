"""`make bench-cuda` on a simulated GPU: tiny work, the table, and what is said where there is no GPU."""

from __future__ import annotations

from typing import Any

import pytest

import numtorch
from benchmarks import cuda, cuda_work

pytestmark = pytest.mark.simulator


def test_measures_and_reports(gpu: Any) -> None:
    double = cuda_work.of_a_tensor(lambda t, x: x * 2.0, 8)
    items = [
        cuda_work.Item("copy", double, bytes=64.0), cuda_work.Item("traced", double, "fast", flops=8.0, traced=True),
        cuda_work.Item("host", double, host=True), cuda_work.Item("broken", lambda t: t.no_such_function(), "some"),
    ]  # fmt: skip
    results = [(i, cuda.compare(i, {"numtorch": numtorch}, turns=2, budget=1e-4)) for i in items]
    assert results[0][1] == {"numtorch": 0.25 / 3} and 0 < results[2][1]["numtorch"] < 1e4
    text = cuda.report(results, 2.0, cuda.about({"numtorch": numtorch}))
    assert "GPU simulated" in text and "| traced | 0.08333 | – | – | 0.0 TFLOP/s | – | fast |" in text
    assert "- broken, numtorch: AttributeError" in text
    assert cuda.row(items[1], {"numtorch": 1.0, "torch eager": 3.0, "torch, CUDA graph": 2.0}, 0.0).endswith("2.00x | fast |")


def test_without_a_gpu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(numtorch.cuda, "device_count", lambda: 0)
    assert cuda.main(["--fast"]) == 1 and "nothing was measured" in capsys.readouterr().err


def test_all_work_has_a_name_of_its_own() -> None:
    names = [item.name for item in cuda_work.WORK]
    assert len(set(names)) == len(names) and names[0] == "copy", "the bandwidth of a copy is what others are compared with"


def test_the_chain_has_ten_ops() -> None:
    x = numtorch.ones(2)
    traced = numtorch.jit.trace(lambda t: cuda_work.ten_ops(numtorch, t), x)
    with numtorch.profiler.profile() as found:
        cuda_work.ten_ops(numtorch, x)
    assert traced(x).shape == (2,) and sum(row.count for row in found.key_averages()) == 10


def test_small_work_runs(gpu: Any) -> None:
    """The calls that the table times, where they are small enough for the simulator."""
    by_name = {item.name: item for item in cuda_work.WORK}
    by_name["launch of x + x, host time"].build(numtorch)()
    small = cuda_work.matmul(4, "tf32")
    assert small.flops == 128.0 and small.build(numtorch)().shape == (4, 4) and "tensor_nn" in gpu.launched
    assert cuda_work.matmul(4, "float16").build(numtorch)().dtype is numtorch.float16
