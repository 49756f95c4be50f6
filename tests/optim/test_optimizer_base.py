"""The Optimizer base: groups and their errors, state dicts, hooks, subclasses."""

from __future__ import annotations

import io

import numpy as np
import pytest

import numtorch
from numtorch.optim import SGD, Adam, Optimizer


def parameter(n: int = 2) -> numtorch.Tensor:
    return numtorch.ones(n, requires_grad=True)


class Plain(Optimizer):
    """What a user writes."""

    def __init__(self, params, lr=numtorch.optim.optimizer.required, decay=0.0):
        super().__init__(params, {"lr": lr, "decay": decay})

    @numtorch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p]["count"] = self.state[p].get("count", 0) + 1
                p.mul_(1 - group["decay"]).add_(p.grad, alpha=-group["lr"])


def test_a_users_subclass_steps_and_keeps_state() -> None:
    a, b = parameter(), parameter()
    optimizer = Plain([{"params": a, "decay": 0.5}, {"params": [b]}], lr=0.25)
    for p in (a, b):
        p.grad = numtorch.ones(2)
    optimizer.step()
    assert a.tolist() == [0.25] * 2 and b.tolist() == [0.75] * 2
    assert optimizer.state_dict()["state"] == {0: {"count": 1}, 1: {"count": 1}}


def test_required_options() -> None:
    with pytest.raises(ValueError, match="didn't specify a value of required optimization parameter lr"):
        Plain([parameter()])
    with pytest.raises(NotImplementedError, match="must"):
        Optimizer([parameter()], {}).step()


def test_what_can_be_optimized() -> None:
    with pytest.raises(TypeError, match="should be an iterable of Tensors or dicts, but got numtorch"):
        SGD(parameter(), lr=0.1)
    with pytest.raises(ValueError, match="empty parameter list"):
        SGD([], lr=0.1)
    with pytest.raises(TypeError, match="one of the params is int"):
        SGD([3], lr=0.1)
    with pytest.raises(TypeError, match="ordering of tensors in sets"):
        SGD([{"params": {parameter()}}], lr=0.1)
    with pytest.raises(ValueError, match="can't optimize a non-leaf Tensor"):
        SGD([parameter() * 2], lr=0.1)
    with pytest.raises(TypeError, match="param_group must be a dict"):
        SGD([parameter()], lr=0.1).add_param_group([parameter()])


def test_a_parameter_belongs_to_one_group() -> None:
    p = parameter()
    with pytest.raises(ValueError, match="more than one parameter group"):
        SGD([{"params": p}, {"params": [p]}], lr=0.1)
    with pytest.warns(UserWarning, match="duplicate parameters"):
        SGD([p, p], lr=0.1)


def test_integer_parameters_are_refused_when_they_would_be_updated() -> None:
    p = numtorch.ones(2, dtype=numtorch.int64)
    optimizer = SGD([p], lr=0.1)
    p.grad = numtorch.ones(2, dtype=numtorch.int64)
    with pytest.raises(RuntimeError, match="must have a floating point dtype"):
        optimizer.step()


def test_named_parameters() -> None:
    a, b = parameter(), parameter()
    optimizer = SGD([("a", a), ("b", b)], lr=0.1)
    assert (
        optimizer.param_groups[0]["param_names"] == ["a", "b"] and optimizer.param_groups[0]["params"][1] is b
    )
    with pytest.raises(ValueError, match="Some param names are missing"):
        SGD([("a", a), b], lr=0.1)
    with pytest.raises(ValueError, match="cannot add param group without names"):
        optimizer.add_param_group({"params": [parameter()]})


def test_zero_grad() -> None:
    p = parameter()
    p.grad = numtorch.ones(2)
    held = p.grad
    optimizer = SGD([p], lr=0.1)
    optimizer.zero_grad(set_to_none=False)
    assert p.grad is held and held.tolist() == [0.0, 0.0]
    optimizer.zero_grad()
    assert p.grad is None


def test_repr_lists_the_groups() -> None:
    text = repr(SGD([{"params": parameter()}, {"params": parameter(), "lr": 0.5}], lr=0.1))
    assert text.startswith("SGD (\nParameter Group 0\n    dampening: 0\n") and text.endswith("\n)")
    assert "\n\nParameter Group 1\n" in text and "    lr: 0.5\n" in text


def train(optimizer: Optimizer, params: list, steps: int) -> list[list[float]]:
    for step in range(steps):
        for k, p in enumerate(params):
            p.grad = numtorch.full((2,), float(k - step))
        optimizer.step()
    return [p.tolist() for p in params]


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "NAdam", "ASGD", "Rprop"])
def test_a_loaded_state_goes_on_as_if_nothing_had_happened(name: str) -> None:
    options = {"momentum": 0.9} if name in ("SGD", "RMSprop") else {}
    first, second = [parameter(), parameter()], [parameter(), parameter()]
    one = getattr(numtorch.optim, name)(first, lr=0.1, **options)
    train(one, first, 3)
    file = io.BytesIO()
    numtorch.save(one.state_dict(), file)
    file.seek(0)
    other = getattr(numtorch.optim, name)(second, lr=0.7, **options)
    with numtorch.no_grad():
        for p, q in zip(first, second):
            q.copy_(p)
    other.load_state_dict(numtorch.load(file))
    assert other.param_groups[0]["lr"] == 0.1
    assert train(one, first, 3) == train(other, second, 3)


