"""The terms that loss functions sum or average: scalar bodies with their derivatives, as in
``elementwise.py``.
"""

from __future__ import annotations

from .elementwise import abs, clamp_max, clamp_min, exp, log, log1p, maximum, sigmoid, sign, where
from .pointwise import elementwise

SMALLEST_LOG = -100.0  # what PyTorch's binary cross entropy takes for log(0)
HALF_LOG_TWO_PI = 0.9189385332046727


@elementwise()
def squared_error(input, target):
    """``(input - target)**2``."""
    return (input - target) * (input - target)


@squared_error.grad
def squared_error_grad(g, input, target):
    return g * (2.0 * (input - target)), g * (2.0 * (target - input))


@elementwise()
def absolute_error(input, target):
    """``abs(input - target)``."""
    return abs(input - target)


@absolute_error.grad
def absolute_error_grad(g, input, target):
    return g * sign(input - target), g * sign(target - input)


@elementwise(promote=("input", "target"), int_ok=False)
def smooth_l1_error(input, target, beta):
    """Quadratic for errors below ``beta``, linear beyond."""
    d = abs(input - target)
    return where(d < beta, 0.5 * d * d / beta, d - 0.5 * beta)


@smooth_l1_error.grad
def smooth_l1_error_grad(g, input, target, beta):
    d = input - target
    slope = where(abs(d) < beta, d / beta, sign(d))
    return g * slope, -g * slope, 0.0


@elementwise(promote=("input", "target"), int_ok=False)
def huber_error(input, target, delta):
    """Quadratic for errors up to ``delta``, ``delta`` times linear beyond."""
    d = abs(input - target)
    return where(d < delta, 0.5 * d * d, delta * (d - 0.5 * delta))


@huber_error.grad
def huber_error_grad(g, input, target, delta):
    slope = clamp_max(clamp_min(input - target, -delta), delta)
    return g * slope, -g * slope, 0.0


@elementwise(int_ok=False, domain=(0.1, 0.9))
def binary_cross_entropy_term(input, target):
    """``-target * log(input) - (1 - target) * log(1 - input)``, logarithms not below -100."""
    return (target - 1.0) * maximum(log1p(-input), SMALLEST_LOG) - target * maximum(log(input), SMALLEST_LOG)


@binary_cross_entropy_term.grad
def binary_cross_entropy_term_grad(g, input, target):
    return (
        g * ((input - target) / clamp_min((1.0 - input) * input, 1e-12)),
        g * (clamp_min(log1p(-input), SMALLEST_LOG) - clamp_min(log(input), SMALLEST_LOG)),
    )


@elementwise(int_ok=False)
def logits_cross_entropy_term(input, target):
    """``binary_cross_entropy_term`` of ``sigmoid(input)``, without overflow."""
    return maximum(input, 0.0) - input * target + log1p(exp(-abs(input)))


@logits_cross_entropy_term.grad
def logits_cross_entropy_term_grad(g, input, target):
    return g * (sigmoid(input) - target), -g * input


@elementwise(int_ok=False)
def weighted_logits_cross_entropy_term(input, target, pos_weight):
    """``logits_cross_entropy_term`` with the positive part multiplied by ``pos_weight``."""
    return (1.0 - target) * input + (1.0 + (pos_weight - 1.0) * target) * (
        log1p(exp(-abs(input))) + maximum(-input, 0.0)
    )


@weighted_logits_cross_entropy_term.grad
def weighted_logits_cross_entropy_term_grad(g, input, target, pos_weight):
    tail = log1p(exp(-abs(input))) + clamp_min(-input, 0.0)
    return (
        g * ((1.0 - target) * sigmoid(input) - target * pos_weight * sigmoid(-input)),
        g * ((pos_weight - 1.0) * tail - input),
        g * (target * tail),
    )


@elementwise(int_ok=False)
def kl_div_term(input, target):
    """``target * (log(target) - input)``, 0 log 0 = 0."""
    return where(target == 0.0, 0.0, target * log(where(target == 0.0, 1.0, target))) - target * input


