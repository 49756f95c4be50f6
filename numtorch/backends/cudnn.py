"""cuDNN's switches. The kernels for GPUs are numtorch's own, so that ``benchmark`` and ``deterministic`` change nothing.

``allow_tf32`` does: float32 convolutions go to tensor cores, which round the factors to 10 binary digits after the point.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from .. import settings as _settings

enabled, benchmark, deterministic = True, False, False
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
    here = sys.modules[__name__]
    before = {name: getattr(here, name) for name in given}
    try:
        for name, value in given.items():
            setattr(here, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(here, name, value)


class _Switches(ModuleType):
    """This module, with an attribute that is kept where traces look for it."""

    @property
    def allow_tf32(self) -> bool:
        """Whether float32 convolutions may go to tensor cores."""
        return _settings.conv_tf32_permitted()

    @allow_tf32.setter
    def allow_tf32(self, allowed: bool) -> None:
        _settings.permit_conv_tf32(allowed)


sys.modules[__name__].__class__ = _Switches
