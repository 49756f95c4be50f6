"""Python's ``multiprocessing`` with tensors in shared memory: a tensor sent through a queue or to a process is not copied.

Everything of the standard module is here (Process, Queue, Pool, Lock, ...), and ``spawn``. Importing this registers how tensors
travel; so does ``Tensor.share_memory_()``. Hogwild training shares a model's memory among processes that each step on it:

    model.share_memory()
    numtorch.multiprocessing.spawn(train, args=(model,), nprocs=2)
"""

from __future__ import annotations

import multiprocessing
from typing import Any

from . import reductions, spawning
from .reductions import init_reductions
from .spawning import (
    ProcessContext,
    ProcessExitedException,
    ProcessRaisedException,
    SpawnContext,
    spawn,
    start_processes,
)

__all__ = [
    *multiprocessing.__all__,
    "ProcessContext",
    "ProcessExitedException",
    "ProcessRaisedException",
    "SpawnContext",
    "get_all_sharing_strategies",
    "get_sharing_strategy",
    "init_reductions",
    "reductions",
    "set_sharing_strategy",
    "spawn",
    "spawning",
    "start_processes",
]  # fmt: skip

init_reductions()


def get_all_sharing_strategies() -> set[str]:
    """How shared memory can be handed over: "file_descriptor" only. Nothing has a name that could be left behind."""
    return {"file_descriptor"}


def get_sharing_strategy() -> str:
    """How shared memory is handed over: "file_descriptor"."""
    return "file_descriptor"


def set_sharing_strategy(new_strategy: str) -> None:
    """Accepted for PyTorch's programs, whose "file_system" works around a limit on open files: raise that (``ulimit -n``)."""
    if new_strategy not in ("file_descriptor", "file_system"):
        raise AssertionError(
            f"set_sharing_strategy: expected 'file_descriptor' or 'file_system', got {new_strategy!r}"
        )


def __getattr__(name: str) -> Any:
    try:
        return getattr(multiprocessing, name)
    except AttributeError:
        from ..absent import error

        raise error(__name__, name, __all__) from None


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
