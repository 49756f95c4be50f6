"""The tensor itself: dtypes, memory, conversions, printing."""

from __future__ import annotations

import copy
import pickle
import warnings

import numpy as np
import pytest

import numtorch as torch

# Recorded from PyTorch 2.13.0: torch.promote_types over these names, row by row.
NAMES = "bool uint8 int8 int16 int32 int64 float16 float32 float64".split()
PROMOTED = """
bool uint8 int8 int16 int32 int64 float16 float32 float64
uint8 uint8 int16 int16 int32 int64 float16 float32 float64
int8 int16 int8 int16 int32 int64 float16 float32 float64
int16 int16 int16 int16 int32 int64 float16 float32 float64
int32 int32 int32 int32 int32 int64 float16 float32 float64
int64 int64 int64 int64 int64 int64 float16 float32 float64
float16 float16 float16 float16 float16 float16 float16 float32 float64
float32 float32 float32 float32 float32 float32 float32 float32 float64
float64 float64 float64 float64 float64 float64 float64 float64 float64
""".split()


def test_promotion_table():
    found = [torch.promote_types(getattr(torch, a), getattr(torch, b)).name for a in NAMES for b in NAMES]
    assert found == PROMOTED


@pytest.mark.parametrize(
    "expression, name",
    [
        (lambda: torch.ones(2, dtype=torch.int64) * 2.5, "float32"),
        (lambda: torch.ones(2, dtype=torch.int32) + 1, "int32"),
        (lambda: torch.ones(2) + torch.tensor(1.0, dtype=torch.float64), "float32"),
        (lambda: torch.ones(2, dtype=torch.int64) + torch.tensor(1.5), "float32"),
        (lambda: torch.ones(2, dtype=torch.uint8) + torch.ones(2, dtype=torch.int8), "int16"),
        (lambda: torch.tensor(1) / torch.tensor(2), "float32"),
        (lambda: torch.tensor([True]) + 1, "int64"),
        (lambda: torch.ones(2, dtype=torch.float64) * torch.ones(2), "float64"),
        (lambda: torch.ones(2, dtype=torch.int64).sum(), "int64"),
        (lambda: torch.tensor([True, False]).sum(), "int64"),
        (lambda: torch.ones(2) > 0, "bool"),
    ],
)
def test_dtype_of_results(expression, name):
    assert expression().dtype.name == name


# Recorded from PyTorch 2.13.0.
PRINTED = [
    (lambda: torch.tensor(1.5), "tensor(1.5000)"),
    (lambda: torch.tensor([1.0, 2.0]), "tensor([1., 2.])"),
    (lambda: torch.tensor([1e-5, 1.0]), "tensor([1.0000e-05, 1.0000e+00])"),
    (lambda: torch.tensor([float("nan"), float("inf"), -1.5]), "tensor([    nan,     inf, -1.5000])"),
    (lambda: torch.tensor([True, False]), "tensor([ True, False])"),
    (lambda: torch.tensor([1, 2], dtype=torch.int32), "tensor([1, 2], dtype=torch.int32)"),
    (lambda: torch.zeros(0, 3), "tensor([], size=(0, 3))"),
    (lambda: torch.tensor([[1.0, 2.5], [3.0, 4.0]]), "tensor([[1.0000, 2.5000],\n        [3.0000, 4.0000]])"),
    (lambda: torch.ones(2, requires_grad=True), "tensor([1., 1.], requires_grad=True)"),
    (lambda: torch.ones(2, requires_grad=True) * 2, "tensor([2., 2.], grad_fn=<MulBackward0>)"),
    (lambda: torch.arange(2000), "tensor([   0,    1,    2,  ..., 1997, 1998, 1999])"),
    (lambda: torch.zeros(2, 3).shape, "torch.Size([2, 3])"),
]


@pytest.mark.parametrize("make, text", PRINTED)
def test_printing(make, text):
    assert repr(make()) == text


