"""Which code comes with Python, an installed package or numtorch itself, and which classes of numtorch are special."""

from __future__ import annotations

import functools
import sys
import sysconfig

from .._source import is_internal

_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})


def file_of(kind: type) -> str | None:
    """The file of a class's module; None for classes written in C and those of a session without files."""
    module = sys.modules.get(kind.__module__)
    if module is None or kind.__module__ == "__main__":
        return "<session>"
    return getattr(module, "__file__", None)


def is_library(file: str | None) -> bool:
    """Whether code comes with Python, an installed package or numtorch: such code isn't changed between two calls."""
    return file is None or file.startswith(_LIBRARIES) or is_internal(file)


@functools.cache
def classes() -> tuple[tuple[type, ...], tuple[tuple[type, ...], ...]]:
    """Classes that a walk treats each in its way (imported late: they import this package), and the containers among modules."""
    from ..amp import GradScaler
    from ..nn import ModuleDict, ModuleList, ParameterDict, ParameterList
    from ..nn.module import Module
    from ..optim.lr_scheduler import LRScheduler
    from ..optim.optimizer import Optimizer
    from .seeing import Visible

    return (GradScaler, Module, LRScheduler, Optimizer, Visible), ((ModuleList, ModuleDict), (ParameterList, ParameterDict))
