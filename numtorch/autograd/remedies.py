"""How to mend the usual culprits of NaN and infinities: one line for an op in forward, one in backward."""

from __future__ import annotations

_DOMAIN = "its argument left the domain; clamp it before"

FORWARD = {
    "sqrt": "the root of a negative number is NaN; clamp the argument from below",
    "rsqrt": "1/sqrt is infinite at 0 and NaN below; add a small number to the argument",
    "div": "0/0 is NaN and x/0 infinite; replace the denominator, where(d == 0, 1, d), or add a small number to it",
    "reciprocal": "1/0 is infinite; add a small number, or replace zeros with where",
    "log": "log of 0 is -inf and of a negative number NaN; clamp the argument, or use log_softmax, logsumexp or log1p",
    "log2": "log2 of 0 is -inf and of a negative number NaN; clamp the argument",
    "log10": "log10 of 0 is -inf and of a negative number NaN; clamp the argument",
    "log1p": "log1p needs an argument above -1; clamp it",
    "exp": "exp overflows above 88 in float32 (709 in float64); subtract the maximum first, or clamp",
    "expm1": "expm1 overflows above 88 in float32; clamp the argument",
    "exp2": "exp2 overflows above 128 in float32; clamp the argument",
    "softmax": "a row whose entries are all -inf (fully masked) has no softmax; leave one entry unmasked",
    "log_softmax": "a row whose entries are all -inf (fully masked) has no softmax; leave one entry unmasked",
    "pow": "a negative base needs a whole exponent, and 0 to a negative power is infinite; clamp the base",
    "acos": "acos needs an argument in [-1, 1]; rounding may leave it: clamp",
    "asin": "asin needs an argument in [-1, 1]; rounding may leave it: clamp",
    "acosh": "acosh needs an argument of at least 1; clamp",
    "atanh": "atanh needs an argument in (-1, 1); clamp",
    "var": "the variance of one element has no unbiased estimate; use correction=0, or more elements",
    "sub": "inf - inf is NaN: look for what became infinite (check_inf=True)",
    "add": "inf + -inf is NaN: look for what became infinite (check_inf=True)",
    "mul": "0 * inf is NaN: look for what became infinite (check_inf=True)",
    "matmul": "a sum of products met inf * 0 or inf - inf: look for what became infinite (check_inf=True)",
    "sum": "inf - inf is NaN: look for what became infinite (check_inf=True)",
    "cumsum": "inf - inf is NaN: look for what became infinite (check_inf=True)",
    "layer_norm": "the row holds an infinity or overflowed; scale the input down",
    "batch_norm": "the channel holds an infinity, or its running variance is negative; look at the input",
    "batch_norm_evaluation": "a running variance is below zero or NaN; look at the buffers that were loaded",
    "xlogy": "log of a negative number is NaN; clamp the second argument",
    "fmod": "the remainder of a division by 0 is NaN; replace zeros in the divisor",
    "remainder": "the remainder of a division by 0 is NaN; replace zeros in the divisor",
    "logaddexp": "inf - inf within it is NaN; clamp the arguments",
    "cross_entropy": "the logits hold infinities that are the target, or are all -inf; mask with a large negative number instead",
    "mean": "the mean of no elements is NaN; skip empty batches",
}
BACKWARD = {
    "sqrt": "the derivative of sqrt is infinite at 0; add a small number under the root, or clamp from below",
    "rsqrt": "the derivative of 1/sqrt is infinite at 0; add a small number to the argument",
    "div": "0/0 is NaN also under a where(): its gradient 0 is multiplied by infinity; replace the denominator inside,"
    " where(d == 0, 1, d)",
    "log": "the derivative of log is infinite at 0, also under a where(); clamp the argument before the log",
    "log2": "the derivative of log2 is infinite at 0; clamp the argument before",
    "log10": "the derivative of log10 is infinite at 0; clamp the argument before",
    "pow": "0 to a power below 1 has no finite derivative, nor has a negative base for the exponent; clamp the base",
    "vector_norm": "the norm has no derivative at 0; add a small number to the square, or skip zero vectors",
    "norm": "the norm has no derivative at 0; add a small number to the square, or skip zero vectors",
    "std": "std of one element or of equal ones has no derivative; use var, or sqrt(var + eps)",
    "var": "the variance of one element has no unbiased estimate; use correction=0, or more elements",
    "exp": "exp overflowed in forward; subtract the maximum first, or clamp",
    "softmax": "a fully masked row has no softmax; leave one entry unmasked",
    "log_softmax": "a fully masked row has no softmax; leave one entry unmasked",
    "acos": "the derivative of acos is infinite at -1 and 1; clamp to the inside",
    "asin": "the derivative of asin is infinite at -1 and 1; clamp to the inside",
    "atan2": "the angle of the origin has no derivative; add a small number to one coordinate",
    "hypot": "hypot has no derivative at the origin; add a small number under the root",
    "atanh": "the derivative of atanh is infinite at -1 and 1; clamp to the inside",
    "acosh": "the derivative of acosh is infinite at 1; clamp above it",
    "reciprocal": "1/x has no derivative at 0; replace zeros with where before dividing",
    "mul": "0 * inf is NaN: a factor was infinite in forward; find it with check_inf=True, or clamp it",
    "where": "the branch that was not taken is differentiated too; make its argument harmless inside",
    "prod": "the product overflowed; sum logarithms instead",
}
_PUBLIC = {
    "absolute_error": "l1_loss", "squared_error": "mse_loss", "huber_error": "huber_loss", "smooth_l1_error": "smooth_l1_loss",
    "logits_cross_entropy_term": "binary_cross_entropy_with_logits", "poisson_term": "poisson_nll_loss", "poisson_log_term": "poisson_nll_loss",
    "weighted_logits_cross_entropy_term": "binary_cross_entropy_with_logits", "gaussian_term": "gaussian_nll_loss", "kl_div_log_term": "kl_div",
    "batch_norm_evaluation": "batch_norm", "gelu_tanh": "gelu", "clamp_both": "clamp", "add_scaled": "add", "recurrent": "rnn",
    "soft_margin_term": "soft_margin_loss", "margin_ranking_term": "margin_ranking_loss", "hinge_embedding_term": "hinge_embedding_loss",
    "adaptive_avg_pool": "adaptive_avg_pool2d", "avg_pool": "avg_pool2d", "div_trunc": "div", "lstm_step": "lstm", "gru_step": "gru",
    "tanh_step": "rnn_tanh", "relu_step": "rnn_relu",
}  # fmt: skip


def public_name(op: str) -> str:
    """The name by which users know an op.

    >>> public_name("scatter_add_values"), public_name("batch_norm_evaluation"), public_name("exp")
    ('scatter_add', 'batch_norm', 'exp')
    """
    return _PUBLIC.get(op) or op.removesuffix("_values").removesuffix("_term")


def remedy(op: str, backward: bool) -> str:
    """One line on how to mend an op, or nothing."""
    found = BACKWARD.get(op) if backward else None
    return found or FORWARD.get(op, "")
