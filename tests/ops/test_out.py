"""``out=``: resized with a warning, dtypes that must be the result's or may be cast to, overlaps, several outputs; after PyTorch 2.13."""

from __future__ import annotations

import pytest

import numtorch as torch

X = torch.tensor([[3.0, -1.0], [2.0, 5.0]])


def test_the_result_is_out_and_keeps_its_strides():
    memory = torch.zeros(2, 4)
    out = memory[:, ::2]
    assert torch.mm(X, X, out=out) is out and out.stride() == (4, 2)
    assert torch.equal(memory[:, ::2], X @ X) and not memory[:, 1::2].any()
    values, places = torch.zeros(2), torch.zeros(2, dtype=torch.int64)
    found = torch.max(X, 1, out=(values, places))
    assert found.values is values and found.indices is places and places.tolist() == [0, 1]
    number = (torch.zeros(()), torch.zeros((), dtype=torch.int64))
    assert torch.min(torch.tensor(2.0), 0, out=number)[0] is number[0] and number[0] == 2


def test_another_shape_warns_unless_out_is_empty():
    with pytest.warns(UserWarning, match=r"was resized since it had shape \[3\], which does not match the required output shape \[2, 2\]"):
        out = torch.exp(X, out=torch.zeros(3))
    assert out.shape == (2, 2)
    assert torch.exp(X, out=torch.empty(0)).shape == (2, 2)


CAST = {"exp": lambda o: torch.exp(X, out=o), "mean": lambda o: torch.mean(X, 0, out=o), "cat": lambda o: torch.cat([X, X], out=o)}
EXACT = {"mm": lambda o: torch.mm(X, X, out=o), "abs": lambda o: torch.abs(X, out=o), "amax": lambda o: torch.amax(X, 0, out=o),
         "index_select": lambda o: torch.index_select(X, 0, torch.tensor([1]), out=o), "diag": lambda o: torch.diag(X, out=o)}  # fmt: skip


@pytest.mark.parametrize("name", CAST)
def test_out_of_a_wider_dtype(name):
    assert CAST[name](torch.empty(0, dtype=torch.float64)).dtype is torch.float64
    with pytest.raises(TypeError if name == "cat" else RuntimeError, match="can't be cast to the desired output type int64; give"):
        CAST[name](torch.empty(0, dtype=torch.int64))


@pytest.mark.parametrize("name", EXACT)
def test_out_of_exactly_the_results_dtype(name):
    with pytest.raises(RuntimeError, match="Expected out tensor to have dtype float32, but got float64 instead; give"):
        EXACT[name](torch.empty(0, dtype=torch.float64))


def test_sums_are_made_in_the_dtype_of_out():
    assert torch.cumsum(torch.tensor([1.6, 1.6]), 0, out=torch.empty(2, dtype=torch.int64)).tolist() == [1, 2]
    assert torch.cumprod(X[0], 0, out=torch.empty(2, dtype=torch.int64)).tolist() == [3, -3]


def test_nothing_is_written_when_one_of_several_is_refused():
    values = torch.zeros(2)
    with pytest.raises(RuntimeError, match="Expected out tensor to have dtype int64"):
        torch.max(X, 1, out=(values, torch.zeros(2)))
    assert values.tolist() == [0, 0]
    with pytest.raises(TypeError, match="must be tuple of 2 Tensors, not Tensor"):
        torch.kthvalue(X, 1, out=values)


@pytest.mark.parametrize("call", [
    lambda x: torch.take(x, torch.tensor([1, 0]), out=x[:2]), lambda x: torch.masked_select(x, x > 0, out=x),
    lambda x: torch.cat([x[:2], x[2:]], out=x), lambda x: torch.kthvalue(x, 1, out=(x[:1], torch.empty(0, dtype=torch.int64))),
])  # fmt: skip
def test_overlaps_are_refused_where_pytorch_does(call):
    with pytest.raises(RuntimeError, match=r"refer to a single memory location. Please clone\(\)"):
        call(torch.arange(4.0))


def test_functions_of_nn_have_it():
    F, out = torch.nn.functional, torch.empty(0)
    for call in (lambda: F.linear(X, X, out=out), lambda: F.gelu(X, out=out), lambda: F.hardshrink(X, out=out),
                 lambda: F.softplus(X, out=out), lambda: F.logsigmoid(X, out=out), lambda: torch.slice_scatter(X, X, out=out)):  # fmt: skip
        assert call() is out and out.shape == (2, 2)
    assert F.avg_pool2d(X[None], 2, out=out.resize_(0)) is out and out.tolist() == [[[2.25]]]


def test_out_that_requires_grad():
    with pytest.raises(RuntimeError, match="don't support automatic differentiation"):
        torch.exp(X, out=torch.empty(0, requires_grad=True))
