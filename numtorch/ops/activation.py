"""Activation functions of ``nn``: scalar bodies with their derivatives, as in ``elementwise.py``.

Branches that ``where`` does not take are kept finite (their argument is clipped first): a second derivative
multiplies them
by zero, and zero times infinity would be NaN.
"""

from __future__ import annotations

import math

from .elementwise import abs, clamp_min, exp, expm1, log1p, maximum, minimum, normal_cdf, sigmoid, tanh, where
from .pointwise import elementwise

INVERSE_SQRT_TWO_PI = 1.0 / math.sqrt(2.0 * math.pi)
GELU_SCALE = math.sqrt(2.0 / math.pi)
GELU_CUBE = 0.044715
SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946
ONE_SIXTH = 1.0 / 6.0
ONE_THIRD = 1.0 / 3.0


@elementwise(promote=("input",))
def hardtanh(input, min_val, max_val):
    """``input`` limited to [min_val, max_val]; the gradient is 0 at and beyond the limits."""
    return where(input < min_val, min_val, where(input > max_val, max_val, input))


@hardtanh.grad
def hardtanh_grad(g, y, min_val, max_val):
    return where((y > min_val) & (y < max_val), g, 0.0), 0.0, 0.0


@elementwise(promote=("input",))
def threshold(input, threshold, value):
    """``input`` where it is above ``threshold``, else ``value``."""
    return where(input <= threshold, value, input)


@threshold.grad
def threshold_grad(g, input, threshold):
    return where(input <= threshold, 0.0, g), 0.0, 0.0


@elementwise(promote=("input",), int_ok=False)
def leaky_relu(input, negative_slope):
    """``input`` where it is positive, else ``negative_slope * input``."""
    return where(input > 0.0, input, negative_slope * input)


@leaky_relu.grad
def leaky_relu_grad(g, input, negative_slope):
    return where(input > 0.0, g, negative_slope * g), 0.0


@elementwise(promote=("input",), int_ok=False)
def elu(input, alpha):
    """``input`` where it is positive, else ``alpha * (exp(input) - 1)``."""
    return where(input > 0.0, input, alpha * expm1(input))


@elu.grad
def elu_grad(g, input, alpha):
    return where(input > 0.0, g, g * (alpha * exp(where(input > 0.0, 0.0, input)))), 0.0


@elementwise(promote=("input",), int_ok=False)
def celu(input, alpha):
    """``input`` where it is positive, else ``alpha * (exp(input / alpha) - 1)``."""
    return where(input > 0.0, input, alpha * expm1(input / alpha))


@celu.grad
def celu_grad(g, input, alpha):
    return where(input > 0.0, g, g * exp(where(input > 0.0, 0.0, input) / alpha)), 0.0


@elementwise(int_ok=False)
def selu(input):
    """``SELU_SCALE * elu(input, SELU_ALPHA)``."""
    return where(input > 0.0, SELU_SCALE * input, SELU_SCALE * SELU_ALPHA * expm1(input))


@selu.grad
def selu_grad(g, input):
    return where(
        input > 0.0, SELU_SCALE * g, g * (SELU_SCALE * SELU_ALPHA * exp(where(input > 0.0, 0.0, input)))
    )


@elementwise(int_ok=False)
def prelu(input, weight):
    """``input`` where it is positive, else ``weight * input``."""
    return where(input > 0.0, input, weight * input)


@prelu.grad
def prelu_grad(g, input, weight):
    return where(input > 0.0, g, weight * g), where(input > 0.0, 0.0, input * g)


@elementwise(int_ok=False)
def gelu(input):
    """``input`` times the normal distribution function of it."""
    return input * normal_cdf(input)


@gelu.grad
def gelu_grad(g, input):
    return g * (normal_cdf(input) + input * (INVERSE_SQRT_TWO_PI * exp(-0.5 * input * input)))


@elementwise(int_ok=False)
def gelu_tanh(input):
    """The tanh approximation of ``gelu``."""
    return 0.5 * input * (1.0 + tanh(GELU_SCALE * (input + GELU_CUBE * input * input * input)))


