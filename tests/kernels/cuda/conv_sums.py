"""Convolutions for tests, and their sums written out in NumPy."""

from __future__ import annotations

import itertools

import numpy as np
from twins import check_close, randoms

from numtorch.kernels.cuda.conv_plan import Conv

CASES = {
    "2d": Conv(2, 3, 4, (1, 6, 5), (1, 3, 2)),
    "strided": Conv(1, 4, 6, (1, 7, 8), (1, 3, 3), (1, 2, 3), (0, 1, 2), (1, 1, 2), 2),
    "3d": Conv(1, 2, 3, (4, 3, 4), (2, 2, 3), (2, 1, 1), (1, 0, 1)),
    "1x1": Conv(2, 3, 70, (1, 1, 9), (1, 1, 1)),
}


def patches(conv: Conv, x: np.ndarray):
    """For each output position and tap inside of the image: (output index, tap index, input index)."""
    for o in itertools.product(*map(range, conv.output)):
        for t in itertools.product(*map(range, conv.kernel)):
            i = tuple(
                a * s - p + b * d for a, b, s, p, d in zip(o, t, conv.stride, conv.padding, conv.dilation)
            )
            if all(0 <= v < n for v, n in zip(i, conv.input)):
                yield o, t, i


def reference(conv: Conv, x, w, dy) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(y, dx, dw) in float64."""
    G, M, Q = conv.groups, conv.OC // conv.groups, conv.C // conv.groups
    x, dy = (
        x.astype("f8").reshape(conv.N, G, Q, *conv.input),
        dy.astype("f8").reshape(conv.N, G, M, *conv.output),
    )
    w = w.astype("f8").reshape(G, M, Q, *conv.kernel)
    y, dx, dw = np.zeros_like(dy), np.zeros_like(x), np.zeros_like(w)
    for o, t, i in patches(conv, x):
        o, t, i = (..., *o), (..., *t), (..., *i)
        y[o] += np.einsum("ngq,gmq->ngm", x[i], w[t])
        dx[i] += np.einsum("ngm,gmq->ngq", dy[o], w[t])
        dw[t] += np.einsum("ngm,ngq->gmq", dy[o], x[i])
    return y, dx, dw


def operands(conv: Conv, dtype: str = "float32"):
    x = randoms(0, conv.N, conv.C, *conv.input, dtype=dtype)
    w = randoms(1, conv.OC, conv.C // conv.groups, *conv.kernel, dtype=dtype)
    return x, w, randoms(2, conv.N, conv.OC, *conv.output, dtype=dtype)


def close(what: str, found: np.ndarray, wanted: np.ndarray) -> None:
    tolerance = 3e-6 if found.dtype == np.float32 else 1e-14
    check_close(what, found, wanted.reshape(found.shape).astype(found.dtype), tolerance)
