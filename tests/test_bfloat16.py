"""bfloat16: conversions, promotion, printing, ops of every kind beside float32, gradients, traces, files, what is refused."""

from __future__ import annotations

import copy
import io
import math
import pickle
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import numtorch as torch
from numtorch.nn import functional as F

BF = torch.bfloat16
EVERY = torch.arange(65536).to(torch.int16).view(BF)  # each of its numbers (the integers wrap around)


def nearest(x: float) -> float:
    """The bfloat16 nearest to a float32, of two as near the one that ends in 0; found among neighbours, without bit tricks."""
    if math.isnan(x) or math.isinf(x) or x == 0:
        return x
    exponent = max(math.frexp(x)[1] - 8, -133)  # of the last digit
    kept = round(x / 2.0**exponent) * 2.0**exponent  # Python rounds ties to even
    return math.copysign(math.inf, x) if abs(kept) >= 2.0**128 else kept


def same(a: float, b: float) -> bool:
    return (math.isnan(a) and math.isnan(b)) or struct.pack("d", a) == struct.pack("d", b)


def rounded(x):
    """float32 numbers that bfloat16 holds, by another way than the tensor's own."""
    return torch.tensor([nearest(v) for v in x.flatten().tolist()]).reshape(x.shape)


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).bfloat16()


# -- conversions


@given(st.floats(width=32))
def test_numbers_are_rounded_to_the_nearest(x):
    for t in (torch.tensor(x, dtype=BF), torch.tensor([x], dtype=BF), torch.tensor([x]).bfloat16(), torch.full((1,), x, dtype=BF)):
        assert t.dtype is BF and same(t.item(), nearest(x))


def test_every_number_there_and_back():
    wide = EVERY.float()
    assert all(same(a, b) for a, b in zip(EVERY.tolist(), wide.tolist()))
    back = wide.bfloat16().view(torch.int16)
    number = ~wide.isnan()
    assert torch.equal(back[number], EVERY.view(torch.int16)[number]) and bool(wide.bfloat16().isnan()[~number].all())
    assert torch.equal(EVERY.double()[number], wide.double()[number])


@pytest.mark.parametrize("name", "float16 float32 float64 uint8 int8 int16 int32 int64 bool".split())
def test_casts_go_through_the_number(name):
    d = getattr(torch, name)
    x = torch.tensor([0.0, 1.0, 2.5, 3.140625, 100.0, 77.5])
    assert torch.equal(x.bfloat16().to(d), rounded(x).to(d))
    whole = torch.tensor([0, 1, 3, 100, 127]).to(d)
    assert whole.bfloat16().tolist() == [nearest(float(v)) for v in whole.tolist()]


def test_integers_are_rounded_to_eight_digits():
    x = torch.tensor([256, 257, 258, 259, 2**24 + 2**16, -385])
    assert x.bfloat16().tolist() == [256, 256, 258, 260, 2**24, -384]


def test_what_it_is():
    x = torch.ones(2, dtype=BF)
    assert x.is_floating_point() and x.element_size() == 2 and BF.is_signed and not BF.is_complex and repr(BF) == "numtorch.bfloat16"
    assert x.type() == "torch.BFloat16Tensor" and isinstance(x, torch.BFloat16Tensor) and x.type("torch.BFloat16Tensor") is x
    limits = torch.finfo(BF)
    assert (limits.bits, limits.eps, limits.max, limits.min) == (16, 2.0**-7, 3.3895313892515355e38, -3.3895313892515355e38)
    assert limits.tiny == limits.smallest_normal == 2.0**-126 and limits.resolution == 0.01
    assert repr(limits) == (
        "finfo(resolution=0.01, min=-3.38953e+38, max=3.38953e+38, eps=0.0078125, smallest_normal=1.17549e-38, tiny=1.17549e-38, dtype=bfloat16)"
    )
    assert repr(torch.tensor([1.1, -200.0]).bfloat16()) == "tensor([   1.1016, -200.0000], dtype=torch.bfloat16)"
    assert pickle.loads(pickle.dumps(BF)) is BF and copy.deepcopy(x).dtype is BF


PROMOTED = {"float16": "float32", "float32": "float32", "float64": "float64", "bfloat16": "bfloat16", "int64": "bfloat16",
            "uint8": "bfloat16", "bool": "bfloat16"}  # fmt: skip


