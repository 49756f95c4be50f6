"""Datasets, their combinations, samplers and collation."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, namedtuple

import numpy as np
import pytest

import numtorch
from numtorch.utils.data import (
    BatchSampler,
    ChainDataset,
    ConcatDataset,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    StackDataset,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
    default_convert,
    random_split,
)


class Squares(Dataset):
    """i**2."""

    def __init__(self, n: int):
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> int:
        return i * i


class Count(IterableDataset):
    """0, 1, 2, ..."""

    def __init__(self, n: int):
        self.n = n

    def __iter__(self):
        return iter(range(self.n))

    def __len__(self) -> int:
        return self.n


def generator(seed: int = 1) -> numtorch.Generator:
    g = numtorch.Generator()
    g.manual_seed(seed)
    return g


def test_tensor_dataset() -> None:
    data = TensorDataset(numtorch.arange(6.0).reshape(3, 2), numtorch.tensor([5, 6, 7]))
    x, y = data[1]
    assert len(data) == 3 and x.tolist() == [2.0, 3.0] and y.item() == 6
    with pytest.raises(AssertionError, match=r"Size mismatch between tensors: .*\[3, 2\]"):
        TensorDataset(numtorch.ones(3), numtorch.ones(2))
    with pytest.raises(IndexError):
        data[3]


def test_concat_and_add() -> None:
    both = Squares(3) + Squares(4)
    assert isinstance(both, ConcatDataset) and len(both) == 7
    assert (
        [both[i] for i in range(7)] == [0, 1, 4, 0, 1, 4, 9]
        and both[-1] == 9
        and both.cumulative_sizes == [3, 7]
    )
    with pytest.raises(IndexError):
        both[7]
    with pytest.raises(ValueError, match="absolute value of index"):
        both[-8]
    with pytest.raises(AssertionError, match="empty iterable"):
        ConcatDataset([])
    with pytest.raises(AssertionError, match="does not support IterableDataset"):
        ConcatDataset([Count(2)])


def test_chain() -> None:
    chain = Count(2) + Count(3)
    assert isinstance(chain, ChainDataset) and list(chain) == [0, 1, 0, 1, 2] and len(chain) == 5
    with pytest.raises(AssertionError, match="only supports IterableDataset, got Squares"):
        list(ChainDataset([Squares(2)]))


def test_stack() -> None:
    assert StackDataset(Squares(3), range(3))[2] == (4, 2)
    named = StackDataset(x=Squares(3), y=range(3))
    assert named[1] == {"x": 1, "y": 1} and len(named) == 3
    assert named.__getitems__([0, 2]) == [{"x": 0, "y": 0}, {"x": 4, "y": 2}]
    with pytest.raises(ValueError, match="Size mismatch between datasets"):
        StackDataset(Squares(2), Squares(3))
    with pytest.raises(ValueError, match="both types"):
        StackDataset(Squares(2), x=Squares(2))
    with pytest.raises(ValueError, match="At least one dataset"):
        StackDataset()


def test_subset_asks_for_a_batch_at_once() -> None:
    class Batched(Squares):
        def __getitems__(self, indices):
            return [-i for i in indices]

    assert Subset(Batched(9), [8, 3, 5]).__getitems__([0, 2]) == [-8, -5]
    assert Subset(Squares(9), [8, 3, 5])[1] == 9
    with pytest.raises(NotImplementedError, match="must also override __getitems__"):
        type("Half", (Subset,), {"__getitem__": lambda self, i: i})(Squares(2), [0])


def test_random_split() -> None:
    a, b, c = random_split(range(10), [0.5, 0.3, 0.2], generator())
    assert [len(a), len(b), len(c)] == [5, 3, 2] and sorted([*a, *b, *c]) == list(range(10))
    again = random_split(range(10), [5, 3, 2], generator())
    assert [list(s) for s in again] == [list(a), list(b), list(c)]
    assert [len(s) for s in random_split(range(10), [1 / 3, 1 / 3, 1 / 3])] == [4, 3, 3]
    with pytest.raises(ValueError, match="They add up to 9, not 10"):
        random_split(range(10), [4, 5])
    with pytest.raises(ValueError, match="Fraction at index 0 is not between 0 and 1"):
        random_split(range(10), [-0.5, 1.5])
    with pytest.warns(UserWarning, match="Length of split at index 1 is 0"):
        random_split(range(1), [0.9, 0.1])


def test_samplers() -> None:
    assert list(SequentialSampler(range(3))) == [0, 1, 2]
    one, two = (
        list(RandomSampler(range(50), generator=generator())),
        list(RandomSampler(range(50), generator=generator())),
    )
    assert one == two != list(range(50)) and sorted(one) == list(range(50))
    drawn = list(RandomSampler(range(3), replacement=True, num_samples=1500, generator=generator()))
    assert len(drawn) == 1500 and set(drawn) == {0, 1, 2} and min(np.bincount(drawn)) > 400
    more = list(RandomSampler(range(4), num_samples=10))
    assert len(more) == 10 and sorted(more[:4]) == sorted(more[4:8]) == [0, 1, 2, 3]
    assert sorted(SubsetRandomSampler([7, 8, 9])) == [7, 8, 9]
    assert (
        list(BatchSampler(range(5), 2, True)) == [[0, 1], [2, 3]]
        and len(BatchSampler(range(5), 2, True)) == 2
    )
    assert len(BatchSampler(range(5), 2, False)) == 3


def test_the_global_seed_decides_the_order() -> None:
    orders = []
    for _ in range(2):
        numtorch.manual_seed(3)
        orders.append(list(RandomSampler(range(20))))
    assert orders[0] == orders[1] != list(RandomSampler(range(20)))


def test_weighted_sampler() -> None:
    drawn = list(WeightedRandomSampler([0.0, 1.0, 3.0], 2000, generator=generator()))
    counts = np.bincount(drawn, minlength=3)
    assert counts[0] == 0 and 2.4 < counts[2] / counts[1] < 3.7
    assert sorted(WeightedRandomSampler([1.0, 2.0, 3.0], 3, replacement=False)) == [0, 1, 2]


@pytest.mark.parametrize("error, make", [
    (ValueError, lambda: RandomSampler(range(3), num_samples=0)),
    (ValueError, lambda: RandomSampler([])),
    (TypeError, lambda: RandomSampler(range(3), replacement=1)),
    (ValueError, lambda: WeightedRandomSampler([1.0], True)),
    (ValueError, lambda: WeightedRandomSampler([1.0], 1, replacement=0)),
    (ValueError, lambda: WeightedRandomSampler([[1.0]], 1)),
    (ValueError, lambda: BatchSampler(range(3), 0, False)),
    (ValueError, lambda: BatchSampler(range(3), 2, 1)),
])  # fmt: skip
def test_wrong_sampler_options(error: type, make) -> None:
    with pytest.raises(error, match=r"should be|weights should"):
        make()


Pair = namedtuple("Pair", "x y")


def test_collate_numbers_and_tensors() -> None:
    assert default_collate([1, 2]).dtype is numtorch.int64
    assert default_collate([1.0, 2.0]).dtype is numtorch.float64
    assert default_collate([True, False]).dtype is numtorch.bool
    assert default_collate([np.float32(1), np.float32(2)]).dtype is numtorch.float32
    assert default_collate([np.ones(2, np.int16)] * 3).shape == (3, 2)
    assert default_collate([numtorch.ones(2, 3)] * 4).shape == (4, 2, 3)
    assert default_collate(["a", "b"]) == ["a", "b"] and default_collate([b"a", b"b"]) == [b"a", b"b"]


def test_collate_keeps_structure() -> None:
    batch = default_collate([Pair(1, {"a": [1.0, (2, "s")]}), Pair(3, {"a": [4.0, (5, "t")]})])
    assert isinstance(batch, Pair) and batch.x.tolist() == [1, 3]
    numbers, inner = batch.y["a"]
    assert numbers.tolist() == [1.0, 4.0] and inner[0].tolist() == [2, 5] and inner[1] == ("s", "t")
    assert isinstance(default_collate([(1, 2), (3, 4)]), list)
    kept = default_collate([OrderedDict(b=1, a=2)] * 2)
    assert isinstance(kept, OrderedDict) and list(kept) == ["b", "a"]
    assert default_collate([defaultdict(list, a=1)] * 2).default_factory is list


def test_what_cannot_be_collated() -> None:
    with pytest.raises(
        TypeError, match="batch must contain tensors, numpy arrays, numbers, dicts or lists; found"
    ):
        default_collate([object(), object()])
    with pytest.raises(TypeError, match="found <U1"):
        default_collate([np.array(["a"])])
    with pytest.raises(RuntimeError, match=r"of equal size; got sizes \[1, 2\]"):
        default_collate([[1], [1, 2]])
    with pytest.raises(RuntimeError, match="stack"):
        default_collate([numtorch.ones(2), numtorch.ones(3)])


def test_convert() -> None:
    data = default_convert(
        {"a": np.ones(2), "b": [np.float32(2), "s"], "c": Pair(np.arange(2), 3), "d": (1, np.int64(2))}
    )
    assert data["a"].dtype is numtorch.float64 and data["b"][0].item() == 2.0 and data["b"][1] == "s"
    assert isinstance(data["c"], Pair) and data["c"].x.tolist() == [0, 1] and data["c"].y == 3
    assert isinstance(data["d"], list) and default_convert(np.array(["s"])).dtype.kind == "U"


@pytest.mark.parametrize("drop_last", [False, True])
def test_distributed_sampler(drop_last) -> None:
    parts = [DistributedSampler(range(10), 4, r, shuffle=False, drop_last=drop_last) for r in range(4)]
    drawn = [list(p) for p in parts]
    ends = [[8], [9], [0], [1]] if not drop_last else [[]] * 4
    assert drawn == [[r, r + 4, *ends[r]] for r in range(4)] and len(parts[0]) == len(drawn[0])
    mixed = [DistributedSampler(range(10), 2, r, seed=3) for r in range(2)]
    first = [list(m) for m in mixed]
    assert sorted(first[0] + first[1]) == list(range(10)) and list(mixed[0]) == first[0]
    mixed[0].set_epoch(1)
    assert list(mixed[0]) != first[0]


def test_distributed_sampler_needs_its_numbers() -> None:
    with pytest.raises(RuntimeError, match="give num_replicas and rank"):
        DistributedSampler(range(3))
    with pytest.raises(ValueError, match=r"Invalid rank 2, rank should be in the interval \[0, 1\]"):
        DistributedSampler(range(3), 2, 2)
