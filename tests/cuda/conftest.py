"""The fixture `gpu`: inside, "cuda:0" is a simulated GPU."""

from __future__ import annotations

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
