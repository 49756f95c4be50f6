"""Well-known small programs, as their structure is known, one training step each: eager and traced they follow PyTorch's losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import numtorch


class Program(NamedTuple):
    """Modules whose weights are set, a training step, and what it is called with."""

    modules: tuple
    step: Callable[..., Any]
    batches: list[tuple]


def floats(torch: Any, *shape: int, seed: int = 0) -> Any:
    return torch.from_numpy(np.random.default_rng(seed).uniform(0, 1, shape).astype("float32"))


def whole(torch: Any, high: int, *shape: int, seed: int = 0) -> Any:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, high, shape))


def update(optimizer: Any, loss: Any) -> Any:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


def digits(torch: Any) -> Program:
    """mnist: convolutions, pooling, log_softmax and Adadelta."""
    nn, F = torch.nn, torch.nn.functional
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.0), nn.Flatten(), nn.Linear(32, 5))
    optimizer = torch.optim.Adadelta(net.parameters(), lr=1.0)
    batches = [(floats(torch, 6, 1, 8, 8, seed=i), whole(torch, 5, 6, seed=i)) for i in range(2)]
    return Program((net,), lambda x, y: update(optimizer, F.nll_loss(F.log_softmax(net(x), dim=1), y)), batches)


def variational(torch: Any) -> Program:
    """vae: the noise is given, so that both draw the same."""
    nn, F = torch.nn, torch.nn.functional
    net = nn.ModuleDict({"hidden": nn.Linear(12, 10), "mean": nn.Linear(10, 3), "logvar": nn.Linear(10, 3), "up": nn.Linear(3, 10), "out": nn.Linear(10, 12)})
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)

    def step(x: Any, noise: Any) -> Any:
        h = F.relu(net["hidden"](x.view(-1, 12)))
        mean, logvar = net["mean"](h), net["logvar"](h)
        z = mean + torch.exp(0.5 * logvar) * noise
        made = torch.clamp(torch.sigmoid(net["out"](F.relu(net["up"](z)))), min=1e-4, max=1.0 - 1e-4)
        off = torch.max(torch.le(made, 0.49), torch.gt(made, 0.51))
        away = torch.where(off, made, 0.49 * torch.ones_like(made))
        constant = torch.where(off, torch.log(torch.abs(1 - 2.0 * away)), 4.0 / 3.0 * torch.pow(made - 0.5, 2))
        apart = -0.5 * torch.sum(1 + logvar - mean.pow(2) - logvar.exp())
        return update(optimizer, F.binary_cross_entropy(made, x.view(-1, 12), reduction="sum") + constant.sum() + apart)

    return Program((net,), step, [(floats(torch, 5, 1, 3, 4, seed=i), floats(torch, 5, 3, seed=9 + i)) for i in range(2)])


def adversaries(torch: Any) -> Program:
    """dcgan: two networks with batch norm, two optimizers, three passes backward in a step."""
    nn = torch.nn
    maker = nn.Sequential(nn.ConvTranspose2d(4, 8, 4, 1, 0, bias=False), nn.BatchNorm2d(8), nn.ReLU(True), nn.ConvTranspose2d(8, 3, 4, 2, 1, bias=False), nn.Tanh())
    judge = nn.Sequential(nn.Conv2d(3, 8, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True), nn.BatchNorm2d(8), nn.Conv2d(8, 1, 4, 1, 0, bias=False), nn.Sigmoid())
    making, judging = (torch.optim.Adam(net.parameters(), lr=2e-3, betas=(0.5, 0.999)) for net in (maker, judge))
    criterion = nn.BCELoss()

    def step(real: Any, noise: Any) -> Any:
        judge.zero_grad()
        label = torch.full((real.size(0),), 1.0)
        right = criterion(judge(real).view(-1), label)
        right.backward()
        fake = maker(noise)
        label.fill_(0.0)
        wrong = criterion(judge(fake.detach()).view(-1), label)
        wrong.backward()
        judging.step()
        maker.zero_grad()
        label.fill_(1.0)
        fooled = criterion(judge(fake).view(-1), label)
        fooled.backward()
        making.step()
        return (right + wrong + fooled).detach()

    return Program((maker, judge), step, [(floats(torch, 4, 3, 8, 8, seed=i), floats(torch, 4, 4, 1, 1, seed=5 + i)) for i in range(2)])


def twins(torch: Any) -> Program:
    """siamese: one network on two pictures, what differs judged by another; and a triplet loss."""
    nn = torch.nn
    branch, head = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()), nn.Linear(8, 1)
    optimizer = torch.optim.SGD([*branch.parameters(), *head.parameters()], lr=0.05, momentum=0.9, nesterov=True)
    triplet, criterion = nn.TripletMarginLoss(margin=0.5), nn.BCELoss()

    def step(one: Any, other: Any, same: Any) -> Any:
        a, b = branch(one), branch(other)
        judged = torch.sigmoid(head(torch.cat((a, b), 1))).squeeze()
        return update(optimizer, criterion(judged, same) + triplet(a, b, b.flip(0)))

    return Program((branch, head), step, [(floats(torch, 5, 1, 7, 7, seed=i), floats(torch, 5, 1, 7, 7, seed=7 + i), whole(torch, 2, 5, seed=i).float()) for i in range(2)])


def polynomial(torch: Any) -> Program:
    """regression: powers of x, the update written by hand."""
    F = torch.nn.functional
    line, weights = torch.nn.Linear(4, 1), floats(torch, 4, 1, seed=3) * 5

    def step(x: Any) -> Any:
        x = torch.cat([x.unsqueeze(1) ** i for i in range(1, 5)], 1)
        line.zero_grad()
        loss = F.smooth_l1_loss(line(x), x.mm(weights) + 2.0)
        loss.backward()
        for p in line.parameters():
            p.data.add_(-0.1 * p.grad)
        return loss.detach()

    return Program((line,), step, [(floats(torch, 16, seed=i),) for i in range(3)])


def actor_critic(torch: Any) -> Program:
    """reinforcement_learning: log-probabilities of the actions taken, weighed by what they were worth."""
    nn, F = torch.nn, torch.nn.functional
    body, actor, critic = nn.Linear(4, 16), nn.Linear(16, 2), nn.Linear(16, 1)
    optimizer = torch.optim.Adam([*body.parameters(), *actor.parameters(), *critic.parameters()], lr=3e-2)

    def step(states: Any, actions: Any, rewards: Any) -> Any:
        hidden = F.relu(body(states))
        chance, value = F.softmax(actor(hidden), dim=-1), critic(hidden).squeeze(-1)
        worth = rewards.flip(0).cumsum(0).flip(0)
        worth = (worth - worth.mean()) / (worth.std() + 1e-6)
        policy = torch.distributions.Categorical(chance)
        gained = -policy.log_prob(actions) * (worth - value.detach())
        return update(optimizer, gained.sum() + F.smooth_l1_loss(value, worth, reduction="sum") - 0.01 * policy.entropy().sum())

    return Program((body, actor, critic), step, [(floats(torch, 9, 4, seed=i), whole(torch, 2, 9, seed=i), floats(torch, 9, seed=4 + i)) for i in range(2)])


def gpt(torch: Any, compiled: bool = False) -> Program:
    """nanoGPT: tied weights, causal attention twice, weight decay of matrices, two micro-batches, clipped; the model may be compiled."""
    nn, F = torch.nn, torch.nn.functional

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.LayerNorm(8), nn.LayerNorm(8, bias=False)
            self.parts, self.out = nn.Linear(8, 24, bias=False), nn.Linear(8, 8)
            self.mlp = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))

        def forward(self, x: Any) -> Any:
            B, T, C = x.size()
            q, k, v = (t.view(B, T, 2, C // 2).transpose(1, 2) for t in self.parts(self.one(x)).split(C, dim=2))
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=None, dropout_p=0.0, is_causal=True)
            x = x + self.out(y.transpose(1, 2).contiguous().view(B, T, C))
            return x + self.mlp(self.two(x))

    class GPT(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.places, self.head = nn.Embedding(9, 8), nn.Embedding(6, 8), nn.Linear(8, 9, bias=False)
            self.blocks, self.last = nn.ModuleList([Block(), Block()]), nn.LayerNorm(8)
            self.words.weight = self.head.weight

        def forward(self, words: Any, targets: Any) -> Any:
            x = self.words(words) + self.places(torch.arange(0, words.size(1), dtype=torch.long))
            for block in self.blocks:
                x = block(x)
            logits = self.head(self.last(x))
            return logits, F.cross_entropy(logits.view(-1, logits.size(-1)), targets.reshape(-1), ignore_index=-1)

    net = GPT()
    model = torch.compile(net) if compiled else net
    groups = [{"params": [p for p in net.parameters() if (p.dim() >= 2) is big], "weight_decay": decay} for big, decay in ((True, 0.1), (False, 0.0))]
    optimizer = torch.optim.AdamW(groups, lr=1e-2, betas=(0.9, 0.95))

    def step(words: Any) -> Any:
        for part in words.chunk(2):
            _logits, loss = model(part[:, :-1], part[:, 1:])
            (loss / 2).backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    return Program((net,), step, [(whole(torch, 9, 4, 7, seed=i),) for i in range(2)])


def larger_pictures(torch: Any) -> Program:
    """super_resolution and spatial transformer: a learned affine grid, then PixelShuffle to twice the size."""
    nn, F = torch.nn, torch.nn.functional
    where, net = nn.Linear(16, 6), nn.Sequential(nn.Conv2d(1, 4, 5, padding=2), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.PixelShuffle(2), nn.InstanceNorm2d(1, affine=True))
    optimizer = torch.optim.RMSprop([*where.parameters(), *net.parameters()], lr=1e-3)

    def step(x: Any, y: Any) -> Any:
        grid = F.affine_grid(where(x.flatten(1)).view(-1, 2, 3), list(x.size()), align_corners=False)
        return update(optimizer, F.mse_loss(net(F.grid_sample(x, grid, align_corners=False)), y))

    return Program((where, net), step, [(floats(torch, 3, 1, 4, 4, seed=i), floats(torch, 3, 1, 8, 8, seed=3 + i)) for i in range(2)])


def translation(torch: Any) -> Program:
    """seq2seq with attention: a GRU reads, another writes word by word and looks back by bmm."""
    nn, F = torch.nn, torch.nn.functional
    read, reader, write, writer = nn.Embedding(7, 6), nn.GRU(6, 6, batch_first=True), nn.Embedding(7, 6), nn.GRUCell(12, 6)
    look, out = nn.Linear(6, 6), nn.Linear(6, 7)
    modules = (read, reader, write, writer, look, out)
    optimizer = torch.optim.Adam([p for m in modules for p in m.parameters()], lr=1e-2)

    def step(source: Any, target: Any) -> Any:
        seen, hidden = reader(read(source))
        hidden, loss = hidden[0], 0
        for i in range(target.size(1) - 1):
            weights = F.softmax(torch.bmm(look(hidden).unsqueeze(1), seen.transpose(1, 2)), dim=-1)
            hidden = writer(torch.cat((write(target[:, i]), torch.bmm(weights, seen).squeeze(1)), 1), hidden)
            loss = loss + F.nll_loss(F.log_softmax(out(hidden), dim=-1), target[:, i + 1])
        return update(optimizer, loss)

    return Program(modules, step, [(whole(torch, 7, 4, 5, seed=i), whole(torch, 7, 4, 4, seed=5 + i)) for i in range(2)])


def compiled_gpt(torch: Any) -> Program:
    return gpt(torch, compiled=torch is numtorch)


PROGRAMS = (digits, variational, adversaries, twins, polynomial, actor_critic, gpt, larger_pictures, translation)


def losses(torch: Any, make: Callable[[Any], Program], traced: bool = False) -> list[float]:
    """Two rounds over the batches from weights of NumPy's random numbers."""
    modules, step, batches = make(torch)
    random = np.random.default_rng(0)
    for p in [p for m in modules for p in m.parameters()]:
        p.data.copy_(torch.from_numpy(random.uniform(-0.4, 0.4, tuple(p.shape)).astype("float32")))
    if traced:
        step = torch.jit.trace(step, batches[0])
    return [float(step(*batch)) for _ in range(2) for batch in batches]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_a_trace_follows_the_eager_losses(program):
    eager = losses(numtorch, program)
    assert len(set(eager)) > 1  # it learns something
    np.testing.assert_allclose(losses(numtorch, program, traced=True), eager, rtol=2e-6)


def test_a_compiled_model_follows_the_eager_losses():
    np.testing.assert_allclose(losses(numtorch, compiled_gpt), losses(numtorch, gpt), rtol=2e-6)


@pytest.mark.oracle
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_losses_are_those_of_pytorch(program):
    np.testing.assert_allclose(losses(numtorch, program), losses(pytest.importorskip("torch"), program), rtol=5e-5)
