"""Datasets: what can be indexed (map style) or iterated (iterable style), and combinations of them."""

from __future__ import annotations

import bisect
import itertools
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import numtorch

from ..._tensor import Tensor

T = TypeVar("T")


class Dataset(Generic[T]):
    """Base of map-style datasets: write ``__getitem__``, and ``__len__`` for samplers to know the size.

    ``__getitems__(indices)``, where it is written, is asked for a whole batch at once and returns a list of
    samples.
    """

    def __getitem__(self, index: Any) -> T:
        raise NotImplementedError("Subclasses of Dataset should implement __getitem__.")

    def __add__(self, other: Dataset) -> ConcatDataset:
        return ConcatDataset([self, other])


class IterableDataset(Dataset[T], Iterable[T]):
    """Base of datasets that are streams: write ``__iter__``.

    Every worker process of a DataLoader iterates a copy of its own: split the stream by
    ``get_worker_info()``, or each sample comes as often as there are workers.
    """

    def __add__(self, other: Dataset) -> ChainDataset:  # type: ignore[override]
        return ChainDataset([self, other])


class TensorDataset(Dataset[tuple[Tensor, ...]]):
    """Tensors indexed together along their first dimension.

    Example:
        >>> import numtorch
        >>> data = numtorch.utils.data.TensorDataset(numtorch.ones(3, 2), numtorch.arange(3))
        >>> len(data), data[2]
        (3, (tensor([1., 1.]), tensor(2)))
    """

    tensors: tuple[Tensor, ...]

    def __init__(self, *tensors: Tensor):
        sizes = [t.size(0) for t in tensors]
        if any(n != sizes[0] for n in sizes):
            raise AssertionError(f"TensorDataset: Size mismatch between tensors: their first dimensions must be equal, but are {sizes}")
        self.tensors = tensors

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        return tuple(tensor[index] for tensor in self.tensors)

    def __len__(self) -> int:
        return self.tensors[0].size(0)


class StackDataset(Dataset):
    """Datasets of equal length side by side: samples are tuples, or dicts if the datasets were given by
    keyword."""

    datasets: Any

    def __init__(self, *args: Dataset, **kwargs: Dataset):
        if args and kwargs:
            raise ValueError(
                "Supported either ``tuple``- (via ``args``) or``dict``- (via ``kwargs``) like input/output,"
                " but both types are given."
            )
        if not args and not kwargs:
            raise ValueError("At least one dataset should be passed")
        self.datasets = kwargs or args
        lengths = [len(d) for d in (args or kwargs.values())]  # type: ignore[arg-type]
        if any(n != lengths[0] for n in lengths):
            raise ValueError(f"Size mismatch between datasets: their lengths are {lengths}")
        self._length = lengths[0]

    def __getitem__(self, index: Any) -> Any:
        if isinstance(self.datasets, dict):
            return {k: dataset[index] for k, dataset in self.datasets.items()}
        return tuple(dataset[index] for dataset in self.datasets)

    def __getitems__(self, indices: list[Any]) -> list[Any]:
        parts = self.datasets.values() if isinstance(self.datasets, dict) else self.datasets
        columns = [_items(dataset, indices) for dataset in parts]
        for column in columns:
            if len(column) != len(indices):
                raise ValueError(
                    f"Nested dataset's output size mismatch. Expected {len(indices)}, got {len(column)}"
                )
        rows = list(zip(*columns))
        return [dict(zip(self.datasets, row)) for row in rows] if isinstance(self.datasets, dict) else rows

    def __len__(self) -> int:
        return self._length


def _items(dataset: Any, indices: list[Any]) -> list[Any]:
    """Samples of a dataset, asked for at once where it can."""
    getitems = getattr(dataset, "__getitems__", None)
    if callable(getitems):
        found: Any = getitems(indices)
        return found
    return [dataset[i] for i in indices]


