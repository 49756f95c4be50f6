"""Elementwise arithmetic, comparison and mathematics: scalar bodies with their derivatives.

In a body, ``exp``, ``where`` and the other names are scalar functions when it is compiled (kernels/scalar.py) and the ops of
this file when it runs on tensors to be differentiated again; so bodies do not branch: they use ``where``. Derivatives take
``g``, the parameters they use by name, and the output ``y``; they give one value per parameter.
"""

# The bodies name ops of this file, which are objects with a call of their own.
from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..dtype import BOOL, INTEGER, int64
from .pointwise import elementwise

Scalar = Any
LN2 = math.log(2.0)
LN10 = math.log(10.0)
TWO_OVER_SQRT_PI = 2.0 / math.sqrt(math.pi)
INVERSE_SQRT_TWO_PI = 1.0 / math.sqrt(2.0 * math.pi)


def _same(input):
    return input


WHOLE = {INTEGER: _same}  # integers are whole already


# -- choice and tests


@elementwise(promote=("input", "other"), name="where")
def where(condition, input, other):
    """``input`` where ``condition`` holds, else ``other``."""
    return input if condition else other


@where.grad
def where_grad(g, condition):
    return 0.0, where(condition, g, 0.0), where(condition, 0.0, g)


@elementwise("bool", ref=np.equal, tensors=1)
def eq(input, other):
    """Elementwise ``input == other``."""
    return input == other


@elementwise("bool", ref=np.not_equal, aliases=("not_equal",), tensors=1)
def ne(input, other):
    """Elementwise ``input != other``."""
    return input != other


@elementwise("bool", ref=np.less, aliases=("less",), tensors=1)
def lt(input, other):
    """Elementwise ``input < other``."""
    return input < other


@elementwise("bool", ref=np.less_equal, aliases=("less_equal",), tensors=1)
def le(input, other):
    """Elementwise ``input <= other``."""
    return input <= other


@elementwise("bool", ref=np.greater, aliases=("greater",), tensors=1)
def gt(input, other):
    """Elementwise ``input > other``."""
    return input > other


@elementwise("bool", ref=np.greater_equal, aliases=("greater_equal",), tensors=1)
def ge(input, other):
    """Elementwise ``input >= other``."""
    return input >= other


@elementwise("bool", ref=np.isnan)
def isnan(input):
    """Whether an element is NaN."""
    return input != input


@elementwise("bool", ref=np.isinf, lift=True)
def isinf(input):
    """Whether an element is infinite."""
    return (input == input) & (input - input != 0)


@elementwise("bool", ref=np.isfinite, lift=True)
def isfinite(input):
    """Whether an element is neither infinite nor NaN."""
    return input - input == 0


@elementwise("bool", ref=np.logical_and, tensors=2)
def logical_and(input, other):
    """Whether both are nonzero."""
    return (input != 0) & (other != 0)


@elementwise("bool", ref=np.logical_or, tensors=2)
def logical_or(input, other):
    """Whether one is nonzero."""
    return (input != 0) | (other != 0)


@elementwise("bool", ref=np.logical_xor, tensors=2)
def logical_xor(input, other):
    """Whether exactly one is nonzero."""
    return (input != 0) != (other != 0)


@elementwise("bool", ref=np.logical_not)
def logical_not(input):
    """Whether it is zero."""
    return input == 0


# -- arithmetic


@elementwise(ref=np.add)
def add(input, other):
    """``input + other``."""
    return input + other


@add.grad
def add_grad(g):
    return g, g


@elementwise(name="add_scaled")
def add_scaled(input, other, alpha):
    """``input + alpha * other``."""
    return input + alpha * other


@add_scaled.grad
def add_scaled_grad(g, other, alpha):
    return g, g * alpha, g * other


@elementwise(ref=np.subtract)
def sub(input, other):
    """``input - other``."""
    return input - other


