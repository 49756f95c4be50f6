"""What `make bench-cuda` times, written against PyTorch's API, with the goal of each."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from benchmarks import models

Call = Callable[[], Any]


@dataclass(frozen=True)
class Item:
    """One piece of work: `build(torch)` gives the call; what it must at least compute and move.

    `tolerance`: how far results may be from PyTorch's, as a part of the largest number; those of the first `steps` calls are
    compared.
    """

    name: str
    build: Callable[[ModuleType], Call]
    goal: str = ""
    flops: float = 0.0
    bytes: float = 0.0
    fast: bool = False
    traced: bool = False  # numtorch replays a trace, PyTorch also a CUDA graph
    host: bool = False  # host time: what giving it to the GPU costs
    tolerance: float = 1e-4
    steps: int = 1

    def builders(self, modules: dict[str, ModuleType]) -> dict[str, Callable[[], Call]]:
        """How each backend that is there prepares its call, by the backend's name."""
        found: dict[str, Callable[[], Call]] = {"numtorch": lambda: self._ours(modules["numtorch"])}
        if "torch" in modules:
            found["torch eager"] = lambda: self.build(modules["torch"])
            if self.traced:
                found["torch, CUDA graph"] = lambda: _captured(modules["torch"], self.build(modules["torch"]))
        return found

    def _ours(self, torch: ModuleType) -> Call:
        call = self.build(torch)
        return torch.jit.trace(call, ()) if self.traced else call


