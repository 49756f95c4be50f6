"""Checks of indices come before everything else: the same errors, nothing changed, and only where the answer is wanted."""

import pytest

import numtorch as torch
from numtorch import jit, nn

F = nn.functional


def notes(traced):
    return [note for line in traced.passes if line.name == "early" for note in line.notes]


def make_step():
    torch.manual_seed(0)
    table, layer = nn.Embedding(20, 8), nn.Linear(8, 5)
    optimizer = torch.optim.SGD([*table.parameters(), *layer.parameters()], lr=0.1)

    def step(x, y):
        optimizer.zero_grad()
        loss = F.cross_entropy(layer(table(x)), y)
        loss.backward()
        optimizer.step()
        return loss

    return step, [table.weight, layer.weight, layer.bias]


def test_a_step_stops_once_and_before_it_has_changed_anything():
    x, y = torch.randint(0, 20, (16,)), torch.randint(0, 5, (16,))
    eager, wanted = make_step()
    step, weights = make_step()
    traced = jit.trace(step, (x, y))
    assert notes(traced)[0].startswith("2 checks before")
    program = traced.paths()[0].program
    assert len(program.programs) == 2 and [op.entry.name for op in program.ops[:2]] == ["index_bounds"] * 2
    for _ in range(3):
        assert traced(x, y).detach().item() == eager(x, y).detach().item()
    assert all(a.equal(b) for a, b in zip(weights, wanted))
    for wrong in ((x + 20, y), (x, y + 5)):
        with pytest.raises(IndexError, match="range|bounds"):
            traced(*wrong)
    assert all(a.equal(b) for a, b in zip(weights, wanted))
    assert traced(x, y).detach().item() == eager(x, y).detach().item()


def test_switched_off_the_program_stops_where_the_indices_are_used():
    step, _ = make_step()
    with jit.passes.disable("early"):
        traced = jit.trace(step, (torch.randint(0, 20, (16,)), torch.randint(0, 5, (16,))))
    assert not notes(traced) and len(traced.paths()[0].program.programs) == 3


def test_indices_that_are_computed_or_changed_are_checked_in_their_place():
    table = nn.Embedding(20, 8)

    def computed(x):
        return table(x * 2).sum()

    def changed(x):
        x.add_(1)
        return table(x).sum()

    for function in (computed, changed):
        traced = jit.trace(function, torch.arange(4))
        assert not notes(traced)
        x = torch.tensor([1, 2, 3, 9])
        assert traced(x.clone()).item() == function(x.clone()).item()
        with pytest.raises(IndexError):
            traced(torch.tensor([1, 2, 3, 30]))


def test_a_check_behind_a_question_waits_for_its_answer():
    small, large = nn.Embedding(5, 4), nn.Embedding(50, 4)

    def choose(x, flag):
        return (large if flag.sum() > 0 else small)(x).sum()

    x = torch.tensor([1, 4])
    traced = jit.trace(choose, (x, torch.zeros(2)))
    assert not notes(traced)
    assert traced(x + 30, torch.ones(2)).item() == choose(x + 30, torch.ones(2)).item()
    with pytest.raises(IndexError):
        traced(x + 30, torch.zeros(2))
