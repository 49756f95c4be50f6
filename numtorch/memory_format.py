"""The order of a tensor's dimensions in memory: row-major, as another tensor's, or with the channels last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .shape import Layout, contiguous, contiguous_strides, layout


class memory_layout:
    """How a tensor's elements are stored: ``numtorch.strided``, the only one."""

    def __init__(self, name: str):
        self._name = name

    def __repr__(self) -> str:
        return f"numtorch.{self._name}"


class memory_format(memory_layout):
    """The order of the dimensions in memory: ``contiguous_format`` (row-major), ``preserve_format`` (as it was),
    ``channels_last`` of (N, C, H, W) and ``channels_last_3d`` of (N, C, D, H, W).
    """


strided = memory_layout("strided")
contiguous_format, preserve_format = memory_format("contiguous_format"), memory_format("preserve_format")
channels_last, channels_last_3d = memory_format("channels_last"), memory_format("channels_last_3d")
_CHANNELS = {channels_last: 4, channels_last_3d: 5}


def check_format(op: str, value: Any) -> None:
    """TypeError unless ``value`` is a memory format or None."""
    if value is not None and not isinstance(value, memory_format):
        raise TypeError(
            f"{op}(): argument 'memory_format' must be numtorch.memory_format, not {type(value).__name__}; use"
            " numtorch.contiguous_format or numtorch.channels_last"
        )


def strides_in(op: str, value: Any, shape: Sequence[int]) -> tuple[int, ...]:
    """The strides of a shape in a format other than ``preserve_format``; RuntimeError if it has other dimensions."""
    check_format(op, value)
    ndim = _CHANNELS.get(value)
    if ndim is None:
        return contiguous_strides(shape)
    if len(shape) != ndim:
        raise RuntimeError(
            f"{op}(): required rank {ndim} tensor to use {value._name} format, but got {len(shape)} dimensions; use"
            " contiguous_format"
        )
    order = (0, *range(2, ndim), 1)
    packed = contiguous_strides([shape[d] for d in order])
    return tuple(packed[order.index(d)] for d in range(ndim))


def is_in(op: str, la: Layout, value: Any) -> bool:
    """Whether a layout has the strides of a format (those of sizes of 1 don't matter)."""
    check_format(op, value)
    if value not in _CHANNELS:
        return la.contiguous
    if la.ndim != _CHANNELS[value]:
        return False
    wanted = strides_in(op, value, la.shape)
    return not la.numel or all(n == 1 or s == w for n, s, w in zip(la.shape, la.strides, wanted))


def in_format(op: str, la: Layout, value: Any) -> Layout:
    """A dense layout of the same shape: in a format, or as it was (None, ``preserve_format``)."""
    if value is None or value is preserve_format:
        return layout(la.shape, la.strides, la.dtype, la.device) if la.dense else contiguous(la.shape, la.dtype, la.device)
    return layout(la.shape, strides_in(op, value, la.shape), la.dtype, la.device)
