"""The DataLoader, and its iterator that loads in this process."""

from __future__ import annotations

import math
import multiprocessing
import multiprocessing.context
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

from .collate import default_collate, default_convert
from .dataset import IterableDataset
from .sampler import BatchSampler, RandomSampler, Sampler, SequentialSampler, random_seed
from .worker import Fetcher

T = TypeVar("T")
_FIXED = ("batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers")


class _InfiniteConstantSampler(Sampler):
    """For streams: there is no index, but as many turns as the stream has."""

    def __iter__(self) -> Iterator[None]:
        while True:
            yield None


class DataLoader(Generic[T]):
    """Iterates over a dataset in batches, in this process or with worker processes.

    Args:
        dataset: map style (``__getitem__``, ``__len__``) or an ``IterableDataset``.
        batch_size: samples per batch; None gives single samples, only converted to tensors.
        shuffle: a new random order at each pass; or give a ``sampler`` of indices, or a ``batch_sampler`` of
            lists.
        num_workers: processes that load ahead; 0 loads in this one.
        collate_fn: from a list of samples to a batch (``default_collate``).
        pin_memory: accepted; memory is pinned where a GPU is there.
        drop_last: leave out the last batch if it isn't full.
        timeout: seconds to wait for a batch of a worker, 0 for ever.
        worker_init_fn: called with the worker's number in each worker, after seeding.
        multiprocessing_context: how to start workers: "fork", "forkserver", "spawn" or a context. By default
            they are forked on Linux, as PyTorch does, so that datasets need not be picklable and scripts need
            no ``__main__`` guard; elsewhere they are spawned. numtorch's own threads survive a fork. If
            threads of other libraries hold locks at that moment, use "forkserver".
        generator: random numbers for the order and for the workers' seeds.
        prefetch_factor: batches that each worker loads ahead (2).
        persistent_workers: keep the workers from one pass to the next.
        in_order: give batches in the order of the sampler; False gives them as they arrive.

    Raises:
        ValueError: options that exclude each other.

    Example:
        >>> import numtorch
        >>> data = numtorch.utils.data.TensorDataset(numtorch.arange(5.0))
        >>> [x.tolist() for (x,) in numtorch.utils.data.DataLoader(data, batch_size=2)]
        [[0.0, 1.0], [2.0, 3.0], [4.0]]
    """

    __initialized = False
    _iterator: Any = None
    _stated_length: int | None

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Any = None,
        batch_sampler: Any = None,
        num_workers: int = 0,
        collate_fn: Callable | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: Any = None,
        generator: Any = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ):
        _check_workers(num_workers, timeout, prefetch_factor, persistent_workers)
        stream = isinstance(dataset, IterableDataset)
        _check_sampling(stream, batch_size, shuffle, sampler, batch_sampler, drop_last)
        if batch_sampler is not None:
            batch_size, drop_last = None, False
        self.dataset = dataset
        self.num_workers = num_workers
        self.prefetch_factor = 2 if num_workers > 0 and prefetch_factor is None else prefetch_factor
        self.pin_memory, self.pin_memory_device = pin_memory, pin_memory_device
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.multiprocessing_context = multiprocessing_context
        self.in_order = in_order
        if sampler is None:
            if stream:
                sampler = _InfiniteConstantSampler()
            else:
                sampler = (
                    RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)
                )
        if batch_size is not None and batch_sampler is None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.batch_size, self.drop_last = batch_size, drop_last
        self.sampler, self.batch_sampler = sampler, batch_sampler
        self.generator = generator
        self.collate_fn = collate_fn or (default_convert if batch_sampler is None else default_collate)
        self.persistent_workers = persistent_workers
        self._stream, self._stated_length = stream, None
        self.__initialized = True
        self.check_worker_number_rationality()

    @property
    def multiprocessing_context(self) -> Any:
        """How workers are started, None for the default."""
        return self.__multiprocessing_context

    @multiprocessing_context.setter
    def multiprocessing_context(self, context: Any) -> None:
        if context is not None:
            if self.num_workers == 0:
                raise ValueError(
                    "multiprocessing_context can only be used with multi-process loading (num_workers > 0),"
                    f" but got num_workers={self.num_workers}"
                )
            if isinstance(context, str):
                valid = multiprocessing.get_all_start_methods()
                if context not in valid:
                    raise ValueError(
                        f"multiprocessing_context option should specify a valid start method in {valid!r},"
                        f" but got multiprocessing_context={context!r}"
                    )
                context = multiprocessing.get_context(context)
            if not isinstance(context, multiprocessing.context.BaseContext):
                raise TypeError(
                    "multiprocessing_context option should be a valid context object or a string specifying"
                    f" the start method, but got multiprocessing_context={context}"
                )
        self.__multiprocessing_context = context

    def __setattr__(self, name: str, value: Any) -> None:
        if self.__initialized and name in _FIXED:
            raise ValueError(f"{name} attribute should not be set after {type(self).__name__} is initialized")
        super().__setattr__(name, value)

    def __iter__(self) -> LoaderIterator:
        if self.num_workers == 0:
            return SerialIterator(self)
        from .parallel import ParallelIterator

        if not self.persistent_workers:
            return ParallelIterator(self)
        if self._iterator is None or self._iterator.closed:
            self._iterator = ParallelIterator(self)
        else:
            self._iterator.restart(self)
        return self._iterator

    @property
    def _index_sampler(self) -> Iterable[Any]:
        return self.sampler if self.batch_sampler is None else self.batch_sampler

    def __len__(self) -> int:
        if not self._stream:
            return len(self._index_sampler)  # type: ignore[arg-type]
        length = self._stated_length = len(self.dataset)
        if self.batch_size is None:
            return length
        return length // self.batch_size if self.drop_last else math.ceil(length / self.batch_size)

    def check_worker_number_rationality(self) -> None:
        """Warn if there are more workers than processors that this process may use."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        if self.num_workers > cores:
            warnings.warn(
                f"This DataLoader will create {self.num_workers} worker processes in total. Our suggested"
                f" max number of worker in current system is {cores}, which is smaller than what this"
                " DataLoader is going to create. Please be aware that excessive worker creation might get"
                " DataLoader running slow or even freeze, lower the worker number to avoid potential"
                " slowness/freeze if necessary.",
                stacklevel=3,
            )


def _check_workers(num_workers: int, timeout: float, prefetch_factor: int | None, persistent: bool) -> None:
    if num_workers < 0:
        raise ValueError(
            "num_workers option should be non-negative; use num_workers=0 to disable multiprocessing."
            f" Got num_workers={num_workers}"
        )
    if timeout < 0:
        raise ValueError(f"timeout option should be non-negative, got timeout={timeout}")
    if num_workers == 0 and prefetch_factor is not None:
        raise ValueError(
            "prefetch_factor option could only be specified in multiprocessing.let num_workers > 0 to"
            " enable multiprocessing, otherwise set prefetch_factor to None."
        )
    if prefetch_factor is not None and prefetch_factor <= 0:
        raise ValueError(
            f"prefetch_factor option should be non-negative and not 0, got prefetch_factor={prefetch_factor}"
        )
    if persistent and num_workers == 0:
        raise ValueError("persistent_workers option needs num_workers > 0; set num_workers, or persistent_workers=False")


def _check_sampling(
    stream: bool, batch_size: Any, shuffle: Any, sampler: Any, batch_sampler: Any, drop_last: bool
) -> None:
    given = {"shuffle": shuffle or None, "sampler": sampler, "batch_sampler": batch_sampler}
    for name, value in given.items():
        if stream and value is not None:
            raise ValueError(
                f"DataLoader with IterableDataset: expected unspecified {name} option, but got {name}={value}"
            )
    if sampler is not None and shuffle:
        raise ValueError("sampler option is mutually exclusive with shuffle; a sampler decides the order itself")
    if batch_sampler is not None:
        if batch_size != 1 or shuffle or sampler is not None or drop_last:
            raise ValueError(
                "batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and drop_last; it"
                " gives whole batches itself"
            )
    elif batch_size is None and drop_last:
        raise ValueError(
            "batch_size=None option disables auto-batching and is mutually exclusive with drop_last; give a batch_size"
        )


class LoaderIterator:
    """Base of the iterators of a DataLoader: draws indices, counts what it gives.

    It holds no reference to its loader, so that persistent workers end with the last reference to that.
    """

    def __init__(self, loader: DataLoader):
        self._index_sampler = loader._index_sampler
        self._dataset, self._stream, self._workers_wanted = loader.dataset, loader._stream, loader.num_workers
        self._base_seed = random_seed(loader.generator)
        self._pin = loader.pin_memory and _can_pin()
        self._rewind(loader)

    def _rewind(self, loader: DataLoader) -> None:
        """Begin a pass."""
        self._indices = iter(self._index_sampler)
        self._given = 0
        self._stated = loader._stated_length  # what len(dataset) said, if the loader was asked for its length
        self._stated_batches = len(loader) if self._stream and self._stated is not None else None

    def _next_data(self) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must define _next_data")

    def __iter__(self) -> LoaderIterator:
        return self

    def __next__(self) -> Any:
        data = self._next_data()
        self._given += 1
        if self._stated_batches is not None and self._given > self._stated_batches:
            self._warn_of_length()
        return _pinned(data) if self._pin else data

    def _warn_of_length(self) -> None:
        message = (
            f"Length of IterableDataset {self._dataset} was reported to be {self._stated} (when accessing"
            f" len(dataloader)), but {self._given} samples have been fetched."
        )
        if self._workers_wanted:
            message += (
                " For multiprocessing data-loading, this could be caused by not properly configuring the"
                " IterableDataset replica at each worker: split the stream by get_worker_info()."
            )
        warnings.warn(message, stacklevel=3)

    def __len__(self) -> int:
        return len(self._index_sampler)  # type: ignore[arg-type]


class SerialIterator(LoaderIterator):
    """Loads in this process."""

    def __init__(self, loader: DataLoader):
        super().__init__(loader)
        batched = loader.batch_sampler is not None
        self._fetcher = Fetcher(loader.dataset, batched, loader.collate_fn, loader.drop_last)

    def _next_data(self) -> Any:
        return self._fetcher.fetch(next(self._indices))


def _can_pin() -> bool:
    from ... import cuda

    if cuda.is_available():
        return True
    warnings.warn(
        "'pin_memory' argument is set as true but no accelerator is found, then device pinned memory won't"
        " be used.",
        stacklevel=4,
    )
    return False


def _pinned(data: Any) -> Any:
    """The same nested data with tensors in pinned memory."""
    if hasattr(data, "pin_memory"):
        return data.pin_memory()
    if isinstance(data, dict):
        return {k: _pinned(v) for k, v in data.items()}
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*(_pinned(v) for v in data))
    if isinstance(data, (list, tuple)):
        return type(data)(_pinned(v) for v in data)
    return data