@sub.grad
def sub_grad(g):
    return g, -g


@elementwise(ref=np.multiply)
def mul(input, other):
    """``input * other``."""
    return input * other


@mul.grad
def mul_grad(g, input, other):
    return g * other, g * input


@elementwise("float", name="div", ref=np.true_divide)
def true_divide(input, other):
    """``input / other`` (integers become floating point)."""
    return input / other


@true_divide.grad
def true_divide_grad(g, input, other):
    return g / other, -g * (input / other) / other


@elementwise(ref=np.negative)
def neg(input):
    """``-input``."""
    return -input


@neg.grad
def neg_grad(g):
    return -g


@elementwise()
def clone_values(input):
    """A copy."""
    return input


@clone_values.grad
def clone_values_grad(g):
    return g


@elementwise(ref=np.abs, bool_ok=False)
def abs(input):
    """The absolute value."""
    return abs(input)


@abs.grad
def abs_grad(g, input):
    return g * sign(input)


@elementwise(ref=lambda input: np.where(input == input, np.sign(input), 0), bodies={BOOL: _same})
def sign(input):
    """-1, 0 or 1; 0 of NaN."""
    return where(input == input, sign(input), 0)


@sign.grad
def sign_grad(g):
    return 0.0


@elementwise(ref=np.square, domain=(-3.0, 3.0), lift=int64)
def square(input):
    """``input * input``."""
    return input * input


square.node_name = "PowBackward0"  # as PyTorch, where square is a power


@square.grad
def square_grad(g, input):
    return g * (2.0 * input)


@elementwise("float", ref=np.reciprocal)
def reciprocal(input):
    """``1 / input``."""
    return 1.0 / input


@reciprocal.grad
def reciprocal_grad(g, y):
    return -g * y * y


@elementwise(name="pow")
def pow_tensor(input, exponent):
    """``input`` to the power of ``exponent``."""
    return pow(input, exponent)


@pow_tensor.grad
def pow_tensor_grad(g, input, exponent, y):
    return (
        where(exponent == 0.0, 0.0, g * (exponent * pow(input, exponent - 1.0))),
        where((input == 0.0) & (exponent >= 0.0), 0.0, g * (y * log(input))),
    )


pow_tensor.lifts_numbers = True


@elementwise(ref=np.maximum, tensors=2)
def maximum(input, other):
    """The larger of the two; NaN if one is."""
    return input if (input > other) | (input != input) else other


@maximum.grad
def maximum_grad(g, input, other):
    return (
        where(input == other, 0.5 * g, where(input > other, g, 0.0)),
        where(input == other, 0.5 * g, where(input > other, 0.0, g)),
    )


@elementwise(ref=np.minimum, tensors=2)
def minimum(input, other):
    """The smaller of the two; NaN if one is."""
    return input if (input < other) | (input != input) else other


@minimum.grad
def minimum_grad(g, input, other):
    return (
        where(input == other, 0.5 * g, where(input < other, g, 0.0)),
        where(input == other, 0.5 * g, where(input < other, 0.0, g)),
    )


@elementwise(ref=np.clip, bool_ok=False)
def clamp_both(input, min, max):
    """Limited to [min, max]."""
    return minimum(maximum(input, min), max)


@clamp_both.grad
def clamp_both_grad(g, input, min, max):
    return (
        where((input >= min) & (input <= max), g, 0.0),
        where((input < min) & (min < max), g, 0.0),
        where((input > max) | (max < min), g, 0.0),
    )


@elementwise(tensors=1)
def clamp_min(input, min):
    """Limited from below."""
    return maximum(input, min)


@clamp_min.grad
def clamp_min_grad(g, input, min):
    return where(input >= min, g, 0.0), where(input < min, g, 0.0)


@elementwise(tensors=1)
def clamp_max(input, max):
    """Limited from above."""
    return minimum(input, max)


