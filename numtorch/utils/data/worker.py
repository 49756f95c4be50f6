"""The worker process of a DataLoader: fetches samples, collates them and sends them to the main process."""

from __future__ import annotations

import os
import queue
import random
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

import numtorch

from ...autograd.anomaly import AnomalyError, in_force, set_detect_anomaly
from . import channel
from .collate import default_collate
from .dataset import IterableDataset, tensor_rows


class Fetcher:
    """Gets the data of one index, or of one batch of indices, from a dataset."""

    def __init__(self, dataset: Any, batched: bool, collate_fn: Callable, drop_last: bool):
        self.dataset, self.batched, self.collate_fn, self.drop_last = dataset, batched, collate_fn, drop_last
        self.stream: Iterator[Any] | None = iter(dataset) if isinstance(dataset, IterableDataset) else None
        self.ended = False

    def fetch(self, index: Any) -> Any:
        """The collated data; StopIteration at the end of a stream."""
        return self._next(index) if self.stream is not None else self._get(index)

    def _get(self, index: Any) -> Any:
        if not self.batched:
            return self.collate_fn(self.dataset[index])
        if self.collate_fn is default_collate:
            rows = tensor_rows(self.dataset, index)
            if rows is not None:
                return rows
        if getattr(self.dataset, "__getitems__", None):
            return self.collate_fn(self.dataset.__getitems__(index))
        return self.collate_fn([self.dataset[i] for i in index])

    def _next(self, index: Any) -> Any:
        assert self.stream is not None
        if self.ended:
            raise StopIteration
        if not self.batched:
            return self.collate_fn(next(self.stream))
        samples = []
        for _ in index:
            try:
                samples.append(next(self.stream))
            except StopIteration:
                self.ended = True
                break
        if not samples or (self.drop_last and len(samples) < len(index)):
            raise StopIteration
        return self.collate_fn(samples)


@dataclass(frozen=True)
class WorkerInfo:
    """What ``get_worker_info`` tells inside a worker: its number, how many there are, its seed and its
    dataset."""

    id: int
    num_workers: int
    seed: int
    dataset: Any


_info: WorkerInfo | None = None


def get_worker_info() -> WorkerInfo | None:
    """In a worker process of a DataLoader: id, num_workers, seed and dataset; None elsewhere.

    Example:
        >>> import numtorch
        >>> numtorch.utils.data.get_worker_info() is None
        True
    """
    return _info


class _KeyErrorMessage(str):
    """KeyError prints the repr of its message: this one prints with its line breaks."""

    def __repr__(self) -> str:
        return str(self)


class Failure:
    """An exception of a worker with its traceback as text, raised again in the main process."""

    def __init__(self, where: str):
        kind, value, tb = sys.exc_info()
        assert kind is not None
        self.kind: type[BaseException] = kind
        self.name = kind.__name__
        self.where = where
        self.facts: dict[str, Any] = {}  # of an anomaly: op, line and so on
        if isinstance(value, AnomalyError):
            self.facts = {k: v for k, v in vars(value).items() if isinstance(v, (str, int, tuple))}
        self.text = "".join(traceback.format_exception(kind, value, tb))

    def reraise(self) -> None:
        """Raise the same kind of exception (RuntimeError if that can't be made from a message)."""
        message: str = f"Caught {self.name} {self.where}.\nOriginal {self.text}"
        if self.kind is KeyError:
            message = _KeyErrorMessage(message)
        try:
            error = self.kind(message)
        except Exception:  # a class whose constructor wants something else
            raise RuntimeError(message) from None
        error.__dict__.update(self.facts)
        raise error


@dataclass(frozen=True)
class EndOfStream:
    """Sent instead of data when a worker's iterable dataset has no more."""


@dataclass(frozen=True)
class Settings:
    """What a worker needs to know."""

    dataset: Any
    batched: bool
    collate_fn: Callable
    drop_last: bool
    init_fn: Callable[[int], None] | None
    id: int
    num_workers: int
    base_seed: int
    anomaly: tuple[bool, bool, bool] | None  # what the main process looks for: check_nan, check_inf, check_forward


