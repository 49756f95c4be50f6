"""Padding: constants around a tensor, or its own values continued."""

from __future__ import annotations

from typing import Any

import numtorch

from ..._tensor import Tensor
from ...errors import refuse_dtypes, require_tensor
from ...ops.constant import table
from ...ops.node_names import called, named


def pad(input: Tensor, pad: Any, mode: str = "constant", value: float | None = None) -> Tensor:
    """Pad the last dimensions: ``pad`` is (left, right) of the last one, then of the one before it, and so
    on.

    ``mode``: "constant" (negative amounts crop), "reflect", "replicate" or "circular". Raises RuntimeError
    for amounts
    that don't fit, NotImplementedError for another mode.

    Example:
        >>> import numtorch
        >>> numtorch.nn.functional.pad(numtorch.tensor([1.0, 2.0]), (1, 2))
        tensor([0., 1., 2., 0., 0.])
    """
    require_tensor("pad", "input", input)
    pad = [int(p) for p in pad]
    if len(pad) % 2:
        raise RuntimeError("Padding length must be divisible by 2")
    if len(pad) // 2 > input.dim():
        raise RuntimeError(
            "Padding length should be less than or equal to two times the input dimension but got padding"
            f" length {len(pad)} and input of dimension {input.dim()}"
        )
    if mode == "constant":
        return constant_pad_nd(input, pad, 0.0 if value is None else value)
    if value is not None and value != 0:
        raise RuntimeError(f'Padding mode "{mode}" doesn\'t take in value argument')
    if mode not in _POSITIONS:
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    spatial = len(pad) // 2
    if mode != "circular":
        refuse_dtypes(f"{mode}_pad{spatial}d", input, {"bool"})
    if spatial not in (1, 2, 3) or input.dim() not in (spatial + 1, spatial + 2):
        raise NotImplementedError(
            "Only 2D, 3D, 4D, 5D padding with non-constant padding are supported for now, got padding"
            f" {pad} for an input of {input.dim()} dimensions"
        )
    _check_not_empty(input, spatial, mode)
    padded = input
    for k in range(spatial):
        if pad[2 * k] or pad[2 * k + 1]:
            padded = _continued(padded, input.dim() - 1 - k, pad[2 * k], pad[2 * k + 1], mode)
    kind = {"reflect": "ReflectionPad", "replicate": "ReplicationPad"}.get(mode)
    name = f"{kind}{spatial}DBackward0" if kind else "CopySlices"
    return padded if padded is input else named(padded, name)


def _check_not_empty(input: Tensor, spatial: int, mode: str) -> None:
    start = input.dim() - spatial - 1  # the channel dimension
    if 0 in input.shape[start:]:
        raise RuntimeError(
            f"{mode}_pad{spatial}d: Expected {spatial + 1}D or {spatial + 2}D input tensor with possibly 0"
            f" batch size and other non-zero dimensions, but got: {list(input.shape)}"
        )


@called("ConstantPadNdBackward0")
def constant_pad_nd(input: Tensor, pad: list[int], value: float = 0.0) -> Tensor:
    """Pad with a constant; negative amounts crop. RuntimeError if nothing or less would be left of a
    dimension.
    """
    ndim = input.dim()
    shape = list(input.shape)
    cropped = input
    places: list[tuple[int, int, int]] = []
    for k in range(len(pad) // 2):
        dim, left, right = ndim - 1 - k, pad[2 * k], pad[2 * k + 1]
        size = shape[dim] + left + right
        if size < 0:
            raise RuntimeError(
                f"The input size {shape[dim]}, plus negative padding {left} and {right} resulted in a"
                f" negative output size, which is invalid. Check dimension {dim} of your input."
            )
        shape[dim] = size
        start, stop = max(-left, 0), cropped.shape[dim] - max(-right, 0)
        cropped = cropped.narrow(dim, start, max(stop - start, 0))
        places.append((dim, max(left, 0), cropped.shape[dim]))
    if tuple(shape) == tuple(cropped.shape):
        return cropped.clone()
    result = numtorch.full(tuple(shape), value, dtype=input.dtype, device=input.device)
    target = result
    for dim, start, length in places:
        target = target.narrow(dim, start, length)
    target.copy_(cropped)
    return result


def _reflected(size: int, left: int, right: int) -> list[int]:
    last = size - 1
    return [abs(i) if i <= last else 2 * last - i for i in range(-left, size + right)]


def _replicated(size: int, left: int, right: int) -> list[int]:
    return [min(max(i, 0), size - 1) for i in range(-left, size + right)]


def _wrapped(size: int, left: int, right: int) -> list[int]:
    start, n = max(-left, 0), size + min(left, 0) + min(right, 0)  # negative amounts crop first
    return [start + i % n for i in range(-max(left, 0), n + max(right, 0))]


_POSITIONS = {"reflect": _reflected, "replicate": _replicated, "circular": _wrapped}


def _continued(input: Tensor, dim: int, left: int, right: int, mode: str) -> Tensor:
    """Pad one dimension with the tensor's own values."""
    size = input.shape[dim]
    if mode == "reflect" and (left >= size or right >= size):
        raise RuntimeError(
            "Argument #4: Padding size should be less than the corresponding input dimension, but got:"
            f" padding ({left}, {right}) at dimension {dim} of input {list(input.shape)}"
        )
    if mode == "circular" and (left > size or right > size):
        raise RuntimeError(
            f"Padding value causes wrapping around more than once: padding ({left}, {right}) at dimension"
            f" {dim} of size {size}"
        )
    if size + left + right < 0 or (mode == "circular" and size + min(left, 0) + min(right, 0) <= 0):
        raise RuntimeError(
            f"{mode} padding ({left}, {right}) leaves nothing of dimension {dim} of size {size}; crop less"
        )
    positions = _POSITIONS[mode](size, left, right)
    return input.index_select(dim, table(positions, input._layout.device))
