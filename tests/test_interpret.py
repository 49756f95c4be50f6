"""``numtorch.interpret()``: every kind of kernel gives in plain Python what it gives compiled, inside its own memory.

Tolerance: 64 units in the last place of the largest number in a result. Python's ``math`` stands for the kernels' functions, and
products are not fused; results without either (copies, orders, integers, uniform numbers) are equal bit by bit.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys

import numba
import numpy as np
import pytest
from ops.test_elementwise import OPS, TABLE, draw

import numtorch as torch
import numtorch.nn.functional as F
from numtorch import nn
from numtorch.kernels.jit import T_ptr, i64, kernel
from numtorch.ops.declare import TABLE as KERNEL_OPS
from numtorch.ops.declare import KernelOp
from numtorch.ops.launch import Launch, Scratch, run_launches


def flat(values):
    """All arrays in a nest of tensors."""
    if isinstance(values, (tuple, list)):
        return [a for v in values for a in flat(v)]
    return [values.detach().numpy()]


def check_same(function, exact=False):
    """Run a function compiled, then interpreted."""
    torch.manual_seed(3)
    want = flat(function())
    torch.manual_seed(3)
    with torch.interpret():
        have = flat(function())
    assert len(have) == len(want)
    for h, w in zip(have, want):
        assert h.shape == w.shape and h.dtype == w.dtype
        if w.dtype.kind == "f" and not exact:
            largest = np.abs(w[np.isfinite(w)]).max(initial=0)
            np.testing.assert_allclose(h, w, rtol=0, atol=64 * np.finfo(w.dtype).eps * largest)
        else:
            np.testing.assert_array_equal(h, w)


def data(*shape, seed=0):
    """A leaf with numbers that do not come from a kernel."""
    return torch.tensor(np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32), requires_grad=True)


def with_gradients(function, *shapes):
    """A function that gives `function`'s results for tensors of these shapes, and the gradients."""

    def run():
        leaves = [data(*s, seed=k) for k, s in enumerate(shapes)]
        out = function(*leaves)
        outs = out if isinstance(out, tuple) else (out,)
        roots = [o for o in outs if o.requires_grad]
        weights = [data(*o.shape, seed=9).detach() for o in roots]
        grads = torch.autograd.grad(roots, leaves, weights, allow_unused=True) if roots else ()
        return [*outs, *[g for g in grads if g is not None]]

    return run


# ---- the elementwise table ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPS)
def test_elementwise(name):
    """Contiguous, transposed and broadcast operands, forward and gradient."""
    op = TABLE[name]
    arrays = draw(op, (2, 3), np.float32 if op.float_ok else np.int64)

    def run():
        results = []
        for form in ("contiguous", "transposed", "broadcast"):
            needs = op.grad_body is not None
            if form == "transposed":
                leaves = [torch.tensor(np.ascontiguousarray(a.T), requires_grad=needs) for a in arrays]
                operands = [t.t() for t in leaves]
            else:
                rows = [a[:1] if k and form == "broadcast" else a for k, a in enumerate(arrays)]
                operands = leaves = [torch.tensor(a, requires_grad=needs) for a in rows]
            out = op(*operands)
            out = out if isinstance(out, tuple) else (out,)
            results += out
            if out[0].requires_grad:
                results += [g for g in torch.autograd.grad(out[0].sum(), leaves, allow_unused=True) if g is not None]
        return results

    check_same(run)


# ---- kernels -----------------------------------------------------------------------------------------------

