"""Indexing against NumPy, get and set, with hypothesis."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import numtorch as torch

SHAPE = (4, 3, 5)


def one_index(n):
    slices = st.builds(
        slice,
        st.none() | st.integers(-n - 1, n + 1),
        st.none() | st.integers(-n - 1, n + 1),
        st.none() | st.integers(1, 3),
    )
    lists = st.lists(st.integers(-n, n - 1), min_size=1, max_size=4)
    return st.integers(-n, n - 1) | slices | lists


@st.composite
def indices(draw):
    used = draw(st.integers(0, 3))
    found = [draw(one_index(SHAPE[k])) for k in range(used)]
    lists = [i for i, v in enumerate(found) if isinstance(v, list)]
    if len(lists) > 1:  # several lists must have one length
        n = min(len(found[i]) for i in lists)
        for i in lists:
            found[i] = found[i][:n]
    if lists:  # NumPy counts integers beside lists as lists; PyTorch applies them first
        found = [slice(i, i + 1 or None) if isinstance(i, int) else i for i in found]
    if draw(st.booleans()):
        found.insert(draw(st.integers(0, len(found))), None)
    if used < 3 and draw(st.booleans()):
        found.append(Ellipsis)
    return tuple(found)


@given(indices())
@settings(max_examples=200)
def test_get_is_numpys(index):
    a = np.arange(60, dtype=np.float32).reshape(SHAPE)
    np.testing.assert_array_equal(torch.tensor(a)[index].numpy(), a[index])


@given(indices())
@settings(max_examples=150)
def test_set_is_numpys(index):
    a = np.arange(60, dtype=np.float32).reshape(SHAPE)
    t = torch.tensor(a)
    value = np.arange(a[index].size, dtype=np.float32).reshape(a[index].shape) + 100
    if len({*map(str, [i for i in index if isinstance(i, list)])}) and len(np.unique(a[index])) < a[index].size:
        return  # one element written twice: which value stays is open
    t[index] = torch.tensor(value)
    a[index] = value
    np.testing.assert_array_equal(t.numpy(), a)
    t[index] = -1.0
    a[index] = -1.0
    np.testing.assert_array_equal(t.numpy(), a)


@given(st.integers(0, 2**12 - 1), st.integers(0, 2))
@settings(max_examples=60)
def test_masks(bits, leading):
    a = np.arange(12, dtype=np.float32).reshape(3, 4)
    mask = np.array([bits >> k & 1 for k in range(12)], bool).reshape(3, 4)
    mask = mask if leading else mask[:, 0]
    t, m = torch.tensor(a), torch.tensor(mask)
    np.testing.assert_array_equal(t[m].numpy(), a[mask])
    t[m] = 7.0
    a[mask] = 7.0
    np.testing.assert_array_equal(t.numpy(), a)


def test_basic_indices_are_views_and_lists_are_copies():
    x = torch.zeros(4, 4)
    x[1:3, 2][0] = 5.0
    assert x[1, 2].item() == 5.0
    y = x[[0, 1]]
    y.fill_(9.0)
    assert x[0, 0].item() == 0.0


def test_gradients_of_indexing():
    x = torch.arange(6.0).reshape(2, 3).requires_grad_()
    (x[:, [0, 0, 2]] * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert x.grad.tolist() == [[3, 0, 3], [3, 0, 3]]
    x.grad = None
    x[x > 2].sum().backward()
    assert x.grad.tolist() == [[0, 0, 0], [1, 1, 1]]


@pytest.mark.parametrize(
    "index, error",
    [
        (5, IndexError), ((0, 0, 0), IndexError), (slice(None, None, -1), ValueError), ("a", TypeError), (1.5, IndexError),
        ([7], IndexError), ((..., ...), IndexError),
    ],
)  # fmt: skip
def test_wrong_indices(index, error):
    with pytest.raises(error):
        torch.zeros(3, 2)[index]


def test_mask_of_another_shape():
    with pytest.raises(IndexError, match="shape of the mask"):
        torch.zeros(3, 2)[torch.ones(2, dtype=torch.bool)]
