"""QR, eigenvalue and singular value decompositions, with their derivatives."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._tensor import Tensor
from ..creation import eye
from ..shape import contiguous
from . import view
from .arithmetic import where
from .declare import Context
from .diagonals import diag_embed
from .host import host_op
from .matmul import matmul
from .rearrange import tril
from .solvers import mt, solve_triangular


def _layouts(x: Tensor, *shapes: tuple[int, ...]) -> tuple:
    batch = x._layout.shape[:-2]
    return tuple(contiguous(batch + s, x._layout.dtype, x._layout.device) for s in shapes)


# -- QR


@host_op(["A"], saves=["out0", "out1"])
def qr_values(A: Tensor, complete: bool = False) -> Any:
    """Q with orthonormal columns and upper triangular R with Q @ R = A."""
    m, n = A._layout.shape[-2:]
    k = m if complete else min(m, n)
    return _layouts(A, (m, k), (k, n))


@qr_values.compute
def _(A: Any, complete: bool = False) -> Any:
    q, r = np.linalg.qr(A, "complete" if complete else "reduced")
    return q, r


@qr_values.backward
def _(ctx: Context, gq: Tensor | None, gr: Tensor | None) -> Any:
    q, r = ctx.out0, ctx.out1
    m, n = q._layout.shape[-2], r._layout.shape[-1]
    if ctx.attrs.get("complete") and m > n:
        raise RuntimeError(
            "The QR decomposition is not differentiable when mode='complete' and nrows > ncols; use mode='reduced'"
        )
    if m >= n:
        return _square_qr(q, r, gq, gr)
    u, rest_g = view.narrow(r, -1, 0, m), None
    gu = None if gr is None else view.narrow(gr, -1, 0, m)
    if gr is not None:
        from .joining import cat

        gv = view.narrow(gr, -1, m, n - m)
        y = matmul(q, view.narrow(r, -1, m, n - m))
        rest_g = matmul(q, gv)
        more = matmul(y, mt(gv))
        return cat([_square_qr(q, u, more if gq is None else gq + more, gu), rest_g], -1)
    from .joining import cat

    first = _square_qr(q, u, gq, None)
    return cat([first, 0.0 * matmul(q, view.narrow(r, -1, m, n - m))], -1)


def _square_qr(q: Tensor, r: Tensor, gq: Tensor | None, gr: Tensor | None) -> Tensor:
    """The gradient where A has at least as many rows as columns."""
    moment = None if gr is None else matmul(r, mt(gr))
    if gq is not None:
        inner = matmul(mt(gq), q)
        moment = -inner if moment is None else moment - inner
    assert moment is not None
    low = tril(moment, -1)
    copied = tril(moment) + mt(low)
    total = matmul(q, copied)
    total = total if gq is None else total + gq
    return mt(solve_triangular(r, mt(total), upper=True, unitriangular=False))


# -- symmetric eigenvalues


@host_op(["A"], saves=["out0", "out1"])
def eigh_values(A: Tensor, upper: bool) -> Any:
    """Eigenvalues in ascending order and eigenvectors of symmetric matrices, read from one triangle."""
    n = A._layout.shape[-1]
    return _layouts(A, (n,), (n, n))


@eigh_values.compute
def _(A: Any, upper: bool) -> Any:
    w, v = np.linalg.eigh(A, "U" if upper else "L")
    return w, v


@eigh_values.backward
def _(ctx: Context, gw: Tensor | None, gv: Tensor | None) -> Any:
    w, v = ctx.out0, ctx.out1
    if gv is None:
        assert gw is not None
        return matmul(v * view.unsqueeze(gw, -2), mt(v))
    gap = view.unsqueeze(w, -2) - view.unsqueeze(w, -1)
    turn = matmul(mt(v), gv)  # vectors stay orthonormal: only the skew part of a turn is one
    inner = _over(0.5 * (turn - mt(turn)), gap)
    if gw is not None:
        inner = inner + diag_embed(gw)
    return matmul(matmul(v, inner), mt(v))


def _over(x: Tensor, gap: Tensor) -> Tensor:
    """Quotients off the diagonal, 0 on it."""
    n = gap._layout.shape[-1]
    one = eye(n, dtype=gap.dtype, device=gap.device)
    return where(one == 1.0, 0.0, x / (gap + one))


# -- singular values


@host_op(["A"], saves=["out0", "out1", "out2"])
def svd_values(A: Tensor, full: bool = False) -> Any:
    """U, the singular values in descending order, and V transposed, with U * S @ Vh = A."""
    m, n = A._layout.shape[-2:]
    k = min(m, n)
    return _layouts(A, (m, m if full else k), (k,), (n if full else k, n))


@svd_values.compute
def _(A: Any, full: bool = False) -> Any:
    if not A.size:
        m, n = A.shape[-2:]
        k = min(m, n)
        one = [np.broadcast_to(np.eye(a, b), (*A.shape[:-2], a, b)) for a, b in ((m, m if full else k), (n if full else k, n))]  # fmt: skip
        return one[0], np.zeros((*A.shape[:-2], k)), one[1]
    u, s, vh = np.linalg.svd(A, full_matrices=full)
    return u, s, vh


@svd_values.backward
def _(ctx: Context, gu: Tensor | None, gs: Tensor | None, gvh: Tensor | None) -> Any:
    u, s, vh = ctx.out0, ctx.out1, ctx.out2
    k = s._layout.shape[-1]
    u, vh = view.narrow(u, -1, 0, k), view.narrow(vh, -2, 0, k)
    gu = None if gu is None else view.narrow(gu, -1, 0, k)
    gvh = None if gvh is None else view.narrow(gvh, -2, 0, k)
    if gu is None and gvh is None:
        assert gs is not None
        return matmul(u * view.unsqueeze(gs, -2), vh)
    gap = (view.unsqueeze(s, -2) - view.unsqueeze(s, -1)) * (view.unsqueeze(s, -2) + view.unsqueeze(s, -1))
    inner: Any = 0.0 if gs is None else diag_embed(gs)
    if gu is not None:
        w = matmul(mt(u), gu)
        inner = inner + _over(w - mt(w), gap) * view.unsqueeze(s, -2)
    if gvh is not None:
        w = matmul(vh, mt(gvh))
        inner = inner + view.unsqueeze(s, -1) * _over(w - mt(w), gap)
    result = matmul(matmul(u, inner), vh)
    if gu is not None and u._layout.shape[-2] > k:
        scaled = gu / view.unsqueeze(s, -2)
        result = result + matmul(scaled - matmul(u, matmul(mt(u), scaled)), vh)
    if gvh is not None and vh._layout.shape[-1] > k:
        scaled = gvh / view.unsqueeze(s, -1)
        result = result + matmul(u, scaled - matmul(matmul(scaled, mt(vh)), vh))
    return result
