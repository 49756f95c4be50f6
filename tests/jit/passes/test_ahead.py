"""Single numbers that depend on nothing come first, so that what is done to gradients goes into their updates."""

import pytest

import numtorch as torch
from numtorch import jit, nn

F = nn.functional


def training(make, clip=1.0):
    """A model and its training step with clipped gradients."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3))
    optimizer = make(model.parameters())

    def step(x, y):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        return loss, norm

    return model, optimizer, step


def state(model, optimizer):
    """Everything a step changes."""
    found = [p for m in model.parameters() for p in (m.detach(), m.grad)]
    for values in optimizer.state.values():
        found += [v for v in values.values() if isinstance(v, torch.Tensor)]
    return [t.numpy().tobytes() for t in found]


def names(traced):
    return [op.entry.name for op in traced.paths()[0].program.ops]


@pytest.mark.parametrize("kind", ["Adam", "AdamW"])
def test_clipping_goes_into_the_update(kind):
    def make(parameters):
        return getattr(torch.optim, kind)(parameters, lr=0.1)

    y = torch.tensor([0, 1, 2, 1, 0])
    batches = [torch.randn(5, 12) for _ in range(4)]
    model, optimizer, step = training(make)
    traced = jit.trace(step, (batches[0], y))
    other = training(make)
    for k, x in enumerate(batches):
        for o in (optimizer, other[1]):
            o.param_groups[0]["lr"] = 0.1 / (k + 1)
        found, wanted = traced(x, y), other[2](x, y)
        assert [t.item() for t in found] == [t.item() for t in wanted]
        assert state(model, optimizer) == state(*other[:2])
    assert names(traced).count("mul+adam") == 4 and "mul" not in names(traced)


def test_without_it_the_counts_stand_in_between():
    model, _, step = training(torch.optim.Adam)
    with jit.passes.disable("ahead"):
        traced = jit.trace(step, (torch.randn(5, 12), torch.tensor([0, 1, 2, 1, 0])))
    assert "mul+adam" not in names(traced) and "adam" in names(traced) and model


def test_numbers_stay_behind_what_they_depend_on():
    one, two = torch.zeros(()), torch.zeros(())

    def f(x):
        total = x.sum()
        one.add_(total)  # depends on the program
        two.add_(1.0)  # depends on nothing
        y = x * two
        two.mul_(2.0)  # after y has read it
        return y + one

    x = torch.ones(3)
    traced = jit.trace(f, x)
    one.zero_(), two.zero_()
    assert [traced(x).tolist(), traced(x).tolist()] == [[4.0] * 3, [9.0] * 3]
    assert (one.item(), two.item()) == (6.0, 6.0)
