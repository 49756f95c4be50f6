"""Activation functions: thin calls into the elementwise ops of ``ops/activation.py``."""

from __future__ import annotations

import warnings
from typing import Any

import numtorch

from ..._tensor import Tensor
from ...errors import refuse_dtypes, require_tensor, tensors_only
from ...ops import activation as ops_activation
from ...ops import elementwise
from ...ops import softmax as ops_softmax
from ...ops.autocasting import autocasts
from ...ops.inplace import written
from ...shape import wrap_dim


def _apply(op: Any, input: Tensor, inplace: bool, *scalars: Any) -> Tensor:
    """Run an elementwise op on a tensor and scalars, into the tensor itself if ``inplace``."""
    if inplace:
        require_tensor(op.name, "input", input)
        return op.inplace(input, *scalars)
    if not isinstance(input, Tensor):
        require_tensor(op.name, "input", input)
    return op(input, *scalars)


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(0, x), elementwise.

    Example:
        >>> import numtorch
        >>> numtorch.nn.functional.relu(numtorch.tensor([-1.0, 2.0]))
        tensor([0., 2.])
    """
    require_tensor("relu", "input", input)
    refuse_dtypes("relu", input, {"bool"}, RuntimeError)
    return _apply(elementwise.relu, input, inplace)


def relu_(input: Tensor) -> Tensor:
    """``relu`` in place."""
    return relu(input, True)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(0, x), 6), elementwise."""
    return hardtanh(input, 0.0, 6.0, inplace)


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """x clipped to [min_val, max_val]; ValueError if min_val > max_val."""
    if min_val > max_val:
        raise ValueError("min_val cannot be greater than max_val")
    require_tensor("hardtanh", "input", input)
    refuse_dtypes("hardtanh", input, {"bool", "uint8"} if min_val < 0 or max_val < 0 else {"bool"}, RuntimeError)
    return _apply(ops_activation.hardtanh, input, inplace, float(min_val), float(max_val))


