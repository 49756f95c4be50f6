"""Edges of dtypes and sizes, recorded from PyTorch 2.13."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

import numtorch as torch
from numtorch.nn import functional as F

oracle = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")


def ints(*values, dtype=torch.int64):
    return torch.tensor(list(values), dtype=dtype)


# -- dtypes of powers


def test_square_of_bool_is_int64():
    y = torch.tensor([True, False]).square()
    assert y.dtype == torch.int64 and y.tolist() == [1, 0]
    assert ints(3, dtype=torch.uint8).square().dtype == torch.uint8
    with pytest.raises(RuntimeError, match=r"result type Long can't be cast to the desired output type Bool"):
        torch.tensor([True]).square_()


def test_in_place_float_power_is_for_float64():
    assert torch.tensor([1.5]).double().float_power_(2).tolist() == [2.25]
    for base in (torch.tensor([1.5]), ints(2)):
        with pytest.raises(RuntimeError, match="float_power_: the base given has dtype .* requires dtype float64"):
            base.float_power_(2)
    assert torch.tensor([1.5]).float_power(2).dtype == torch.float64
    x = torch.tensor([3.0], dtype=torch.float64, requires_grad=True)
    (x * 1).float_power_(2).sum().backward()
    assert x.grad.tolist() == [6]


# -- indices: (call, what comes of it)

ONE = torch.ones(3)
NONE = torch.tensor([], dtype=torch.int64)
INDEXED = {
    "index_select, 0-d": (lambda: torch.tensor(4.0).index_select(0, ints(0)), 4.0),
    "index_select, 0-d index": (lambda: torch.tensor([4.0, 5.0]).index_select(0, torch.tensor(1)), [5.0]),
    "index_select, 0-d by two": (lambda: torch.tensor(4.0).index_select(0, ints(0, 0)), RuntimeError),
    "index_select, none": (lambda: ONE.index_select(0, NONE), []),
    "index_select, none of none": (lambda: torch.ones(0).index_select(0, NONE), []),
    "index_select, one of none": (lambda: torch.ones(0).index_select(0, ints(0)), IndexError),
    "index_select, empty floats": (lambda: ONE.index_select(0, torch.tensor([])), RuntimeError),
    "index_select, int32": (lambda: ONE.index_select(0, ints(1, dtype=torch.int32)), [1.0]),
    "index_select, uint8": (lambda: ONE.index_select(0, ints(1, dtype=torch.uint8)), RuntimeError),
    "index_select, negative": (lambda: ONE.index_select(0, ints(-1)), IndexError),
    "index_add, 0-d": (lambda: torch.tensor(1.0).index_add(0, torch.tensor(0), torch.tensor(2.0)), 3.0),
    "index_add, 0-d by a vector": (lambda: torch.tensor(1.0).index_add(0, ints(0), torch.ones(1)), RuntimeError),
    "index_add, a number": (lambda: ONE.index_add(0, ints(1), torch.tensor(1.0)), RuntimeError),
    "index_add, none": (lambda: ONE.index_add(0, NONE, torch.ones(0)), [1.0, 1.0, 1.0]),
    "index_add, empty floats": (lambda: ONE.index_add(0, torch.tensor([]), torch.ones(0)), RuntimeError),
    "index_add, int32": (lambda: ONE.index_add(0, ints(1, dtype=torch.int32), torch.ones(1)), [1.0, 2.0, 1.0]),
    "index_add, uint8": (lambda: ONE.index_add(0, ints(1, dtype=torch.uint8), torch.ones(1)), RuntimeError),
    "index_add, out of a vector": (lambda: ONE.index_add(0, ints(3), torch.ones(1)), IndexError),
    "index_add, out of a matrix": (lambda: torch.ones(3, 2).index_add(0, ints(3), torch.ones(1, 2)), RuntimeError),
    "index_add, negative": (lambda: torch.ones(3, 2).index_add(0, ints(-1), torch.ones(1, 2)), RuntimeError),
    "embedding, 0-d": (lambda: F.embedding(torch.tensor(1), torch.ones(3, 2)), [1.0, 1.0]),
    "embedding, none": (lambda: F.embedding(NONE, torch.ones(3, 2)), []),
    "embedding, none of none": (lambda: F.embedding(NONE, torch.ones(0, 2)), []),
    "embedding, one of none": (lambda: F.embedding(ints(0), torch.ones(0, 2)), RuntimeError),
    "embedding, empty floats": (lambda: F.embedding(torch.tensor([]), torch.ones(3, 2)), RuntimeError),
    "embedding, int32": (lambda: F.embedding(ints(0, dtype=torch.int32), torch.ones(3, 2)), [[1.0, 1.0]]),
    "embedding, int16": (lambda: F.embedding(ints(0, dtype=torch.int16), torch.ones(3, 2)), RuntimeError),
    "embedding, bool": (lambda: F.embedding(torch.tensor([True]), torch.ones(3, 2)), RuntimeError),
    "embedding, integers": (lambda: F.embedding(ints(1), torch.ones(3, 2, dtype=torch.int64)), [[1, 1]]),
}  # fmt: skip


@pytest.mark.parametrize("name", INDEXED)
def test_indices(name):
    call, expected = INDEXED[name]
    if isinstance(expected, type):
        with pytest.raises(expected) as caught:
            call()
        assert caught.type is expected
    else:
        assert call().tolist() == expected


# -- convolutions


@pytest.mark.parametrize("kind", ["int64", "int32", "uint8"])
def test_convolution_of_integers(kind):
    d = getattr(torch, kind)
    x = torch.arange(2 * 4 * 6 * 5).reshape(2, 4, 6, 5).to(d) % 7
    w = (torch.arange(6 * 2 * 3 * 2).reshape(6, 2, 3, 2) % 5 - (0 if kind == "uint8" else 2)).to(d)
    given = {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 2), "groups": 2}
    y = F.conv2d(x, w, torch.arange(6).to(d), **given)
    want = F.conv2d(x.double(), w.double(), torch.arange(6).double(), **given)
    assert y.dtype == d and y.tolist() == want.to(torch.int64).to(d).tolist()


@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_convolution_of_integers(groups):
    y, w = torch.arange(2 * 4 * 3 * 3).reshape(2, 4, 3, 3) % 7, torch.arange(4 * 3 * 3 * 2).reshape(4, 3, 3, 2) % 5 - 2
    given = {"stride": (2, 3), "padding": (1, 0), "output_padding": (1, 2), "dilation": (2, 1), "groups": groups}
    have = F.conv_transpose2d(y, w, None, **given)
    want = F.conv_transpose2d(y.double(), w.double(), None, **given)
    assert have.dtype == torch.int64 and have.tolist() == want.to(torch.int64).tolist()


def test_large_integers_stay_exact():
    x = torch.tensor([[[2**60, 1, 2**60 + 1]]])
    assert F.conv1d(x, torch.tensor([[[1, -1]]])).tolist() == [[[2**60 - 1, -(2**60)]]]


def test_convolution_of_bools_is_refused():
    x = torch.ones(1, 1, 3, dtype=torch.bool)
    with pytest.raises(NotImplementedError, match="not implemented for 'Bool'"):
        F.conv1d(x, x)


NOTHING = {
    "no batch": ((0, 1, 3, 3), (2, 1, 2, 2), (0, 2, 2, 2)), "no input channels": ((1, 0, 3, 3), (2, 0, 2, 2), (1, 0, 2, 2)),
    "nothing at all": ((0, 0, 3, 3), (2, 0, 2, 2), (0, 0, 2, 2)),
}  # fmt: skip


@pytest.mark.parametrize("name", NOTHING)
@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
def test_convolution_of_nothing(name, dtype):
    x, w, shape = NOTHING[name]
    a, b = torch.ones(x, dtype=dtype), torch.ones(w, dtype=dtype)
    assert tuple(F.conv2d(a, b).shape) == shape
    if dtype.is_floating_point:
        a.requires_grad_(), b.requires_grad_()
        F.conv2d(a, b).sum().backward()
        assert tuple(a.grad.shape) == x and tuple(b.grad.shape) == w and not b.grad.any()


def test_no_output_channels_are_refused():
    with pytest.raises(RuntimeError, match="expected weight to be at least 1 at dimension 0"):
        F.conv2d(torch.ones(1, 1, 3, 3), torch.ones(0, 1, 2, 2))


def test_in_place_forms_keep_what_their_backward_reads():
    x = torch.tensor([0.2, 0.7], requires_grad=True)
    for name, args in (("logit_", ()), ("xlogy_", (torch.tensor(2.0),)), ("sinc_", ()), ("renorm_", (2, 0, 0.5))):
        y = (x * 1.0).reshape(2, 1) if name == "renorm_" else x * 1.0
        out = getattr(torch.Tensor, name[:-1])(y, *args).sum()
        (want,) = torch.autograd.grad(out, x)
        y = (x * 1.0).reshape(2, 1) if name == "renorm_" else x * 1.0
        (have,) = torch.autograd.grad(getattr(y, name)(*args).sum(), x)
        assert torch.allclose(have, want), name


# -- tensors from Python data

DATA = {
    "ragged": ([[1, 2], [3]], ValueError, "expected sequence of length 2 at dim 1 (got 1)"),
    "ragged, deep": ([[[1, 2], [3, 4]], [[1, 2], [3]]], ValueError, "expected sequence of length 2 at dim 2 (got 1)"),
    "a sequence for a number": ([1, [2]], TypeError, "'list' object cannot be interpreted"),
    "a number for a sequence": ([[1, 2], 3], TypeError, "not a sequence"),
    "strings": (["a"], ValueError, "too many dimensions 'str'"),
    "a string": ("a", TypeError, "invalid data type 'str'"),
    "a string among numbers": ([1, "a"], TypeError, "invalid data type 'str'"),
    "bytes": ([b"a"], TypeError, "invalid data type 'bytes'"),
    "None": ([1, None], RuntimeError, "Could not infer dtype of NoneType"),
    "a dict": ({}, RuntimeError, "Could not infer dtype of dict"),
    "too long": ([2**63], ValueError, "Overflow when unpacking long long"),
    "too long, alone": (2**63, ValueError, "Overflow when unpacking long long"),
    "much too long": ([2**70], ValueError, "Overflow when unpacking long long"),
    "tensors": ([torch.ones(2), torch.ones(2)], ValueError, "only one element tensors can be converted"),
}


@pytest.mark.parametrize("name", DATA)
def test_what_is_no_tensor(name):
    data, error, message = DATA[name]
    with pytest.raises(error) as caught:
        torch.tensor(data)
    assert caught.type is error and message in str(caught.value)


@pytest.mark.parametrize("data, dtype", [
    ([300], torch.uint8), (300, torch.uint8), ([-129], torch.int8), ([2**40], torch.int32), ([300.0], torch.uint8),
    ([float("inf")], torch.int64), ([float("nan")], torch.int64), ([-256], torch.uint8),
])  # fmt: skip
def test_numbers_that_a_dtype_cannot_hold(data, dtype):
    with pytest.raises(RuntimeError, match=r"value cannot be converted to type \w+ without overflow"):
        torch.tensor(data, dtype=dtype)


def test_numbers_that_it_can():
    assert torch.tensor([-1, -200], dtype=torch.uint8).tolist() == [255, 56]
    assert torch.tensor([2**64], dtype=torch.float32).item() == 2.0**64
    assert torch.tensor([torch.ones(1), torch.tensor(2.0), 3]).tolist() == [1, 2, 3]
    assert torch.tensor([np.float32(1.5), 2]).tolist() == [1.5, 2]
    assert torch.tensor([1.5, -1.5], dtype=torch.int64).tolist() == [1, -1]


@oracle
@pytest.mark.oracle
def test_convolutions_of_integers_are_pytorchs():
    import torch as pytorch

    rng = np.random.default_rng(0)
    for dims in (1, 2, 3):
        x, w = rng.integers(-5, 5, (2, 4, *(7, 6, 5)[:dims])), rng.integers(-5, 5, (6, 2, *(3, 2, 2)[:dims]))
        name, given = f"conv{dims}d", {"stride": 2, "padding": 1, "dilation": 2, "groups": 2}
        want = getattr(pytorch.nn.functional, name)(pytorch.from_numpy(x), pytorch.from_numpy(w), **given)
        have = getattr(F, name)(torch.from_numpy(x), torch.from_numpy(w), **given)
        assert have.tolist() == want.tolist()


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64"])
def test_gcd_and_lcm_are_those_of_numpy(dtype):
    a, b = np.meshgrid(*(np.array([0, 1, 4, 6, 9, 10], dtype),) * 2)
    for name in ("gcd", "lcm"):
        got = getattr(torch, name)(torch.tensor(a), torch.tensor(b))
        np.testing.assert_array_equal(got.numpy(), getattr(np, name)(a, b))
        assert got.dtype == getattr(torch, dtype)
