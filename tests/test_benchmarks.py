"""The benchmarks run on numtorch: every model, eager and replayed, and the report. Peers are not needed."""

from __future__ import annotations

import json
import pathlib

import pytest

from benchmarks import __main__ as command
from benchmarks import backends, kernels, models, report

FAST = [w for w in models.WORKLOADS if w.fast]
SLOW = [w for w in models.WORKLOADS if not w.fast]


def check_workload(w: models.Workload) -> None:
    """Replay must compute what eager computes: the sum of the outputs, the loss after three steps."""
    eager, replayed = backends.NumtorchEager(2), backends.Numtorch(2)
    assert replayed.inference(w)(1) == pytest.approx(eager.inference(w)(1), rel=1e-4, abs=1e-4)
    assert replayed.training(w)(3) == pytest.approx(eager.training(w)(3), rel=1e-4)


@pytest.mark.parametrize("w", FAST, ids=lambda w: w.name)
def test_models(w: models.Workload) -> None:
    check_workload(w)


@pytest.mark.slow
@pytest.mark.parametrize("w", SLOW, ids=lambda w: w.name)
def test_larger_models(w: models.Workload) -> None:
    check_workload(w)


@pytest.mark.parametrize("name", ["x + x, 4 elements", "10-op chain with backward, 4 elements"])
def test_small_kernels(name: str) -> None:
    assert backends.NumtorchEager(1).kernel(name)(3) == 0.0


def test_names_are_unique() -> None:
    assert len({k.name for k in kernels.KERNELS}) == len(kernels.KERNELS)
    assert len({w.name for w in models.WORKLOADS}) == len(models.WORKLOADS)


def test_the_report(tmp_path: pathlib.Path) -> None:
    row = {"numtorch": {"us": [2.0, 1.0, 3.0]}, "torch": {"us": [8.0]}, "jax": {"error": "it broke"}}
    facts = {"machine": report.machine(), "threads": 2, "versions": {"numtorch": "numtorch 0", "torch": "torch 1"}}
    text = report.markdown({"inference": {"LeNet": row}}, {"import only": 0.25}, facts)
    assert "| LeNet | 2 | 8 | 4.00 (torch) |" in text
    assert "- jax, LeNet: it broke" in text and "| import only | 0.25 |" in text
    assert json.loads(json.dumps(facts)) == facts
    drawn = report.picture({"inference": {"LeNet": row}}, facts, tmp_path / "picture.png")
    assert drawn == (tmp_path / "picture.png").is_file()


def test_rows_of_an_earlier_run_are_kept_where_this_one_has_none() -> None:
    old = {"results": {"inference": {"LeNet": 1}, "kernel": {"exp": 1, "gelu": 1}}, "startup": {"import only": 1.0}}
    old["facts"] = {"versions": {"numtorch": "0", "jax": "1"}}
    results, start, facts = {"kernel": {"exp": 2}}, {}, {"versions": {"numtorch": "2"}}
    command.merged(old, results, start, facts)
    assert results == {"inference": {"LeNet": 1}, "kernel": {"exp": 2, "gelu": 1}} and list(results) == ["inference", "kernel"]
    assert start == {"import only": 1.0} and facts["versions"] == {"numtorch": "2", "jax": "1"}


def test_kernels_show_their_goal_and_rate() -> None:
    rows = {"matmul 1024x1024x1024": {"numtorch eager": {"us": [2e4]}, "torch": {"us": [1e4]}}}
    text = report.markdown({"kernel": rows}, {}, {"machine": report.machine(), "threads": 2, "versions": {}})
    assert "| matmul 1024x1024x1024 | 0.50 (torch) | 1.8 | 107 GFLOP/s |" in text
