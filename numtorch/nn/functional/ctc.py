"""Connectionist temporal classification: the loss of all alignments of a label sequence. Graves et al., 2006.

States alternate blanks and labels; ``alpha[t, n, s]`` is the log probability of all beginnings that are in
state s at
time t, ``beta`` that of all endings. As PyTorch's, the gradient is the one of log-probabilities that come
from a
log-softmax.
"""

from __future__ import annotations

import math
from typing import Any

import numtorch

from ... import autograd
from ..._tensor import Tensor
from ...errors import HALVES, UNREAL, refuse_dtypes, require_tensor
from ...from_data import tensor as make_tensor
from ...ops.autocasting import autocasts
from ...ops.node_names import called

_NEVER = -math.inf


def _as_ints(value: Any, name: str) -> list[int]:
    if isinstance(value, Tensor):
        if value.is_floating_point():
            raise RuntimeError(f"ctc_loss: {name} must be integral, got {value.dtype}")
        value = value.reshape(-1).tolist()
    return [int(v) for v in (value if isinstance(value, (list, tuple)) else [value])]


def _labels(targets: Tensor, lengths: list[int], n: int) -> list[list[int]]:
    """The label sequence of each sample, from a padded or a concatenated tensor."""
    values = targets.tolist()
    if targets.dim() == 2:
        if targets.size(0) != n:
            raise RuntimeError(
                f"ctc_loss: Expected targets to have {n} rows (the batch size), but got {list(targets.shape)}"
            )
        if max(lengths, default=0) > targets.size(1):
            raise RuntimeError(
                f"Expected tensor to have size at least {max(lengths)} at dimension 1, but got size"
                f" {targets.size(1)} for argument #2 'targets'"
            )
        return [row[:k] for row, k in zip(values, lengths)]
    if targets.dim() != 1:
        raise RuntimeError(f"ctc_loss: targets must be 1D or 2D, but got {targets.dim()}D")
    if sum(lengths) != targets.numel():
        raise RuntimeError(
            f"ctc_loss: concatenated targets have {targets.numel()} labels, but target_lengths add up to"
            f" {sum(lengths)}"
        )
    rows, start = [], 0
    for k in lengths:
        rows.append(values[start : start + k])
        start += k
    return rows


def _check(log_probs: Tensor, inputs: list[int], lengths: list[int], blank: int) -> None:
    steps, n, classes = log_probs.shape
    if not log_probs.is_floating_point():
        raise RuntimeError(f"ctc_loss: log_probs must have a floating point dtype, got {log_probs.dtype}")
    if not 0 <= blank < classes:
        raise RuntimeError(f"blank must be in label range: 0 <= {blank} < {classes}")
    for name, values in (("input_lengths", inputs), ("target_lengths", lengths)):
        if len(values) != n:
            raise RuntimeError(f"{name} must be of size batch_size: expected {n}, got {len(values)}")
    for k in inputs:
        if not 0 <= k <= steps:
            raise RuntimeError(f"Expected input_lengths to have value at most {steps}, but got value {k}")


@autocasts
@called("CtcLossBackward0")
def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """Minus the log probability of all alignments: (T, N, C) log-probabilities, (N, S) or concatenated
    labels.

    "mean" divides each loss by its number of labels. ``zero_infinity`` makes impossible alignments count
    nothing.

    Example:
        >>> import numtorch
        >>> log_p = numtorch.zeros(4, 1, 3).log_softmax(2)
        >>> label = numtorch.tensor([[1]])
        >>> round(numtorch.nn.functional.ctc_loss(log_p, label, [4], [1]).item(), 4)
        2.0919
    """
    refuse_dtypes("ctc_loss", log_probs, UNREAL | HALVES)
    require_tensor("ctc_loss", "targets", targets)
    batched = log_probs.dim() == 3
    if log_probs.dim() not in (2, 3):
        raise RuntimeError(
            f"ctc_loss: log_probs must be (T, N, C) or (T, C), but got {list(log_probs.shape)}"
        )
    x = log_probs if batched else log_probs.unsqueeze(1)
    inputs = _as_ints(input_lengths, "input_lengths")
    lengths = _as_ints(target_lengths, "target_lengths")
    _check(x, inputs, lengths, blank)
    rows = _labels(targets if batched or targets.dim() == 2 else targets.unsqueeze(0), lengths, x.size(1))
    losses = _CTC.apply(x, rows, inputs, blank, zero_infinity)
    if reduction == "mean":
        counts = make_tensor([max(k, 1) for k in lengths], dtype=losses.dtype, device=losses.device)
        return (losses / counts).mean()
    if reduction == "sum":
        return losses.sum()
    return losses if batched else losses.squeeze(0)


