"""Updates behind the products that give their gradients: the same steps, and what must stay where it is."""

import itertools

import pytest

import numtorch as torch
from numtorch import jit, nn

F = nn.functional


pytestmark = pytest.mark.usefixtures("two_threads")


def notes(traced, name="updates"):
    return [note for line in traced.passes if line.name == name for note in line.notes]


def steps(make_optimizer, passes=True, clip=False, threads=2):
    """Losses and weights of a few replayed steps, and the trace."""
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(96, 128), nn.Tanh(), nn.Linear(128, 128), nn.Tanh(), nn.Linear(128, 8))
    optimizer = make_optimizer(model.parameters())
    x, y = torch.randn(64, 96), torch.randint(0, 8, (64,))

    def step(x, y):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()
        return loss

    if passes is None:
        losses = [step(x, y).detach().item() for _ in range(4)]
        return losses, [p.detach().numpy().tobytes() for p in model.parameters()], None
    with jit.passes.disable(*(() if passes else ("updates", "batches"))):
        traced = jit.trace(step, (x, y))
        losses = [traced(x, y).detach().item() for _ in range(4)]
    grads = [p.grad.numpy().tobytes() for p in model.parameters()]
    return losses, grads + [p.detach().numpy().tobytes() for p in model.parameters()], traced


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_are_the_same(name):
    moved, plain = steps(OPTIMIZERS[name]), steps(OPTIMIZERS[name], passes=False)
    assert moved[:2] == plain[:2]
    assert len(notes(moved[2])) == 3 and not notes(plain[2])
    order = [op.entry.name for op in moved[2].paths()[0].program.ops]
    update = "adam" if name == "adamw" else "sgd"
    assert any(a.startswith("matmul") and b.startswith(update) for a, b in itertools.pairwise(order))
    assert any("2 ops" in note for note in notes(moved[2], "batches"))


def test_bits_at_1_2_and_8_threads():
    found = [steps(OPTIMIZERS["adamw"], threads=n)[:2] for n in (1, 2, 8)]
    assert found[0] == found[1] == found[2]


def test_gradients_that_are_clipped_first_are_waited_for():
    moved = steps(OPTIMIZERS["sgd"], clip=True)
    assert not notes(moved[2])
    assert moved[0] == pytest.approx(steps(OPTIMIZERS["sgd"], passes=None, clip=True)[0], rel=1e-5)


def test_a_weight_that_is_read_later_is_updated_later():
    """The gradient of the input reads w after the gradient of w is known, and a second use adds to it."""
    w = torch.randn(64, 64, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=0.1)

    def step(x):
        optimizer.zero_grad()
        y = torch.tanh(x @ w)
        loss = (y @ w).square().mean()
        loss.backward()
        optimizer.step()
        return loss, (w.detach() * 2).sum()

    x, start = torch.randn(32, 64), w.detach().clone()
    expected = [[v.detach().item() for v in step(x)] for _ in range(3)]
    with torch.no_grad():
        w.copy_(start)
    traced = jit.trace(step, x)
    for values in expected:
        assert [v.detach().item() for v in traced(x)] == pytest.approx(values, rel=1e-4)
