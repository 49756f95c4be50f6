"""Which ops ``autocast`` computes in a lower precision and which in float32: PyTorch's lists, by the names of ops and functions here."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from ..autograd.mode import state, uncast, watchers
from ..dtype import REDUCED, dtype, float32, float64

# Products and what is made of them.
LOWER = frozenset("linear matmul addmm baddbmm addbmm convolution convolution_input recurrent attention prelu".split())
_LOSSES = frozenset("""squared_error absolute_error smooth_l1_error huber_error logits_cross_entropy_term kl_div_term kl_div_log_term
    weighted_logits_cross_entropy_term poisson_log_term poisson_term stirling_term soft_margin_term hinge_embedding_term
    margin_ranking_term multi_margin_loss multilabel_margin_loss triplet_margin_loss cosine_embedding_loss cross_entropy nll_loss
    ctc_loss""".split())
WIDER = {
    "cpu": _LOSSES | frozenset("""binary_cross_entropy_term avg_pool3d grid_sample prod quantile nanquantile cdist trace inv det slogdet solve
        solve_triangular cholesky cholesky_solve pinv qr_values eigh_values svd_values lu_factor ldl_factor geqrf matrix_exp""".split()),
    "cuda": _LOSSES | frozenset("""acos asin cosh erfinv exp expm1 log log10 log2 log1p reciprocal rsqrt sinh tan pow softplus layer_norm
        group_norm vector_norm cosine_similarity logsumexp pdist cdist renorm prod softmax log_softmax cumprod cumsum sum""".split()),
}  # fmt: skip


class Casting:
    """What is switched on in a thread: the dtype of products for each type of device."""

    __slots__ = ("dtypes",)

    def __init__(self, dtypes: dict[str, dtype]):
        self.dtypes = dtypes

    def __call__(self, name: str, inputs: Sequence[Any]) -> Sequence[Any]:
        """The arguments of the op or function of that name, cast."""
        first = next((x for x in inputs if hasattr(x, "_layout")), None)
        if first is None:
            return inputs
        device = first._layout.device.partition(":")[0]
        d = self.dtypes.get(device)
        if d is None:
            return inputs
        if name in LOWER:
            return [x.to(d) if _is_floating(x) and x._layout.dtype not in (d, float64) else x for x in inputs]
        if name in WIDER[device]:
            return [x.to(float32) if _is_floating(x) and x._layout.dtype in REDUCED else x for x in inputs]
        return inputs


    def keyed(self, name: str, inputs: Sequence[Any]) -> tuple[tuple, tuple]:
        """The arguments of an elementwise op, cast, and the key of its plan."""
        args = tuple(self(name, inputs))
        return args, tuple([a._layout if hasattr(a, "_layout") else type(a) for a in args])


def _is_floating(x: Any) -> bool:
    return hasattr(x, "_layout") and x._layout.dtype.is_floating_point


def autocasts(function: Callable) -> Callable:
    """Decorator of a function that ``autocast`` knows by its name: it casts the tensors among the arguments."""
    name = function.__name__

    @functools.wraps(function)
    def casting(*args: Any, **kwargs: Any) -> Any:
        if watchers and state.autocast is not None:
            args = tuple(state.autocast(name, args))
            kwargs = dict(zip(kwargs, state.autocast(name, [*args[:1], *kwargs.values()])[len(args[:1]):]))
        return function(*args, **kwargs)

    return casting


def keeps(function: Callable) -> Callable:
    """Decorator of a function that is no product to ``autocast``, though it is made of one."""

    @functools.wraps(function)
    def keeping(*args: Any, **kwargs: Any) -> Any:
        if watchers and state.autocast is not None:
            with uncast():
                return function(*args, **kwargs)
        return function(*args, **kwargs)

    return keeping
