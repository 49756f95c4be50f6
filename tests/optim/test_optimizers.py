"""Every optimizer against the trajectories that PyTorch takes on the same gradients."""

from __future__ import annotations

import copy
import json
import math
import pathlib
import pickle

import numpy as np
import pytest
from optim import cases

import numtorch

RECORDED = json.loads(pathlib.Path(__file__).with_name("recorded.json").read_text())
LABELLED = [
    pytest.param(*pair, id=cases.label(pair[0])) for pair in zip(cases.OPTIMIZERS, RECORDED["optimizers"])
]


def assert_follows(name: str, found: list, wanted: list, dtype: str) -> None:
    """Each step within a small share of the way that the parameter has gone."""
    # Muon's iteration runs in bfloat16, whatever the dtype of the parameters.
    tolerance = 1e-4 if dtype == "float32" else 1e-2 if name == "Muon" else 1e-7
    shapes = cases.MATRICES if name == "Muon" else cases.SHAPES
    for step, (ours, theirs) in enumerate(zip(found, wanted, strict=True), 1):
        for k, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            start = cases.values(shapes[k], k)
            b = np.reshape(b, shapes[k])
            moved, off = np.abs(b - start).max(), np.abs(a - b).max()
            rounding = 4 * np.finfo(dtype).eps + 1e-11  # twelve digits are recorded
            assert off <= tolerance * moved + rounding, (
                f"parameter {k}, step {step}: off by {off}, moved {moved}"
            )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case, wanted", LABELLED)
def test_follows_pytorch(case: tuple, wanted: list, dtype: str) -> None:
    name, options = case
    found = cases.run(numtorch, name, options, dtype)
    assert all(a.dtype == dtype for step in found for a in step)
    assert_follows(name, found, wanted, dtype)


@pytest.mark.oracle
@pytest.mark.parametrize("case", cases.OPTIMIZERS, ids=cases.label)
def test_pytorch_still_does_what_was_recorded(case: tuple) -> None:
    torch = pytest.importorskip("torch")
    name, options = case
    wanted = RECORDED["optimizers"][cases.OPTIMIZERS.index(case)]
    assert_follows(name, cases.run(torch, name, options, "float64"), wanted, "float64")


def test_every_class_is_recorded() -> None:
    classes = {n for n in numtorch.optim.__all__ if isinstance(getattr(numtorch.optim, n), type)} - {
        "Optimizer"
    }
    assert classes == {name for name, _ in cases.OPTIMIZERS} and len(classes) == 14


def parameter(value: float = 1.0, n: int = 3) -> numtorch.Tensor:
    return numtorch.full((n,), value, requires_grad=True)


@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop", "Adagrad"])
def test_a_tensor_learning_rate_counts_as_its_value(name: str) -> None:
    found = []
    for lr in (0.125, numtorch.tensor(0.125), numtorch.tensor([0.125])):
        p = parameter()
        p.grad = numtorch.ones(3)
        optimizer = getattr(numtorch.optim, name)([p], lr=lr)
        optimizer.step()
        found.append(p.tolist())
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "Adagrad"])
@pytest.mark.parametrize("flag", ["foreach", "fused"])
def test_flags_change_nothing(name: str, flag: str) -> None:
    ends = []
    for options in ({}, {flag: True}):
        p = parameter()
        optimizer = getattr(numtorch.optim, name)([p], lr=0.1, **options)
        p.grad = numtorch.ones(3)
        optimizer.step()
        ends.append(p.tolist())
    assert ends[0] == ends[1]


def test_parameters_without_gradient_stay_and_get_no_state() -> None:
    used, unused = parameter(), parameter(2.0)
    used.grad = numtorch.ones(3)
    optimizer = numtorch.optim.Adam([used, unused], lr=0.1)
    optimizer.step()
    assert unused.tolist() == [2.0] * 3 and unused not in optimizer.state and used in optimizer.state


def test_step_count_is_a_float32_scalar() -> None:
    p = parameter().double().detach().requires_grad_(True)
    optimizer = numtorch.optim.Adam([p])
    for _ in range(3):
        p.grad = numtorch.ones(3, dtype=numtorch.float64)
        optimizer.step()
    step = optimizer.state[p]["step"]
    assert step.shape == () and step.dtype is numtorch.float32 and step.item() == 3.0
    assert optimizer.state[p]["exp_avg"].dtype is numtorch.float64


def test_no_weight_decay_leaves_infinite_parameters_alone() -> None:
    p = numtorch.tensor([-math.inf, 1.0], requires_grad=True)
    p.grad = numtorch.zeros(2)
    numtorch.optim.SGD([p], lr=0.1).step()
    assert p.tolist() == [-math.inf, 1.0]


def test_a_strided_parameter_is_updated_in_place() -> None:
    base = numtorch.zeros(3, 4)
    p = base.t().detach().requires_grad_(True)
    p.grad = numtorch.arange(12.0).reshape(4, 3)
    numtorch.optim.SGD([p], lr=1.0).step()
    assert np.array_equal(base.numpy(), -np.arange(12.0).reshape(4, 3).T)


