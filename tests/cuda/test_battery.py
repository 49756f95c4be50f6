"""All ops on a GPU give what they give on the CPU: a sample on the simulated GPU, every one on a real one (`pytest -m gpu`)."""

from __future__ import annotations

import warnings
import zlib
from typing import Any

import battery
import pytest
from ops.test_elementwise import OPS

GROUPS = 24
PARTS = 16
# Seconds each in the simulator: large kernels, or many launches; their kernels have tests of their own.
SLOW = ("conv", "linalg", "svd", "ctc", "lowrank", "matrix_exp", "pinverse", "attention", "bilinear", "interpolate", "lu", "qr",
        "cholesky", "det", "cdist", "unfold", "pool3d", "grid_sample", "mm", "matmul")  # fmt: skip


def part_of(names: Any, number: int, count: int) -> list[str]:
    """Those names that a number falls to."""
    return [name for name in names if zlib.crc32(name.encode()) % count == number]


@pytest.mark.simulator
def test_a_sample_of_the_table(gpu: Any) -> None:
    names = part_of(OPS, 3, GROUPS // 2)
    wrong = [line for name in names for line in battery.elementwise(name, (3, 4))]
    assert not wrong, "\n".join(wrong)
    assert len(names) > 5 and gpu.launched


@pytest.mark.simulator
@pytest.mark.oracle
def test_a_sample_of_the_database(gpu: Any) -> None:
    wrong, seen = [], 0
    for name, op in database(part=1, count=GROUPS).items():
        if not any(word in name for word in SLOW):
            seen += 1
            wrong += battery.entry(op, most=1, largest=30)
    assert not wrong, "\n".join(wrong)
    assert seen > 10 and gpu.launched


@pytest.mark.gpu
@pytest.mark.parametrize("part", range(PARTS))
def test_the_table(part: int) -> None:
    wrong = [line for name in part_of(OPS, part, PARTS) for shape in ((5, 7), (64, 33)) for line in battery.elementwise(name, shape)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.gpu
@pytest.mark.oracle
@pytest.mark.parametrize("part", range(PARTS))
def test_the_database(part: int) -> None:
    wrong = [line for op in database(part, PARTS).values() for line in battery.entry(op, most=4)]
    assert not wrong, "\n".join(wrong)


def database(part: int, count: int) -> dict[str, Any]:
    """Some of the entries of PyTorch's operator database that numtorch has."""
    pytest.importorskip("torch")
    from opinfo.scan import entries

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = entries()
    return {name: found[name] for name in part_of(found, part, count)}
