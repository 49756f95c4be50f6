"""`make bench-cuda` on a simulated GPU: tiny work, the table, what fails, and what is said where there is no GPU."""

from __future__ import annotations

import importlib.util
import pathlib
import sys
import time
from typing import Any

import numpy as np
import pytest

import numtorch
from benchmarks import cuda, cuda_measure, cuda_work

pytestmark = pytest.mark.simulator
ITEMS = [cuda_work.Item(name, lambda torch: lambda: None) for name in ("one", "two", "three")]


def test_measures_and_reports(gpu: Any) -> None:
    double = cuda_work.of_a_tensor(lambda t, x: x * 2.0, 8)
    items = [
        cuda_work.Item("copy", double, bytes=64.0), cuda_work.Item("traced", double, "fast", flops=8.0, traced=True),
        cuda_work.Item("host", double, host=True), cuda_work.Item("broken", lambda t: t.no_such_function(), "some"),
        cuda_work.Item("eager", lambda t: lambda: t.ones(2, device="cuda").cpu(), traced=True),
    ]  # fmt: skip
    results = [(i, cuda_measure.compare(i, {"numtorch": numtorch}, turns=2, budget=1e-4)) for i in items]
    assert results[0][1]["ms"] == {"numtorch": 0.25 / 3} and 0 < results[2][1]["ms"]["numtorch"] < 1e4
    text = cuda.report(results, {"GPU": "simulated", "date": "today"})
    assert "GPU simulated, date today; a copy moves 0 GB/s" in text
    assert "| traced | 0.08333 | – | – | 0.0 TFLOP/s | – | – | – | fast |" in text
    assert "- broken, numtorch: AttributeError" in text and "- eager: numtorch.jit.trace: " in text and "runs eagerly" in text


def test_ratios_and_picture(tmp_path: pathlib.Path) -> None:
    item = cuda_work.Item("work", lambda t: lambda: None, "fast", bytes=4e6)
    result = {"ms": {"numtorch": 1.0, "torch eager": 3.0, "torch, CUDA graph": 2.0}, "apart": 1e-7}
    assert cuda.row(item, result, 8.0) == "| work | 1 | 3 | 2 | 4 GB/s (50% of copy) | 3.00x | 2.00x | 1e-07 | fast |"
    cuda.write([(item, result)], {"GPU": "some"}, tmp_path)
    assert "| work |" in (tmp_path / "cuda.md").read_text() and '"apart": 1e-07' in (tmp_path / "cuda.json").read_text()
    made = cuda.picture([(item, result)], {"GPU": "some"}, tmp_path / "cuda.png")
    assert made is (importlib.util.find_spec("matplotlib") is not None) and (tmp_path / "cuda.png").is_file() is made


def test_results_are_compared_first(gpu: Any) -> None:
    class Torch:  # a backend whose sum is another one
        def __getattr__(self, name: str) -> Any:
            return getattr(numtorch, name)

        def add(self, a: Any, b: Any) -> Any:
            return numtorch.add(a, b) * 1.01

    item = cuda_work.Item("sum", cuda_work.of_a_tensor(lambda t, x: t.add(x, x), 8))
    found = cuda_measure.compare(item, {"numtorch": numtorch, "torch": Torch()}, turns=1, budget=1e-4)  # type: ignore[dict-item]
    assert found["ms"]["numtorch"].startswith("wrong: 0.0099") and found["apart"] == pytest.approx(0.0099, abs=1e-4)
    assert isinstance(found["ms"]["torch eager"], float), "the peer is timed all the same"


def test_difference() -> None:
    a = [np.array([1.0, 2.0]), np.array([4.0])]
    assert cuda_measure.difference(a, a) == 0 and cuda_measure.difference(a, [a[0], np.array([5.0])]) == pytest.approx(0.2)
    assert cuda_measure.difference(a, a[:1]) == float("inf")
    assert cuda_measure.difference([np.array([np.nan])], [np.array([1.0])]) == float("inf")


WORKER = """
import json, sys, time
for name in sys.argv[1:]:
    if name == "two":
        {at_two}
    print("chatter")
    print(json.dumps({{"name": name, "ms": {{"numtorch": 1.0}}, "apart": None}}), flush=True)
    {after}
"""


