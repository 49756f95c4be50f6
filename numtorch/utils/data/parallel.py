"""The DataLoader's iterator with worker processes.

Each worker has two pipes of its own, for tasks and for results, so that a worker that is killed can't leave a
shared lock
behind, and its end is noticed at once: the pipe closes. Tasks go round the workers; results that come early
wait for their turn. Messages carry the number of their pass, so that persistent workers can be restarted
while old results are under way.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import multiprocessing.connection
import os
import pickle
import sys
import threading
import time
import warnings
import weakref
from multiprocessing.connection import Connection
from typing import Any

from . import channel
from .dataloader import DataLoader, LoaderIterator
from .worker import STOP, EndOfStream, Failure, Settings, main, watched

CHECK_SECONDS = 5.0  # how often a silent worker is asked whether it lives
_ends: weakref.WeakSet[Connection] = weakref.WeakSet()  # ends of pipes that this process alone must hold
_starting = threading.Lock()  # a fork in between would hand an open end of a pipe to a strange process


def _after_fork() -> None:
    global _starting
    _starting = threading.Lock()  # another thread may have held it


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def default_context() -> Any:
    """How workers are started if nobody says: as set with ``multiprocessing.set_start_method``, else forked
    on Linux."""
    chosen = multiprocessing.get_start_method(allow_none=True)
    return multiprocessing.get_context(chosen or ("fork" if sys.platform == "linux" else "spawn"))


class _Worker:
    """A worker process as the main process sees it."""

    def __init__(self, context: Any, settings: Settings):
        task_reader, self.tasks = context.Pipe(duplex=False)
        self.results, result_writer = context.Pipe(duplex=False)
        channel.widen(self.results)
        _ends.update((self.tasks, self.results))
        inherited = list(_ends) if context.get_start_method() == "fork" else []
        self.process = context.Process(
            target=main, args=(settings, task_reader, result_writer, inherited), daemon=True
        )
        with warnings.catch_warnings():
            # Python 3.12 warns of any fork in a process with threads; see DataLoader's
            # multiprocessing_context.
            warnings.simplefilter("ignore", DeprecationWarning)
            try:
                self.process.start()
            except (TypeError, AttributeError, pickle.PicklingError) as error:
                error.add_note(
                    f"DataLoader: workers started by {context.get_start_method()!r} get the dataset,"
                    " collate_fn and worker_init_fn by pickle: define them at the top of a module, or use"
                    " multiprocessing_context='fork'"
                )
                raise
        task_reader.close()
        result_writer.close()
        self.active = True  # has not said that its stream is at its end
        self.load = 0  # tasks sent and not answered

    def wait(self) -> None:
        """Return when the worker has sent something; EOFError if it never will."""
        while not multiprocessing.connection.wait([self.results, self.process.sentinel], CHECK_SECONDS):
            if not self.process.is_alive():
                break
        if not self.results.poll() and not self.process.is_alive():
            raise EOFError("the worker ended")

    def send(self, message: Any) -> None:
        with contextlib.suppress(BrokenPipeError):  # its end is reported where its results are awaited
            self.tasks.send(message)


class ParallelIterator(LoaderIterator):
    """Loads with worker processes."""

    def __init__(self, loader: DataLoader):
        super().__init__(loader)
        self._epoch = 0
        self._timeout, self._in_order = loader.timeout, loader.in_order
        self._persistent, self._ahead = (
            loader.persistent_workers,
            (loader.prefetch_factor or 0) * loader.num_workers,
        )
        self._workers: list[_Worker] = []
        context = loader.multiprocessing_context or default_context()
        self._close = weakref.finalize(self, _stop, self._workers, os.getpid())
        try:
            for i in range(loader.num_workers):
                settings = Settings(
                    loader.dataset, loader.batch_sampler is not None, loader.collate_fn, loader.drop_last,
                    loader.worker_init_fn, i, loader.num_workers, self._base_seed, watched(),
                )  # fmt: skip
                with _starting:
                    self._workers.append(_Worker(context, settings))
        except BaseException:
            self._close()
            raise
        self._begin()

    @property
    def closed(self) -> bool:
        """Whether the workers have ended."""
        return not self._close.alive

    def restart(self, loader: DataLoader) -> None:
        """Begin another pass with the same workers."""
        self._rewind(loader)
        self._epoch += 1
        for worker in self._workers:
            worker.active, worker.load = True, 0
            worker.send(("epoch", self._epoch, watched()))
        self._begin()

    def _begin(self) -> None:
        self._sent = self._due = 0  # numbers of the next task, and of the next result to give
        self._owner: dict[int, _Worker] = {}  # tasks under way
        self._early: dict[int, Any] = {}  # results that came before their turn
        self._turn = itertools.cycle(self._workers)
        for _ in range(self._ahead):
            self._send_task()

    def _send_task(self) -> None:
        try:
            index = next(self._indices)
        except StopIteration:
            return
        active = [w for w in self._workers if w.active]
        if not active:
            return
        worker = next(w for w in self._turn if w.active)
        if not self._in_order:
            worker = min(active, key=lambda w: w.load)
        worker.send(("task", self._epoch, self._sent, index))
        worker.load += 1
        self._owner[self._sent] = worker
        self._sent += 1

    def _next_data(self) -> Any:
        while True:
            while self._due < self._sent and self._due not in self._owner and self._due not in self._early:
                self._due += 1  # a worker's stream was at its end
            if self._due in self._early:
                data = self._early.pop(self._due)
                self._due += 1
                return self._give(data)
            if self._due == self._sent:
                if not self._persistent:
                    self._close()
                raise StopIteration
            number, data = self._receive()
            worker = self._owner.pop(number)
            worker.load -= 1
            if isinstance(data, EndOfStream):
                worker.active = False
                self._send_task()
            elif self._in_order:
                self._early[number] = data
            else:
                return self._give(data)

    def _give(self, data: Any) -> Any:
        self._send_task()
        if isinstance(data, Failure):
            data.reraise()
        return data

    def _receive(self) -> tuple[int, Any]:
        """The next result of this pass from any worker; RuntimeError if one has died or the time is up."""
        limit = self._timeout
        deadline = time.monotonic() + limit if limit > 0 else None
        while True:
            busy = [w for w in self._workers if w.load]
            waiting: list[Any] = [w.results for w in busy] + [w.process.sentinel for w in busy]
            left = CHECK_SECONDS if deadline is None else deadline - time.monotonic()
            if left <= 0:
                self._close()
                raise RuntimeError(f"DataLoader timed out after {limit} seconds")
            ready = multiprocessing.connection.wait(waiting, min(left, CHECK_SECONDS))
            for worker in busy:
                if worker.results not in ready and worker.process.is_alive():
                    continue
                try:
                    epoch, number, data = channel.receive(worker.results, worker.wait)
                except (EOFError, ConnectionError):
                    raise self._died(worker) from None
                if epoch == self._epoch:
                    return number, data

    def _died(self, worker: _Worker) -> RuntimeError:
        worker.process.join(CHECK_SECONDS)
        pid, code = worker.process.pid, worker.process.exitcode
        self._close()
        how = "" if code is None else f" (killed by signal {-code})" if code < 0 else f" (exit code {code})"
        return RuntimeError(
            f"DataLoader worker (pid(s) {pid}) exited unexpectedly{how}; if memory ran out use fewer or"
            " smaller batches, and run with num_workers=0 to see an error of the dataset itself"
        )


def _stop(workers: list[_Worker], owner: int) -> None:
    """End all workers: first politely, those that don't listen by force."""
    if os.getpid() != owner:
        return  # a forked copy of the iterator
    for worker in workers:
        worker.send(STOP)
        worker.results.close()  # a worker that waits for room to send gives up
        worker.tasks.close()
    for worker in workers:
        worker.process.join(CHECK_SECONDS)
        for end in (worker.process.terminate, worker.process.kill):
            if worker.process.is_alive():
                end()
                worker.process.join(CHECK_SECONDS)


__all__ = ["Connection", "ParallelIterator", "default_context"]