INDEX = [[0, 2], [1, 1], [3, 0], [8, 8]]
CLASSES = [0, 8, 2, 3]
PRODUCTS = {
    "product": (lambda a, b: a @ b, (9, 7), (7, 17)), "one row": (lambda a, b: a @ b, (1, 7), (7, 9)),
    "turned": (lambda a, b: a @ b.t(), (3, 9), (5, 9)), "both turned": (lambda a, b: a.t() @ b.t(), (4, 3), (5, 4)),
    "batch": (torch.bmm, (2, 3, 4), (2, 4, 5)), "vector": (lambda a, b: a @ b, (5, 7), (7,)),
    "linear": (F.linear, (3, 5), (4, 5), (4,)), "double": (lambda a, b: (a.double() @ b.double()).float(), (5, 6), (6, 9)),
    "conv": (F.conv2d, (2, 3, 6, 5), (4, 3, 3, 3), (4,)),
    "conv stride": (lambda x, w: F.conv2d(x, w, stride=2, padding=1), (2, 3, 6, 5), (4, 3, 3, 3)),
    "conv dilation": (lambda x, w: F.conv2d(x, w, dilation=2, padding=2), (1, 2, 5, 5), (3, 2, 3, 3)),
    "conv 1x1": (F.conv2d, (1, 3, 4, 4), (5, 3, 1, 1)), "conv one channel": (F.conv2d, (1, 1, 12, 12), (6, 1, 5, 5), (6,)),
    "conv groups": (lambda x, w: F.conv2d(x, w, groups=2, padding=1), (1, 4, 5, 5), (6, 2, 3, 3)),
    "depthwise": (lambda x, w: F.conv2d(x, w, groups=3), (1, 3, 5, 5), (3, 1, 3, 3)),
    "conv1d": (lambda x, w: F.conv1d(x, w, padding=1), (2, 3, 8), (4, 3, 3)),
    "conv3d": (F.conv3d, (1, 2, 4, 4, 4), (2, 2, 2, 2, 2)),
    "conv transposed": (lambda x, w: F.conv_transpose2d(x, w, stride=2), (1, 3, 4, 4), (3, 2, 3, 3)),
    "attention": (F.scaled_dot_product_attention, (1, 2, 5, 4), (1, 2, 5, 4), (1, 2, 5, 4)),
    "causal": (lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True), (1, 2, 5, 4), (1, 2, 5, 4), (1, 2, 5, 4)),
    "bilinear": (F.bilinear, (3, 2), (3, 4), (5, 2, 4)),
    "grid": (lambda x, g: F.grid_sample(x, g, align_corners=False), (1, 2, 4, 4), (1, 3, 3, 2)),
    "layer norm": (lambda x, w, b: F.layer_norm(x, (9,), w, b), (3, 9), (9,), (9,)),
    "layer norm of data": (lambda w, b: F.layer_norm(data(3, 9).detach(), (9,), w, b), (9,), (9,)),
    "embedding": (lambda w: F.embedding(torch.tensor([[0, 2], [2, 1]]), w), (3, 4)),
}  # fmt: skip
PLANES = {
    "max pool": lambda x: F.max_pool2d(x, 2),
    "max pool twice": lambda x: torch.autograd.grad(F.max_pool2d(x, 2).square().sum(), x, create_graph=True)[0], "max pool 3": lambda x: F.max_pool2d(x, 3, 2, 1),
    "mean pool": lambda x: F.avg_pool2d(x, 2), "mean pool 3": lambda x: F.avg_pool2d(x, 3, 2, 1),
    "adaptive": lambda x: F.adaptive_avg_pool2d(x, 3), "adaptive max": lambda x: F.adaptive_max_pool2d(x, 2),
    "resize": lambda x: F.interpolate(x, size=(7, 5), mode="bilinear"), "unfold": lambda x: F.unfold(x, 2),
    "reflect": lambda x: F.pad(x, (1, 1, 2, 0), mode="reflect"), "group norm": lambda x: F.group_norm(x, 2),
    "batch norm": lambda x: F.batch_norm(x, torch.zeros(2), torch.ones(2), training=True),
    "batch norm eval": lambda x: F.batch_norm(x, torch.zeros(2), torch.ones(2)),
}  # fmt: skip
ROWS = {
    "softmax": lambda x: F.softmax(x, -1), "softmax 0": lambda x: F.softmax(x, 0), "log softmax": lambda x: F.log_softmax(x, -1),
    "log softmax 0": lambda x: F.log_softmax(x, 0), "rms norm": lambda x: F.rms_norm(x, (9,)), "sum": lambda x: x.sum(),
    "sum 0": lambda x: x.sum(0), "mean": lambda x: x.mean(-1, keepdim=True), "prod": lambda x: x.prod(1), "var": lambda x: x.var(0),
    "std": lambda x: x.std(), "max": lambda x: tuple(x.max(1)), "min": lambda x: tuple(x.min(0)), "amin": lambda x: x.amin((0, 1)),
    "argmax": lambda x: x.argmax(1), "all": lambda x: (x > 0).all(1), "any": lambda x: (x > 2).any(0),
    "count": lambda x: x.count_nonzero(), "logsumexp": lambda x: x.logsumexp(1), "norm": lambda x: x.norm(dim=1),
    "cumsum": lambda x: x.cumsum(1), "cumsum 0": lambda x: x.cumsum(0), "cumprod": lambda x: x.cumprod(1),
    "cummax": lambda x: tuple(x.cummax(1)), "cummin": lambda x: tuple(x.cummin(0)),
    "frexp": lambda x: torch.frexp(x.detach()), "nextafter": lambda x: torch.nextafter(x.detach(), torch.zeros(9)),
    "repeat each": lambda x: x.repeat_interleave(torch.tensor([1, 0, 2, 1]), 0), "logcumsumexp": lambda x: x.logcumsumexp(1), "sort": lambda x: tuple(x.sort(1)),
    "sort 0": lambda x: tuple(x.sort(0, descending=True)), "topk": lambda x: tuple(x.topk(3)), "kth": lambda x: tuple(x.kthvalue(2)),
    "median": lambda x: x.median(), "mode": lambda x: tuple((x * 2).round().mode(1)), "quantile": lambda x: x.quantile(0.3, dim=1),
    "unique": lambda x: tuple(torch.unique((x * 2).round().detach(), return_inverse=True, return_counts=True)),
    "flip": lambda x: x.flip(1), "roll": lambda x: x.roll(2, 1), "tril": lambda x: x.tril(), "repeat": lambda x: x.repeat(2, 2),
    "repeat_interleave": lambda x: x.repeat_interleave(2, 1), "cat": lambda x: torch.cat([x, x * 2], 1),
    "gather": lambda x: x.gather(1, torch.tensor(INDEX)), "scatter": lambda x: x.scatter(1, torch.tensor(INDEX), x[:, :2] * 2),
    "scatter_add": lambda x: x.scatter_add(1, torch.tensor(INDEX), x[:, :2]),
    "scatter_reduce": lambda x: x.scatter_reduce(1, torch.tensor(INDEX), x[:, :2].detach(), "amax"),
    "index_select": lambda x: x.index_select(1, torch.tensor([3, 3, 0])),
    "index_add": lambda x: x.index_add(0, torch.tensor([1, 1]), x[:2]),
    "fancy": lambda x: x[torch.tensor([0, 3]), torch.tensor([1, -1])], "mask": lambda x: x[x > 0],
    "masked_fill": lambda x: x.masked_fill(x > 0, 1.0), "masked_scatter": lambda x: x.masked_scatter(x > 0, x * 3),
    "nonzero": lambda x: (x > 0).nonzero(), "histc": lambda x: torch.histc(x.detach(), 5),
    "bincount": lambda x: torch.bincount((x.detach().abs() * 2).long().reshape(-1)),
    "searchsorted": lambda x: torch.searchsorted(x.detach().sort(1)[0], x.detach()),
    "cross entropy": lambda x: F.cross_entropy(x, torch.tensor(CLASSES)),
    "weighted": lambda x: F.cross_entropy(x, torch.tensor(CLASSES), label_smoothing=0.1, weight=torch.arange(9.0) + 1),
    "ignored": lambda x: F.cross_entropy(x, torch.tensor([0, -100, 2, 3]), reduction="none"),
    "nll": lambda x: F.nll_loss(x, torch.tensor(CLASSES)), "mse": lambda x: F.mse_loss(x, x.detach() * 2),
    "half": lambda x: (x.half() * 2).float(), "ints": lambda x: (x * 3).int() + torch.arange(9), "cdist": lambda x: torch.cdist(x, x * 2),
}  # fmt: skip
KERNELS = {n: with_gradients(f, *shapes) for n, (f, *shapes) in PRODUCTS.items()}
KERNELS |= {n: with_gradients(f, (2, 2, 6, 4)) for n, f in PLANES.items()}
KERNELS |= {n: with_gradients(f, (4, 9)) for n, f in ROWS.items()}