class ConcatDataset(Dataset[T]):
    """Map-style datasets one after another.

    Example:
        >>> from numtorch.utils.data import ConcatDataset
        >>> ConcatDataset(["ab", "cde"])[3]
        'd'
    """

    def __init__(self, datasets: Iterable[Any]):
        self.datasets = list(datasets)
        if not self.datasets:
            raise AssertionError("datasets should not be an empty iterable")
        if any(isinstance(d, IterableDataset) for d in self.datasets):
            raise AssertionError("ConcatDataset does not support IterableDataset; use ChainDataset")
        self.cumulative_sizes = self.cumsum(self.datasets)

    @staticmethod
    def cumsum(sequence: Iterable[Any]) -> list[int]:
        """Running sums of the lengths."""
        return list(itertools.accumulate(len(e) for e in sequence))

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, idx: int) -> T:
        if idx < 0:
            if -idx > len(self):
                raise ValueError(
                    f"absolute value of index should not exceed dataset length: got {idx} for {len(self)}"
                    " samples"
                )
            idx += len(self)
        k = bisect.bisect_right(self.cumulative_sizes, idx)
        if k == len(self.datasets):
            raise IndexError(f"ConcatDataset: index {idx} is out of range for {len(self)} samples")
        return self.datasets[k][idx - self.cumulative_sizes[k - 1] if k else idx]


class ChainDataset(IterableDataset[T]):
    """Iterable datasets one after another; they are drawn from only when their turn comes."""

    def __init__(self, datasets: Iterable[Dataset]):
        self.datasets = datasets

    def _checked(self) -> Iterator[Any]:
        for d in self.datasets:
            if not isinstance(d, IterableDataset):
                raise AssertionError(f"ChainDataset only supports IterableDataset, got {type(d).__name__}")
            yield d

    def __iter__(self) -> Iterator[T]:
        for d in self._checked():
            yield from d

    def __len__(self) -> int:
        return sum(len(d) for d in self._checked())


class Subset(Dataset[T]):
    """The samples of a dataset at given indices."""

    def __init__(self, dataset: Any, indices: Sequence[int]):
        self.dataset = dataset
        self.indices = indices
        kind = type(self)
        if kind.__getitem__ is not Subset.__getitem__ and kind.__getitems__ is Subset.__getitems__:
            raise NotImplementedError(
                f"{kind.__name__} overrides __getitem__ but not __getitems__. When subclassing Subset and"
                " overriding __getitem__, you must also override __getitems__ to ensure DataLoader works"
                " correctly with your custom logic, for example `return [self.__getitem__(idx) for idx in"
                " indices]`."
            )

    def __getitem__(self, idx: Any) -> T:
        if isinstance(idx, list):
            return self.dataset[[self.indices[i] for i in idx]]
        return self.dataset[self.indices[idx]]

    def __getitems__(self, indices: list[int]) -> list[T]:
        return _items(self.dataset, [self.indices[i] for i in indices])

    def __len__(self) -> int:
        return len(self.indices)


def random_split(dataset: Any, lengths: Sequence[int | float], generator: Any = None) -> list[Subset]:
    """Split a dataset at random into subsets of given lengths, or of fractions that add up to 1.

    What fractions leave over goes to the subsets in turn. Raises ValueError if lengths don't add up to the
    dataset's.

    Example:
        >>> from numtorch.utils.data import random_split
        >>> [len(s) for s in random_split(range(10), [0.75, 0.25])]
        [8, 2]
    """
    n = len(dataset)
    if math.isclose(sum(lengths), 1) and sum(lengths) <= 1:
        for i, fraction in enumerate(lengths):
            if fraction < 0 or fraction > 1:
                raise ValueError(f"Fraction at index {i} is not between 0 and 1: it is {fraction}")
        counts = [math.floor(n * fraction) for fraction in lengths]
        for i in range(n - sum(counts)):
            counts[i % len(counts)] += 1
        for i, length in enumerate(counts):
            if length == 0:
                warnings.warn(
                    f"Length of split at index {i} is 0. This might result in an empty dataset.", stacklevel=2
                )
        lengths = counts
    if sum(lengths) != n:
        raise ValueError(
            "Sum of input lengths does not equal the length of the input dataset! They add up to"
            f" {sum(lengths)}, not {n}"
        )
    order = numtorch.randperm(n, generator=generator).tolist()
    ends = itertools.accumulate(lengths)
    return [Subset(dataset, order[int(end - length) : int(end)]) for end, length in zip(ends, lengths)]


def tensor_rows(dataset: Any, indices: list[Any]) -> list[Tensor] | None:
    """What ``default_collate`` gives for samples of a TensorDataset (or of subsets of one), taken at once;
    else None."""
    while type(dataset) is Subset and all(isinstance(i, int) for i in indices):
        indices = [dataset.indices[i] for i in indices]
        dataset = dataset.dataset
    if type(dataset) is not TensorDataset or not all(isinstance(i, int) for i in indices):
        return None
    rows = numtorch.as_tensor(indices, dtype=numtorch.int64)
    return [tensor[rows] for tensor in dataset.tensors]
