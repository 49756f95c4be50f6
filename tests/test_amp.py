"""GradScaler and autocast follow PyTorch's rules."""

from __future__ import annotations

import types

import pytest

import numtorch as torch
from numtorch.amp import GradScaler, autocast, custom_bwd, custom_fwd
from numtorch.nn import functional as F


def test_scaled_step_equals_the_plain_one():
    def train(scaler):
        w = torch.tensor([1.0, 2.0], requires_grad=True)
        optimizer = torch.optim.SGD([w], lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            loss = (w * w).sum()
            (scaler.scale(loss) if scaler else loss).backward()
            scaler.step(optimizer) if scaler else optimizer.step()
            if scaler:
                scaler.update()
        return w

    assert torch.allclose(train(GradScaler(init_scale=1024.0)), train(None))
    assert torch.equal(train(GradScaler(enabled=False)), train(None))


def test_an_infinite_gradient_skips_the_step_and_shrinks_the_factor():
    w = torch.tensor([1.0], requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=0.1)
    scaler = GradScaler(init_scale=4.0, growth_interval=1)
    scaler.scale((w / 0.0).sum()).backward()
    assert scaler.step(optimizer) is None and w.item() == 1.0
    scaler.update()
    assert scaler.get_scale() == 2.0
    optimizer.zero_grad()
    scaler.scale(w.sum()).backward()
    scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match="already been called"):
        scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    assert scaler.get_scale() == 4.0 and w.item() == pytest.approx(0.9)
    other = GradScaler()
    other.load_state_dict(scaler.state_dict())
    assert other.get_scale() == 4.0


def test_an_unscaled_gradient_of_float16_is_refused():
    w = torch.ones(2, dtype=torch.float16, requires_grad=True)
    w.sum().backward()
    with pytest.raises(ValueError, match="Attempting to unscale FP16 gradients"):
        GradScaler().unscale_(torch.optim.SGD([w], lr=0.1))


# -- autocast

LOWER = {
    "linear": lambda x, w: F.linear(x, w), "matmul": lambda x, w: x @ w.T, "mm": lambda x, w: x.mm(w.T),
    "bmm": lambda x, w: torch.bmm(x[None], w.T[None]), "addmm": lambda x, w: torch.addmm(torch.ones(4, 3), x, w.T),
    "baddbmm": lambda x, w: torch.baddbmm(torch.ones(1, 4, 3), x[None], w.T[None]), "einsum": lambda x, w: torch.einsum("ij,kj->ik", x, w),
    "conv": lambda x, w: F.conv1d(x[None], w[:, :4, None]), "conv_transpose": lambda x, w: F.conv_transpose1d(x[None], w.T[:4, :, None]),
    "prelu": lambda x, w: F.prelu(x, w[0, :1]), "attention": lambda x, w: F.scaled_dot_product_attention(x, w, w),
}  # fmt: skip
WIDER = {
    "mse_loss": lambda x: F.mse_loss(x, x * 0.5), "cross_entropy": lambda x: F.cross_entropy(x, torch.tensor([0, 1, 2, 3])),
    "smooth_l1_loss": lambda x: F.smooth_l1_loss(x, x * 2), "prod": lambda x: x.prod(), "quantile": lambda x: x.quantile(0.5),
    "cdist": lambda x: torch.cdist(x, x), "kl_div": lambda x: F.kl_div(x, x.abs(), reduction="sum"), "triplet": lambda x: F.triplet_margin_loss(x, x * 2, -x),
    "nll_loss": lambda x: F.nll_loss(x, torch.tensor([0, 1, 2, 3])), "trace": lambda x: x[:, :4].trace(),
}  # fmt: skip
KEPT = {"sum": lambda x: x.sum(), "softmax": lambda x: x.softmax(1), "add": lambda x: x + 1, "layer_norm": lambda x: F.layer_norm(x, (5,)), "exp": torch.exp,
        "mv": lambda x: x.mv(x[0]), "dot": lambda x: x[0].dot(x[1])}  # fmt: skip


def operands():
    g = torch.Generator().manual_seed(0)
    return torch.randn(4, 5, generator=g), torch.randn(3, 5, generator=g)


@pytest.mark.parametrize("name", LOWER)
def test_products_are_computed_in_bfloat16(name):
    x, w = operands()
    with autocast("cpu"):
        y = LOWER[name](x, w)
    assert y.dtype is torch.bfloat16
    exact = LOWER[name](x, w)
    assert (y.float() - exact).abs().max() < 0.05 * exact.abs().max()
    with autocast("cpu", dtype=torch.float16):
        assert LOWER[name](x, w).dtype is torch.float16
    with autocast("cpu"):
        assert LOWER[name](x.double(), w.double()).dtype is torch.float64 if "add" not in name else True


@pytest.mark.parametrize("name", WIDER)
def test_what_needs_digits_is_computed_in_float32(name):
    x = operands()[0].bfloat16()
    with autocast("cpu"):
        assert torch.equal(WIDER[name](x), WIDER[name](x.float()))


@pytest.mark.parametrize("name", KEPT)
def test_other_operations_keep_their_dtype(name):
    x = operands()[0]
    with autocast("cpu"):
        for d in (torch.bfloat16, torch.float32):
            assert KEPT[name](x.to(d)).dtype is d


def model():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.LayerNorm(8), torch.nn.GELU(), torch.nn.Linear(8, 3))