def test_load_state_dict_checks_groups() -> None:
    one = SGD([parameter()], lr=0.1)
    two = SGD([{"params": parameter()}, {"params": parameter()}], lr=0.1)
    three = SGD([parameter(), parameter()], lr=0.1)
    with pytest.raises(ValueError, match="different number of parameter groups"):
        one.load_state_dict(two.state_dict())
    with pytest.raises(ValueError, match="doesn't match the size of optimizer's group"):
        one.load_state_dict(three.state_dict())


def test_load_state_dict_casts_to_the_parameter_but_not_the_count() -> None:
    p = parameter().double().detach().requires_grad_(True)
    source = Adam([q := parameter()])
    q.grad = numtorch.ones(2)
    source.step()
    target = Adam([p])
    target.load_state_dict(source.state_dict())
    assert (
        target.state[p]["exp_avg"].dtype is numtorch.float64
        and target.state[p]["step"].dtype is numtorch.float32
    )


def test_old_state_dicts_have_plain_counts_and_fewer_options() -> None:
    optimizer = Adam([p := parameter()])
    state = optimizer.state_dict()
    del state["param_groups"][0]["amsgrad"], state["param_groups"][0]["fused"]
    state["state"] = {0: {"step": 3, "exp_avg": numtorch.zeros(2), "exp_avg_sq": numtorch.zeros(2)}}
    optimizer.load_state_dict(state)
    assert optimizer.state[p]["step"].item() == 3.0 and optimizer.param_groups[0]["amsgrad"] is False


def test_step_hooks() -> None:
    seen = []
    optimizer = SGD([p := parameter()], lr=0.1)
    p.grad = numtorch.ones(2)
    before = optimizer.register_step_pre_hook(lambda o, args, kwargs: seen.append(("before", o is optimizer)))
    after = optimizer.register_step_post_hook(lambda o, args, kwargs: seen.append(("after", p[0].item() < 1)))
    everywhere = numtorch.optim.register_optimizer_step_pre_hook(lambda *_: seen.append("global"))
    with everywhere:
        optimizer.step()
    assert seen == ["global", ("before", True), ("after", True)]
    before.remove()
    after.remove()
    optimizer.step()
    assert len(seen) == 3
    optimizer.register_step_pre_hook(lambda *_: 3)
    with pytest.raises(RuntimeError, match="must return None or a tuple"):
        optimizer.step()


def test_state_dict_hooks() -> None:
    optimizer = SGD([parameter()], lr=0.1)
    optimizer.register_state_dict_post_hook(lambda o, d: {**d, "extra": 1})
    optimizer.register_load_state_dict_pre_hook(lambda o, d: {k: v for k, v in d.items() if k != "extra"})
    loaded = []
    optimizer.register_load_state_dict_post_hook(lambda o: loaded.append(o))
    state = optimizer.state_dict()
    optimizer.load_state_dict(state)
    assert state["extra"] == 1 and loaded == [optimizer]


@pytest.mark.oracle
@pytest.mark.parametrize(
    "name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adamax", "NAdam", "RAdam", "ASGD"]
)
def test_state_dicts_are_exchanged_with_pytorch(name: str) -> None:
    torch = pytest.importorskip("torch")
    options = {"lr": 0.1, **({"momentum": 0.9} if name in ("SGD", "RMSprop") else {})}

    def make(module):
        params = [module.ones(2, requires_grad=True), module.ones(2, requires_grad=True)]
        return params, getattr(module.optim, name)(params, **options)

    def steps(module, params, optimizer, n):
        for step in range(n):
            for k, p in enumerate(params):
                p.grad = module.full((2,), float(k - step) + 0.25)
            optimizer.step()

    for source, target in ((torch, numtorch), (numtorch, torch)):
        params, optimizer = make(source)
        steps(source, params, optimizer, 3)
        file = io.BytesIO()
        source.save({"optimizer": optimizer.state_dict(), "params": [p.detach() for p in params]}, file)
        file.seek(0)
        content = target.load(file)
        mine, other = make(target)
        with target.no_grad():
            for p, value in zip(mine, content["params"]):
                p.copy_(value)
        other.load_state_dict(content["optimizer"])
        steps(source, params, optimizer, 3)
        steps(target, mine, other, 3)
        for p, q in zip(params, mine):
            np.testing.assert_allclose(q.detach().numpy(), p.detach().numpy(), rtol=1e-5)
