"""The CPU that kernels are compiled for, decided once from the host and NUMTORCH_SIMD; needs no numba."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache

import llvmlite.binding as llvm

from .binding import SCALARS

# Feature prefixes to switch off for a narrower build. AVX-512 and AMX go first; "sse" also drops everything
# built on AVX.
_WIDE = ("avx512", "avx10", "evex512", "amx", "avx5124")
_AVX = (*_WIDE, "avx", "fma", "f16c", "xop", "vaes", "vpclmulqdq", "sha512", "sm3", "sm4", "gfni")
LEVELS = {"avx512": 64, "avx2": 32, "sse": 16}


@dataclass(frozen=True)
class Target:
    """CPU name, LLVM feature string and vector width in bytes; `forced` when NUMTORCH_SIMD chose them."""

    cpu: str
    features: str
    vector_bytes: int
    forced: bool

    def lanes(self, dtype: str) -> int:
        """SIMD lanes of `dtype`, e.g. 8 for float32 on AVX2."""
        return max(1, self.vector_bytes // SCALARS[dtype](0).itemsize)


def _host_level(features: dict[str, bool]) -> str:
    if features.get("avx512f"):
        return "avx512"
    return "avx2" if features.get("avx2") and features.get("fma") else "sse"


def _narrowed(features: dict[str, bool], level: str) -> str:
    """The host's features without those above `level`; offs come last, because LLVM goes by order."""
    dropped = {"avx512": (), "avx2": _WIDE, "sse": _AVX}[level]
    keep = [f"+{name}" for name, on in sorted(features.items()) if on and not name.startswith(dropped)]
    drop = [f"-{name}" for name in sorted(features) if dropped and name.startswith(dropped)]
    return ",".join(keep + drop)


@cache
def target() -> Target:
    """The target of this process.

    NUMTORCH_SIMD=avx512|avx2|sse narrows it (ValueError for another value or for more than the CPU has);
    otherwise numba's own NUMBA_CPU_NAME and NUMBA_CPU_FEATURES are respected, else it is the host.
    """
    features = dict(llvm.get_host_cpu_features())
    host = _host_level(features)
    wanted = os.environ.get("NUMTORCH_SIMD", "").strip().lower()
    if not wanted:
        cpu = os.environ.get("NUMBA_CPU_NAME") or llvm.get_host_cpu_name()
        text = os.environ.get("NUMBA_CPU_FEATURES")
        if text is not None:
            enabled = {item[1:]: item[0] == "+" for item in text.split(",") if item}
            return Target(cpu, text, LEVELS[_host_level(enabled)], False)
        return Target(cpu, _narrowed(features, "avx512"), LEVELS[host], False)
    if wanted not in LEVELS:
        raise ValueError(f"NUMTORCH_SIMD must be one of {', '.join(LEVELS)}, got {wanted!r}.")
    if LEVELS[wanted] > LEVELS[host]:
        raise ValueError(f"NUMTORCH_SIMD={wanted} asks for more than this CPU has ({host}).")
    cpu = {"avx512": llvm.get_host_cpu_name(), "avx2": "haswell", "sse": "x86-64"}[wanted]
    return Target(cpu, _narrowed(features, wanted), LEVELS[wanted], True)