def test_a_single_number_formats_as_one_and_a_tensor_as_its_text():
    loss = torch.tensor(2.5, requires_grad=True) * 1
    assert f"{loss} {loss:.3f} {torch.tensor(7)} {torch.tensor(7):>3d} {torch.tensor(True)}" == "2.5 2.500 7   7 True"
    assert f"{torch.ones(2)}" == "tensor([1., 1.])" and f"{torch.nn.Parameter(torch.tensor(1.0))}".startswith("Parameter")
    with pytest.raises(TypeError, match="unsupported format string passed to Tensor.__format__"):
        f"{torch.ones(2):.2f}"


def test_numpy_shares_memory_both_ways():
    x = torch.zeros(3)
    x.numpy()[1] = 5.0
    assert x.tolist() == [0, 5, 0]
    a = np.zeros((2, 3))
    t = torch.from_numpy(a)
    t[0, 1] = 2.0
    assert a[0, 1] == 2.0
    column = torch.from_numpy(a[:, 1])
    assert column.stride() == (3,) and column.tolist() == [2, 0]


def test_numpy_arrays_outlive_their_tensor():
    a = (torch.ones(1000) * 3).numpy()
    for _ in range(20):
        torch.zeros(1000)
    assert (a == 3).all()


def test_dlpack():
    a = np.arange(6.0).reshape(2, 3)
    t = torch.from_dlpack(a)
    t[0, 0] = 9.0
    assert a[0, 0] == 9.0
    np.testing.assert_array_equal(np.from_dlpack(torch.arange(3)), [0, 1, 2])
    with pytest.raises(BufferError, match="detach"):
        torch.ones(2, requires_grad=True).__dlpack__()


def test_copy_deepcopy_and_pickle():
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    (x * 2).sum().backward()
    deep = copy.deepcopy(x)
    assert deep.requires_grad and deep.grad.tolist() == [2, 2] and deep.data_ptr() != x.data_ptr()
    base, view = torch.zeros(4), None
    view = base[1:3]
    base2, view2 = pickle.loads(pickle.dumps((base, view)))
    view2.fill_(1.0)
    assert base2.tolist() == [0, 1, 1, 0]
    with pytest.raises(RuntimeError, match="graph leaves"):
        copy.deepcopy(x * 2)


def test_views_share_memory_and_version():
    x = torch.arange(12.0).reshape(3, 4)
    views = [x.view(4, 3), x.t(), x[1:], x.unfold(1, 2, 1), x.expand(2, 3, 4), x.unsqueeze(0), x.flatten(), *x.chunk(2, 1)]
    x.mul_(2.0)
    assert {v._version for v in views} == {1}
    assert x.t()[1, 0].item() == 2.0 and x.unfold(1, 2, 1).shape == (3, 3, 2)
    with pytest.raises(RuntimeError, match="Use .reshape"):
        x.t().view(12)
    assert x.t().reshape(12)[1].item() == 8.0


def test_in_place_rules():
    x = torch.zeros(2, dtype=torch.int64)
    with pytest.raises(RuntimeError, match="can't be cast"):
        x.add_(1.5)
    with pytest.raises(RuntimeError, match="doesn't match the broadcast shape"):
        torch.zeros(2).add_(torch.zeros(3, 2))
    with pytest.raises(RuntimeError, match="single memory location"):
        torch.zeros(1).expand(3).add_(1.0)
    y = torch.tensor([1.0, 2.0, 3.0, 4.0])
    y[1:].copy_(y[:-1].clone())
    assert y.tolist() == [1, 1, 2, 3]
    z = torch.arange(6.0).reshape(2, 3)
    z.t().mul_(torch.tensor([1.0, 10.0]))
    assert z.tolist() == [[0, 1, 2], [30, 40, 50]]


