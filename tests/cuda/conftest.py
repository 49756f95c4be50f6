"""The fixture `gpu`: inside, "cuda:0" is a simulated GPU."""

from __future__ import annotations

import pytest
from simulated_gpu import SimulatedGpu

import numtorch
from numtorch.cuda import runtime


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> SimulatedGpu:
    """A simulated GPU in place of the real ones."""
    made = SimulatedGpu()
    monkeypatch.setattr(runtime, "_gpus", {0: made})
    monkeypatch.setattr(numtorch.cuda, "require", lambda: None)
    monkeypatch.setattr(numtorch.cuda, "device_count", lambda: 1)
    return made