@kl_div_term.grad
def kl_div_term_grad(g, input, target):
    return -g * target, g * (where(target == 0.0, 0.0, log(where(target == 0.0, 1.0, target)) + 1.0) - input)


@elementwise(int_ok=False)
def kl_div_log_term(input, target):
    """``exp(target) * (target - input)``: ``kl_div_term`` of a target given by its logarithm."""
    return exp(target) * (target - input)


@kl_div_log_term.grad
def kl_div_log_term_grad(g, input, target):
    return -g * exp(target), g * (exp(target) * (target - input + 1.0))


@elementwise("float")
def poisson_log_term(input, target):
    """``exp(input) - target * input``: minus the log likelihood of a Poisson rate ``exp(input)``."""
    return exp(input) - target * input


@poisson_log_term.grad
def poisson_log_term_grad(g, input, target):
    return g * (exp(input) - target), -g * input


@elementwise("float", promote=("input", "target"))
def poisson_term(input, target, eps):
    """``input - target * log(input + eps)``: minus the log likelihood of a Poisson rate ``input``."""
    return input - target * log(input + eps)


@poisson_term.grad
def poisson_term_grad(g, input, target, eps):
    return g * (1.0 - target / (input + eps)), -g * log(input + eps), 0.0


@elementwise("float")
def stirling_term(target):
    """Stirling's approximation of ``log(target!)`` where ``target > 1``, else 0."""
    t = where(target > 1.0, target, 1.0)
    return where(target > 1.0, t * log(t) - t + (HALF_LOG_TWO_PI + 0.5 * log(t)), 0.0)


@stirling_term.grad
def stirling_term_grad(g, target):
    t = where(target > 1.0, target, 1.0)
    return where(target > 1.0, g * (log(t) + 0.5 / t), 0.0)


@elementwise(int_ok=False)
def soft_margin_term(input, target):
    """``log(1 + exp(-target * input))``, without overflow."""
    return log1p(exp(-abs(target * input))) + maximum(-target * input, 0.0)


@soft_margin_term.grad
def soft_margin_term_grad(g, input, target):
    s = sigmoid(-target * input)
    return -g * target * s, -g * input * s


@elementwise(promote=("input", "target"))
def hinge_embedding_term(input, target, margin):
    """``input`` where the target is 1, ``max(0, margin - input)`` where it is -1 (both where it is
    neither).
    """
    return where(target == 1, 0.0, maximum(margin - input, 0.0)) + where(target == -1, 0.0, input)


@hinge_embedding_term.grad
def hinge_embedding_term_grad(g, input, target, margin):
    return (
        where((target == 1) | (margin - input <= 0.0), 0.0, -g) + where(target == -1, 0.0, g),
        0.0,
        0.0,
    )


@elementwise()
def margin_ranking_term(input1, input2, target, margin):
    """``max(0, margin - target * (input1 - input2))``."""
    return maximum(margin - target * (input1 - input2), 0.0)


@margin_ranking_term.grad
def margin_ranking_term_grad(g, input1, input2, target, margin):
    active = where(margin - target * (input1 - input2) >= 0.0, g, 0.0)
    return -active * target, active * target, -active * (input1 - input2), 0.0


@elementwise(
    promote=("input", "target", "var"), int_ok=False,
    domain=((-1.0, 1.0), (-1.0, 1.0), (0.5, 2.0), (0.1, 0.3)),
)  # fmt: skip
def gaussian_term(input, target, var, eps):
    """``(log(v) + (input - target)**2 / v) / 2`` with ``v = max(var, eps)``, which passes its gradient on
    to ``var``.
    """
    v = clamp_min(var, eps)
    return 0.5 * (log(v) + (input - target) * (input - target) / v)


@gaussian_term.grad
def gaussian_term_grad(g, input, target, var, eps):
    v = clamp_min(var, eps)
    d = input - target
    return g * (d / v), -g * (d / v), g * (0.5 * (1.0 / v - d * d / (v * v))), 0.0
