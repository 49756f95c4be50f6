"""assert_close: what passes, what fails, and in PyTorch's words; make_tensor."""

from __future__ import annotations

import math

import numpy as np
import pytest

import numtorch

T = numtorch.tensor
close = numtorch.testing.assert_close

# (actual, expected, options): the error of PyTorch for the same is compared in the last test.
CASES = [
    lambda t: (t.tensor([1.0, 2.0]), t.tensor([1.0, 2.5]), {}),
    lambda t: (t.tensor([[1.0, 2.0], [3.0, 4.0]]), t.tensor([[1.0, 2.5], [3.0, 5.0]]), {"rtol": 0.1, "atol": 0.0}),
    lambda t: (t.tensor([1, 2]), t.tensor([1, 3]), {}),
    lambda t: (t.tensor([True]), t.tensor([False]), {}),
    lambda t: (t.tensor(1.0), t.tensor(3.0), {}),
    lambda t: (t.ones(2), t.ones(3), {}),
    lambda t: (t.ones(2), t.ones(2).double(), {}),
    lambda t: (t.ones(2, 3), t.ones(3, 2).t(), {"check_stride": True}),
    lambda t: (1.0, 2.0, {}),
    lambda t: (1, 2, {}),
    lambda t: ([t.ones(1), {"a": t.ones(1)}], [t.ones(1), {"a": t.zeros(1)}], {}),
    lambda t: ([1.0], [1.0, 2.0], {}),
    lambda t: ({"a": 1.0}, {"b": 1.0}, {}),
    lambda t: (None, 1.0, {}),
    lambda t: (t.tensor([math.nan]), t.tensor([math.nan]), {}),
    lambda t: (t.ones(1), 1.0, {}),
    lambda t: ("text", "text", {}),
    lambda t: (1.0, 2.0, {"rtol": 0.1}),
    lambda t: (1.0, 2.0, {"msg": "Look here"}),
    lambda t: (t.ones(1), t.zeros(1), {"msg": lambda m: f"Header\n\n{m}"}),
]


def failure(torch, case):
    actual, expected, options = case(torch)
    with pytest.raises((AssertionError, TypeError, ValueError)) as raised:
        torch.testing.assert_close(actual, expected, **options)
    return type(raised.value), str(raised.value).replace("numtorch.", "torch.")


def test_what_is_close():
    close(T([1.0, 2.0]), T([1.0 + 1e-6, 2.0]))
    close(np.ones(2), np.ones(2))
    close([1, (2.0, None)], [1, (2.0 + 1e-9, None)])
    close({"a": T([math.nan])}, {"a": T([math.nan])}, equal_nan=True)
    close(T([1, 2]), T([1.0, 2.0]), check_dtype=False)
    close(T([math.inf]), T([math.inf]))
    close(T(2**62), T(2**62))
    numtorch.testing.assert_allclose([1.0], T([1.0]))


@pytest.mark.parametrize("number", range(len(CASES)))
def test_what_is_not(number):
    assert failure(numtorch, CASES[number])[1]


def test_the_message_names_element_and_item():
    kind, text = failure(numtorch, CASES[10])
    assert kind is AssertionError and "Mismatched elements: 1 / 1 (100.0%)" in text and text.endswith("The failure occurred for item [1]['a']")
    with pytest.raises(AssertionError, match="not equal"):
        close(T(2**62), T(2**62 + 1))


@pytest.mark.parametrize("d", [numtorch.float16, numtorch.float64, numtorch.int32, numtorch.uint8, numtorch.bool])
def test_make_tensor(d):
    x = numtorch.testing.make_tensor(3, 4, dtype=d, noncontiguous=True, exclude_zero=True)
    assert x.shape == (3, 4) and x.dtype is d and not x.is_contiguous() and bool((x != 0).all())
    y = numtorch.testing.make_tensor((50,), dtype=d, low=0, high=2)
    assert float(y.min()) >= 0 and float(y.max()) < 2 and y.double().std() > 0.3


def test_make_tensor_refuses():
    with pytest.raises(ValueError, match="must be less than"):
        numtorch.testing.make_tensor(2, dtype=numtorch.float32, low=2, high=2)
    with pytest.raises(ValueError, match="not supported for boolean and integral"):
        numtorch.testing.make_tensor(2, dtype=numtorch.int64, requires_grad=True)


@pytest.mark.oracle
def test_the_words_are_pytorchs():
    import torch

    different = []
    for number, case in enumerate(CASES):
        (ours, text), (theirs, expected) = failure(numtorch, case), failure(torch, case)
        if ours is not theirs or (text != expected and ours is AssertionError):
            different.append((number, text, expected))
    assert not different, different
