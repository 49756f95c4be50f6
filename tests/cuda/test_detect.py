"""Without a GPU: what PyTorch answers and raises; asking is cheap and imports nothing heavy."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import numtorch as torch
from numtorch.cuda import detect

no_gpu = pytest.mark.skipif(detect.device_count() > 0, reason="there is a GPU")


@no_gpu
def test_answers() -> None:
    assert (
        not torch.cuda.is_available() and torch.cuda.device_count() == 0 and not torch.cuda.is_initialized()
    )
    assert torch.cuda.memory_allocated() == 0 == torch.cuda.max_memory_allocated()
    torch.cuda.empty_cache()
    torch.cuda.manual_seed(1)


@no_gpu
@pytest.mark.parametrize(
    "call",
    [
        lambda: torch.ones(2).to("cuda"), lambda: torch.zeros(2, device="cuda"), lambda: torch.ones(2).cuda(),
        lambda: torch.nn.Linear(2, 2).cuda(), torch.cuda.current_device, torch.cuda.synchronize, torch.cuda.get_device_name,
    ],
)  # fmt: skip
def test_errors(call) -> None:
    with pytest.raises((AssertionError, RuntimeError), match="CUDA|NVIDIA"):
        call()


def test_each_reason_has_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detect, "device_count", lambda: 0)
    monkeypatch.setattr(detect, "has_packages", lambda: False)
    with pytest.raises(AssertionError, match=r"not compiled with CUDA enabled.*numtorch\[cuda\]"):
        detect.require()
    monkeypatch.setattr(detect, "has_packages", lambda: True)
    monkeypatch.setattr(detect, "_driver", lambda: None)
    with pytest.raises(RuntimeError, match="Found no NVIDIA driver"):
        detect.require()
    monkeypatch.setattr(detect, "_driver", object)
    with pytest.raises(RuntimeError, match="No CUDA GPUs are available"):
        detect.require()


def test_asking_is_light() -> None:
    script = (
        "import sys, json, numtorch; numtorch.cuda.is_available(); json.dump(sorted(sys.modules), sys.stdout)"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    heavy = {"numba", "numba_cuda", "cuda.core", "cuda.bindings"} & set(json.loads(run.stdout))
    assert not heavy
