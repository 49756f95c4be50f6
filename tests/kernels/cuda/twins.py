"""Runs a CUDA kernel in the simulator and its twin on the CPU on the same arguments, and compares every
array."""

from __future__ import annotations

import importlib
from typing import Any

import harness
import numpy as np
import simulator

from numtorch.kernels.cuda.launch import find

TOLERANCE = {"float32": 2e-6, "float64": 1e-13}


def check_twins(
    module: str, name: str, *args: Any, schedules: tuple[int, ...] = (0,), cpu: Any = None,
    tolerance: float | None = None, interpreted: bool = True, scratch: tuple[int, ...] = (), **env: Any,
) -> list[np.ndarray]:  # fmt: skip
    """Compare the twins called `name`; returns the arrays after the CUDA kernel.

    Floats may differ by `tolerance` relative to the largest value of their array (by default a few
    roundings); NaN and inf must stand at the same places; other dtypes must be equal. Several `schedules`
    must give equal bits. `interpreted`: the CPU's kernel runs as plain Python, which saves its compilation;
    `scratch`: arguments whose content is worth nothing afterwards.
    """
    twin = cpu or getattr(importlib.import_module(f"numtorch.kernels.cpu.{module}"), name)
    wanted = _copies(args)
    with np.errstate(all="ignore"):
        harness.run(twin, *wanted, interpreted=interpreted, **env)
    first: list[np.ndarray] = []
    for schedule in schedules:
        found = _copies(args)
        simulator.run(find(module, name), *found, schedule=schedule, **env)
        results = [k for k, a in enumerate(args) if isinstance(a, np.ndarray) and k not in scratch]
        arrays = [found[k] for k in results]
        for k, a, b in zip(results, arrays, [wanted[k] for k in results]):
            check_close(f"{name}, argument {k}, schedule {schedule}", a, b, tolerance)
        for a, b in zip(first or arrays, arrays):
            assert a.tobytes() == b.tobytes(), f"{name}: schedule {schedule} gives other bits"
        first = arrays
    return first


def check_close(what: str, found: np.ndarray, wanted: np.ndarray, tolerance: float | None = None) -> None:
    """AssertionError unless `found` is `wanted`, up to roundings."""
    assert found.shape == wanted.shape and found.dtype == wanted.dtype, f"{what}: shape or dtype differs"
    if found.dtype.kind != "f":
        np.testing.assert_array_equal(found, wanted, what)
        return
    finite = np.isfinite(wanted)
    np.testing.assert_array_equal(np.where(finite, 0, found), np.where(finite, 0, wanted), what)
    most = np.abs(wanted[finite]).max(initial=1e-30)
    error = np.abs(found[finite] - wanted[finite]).max(initial=0) / most
    limit = tolerance or TOLERANCE[found.dtype.name]
    assert error <= limit, f"{what}: differs by {error:.1e} of the largest value, allowed is {limit:.0e}"


def _copies(args: tuple[Any, ...]) -> list[Any]:
    """The arguments with their arrays copied; an array given twice stays one array."""
    made: dict[int, np.ndarray] = {}
    return [made.setdefault(id(a), a.copy()) if isinstance(a, np.ndarray) else a for a in args]


def randoms(seed: int, *shape: int, dtype: str = "float32") -> np.ndarray:
    """Normal numbers, repeatable."""
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def empty(*shape: int, dtype: str = "float32") -> np.ndarray:
    """An output: NaN or a value that no result has, so that an unwritten element shows."""
    return np.full(shape, np.nan if dtype.startswith("float") else 77, dtype)
