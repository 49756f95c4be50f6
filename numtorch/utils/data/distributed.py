"""``DistributedSampler``: each of several processes draws its own part of a dataset."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sized

import numtorch

from .sampler import Sampler


class DistributedSampler(Sampler[int]):
    """The indices that process ``rank`` of ``num_replicas`` draws: every ``num_replicas``-th, so that all get equally many.

    ``drop_last`` leaves out what is over at the end, otherwise the first indices come again. Call ``set_epoch`` before each pass
    for another order. numtorch has no process groups to ask, so both numbers must be given (RuntimeError otherwise).

    Example:
        >>> from numtorch.utils.data import DistributedSampler
        >>> list(DistributedSampler(range(5), num_replicas=2, rank=1, shuffle=False))
        [1, 3, 0]
    """

    def __init__(self, dataset: Sized, num_replicas: int | None = None, rank: int | None = None, shuffle: bool = True,
                 seed: int = 0, drop_last: bool = False):  # fmt: skip
        if num_replicas is None or rank is None:
            raise RuntimeError(
                "DistributedSampler: Requires distributed package to be available, which numtorch has not; give num_replicas and rank"
            )
        if rank >= num_replicas or rank < 0:
            raise ValueError(f"Invalid rank {rank}, rank should be in the interval [0, {num_replicas - 1}]")
        self.dataset, self.num_replicas, self.rank = dataset, num_replicas, rank
        self.shuffle, self.seed, self.drop_last = shuffle, seed, drop_last
        self.epoch = 0
        n = len(dataset)
        self.num_samples = n // num_replicas if drop_last else math.ceil(n / num_replicas)
        self.total_size = self.num_samples * num_replicas

    def __iter__(self) -> Iterator[int]:
        n = len(self.dataset)
        if self.shuffle:
            generator = numtorch.Generator()
            generator.manual_seed(self.seed + self.epoch)
            indices = numtorch.randperm(n, generator=generator).tolist()
        else:
            indices = list(range(n))
        if not self.drop_last and n:
            indices = (indices * math.ceil(self.total_size / n))[: self.total_size]
        return iter(indices[self.rank : self.total_size : self.num_replicas])

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Shuffle otherwise in this pass: the same number in all processes."""
        self.epoch = epoch
