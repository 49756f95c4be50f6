"""Runs the launches of a CUDA plan in the simulator."""

from __future__ import annotations

from typing import Any

import numpy as np
from simulator import run


def run_plan(plan: Any, schedule: int = 0, **buffers: Any) -> None:
    """Run all launches of `plan` on the named arrays (0 where one is absent); "work" is made here, filled with NaN."""
    for launch in plan.launches:
        if plan.work_bytes:
            size = plan.work_bytes // np.dtype(launch.T).itemsize
            buffers.setdefault("work", np.full(size, np.nan, launch.T))
        if launch.table is not None:
            buffers["table"] = launch.table.view(np.int32)
        pointers = [buffers.get(name, 0) for name in launch.pointers]
        run(launch.kernel, *pointers, *launch.words, schedule=schedule, T=launch.T)
