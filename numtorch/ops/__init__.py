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
    norm,
    places,
    pool,
    random,
    reduce,
    scan,
    scatter,
    search,
    slices,
    softmax,
    sort,
    view,
)
from .batchnorm import batch_norm
from .conv import convolution
from .declare import TABLE
from .loss import cross_entropy, nll_loss
from .masked import embedding
from .matmul import linear
from .norm import group_norm, layer_norm, rms_norm
from .random import dropout
from .updates import live, update

__all__ = [
    "TABLE",
    "arithmetic",
    "batch_norm",
    "conv",
    "convolution",
    "copying",
    "cross_entropy",
    "dropout",
    "elementwise",
    "embedding",
    "group_norm",
    "index",
    "joining",
    "layer_norm",
    "linear",
    "live",
    "loss",
    "masked",
    "nll_loss",
    "norm",
    "places",
    "pool",
    "random",
    "reduce",
    "rms_norm",
    "scan",
    "scatter",
    "search",
    "slices",
    "softmax",
    "sort",
    "update",
    "view",
]