@pytest.mark.parametrize(
    "at_two, after, reason",
    [("pass", "pass", None), ("sys.exit(7)", "pass", "ended: the process left with status 7"), ("pass", "sys.exit(3)", None),
     ("time.sleep(60)", "pass", "ended: no answer in 2 s")],
)  # fmt: skip
def test_work_that_ends_its_process(at_two: str, after: str, reason: str | None) -> None:
    command = [sys.executable, "-c", WORKER.format(at_two=at_two, after=after)]
    found = {i.name: r["ms"] for i, r in cuda.measured(ITEMS, command, patience=2.0)}
    good = {"numtorch": 1.0}
    assert found == {"one": good, "two": good if reason is None else {"all": reason}, "three": good}


def test_a_run_that_is_stopped_ends_its_process() -> None:
    command = [sys.executable, "-c", WORKER.format(at_two="time.sleep(60)", after="pass")]
    start = time.monotonic()
    run = cuda.measured(ITEMS, command)
    next(run)
    run.close()
    assert time.monotonic() - start < 30


def test_without_a_gpu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(numtorch.cuda, "device_count", lambda: 0)
    assert cuda.main(["--fast"]) == 1 and "nothing was measured" in capsys.readouterr().err


def test_the_whole_run(gpu: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path: pathlib.Path) -> None:
    monkeypatch.setattr(cuda, "measured", lambda items, command: iter([(i, {"ms": {"numtorch": 0.5}, "apart": None}) for i in items]))
    assert cuda.main(["--out", str(tmp_path), "--only", "copy"]) == 0
    shown = capsys.readouterr().out
    assert "GPU simulated" in shown and "numtorch " in shown and "| copy | 0.5 |" in shown and (tmp_path / "cuda.json").is_file()


def test_the_worker_measures_by_name(gpu: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    tiny = cuda_work.Item("tiny", cuda_work.of_a_tensor(lambda t, x: x + x, 4))
    monkeypatch.setattr(cuda_measure, "WORK", [tiny])
    monkeypatch.setattr(cuda_measure, "backends", lambda: {"numtorch": numtorch})
    assert cuda_measure.main(["1", "1e-5", "tiny", "absent"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith('{"name": "tiny", "ms": {"numtorch": ') and '"all": "KeyError' in second
    monkeypatch.setattr(gpu, "finish", lambda: 1 / 0)
    assert cuda_measure.main(["1", "1e-5", "tiny", "tiny"]) == cuda_measure.BROKEN, "a new process for what is left"


def test_all_work_has_a_name_of_its_own() -> None:
    names = [item.name for item in cuda_work.WORK]
    assert len(set(names)) == len(names) and names[0] == "copy", "the bandwidth of a copy is what others are compared with"


def test_the_rows_that_were_asked_for() -> None:
    names = " | ".join(item.name for item in cuda_work.WORK)
    for part in ("10 elementwise", "softmax 1M", "softmax 256M", "layer norm 1M", "layer norm 256M", "sum 1M", "sum 256M",
                 "float32 GEMM 1024", "float32 GEMM 8192", "tf32 GEMM 4096", "float16 GEMM 4096", "bfloat16 GEMM 4096", "k3, forward", "both gradients",
                 "LeNet", "MLP", "ResNet", "GPT", "launch of x + x"):  # fmt: skip
        assert part in names, part


def test_the_chain_has_ten_ops() -> None:
    x = numtorch.ones(2)
    traced = numtorch.jit.trace(lambda t: cuda_work.ten_ops(numtorch, t), x)
    with numtorch.profiler.profile() as found:
        cuda_work.ten_ops(numtorch, x)
    assert traced(x).shape == (2,) and sum(row.count for row in found.key_averages()) == 10


def test_networks_begin_with_the_same_weights() -> None:
    net = cuda_work.initialised(numtorch, numtorch.nn.Sequential(numtorch.nn.Linear(3, 2), numtorch.nn.BatchNorm1d(2)))
    wanted = np.random.default_rng(0).standard_normal((2, 3), dtype=np.float32) / np.sqrt(3)
    np.testing.assert_allclose(net[0].weight.detach().numpy(), wanted, rtol=1e-6)
    assert not net[0].bias.any() and net[1].weight.tolist() == [1.0, 1.0]


def test_small_work_runs(gpu: Any) -> None:
    """The calls that the table times, where they are small enough for the simulator."""
    by_name = {item.name: item for item in cuda_work.WORK}
    by_name["launch of x + x, host time"].build(numtorch)()
    small = cuda_work.matmul(4, "tf32")
    assert small.flops == 128.0 and small.build(numtorch)().shape == (4, 4) and "tensor_nn" in gpu.launched
    assert cuda_work.matmul(4, "float16").build(numtorch)().dtype is numtorch.float16
    assert cuda_work.matmul(4, "bfloat16").build(numtorch)().dtype is numtorch.bfloat16
