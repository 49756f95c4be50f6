"""Cross-entropy with its gradient in one kernel: when, with the same bits as two, and when not."""

import pytest

import numtorch as torch
from numtorch import jit

F = torch.nn.functional
X, TARGET = (12, 10), torch.tensor([0, 3, 9, 1, 1, 4, 7, 2, 3, 0, 5, 6])


def step_of(w, scale=None, **options):
    """A step whose scores come from a product, so that their gradient is no leaf's."""

    def step(x, target):
        w.grad = None
        loss = F.cross_entropy(x @ w, target, **options)
        if options.get("reduction") == "none":
            loss = loss.sum()
        (loss if scale is None else loss * scale).backward()
        return loss, w.grad

    return step


def joined(traced):
    return [note for line in traced.passes if line.name == "losses" for note in line.notes]


def check(step, target=TARGET, classes=10):
    """Trace with and without the pass: both must give the eager bits on other values."""
    torch.manual_seed(0)
    first, other = torch.randn(*X), torch.randn(*X)
    traced = jit.trace(step, (first, target))
    wanted = [t.detach().clone() for t in step(other, target)]
    with jit.passes.disable("losses"):
        apart = jit.trace(step, (first, target))
    assert not joined(apart)
    for run in (traced, apart):
        for a, b in zip(run(other, target), wanted):
            assert a.detach().numpy().tobytes() == b.numpy().tobytes()
    return traced


def weights(classes=10):
    torch.manual_seed(1)
    return torch.randn(10, classes).requires_grad_()


@pytest.mark.parametrize("scale", [None, 0.25])
@pytest.mark.parametrize("classes", [10, 100])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_one_kernel_for_loss_and_gradient(reduction, smoothing, classes, scale):
    step = step_of(weights(classes), scale, reduction=reduction, label_smoothing=smoothing)
    traced = check(step, classes=classes)
    assert len(joined(traced)) == 1 and "cross_entropy_backward" not in {
        op.entry.name for op in traced.paths()[0].program.ops
    }


def test_ignored_targets_count_for_nothing():
    target = TARGET.clone()
    target[::3] = -100
    assert joined(check(step_of(weights()), target))


def test_class_weights_where_no_mean_divides_by_their_sum():
    weight = torch.rand(10)
    assert joined(check(step_of(weights(), weight=weight, reduction="sum")))
    assert not joined(check(step_of(weights(), weight=weight)))


def test_the_graph_says_what_was_joined():
    text = str(check(step_of(weights())).graph)
    assert "one kernel: cross_entropy+cross_entropy_backward" in text


def test_a_gradient_that_depends_on_the_loss_comes_after_it():
    w = weights()

    def step(x, target):
        w.grad = None
        loss = F.cross_entropy(x @ w, target)
        loss.square().backward()
        return loss, w.grad

    assert not joined(check(step))


def test_a_loss_that_is_read_in_between():
    w = weights()

    def step(x, target):
        w.grad = None
        loss = F.cross_entropy(x @ w, target)
        if loss.item() > 1e6:
            raise ValueError("diverged")
        loss.backward()
        return loss, w.grad

    torch.manual_seed(0)
    x = torch.randn(*X)
    traced = jit.trace(step, (x, TARGET))
    assert not joined(traced)
    for a, b in zip(traced(x, TARGET), step(x, TARGET)):
        assert torch.equal(a, b)
