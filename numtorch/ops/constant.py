"""Tables of whole numbers that kernels read from memory: made once for equal contents."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._tensor import Tensor
from ..autograd.mode import state

_tables: OrderedDict[Any, tuple[Any, Tensor]] = OrderedDict()
_MOST = 4096


def table(values: Sequence[int] | np.ndarray, device: str = "cpu") -> Tensor:
    """An int64 tensor with these values, one for the same values or array; never write into it.

    It is no result of the running function: a trace takes its memory as given.
    """
    is_array = isinstance(values, np.ndarray)
    key = (device, id(values) if is_array else tuple(values))
    found = _tables.get(key)
    if found is not None:
        return found[1]
    from ..creation import from_array

    recorder, state.recorder = state.recorder, None
    try:
        made = from_array(np.asarray(values, np.int64), device=device)
    finally:
        state.recorder = recorder
    made._storage.version = 0  # also when it is first needed in inference mode
    _tables[key] = (values, made)  # holds the array, so that its id stays its own
    if len(_tables) > _MOST:
        _tables.popitem(last=False)
    return made


def is_table(x: Any) -> bool:
    """Whether ``x`` is what ``table`` made for the CPU."""
    return any(made is x and made._layout.device == "cpu" for _, made in list(_tables.values()))


def is_memory_of_table(storage: Any) -> bool:
    """Whether memory is that of a ``table``, which nobody writes."""
    return any(made._storage is storage for _, made in list(_tables.values()))
