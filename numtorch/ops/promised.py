"""What an op demands of the values that it is given: looked at in eager mode, and at each replay of a trace."""

from __future__ import annotations

from collections.abc import Callable

from .._tensor import Tensor
from ..autograd.mode import state
from ..dtype import int64
from .index import check_range


def check_all(holds: Tensor, make_error: Callable[[], Exception]) -> None:
    """Raise ``make_error()`` unless all of a bool tensor is true; part of the program while a trace is recorded."""
    if not holds._layout.numel:
        return
    if getattr(state.recorder, "check_range", None) is not None:
        check_range(holds.all().to(int64), 1, 1, lambda value: make_error())
    elif not bool(holds.all()):
        raise make_error()