@clamp_max.grad
def clamp_max_grad(g, input, max):
    return where(input <= max, g, 0.0), where(input > max, g, 0.0)


@elementwise(promote=("input", "end"), int_ok=False)
def lerp(input, end, weight):
    """``input + weight * (end - input)``."""
    return where(abs(weight) < 0.5, input + weight * (end - input), end - (end - input) * (1.0 - weight))


@lerp.grad
def lerp_grad(g, input, end, weight):
    return g * (1.0 - weight), g * weight, g * (end - input)


@elementwise(bool_ok=False)
def addcmul_values(input, tensor1, tensor2, value):
    """``input + value * tensor1 * tensor2``."""
    return input + value * tensor1 * tensor2


@addcmul_values.grad
def addcmul_values_grad(g, tensor1, tensor2, value):
    return g, g * (value * tensor2), g * (value * tensor1), g * (tensor1 * tensor2)


@elementwise()
def addcdiv_values(input, tensor1, tensor2, value):
    """``input + value * tensor1 / tensor2``."""
    return input + value * (tensor1 / tensor2)


@addcdiv_values.grad
def addcdiv_values_grad(g, tensor1, tensor2, value):
    return g, g * (value / tensor2), -g * (value * tensor1) / (tensor2 * tensor2), g * (tensor1 / tensor2)


# -- exponentials and roots


@elementwise("float", ref=np.exp, domain=(-4.0, 4.0))
def exp(input):
    """e to the power of the input."""
    return exp(input)


@exp.grad
def exp_grad(g, y):
    return g * y


@elementwise("float", ref=np.exp2, domain=(-4.0, 4.0))
def exp2(input):
    """2 to the power of the input."""
    return exp2(input)


@exp2.grad
def exp2_grad(g, y):
    return g * (y * LN2)


@elementwise("float", ref=np.expm1, domain=(-4.0, 4.0))
def expm1(input):
    """``exp(input) - 1``, accurate near 0."""
    return expm1(input)


@expm1.grad
def expm1_grad(g, y):
    return g * (y + 1.0)


@elementwise("float", ref=np.log, domain=(0.01, 10.0))
def log(input):
    """The natural logarithm."""
    return log(input)


@log.grad
def log_grad(g, input):
    return g / input


@elementwise("float", ref=np.log2, domain=(0.01, 10.0))
def log2(input):
    """The logarithm to base 2."""
    return log2(input)


@log2.grad
def log2_grad(g, input):
    return g / (input * LN2)


@elementwise("float", ref=np.log10, domain=(0.01, 10.0))
def log10(input):
    """The logarithm to base 10."""
    return log10(input)


@log10.grad
def log10_grad(g, input):
    return g / (input * LN10)


@elementwise("float", ref=np.log1p, domain=(-0.9, 10.0))
def log1p(input):
    """``log(1 + input)``, accurate near 0."""
    return log1p(input)


@log1p.grad
def log1p_grad(g, input):
    return g / (input + 1.0)


@elementwise("float", ref=np.sqrt, domain=(0.01, 10.0))
def sqrt(input):
    """The square root."""
    return sqrt(input)


@sqrt.grad
def sqrt_grad(g, y):
    return g / (2.0 * y)


@elementwise("float", domain=(0.01, 10.0))
def rsqrt(input):
    """``1 / sqrt(input)``."""
    return 1.0 / sqrt(input)


@rsqrt.grad
def rsqrt_grad(g, y):
    return -0.5 * g * (y * y * y)


# -- trigonometry


@elementwise("float", ref=np.sin)
def sin(input):
    """The sine."""
    return sin(input)


@sin.grad
def sin_grad(g, input):
    return g * cos(input)


@elementwise("float", ref=np.cos)
def cos(input):
    """The cosine."""
    return cos(input)


@cos.grad
def cos_grad(g, input):
    return -g * sin(input)