def hardtanh_(input: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """``hardtanh`` in place."""
    return hardtanh(input, min_val, max_val, True)


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """x where x > threshold, else ``value``."""
    require_tensor("threshold", "input", input)
    refuse_dtypes("threshold", input, {"bool"})
    return _apply(ops_activation.threshold, input, inplace, threshold, value)


def threshold_(input: Tensor, threshold: float, value: float) -> Tensor:
    """``threshold`` in place."""
    return _apply(ops_activation.threshold, input, True, threshold, value)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x where x > 0, else negative_slope * x."""
    return _apply(ops_activation.leaky_relu, input, inplace, float(negative_slope))


def leaky_relu_(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """``leaky_relu`` in place."""
    return leaky_relu(input, negative_slope, True)


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where x > 0, else alpha * (exp(x) - 1). Clevert et al., arXiv:1511.07289."""
    return _apply(ops_activation.elu, input, inplace, float(alpha))


def elu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """``elu`` in place."""
    return elu(input, alpha, True)


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """max(0, x) + min(0, alpha * (exp(x / alpha) - 1)). Barron, arXiv:1704.07483."""
    if alpha == 0:
        raise RuntimeError("ZeroDivisionError: celu: alpha cannot be 0; give a positive alpha")
    return _apply(ops_activation.celu, input, inplace, float(alpha))


def celu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """``celu`` in place."""
    return celu(input, alpha, True)


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """scale * elu(x, alpha) with the self-normalising constants. Klambauer et al., arXiv:1706.02515."""
    return _apply(ops_activation.selu, input, inplace)


def selu_(input: Tensor) -> Tensor:
    """``selu`` in place."""
    return selu(input, True)


@autocasts
def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """x where x > 0, else weight * x, with one weight or one a channel (dimension 1). He et al.,
    arXiv:1502.01852.
    """
    require_tensor("prelu", "input", input)
    require_tensor("prelu", "weight", weight)
    if weight.dim() > 1:
        raise RuntimeError(
            f"prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = {weight.dim()}"
        )
    if weight.numel() != 1:
        if input.dim() == 0:
            raise RuntimeError("prelu: Not allow zero-dim input tensor with more than one weight")
        channels = input.shape[1] if input.dim() > 1 else 1
        if channels != weight.numel():
            raise RuntimeError(
                "Mismatch of parameter numbers and input channel size. Found parameter numbers ="
                f" {weight.numel()} and channel size = {channels}."
            )
    if input.dtype is not weight.dtype:
        raise RuntimeError(
            f"prelu: Type promoting not supported. Got {input.dtype} and {weight.dtype}; convert one with"
            " .to()"
        )
    if weight.dim():
        ndim = input.dim()
        shape = [1] * ndim
        if ndim > 1:
            shape[1] = weight.numel()
        weight = weight.reshape(shape)
    return ops_activation.prelu(input, weight)


def rrelu(
    input: Tensor,
    lower: float = 1.0 / 8,
    upper: float = 1.0 / 3,
    training: bool = False,
    inplace: bool = False,
) -> Tensor:
    """x where x > 0, else x times a slope: random in [lower, upper) if training, otherwise its mean."""
    require_tensor("rrelu", "input", input)
    if lower > upper:
        raise RuntimeError("Lower bound should be less than or equal to the upper bound")
    if not training:
        return leaky_relu(input, (lower + upper) / 2, inplace)
    slope = numtorch.empty_like(input, requires_grad=False).uniform_(lower, upper)
    result = ops_activation.prelu(input.clone() if inplace else input, slope)
    return input.copy_(result) if inplace else result


def rrelu_(input: Tensor, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False) -> Tensor:
    """``rrelu`` in place."""
    return rrelu(input, lower, upper, training, True)


def gelu(input: Tensor, approximate: str = "none", *, out: Any = None) -> Tensor:
    """x * Phi(x), Phi the normal distribution function ("tanh": approximated). Hendrycks, Gimpel,
    arXiv:1606.08415.
    """
    if approximate == "none":
        return written(_apply(ops_activation.gelu, input, False), out, "gelu")
    if approximate == "tanh":
        return written(_apply(ops_activation.gelu_tanh, input, False), out, "gelu")
    raise RuntimeError("approximate argument must be either none or tanh.")


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x * sigmoid(x)."""
    return _apply(ops_activation.silu, input, inplace)


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """x * tanh(softplus(x)). Misra, arXiv:1908.08681."""
    return _apply(ops_activation.mish, input, inplace)


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """x / 6 + 1 / 2, clipped to [0, 1]."""
    return _apply(ops_activation.hardsigmoid, input, inplace)


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """x * hardsigmoid(x). Howard et al., arXiv:1905.02244."""
    return _apply(ops_activation.hardswish, input, inplace)


def hardshrink(input: Tensor, lambd: float = 0.5, *, out: Any = None) -> Tensor:
    """x where abs(x) > lambd, else 0."""
    return written(_apply(ops_activation.hardshrink, input, False, float(lambd)), out, "hardshrink")


def softshrink(input: Tensor, lambd: float = 0.5, *, out: Any = None) -> Tensor:
    """x moved by ``lambd`` towards 0, and 0 where abs(x) <= lambd; RuntimeError if lambd < 0."""
    if lambd < 0:
        raise RuntimeError(f"lambda must be greater or equal to 0, but found to be {lambd}.")
    return written(_apply(ops_activation.softshrink, input, False, float(lambd)), out, "softshrink")


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0, *, out: Any = None) -> Tensor:
    """log(1 + exp(beta * x)) / beta, and x where beta * x > threshold."""
    return written(_apply(ops_activation.softplus, input, False, float(beta), float(threshold)), out, "softplus")


def softsign(input: Tensor) -> Tensor:
    """x / (1 + abs(x))."""
    require_tensor("softsign", "input", input)
    refuse_dtypes("softsign", input, {"bool"})
    return _apply(ops_activation.softsign, input, False)


def logsigmoid(input: Tensor, *, out: Any = None) -> Tensor:
    """log(sigmoid(x)), without overflow."""
    return written(_apply(ops_activation.logsigmoid, input, False), out, "logsigmoid")


def tanhshrink(input: Tensor) -> Tensor:
    """x - tanh(x)."""
    require_tensor("tanhshrink", "input", input)
    refuse_dtypes("tanhshrink", input, {"bool"}, RuntimeError)
    return _apply(ops_activation.tanhshrink, input, False)


def tanh(input: Tensor) -> Tensor:
    """The hyperbolic tangent."""
    return _apply(elementwise.tanh, input, False)


def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + exp(-x))."""
    return _apply(elementwise.sigmoid, input, False)


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """a * sigmoid(b), a and b the halves of x along ``dim``; RuntimeError if its size is odd."""
    require_tensor("glu", "input", input)
    if input.dim() == 0:
        raise RuntimeError("glu does not support 0-dimensional tensors")
    wrapped = wrap_dim(dim, input.dim(), "glu")
    size = input.shape[wrapped]
    if size % 2:
        raise RuntimeError(f"Halving dimension must be even, but dimension {wrapped} is size {size}")
    return ops_activation.gate(input.narrow(dim, 0, size // 2), input.narrow(dim, size // 2, size // 2))


def _implicit_dim(name: str, ndim: int) -> int:
    warnings.warn(
        f"Implicit dimension choice for {name} has been deprecated. Change the call to include dim=X as an"
        " argument.",
        stacklevel=3,
    )
    return 0 if ndim in (0, 1, 3) else 1


def softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Tensor:
    """exp(x) / sum(exp(x)) along ``dim``.

    Example:
        >>> import numtorch
        >>> numtorch.nn.functional.softmax(numtorch.zeros(4), dim=0)
        tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """
    require_tensor("softmax", "input", input)
    dim = _implicit_dim("softmax", input.dim()) if dim is None else dim
    return ops_softmax.softmax(input if dtype is None else input.to(dtype), dim)


def softmin(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Tensor:
    """softmax(-x) along ``dim``."""
    require_tensor("softmin", "input", input)
    dim = _implicit_dim("softmin", input.dim()) if dim is None else dim
    return ops_softmax.softmax(-input if dtype is None else (-input).to(dtype), dim)


def log_softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Tensor:
    """log(softmax(x)) along ``dim``, without underflow."""
    require_tensor("log_softmax", "input", input)
    dim = _implicit_dim("log_softmax", input.dim()) if dim is None else dim
    return ops_softmax.log_softmax(input if dtype is None else input.to(dtype), dim)


@tensors_only
def gumbel_softmax(
    logits: Tensor, tau: float = 1.0, hard: bool = False, eps: float = 1e-10, dim: int = -1
) -> Tensor:
    """Samples of the Gumbel-softmax distribution, one-hot if ``hard``. Jang et al., arXiv:1611.01144."""
    if eps != 1e-10:
        warnings.warn("`eps` parameter is deprecated and has no effect.", stacklevel=2)
    noise = -numtorch.empty_like(logits, requires_grad=False).exponential_().log()
    soft = softmax((logits + noise) / tau, dim)
    if not hard:
        return soft
    index = soft.max(dim, keepdim=True)[1]
    one_hot = numtorch.zeros_like(logits).scatter_(dim, index, 1.0)
    return one_hot - soft.detach() + soft
