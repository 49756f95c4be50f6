"""The ops: one declaration each. Importing this package fills ``declare.TABLE``."""

from . import (
    arithmetic,
    conv,
    copying,
    elementwise,
    index,
    joining,
    random,
    loss,
    places,
    pool,
    reduce,
    softmax,
    view,
)
from .conv import convolution
from .declare import TABLE
from .loss import cross_entropy, nll_loss
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
    "index",
    "joining",
    "linear",
    "live", "random",
    "loss",
    "nll_loss",
    "places",
    "pool",
    "reduce",
    "softmax",
    "update",
    "view",
]
