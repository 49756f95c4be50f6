"""Convolutions: one op for all; these functions handle inputs without batch and named paddings."""

from __future__ import annotations

from typing import Any

from ..._tensor import Tensor
from ...errors import UNREAL, refuse_dtypes, require_tensor
from ...memo import Memo
from ...ops import conv as ops_conv
from .._check import positive, sizes
from ..parameter import Parameter
from .padding import constant_pad_nd


def _batched(name: str, input: Tensor, weight: Tensor, n: int) -> tuple[Tensor, bool]:
    """The input with a batch dimension, and whether it had one; RuntimeError for other numbers of
    dimensions.
    """
    require_tensor(name, "input", input)
    require_tensor(name, "weight", weight)
    if input.dim() not in (n + 1, n + 2):
        raise RuntimeError(
            f"Expected {n + 1}D (unbatched) or {n + 2}D (batched) input to {name}, but got input of size:"
            f" {list(input.shape)}; its dimensions are (batch, channels, {n} spatial ones)"
        )
    batched = input.dim() == n + 2
    return (input if batched else input.unsqueeze(0)), batched


def _named_padding(
    name: str, input: Tensor, weight: Tensor, padding: str, stride: tuple, dilation: tuple
) -> Any:
    """(input, padding sizes) for "valid" and "same"; an odd total is padded more on the right."""
    n = len(stride)
    if padding == "valid":
        return input, (0,) * n
    if padding != "same":
        raise RuntimeError(f"Invalid padding string: '{padding}'")
    if any(s != 1 for s in stride):
        raise RuntimeError("padding='same' is not supported for strided convolutions")
    totals = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:])]
    if all(t % 2 == 0 for t in totals):
        return input, tuple(t // 2 for t in totals)
    extra = [amount for t in reversed(totals) for amount in (0, t % 2)]
    return constant_pad_nd(input, extra, 0.0), tuple(t // 2 for t in totals)


def _conv(
    name: str,
    n: int,
    input: Tensor,
    weight: Tensor,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
) -> Tensor:
    key = _call(n, input, weight, bias, (stride, padding, dilation), groups)
    attrs = _passed.get(key) if key is not None else None
    if attrs is not None:
        return ops_conv.conv(input, weight, bias, **attrs)
    x, batched = _batched(name, input, weight, n)
    stride = positive(sizes(stride, n, name, "stride"), name, "stride")
    dilation = positive(sizes(dilation, n, name, "dilation"), name, "dilation")
    if isinstance(padding, str):
        x, padding = _named_padding(name, x, weight, padding, stride, dilation)
    else:
        padding = sizes(padding, n, name, "padding")
    y = ops_conv.convolution(x, weight, bias, stride, padding, dilation, False, (0,) * n, groups)
    if key is not None and batched and x is input and x.dtype.is_floating_point and x._layout.shape[1]:
        _passed.note(key, {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups})
    return y if batched else y.squeeze(0)


# Attributes of calls that have passed all checks, by everything that was checked.
_passed = Memo()
_TENSORS = (Tensor, Parameter)


def _call(n: int, input: Any, weight: Any, bias: Any, numbers: tuple, groups: Any) -> tuple | None:
    """What the checks of a convolution depend on; None where that can't be said briefly."""
    if type(input) not in _TENSORS or type(weight) not in _TENSORS or type(groups) is not int:
        return None
    if bias is not None and type(bias) not in _TENSORS:
        return None
    key: list[Any] = [n, input._layout, weight._layout, None if bias is None else bias._layout, groups]
    for given in numbers:
        if type(given) is tuple:
            for i in given:  # 1.0 and True equal 1
                if type(i) is not int:
                    return None
        elif type(given) is not int:
            return None
        key.append(given)
    return tuple(key)


def conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation: (N, C, L) or (C, L), (K, C / groups, k) -> (N, K, L_out)."""
    return _conv("conv1d", 1, input, weight, bias, stride, padding, dilation, groups)


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation: (N, C, H, W) or (C, H, W), (K, C / groups, kh, kw) -> (N, K, H_out, W_out).

    Example:
        >>> import numtorch
        >>> image = numtorch.ones(1, 1, 3, 3)
        >>> numtorch.nn.functional.conv2d(image, numtorch.ones(1, 1, 2, 2)).tolist()
        [[[[4.0, 4.0], [4.0, 4.0]]]]
    """
    return _conv("conv2d", 2, input, weight, bias, stride, padding, dilation, groups)


def conv3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation: (N, C, D, H, W) or (C, D, H, W), (K, C / groups, kd, kh, kw) -> (N, K, D_out,
    H_out, W_out).
    """
    return _conv("conv3d", 3, input, weight, bias, stride, padding, dilation, groups)


def _transpose(
    name: str,
    n: int,
    input: Tensor,
    weight: Tensor,
    bias: Any,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: int,
    dilation: Any,
) -> Tensor:
    x, batched = _batched(name, input, weight, n)
    refuse_dtypes(name, input, UNREAL - {"int64"})
    stride = positive(sizes(stride, n, name, "stride"), name, "stride")
    dilation = positive(sizes(dilation, n, name, "dilation"), name, "dilation")
    padding = sizes(padding, n, name, "padding")
    output_padding = sizes(output_padding, n, name, "output_padding")
    y = ops_conv.convolution(x, weight, bias, stride, padding, dilation, True, output_padding, groups)
    return y if batched else y.squeeze(0)


def conv_transpose1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """The gradient of ``conv1d`` for its input: (N, C, L), (C, K / groups, k) -> (N, K, L_out)."""
    return _transpose(
        "conv_transpose1d", 1, input, weight, bias, stride, padding, output_padding, groups, dilation
    )


def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """The gradient of ``conv2d`` for its input: (N, C, H, W), (C, K / groups, kh, kw) -> (N, K, H_out,
    W_out).
    """
    return _transpose(
        "conv_transpose2d", 2, input, weight, bias, stride, padding, output_padding, groups, dilation
    )


def conv_transpose3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """The gradient of ``conv3d`` for its input: (N, C, D, H, W) -> (N, K, D_out, H_out, W_out)."""
    return _transpose(
        "conv_transpose3d", 3, input, weight, bias, stride, padding, output_padding, groups, dilation
    )


def conv_tbc(input: Tensor, weight: Tensor, bias: Tensor, pad: int = 0) -> Tensor:
    """``conv1d`` with time first: (T, N, C_in), (k, C_in, C_out), (C_out) -> (T_out, N, C_out)."""
    require_tensor("conv_tbc", "input", input)
    if input.dim() != 3 or weight.dim() != 3:
        raise RuntimeError("conv_tbc: input and weight must have 3 dims: time, batch, channel")
    y = conv1d(input.permute(1, 2, 0), weight.permute(2, 1, 0), bias, padding=pad)
    return y.permute(2, 0, 1)
