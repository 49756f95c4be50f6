"""Chains behind products and convolutions: done by them, with the bits of the separate kernels, wherever that is right."""

import numpy as np
import pytest

import numtorch as torch
from numtorch import jit, nn

F = nn.functional


pytestmark = pytest.mark.usefixtures("two_threads")


def notes(traced):
    return [note for line in traced.passes if line.name == "tails" for note in line.notes]


def names(traced):
    return [op.entry.name for op in traced.paths()[0].program.ops]


def check(f, *args, tails=1):
    """The traced function gives eager's bits, twice, and has this many tails."""
    with torch.no_grad():
        traced = jit.trace(f, args)
        for _ in range(2):
            args = [torch.randn(a.shape, dtype=a.dtype) for a in args]
            expected = f(*args)
            for a, b in zip(*[v if isinstance(v, tuple) else (v,) for v in (traced(*args), expected)]):
                assert a.numpy().tobytes() == b.numpy().tobytes()
    assert len(notes(traced)) == tails, notes(traced)
    return traced


CHAINS = {
    "gelu": F.gelu,
    "silu, scaled": lambda y: F.silu(y) * 0.5,
    "tanh + sigmoid": lambda y: torch.tanh(y) + torch.sigmoid(y),
    "compared": lambda y: y > 0.25,
}


@pytest.mark.parametrize("chain", CHAINS)
def test_activations_of_products(chain):
    layer, x = nn.Linear(40, 72), torch.randn(33, 40)
    traced = check(lambda x: CHAINS[chain](layer(x)), x)
    assert len(names(traced)) == 1 and str(traced.graph).count("one kernel") == 1


@pytest.mark.parametrize("rows, inner, columns", [(1, 96, 64), (5, 300, 70), (20, 512, 200), (700, 24, 48), (300, 600, 1100)])
def test_residuals_of_products_of_every_form(rows, inner, columns):
    """A row, the dot kernel, few and many blocks of rows, several blocks of terms."""
    layer = nn.Linear(inner, columns)
    traced = check(lambda x, r: r + layer(x), torch.randn(rows, inner), torch.randn(rows, columns))
    assert names(traced) == ["matmul+add"]


@pytest.mark.parametrize("shape", [(1, 64), (48, 1), (1, 1), (64,)])
def test_residuals_that_are_repeated(shape):
    layer = nn.Linear(96, 64)
    check(lambda x, r: F.gelu(layer(x) + r), torch.randn(48, 96), torch.randn(shape))


def test_batched_products_and_other_shapes():
    w = torch.randn(24, 40)
    check(lambda a, b, m: torch.tanh(a @ b + m), torch.randn(3, 4, 18, 24), torch.randn(3, 4, 24, 40), torch.randn(4, 1, 40))
    check(lambda a, r: (a @ w).reshape(6, 5, 40) + r, torch.randn(30, 24), torch.randn(6, 5, 40))
    check(lambda a, r: (a @ w).t() + r, torch.randn(30, 24), torch.randn(40, 30), tails=0)


CONVOLUTIONS = {
    "taps": lambda: (nn.Conv2d(3, 10, 5, padding=2), (2, 3, 20, 20)),
    "strided": lambda: (nn.Conv2d(16, 24, 3, stride=2, padding=1), (3, 16, 15, 15)),
    "winograd": lambda: (nn.Conv2d(16, 20, 3, padding=1), (9, 16, 17, 17)),
    "groups": lambda: (nn.Conv2d(8, 12, 3, padding=1, groups=4), (3, 8, 9, 11)),
    "1x1": lambda: (nn.Conv2d(12, 20, 1), (4, 12, 9, 9)),
    "3 dimensions": lambda: (nn.Conv3d(2, 4, 3, padding=1), (2, 2, 5, 8, 7)),
    "wide": lambda: (nn.Conv2d(2, 4, 3), (1, 2, 6, 1100)),
    "transposed": lambda: (nn.ConvTranspose2d(6, 5, 4, stride=2, padding=1), (2, 6, 9, 9)),
}


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_residuals_and_scales_of_convolutions(kind):
    """Panels, taps, products, Winograd's: images, bands and blocks of channels; a number for each channel."""
    layer, shape = CONVOLUTIONS[kind]()
    with torch.no_grad():
        out = layer(torch.zeros(shape)).shape
    traced = check(
        lambda x, r, s: F.relu(layer(x) * s + r), torch.randn(shape), torch.randn(out), torch.randn(out[1], *[1] * (len(out) - 2))
    )
    assert len(names(traced)) <= 2  # one may pack the weight