def _captured(torch: ModuleType, call: Call) -> Call:
    """PyTorch's own replay of a call."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


@functools.lru_cache(maxsize=1)
def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    """The same random numbers for all backends."""
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def on_gpu(torch: ModuleType, *shape: int, seed: int = 0) -> Any:
    """These numbers as a tensor on the GPU."""
    return torch.from_numpy(numbers(*shape, seed=seed)).cuda()


def of_a_tensor(function: Callable[[ModuleType, Any], Any], *shape: int) -> Callable[[ModuleType], Call]:
    """A call of a function of one random tensor."""

    def build(torch: ModuleType) -> Call:
        x = on_gpu(torch, *shape)
        return lambda: function(torch, x)

    return build


def ten_ops(torch: ModuleType, x: Any) -> Any:
    """A chain of ten elementwise operations."""
    y = (x * 2.0 + 1.0).relu() - x
    y = (y * 0.5).tanh() + y
    return ((y - 0.25) * y).sigmoid()


def matmul(n: int, kind: str = "float32", goal: str = "0.8x cuBLAS, 0.95x on one size") -> Item:
    """A square product in float32, tf32, float16 or bfloat16."""

    def build(torch: ModuleType) -> Call:
        dtype = torch.float32 if kind == "tf32" else getattr(torch, kind)
        a, b = (on_gpu(torch, n, n, seed=k).to(dtype) for k in range(2))

        def product() -> Any:
            torch.backends.cuda.matmul.allow_tf32 = kind == "tf32"
            result = a @ b
            torch.backends.cuda.matmul.allow_tf32 = False
            return result

        return product if kind == "tf32" else lambda: a @ b

    apart = {"tf32": 3e-3, "float16": 3e-3, "bfloat16": 2e-2}.get(kind, 1e-4)
    return Item(f"{kind} GEMM {n}", build, goal, flops=2.0 * n**3, fast=n == 2048, tolerance=apart)


def attention(part: str) -> Item:
    """Causal attention of 8 x 16 heads of 1024 places and 64 dimensions, forward or with its gradients."""
    passes = 1 if part == "forward" else 2

    def build(torch: ModuleType) -> Call:
        q, k, v = (on_gpu(torch, 8, 16, 1024, 64, seed=i).requires_grad_(passes == 2) for i in range(3))
        run = torch.nn.functional.scaled_dot_product_attention
        if passes == 1:
            return lambda: run(q, k, v, is_causal=True)
        g = on_gpu(torch, 8, 16, 1024, 64, seed=3)

        def step() -> Any:
            q.grad = k.grad = v.grad = None
            run(q, k, v, is_causal=True).backward(g)
            return q.grad, k.grad, v.grad

        return step

    # Half of the scores; two products forward, five more backward (the scores again, and four gradients).
    flops = 2.0 * 8 * 16 * 1024 * 1024 * 64 * (1.0 if passes == 1 else 3.5)
    return Item(f"causal attention 8x16x1024x64, {part}", build, flops=flops, fast=passes == 1)


def optimizer_step(name: str) -> Item:
    """One eager step on 60 parameters of 16K to 4M numbers."""

    def build(torch: ModuleType) -> Call:
        params = [on_gpu(torch, 1 << (14 + i % 9), seed=i).requires_grad_() for i in range(60)]
        for i, p in enumerate(params):
            p.grad = on_gpu(torch, 1 << (14 + i % 9), seed=100 + i)
        update = getattr(torch.optim, name)(params, lr=1e-4)

        def step() -> Any:
            update.step()
            return params

        return step

    total = sum(1 << (14 + i % 9) for i in range(60))
    return Item(f"{name}, step on 60 parameters", build, "1.0x", bytes=28.0 * total, fast=True)


def conv(part: str) -> Item:
    """conv2d 64x64x56x56 k3, forward or with both gradients."""
    passes = 1 if part == "forward" else 3

    def build(torch: ModuleType) -> Call:
        x = on_gpu(torch, 64, 64, 56, 56).requires_grad_(passes == 3)
        w = on_gpu(torch, 64, 64, 3, 3, seed=1).requires_grad_(passes == 3)
        run = torch.nn.functional.conv2d
        if passes == 1:
            return lambda: run(x, w, padding=1)
        g = on_gpu(torch, 64, 64, 56, 56, seed=2)

        def step() -> Any:
            x.grad = w.grad = None
            run(x, w, padding=1).backward(g)
            return x.grad, w.grad

        return step

    flops = 2.0 * 64 * 64 * 9 * 64 * 56 * 56 * passes
    return Item(f"conv2d 64x64x56x56 k3, {part}", build, "0.6x cuDNN", flops=flops, fast=passes == 1)


def training(name: str, model: Callable[[ModuleType], Any], batch: Callable, optimizer: str) -> Item:
    """A whole training step with one batch that stays on the GPU."""

    def build(torch: ModuleType) -> Call:
        net = initialised(torch, model(torch)).cuda()
        x, y = (torch.from_numpy(a).cuda() for a in batch(np.random.default_rng(1)))
        extra = {"capturable": True} if torch.__name__ == "torch" and optimizer != "SGD" else {}
        update = getattr(torch.optim, optimizer)(net.parameters(), lr=0.001, **extra)

        def step() -> Any:
            update.zero_grad()
            output = net(x)
            loss = torch.nn.functional.cross_entropy(output.reshape(-1, output.shape[-1]), y.reshape(-1))
            loss.backward()
            update.step()
            return loss

        return step

    goal = "1.5x eager, 1.0x CUDA graph"
    return Item(f"{name}, training step", build, goal, traced=True, fast="MLP" in name, tolerance=1e-3, steps=3)


def initialised(torch: ModuleType, net: Any) -> Any:
    """The network with the same weights for all backends: random matrices, no biases, the rest as it was."""
    with torch.no_grad():
        for i, (name, p) in enumerate(net.named_parameters()):
            if p.ndim > 1:
                scale = 1.0 / math.sqrt(math.prod(p.shape[1:]))
                p.copy_(torch.from_numpy(numbers(*p.shape, seed=i)) * scale)
            elif name.endswith("bias"):
                p.zero_()
    return net


M = 1 << 20
ROWS = {1: (1024, 1024), 16: (16384, 1024), 256: (65536, 4096)}  # millions of elements: shape
WORK = [
    Item("copy", of_a_tensor(lambda t, x: x.clone(), 64 * M), bytes=8.0 * 64 * M, fast=True),
    Item("10 elementwise ops on 64M", of_a_tensor(ten_ops, 64 * M), "85 % of copy, 5x eager", bytes=8.0 * 64 * M,
         fast=True, traced=True),
    *(Item(f"softmax {n}M", of_a_tensor(lambda t, x: t.softmax(x, -1), *shape), "85 % of copy, 1.0x", bytes=8.0 * n * M,
           fast=n == 16) for n, shape in ROWS.items()),
    *(Item(f"layer norm {n}M", of_a_tensor(lambda t, x: t.nn.functional.layer_norm(x, x.shape[-1:]), *shape),
           "85 % of copy, 1.0x", bytes=8.0 * n * M, fast=n == 16) for n, shape in ROWS.items()),
    *(Item(f"sum {n}M", of_a_tensor(lambda t, x: x.sum(), n * M), "85 % of copy, 1.0x", bytes=4.0 * n * M, fast=n == 16,
           tolerance=1e-2)
      for n in (1, 16, 256)),
    *map(matmul, (1024, 2048, 4096, 8192)),
    matmul(4096, "tf32", "0.5x cuBLAS"),
    matmul(4096, "float16", "0.5x cuBLAS"),
    matmul(4096, "bfloat16", "0.5x cuBLAS"),
    *map(conv, ("forward", "forward and both gradients")),
    *map(attention, ("forward", "forward and gradients")),
    optimizer_step("AdamW"),
    training("MLP 784-128-64-10, batch 64", models.mlp(784, 128, 64, 10), models.images(64, 784), "SGD"),
    training("LeNet, batch 64", models.lenet, models.images(64, 1, 28, 28), "SGD"),
    training("ResNet 16-32-64, batch 64", models.resnet, models.images(64, 3, 32, 32), "SGD"),
    training("GPT 2 layers, batch 64", models.gpt, models.tokens(64), "AdamW"),
    Item("launch of x + x, host time", of_a_tensor(lambda t, x: x + x, 4), "at most 1.5x", fast=True, host=True),
]  # fmt: skip
