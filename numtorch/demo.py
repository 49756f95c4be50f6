"""The tour: train a small network on real digits, trace the training step and replay it, debug, save, draw.

    python -m numtorch.demo [--picture FILE] [--epochs N] [--seed N]

Written with PyTorch's names only: with `import torch` instead, everything up to `train` runs there too.
"""

from __future__ import annotations

import argparse
import pathlib
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numtorch as torch
import numtorch.nn.functional as F
from numtorch import nn
from numtorch._progress import progress

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

SUMMARY = "Train, trace and replay, debug, save and draw a small network."
BATCH = 32
Step = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class Net(nn.Module):
    """Two convolutions, one pooling, two linear layers: about 38,000 weights."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, kernel_size=3, padding=1)
        self.fc1 = nn.Linear(32 * 4 * 4, 64)
        self.fc2 = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.conv1(x))  # (B, 1, 8, 8) -> (B, 16, 8, 8)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)  # (B, 32, 4, 4)
        x = F.relu(self.fc1(x.flatten(1)))  # (B, 64)
        return self.fc2(x)  # (B, 10)


@dataclass
class Digits:
    """The images split by position: every fifth one is held out."""

    train_images: torch.Tensor
    train_labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor


@dataclass
class Run:
    """One training run: what it reached and what each step took."""

    model: Net
    epochs: int
    accuracy: float = 0.0
    losses: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @property
    def step_us(self) -> float:
        """Median time of a step, in microseconds."""
        return statistics.median(self.seconds) * 1e6


def load_digits() -> Digits:
    """The 1,797 images as (N, 1, 8, 8) in 0..1, a fifth of them held out."""
    images, labels = torch.datasets.digits()
    held_out = torch.arange(len(labels)) % 5 == 0
    return Digits(images[~held_out], labels[~held_out], images[held_out], labels[held_out])


def training_step(model: Net, optimizer: torch.optim.Optimizer) -> Step:
    """The whole step as one function, so that the whole step can be traced."""

    def step(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss

    return step


def train(digits: Digits, epochs: int, seed: int, trace: bool) -> Run:
    """Train a fresh network from `seed`, step by step or by replaying a trace of the first step."""
    torch.manual_seed(seed)
    run = Run(Net(), epochs)
    optimizer = torch.optim.SGD(run.model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs)
    step = training_step(run.model, optimizer)
    batches = len(digits.train_labels) // BATCH
    with progress(epochs * batches, "replayed" if trace else "eager   ") as bar:
        for _ in range(epochs):
            order = torch.randperm(len(digits.train_labels))
            for i in range(batches):
                chosen = order[i * BATCH : (i + 1) * BATCH]
                images, labels = digits.train_images[chosen], digits.train_labels[chosen]
                if trace and not run.losses:
                    step = torch.jit.trace(step, (images, labels))
                start = time.perf_counter()
                loss = step(images, labels)
                run.seconds.append(time.perf_counter() - start)
                run.losses.append(loss.item())
                bar.advance(f"loss {run.losses[-1]:.4f}")
            schedule.step()
    run.accuracy = accuracy(run.model, digits)
    return run


def accuracy(model: Net, digits: Digits) -> float:
    """Percentage of the held-out images that the model names right."""
    with torch.no_grad():
        right = model(digits.test_images).argmax(1) == digits.test_labels
    return 100 * right.float().mean().item()


def latency_us(call: Callable[..., torch.Tensor], image: torch.Tensor, repeats: int = 300) -> float:
    """Median time of one call, in microseconds."""
    times = []
    with torch.no_grad():
        for _ in range(repeats):
            start = time.perf_counter()
            call(image)
            times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e6


def planted_nan(model: Net, digits: Digits) -> str:
    """Differentiate a distance of zero under anomaly mode and return what it says.

    The loss is 0 and looks healthy; its gradient is 0/0, the kind of NaN that is hard to find.
    """
    with warnings.catch_warnings(), torch.autograd.detect_anomaly():
        warnings.simplefilter("ignore")  # the warning repeats what the error says
        logits = model(digits.test_images[:8])
        distance = (logits - logits.detach()).pow(2).sum().sqrt()
        try:
            distance.backward()
        except RuntimeError as error:
            what, *_, place, line = str(error).splitlines()
            return f"{type(error).__name__}: {what}\n  {place}\n  {line}"
    raise AssertionError("anomaly mode let a NaN pass")


def saved_and_reloaded(model: Net, digits: Digits) -> int:
    """Write the weights, load them into a fresh network, demand equal outputs; returns the bytes written."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "digits.pth"
        torch.save(model.state_dict(), path)
        size = path.stat().st_size
        fresh = Net()
        fresh.load_state_dict(torch.load(path))
    with torch.no_grad():
        if not torch.equal(fresh(digits.test_images), model(digits.test_images)):
            raise AssertionError("the reloaded network answers differently")
    return size