def test_conversions_to_python():
    assert torch.tensor(3).item() == 3 and float(torch.tensor([2.5])) == 2.5 and int(torch.tensor(2.9)) == 2
    assert bool(torch.tensor([1.0])) and [10, 20][torch.tensor(1)] == 20
    assert torch.tensor([[1, 2]]).tolist() == [[1, 2]] and len(torch.zeros(3, 2)) == 3
    for wrong, error in (
        (lambda: torch.ones(2).item(), RuntimeError), (lambda: bool(torch.ones(2)), RuntimeError), (lambda: float(torch.ones(2)), ValueError)
    ):  # fmt: skip
        with pytest.raises(error):
            wrong()
    for wrong in (lambda: len(torch.tensor(1)), lambda: iter(torch.tensor(1)), lambda: [1][torch.tensor(0.0)]):
        with pytest.raises(TypeError):
            wrong()


def test_making_tensors_from_data():
    assert torch.tensor([1, 2.5]).dtype is torch.float32 and torch.tensor([True]).dtype is torch.bool
    assert torch.tensor(np.float64(2.0)).dtype is torch.float64 and torch.tensor([]).dtype is torch.float32
    assert torch.tensor([torch.tensor(1.0), torch.tensor(2.0)]).tolist() == [1, 2]
    with pytest.raises(ValueError, match="length 2 at dim 1"):
        torch.tensor([[1, 2], [3]])
    with pytest.raises(TypeError):
        torch.tensor("text")
    with pytest.raises(RuntimeError, match="overflow"):
        torch.tensor(300, dtype=torch.uint8)


def test_a_gpu_that_is_not_here():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises((RuntimeError, AssertionError), match=r"(?i)cuda"):
        torch.ones(2, device="cuda")
    with pytest.raises((RuntimeError, AssertionError), match=r"(?i)cuda"):
        torch.ones(2).cuda()
    with pytest.raises(RuntimeError, match="Expected one of cpu, cuda"):
        torch.ones(2, device="tpu")


def test_random_numbers_are_the_same_for_any_number_of_threads():
    before = torch.get_num_threads()
    found = []
    try:
        for n in (1, 2, 4):
            torch.set_num_threads(n)
            torch.manual_seed(5)
            found.append((torch.rand(100_000), torch.randn(3), torch.randperm(10)))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other))


def test_generator_state():
    g = torch.Generator().manual_seed(3)
    state = g.get_state()
    a = torch.rand(5, generator=g)
    g.set_state(state)
    assert torch.equal(a, torch.rand(5, generator=g)) and g.initial_seed() == 3
    torch.manual_seed(0)
    with torch.random.fork_rng():
        torch.rand(3)
    b = torch.rand(3)
    torch.manual_seed(0)
    assert torch.equal(b, torch.rand(3))


def test_a_number_of_a_tensor_that_requires_grad_warns_once(monkeypatch):
    monkeypatch.setattr("numtorch._tensor._to_warn", [True])
    x = torch.tensor([2.0], requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (int(x), bool(x), x.item(), float(x.detach())) == (2, True, 2.0, 2.0)
        with torch.no_grad():
            assert float(x) == 2.0
    with pytest.warns(UserWarning, match="Converting a tensor with requires_grad=True to a scalar may lead to unexpected behavior"):
        float(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert float(x) == 2.0


@pytest.mark.parametrize(
    ("kind", "call", "message"),
    [
        (TypeError, lambda: torch.zeros(2).normal_(torch.ones(2)), "normal_.*argument 'mean' must be float, not Tensor"),
        (TypeError, lambda: torch.zeros(2).uniform_("a"), "uniform_.*argument 'from' must be float, not str"),
        (TypeError, torch.zeros, 'missing 1 required positional arguments: "size"'),
        (TypeError, lambda: torch.ones(2).view(), "view.. received an invalid combination of arguments"),
        (TypeError, lambda: setattr(torch.nn.Linear(1, 1), "weight", torch.ones(1)), "cannot assign 'torch.FloatTensor' as parameter 'weight'"),
    ],
)
def test_what_is_missing_is_named(kind, call, message):
    with pytest.raises(kind, match=message):
        call()


def test_a_histogram_prints_as_pytorchs():
    assert repr(torch.histogram(torch.arange(4.0), 2)).startswith("torch.return_types.histogram(\nhist=tensor([2., 2.]),\nbin_edges=")
