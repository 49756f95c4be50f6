"""What this machine can do, measured once per process: multiply-adds and copied bytes per second with the threads in use."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..ops.launch import driver, threads

SIZES = (1 << 15, 1 << 19, 1 << 23, 1 << 27)  # bytes read and written: first cache, second, last, main memory


class Machine(NamedTuple):
    """FLOP/s of fused multiply-adds (float32, float64); bytes/s of a copy, read and written, for each of ``SIZES``."""

    flops: float
    flops64: float
    bandwidths: tuple[float, ...]
    threads: int

    def bandwidth(self, nbytes: int = SIZES[-1]) -> float:
        """Bytes per second where so many bytes are touched: small ones stay in a cache."""
        return self.bandwidths[next((k for k, size in enumerate(SIZES) if nbytes <= size), -1)]

    def __str__(self) -> str:
        rates = ", ".join(f"{b / 1e9:.0f}" for b in self.bandwidths[:-1])
        return (
            f"{self.threads} threads: {self.flops / 1e9:.1f} GFLOP/s (float64 {self.flops64 / 1e9:.1f}), copies"
            f" {self.bandwidths[-1] / 1e9:.1f} GB/s in memory, {rates} in its caches"
        )


def shortest(run: Callable[[], object], times: int) -> float:
    """Seconds of the quickest of several runs."""
    best = float("inf")
    for _ in range(times):
        start = time.perf_counter_ns()
        run()
        best = min(best, (time.perf_counter_ns() - start) * 1e-9)
    return best


@functools.cache
def measured(count: int) -> Machine:
    """The machine with ``count`` threads; takes about a tenth of a second the first time."""
    rates = tuple(_bandwidth(size) for size in SIZES)
    return Machine(_flops("float32", count), _flops("float64", count), rates, count)


def machine() -> Machine:
    """The machine with the threads in use now."""
    return measured(threads())


def _flops(dtype: str, count: int) -> float:
    from ..kernels.peak import CHAINS, multiply_add
    from ..kernels.target import target
    from ..storage import Storage

    rounds = 40_000
    lanes = target().vector_bytes // (4 if dtype == "float32" else 8)
    out = Storage(128)
    address, call = multiply_add.address(T=dtype), driver()
    # One core's rate times the threads: with another process on the machine both at once would seldom be undisturbed.
    seconds = shortest(lambda: call(address, 1, out.ptr, rounds), 30)
    return 2.0 * CHAINS * lanes * rounds * count / seconds


def _bandwidth(nbytes: int) -> float:
    from ..creation import zeros
    from ..kernels.driver import PARALLEL, Program
    from ..ops.copying import _write, write

    n = nbytes // 8
    source, target = zeros(n), zeros(n)
    write(target, source)
    plan = _write._plans["write", target._layout, source._layout]
    block = np.array([target._address(), source._address(), *plan.words], np.int64)
    times = max(1, (1 << 21) // nbytes)
    program = Program([(plan.address, block.ctypes.data, plan.chunks)] * times, (), block)
    return nbytes * times / shortest(lambda: program.run(PARALLEL), 5)
