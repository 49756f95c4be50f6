"""Tables of whole numbers that kernels read from memory: made once for equal contents."""

from __future__ import annotations

from collections import OrderedDict
from typing import Sequence

import numpy as np

from ..autograd.mode import state
from ..tensor import Tensor

_tables: OrderedDict[tuple, Tensor] = OrderedDict()
_MOST = 4096


def table(values: Sequence[int], device: str = "cpu") -> Tensor:
    """An int64 tensor with these values, the same one for the same values: never write into it.

    It is no result of the running function: a trace takes its memory as given.
    """
    key = (device, tuple(values))
    found = _tables.get(key)
    if found is not None:
        return found
    from ..creation import from_array

    recorder, state.recorder = state.recorder, None
    try:
        found = from_array(np.array(key[1], np.int64), device=device)
    finally:
        state.recorder = recorder
    _tables[key] = found
    if len(_tables) > _MOST:
        _tables.popitem(last=False)
    return found