def test_float64_and_frozen_networks():
    layer, x = nn.Linear(40, 72).double(), torch.randn(33, 40, dtype=torch.float64)
    check(lambda x: F.gelu(layer(x)), x)
    conv = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.SiLU(), nn.Conv2d(16, 40, 1), nn.Tanh()).eval()
    x = torch.randn(4, 16, 12, 12)
    frozen = jit.freeze(conv)
    frozen(x)
    assert len(notes(frozen)) == 2
    np.testing.assert_allclose(frozen(x).numpy(), conv(x).detach().numpy(), rtol=1e-4, atol=1e-5)


def test_a_product_that_only_its_tail_reads_is_not_kept():
    layer, x = nn.Linear(64, 256), torch.randn(128, 64)
    traced = check(lambda x: F.gelu(layer(x)).sum(1), x)
    program = traced.paths()[0].program
    assert len(program.ops[0].entry.outputs) == 1
    assert program.peak < 2 * 128 * 256 * 4


def test_a_product_with_other_readers_is_kept():
    layer, x = nn.Linear(64, 96), torch.randn(32, 64)

    def f(x):
        y = layer(x)
        return y, F.gelu(y), y.sum(0)

    traced = check(f, x)
    assert names(traced)[0] == "matmul+gelu"


def test_what_reads_other_elements_of_the_product_is_no_tail():
    w = torch.randn(32, 32)
    check(lambda x: torch.tanh(x @ w) + (x @ w)[:, :1], torch.randn(32, 32), tails=0)
    check(lambda x: (x @ w) + (x @ w).t(), torch.randn(32, 32), tails=0)

    def twice(x):
        y = x @ w
        return y.sub(y[:1])

    check(twice, torch.randn(32, 32), tails=0)


@pytest.mark.parametrize("same", [False, True])
def test_residuals_in_place(same):
    """The memory that is added to may be a tail's, but not where the convolution still reads it."""
    layer, held = nn.Conv2d(8, 8, 3, padding=1), torch.randn(4, 8, 10, 10)

    def f(x, r):
        r = x if same else r
        r.add_(layer(x))
        return r * 2

    with torch.no_grad():
        traced = jit.trace(f, (held.clone(), held.clone()))
        for _ in range(2):
            x, r = torch.randn(4, 8, 10, 10), torch.randn(4, 8, 10, 10)
            a, b = (x.clone(), r.clone()), (x.clone(), r.clone())
            assert traced(*a).numpy().tobytes() == f(*b).numpy().tobytes()
            assert [v.numpy().tobytes() for v in a] == [v.numpy().tobytes() for v in b]
    assert len(notes(traced)) == (not same)


def test_in_place_on_the_product_itself():
    layer = nn.Linear(24, 40)
    check(lambda x, r: layer(x).add_(r).tanh_(), torch.randn(20, 24), torch.randn(20, 40))


def test_of_two_products_the_later_one_does_the_chain():
    a, b = nn.Linear(24, 40), nn.Linear(24, 40)
    traced = check(lambda x: a(x) * torch.sigmoid(b(x)), torch.randn(20, 24))
    assert names(traced) == ["matmul", "matmul+sigmoid+mul"]
    check(lambda x: torch.sigmoid(a(x)) * b(x), torch.randn(20, 24), tails=2)


def test_what_is_known_later_moves_the_product():
    layer = nn.Linear(24, 40)
    traced = check(lambda x, z: layer(x) + z.cumsum(1), torch.randn(20, 24), torch.randn(20, 40))
    assert names(traced)[-1] == "matmul+add"


def test_an_empty_batch():
    layer = nn.Linear(24, 40)
    traced = jit.trace(lambda x: F.gelu(layer(x)), torch.randn(0, 24))
    assert traced(torch.randn(0, 24)).shape == (0, 40)


def test_the_pass_can_be_switched_off_and_tells_what_it_did():
    layer, x = nn.Linear(24, 40), torch.randn(20, 24)
    with jit.passes.disable("tails"):
        plain = jit.trace(lambda x: F.gelu(layer(x)), x)
    assert names(plain) == ["matmul", "gelu"] and not notes(plain)
    traced = jit.trace(lambda x: F.gelu(layer(x)), x)
    assert "tails" in str(traced.passes) and "gelu at" in notes(traced)[0] and "into matmul at" in notes(traced)[0]
    row = next(r for r in traced.profile(x).rows if r.name == "matmul+gelu")
    assert row.flops > 2 * 20 * 24 * 40


