"""float16, integers and bool through ops of every kind: values and dtypes as PyTorch's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import numtorch

pytestmark = pytest.mark.oracle
oracle = pytest.importorskip("torch")

DTYPES = ("float16", "uint8", "int64", "bool")
FLOATING = ("float16",)
WHOLE = ("uint8", "int64")
NUMBERS = (*FLOATING, *WHOLE)

# What is done to x (4, 6) with the library `t`, and the dtypes for which PyTorch does it on the CPU.
OPS: dict[str, tuple[tuple[str, ...], Callable[[Any, Any], Any]]] = {
    "add": (DTYPES, lambda t, x: x + x), "add a float": (DTYPES, lambda t, x: x + 1.5), "divide": (DTYPES, lambda t, x: x / 2),
    "mul by float32": (DTYPES, lambda t, x: x * t.ones(6)), "exp": (DTYPES, lambda t, x: t.exp(x)), "compare": (DTYPES, lambda t, x: x > 1),
    "sum": (DTYPES, lambda t, x: x.sum(1)), "mean": (FLOATING, lambda t, x: x.mean()), "prod": (DTYPES, lambda t, x: x.prod(1)),
    "amax": (DTYPES, lambda t, x: x.amax(0)), "argmax": (NUMBERS, lambda t, x: x.argmax(1)), "any": (DTYPES, lambda t, x: x.any(0)),
    "cumsum": (DTYPES, lambda t, x: x.cumsum(0)), "norm": (FLOATING, lambda t, x: x.norm(dim=1)), "std": (FLOATING, lambda t, x: x.std(0)),
    "softmax": (FLOATING, lambda t, x: x.softmax(1)), "logsumexp": (FLOATING, lambda t, x: x.logsumexp(1)),
    "matmul": (NUMBERS, lambda t, x: x @ x.T), "addmv": (NUMBERS, lambda t, x: t.addmv(x[:, 0], x, x[0], beta=0.6, alpha=2)),
    "linear": (NUMBERS, lambda t, x: t.nn.functional.linear(x, x, x[:, 0])),
    "conv": (FLOATING, lambda t, x: t.nn.functional.conv1d(x[None], x[None])),
    "layer_norm": (FLOATING, lambda t, x: t.nn.functional.layer_norm(x, (6,))), "gelu": (FLOATING, lambda t, x: t.nn.functional.gelu(x)),
    "max_pool": (FLOATING, lambda t, x: t.nn.functional.max_pool1d(x[None], 2)),
    "cross_entropy": (FLOATING, lambda t, x: t.nn.functional.cross_entropy(x, t.tensor([0, 5, 2, 1]))),
    "embedding": (FLOATING, lambda t, x: t.nn.functional.embedding(t.tensor([3, 0]), x)),
    "sort": (DTYPES, lambda t, x: x.sort(1)[0]), "topk": (NUMBERS, lambda t, x: x.topk(2)[0]), "unique": (DTYPES, lambda t, x: t.unique(x)),
    "gather": (DTYPES, lambda t, x: x.gather(1, t.tensor([[1], [0], [5], [2]]))), "index": (DTYPES, lambda t, x: x[:, [0, 3]]),
    "where": (DTYPES, lambda t, x: t.where(x > 1, x, x.T.reshape(4, 6))), "masked_fill": (NUMBERS, lambda t, x: x.masked_fill(x > 1, 2)),
    "scatter_add": (NUMBERS, lambda t, x: x.scatter_add(1, t.tensor([[1], [1], [0], [2]]), x)), "cat": (DTYPES, lambda t, x: t.cat([x, x])),
    "flip": (DTYPES, lambda t, x: x.flip(0)), "tril": (DTYPES, lambda t, x: x.tril()), "nonzero": (DTYPES, lambda t, x: x.nonzero()),
    "in place": (NUMBERS, lambda t, x: x.clone().add_(x).mul_(2)), "index_add": (NUMBERS, lambda t, x: x.index_add(0, t.tensor([1]), x[:1])),
    "sum_to_size": (DTYPES, lambda t, x: x.sum_to_size(1, 6)), "clamp": (NUMBERS, lambda t, x: x.clamp(1, 3)), "half": (DTYPES, lambda t, x: x.half()),
    "to int8": (DTYPES, lambda t, x: x.to(t.int8)), "i0": (DTYPES, lambda t, x: t.special.i0(x)), "bessel_j1": (WHOLE, lambda t, x: t.special.bessel_j1(x)),
    "quantile": ((), lambda t, x: x.quantile(0.5)), "masked mean": (FLOATING, lambda t, x: t.masked.mean(x, 1, mask=x > 1)),
    "masked sum": (NUMBERS, lambda t, x: t.masked.sum(x, 0, mask=x > 1)), "legendre": (WHOLE, lambda t, x: t.special.legendre_polynomial_p(x, 3)),
}  # fmt: skip
DONE = [(name, dtype) for name, (dtypes, _) in OPS.items() for dtype in dtypes]
REFUSED = [(name, dtype) for name in ("norm", "std", "softmax", "quantile", "layer_norm") for dtype in (*WHOLE, "bool")]


def matrix(dtype: str) -> np.ndarray:
    return (np.random.default_rng(0).integers(0, 9, (4, 6)) / (2 if dtype == "float16" else 1)).astype(dtype)


@pytest.mark.parametrize(("name", "dtype"), DONE)
def test_values_and_dtypes(name, dtype):
    function = OPS[name][1]
    want = function(oracle, oracle.tensor(matrix(dtype)))
    have = function(numtorch, numtorch.tensor(matrix(dtype)))
    assert have.dtype.name == str(want.dtype).removeprefix("torch.") and tuple(have.shape) == tuple(want.shape)
    tolerance = 2e-3 if have.dtype is numtorch.float16 else 2e-6
    np.testing.assert_allclose(have.numpy(), want.numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("name", "dtype"), [(n, d) for n, d in DONE if d == "float16" and n not in ("compare", "to int8", "half", "unique", "scatter_add")])
def test_gradients_of_float16_are_float16(name, dtype):
    found = []
    for library in (oracle, numtorch):
        x = library.tensor(matrix(dtype), requires_grad=True)
        out = OPS[name][1](library, x)
        if not out.dtype.is_floating_point:
            return
        out.sum().backward()
        assert x.grad.dtype is library.float16
        found.append(x.grad.numpy())
    np.testing.assert_allclose(found[1], found[0], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(("name", "dtype"), REFUSED)
def test_refused_dtypes_raise_the_same_class(name, dtype):
    function = OPS[name][1]
    with pytest.raises(Exception) as wanted:
        function(oracle, oracle.tensor(matrix(dtype)))
    with pytest.raises(type(wanted.value)):
        function(numtorch, numtorch.tensor(matrix(dtype)))