@pytest.mark.parametrize("other", PROMOTED)
def test_promotion(other):
    d, wanted = getattr(torch, other), getattr(torch, PROMOTED[other])
    assert torch.promote_types(BF, d) is torch.promote_types(d, BF) is wanted
    x, y = torch.ones(2, dtype=BF), torch.ones(2).to(d)
    assert (x + y).dtype is (y + x).dtype is torch.result_type(x, y) is torch.cat([x, y]).dtype is wanted
    assert (x * y[0]).dtype is BF and (x * 2.5).dtype is (2 - x).dtype is BF
    assert torch.can_cast(BF, d) is d.is_floating_point


# -- making tensors


def test_creation():
    assert torch.arange(0, 3, 0.7, dtype=BF).tolist() == [nearest(0.7 * k) for k in range(5)]
    assert torch.linspace(0, 1, 4, dtype=BF).tolist() == [nearest(np.float32(k / 3)) for k in range(4)]
    assert torch.eye(2, dtype=BF).tolist() == [[1, 0], [0, 1]] and torch.zeros(2, dtype=BF).tolist() == [0, 0]
    assert torch.full_like(torch.ones(1, dtype=BF), 0.1).item() == nearest(0.1) and torch.ones(1, dtype=BF).new_tensor(0.1).dtype is BF
    assert torch.frombuffer(bytearray(struct.pack("<2H", 0x3FC0, 0xC000)), dtype=BF).tolist() == [1.5, -2.0]
    assert torch.as_tensor(np.arange(3), dtype=BF).tolist() == [0, 1, 2] and torch.tensor([[1, 2.5]], dtype=BF).tolist() == [[1, 2.5]]
    bits = torch.tensor([0x3FC0, -0x4000], dtype=torch.int16)
    assert bits.view(BF).tolist() == [1.5, -2.0] and torch.equal(bits.view(BF).view(torch.int16), bits)
    assert torch.equal(torch.tensor([1.5], dtype=torch.float16).view(BF).view(torch.float16), torch.tensor([1.5], dtype=torch.float16))


def test_the_default_dtype():
    torch.set_default_dtype(BF)
    try:
        assert torch.get_default_dtype() is torch.tensor(0.1).dtype is torch.zeros(1).dtype is torch.nn.Linear(1, 1).weight.dtype is BF
        assert (torch.tensor([1]) / 3).item() == nearest(1 / 3) and repr(torch.ones(1)) == "tensor([1.])"
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("d", [BF, torch.float16])
def test_random_numbers(d):
    g = torch.Generator().manual_seed(0)
    steps = 2 ** (8 if d is BF else 11)
    u = torch.rand(20000, dtype=d, generator=g).float()
    assert 0 <= u.min() and u.max() < 1 and abs(u.mean() - 0.5) < 0.01 and torch.equal(u * steps, (u * steps).floor())
    assert torch.empty(1000, dtype=d).uniform_(-2, 3, generator=g).float().max() < 3
    assert abs(torch.randn(20000, dtype=d, generator=g).float().std() - 1) < 0.03
    assert set(torch.empty(100, dtype=d).bernoulli_(0.5, generator=g).tolist()) == {0.0, 1.0}
    assert set(F.dropout(torch.ones(100, dtype=d)).tolist()) == {0.0, 2.0}
    assert sorted(torch.randperm(50, dtype=d).tolist()) == list(range(50)) and torch.multinomial(torch.ones(3, dtype=d), 2).dtype is torch.int64


# -- ops: what float32 gives, rounded