class _States:
    """The states of a batch: labels between blanks, padded to the longest, and which may be jumped to over
    a blank.
    """

    def __init__(self, rows: list[list[int]], inputs: list[int], blank: int, like: Tensor):
        count = 2 * max((len(r) for r in rows), default=0) + 1
        table = [[blank] * count for _ in rows]
        for states, row in zip(table, rows):
            states[1 : 2 * len(row) : 2] = row
        jump = [[s >= 2 and v[s] != blank and v[s] != v[s - 2] for s in range(count)] for v in table]
        device = like.device
        self.count = count
        self.labels = make_tensor(table, dtype=numtorch.int64, device=device)
        self.jump = make_tensor(jump, device=device)
        # 0 in the last states of each sample (the label and the blank after it), minus infinity elsewhere.
        final = [[0.0 if 2 * len(r) - 1 <= s <= 2 * len(r) else _NEVER for s in range(count)] for r in rows]
        self.final = make_tensor(final, dtype=like.dtype, device=device)
        self.first = make_tensor(
            [[0.0 if s < 2 else _NEVER for s in range(count)] for _ in rows], dtype=like.dtype, device=device
        )
        self.inputs = make_tensor(inputs, dtype=numtorch.int64, device=device)

    def emissions(self, log_probs: Tensor) -> Tensor:
        """(T, N, states): the log probability of each state's label."""
        return log_probs.gather(2, self.labels.unsqueeze(0).expand(log_probs.size(0), -1, -1))

    def _moved(self, x: Tensor, by: int) -> Tensor:
        """States shifted, minus infinity where nothing comes in."""
        gap = numtorch.full((x.size(0), min(abs(by), self.count)), _NEVER, dtype=x.dtype, device=x.device)
        if by > 0:
            return numtorch.cat([gap, x[:, : max(self.count - by, 0)]], 1)
        return numtorch.cat([x[:, -by:], gap], 1)

    def forwards(self, emissions: Tensor) -> Tensor:
        """alpha."""
        alpha = [emissions[0] + self.first]
        for t in range(1, emissions.size(0)):
            a = alpha[-1]
            jumped = self._moved(a, 2).masked_fill(~self.jump, _NEVER)
            alpha.append(numtorch.stack([a, self._moved(a, 1), jumped]).logsumexp(0) + emissions[t])
        return numtorch.stack(alpha)

    def backwards(self, emissions: Tensor) -> Tensor:
        """beta; minus infinity after the end of a sample."""
        steps = emissions.size(0)
        beta: list[Any] = [None] * steps
        b = numtorch.full_like(emissions[0], _NEVER)
        for t in range(steps - 1, -1, -1):
            jumped = self._moved(b.masked_fill(~self.jump, _NEVER), -2)
            b = numtorch.stack([b, self._moved(b, -1), jumped]).logsumexp(0)
            ends = (self.inputs == t + 1).unsqueeze(1)
            b = numtorch.where(ends, self.final, b) + emissions[t]
            beta[t] = b
        return numtorch.stack(beta)

    def losses(self, alpha: Tensor) -> Tensor:
        """Minus the log probability of ending in a last state at the last time of each sample."""
        index = (self.inputs - 1).clamp(min=0).reshape(1, -1, 1).expand(1, -1, self.count)
        last = alpha.gather(0, index).squeeze(0) + self.final
        return -last.logsumexp(1)


class _CTC(autograd.Function):
    """The losses of a batch, with the gradient by states that every alignment passes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: list, inputs: list, blank: int, zero_infinity: bool) -> Tensor:
        states = _States(rows, inputs, blank, x)
        emissions = states.emissions(x)
        alpha = states.forwards(emissions)
        losses = states.losses(alpha)
        if min(inputs, default=1) == 0:
            # Without input only the empty label sequence is possible, and it is certain.
            none = make_tensor([0.0 if not r else math.inf for r in rows], dtype=x.dtype, device=x.device)
            losses = numtorch.where(states.inputs == 0, none, losses)
        ctx.states, ctx.zero_infinity = states, zero_infinity
        ctx.save_for_backward(x, alpha, losses)
        return losses.masked_fill(losses == math.inf, 0.0) if zero_infinity else losses.clone()

    @staticmethod
    @autograd.once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
        x, alpha, losses = ctx.saved_tensors
        states = ctx.states
        emissions = states.emissions(x)
        passing = (alpha + states.backwards(emissions) - emissions + losses.unsqueeze(1)).exp()
        index = states.labels.unsqueeze(0).expand(x.size(0), -1, -1)
        expected = numtorch.zeros_like(x).scatter_add(2, index, passing)
        grad = (x.exp() - expected) * g.reshape(1, -1, 1)
        times = numtorch.arange(x.size(0), device=x.device).unsqueeze(1)
        grad = grad.masked_fill((times >= states.inputs).unsqueeze(2), 0.0)
        if ctx.zero_infinity:
            grad = grad.masked_fill((losses == math.inf).reshape(1, -1, 1), 0.0)
        return grad, None, None, None, None
