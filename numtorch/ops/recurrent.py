"""The cells of recurrent networks: one fused kernel a step forward, one backward.

A step's gates are ``x`` (from the input, bias included) plus ``h`` (from the state). The forward bodies
give the gates as
well, for the backward bodies. Derivatives of the derivatives go through ordinary operations
(``nn/_recurrent.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .elementwise import maximum, sigmoid, tanh, where
from .pointwise import Elementwise, elementwise


@elementwise(outputs=6, int_ok=False)
def lstm_step(xi, xf, xu, xo, hi, hf, hu, ho, c):
    """Input, forget, update and output gate, then the new cell and the new hidden state."""
    i = sigmoid(xi + hi)
    f = sigmoid(xf + hf)
    u = tanh(xu + hu)
    o = sigmoid(xo + ho)
    cell = f * c + i * u
    return i, f, u, o, cell, o * tanh(cell)


@elementwise(outputs=5, int_ok=False)
def lstm_step_back(i, f, u, o, c, cell, dh, dnext, dcell):
    """Gradients of the gates before their activations, and of the old cell."""
    t = tanh(cell)
    g = dh + dnext
    d = dcell + g * (o * (1.0 - t * t))
    return (
        d * (u * (i * (1.0 - i))),
        d * (c * (f * (1.0 - f))),
        d * (i * (1.0 - u * u)),
        g * (t * (o * (1.0 - o))),
        d * f,
    )


@elementwise(outputs=4, int_ok=False)
def gru_step(xr, xz, xn, hr, hz, hn, h):
    """Reset gate, update gate and candidate, then the new hidden state."""
    r = sigmoid(xr + hr)
    z = sigmoid(xz + hz)
    n = tanh(xn + r * hn)
    return r, z, n, n + z * (h - n)


@elementwise(outputs=7, int_ok=False)
def gru_step_back(r, z, n, hn, h, dh, dnext):
    """Gradients of the three gates from the input, of the three from the state, and of the old state
    itself.
    """
    g = dh + dnext
    dn = g * ((1.0 - z) * (1.0 - n * n))
    dz = g * ((h - n) * (z * (1.0 - z)))
    dr = dn * (hn * (r * (1.0 - r)))
    return dr, dz, dn, dr, dz, dn * r, g * z


@elementwise(int_ok=False)
def tanh_step(x, h):
    """The new hidden state ``tanh(x + h)``."""
    return tanh(x + h)


@elementwise(int_ok=False)
def tanh_step_back(y, dh, dnext):
    """Gradient of ``x + h`` in ``tanh_step``, from its result."""
    return (dh + dnext) * (1.0 - y * y)


@elementwise(int_ok=False)
def relu_step(x, h):
    """The new hidden state ``max(x + h, 0)``."""
    return maximum(x + h, 0.0)


@elementwise(int_ok=False)
def relu_step_back(y, dh, dnext):
    """Gradient of ``x + h`` in ``relu_step``, from its result."""
    return where(y > 0.0, dh + dnext, 0.0)


def run_into(op: Elementwise, outputs: Sequence[Any], args: Sequence[Any]) -> None:
    """Run an elementwise op into given tensors of one shape, without history."""
    key = ("into", *[t._layout for t in outputs], *[a._layout for a in args])
    plan = op._plans.get(key)
    if plan is None:
        plan, _ = op.plan(key, tuple(args), out=[t._layout for t in outputs])
    op.execute(plan, outputs, args)
    for t in outputs:
        t._storage.version += 1