@elementwise("float", ref=np.tan, domain=(-1.0, 1.0))
def tan(input):
    """The tangent."""
    return tan(input)


@tan.grad
def tan_grad(g, y):
    return g * (1.0 + y * y)


@elementwise("float", ref=np.sinh)
def sinh(input):
    """The hyperbolic sine."""
    return sinh(input)


@sinh.grad
def sinh_grad(g, input):
    return g * cosh(input)


@elementwise("float", ref=np.cosh)
def cosh(input):
    """The hyperbolic cosine."""
    return cosh(input)


@cosh.grad
def cosh_grad(g, input):
    return g * sinh(input)


@elementwise("float", ref=np.tanh, domain=(-4.0, 4.0))
def tanh(input):
    """The hyperbolic tangent."""
    return tanh(input)


@tanh.grad
def tanh_grad(g, y):
    return g * (1.0 - y * y)


@elementwise("float", ref=np.arcsin, domain=(-0.9, 0.9))
def asin(input):
    """The inverse sine."""
    return asin(input)


@asin.grad
def asin_grad(g, input):
    return g / sqrt(1.0 - input * input)


@elementwise("float", ref=np.arccos, domain=(-0.9, 0.9))
def acos(input):
    """The inverse cosine."""
    return acos(input)


@acos.grad
def acos_grad(g, input):
    return -g / sqrt(1.0 - input * input)


@elementwise("float", ref=np.arctan)
def atan(input):
    """The inverse tangent."""
    return atan(input)


@atan.grad
def atan_grad(g, input):
    return g / (1.0 + input * input)


@elementwise("float", ref=np.arcsinh)
def asinh(input):
    """The inverse hyperbolic sine."""
    return asinh(input)


@asinh.grad
def asinh_grad(g, input):
    return g / sqrt(input * input + 1.0)


@elementwise("float", ref=np.arccosh, domain=(1.1, 5.0))
def acosh(input):
    """The inverse hyperbolic cosine."""
    return acosh(input)


@acosh.grad
def acosh_grad(g, input):
    return g / sqrt(input * input - 1.0)


@elementwise("float", ref=np.arctanh, domain=(-0.9, 0.9))
def atanh(input):
    """The inverse hyperbolic tangent."""
    return atanh(input)


@atanh.grad
def atanh_grad(g, input):
    return g / (1.0 - input * input)


@elementwise("float", ref=np.arctan2, tensors=2)
def atan2(input, other):
    """The angle of the point (other, input)."""
    return atan2(input, other)


@atan2.grad
def atan2_grad(g, input, other):
    return g * (other / (input * input + other * other)), -g * (input / (input * input + other * other))


@elementwise(ref=np.hypot, int_ok=False, tensors=2)
def hypot(input, other):
    """``sqrt(input**2 + other**2)``."""
    return hypot(input, other)


@hypot.grad
def hypot_grad(g, input, other, y):
    return g * (input / y), g * (other / y)


# -- error function and sigmoid


@elementwise("float")
def erf(input):
    """The error function."""
    return erf(input)


@erf.grad
def erf_grad(g, input):
    return g * (TWO_OVER_SQRT_PI * exp(-(input * input)))


@elementwise("float")
def normal_cdf(input):
    """The area under the standard normal curve up to ``input``, precise next to 1 (``special.ndtr`` also where it
    is tiny).
    """
    return normal_cdf(input)


@normal_cdf.grad
def normal_cdf_grad(g, input):
    return g * (INVERSE_SQRT_TWO_PI * exp(-0.5 * input * input))


@elementwise("float")
def erfc(input):
    """``1 - erf(input)``."""
    return erfc(input)


@erfc.grad
def erfc_grad(g, input):
    return -g * (TWO_OVER_SQRT_PI * exp(-(input * input)))


@elementwise("float", domain=(-0.9, 0.9))
def erfinv(input):
    """The inverse of ``erf``."""
    return erfinv(input)


