"""``torch.distributed`` where there are no process groups, as in a PyTorch built without it: programs ask, hear no, and go on.

Programs that run on one process or on several import these names first and ask ``is_available()`` and ``is_initialized()`` then.
"""

from __future__ import annotations

import enum
from typing import Any, NoReturn

from .absent import hints as _hints

__all__ = ["ReduceOp", "destroy_process_group", "get_rank", "get_world_size", "init_process_group", "is_available", "is_initialized",
           "is_torchelastic_launched"]  # fmt: skip

_UNINITIALIZED = "Default process group has not been initialized, please make sure to call init_process_group."


class ReduceOp(enum.Enum):
    """How values of several processes are combined; only named here."""

    SUM, AVG, PRODUCT, MIN, MAX = range(5)


def is_available() -> bool:
    """False: numtorch computes in one process.

    Example:
        >>> import numtorch.distributed as dist
        >>> dist.get_rank() if dist.is_available() and dist.is_initialized() else 0
        0
    """
    return False


def is_initialized() -> bool:
    """False: there is no process group."""
    return False


def is_torchelastic_launched() -> bool:
    """False: no launcher of several processes started this one."""
    return False


def init_process_group(backend: str | None = None, *args: Any, **kwargs: Any) -> NoReturn:
    """NotImplementedError: numtorch has no process groups."""
    raise NotImplementedError(
        "init_process_group: numtorch computes in one process on one machine; run the program without a launcher of several"
        " processes (numtorch.set_num_threads says on how many threads, numtorch.multiprocessing shares tensors between processes)"
    )


def destroy_process_group(group: Any = None) -> NoReturn:
    """ValueError: there is no process group."""
    raise ValueError(_UNINITIALIZED)


def get_rank(group: Any = None) -> NoReturn:
    """ValueError: there is no process group to have a place in."""
    raise ValueError(_UNINITIALIZED)


def get_world_size(group: Any = None) -> NoReturn:
    """ValueError: there is no process group to have a size."""
    raise ValueError(_UNINITIALIZED)


def _between_processes(name: str) -> Any:
    """What moves tensors between processes: a function that says, as PyTorch does before ``init_process_group``, that there are none."""

    def function(*args: Any, **kwargs: Any) -> NoReturn:
        raise ValueError(_UNINITIALIZED)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = "ValueError: there is no process group."
    return function


for _name in """all_gather all_gather_into_tensor all_gather_object all_reduce all_to_all all_to_all_single barrier broadcast
        broadcast_object_list gather gather_object get_backend irecv isend monitored_barrier new_group recv reduce reduce_scatter
        reduce_scatter_tensor scatter scatter_object_list send""".split():
    globals()[_name] = _between_processes(_name)
    __all__ += [_name]

__getattr__ = _hints(__name__)
