"""Looking at kernels."""

from __future__ import annotations

import numtorch as torch
from numtorch.library import inspect


def test_source_llvm_and_assembly_of_a_fused_kernel():
    (kernel,) = inspect(lambda x: (x * 2 + 1).relu(), torch.ones(100))
    assert kernel.source.startswith("@kernel") and "mul(input, other)" in kernel.source
    assert "define" in kernel.llvm and "numtorch." in kernel.llvm
    assert (kernel.loop() and "mm" in kernel.loop() and "add+" in kernel.ops) or "add" in kernel.ops
    assert "float32" in repr(kernel)


def test_kernels_of_a_layer_in_order():
    layer = torch.nn.Linear(64, 32)
    kernels = inspect(lambda x: layer(x).softmax(1).sum(), torch.randn(16, 64))
    assert len(kernels) >= 3 and any("gemm" in k.name for k in kernels)
    assert all(k.source for k in kernels)