@erfinv.grad
def erfinv_grad(g, y):
    return g * (exp(y * y) / TWO_OVER_SQRT_PI)


@elementwise("float")
def sigmoid(input):
    """``1 / (1 + exp(-input))``."""
    return sigmoid(input)


@sigmoid.grad
def sigmoid_grad(g, y):
    return g * ((1.0 - y) * y)


# -- rounding


@elementwise(ref=np.floor, bool_ok=False, bodies=WHOLE)
def floor(input):
    """The largest whole number not above."""
    return floor(input)


@floor.grad
def floor_grad(g):
    return 0.0


@elementwise(ref=np.ceil, bool_ok=False, bodies=WHOLE)
def ceil(input):
    """The smallest whole number not below."""
    return ceil(input)


@ceil.grad
def ceil_grad(g):
    return 0.0


@elementwise(ref=np.trunc, bool_ok=False, bodies=WHOLE)
def trunc(input):
    """Without the fraction."""
    return trunc(input)


@trunc.grad
def trunc_grad(g):
    return 0.0


@elementwise(name="round", ref=np.round, bool_ok=False, bodies=WHOLE)
def round_values(input):
    """The nearest whole number, halves to even."""
    return round(input)


@round_values.grad
def round_values_grad(g):
    return 0.0


@elementwise(domain=(-3.0, 3.0), int_ok=False)
def frac(input):
    """The fraction, with the input's sign."""
    return input - trunc(input)


@frac.grad
def frac_grad(g):
    return g


@elementwise(ref=np.fmod, tensors=1)
def fmod(input, other):
    """The remainder with the sign of ``input``."""
    return fmod(input, other)


@fmod.grad
def fmod_grad(g, input, other):
    return g, -g * trunc(input / other)


@elementwise(ref=np.remainder)
def remainder(input, other):
    """The remainder with the sign of ``other``, as Python's ``%``."""
    return input % other


@remainder.grad
def remainder_grad(g, input, other):
    return g, -g * floor(input / other)


@elementwise(ref=np.floor_divide)
def floor_divide(input, other):
    """The quotient rounded down."""
    return input // other


@floor_divide.grad
def floor_divide_grad(g):
    return 0.0, 0.0


@elementwise()
def div_trunc(input, other):
    """The quotient of floating point numbers rounded towards zero."""
    return trunc(input / other)


@div_trunc.grad
def div_trunc_grad(g):
    return 0.0, 0.0


@elementwise()
def div_trunc_integers(input, other):
    """The quotient of integers rounded towards zero."""
    quotient = abs(input) // abs(other)
    return where((input < 0) != (other < 0), -quotient, quotient)


@elementwise(tensors=1)
def fmod_integers(input, other):
    """The remainder of integers with the sign of ``input``."""
    left = abs(input) % abs(other)
    return where(input < 0, -left, left)


# -- bits


@elementwise(ref=np.bitwise_and)
def bitwise_and(input, other):
    """Bits set in both."""
    return input & other


@elementwise(ref=np.bitwise_or)
def bitwise_or(input, other):
    """Bits set in one or both."""
    return input | other


@elementwise(ref=np.bitwise_xor)
def bitwise_xor(input, other):
    """Bits set in exactly one."""
    return input ^ other


@elementwise(ref=np.left_shift)
def bitwise_left_shift(input, other):
    """Bits moved up."""
    return input << other


@elementwise(ref=np.right_shift)
def bitwise_right_shift(input, other):
    """Bits moved down."""
    return input >> other


@elementwise()
def bitwise_not(input):
    """Bits inverted (of bool: the opposite)."""
    return ~input


# -- activations that everything builds on


@elementwise(bool_ok=False)
def relu(input):
    """``max(input, 0)``; NaN stays NaN."""
    return where(input < 0.0, 0.0, input)


@relu.grad
def relu_grad(g, y):
    return where(y > 0.0, g, 0.0)
