"""The ops: one declaration each. Importing this package fills ``declare.TABLE``."""

from . import (
    arithmetic,
    conv,
    copying,
    elementwise,
    index,
    joining,
    loss,
    masked,
    places,
    pool,
    random,
    reduce,
    scatter,
    slices,
    softmax,
    view,
)
from .conv import convolution
from .declare import TABLE
from .loss import cross_entropy, nll_loss
from .masked import embedding
from .matmul import linear
from .updates import live, update

__all__ = [
    "TABLE",
    "arithmetic",
    "conv",
    "convolution",
    "copying",
    "cross_entropy",
    "elementwise",
    "embedding",
    "index",
    "joining",
    "linear",
    "live",
    "loss",
    "masked",
    "nll_loss",
    "places",
    "pool",
    "random",
    "reduce",
    "scatter",
    "slices",
    "softmax",
    "update",
    "view",
]
