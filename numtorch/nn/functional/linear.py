"""Linear maps."""

from __future__ import annotations

from typing import Any

import numtorch

from ..._tensor import Tensor
from ...errors import require_tensor
from ...ops import matmul as ops_matmul
from ...ops.inplace import written


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None, *, out: Any = None) -> Tensor:
    """input @ weight.T + bias: (*, in), (out, in), (out) -> (*, out); RuntimeError if the sizes don't fit.

    Example:
        >>> import numtorch
        >>> tuple(numtorch.nn.functional.linear(numtorch.ones(5, 2), numtorch.ones(3, 2)).shape)
        (5, 3)
    """
    return written(ops_matmul.linear(input, weight, bias), out, "linear")


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """y_k = input1 @ weight_k @ input2 + bias_k: (*, in1), (*, in2), (out, in1, in2), (out) -> (*, out)."""
    require_tensor("bilinear", "input1", input1)
    require_tensor("bilinear", "input2", input2)
    if input1.dim() != input2.dim():
        raise RuntimeError(
            f"bilinear(): input dimensions do not match: got {input1.dim()} and {input2.dim()}"
        )
    if input1.shape[:-1] != input2.shape[:-1]:
        raise RuntimeError(
            f"bilinear(): input batch dimensions do not match: got {list(input1.shape)} and"
            f" {list(input2.shape)}"
        )
    out, in1, in2 = weight.shape
    for number, (x, size) in enumerate(((input1, in1), (input2, in2)), 1):
        if x.shape[-1] != size:
            raise RuntimeError(
                f"bilinear(): input{number} size does not match weight size: got {x.shape[-1]} but expected"
                f" {size}"
            )
    if bias is not None and tuple(bias.shape) != (out,):
        raise RuntimeError(
            f"bilinear(): bias size does not match weight size: got {list(bias.shape)} but expected [{out}]"
        )
    batch = input1.shape[:-1]
    x1, x2 = input1.reshape(-1, in1), input2.reshape(-1, in2)
    left = numtorch.matmul(x1, weight.permute(1, 0, 2).reshape(in1, out * in2)).reshape(-1, out, in2)
    result = numtorch.matmul(left, x2.unsqueeze(2)).reshape(*batch, out)
    return result if bias is None else result + bias