@pytest.mark.parametrize("name", KERNELS)
def test_kernels(name):
    check_same(KERNELS[name])


@pytest.mark.parametrize("name", ["product", "conv", "conv groups", "max pool 3", "softmax 0", "scatter_add", "weighted", "sort"])
def test_kernels_in_several_chunks(name, monkeypatch):
    """Every part of a split launch stays inside its memory as well."""
    monkeypatch.setattr(Launch, "chunks", lambda self: min(self.units, 3))
    check_same(KERNELS[name])


EXACT = {
    "uniform": lambda: torch.rand(37), "integers": lambda: torch.randint(0, 100, (13,)), "order": lambda: torch.randperm(11),
    "bernoulli": lambda: torch.bernoulli(torch.full((13,), 0.3)), "coin": lambda: torch.bernoulli(torch.ones(13), 0.3), "dropout": lambda: F.dropout(torch.ones(19)),
    "multinomial": lambda: torch.multinomial(torch.tensor([0.1, 0.5, 0.4]), 7, replacement=True),
    "range": lambda: torch.arange(3, 20, 4), "filled": lambda: torch.full((3, 2), 7),
}  # fmt: skip
CLOSE = {
    "normal": lambda: torch.randn(21), "double": lambda: torch.randn(21, dtype=torch.float64),
    "exponential": lambda: torch.empty(5).exponential_(), "between": lambda: torch.empty(5).uniform_(1, 2),
    "lognormal": lambda: torch.empty(5).log_normal_(),
}  # fmt: skip