class Block(nn.Module):
    """A convolution, attention and a perceptron with dropped elements and residuals."""

    def __init__(self):
        super().__init__()
        self.conv, self.q, self.k = nn.Conv2d(2, 4, 3, padding=1), nn.Linear(32, 32), nn.Linear(32, 32)
        self.up, self.down, self.drop = nn.Linear(32, 128), nn.Linear(128, 32), nn.Dropout(0.2)

    def forward(self, x):
        x = (x + F.silu(self.conv(x)).sum(1, keepdim=True)).flatten(0, 2).reshape(8, 24, 32)
        mask = torch.ones(24, 24, dtype=torch.bool).tril()
        a = torch.where(mask, self.q(x) @ self.k(x).transpose(1, 2), -1e9)
        x = x + self.drop(F.softmax(a, -1) @ x)
        return x + self.drop(self.down(F.gelu(self.up(x))))


def steps(threads, off=()):
    torch.set_num_threads(threads)
    torch.manual_seed(3)
    model, x, y = Block(), torch.randn(8, 2, 12, 32), torch.randn(16, 24, 32)[:8]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)

    def step(x, y):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    with jit.passes.disable(*off):
        traced = jit.trace(step, (x, y))
        torch.manual_seed(4)
        losses = [traced(x, y).detach().item() for _ in range(3)]
    return losses, [p.detach().numpy().tobytes() + p.grad.numpy().tobytes() for p in model.parameters()], traced


def test_training_steps_keep_their_bits():
    found = [steps(n) for n in (1, 2, 8)]
    plain = steps(2, off=("tails",))
    assert len(notes(found[1][2])) >= 6 and not notes(plain[2])
    assert all(one[:2] == plain[:2] for one in found)


def test_gradients_through_a_traced_forward():
    model, x = Block().eval(), torch.randn(8, 2, 12, 32, requires_grad=True)
    traced, results = jit.trace(model, x), []
    for f in (traced, model):
        model.zero_grad()
        x.grad = None
        f(x).square().sum().backward()
        results.append([x.grad.numpy().copy(), *(p.grad.numpy().copy() for p in model.parameters())])
    for a, b in zip(*results):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


NORMS = {
    "batch norm": lambda: (nn.BatchNorm2d(6), (5, 6, 7, 9)),
    "batch norm of rows": lambda: (nn.BatchNorm1d(40), (33, 40)),
    "layer norm": lambda: (nn.LayerNorm(72), (9, 5, 72)),
    "group norm": lambda: (nn.GroupNorm(2, 8), (3, 8, 6, 6)),
    "softmax": lambda: (nn.Softmax(-1), (3, 40, 50)),
}


@pytest.mark.parametrize("kind", NORMS)
def test_what_follows_norms_and_softmax(kind):
    layer, shape = NORMS[kind]()
    traced = check(lambda x, r: F.relu(layer(x) + r), torch.randn(shape), torch.randn(shape))
    assert names(traced)[-1].endswith("add+relu")


def test_rows_in_pieces_at_any_number_of_threads():
    layer, x, r, s = nn.LayerNorm(200), torch.randn(1001, 200), torch.randn(1001, 200), torch.randn(1001, 1)
    found = []
    with torch.no_grad():
        for threads in (1, 2, 8):
            torch.set_num_threads(threads)
            traced = jit.trace(lambda x, r, s: (torch.tanh(layer(x)) * s + r, layer(x * 2) * r), (x, r, s))
            assert len(notes(traced)) == 2
            found.append([v.numpy().tobytes() for v in traced(x, r, s)])
        expected = [v.numpy().tobytes() for v in (torch.tanh(layer(x)) * s + r, layer(x * 2) * r)]
    assert found[0] == found[1] == found[2] == expected


def test_dropout_is_fused_and_draws_fresh_numbers_as_eager_does():
    layer, x, r = nn.Linear(48, 64), torch.randn(300, 48), torch.randn(300, 64)

    def f(x, r):
        return F.dropout(F.gelu(layer(x)), 0.25) + r

    with torch.no_grad():
        traced = jit.trace(f, (x, r))
        results = []
        for g in (traced, f):
            torch.manual_seed(7)
            results.append([g(x, r).numpy().tobytes() for _ in range(3)])
    assert results[0] == results[1] and len(set(results[0])) == 3
    assert names(traced) == ["dropout_mask", "dropout_mask", "matmul+gelu+where+dropout+add"]
    assert sum(len(line.notes) for line in traced.passes if line.name == "drops") == 1
