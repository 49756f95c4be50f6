"""numtorch.special: PyTorch's special functions, as elementwise kernels with derivatives.

Example:
    >>> import numtorch
    >>> numtorch.special.ndtr(numtorch.tensor([0.0]))
    tensor([0.5000])
"""

from __future__ import annotations

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
    zeta,
)
from .ops.elementwise_more import lgamma as gammaln
from .ops.mathematics import logit, polygamma
from .ops.mathematics import mvlgamma as multigammaln
from .ops.reduce import logsumexp
from .ops.softmax import log_softmax, softmax

psi = digamma
modified_bessel_i0, modified_bessel_i1 = i0, i1

__all__ = [
    "digamma", "entr", "erf", "erfc", "erfcx", "erfinv", "exp2", "expit", "expm1", "gammaln", "i0", "i0e", "i1", "i1e",
    "log1p", "log_ndtr", "log_softmax", "logit", "logsumexp", "modified_bessel_i0", "modified_bessel_i1",
    "multigammaln", "ndtr", "polygamma", "psi", "round", "sinc", "softmax", "xlog1py", "xlogy", "zeta",
]  # fmt: skip
