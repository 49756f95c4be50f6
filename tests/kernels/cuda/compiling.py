"""Compiles CUDA kernels for GPUs that need not be there, and says whether the code is fit."""

from __future__ import annotations

from typing import Any

from numtorch.kernels.cuda.cubins import Cubin, faults
from numtorch.kernels.cuda.launch import CudaKernel

ARCHITECTURES = ((8, 0), (9, 0))


def check(kernel: CudaKernel, allowed: tuple[str, ...] = (), **env: Any) -> list[Cubin]:
    """Compile `kernel` for each architecture; AssertionError if one spills, uses stack or has stray float64
    arithmetic.

    `allowed`: beginnings of faults that are accepted here. Returns the cubins.
    """
    from numtorch.kernels.cuda.compile import compile_kernel

    found = compile_kernel(kernel, env, *ARCHITECTURES)
    wrong = [
        f"sm_{cc[0]}{cc[1]}: {fault}"
        for cc, made in zip(ARCHITECTURES, found)
        for fault in faults(made, kernel, env)
        if not fault.startswith(allowed or ("-",))
    ]
    assert not wrong, f"{kernel.name} for {env}: {'; '.join(wrong)}"
    return found
