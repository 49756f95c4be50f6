"""Short programs on modules give the results that PyTorch gives: values, texts, warnings and errors."""

from __future__ import annotations

import json
import pathlib
import warnings
from typing import Any

import pytest
from nn import programs

import numtorch

RECORDED = json.loads(pathlib.Path(__file__).with_name("recorded_programs.json").read_text())["results"]


def differences(found: Any, wanted: Any, path: str = "result") -> list[str]:
    """Where two nested results differ; numbers may differ by rounding."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        keys = (
            [f"{path}: keys {sorted(found)}, not {sorted(wanted)}"] if sorted(found) != sorted(wanted) else []
        )
        return keys + [
            d for k in wanted if k in found for d in differences(found[k], wanted[k], f"{path}[{k}]")
        ]
    if isinstance(wanted, list) and isinstance(found, list):
        if len(wanted) != len(found):
            return [f"{path}: {found} instead of {wanted}"]
        return [d for k, (a, b) in enumerate(zip(found, wanted)) for d in differences(a, b, f"{path}[{k}]")]
    if isinstance(wanted, float) and isinstance(found, (int, float)) and not isinstance(found, bool):
        both_nan = wanted != wanted and found != found
        close = wanted == found or abs(found - wanted) <= 1e-5 + 1e-4 * abs(wanted)
        return [] if both_nan or close else [f"{path}: {found} instead of {wanted}"]
    same = type(found) is type(wanted) and found == wanted
    if isinstance(wanted, str) and isinstance(found, str) and len(wanted) > 20:
        same = wanted.rstrip(".") in found  # a message may name the op before, and say what to do after
    return [] if same else [f"{path}: {found!r} instead of {wanted!r}"]


@pytest.mark.parametrize("name", programs.names())
def test_program(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = programs.run(numtorch, name)
    wrong = differences(json.loads(json.dumps(found)), RECORDED[name])
    assert not wrong, "\n".join(wrong)


@pytest.mark.oracle
@pytest.mark.parametrize("name", programs.names())
def test_pytorch_still_does_what_was_recorded(name: str) -> None:
    torch = pytest.importorskip("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = programs.run(torch, name)
    wrong = differences(json.loads(json.dumps(found)), RECORDED[name])
    assert not wrong, "\n".join(wrong)
