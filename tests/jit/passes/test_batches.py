"""Runs of ops that are done part by part of the batch: when, with the same bits at any number of threads, and what is left."""

import numpy as np
import pytest

import numtorch as torch
from numtorch import jit, nn

F = nn.functional


pytestmark = pytest.mark.usefixtures("two_threads")


def notes(traced):
    return [note for line in traced.passes if line.name == "batches" for note in line.notes]


class Network(nn.Module):
    """Convolutions, pooling, normalisation, attention over the rows, products: what a run may hold."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(6, 8, 3, stride=2)
        self.norm, self.qkv, self.out = nn.LayerNorm(49), nn.Linear(49, 3 * 32), nn.Linear(32, 16)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = self.norm(self.conv2(x).flatten(2))
        q, k, v = self.qkv(x).reshape(x.shape[0], 8, 3, 32).permute(2, 0, 1, 3)
        a = F.softmax(q @ k.transpose(1, 2) * 0.2, -1) @ v
        return self.out(F.gelu(a + v)).mean(1)


def run(traced, x):
    with torch.no_grad():
        return traced(x).numpy().copy()


@pytest.mark.parametrize("batch", [8, 12, 16])
def test_a_network_is_one_run_with_the_same_bits(batch):
    model, x = Network().eval(), torch.randn(batch, 1, 31, 31)
    with torch.no_grad():
        whole = jit.trace(model, x)
        with jit.passes.disable("batches"):
            plain = jit.trace(model, x)
    assert notes(whole) and not notes(plain)
    program = whole.paths()[0].program
    assert sum(op.part is not None for op in program.ops) >= 2 * 4  # all, unless fewer rows want another kernel
    assert program.peak <= 1.1 * plain.paths()[0].program.peak + (1 << 16)
    for _ in range(2):
        x = torch.randn(batch, 1, 31, 31)
        assert run(whole, x).tobytes() == run(plain, x).tobytes()


def test_bits_at_1_2_and_8_threads():
    model, x = Network().eval(), torch.randn(16, 1, 31, 31)
    found, parts = [], []
    for threads in (1, 2, 8):
        torch.set_num_threads(threads)
        with torch.no_grad():
            traced = jit.freeze(model)
            found.append(run(traced, x))
        parts.append(notes(traced))
    assert found[0].tobytes() == found[1].tobytes() == found[2].tobytes()
    assert not parts[0] and "2 parts" in parts[1][0] and "8 parts" in parts[2][0]


def test_a_batch_that_does_not_divide_stays_whole():
    model = Network().eval()
    with torch.no_grad():
        traced = jit.trace(model, torch.randn(5, 1, 31, 31))
    assert not notes(traced)


def test_what_joins_examples_ends_a_run():
    w = torch.randn(64, 64)

    def f(x):
        y = ((x @ w).relu() @ w).tanh()
        return ((y - y.mean(0)) @ w).relu() @ w

    x = torch.randn(256, 64)
    traced = jit.trace(f, x)
    assert len(notes(traced)) == 1 or all("3 ops" in n or "2 ops" in n for n in notes(traced))
    x = torch.randn(256, 64)
    assert traced(x).numpy().tobytes() == f(x).numpy().tobytes()


def test_rows_that_are_read_across_parts_end_a_run():
    w = torch.randn(64, 64)

    def f(x):
        y = (x @ w).relu()
        z = torch.sigmoid(y @ w) + y.flip(0)
        return (z @ w) * y.reshape(2, 128, 64).transpose(0, 1).reshape(256, 64)

    traced = jit.trace(f, torch.randn(256, 64))
    x = torch.randn(256, 64)
    np.testing.assert_array_equal(traced(x).numpy(), f(x).numpy())


def test_large_weights_are_shared_out_instead():
    model = nn.Sequential(nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 512))
    with torch.no_grad():
        assert not notes(jit.trace(model, torch.randn(16, 512)))


def test_training_step_and_what_shows_it():
    model, x, y = Network(), torch.randn(16, 1, 31, 31), torch.randint(0, 16, (16,))
    start = {k: v.clone() for k, v in model.state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(x, y):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    traced = jit.trace(step, (x, y))
    assert notes(traced)
    replayed = [traced(x, y).detach().item() for _ in range(3)]
    model.load_state_dict(start)
    with jit.passes.disable("batches"):
        plain = jit.trace(step, (x, y))
        assert [plain(x, y).detach().item() for _ in range(3)] == replayed
    assert str(traced.profile(x, y, repeat=1)).count("convolution") >= 2
    assert "kernel calls" in str(traced.graph)


def test_the_first_wrong_op_of_a_run_is_found():
    """check_trace looks at values of a run only where they are still there."""
    from numtorch.jit.copied import Copies

    model, x = Network().eval(), torch.randn(16, 1, 31, 31)
    with torch.no_grad():
        traced = jit.trace(model, x)
    bound = traced.paths()[0]
    memory = Copies(bound, [x])
    outputs = [r for op in bound.program.ops for r in op.entry.outputs]
    for op in bound.program.ops:
        memory.call(op)
    assert any(memory.has(r) for r in outputs) and not all(memory.has(r) for r in outputs)
