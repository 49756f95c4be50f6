"""The adaptive softmax for many classes of very different frequency. Grave et al., arXiv:1609.04309."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numtorch

from .._tensor import Tensor
from . import functional as F
from .container import ModuleList, Sequential
from .linear import Linear
from .module import Module


class _ASMoutput(NamedTuple):
    output: Tensor
    loss: Tensor


class AdaptiveLogSoftmaxWithLoss(Module):
    """Frequent classes in a head, others in tails of ever smaller projections: (N, in_features), (N) ->
    output, loss.

    ``cutoffs`` are the first classes of the tails; class numbers must be sorted by frequency.

    Example:
        >>> import numtorch
        >>> layer = numtorch.nn.AdaptiveLogSoftmaxWithLoss(16, 50, cutoffs=[10, 20])
        >>> output, loss = layer(numtorch.ones(4, 16), numtorch.tensor([0, 15, 30, 49]))
        >>> tuple(output.shape), tuple(loss.shape)
        ((4,), ())
    """

    def __init__(
        self,
        in_features: int,
        n_classes: int,
        cutoffs: Sequence[int],
        div_value: float = 4.0,
        head_bias: bool = False,
        device: Any = None,
        dtype: Any = None,
    ):
        super().__init__()
        cutoffs = list(cutoffs)
        if not cutoffs:
            raise ValueError("cutoffs should be a sequence of length larger than 0")
        if (
            cutoffs != sorted(cutoffs)
            or min(cutoffs) <= 0
            or max(cutoffs) > n_classes - 1
            or len(set(cutoffs)) != len(cutoffs)
            or any(int(c) != c for c in cutoffs)
        ):
            raise ValueError(
                "cutoffs should be a sequence of unique, positive integers sorted in an increasing order,"
                " where each value is between 1 and n_classes-1"
            )
        like = {"device": device, "dtype": dtype}
        self.in_features = in_features
        self.n_classes = n_classes
        self.cutoffs = [*cutoffs, n_classes]
        self.div_value = div_value
        self.head_bias = head_bias
        self.shortlist_size = self.cutoffs[0]
        self.n_clusters = len(self.cutoffs) - 1
        self.head_size = self.shortlist_size + self.n_clusters
        self.head = Linear(in_features, self.head_size, bias=head_bias, **like)
        self.tail = ModuleList()
        for i in range(self.n_clusters):
            inner = int(in_features // (div_value ** (i + 1)))
            classes = self.cutoffs[i + 1] - self.cutoffs[i]
            self.tail.append(
                Sequential(
                    Linear(in_features, inner, bias=False, **like), Linear(inner, classes, bias=False, **like)
                )
            )

    def reset_parameters(self) -> None:
        """Initialise all layers again."""
        self.head.reset_parameters()
        for first, second in self.tail:  # type: ignore[misc]
            first.reset_parameters()
            second.reset_parameters()

    def forward(self, input_: Tensor, target_: Tensor) -> _ASMoutput:
        """The log-probability of each target, and minus their mean."""
        batched = target_.dim() > 0
        if input_.dim() != (2 if batched else 1):
            kind = "2D" if batched else "1D"
            raise RuntimeError(
                f"{'0D or 1D' if not batched else '1D'} target tensor expects {kind} input tensors, but"
                f" found inputs with size {input_.size()}"
            )
        if batched and input_.shape[0] != target_.shape[0]:
            raise RuntimeError("Input and target should have the same size in the batch dimension.")
        x = input_ if batched else input_.unsqueeze(0)
        target = target_ if batched else target_.unsqueeze(0)
        if target.numel() and (int(target.min()) < 0 or int(target.max()) >= self.n_classes):
            raise RuntimeError(
                f"Target values should be in [0, {self.n_classes - 1}], but values in range"
                f" [{target.min().item()}, {target.max().item()}] were found. "
            )
        output = self._target_log_prob(x, target)
        loss = (-output).mean()
        return _ASMoutput(output if batched else output.squeeze(0), loss)

    def _target_log_prob(self, x: Tensor, target: Tensor) -> Tensor:
        """Head log-probability of the class or its cluster, plus the tail's for classes of a cluster."""
        head_index = target.clone()
        parts, places = [], []
        for i in range(self.n_clusters):
            low, high = self.cutoffs[i], self.cutoffs[i + 1]
            rows = ((target >= low) & (target < high)).nonzero().squeeze(1)
            if rows.numel() == 0:
                continue
            head_index = head_index.index_fill(0, rows, self.shortlist_size + i)
            log_p = F.log_softmax(self.tail[i](x.index_select(0, rows)), dim=1)
            parts.append(log_p.gather(1, (target[rows] - low).unsqueeze(1)).squeeze(1))
            places.append(rows)
        head = F.log_softmax(self.head(x), dim=1).gather(1, head_index.unsqueeze(1)).squeeze(1)
        for rows, log_p in zip(places, parts):
            head = head.index_add(0, rows, log_p)
        return head

    def _full_log_prob(self, x: Tensor, head: Tensor) -> Tensor:
        log_p = F.log_softmax(head, dim=1)
        columns = [log_p[:, : self.shortlist_size]]
        for i in range(self.n_clusters):
            tail = F.log_softmax(self.tail[i](x), dim=1)
            columns.append(tail + log_p[:, self.shortlist_size + i].unsqueeze(1))
        return numtorch.cat(columns, 1)

    def log_prob(self, input: Tensor) -> Tensor:
        """Log-probabilities of all classes: (N, in_features) -> (N, n_classes)."""
        return self._full_log_prob(input, self.head(input))

    def predict(self, input: Tensor) -> Tensor:
        """The most probable class of each row; tails are computed only for rows that need them."""
        head = self.head(input)
        best = head.argmax(1)
        rows = (best >= self.shortlist_size).nonzero().squeeze(1)
        if rows.numel() == 0:
            return best
        found = self._full_log_prob(input[rows], head[rows]).argmax(1)
        return best.index_copy(0, rows, found)
