"""cuDNN's switches. The kernels for GPUs are numtorch's own, so that ``benchmark`` and ``deterministic`` change nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

enabled, benchmark, deterministic, allow_tf32 = True, False, False, False
benchmark_limit = 10


def is_available() -> bool:
    """Whether cuDNN computes: never, convolutions are kernels of numtorch."""
    return False


def version() -> None:
    """cuDNN's version: None, it isn't used."""


def is_acceptable(tensor: Any) -> bool:
    """Whether cuDNN could compute with a tensor: never."""
    return False


@contextlib.contextmanager
def flags(enabled: bool = False, benchmark: bool = False, benchmark_limit: int = 10, deterministic: bool = False,
          allow_tf32: bool = True) -> Iterator[None]:  # fmt: skip
    """A context in which the switches are set so."""
    given = {"enabled": enabled, "benchmark": benchmark, "benchmark_limit": benchmark_limit, "deterministic": deterministic,
                 "allow_tf32": allow_tf32}  # fmt: skip
    before = {name: globals()[name] for name in given}
    globals().update(given)
    try:
        yield
    finally:
        globals().update(before)
