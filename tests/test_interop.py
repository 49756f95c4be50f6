"""Memory shared with other libraries through DLPack: both ways, all dtypes, layouts, capsules, what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import numtorch as torch
from numtorch.utils import dlpack

DTYPES = "float16 bfloat16 float32 float64 int8 int16 int32 int64 uint8 bool".split()


def views(d):
    x = torch.tensor([[0, 1, 1], [1, 0, 1]]).to(getattr(torch, d))
    return [x, x.t(), x[:, 1:], x[1], x[:0], x.sum() > 0]


@pytest.mark.parametrize("d", [d for d in DTYPES if d != "bfloat16"])
def test_numpy_and_back(d):
    for v in views(d):
        array = np.from_dlpack(v)
        assert np.array_equal(array, v.numpy())
        back = torch.from_dlpack(array)
        assert back.dtype is v.dtype and back.tolist() == v.tolist() and (not v.numel() or back.data_ptr() == v.data_ptr())


def test_what_is_imported_can_be_written():
    x = np.zeros(3, np.float32)
    torch.from_dlpack(x).add_(2)
    assert x.tolist() == [2, 2, 2]


def test_a_capsule():
    x = torch.ones(2)
    y = torch.from_dlpack(dlpack.to_dlpack(x))
    y.mul_(3)
    assert x.tolist() == [3, 3]


def test_bfloat16_without_numpy():
    for v in views("bfloat16")[:-1]:
        for exporter in (v, dlpack.to_dlpack(v)):
            back = torch.from_dlpack(exporter)
            assert back.dtype is torch.bfloat16 and back.tolist() == v.tolist() and (not v.numel() or back.data_ptr() == v.data_ptr())
    with pytest.raises(RuntimeError):  # NumPy knows none
        np.from_dlpack(torch.ones(2, dtype=torch.bfloat16))
    with pytest.raises(TypeError, match="Got unsupported ScalarType BFloat16"):
        torch.ones(2, dtype=torch.bfloat16).numpy()
    with pytest.raises(TypeError, match="Got unsupported ScalarType BFloat16"):
        np.asarray(torch.ones(2, dtype=torch.bfloat16))


def test_what_is_refused():
    with pytest.raises(BufferError, match="use tensor.detach"):
        np.from_dlpack(torch.ones(2, requires_grad=True))
    with pytest.raises(TypeError, match="complex64"):
        torch.from_dlpack(np.ones(2, np.complex64))


@pytest.mark.oracle
@pytest.mark.parametrize("d", DTYPES)
def test_pytorch_both_ways(d):
    import torch as pytorch

    for v in views(d):
        theirs = pytorch.from_dlpack(v)
        assert theirs.tolist() == v.tolist() and (not v.numel() or theirs.data_ptr() == v.data_ptr())
        ours = torch.from_dlpack(theirs)
        assert ours.dtype is v.dtype and ours.tolist() == v.tolist() and (not v.numel() or ours.stride() == theirs.stride())
    with pytest.raises(RuntimeError, match="from_dlpack: numtorch has no such dtype.*float8"):
        torch.from_dlpack(pytorch.ones(2, dtype=pytorch.float8_e4m3fn))


def test_jax_both_ways():
    jax = pytest.importorskip("jax")
    for d in ("float32", "int32", "bool"):
        x = torch.tensor([[0, 1, 1], [1, 0, 1]]).to(getattr(torch, d))
        for v in (x, x.t()):
            theirs = jax.dlpack.from_dlpack(v)
            assert np.array_equal(np.asarray(theirs), v.numpy())
            assert torch.from_dlpack(theirs).tolist() == v.tolist()
