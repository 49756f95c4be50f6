"""Sliding blocks: taken out (unfold) and summed back (fold), both by one table of positions."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numtorch

from ..._tensor import Tensor
from ...errors import WHOLE, refuse_dtypes, require_tensor
from ...ops.constant import table
from ...ops.node_names import called
from .._check import positive, sizes
from .padding import constant_pad_nd


@lru_cache(maxsize=256)
def _positions(
    padded: tuple[int, int], kernel: tuple[int, int], dilation: tuple[int, int], stride: tuple[int, int]
) -> tuple[tuple[int, ...], int]:
    """Flat places in a padded image of each kernel element (outer) at each block (inner), and the number of
    blocks.
    """
    _, width = padded
    blocks = [range(0, size - d * (k - 1), s) for size, k, d, s in zip(padded, kernel, dilation, stride)]
    table = tuple(
        (top + i * dilation[0]) * width + left + j * dilation[1]
        for i in range(kernel[0])
        for j in range(kernel[1])
        for top in blocks[0]
        for left in blocks[1]
    )
    return table, len(blocks[0]) * len(blocks[1])


class _Geometry:
    """The checked arguments of fold and unfold."""

    def __init__(self, op: str, kernel_size: Any, dilation: Any, padding: Any, stride: Any):
        self.op = op
        self.kernel = positive(sizes(kernel_size, 2, op, "kernel_size"), op, "kernel_size")
        self.dilation = positive(sizes(dilation, 2, op, "dilation"), op, "dilation")
        self.stride = positive(sizes(stride, 2, op, "stride"), op, "stride")
        self.padding = sizes(padding, 2, op, "padding")
        if min(self.padding) < 0:
            raise RuntimeError(f"{op}: padding should be non-negative, but got {list(self.padding)}")

    def blocks(self, image: tuple[int, ...]) -> list[int]:
        """How many blocks fit along each side of an image."""
        return [
            (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, p, d, k, s in zip(image, self.padding, self.dilation, self.kernel, self.stride)
        ]

    def table(self, image: tuple[int, ...], device: Any) -> tuple[Tensor, int, tuple[int, int]]:
        """(flat positions, number of blocks, padded sizes)."""
        padded = (image[0] + 2 * self.padding[0], image[1] + 2 * self.padding[1])
        positions, count = _positions(padded, self.kernel, self.dilation, self.stride)
        return table(positions, device), count, padded


@called("Im2ColBackward0")
def unfold(input: Tensor, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """Blocks of an image as columns: (N, C, H, W) or (C, H, W) -> (N, C * kh * kw, blocks).

    Example:
        >>> import numtorch
        >>> tuple(numtorch.nn.functional.unfold(numtorch.ones(1, 2, 4, 4), kernel_size=3).shape)
        (1, 18, 4)
    """
    require_tensor("unfold", "input", input)
    refuse_dtypes("unfold", input, WHOLE)
    if input.dim() not in (3, 4):
        raise RuntimeError(
            "Expected 3D or 4D (batch mode) tensor with possibly 0 batch size and other non-zero"
            f" dimensions for input, but got: {list(input.shape)}"
        )
    g = _Geometry("unfold", kernel_size, dilation, padding, stride)
    if input.dim() == 3:
        return unfold(input.unsqueeze(0), kernel_size, dilation, padding, stride).squeeze(0)
    n, channels, height, width = input.shape
    blocks = g.blocks((height, width))
    if min(blocks) < 1:
        raise RuntimeError(
            f"Given input with spatial size {(height, width)}, kernel_size={g.kernel},"
            f" dilation={g.dilation}, padding={g.padding}, calculated shape of the array of sliding blocks"
            f" as {tuple(blocks)}, but its components must be at least one."
        )
    index, count, padded = g.table((height, width), input._layout.device)
    p0, p1 = g.padding
    x = constant_pad_nd(input, [p1, p1, p0, p0]) if p0 or p1 else input
    x = x.reshape(n, channels, padded[0] * padded[1]).index_select(2, index)
    return x.reshape(n, channels * g.kernel[0] * g.kernel[1], count)


@called("Col2ImBackward0")
def fold(
    input: Tensor, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Tensor:
    """Sum columns back into images: (N, C * kh * kw, blocks) or (C * kh * kw, blocks) -> (N, C, H, W)."""
    require_tensor("fold", "input", input)
    if input.dim() not in (2, 3):
        raise RuntimeError(
            "Expected 2D or 3D (batch mode) tensor for input with possibly 0 batch size and non-zero"
            f" dimensions for input, but got: {list(input.shape)}"
        )
    g = _Geometry("fold", kernel_size, dilation, padding, stride)
    image = sizes(output_size, 2, "fold", "output_size")
    if input.dim() == 2:
        return fold(input.unsqueeze(0), output_size, kernel_size, dilation, padding, stride).squeeze(0)
    n, rows, columns = input.shape
    area = g.kernel[0] * g.kernel[1]
    if rows % area:
        raise RuntimeError(
            "Expected size of input's dimension 1 to be divisible by the product of kernel_size, but got"
            f" input.size(1)={rows} and kernel_size={g.kernel}."
        )
    blocks = g.blocks(image)
    if blocks[0] * blocks[1] != columns or min(blocks) < 1:
        raise RuntimeError(
            f"Given output_size={image}, kernel_size={g.kernel}, dilation={g.dilation},"
            f" padding={g.padding}, stride={g.stride}, expected size of input's dimension 2 to match the"
            f" calculated number of sliding blocks {blocks[0]} * {blocks[1]} = {blocks[0] * blocks[1]}, but"
            f" got input.size(2)={columns}."
        )
    index, _, padded = g.table(image, input._layout.device)
    channels = rows // area
    flat = numtorch.zeros(
        (n, channels, padded[0] * padded[1]), dtype=input.dtype, device=input._layout.device
    )
    flat = flat.index_add(2, index, input.reshape(n, channels, area * columns))
    p0, p1 = g.padding
    whole = flat.reshape(n, channels, *padded)
    return whole.narrow(2, p0, image[0]).narrow(3, p1, image[1])