_GRACE_SECONDS = 1.0
STOP = ("stop",)  # tasks are ("task", epoch, number, index); a new epoch is ("epoch", epoch, anomaly)


def numpy_seed(base_seed: int, worker_id: int) -> np.ndarray:
    """Four 32-bit words for NumPy's global generator, unrelated from worker to worker."""
    return np.random.SeedSequence([worker_id, base_seed & 0xFFFFFFFF, base_seed >> 32]).generate_state(4)


def main(settings: Settings, tasks: Connection, results: Connection, inherited: Iterable[Connection]) -> None:
    """Run until told to stop, or until the main process is gone."""
    for connection in inherited:  # ends that belong to the main process: it alone must hold them
        connection.close()
    try:
        _Loop(settings, tasks, results).run()
    except (KeyboardInterrupt, BrokenPipeError):
        # The main process was interrupted as well, or has closed the pipe because it wants no more.
        os._exit(0)


def watched() -> tuple[bool, bool, bool] | None:
    """What this thread's anomaly detection looks for, for a worker to do the same."""
    found = in_force()
    return None if found is None else (found.check_nan, found.check_inf, found.check_forward)


def watch(anomaly: tuple[bool, bool, bool] | None) -> None:
    """Look for anomalies in this worker as the main process does."""
    set_detect_anomaly(anomaly is not None, *(anomaly or ()))


class _Loop:
    def __init__(self, settings: Settings, tasks: Connection, results: Connection):
        self.settings, self.tasks, self.results = settings, tasks, results
        self.where = f"in DataLoader worker process {settings.id}"
        self.inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.epoch = 0
        self.failure: Failure | None = None
        self.fetcher: Fetcher | None = None

    def run(self) -> None:
        self._seed()
        watch(self.settings.anomaly)
        threading.Thread(target=self._listen, daemon=True).start()
        self._start(self.settings.init_fn)
        while True:
            message = self.inbox.get()
            if message == STOP:
                return
            if message[0] == "epoch":
                self.epoch = message[1]
                watch(message[2])
                self._start(None)
            elif message[1] == self.epoch:
                self._send(message[1], message[2], self._fetch(message[3]))

    def _listen(self) -> None:
        """Read tasks as they come, also while data is being sent: otherwise both processes could wait for
        each other."""
        while True:
            try:
                message = self.tasks.recv()
            except (EOFError, OSError):  # the main process is gone
                os._exit(1)
            self.inbox.put(message)
            if message == STOP:
                time.sleep(_GRACE_SECONDS)
                os._exit(0)  # still sending what nobody will read

    def _seed(self) -> None:
        global _info
        s = self.settings
        seed = s.base_seed + s.id
        numtorch.set_num_threads(1)
        random.seed(seed)
        numtorch.manual_seed(seed)
        np.random.seed(numpy_seed(s.base_seed, s.id))
        _info = WorkerInfo(s.id, s.num_workers, seed, s.dataset)

    def _start(self, init_fn: Callable[[int], None] | None) -> None:
        s = self.settings
        try:
            if init_fn is not None:
                init_fn(s.id)
            self.fetcher = Fetcher(s.dataset, s.batched, s.collate_fn, s.drop_last)
        except Exception:
            self.failure = Failure(self.where)

    def _fetch(self, index: Any) -> Any:
        if self.failure is not None:
            failure, self.failure = self.failure, None
            return failure
        if self.fetcher is None:
            return EndOfStream()
        try:
            return self.fetcher.fetch(index)
        except StopIteration:
            if self.fetcher.stream is not None:
                return EndOfStream()
            return Failure(self.where)
        except Exception:
            return Failure(self.where)

    def _send(self, epoch: int, number: int, data: Any) -> None:
        try:
            message = channel.dumps((epoch, number, data))
        except Exception:  # the data, or the class of an exception, can't be pickled
            failure = data if isinstance(data, Failure) else Failure(self.where)
            if failure.kind.__module__ != "builtins":
                failure.kind = RuntimeError
            message = channel.dumps((epoch, number, failure))
        channel.send(self.results, message)