ELEMENTWISE = """add sub mul div pow exp log sqrt rsqrt sigmoid tanh gelu sin erf maximum floor remainder lt where clamp lerp
    addcmul isnan nan_to_num leaky_relu softplus xlogy hypot copysign""".split()  # fmt: skip


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise_ops_round_once(name):
    a, b, c = (randn(61, seed=k).abs() + 0.25 for k in range(3))
    call = {
        "where": lambda f, x, y, z: f(x > 1, y, z), "clamp": lambda f, x, y, z: f(x, 0.3, 1.0), "lerp": lambda f, x, y, z: f(x, y, z),
        "addcmul": lambda f, x, y, z: f(x, y, z, value=2), "gelu": lambda f, x, y, z: F.gelu(x), "softplus": lambda f, x, y, z: F.softplus(x),
        "leaky_relu": lambda f, x, y, z: F.leaky_relu(-x),
    }.get(name)  # fmt: skip
    two = name in "add sub mul div pow maximum remainder lt xlogy hypot copysign".split()
    call = call or (lambda f, x, y, z: f(x, y) if two else f(x))
    function = getattr(torch, name, None)
    have, wide = call(function, a, b, c), call(function, a.float(), b.float(), c.float())
    if wide.dtype is torch.bool:
        assert have.dtype is torch.bool and torch.equal(have, wide)
        return
    assert have.dtype is BF and torch.equal(have.float(), rounded(wide))


INDEX = [3, 0, 0, 2]
KERNELS = {
    "sum": lambda x: x.sum(), "sum over rows": lambda x: x.sum(0), "mean": lambda x: x.mean(1), "prod": lambda x: (x[:, :3]).prod(1),
    "amax": lambda x: x.amax(0), "norm": lambda x: x.norm(), "var": lambda x: x.var(1), "logsumexp": lambda x: x.logsumexp(1),
    "cumsum": lambda x: x.cumsum(0), "matmul": lambda x: x @ x.T, "bmm": lambda x: torch.bmm(x[None], x.T[None]),
    "linear": lambda x: F.linear(x, x, x[:, 0]), "conv1d": lambda x: F.conv1d(x[None], x[:, :, None][:3, :4, :].repeat(1, 1, 3)[:, :4]),
    "conv2d": lambda x: F.conv2d(x[None, None], x[None, None, :2, :2], padding=1), "softmax": lambda x: x.softmax(1),
    "log_softmax": lambda x: x.log_softmax(0), "layer_norm": lambda x: F.layer_norm(x, (6,), x[0], x[1]), "rms_norm": lambda x: F.rms_norm(x, (6,)),
    "batch_norm": lambda x: F.batch_norm(x, None, None, training=True), "group_norm": lambda x: F.group_norm(x, 2), "max_pool": lambda x: F.max_pool1d(x, 2),
    "avg_pool": lambda x: F.avg_pool2d(x[None], 2), "cross_entropy": lambda x: F.cross_entropy(x, torch.tensor([0, 5, 2, 1])),
    "mse_loss": lambda x: F.mse_loss(x, x * 2, reduction="none"), "embedding": lambda x: F.embedding(torch.tensor(INDEX), x), "sort": lambda x: x.sort(1)[0],
    "topk": lambda x: x.topk(2)[0], "index": lambda x: x[:, INDEX], "gather": lambda x: x.gather(1, torch.tensor([INDEX])),
    "scatter": lambda x: x.scatter(1, torch.tensor([[1], [0]]), 7.0), "scatter_add": lambda x: x.scatter_add(0, torch.tensor([[1] * 6]), x),
    "index_add": lambda x: x.index_add(0, torch.tensor([1]), x[:1]), "masked_fill": lambda x: x.masked_fill(x > 0, 2), "cat": lambda x: torch.cat([x, x.flip(0)]),
    "tril": lambda x: x.tril(), "roll": lambda x: x.roll(1), "pad": lambda x: F.pad(x, (1, 2)), "median": lambda x: x.median(1)[0],
    "transposed": lambda x: x.T.contiguous(), "unique": lambda x: x.unique(), "interpolate": lambda x: F.interpolate(x[None], scale_factor=2),
}  # fmt: skip


@pytest.mark.parametrize("name", KERNELS)
def test_kernels_compute_in_float32_and_round(name):
    x = randn(4, 6)
    have, wide = KERNELS[name](x), KERNELS[name](x.float())
    assert have.dtype is BF and have.shape == wide.shape
    want = rounded(wide)
    if name == "mean" or name.endswith(("norm", "pool")) or name in ("var", "scatter_add", "index_add", "interpolate"):
        assert torch.allclose(have.float(), want, rtol=2.0**-7, atol=2.0**-8)  # made of several ops, each rounded
    else:
        assert torch.equal(have.float(), want)