def draw(path: pathlib.Path, digits: Digits, eager: Run, replayed: Run, bars: dict[str, float]) -> bool:
    """Draw loss curves, predictions and times; False where matplotlib is not installed."""
    try:
        import matplotlib
    except ModuleNotFoundError:
        return False
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure = pyplot.figure(figsize=(13, 4), layout="constrained")
    curves, predictions, times = figure.subfigures(1, 3, squeeze=False)[0]
    draw_losses(curves.subplots(), eager, replayed)
    draw_predictions(predictions, digits, replayed.model)
    draw_bars(times.subplots(), bars)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return True


def epoch_means(run: Run) -> list[float]:
    """The mean loss of each epoch."""
    size = len(run.losses) // run.epochs
    return [statistics.fmean(run.losses[i : i + size]) for i in range(0, len(run.losses), size)]


def draw_losses(axes: Axes, eager: Run, replayed: Run) -> None:
    """Mean loss of each epoch, both runs in one frame: the replayed points lie on the eager line."""
    epochs = range(1, eager.epochs + 1)
    axes.plot(epochs, epoch_means(eager), color="#9ecae1", linewidth=5, label="eager")
    axes.plot(epochs, epoch_means(replayed), "o", color="#08519c", markersize=4, label="replayed")
    axes.set(yscale="log", xlabel="epoch", title="Training loss")
    axes.legend()


def draw_predictions(figure: SubFigure, digits: Digits, model: Net) -> None:
    """Held-out images under what the network calls them; the mistakes come first, in red."""
    with torch.no_grad():
        said = model(digits.test_images).argmax(1)
    wrong = (said != digits.test_labels).nonzero().flatten().tolist()
    shown = (wrong + [i for i in range(len(said)) if i not in wrong])[:15]
    figure.suptitle(f"Held out: {len(wrong)} mistakes in {len(said)}, in red")
    for axes, i in zip(figure.subplots(3, 5).flat, shown):
        axes.imshow(digits.test_images[i, 0].numpy(), cmap="gray_r")
        title = f"{said[i].item()} not {digits.test_labels[i].item()}" if i in wrong else f"{said[i].item()}"
        axes.set_title(title, fontsize=9, color="#cb181d" if i in wrong else "black")
        axes.axis("off")


def draw_bars(axes: Axes, bars: dict[str, float]) -> None:
    """Median times in microseconds; shorter is better."""
    colors = ["#9ecae1" if "eager" in name else "#08519c" for name in bars]
    patches = axes.barh(list(bars), list(bars.values()), color=colors)
    axes.bar_label(patches, fmt="%.0f µs", padding=3)
    axes.invert_yaxis()
    axes.set_xlim(right=1.25 * max(bars.values()))
    axes.set(title="Median time", xlabel="µs")


def parse_arguments() -> argparse.Namespace:
    """The command line of the demo."""
    parser = argparse.ArgumentParser(prog="python -m numtorch.demo", description=SUMMARY)
    parser.add_argument("--picture", type=pathlib.Path, default=pathlib.Path("demo.png"), metavar="FILE")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    """Run the tour; the exit status is 1 if eager and replayed training disagree or learn too little."""
    arguments = parse_arguments()
    start = time.perf_counter()
    digits = load_digits()
    print(f"{len(digits.train_labels)} digits to learn from, {len(digits.test_labels)} held out")
    eager = train(digits, arguments.epochs, arguments.seed, trace=False)
    replayed = train(digits, arguments.epochs, arguments.seed, trace=True)
    model, image = replayed.model, digits.test_images[:1]
    with torch.no_grad():
        traced = torch.jit.trace(model, image)
    bars = {
        "step, eager": eager.step_us,
        "step, replayed": replayed.step_us,
        "inference, eager": latency_us(model, image),
        "inference, replayed": latency_us(traced, image),
    }
    print(f"accuracy on the held-out fifth: eager {eager.accuracy:.2f} %, replayed {replayed.accuracy:.2f} %")
    print(f"training step, {BATCH} images:  eager {eager.step_us:.0f} us, replayed {replayed.step_us:.0f} us")
    eager_us, replayed_us = bars["inference, eager"], bars["inference, replayed"]
    print(f"inference, 1 image:         eager {eager_us:.1f} us, replayed {replayed_us:.1f} us")
    print(f"anomaly mode on a planted NaN:\n    {planted_nan(model, digits)}")
    print(f"weights saved ({saved_and_reloaded(model, digits)} bytes), reloaded, outputs equal")
    drawn = draw(arguments.picture, digits, eager, replayed, bars)
    print(f"picture: {arguments.picture}" if drawn else "no picture: matplotlib is not installed")
    print(f"all of it took {time.perf_counter() - start:.1f} s")
    if eager.accuracy != replayed.accuracy or eager.losses != replayed.losses:
        raise SystemExit("the replayed training differs from the eager one")
    if arguments.epochs >= 20 and eager.accuracy < 98:
        raise SystemExit("the network learned less than it should: 98 % expected")


if __name__ == "__main__":
    main()
