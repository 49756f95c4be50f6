"""numtorch.special: PyTorch's special functions, as elementwise kernels with derivatives.

Example:
    >>> import numtorch
    >>> numtorch.special.ndtr(numtorch.tensor([0.0]))
    tensor([0.5000])
"""

from __future__ import annotations

from ._tensor import Tensor as _Tensor
from .absent import hints as _hints
from .errors import HALVES as _HALVES
from .errors import refuse_dtypes as _refuse_dtypes
from .ops.bessel import (
    airy_ai,
    bessel_j0,
    bessel_j1,
    bessel_y0,
    bessel_y1,
    modified_bessel_i0,
    modified_bessel_i1,
    modified_bessel_k0,
    modified_bessel_k1,
    scaled_modified_bessel_k0,
    scaled_modified_bessel_k1,
    spherical_bessel_j0,
)
from .ops.elementwise import erf, erfc, erfinv, exp2, expm1, log1p
from .ops.elementwise import round_values as round
from .ops.elementwise import sigmoid as expit
from .ops.elementwise_more import (
    digamma,
    entr,
    erfcx,
    i0,
    i0e,
    i1,
    i1e,
    log_ndtr,
    ndtr,
    sinc,
    xlog1py,
    xlogy,
)
from .ops.elementwise_more import lgamma as gammaln
from .ops.elementwise_more import zeta as _zeta
from .ops.gamma import igamma as gammainc
from .ops.gamma import igammac as gammaincc
from .ops.gamma import ndtri
from .ops.mathematics import logit, polygamma
from .ops.mathematics import mvlgamma as multigammaln
from .ops.polynomials import (
    chebyshev_polynomial_t,
    chebyshev_polynomial_u,
    chebyshev_polynomial_v,
    chebyshev_polynomial_w,
    hermite_polynomial_h,
    hermite_polynomial_he,
    laguerre_polynomial_l,
    legendre_polynomial_p,
    shifted_chebyshev_polynomial_t,
    shifted_chebyshev_polynomial_u,
    shifted_chebyshev_polynomial_v,
    shifted_chebyshev_polynomial_w,
)
from .ops.reduce import logsumexp
from .ops.softmax import log_softmax, softmax

psi = digamma


def zeta(input: _Tensor, other: _Tensor, *, out: _Tensor | None = None) -> _Tensor:
    """The Hurwitz zeta function: the sum of (other + k)**-input over k = 0, 1, ..."""
    for x in (input, other):
        if hasattr(x, "_layout"):
            _refuse_dtypes("zeta", x, _HALVES)
    return _zeta(input, other, out=out)



__all__ = [
    "airy_ai", "bessel_j0", "bessel_j1", "bessel_y0", "bessel_y1", "chebyshev_polynomial_t",
    "chebyshev_polynomial_u", "chebyshev_polynomial_v", "chebyshev_polynomial_w", "digamma", "entr", "erf",
    "erfc", "erfcx", "erfinv", "exp2", "expit", "expm1", "gammainc", "gammaincc", "gammaln",
    "hermite_polynomial_h", "hermite_polynomial_he", "i0", "i0e", "i1", "i1e", "laguerre_polynomial_l",
    "legendre_polynomial_p", "log1p", "log_ndtr", "log_softmax", "logit", "logsumexp", "modified_bessel_i0",
    "modified_bessel_i1", "modified_bessel_k0", "modified_bessel_k1", "multigammaln", "ndtr", "ndtri",
    "polygamma", "psi", "round", "scaled_modified_bessel_k0", "scaled_modified_bessel_k1",
    "shifted_chebyshev_polynomial_t", "shifted_chebyshev_polynomial_u", "shifted_chebyshev_polynomial_v",
    "shifted_chebyshev_polynomial_w", "sinc", "softmax", "spherical_bessel_j0", "xlog1py", "xlogy", "zeta",
]  # fmt: skip

__getattr__ = _hints(__name__)