def test_sums_are_kept_in_float32():
    assert torch.ones(5000, dtype=BF).sum().item() == 4992 and torch.ones(4096, dtype=BF).mean().item() == 1
    assert (torch.ones(1, 4096, dtype=BF) @ torch.ones(4096, 1, dtype=BF)).item() == 4096  # in bfloat16 they would stop at 256


def test_whole_numbers_and_conditions():
    x = randn(4, 6)
    assert torch.equal(x.argmax(1), x.float().argmax(1)) and torch.equal(x.argsort(1, stable=True), x.float().argsort(1, stable=True))
    assert torch.equal(x.nonzero(), x.float().nonzero()) and bool((x == x.clone()).all()) and x.any() and not x.isnan().any()
    assert torch.equal(torch.isin(x, x[0]), torch.isin(x.float(), x[0].float())) and torch.equal(x.bool(), x.float().bool())


def test_in_place_and_out():
    x, y = randn(4, 6), randn(4, 6, seed=1)
    z = x.clone()
    z.add_(y).mul_(2)
    assert torch.equal(z, (x + y) * 2) and torch.equal(torch.add(x, y, out=torch.empty(0, dtype=BF)), x + y)
    z[1:3] = y[:2]
    z[z > 1] = 0.1
    assert z.max() <= 1 and (z == torch.tensor(0.1, dtype=BF)).any()
    z.copy_(torch.full((4, 6), 1 / 3, dtype=torch.float64))
    assert z[0, 0].item() == nearest(1 / 3)
    z.zero_().index_put_((torch.tensor([0, 0]), torch.tensor([1, 1])), torch.ones(2, dtype=BF), accumulate=True)
    assert z[0, 1].item() == 2


# -- gradients


@pytest.mark.parametrize("name", ["matmul", "linear", "conv2d", "softmax", "layer_norm", "cross_entropy", "max_pool", "index", "cat", "sum", "logsumexp", "prod"])
def test_gradients_are_of_the_dtype_and_near_those_of_float32(name):
    grads = []
    for d in (BF, torch.float32):
        x = randn(4, 6).to(d).requires_grad_()
        KERNELS[name](x).square().sum().backward()
        grads.append(x.grad)
    assert grads[0].dtype is BF
    assert torch.allclose(grads[0].float(), grads[1], rtol=0.05, atol=0.05 * grads[1].abs().max().item())


def test_gradients_through_a_cast():
    x = torch.tensor([1.1, 2.2], requires_grad=True)
    y = x.bfloat16() * 3
    y.float().sum().backward()
    assert y.grad_fn is not None and x.grad.dtype is torch.float32 and x.grad.tolist() == [3, 3]


# -- traces, interpretation, files


def test_traces():
    torch.manual_seed(0)
    nn = torch.nn
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)).bfloat16().eval()
    x = randn(2, 1, 8, 8)
    traced = torch.jit.trace(lambda x: (net(x), (x * 3).float().exp().bfloat16().sum(), x.view(torch.int16)))
    for shift in (0.0, 0.5):
        have, want = traced(x + shift), traced.function(x + shift)
        assert all(torch.equal(a, b) for a, b in zip(have, want)) and [t.dtype for t in have] == [BF, BF, torch.int16]
    other = traced(x.float().double().bfloat16())
    assert torch.equal(other[0], net(x))


def test_a_condition_in_a_trace():
    traced = torch.jit.trace(lambda x: x * 2 if x.sum().item() > 0.1 else -x)
    for value in (1.0, -1.0, 2.0):
        assert traced(torch.tensor([value], dtype=BF)).item() == (value * 2 if value > 0 else -value)


def test_anomalies_are_found():
    x = torch.zeros(3, dtype=BF, requires_grad=True)
    with torch.autograd.detect_anomaly(), pytest.raises(RuntimeError, match=r"nan values.*numtorch.bfloat16"), pytest.warns(UserWarning):
        (x.sqrt() * 0).sum().backward()
    traced = torch.jit.trace(lambda x: torch.log(x) * 0)
    assert traced(torch.ones(2, dtype=BF)).tolist() == [0, 0]
    with torch.autograd.detect_anomaly(), pytest.raises(RuntimeError, match="nan"):
        traced(torch.zeros(2, dtype=BF))


