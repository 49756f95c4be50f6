"""Compile the common kernels ahead, so that no first call of them waits: `python -m numtorch.warmup`.

    python -m numtorch.warmup [--float64] [--jobs N] [--only NAME ...] [--list]

Each program below is run once on tiny inputs in a worker process; what it compiles stays in the kernel cache.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import multiprocessing
import os
import time
from collections.abc import Callable

import numtorch as torch
import numtorch.nn.functional as F
from numtorch import nn
from numtorch._progress import progress
from numtorch.kernels import cache

SUMMARY = "Compile the common kernels ahead of their first use."
Program = Callable[[], None]


def arithmetic() -> None:
    """Operators, comparisons and elementary functions, contiguous and broadcast, with gradients."""
    x, y = torch.rand(4, 3, requires_grad=True), torch.rand(4, 3, requires_grad=True)
    z = (x + y) * (x - y) / (y + 1.0) + x * 2.0 - y.pow(2) + x.sqrt() + x.exp() + (y + 1.0).log() + x.abs()
    z = z + x.sin() + y.cos() + x.tanh() + y.sigmoid() + torch.maximum(x, y) + torch.where(x > y, x, y)
    (z + y[0] + (-x) + x.clamp(0.1, 0.9)).sum().backward()
    with torch.no_grad():
        _ = [x > y, x >= y, x < y, x <= y, x == y, x != y, x.add_(1.0).mul_(0.5).sub_(y).div_(2.0)]


def reductions() -> None:
    """Sums, means, extrema and norms over all, inner and outer axes, with gradients."""
    x = torch.rand(6, 5, requires_grad=True)
    for dims in ((0, 1), (0,), (1,)):
        (x.sum(dims) + x.mean(dims) + x.var(dims) + x.std(dims)).sum().backward()
        _ = x.detach().amax(dims), x.detach().amin(dims), x.detach().logsumexp(dims)
    (x.max() + x.min() + x.norm() + x.prod() + x.cumsum(0).sum()).backward()
    for dim in (0, 1):
        (x.max(dim).values + x.min(dim).values).sum().backward()
        _ = x.detach().argmax(dim), x.detach().sort(dim), (x > 0.5).all(dim), (x > 0.5).any(dim)


def matrices() -> None:
    """Matrix products in all layouts, with gradients."""
    a, b = torch.rand(5, 4, requires_grad=True), torch.rand(4, 3, requires_grad=True)
    batch = torch.rand(2, 3, 4, requires_grad=True)
    loss = (a @ b).sum() + (a @ a.T).sum() + (batch @ b).sum() + (batch @ batch.mT).sum()
    (loss + (a @ b[:, 0]).sum() + b[:, 0].dot(b[:, 1])).backward()


def indexing() -> None:
    """Copies between dtypes, slices, gathers, masks, joins, random numbers."""
    x, rows = torch.rand(6, 5, requires_grad=True), torch.tensor([0, 2, 2])
    picked = x[rows].sum() + x[x.detach() > 0.5].sum() + x[1:5:2].sum() + x.gather(0, rows[:, None]).sum()
    joined = (
        torch.cat([x, x.flip(0)]).sum()
        + torch.stack([x, x]).sum()
        + x.masked_fill(x.detach() > 0.5, 0.0).sum()
    )
    (picked + joined + x.transpose(0, 1).contiguous().sum() + F.pad(x, (1, 1)).sum()).backward()
    _ = x.long(), x.double().float(), x.int().float(), (x > 0.5).float(), torch.arange(5), torch.eye(3)
    _ = torch.randn(5), torch.randint(0, 9, (5,)), torch.randperm(5), torch.bernoulli(torch.rand(5))
    _ = x.nonzero(), x.topk(2), torch.multinomial(torch.ones(4), 2), F.one_hot(rows)


def activations() -> None:
    """Every common activation, with gradients."""
    x = torch.randn(4, 3, requires_grad=True)
    kinds = [F.relu, F.leaky_relu, F.elu, F.gelu, F.silu, F.softplus, F.hardtanh, torch.sigmoid, torch.tanh]
    for kind in kinds:
        kind(x).sum().backward()
    (F.softmax(x, -1) * F.log_softmax(x, -1)).sum().backward()
    F.dropout(x, 0.5).sum().backward()
    nn.PReLU()(x).sum().backward()


def losses() -> None:
    """Every common loss, with gradients."""
    x, y = torch.randn(4, 3, requires_grad=True), torch.rand(4, 3)
    labels = torch.tensor([0, 2, 1, 1])
    F.cross_entropy(x, labels).backward()
    F.cross_entropy(x, labels, weight=torch.ones(3), label_smoothing=0.1).backward()
    F.cross_entropy(x, y.softmax(-1)).backward()
    for loss in (F.mse_loss, F.l1_loss, F.smooth_l1_loss, F.huber_loss, F.binary_cross_entropy_with_logits):
        loss(x, y).backward()
    F.binary_cross_entropy(torch.sigmoid(x), y).backward()
    F.kl_div(F.log_softmax(x, -1), y.softmax(-1), reduction="batchmean").backward()


def step(model: nn.Module, x: torch.Tensor, classes: int = 10) -> None:
    """Train a classifier for one step, then evaluate it."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    F.cross_entropy(model(x), torch.arange(len(x)) % classes).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    with torch.no_grad():
        model.eval()(x)


