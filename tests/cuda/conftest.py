"""The fixture `gpu`: inside, "cuda:0" is a simulated GPU; `any_gpu`: that one, and in `pytest -m gpu` the real one."""

from __future__ import annotations

from typing import Any

import pytest
from simulated_gpu import SimulatedGpu

import numtorch
from numtorch import random
from numtorch.cuda import runtime


@pytest.fixture(scope="session")
def one_gpu() -> SimulatedGpu:
    """One for all tests: constants that ops keep on a device outlive a test."""
    return SimulatedGpu()


@pytest.fixture
def gpu(one_gpu: SimulatedGpu, monkeypatch: pytest.MonkeyPatch) -> SimulatedGpu:
    """A simulated GPU in place of the real ones."""
    monkeypatch.setattr(runtime, "_gpus", {0: one_gpu})
    monkeypatch.setattr(numtorch.cuda, "require", lambda: None)
    monkeypatch.setattr(numtorch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(random, "_defaults", {"cpu": random.default_generator})
    one_gpu.launched.clear()
    return one_gpu


@pytest.fixture(params=["simulated", pytest.param("real", marks=pytest.mark.gpu)])
def any_gpu(request: pytest.FixtureRequest) -> Any:
    """A GPU that tests only see by what tensors on it hold."""
    return request.getfixturevalue("gpu") if request.param == "simulated" else runtime.gpu("cuda:0")