@gelu_tanh.grad
def gelu_tanh_grad(g, input):
    t = tanh(GELU_SCALE * (input + GELU_CUBE * input * input * input))
    slope = GELU_SCALE * (1.0 + 3.0 * GELU_CUBE * input * input)
    return g * (0.5 * (1.0 + t) + 0.5 * input * ((1.0 - t * t) * slope))


@elementwise(int_ok=False)
def silu(input):
    """``input * sigmoid(input)``."""
    return input * sigmoid(input)


@silu.grad
def silu_grad(g, input):
    s = sigmoid(input)
    return g * (s * (1.0 + input * (1.0 - s)))


@elementwise(int_ok=False)
def mish(input):
    """``input * tanh(log(1 + exp(input)))``."""
    return input * tanh(maximum(input, 0.0) + log1p(exp(-abs(input))))


@mish.grad
def mish_grad(g, input):
    t = tanh(clamp_min(input, 0.0) + log1p(exp(-abs(input))))
    return g * (t + input * (sigmoid(input) * (1.0 - t * t)))


@elementwise(int_ok=False)
def hardsigmoid(input):
    """``input / 6 + 1 / 2``, limited to [0, 1]."""
    return minimum(maximum(input + 3.0, 0.0), 6.0) * ONE_SIXTH


@hardsigmoid.grad
def hardsigmoid_grad(g, input):
    return where((input > -3.0) & (input < 3.0), g * ONE_SIXTH, 0.0)


@elementwise(int_ok=False)
def hardswish(input):
    """``input * hardsigmoid(input)``."""
    return input * minimum(maximum(input + 3.0, 0.0), 6.0) * ONE_SIXTH


@hardswish.grad
def hardswish_grad(g, input):
    return where(input <= -3.0, 0.0, where(input < 3.0, g * (input * ONE_THIRD + 0.5), g))


@elementwise(promote=("input",), int_ok=False)
def hardshrink(input, lambd):
    """``input`` where its magnitude exceeds ``lambd``, else 0."""
    return where((input >= -lambd) & (input <= lambd), 0.0, input)


@hardshrink.grad
def hardshrink_grad(g, input, lambd):
    return where((input >= -lambd) & (input <= lambd), 0.0, g), 0.0


@elementwise(promote=("input",), int_ok=False)
def softshrink(input, lambd):
    """``input`` moved by ``lambd`` towards 0, which it does not cross."""
    return where(input > lambd, input - lambd, where(input < -lambd, input + lambd, input * 0.0))


@softshrink.grad
def softshrink_grad(g, input, lambd):
    return where((input >= -lambd) & (input <= lambd), 0.0, g), 0.0


@elementwise(promote=("input",), int_ok=False)
def softplus(input, beta, threshold):
    """``log(1 + exp(beta * input)) / beta``, and ``input`` where ``beta * input > threshold``."""
    return where(
        input * beta > threshold, input, log1p(exp(where(input * beta > threshold, 0.0, input * beta))) / beta
    )


@softplus.grad
def softplus_grad(g, input, beta, threshold):
    return where(input * beta > threshold, g, g * sigmoid(input * beta)), 0.0, 0.0


@elementwise("float")
def softsign(input):
    """``input / (1 + abs(input))``."""
    return input / (1.0 + abs(input))


@softsign.grad
def softsign_grad(g, input):
    return g / ((1.0 + abs(input)) * (1.0 + abs(input)))


@elementwise(int_ok=False)
def logsigmoid(input):
    """``log(sigmoid(input))``, without overflow."""
    return minimum(input, 0.0) - log1p(exp(-abs(input)))


@logsigmoid.grad
def logsigmoid_grad(g, input):
    return g * sigmoid(-input)


@elementwise("float")
def tanhshrink(input):
    """``input - tanh(input)``."""
    return input - tanh(input)


@tanhshrink.grad
def tanhshrink_grad(g, input):
    t = tanh(input)
    return g * (t * t)


@elementwise(int_ok=False)
def gate(input, control):
    """``input * sigmoid(control)``: the two halves of a gated linear unit."""
    return input * sigmoid(control)


@gate.grad
def gate_grad(g, input, control):
    s = sigmoid(control)
    return g * s, g * (input * (s * (1.0 - s)))