def test_gradients_are_those_of_the_parameters_dtype():
    net, (x, _) = model(), operands()
    with autocast("cpu"):
        y = net(x)
        y.float().square().sum().backward()  # inside, too, a backward casts nothing
    w = net[3].weight
    hidden = net[2](net[1](net[0](x).bfloat16())).detach().bfloat16()
    by_hand = (2 * y.detach().float()).bfloat16().float().T @ hidden.float()
    assert y.dtype is torch.bfloat16 and w.grad.dtype is torch.float32
    assert torch.allclose(w.grad, by_hand, rtol=0.03, atol=0.03)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_recurrent_layers(kind):
    torch.manual_seed(0)
    layer, cell = getattr(torch.nn, kind)(5, 3), getattr(torch.nn, kind + "Cell")(5, 3)
    x = operands()[0].reshape(2, 2, 5)
    with autocast("cpu"):
        y, h = layer(x)
        one = cell(x[0])
    assert y.dtype is (h[0] if kind == "LSTM" else h).dtype is torch.bfloat16
    assert torch.allclose(y.float(), layer(x)[0], atol=0.02)
    first = one[0] if kind == "LSTM" else one
    assert torch.allclose(first.float(), cell(x[0])[0] if kind == "LSTM" else cell(x[0]), atol=0.02)
    y.float().sum().backward()
    assert layer.weight_hh_l0.grad.dtype is torch.float32


def test_where_it_is_on():
    x, w = operands()
    assert not torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") is torch.bfloat16
    assert torch.get_autocast_gpu_dtype() is torch.float16
    with autocast("cpu", torch.float16):
        assert torch.is_autocast_enabled("cpu") and torch.is_autocast_cpu_enabled() and not torch.is_autocast_enabled()
        assert torch.get_autocast_dtype("cpu") is torch.float16
        with autocast("cpu", enabled=False):
            assert (x @ w.T).dtype is torch.float32 and not torch.is_autocast_enabled("cpu")
        with autocast("cuda"):
            assert torch.is_autocast_enabled() and (x @ w.T).dtype is torch.float16
        assert (x @ w.T).dtype is torch.float16
    assert (x @ w.T).dtype is torch.float32
    with pytest.raises(ZeroDivisionError), autocast("cpu"):
        1 / 0  # noqa: B018
    assert not torch.is_autocast_enabled("cpu")

    @autocast("cpu")
    def product():
        return x @ w.T

    assert product().dtype is torch.bfloat16 and (x @ w.T).dtype is torch.float32


def test_what_is_refused():
    with pytest.raises(RuntimeError, match="unknown device type 'tpu'"):
        autocast("tpu")
    with pytest.warns(UserWarning, match="In CPU autocast, but the target dtype is not supported"):
        context = autocast("cpu", dtype=torch.float32)
    with context:
        assert not torch.is_autocast_enabled("cpu")


def test_a_trace_holds_for_what_was_on():
    net, (x, _) = model(), operands()
    traced = torch.jit.trace(lambda x: net(x))
    for _ in range(2):
        assert torch.equal(traced(x), net(x))
        with autocast("cpu"):
            for _ in range(2):
                y = traced(x)
                assert y.dtype is torch.bfloat16 and torch.equal(y, net(x))


def test_a_traced_step_with_autocast_in_it():
    def losses(trace):
        net, (x, _) = model(), operands()
        optimizer, target = torch.optim.SGD(net.parameters(), lr=0.1), torch.tensor([0, 1, 2, 0])

        def step(x):
            with autocast("cpu"):
                loss = F.cross_entropy(net(x), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss

        run = torch.jit.trace(step) if trace else step
        return [run(x).item() for _ in range(4)]

    assert losses(True) == losses(False)


def test_functions_of_ones_own():
    seen = []

    class Product(torch.autograd.Function):
        @staticmethod
        @custom_fwd(device_type="cpu", cast_inputs=torch.float32)
        def forward(ctx, x, w):
            ctx.save_for_backward(w)
            seen.append((x.dtype, (x @ w).dtype))
            return x @ w

        @staticmethod
        @custom_bwd(device_type="cpu")
        def backward(ctx, g):
            (w,) = ctx.saved_tensors
            seen.append((g @ w.T).dtype)
            return g @ w.T, None

    x, w = operands()[0].bfloat16().requires_grad_(), torch.ones(5, 2)
    with autocast("cpu"):
        Product.apply(x, w).sum().backward()
    assert seen == [(torch.float32, torch.float32), torch.float32] and x.grad.dtype is torch.bfloat16

    class Kept(torch.autograd.Function):
        @staticmethod
        @custom_fwd(device_type="cpu")
        def forward(ctx, x):
            seen.append((x @ x.T).dtype)
            return x.clone()

        @staticmethod
        @custom_bwd(device_type="cpu")
        def backward(ctx, g):
            seen.append((g @ g.T).dtype)
            return g

    seen.clear()
    with autocast("cpu"):
        y = Kept.apply(torch.ones(2, 2, requires_grad=True))
    y.sum().backward()
    assert seen == [torch.bfloat16, torch.bfloat16]


@pytest.mark.oracle
def test_dtypes_are_those_of_pytorch():
    pytorch = pytest.importorskip("torch")
    (x, w), kinds = operands(), []
    for library in (torch, pytorch):
        given = [t if library is torch else pytorch.tensor(t.numpy()) for t in (x, w)]
        names = {"__builtins__": __builtins__, "torch": library, "F": library.nn.functional}
        with library.autocast("cpu"):
            found = [types.FunctionType(f.__code__, names)(*given) for f in LOWER.values()]
            found += [types.FunctionType(f.__code__, names)(given[0].bfloat16()) for f in WIDER.values()]
            found += [types.FunctionType(f.__code__, names)(given[0]) for n, f in KEPT.items() if n != "exp"]
        kinds.append([str(t.dtype).split(".")[1] for t in found])
    assert kinds[0] == kinds[1]