def test_stepping_counts_as_a_change_for_autograd() -> None:
    p = parameter()
    y = (p * p).sum()
    p.grad = numtorch.ones(3)
    numtorch.optim.SGD([p], lr=0.1).step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


def test_closure_runs_with_gradients_and_its_loss_comes_back() -> None:
    p = parameter(2.0, 1)
    optimizer = numtorch.optim.SGD([p], lr=0.25)

    def closure() -> numtorch.Tensor:
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    with numtorch.no_grad():
        assert optimizer.step(closure).item() == 4.0
    assert p.item() == 1.0


def test_lbfgs_finds_the_minimum_of_rosenbrock() -> None:
    w = numtorch.tensor([-1.2, 1.0], dtype=numtorch.float64, requires_grad=True)
    optimizer = numtorch.optim.LBFGS([w], max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> numtorch.Tensor:
        optimizer.zero_grad()
        loss = (1 - w[0]) ** 2 + 100 * (w[1] - w[0] ** 2) ** 2
        loss.backward()
        return loss

    optimizer.step(closure)
    assert abs(w[0].item() - 1) < 1e-4 and abs(w[1].item() - 1) < 1e-4


def test_differentiable_steps_carry_gradients_to_the_learning_rate() -> None:
    lr = numtorch.tensor(0.5, requires_grad=True)
    start = numtorch.tensor([3.0], requires_grad=True)
    p = start.clone()
    p.grad = numtorch.tensor([2.0])
    numtorch.optim.SGD([p], lr=lr, differentiable=True).step()
    p.sum().backward()
    assert p.item() == 2.0 and lr.grad.item() == -2.0 and start.grad.item() == 1.0


def test_optimizers_are_copied_and_pickled_with_their_state() -> None:
    p = parameter()
    p.grad = numtorch.ones(3)
    optimizer = numtorch.optim.Adam([p], lr=0.1)
    optimizer.step()
    for twin in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        q = twin.param_groups[0]["params"][0]
        assert q is not p and q.tolist() == p.tolist() and twin.state[q]["step"].item() == 1.0
        q.grad = numtorch.ones(3)
        twin.step()
        assert q.tolist() != p.tolist() and optimizer.state[p]["step"].item() == 1.0


WRONG = [
    ("SGD", {"lr": -1.0}, "Invalid learning rate: -1.0"),
    ("SGD", {"momentum": -0.5}, "Invalid momentum value: -0.5"),
    ("SGD", {"nesterov": True}, "Nesterov momentum requires a momentum and zero dampening"),
    ("SGD", {"lr": "tensor"}, "Tensor lr must be 1-element"),
    ("Adam", {"betas": (1.0, 0.9)}, "Invalid beta parameter at index 0: 1.0"),
    ("Adam", {"betas": (0.0, -0.1)}, "Invalid beta parameter at index 1: -0.1"),
    ("Adam", {"betas": (0, 0.9)}, "betas must be either both floats or both Tensors"),
    ("Adam", {"eps": -1e-8}, "Invalid epsilon value: -1e-08"),
    ("AdamW", {"weight_decay": -1}, "Invalid weight_decay value: -1"),
    ("RMSprop", {"alpha": -0.1}, "Invalid alpha value: -0.1"),
    ("Adagrad", {"lr_decay": -0.5}, "Invalid lr_decay value: -0.5"),
    ("Adadelta", {"rho": 1.1}, "Invalid rho value: 1.1"),
    ("NAdam", {"momentum_decay": -0.2}, "Invalid momentum_decay value: -0.2"),
    ("Rprop", {"etas": (1.0, 0.5)}, "Invalid eta values: 1.0, 0.5"),
    ("Adafactor", {"d": 0.0}, "Clipping threshold d should be >= 1 but is: 0.0"),
    ("Adafactor", {"beta2_decay": 0.1}, "beta2_decay should be <= 0 but is: 0.1"),
    ("Muon", {}, "Muon only supports 2D parameters"),
]


@pytest.mark.parametrize("name, options, message", WRONG)
def test_wrong_options(name: str, options: dict, message: str) -> None:
    if options.get("lr") == "tensor":
        options = {"lr": numtorch.ones(2)}
    with pytest.raises(ValueError, match=message):
        getattr(numtorch.optim, name)([parameter()], **options)


@pytest.mark.parametrize("options, message", [
    ({"fused": True, "differentiable": True}, "`fused` does not support `differentiable`"),
    ({"fused": True, "foreach": True}, "`fused` and `foreach` cannot be `True` together"),
])  # fmt: skip
def test_flags_that_exclude_each_other(options: dict, message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        numtorch.optim.Adam([parameter()], **options)


def test_lbfgs_takes_one_group() -> None:
    with pytest.raises(ValueError, match="LBFGS doesn't support per-parameter options"):
        numtorch.optim.LBFGS([{"params": [parameter()]}, {"params": [parameter()]}])