def perceptron() -> None:
    """Linear layers at batch 1 and more."""
    for batch in (1, 8):
        step(
            nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 10)),
            torch.randn(batch, 20),
        )


def convolution() -> None:
    """Convolution, pooling and normalisation over images."""
    body = [nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)]
    body += [nn.Conv2d(8, 8, 3, stride=2, padding=1, bias=False), nn.ReLU(), nn.AvgPool2d(2)]
    step(
        nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)),
        torch.randn(4, 1, 16, 16),
    )
    nn.ConvTranspose2d(3, 2, 2, stride=2)(torch.randn(2, 3, 4, 4)).sum().backward()
    nn.Conv1d(3, 4, 3)(torch.randn(2, 3, 8)).sum().backward()
    nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5))(torch.randn(4, 6)).sum().backward()


def sequence() -> None:
    """Embeddings, recurrent layers and a transformer layer."""
    x = nn.Embedding(9, 16)(torch.randint(0, 9, (2, 5)))  # (B, T, C)
    layers = [
        nn.RNN(16, 8, batch_first=True),
        nn.LSTM(16, 8, batch_first=True),
        nn.GRU(16, 8, batch_first=True),
    ]
    for layer in layers:
        layer(x)[0].sum().backward(retain_graph=True)
    encoder = nn.TransformerEncoderLayer(16, 2, dim_feedforward=32, batch_first=True)
    encoder(x).sum().backward()


def optimizers() -> None:
    """One step of each common update rule."""
    kinds = ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"]
    for kind in kinds:
        p = nn.Parameter(torch.randn(5))
        p.grad = torch.randn(5)
        getattr(torch.optim, kind)([p], lr=0.01).step()


PROGRAMS: dict[str, Program] = {
    program.__name__: program
    for program in (
        arithmetic, reductions, matrices, indexing, activations, losses,
        perceptron, convolution, sequence, optimizers,
    )
}  # fmt: skip


def run(program: str, dtype: str) -> tuple[str, str]:
    """In a worker: run one program with a default dtype; returns its name and what went wrong."""
    torch.set_default_dtype(getattr(torch, dtype))
    torch.manual_seed(0)
    try:
        PROGRAMS[program]()
    except Exception as error:
        return f"{program} ({dtype})", f"{type(error).__name__}: {error}"
    return f"{program} ({dtype})", ""


def compile_ahead(programs: list[str], dtypes: list[str], jobs: int) -> list[str]:
    """Run programs in `jobs` worker processes; returns a line for each that failed.

    >>> compile_ahead([], ["float32"], jobs=1)
    []
    """
    todo = [(program, dtype) for dtype in dtypes for program in programs]
    if not todo:
        return []
    failed = []
    context = multiprocessing.get_context("spawn")  # workers of a pool must not inherit kernel threads
    with concurrent.futures.ProcessPoolExecutor(jobs, mp_context=context) as pool:
        futures = [pool.submit(run, *pair) for pair in todo]
        with progress(len(todo), "compiling", unit="program") as bar:
            for future in concurrent.futures.as_completed(futures):
                name, problem = future.result()
                bar.advance(name)
                if problem:
                    failed.append(f"{name}: {problem}")
    return failed


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def main() -> None:
    """Compile; the exit status is 1 if a program failed."""
    parser = argparse.ArgumentParser(prog="python -m numtorch.warmup", description=SUMMARY)
    parser.add_argument("--float64", action="store_true", help="compile for float64 too")
    parser.add_argument(
        "--jobs", type=int, default=cores(), help="worker processes (default: one for each core)"
    )
    parser.add_argument("--only", nargs="+", choices=list(PROGRAMS), default=list(PROGRAMS), metavar="NAME")
    parser.add_argument("--list", action="store_true", help="list the programs and stop")
    arguments = parser.parse_args()
    if arguments.list:
        for name, program in PROGRAMS.items():
            print(f"{name:12} {(program.__doc__ or '').strip()}")
        return
    start = time.perf_counter()
    dtypes = ["float32", "float64"] if arguments.float64 else ["float32"]
    failed = compile_ahead(arguments.only, dtypes, arguments.jobs)
    print(f"kernels ready in {cache.directory()} after {time.perf_counter() - start:.1f} s")
    if failed:
        raise SystemExit("\n".join(failed))


if __name__ == "__main__":
    main()
