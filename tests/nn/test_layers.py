"""Every layer against what PyTorch computes: outputs, gradients, buffers, state names and text."""

from __future__ import annotations

import json
import pathlib
import warnings
from typing import Any

import numpy as np
import pytest
from nn import layers

import numtorch

RECORDED = json.loads(pathlib.Path(__file__).with_name("recorded_layers.json").read_text())
ROWS = {layers.label(row): row for row in layers.LAYERS}
NUMBERS = ("outputs", "input gradients", "parameter gradients", "buffers")
TOLERANCE = {"float32": 2e-5, "float64": 1e-8}


def assert_close(found: list, wanted: list, what: str, tolerance: float) -> None:
    """Nested lists of numbers (or None) that agree."""
    assert len(found) == len(wanted), f"{what}: {len(found)} instead of {len(wanted)}"
    for k, (a, b) in enumerate(zip(found, wanted)):
        assert (a is None) == (b is None), f"{what} {k}: {a} instead of {b}"
        if a is not None:
            np.testing.assert_allclose(a, b, tolerance, tolerance, err_msg=f"{what} {k}")


def check(module: Any, row: tuple, wanted: dict, dtype: str, training: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's own warnings about arguments are tested in test_programs
        found = layers.run(module, row, dtype, training)
    for key in ("text", "names", "shapes"):
        assert found[key] == wanted[key]
    for key in NUMBERS:
        assert_close(found[key], wanted[key], key, TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", RECORDED["training"])
def test_training(name: str, dtype: str) -> None:
    check(numtorch, ROWS[name], RECORDED["training"][name], dtype, True)


@pytest.mark.parametrize("name", RECORDED["evaluation"])
def test_evaluation(name: str) -> None:
    check(numtorch, ROWS[name], RECORDED["evaluation"][name], "float64", False)


@pytest.mark.oracle
@pytest.mark.parametrize("name", ROWS)
def test_pytorch_still_does_what_was_recorded(name: str) -> None:
    torch = pytest.importorskip("torch")
    check(torch, ROWS[name], RECORDED["training"][name], "float64", True)
