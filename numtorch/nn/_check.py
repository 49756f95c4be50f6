"""Reading and checking sizes that layers share."""

from __future__ import annotations

from typing import Any


def ntuple(value: Any, n: int) -> tuple:
    """``(value,) * n``, or the tuple of a sequence as it is.

    Example:
        >>> ntuple(3, 2), ntuple([1, 2], 2)
        ((3, 3), (1, 2))
    """
    if isinstance(value, (tuple, list)):
        return tuple(value)
    return (value,) * n


def sizes(value: Any, n: int, op: str, name: str) -> tuple[int, ...]:
    """An int or a sequence of one or ``n`` ints as ``n`` ints; RuntimeError for other lengths, TypeError
    for others.
    """
    items = ntuple(value, n)
    if len(items) == 1 and n != 1:
        items = items * n
    if len(items) != n:
        raise RuntimeError(
            f"{op}: {name} must be a single int or {n} ints, but got {len(items)}: {list(items)}"
        )
    try:
        return tuple(i if type(i) is int else i.__index__() for i in items)
    except AttributeError:
        wrong = next(type(i).__name__ for i in items if not hasattr(i, "__index__"))
        raise TypeError(f"{op}(): argument '{name}' must be int or tuple of ints, not {wrong}") from None


def positive(values: tuple[int, ...], op: str, name: str) -> tuple[int, ...]:
    """The sizes; RuntimeError unless all are greater than zero."""
    if min(values) <= 0:
        raise RuntimeError(f"{op}: {name} should be greater than zero, but got {list(values)}")
    return values
