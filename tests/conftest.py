"""What every test gets: skips with reasons, a fixed seed, and a check that global switches are restored."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator

import hypothesis
import pytest

# A first call may compile a kernel, so a deadline would time the compiler; fixed examples keep CI repeatable.
PROFILE = {"deadline": None, "derandomize": True, "max_examples": 50, "database": None}
hypothesis.settings.register_profile("numtorch", **PROFILE)
hypothesis.settings.load_profile("numtorch")


def _missing(module: str) -> bool:
    return importlib.util.find_spec(module) is None


def _no_gpu() -> bool:
    import numtorch

    return not numtorch.cuda.is_available()


NEEDS = {
    "oracle": (lambda: _missing("torch"), "PyTorch is not installed: make oracle"),
    "cuda_compile": (lambda: _missing("numba_cuda"), "numba-cuda is not installed: make test-cuda"),
    "gpu": (_no_gpu, "no NVIDIA GPU"),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine cannot run, saying why."""
    marked = {name: [item for item in items if item.get_closest_marker(name)] for name in NEEDS}
    for name, (is_missing, reason) in NEEDS.items():
        if marked[name] and is_missing():
            for item in marked[name]:
                item.add_marker(pytest.mark.skip(reason=reason))


def _switches(torch) -> dict[str, object]:
    return {
        "default dtype": torch.get_default_dtype(),
        "grad mode": torch.is_grad_enabled(),
        "anomaly mode": torch.is_anomaly_enabled(),
    }


@pytest.fixture(autouse=True)
def seeded_and_restored() -> Iterator[None]:
    """Start from the same random numbers; fail a test that leaves a global switch as it found it not."""
    torch = sys.modules.get("numtorch")
    if torch is None or not hasattr(torch, "Tensor"):
        yield
        return
    torch.manual_seed(0)
    oracle = sys.modules.get("torch")
    if oracle is not None and hasattr(oracle, "default_generator"):
        oracle.manual_seed(0)  # its weights, too, are the same in each run
    before = _switches(torch)
    yield
    after = _switches(torch)
    assert after == before, f"the test changed global state and did not restore it: {before} became {after}"