@pytest.mark.parametrize("name", [*EXACT, *CLOSE])
def test_random_numbers(name):
    check_same({**EXACT, **CLOSE}[name], exact=name in EXACT)


def test_every_kernel_op_is_among_them(monkeypatch):
    """A new op needs a case above, or it is never run with bounds checked."""
    seen = set()
    run = KernelOp.run
    monkeypatch.setattr(KernelOp, "run", lambda self, *args, **kwargs: (seen.add(self.name), run(self, *args, **kwargs))[1])
    models = [getattr(nn, name)(3, 4) for name in ("LSTM", "GRU", "RNN")]
    with torch.interpret():
        for case in (*KERNELS.values(), *EXACT.values(), *CLOSE.values()):
            case()
        for model in models:
            model(data(3, 2, 3))[0].sum().backward()
    numtorchs = {name for name, op in KERNEL_OPS.items() if type(op) is KernelOp and "::" not in name}
    assert sorted(numtorchs - seen) == ["attention_gradients"]  # those of GPUs alone, which tests/cuda simulates


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adadelta", "NAdam", "Rprop", "Muon"])
def test_optimizers(name):
    def run():
        p = data(3, 4)
        optimizer = getattr(torch.optim, name)([p], lr=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            (p * p).sum().backward()
            optimizer.step()
        return p

    check_same(run)


@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
def test_recurrent_networks(name):
    torch.manual_seed(1)
    model = getattr(nn, name)(3, 4)

    def run():
        x = data(3, 2, 3)
        y = model(x)[0]
        return [y, *torch.autograd.grad(y.sum(), [x, *model.parameters()])]

    check_same(run)


def test_a_trace_runs_op_by_op():
    x = data(3, 4).detach()
    traced = torch.jit.trace(lambda x: (x @ x.t()).exp().sum(0), x)
    for _ in range(5):
        want = traced(x)  # answered natively by now
    with torch.interpret():
        made = torch.jit.trace(lambda x: x * 2, x)
        assert made.paths() == [] and torch.equal(made(x), x * 2)
        assert torch.allclose(traced(x), want)
        assert torch.isnan(torch.empty(2)).all()
    assert torch.equal(traced(x), want)


# ---- what it finds -----------------------------------------------------------------------------------------


@kernel
def shifted(y: T_ptr, x: T_ptr, n: i64, by: i64, chunk: i64, nchunks: i64):
    for i in range(n):
        y[i] = x[i + by]


def test_an_access_outside_raises_and_shows_the_kernels_line():
    x, y = torch.arange(6.0), torch.zeros(4)
    with torch.interpret():
        run_launches([Launch(shifted, {"T": "float32"}, [y, x[1:]], (4, 1))], "cpu")
        assert y.tolist() == [2, 3, 4, 5]
        for by, element in ((2, 6), (-2, -1)):
            message = f"element {element} of operand 'x' of kernel shifted, which has 6 elements"
            with pytest.raises(IndexError, match=message) as error:
                run_launches([Launch(shifted, {"T": "float32"}, [y, x[1:]], (4, by))], "cpu")
            frames = [str(entry.statement) for entry in error.traceback]
            assert any("y[i] = x[i + by]" in f for f in frames)
        with pytest.raises(IndexError, match="operand 'y'"):
            run_launches([Launch(shifted, {"T": "float32"}, [y, x], (5, 0))], "cpu")
        with pytest.raises(TypeError, match="bare address"):
            run_launches([Launch(shifted, {"T": "float32"}, [y, 4096], (4, 0))], "cpu")


def test_uninitialised_memory_is_poisoned():
    y = torch.zeros(4)
    with torch.interpret():
        run_launches([Launch(shifted, {"T": "float32"}, [y, Scratch(16)], (4, 0))], "cpu")
        assert torch.isnan(y).all() and torch.isnan(torch.empty(3, dtype=torch.float64)).all()
        assert torch.isnan(torch.empty(2, dtype=torch.float16)).all()
        assert torch.empty(2, dtype=torch.int32).tolist() == [0x55555555] * 2


def test_a_view_outside_of_its_memory_raises():
    x = torch.arange(6.0)
    broken = torch.Tensor._make(x._storage, 4, x[:3]._layout)
    with torch.interpret(), pytest.raises(IndexError, match="exp: access at elements 4 to 6 of a tensor whose memory has 6"):
        torch.exp(broken)


# ---- functions of the user ---------------------------------------------------------------------------------


@torch.elementwise
def bump(x, width):
    if x > 1:
        breakpoint()
    return math.exp(-1.0 / (1.0 - (x / width) ** 2)) * torch.sigmoid(x) if abs(x) < width else torch.where(x > 2, min(x, 0.5), x)


@bump.grad
def bump_grad(g, x, width):
    breakpoint()
    return g * math.log(x), g * width


@torch.reduction(init=0.0, combine=lambda a, b: a + b, finish=lambda a, n: math.sqrt(a / n))
def root_mean_square(a, x):
    breakpoint()
    return a + x * x


@numba.njit
def third(v):
    return v / 3


@torch.library.custom_op("interpreted::smooth", shape=lambda x, ahead: x.shape)
@numba.njit
def smooth(x, ahead, out):
    for i in range(x.size - ahead):
        out[i] = third(x[i] + x[i + 1] + ahead)


@pytest.fixture
def stops(monkeypatch):
    """The local variables at each `breakpoint()`."""
    found = []
    monkeypatch.setattr(sys, "breakpointhook", lambda: found.append(dict(sys._getframe(1).f_locals)))
    return found


def test_breakpoints_in_an_elementwise_function(stops):
    def run():
        x = torch.tensor([0.5, 1.5, 3.0], requires_grad=True)
        y = bump(x, 2.0)
        return [y, *torch.autograd.grad(y.sum(), x)]

    check_same(run)
    assert [s["x"] for s in stops] == [1.5, 3.0, 0.5, 1.5, 3.0]
    assert isinstance(stops[0]["x"], np.float32) and stops[0]["width"] == 2.0 and stops[2]["g"] == 1.0


def test_breakpoints_in_a_reduction(stops):
    check_same(with_gradients(lambda x: root_mean_square(x, dim=1), (2, 3)))
    assert len(stops) == 6


def test_a_compiled_function_runs_as_its_source():
    x = torch.tensor([1.0, 2.0, 3.0])
    check_same(lambda: smooth(x, 1)[:2])
    with torch.interpret():
        assert torch.isnan(smooth(x, 1)[2])
        with pytest.raises(IndexError) as error:
            smooth(x, 0)
    assert "in the interpreted kernel smooth" in error.value.__notes__
    assert "x[i + 1]" in str(error.traceback[-1].statement)


# ---- the switch --------------------------------------------------------------------------------------------


def test_it_nests_and_ends():
    interpreter = torch.autograd.mode.state
    with torch.interpret():
        with torch.interpret():
            pass
        assert torch.isnan(torch.empty(2)).all()
    assert interpreter.interpreter is None and not interpreter.watched

    @torch.interpret()
    def inside():
        return torch.empty(1).isnan().item()

    assert inside()


PROGRAM = """
import threading, numtorch as torch
seen = []
thread = threading.Thread(target=lambda: seen.append(torch.empty(1).isnan().item()))
thread.start(); thread.join()
print(seen, torch.empty(1).isnan().item(), (torch.ones(2) * 2).tolist())
"""


def test_the_environment_switches_it_on_in_every_thread():
    def run(value):
        environment = {**os.environ, "NUMTORCH_INTERPRET": value}
        return subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False)

    assert run("1").stdout == "[True] True [2.0, 2.0]\n"
    assert "NUMTORCH_INTERPRET: expected 0 or 1, got 'yes'" in run("yes").stderr
