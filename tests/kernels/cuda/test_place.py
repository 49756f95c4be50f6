"""Which tile a block makes: each exactly once, bands of rows first."""

from __future__ import annotations

import numpy as np
import pytest
from simulator import run
from twins import empty

from numtorch.kernels.cuda.gpu import block, thread
from numtorch.kernels.cuda.launch import ceil_div, kernel
from numtorch.kernels.cuda.place import tile_of_block
from numtorch.kernels.jit import i64, i64_ptr

pytestmark = pytest.mark.simulator


def grid(rows: int, columns: int, matrices: int) -> int:
    return ceil_div(rows, 16) * ceil_div(columns, 32) * matrices


@kernel(grid=grid, threads=32)
def places(out: i64_ptr, rows: i64, columns: i64, matrices: i64):
    i, j, matrix = tile_of_block(rows, columns, 16, 32)
    if thread() == 0:
        out[3 * block()], out[3 * block() + 1], out[3 * block() + 2] = i, j, matrix


@pytest.mark.parametrize("rows, columns, matrices", [(1, 1, 1), (17, 33, 3), (16 * 19, 32 * 3, 2)])
def test_every_tile_has_one_block(rows: int, columns: int, matrices: int) -> None:
    out = empty(grid(rows, columns, matrices), 3, dtype="int64")
    run(places, out, rows, columns, matrices)
    wanted = {(i, j, m) for m in range(matrices) for i in range(0, rows, 16) for j in range(0, columns, 32)}
    assert {tuple(row) for row in out.tolist()} == wanted and len(out) == len(wanted)
    assert (np.diff(out[:, 2]) >= 0).all(), "matrix after matrix"
    bands = out[out[:, 2] == 0][:, 0] // (16 * 8)
    assert (np.diff(bands) >= 0).all(), "band after band"
