"""Single operations as eager code, for every module that has PyTorch's API."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

Call = Callable[[], Any]


@dataclass(frozen=True)
class Kernel:
    """One timed operation; `flops` and `bytes` are what it must at least compute and move.

    `goal`: how many times longer PyTorch should take.
    """

    name: str
    build: Callable[[ModuleType], Call]
    flops: float = 0.0
    bytes: float = 0.0
    fast: bool = False
    goal: float = 1.2


def matmul(m: int, k: int, n: int, fast: bool = False, goal: float = 0.95) -> Kernel:
    """(m, k) @ (k, n)."""

    def build(torch: ModuleType) -> Call:
        a, b = torch.randn(m, k), torch.randn(k, n)
        return lambda: a @ b

    return Kernel(f"matmul {m}x{k}x{n}", build, flops=2.0 * m * k * n, fast=fast, goal=goal)


Shape = tuple[int, ...]


def conv(label: str, x: Shape, w: Shape, backward: bool, fast: bool = False, **options: int) -> Kernel:
    """conv2d of an input and a weight shape, forward or forward and backward."""

    def build(torch: ModuleType) -> Call:
        image, weight = torch.randn(*x, requires_grad=backward), torch.randn(*w, requires_grad=backward)
        run = torch.nn.functional.conv2d
        if not backward:
            return lambda: run(image, weight, **options)
        gradient = torch.randn(*run(image, weight, **options).shape)

        def step() -> Any:
            image.grad = weight.grad = None
            run(image, weight, **options).backward(gradient)
            return image.grad

        return step

    stride, padding = options.get("stride", 1), options.get("padding", 0)
    reach = options.get("dilation", 1) * (w[2] - 1) + 1
    pixels = ((x[2] + 2 * padding - reach) // stride + 1) * ((x[3] + 2 * padding - reach) // stride + 1)
    flops = 2.0 * x[0] * w[0] * w[1] * w[2] * w[3] * pixels * (3 if backward else 1)
    direction = "forward+backward" if backward else "forward"
    return Kernel(f"conv2d {label}, {direction}", build, flops=flops, fast=fast, goal=1.0)


def function(label: str, shape: Shape, call: Callable[[ModuleType, Any], Any], passes: int = 2) -> Kernel:
    """A function of one tensor; it reads and writes the tensor `passes` times in all."""

    def build(torch: ModuleType) -> Call:
        x = torch.randn(*shape)
        return lambda: call(torch, x)

    size = 4.0 * passes
    for extent in shape:
        size *= extent
    return Kernel(f"{label} {'x'.join(map(str, shape))}", build, bytes=size, fast=True)


def adam(torch: ModuleType) -> Call:
    """Adam on 2 million parameters in 20 tensors."""
    parameters = [torch.nn.Parameter(torch.randn(100_000)) for _ in range(20)]
    for p in parameters:
        p.grad = torch.randn(100_000)
    return torch.optim.Adam(parameters, lr=1e-3).step


def cross_entropy(torch: ModuleType) -> Call:
    """Mean cross-entropy of 4096 rows of 512 classes with its gradient."""
    logits, labels = torch.randn(4096, 512, requires_grad=True), torch.randint(0, 512, (4096,))

    def step() -> Any:
        logits.grad = None
        torch.nn.functional.cross_entropy(logits, labels).backward()
        return logits.grad

    return step


def small_add(torch: ModuleType) -> Call:
    """What one operation costs when there is nothing to compute."""
    x = torch.randn(4)
    return lambda: x + x


def chain(torch: ModuleType) -> Call:
    """Ten small operations and the backward pass through them."""
    x = torch.randn(4, requires_grad=True)

    def step() -> Any:
        y = x
        for _ in range(5):
            y = (y * 1.5).tanh()
        x.grad = None
        y.sum().backward()
        return x.grad

    return step


def layer_norm(torch: ModuleType, x: Any) -> Any:
    """Over the last axis, without scale and shift."""
    return torch.nn.functional.layer_norm(x, x.shape[-1:])


def batch_norm(torch: ModuleType, x: Any) -> Any:
    """Training mode, without running statistics."""
    return torch.nn.functional.batch_norm(x, None, None, training=True)


def max_pool(torch: ModuleType, x: Any) -> Any:
    """Windows of 2 by 2."""
    return torch.nn.functional.max_pool2d(x, 2)


def convolutions() -> Iterator[Kernel]:
    """The shapes of common networks: stem, 3x3 and 1x1 bodies, depthwise, strided, dilated."""
    for backward in (False, True):
        yield conv("16x3x224x224 k7 s2", (16, 3, 224, 224), (64, 3, 7, 7), backward, stride=2, padding=3)
        yield conv("16x64x56x56 k3", (16, 64, 56, 56), (64, 64, 3, 3), backward, padding=1, fast=True)
        yield conv("16x256x14x14 k3", (16, 256, 14, 14), (256, 256, 3, 3), backward, padding=1)
        yield conv("16x256x14x14 k1", (16, 256, 14, 14), (256, 256, 1, 1), backward)
        yield conv("64x32x14x14 k3", (64, 32, 14, 14), (32, 32, 3, 3), backward, padding=1, fast=True)
        yield conv(
            "16x64x56x56 k3 depthwise", (16, 64, 56, 56), (64, 1, 3, 3), backward, padding=1, groups=64
        )
        yield conv("16x64x56x56 k3 s2", (16, 64, 56, 56), (128, 64, 3, 3), backward, padding=1, stride=2)
        yield conv("16x64x28x28 k3 d2", (16, 64, 28, 28), (64, 64, 3, 3), backward, padding=2, dilation=2)


KERNELS = [
    Kernel("x + x, 4 elements", small_add, fast=True, goal=1.0),
    Kernel("10-op chain with backward, 4 elements", chain, fast=True, goal=1.0),
    *(matmul(n, n, n, n in (64, 256, 1024), 1.8 if n == 1024 else 0.95) for n in (64, 128, 256, 512, 1024, 2048, 4096)),
    matmul(1, 1024, 1024, fast=True),
    matmul(64, 1024, 1024),
    matmul(4096, 64, 4096),
    matmul(4096, 1024, 16),
    *convolutions(),
    function("exp", (4_000_000,), lambda torch, x: x.exp()),
    function("gelu", (4_000_000,), lambda torch, x: torch.nn.functional.gelu(x)),
    function("softmax", (4096, 1024), lambda torch, x: torch.softmax(x, -1)),
    function("layer norm", (4096, 1024), layer_norm),
    function("batch norm", (32, 64, 56, 56), batch_norm),
    function("max pool k2", (32, 64, 56, 56), max_pool),
    function("sum of all", (2048, 2048), lambda torch, x: x.sum(), passes=1),
    function("sum over axis 0", (2048, 2048), lambda torch, x: x.sum(0), passes=1),
    function("sum over axis 1", (2048, 2048), lambda torch, x: x.sum(1), passes=1),
    function("sum over axis 1", (64, 256, 256), lambda torch, x: x.sum(1), passes=1),
    Kernel("cross-entropy with gradient 4096x512", cross_entropy, bytes=12.0 * 4096 * 512, fast=True),
    Kernel("Adam, 2 million parameters", adam, bytes=28.0 * 2_000_000, fast=True),
]
