"""What programs written for PyTorch ask for besides operations: switches, devices, dtypes, older names."""

from __future__ import annotations

import importlib

import pytest

import numtorch as torch


def test_backends_are_modules():
    for name in "cpu cuda cudnn mkl mkldnn mps openmp".split():
        assert importlib.import_module(f"numtorch.backends.{name}") is getattr(torch.backends, name)
    assert torch.backends.mps.is_available() is False
    assert torch.backends.cpu.get_cpu_capability() in ("AVX512", "AVX2", "DEFAULT")


def test_cudnn_flags_return_to_what_they_were():
    cudnn = torch.backends.cudnn
    with cudnn.flags(benchmark=True, deterministic=True):
        assert cudnn.benchmark and cudnn.deterministic and not cudnn.enabled
    assert cudnn.enabled and not cudnn.benchmark and not cudnn.deterministic


def test_switches_are_read_back():
    torch.set_float32_matmul_precision("high")
    assert torch.get_float32_matmul_precision() == "high"
    torch.set_float32_matmul_precision("highest")
    torch.use_deterministic_algorithms(True, warn_only=True)
    assert torch.are_deterministic_algorithms_enabled() and torch.get_deterministic_debug_mode() == 1
    torch.set_deterministic_debug_mode("default")
    assert not torch.are_deterministic_algorithms_enabled()
    with pytest.raises(RuntimeError, match="one of highest, high, medium, got 'low'"):
        torch.set_float32_matmul_precision("low")


@pytest.mark.parametrize(("name", "reason"), [
    ("softmaxx", "it has softmax"), ("onnx", "writes no ONNX"), ("complex64", "no complex numbers"), ("functorch", "numtorch.func has"),
    ("expand", r"write tensor.expand\("), ("sparse_coo_tensor", "dense tensors only"), ("qwertyuiop", "has no attribute 'qwertyuiop'$"),
])  # fmt: skip
def test_unknown_names_say_what_there_is(name, reason):
    with pytest.raises(AttributeError, match=reason):
        getattr(torch, name)


@pytest.mark.parametrize(("module", "name", "reason"), [
    ("numtorch", "cross_entropy", "it is numtorch.nn.functional.cross_entropy$"), ("numtorch", "Linear", "it is numtorch.nn.Linear$"),
    ("numtorch.nn", "relu", "it is numtorch.relu$"), ("numtorch.nn.functional", "sofmax", "it has softmax"),
    ("numtorch.optim", "StepLR", "it is numtorch.optim.lr_scheduler.StepLR$"), ("numtorch.optim", "SparseAdam", "dense gradients only"),
    ("numtorch.utils.data", "DataLoder", "it has DataLoader"), ("numtorch.linalg", "eig", "no complex numbers"),
    ("numtorch.autograd", "jacobian", "it is numtorch.autograd.functional.jacobian$"), ("numtorch.cuda", "CUDAGraph", "jit.trace"),
    ("numtorch.nn", "__wrapped__", "has no attribute '__wrapped__'$"), ("numtorch.utils", "tensorboard", "event files"),
])  # fmt: skip
def test_unknown_names_of_submodules(module, name, reason):
    with pytest.raises(AttributeError, match=reason):
        getattr(importlib.import_module(module), name)


def test_a_dtype_that_is_only_named():
    kinds = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}  # as small GPTs write
    assert torch.ones(2).dtype is kinds["float32"] and torch.ones(2).dtype != kinds["bfloat16"]
    with pytest.raises(TypeError, match="dtype"):
        torch.zeros(2, dtype=torch.bfloat16)


def test_functions_that_write_into_their_input():
    x = torch.tensor([-1.0, 2.0])
    assert torch.relu_(x) is x and x.tolist() == [0.0, 2.0]
    with pytest.raises(TypeError, match="must be Tensor, not int"):
        torch.exp_(3)


def test_older_names_of_mixed_precision():
    scaler = torch.cuda.amp.GradScaler(enabled=False)
    loss = torch.ones(1, requires_grad=True).sum()
    assert scaler.scale(loss) is loss
    with torch.cuda.amp.autocast(enabled=False):
        assert (loss * 2).dtype is torch.float32


def test_where_a_tensor_is():
    x = torch.ones(1)
    assert x.is_cpu and not x.is_cuda and not x.is_xpu and not x.is_mps
    assert torch.typename(x) == "torch.FloatTensor"