def test_interpreted():
    x = randn(4, 6)
    want = [x + x, x.softmax(1), x.sum(), x.float(), x @ x.T]
    with torch.interpret():
        have = [x + x, x.softmax(1), x.sum(), x.float(), x @ x.T]
        assert torch.empty(2, dtype=BF).isnan().all()
    for a, b in zip(have, want):
        assert a.dtype is b.dtype and torch.allclose(a.float(), b.float(), rtol=2.0**-7)


def test_files_and_messages():
    x = randn(4, 6)
    file = io.BytesIO()
    torch.save({"x": x, "view": x.T[1:], "dtype": BF}, file)
    file.seek(0)
    found = torch.load(file)
    assert torch.equal(found["x"], x) and torch.equal(found["view"], x.T[1:]) and found["dtype"] is BF
    assert torch.equal(pickle.loads(pickle.dumps(x)), x) and torch.equal(copy.deepcopy(x), x)
    torch.testing.assert_close(x, x * 1.005)
    with pytest.raises(AssertionError, match="Tensor-likes are not close"):
        torch.testing.assert_close(x, x * 1.05)


def test_a_data_loader_hands_it_over():
    x = randn(4, 6)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x), batch_size=2, num_workers=1)
    assert torch.equal(torch.cat([b for (b,) in loader]), x)


@pytest.mark.parametrize(("call", "kind", "message"), [
    (lambda x: x.numpy(), TypeError, "Got unsupported ScalarType BFloat16"),
    (lambda x: np.asarray(x), TypeError, "Got unsupported ScalarType BFloat16"),
    (torch.linalg.solve, NotImplementedError, "not implemented for 'BFloat16'"),
    (torch.linalg.svd, NotImplementedError, "not implemented for 'BFloat16'"),
    (torch.linalg.cholesky, NotImplementedError, "not implemented for 'BFloat16'"),
    (torch.linalg.inv, RuntimeError, "Low precision dtypes not supported"),
    (lambda x: torch.linalg.matrix_power(x, -1), RuntimeError, "Low precision dtypes not supported"),
    (lambda x: torch.linalg.norm(x, "nuc"), RuntimeError, "Low precision dtypes not supported"),
    (lambda x: x.quantile(0.5), RuntimeError, "float or double"),
    (torch.pdist, NotImplementedError, "not implemented for 'BFloat16'"),
    (lambda x: torch.special.zeta(x, x), NotImplementedError, "not implemented for 'BFloat16'"),
    (lambda x: x @ x.float(), RuntimeError, "the same dtype"),
    (lambda x: x & x, NotImplementedError, "not implemented for 'BFloat16'"),
    (lambda x: torch.nn.init.orthogonal_(x), NotImplementedError, "not implemented for 'BFloat16'"),
    (lambda x: torch.empty(1, dtype=torch.int64).add_(x[:1, 0]), RuntimeError, "can't be cast"),
])  # fmt: skip
def test_what_is_refused(call, kind, message):
    x = torch.eye(3, dtype=BF)
    with pytest.raises(kind, match=message):
        call(x, x) if call is torch.linalg.solve else call(x)


@pytest.mark.oracle
def test_conversions_and_kernels_beside_pytorch():
    pytorch = pytest.importorskip("torch")
    theirs = pytorch.arange(65536).to(pytorch.int16).view(pytorch.bfloat16)
    numbers = np.random.default_rng(0).integers(0, 2**32, 20000, dtype=np.uint32).view(np.float32)
    numbers = numbers[~np.isnan(numbers)]
    assert torch.tensor(numbers).bfloat16().view(torch.int16).tolist() == pytorch.tensor(numbers).bfloat16().view(pytorch.int16).tolist()
    for name in "float16 float32 float64".split():
        np.testing.assert_array_equal(EVERY.to(getattr(torch, name)).numpy(), theirs.to(getattr(pytorch, name)).numpy())
    for a in dir(torch):
        if isinstance(getattr(torch, a), torch.dtype) and hasattr(pytorch, a):
            want = str(pytorch.promote_types(pytorch.bfloat16, getattr(pytorch, a)))
            assert str(torch.promote_types(BF, getattr(torch, a))).split(".")[1] == want.split(".")[1]
    x = randn(4, 6)
    other = pytorch.tensor(x.tolist(), dtype=pytorch.bfloat16)
    assert repr(x) == repr(other) and repr(x * 1e20) == repr(other * 1e20)
