"""``spawn``: one function in several processes, whose failure is raised here with its traceback."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import pickle
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from typing import Any

_STOP_SECONDS = 30.0  # what a process has to end after it was asked to, before it is killed


class ProcessException(Exception):
    """A process of ``spawn`` failed: ``error_index`` says which of them, ``error_pid`` its number."""

    def __init__(self, msg: str, error_index: int, pid: int):
        super().__init__(msg)
        self.msg, self.error_index, self.error_pid, self.pid = msg, error_index, pid, pid

    def __reduce__(self) -> Any:
        return type(self), (self.msg, self.error_index, self.pid)


class ProcessRaisedException(ProcessException):
    """The function raised an exception; the message holds its traceback."""


class ProcessExitedException(ProcessException):
    """The process ended by a signal (``signal_name``) or with an ``exit_code``."""

    def __init__(self, msg: str, error_index: int, error_pid: int, exit_code: int, signal_name: str | None = None):
        super().__init__(msg, error_index, error_pid)
        self.exit_code, self.signal_name = exit_code, signal_name

    def __reduce__(self) -> Any:
        return type(self), (self.msg, self.error_index, self.pid, self.exit_code, self.signal_name)


def _run(fn: Callable, i: int, args: tuple, failures: Any) -> None:
    """What a process does: the function, and on failure its traceback to the parent."""
    try:
        fn(i, *args)
    except KeyboardInterrupt:
        return  # the parent was interrupted, too
    except Exception:
        failures.send(traceback.format_exc())
        failures.close()
        sys.exit(1)


class ProcessContext:
    """The processes of a ``spawn(..., join=False)``."""

    def __init__(self, processes: Sequence[Any], failures: Sequence[Any]):
        self.processes, self._failures = list(processes), list(failures)
        self.sentinels = {p.sentinel: i for i, p in enumerate(processes)}

    def pids(self) -> list[int]:
        """The processes' numbers."""
        return [int(p.pid) for p in self.processes]

    def join(self, timeout: float | None = None, grace_period: float | None = None) -> bool:
        """Wait until a process ends, or ``timeout`` seconds; True once all have ended well.

        If one failed the others are ended (they get ``grace_period`` seconds), and its error is raised: ProcessRaisedException
        with the traceback, or ProcessExitedException.
        """
        if not self.sentinels:
            return True
        failed = None
        for sentinel in multiprocessing.connection.wait(list(self.sentinels), timeout=timeout):
            i = self.sentinels.pop(sentinel)  # type: ignore[call-overload]
            self.processes[i].join()
            if self.processes[i].exitcode != 0:
                failed = i
                break
        if failed is None:
            return not self.sentinels
        self._end_others(grace_period)
        raise self._error(failed)

    def _end_others(self, grace_period: float | None) -> None:
        limit = time.monotonic() + (grace_period or 0.0)
        for process in self.processes:
            process.join(max(0.0, limit - time.monotonic()))
            if process.is_alive():
                process.terminate()
        limit = time.monotonic() + _STOP_SECONDS
        for process in self.processes:
            process.join(max(0.0, limit - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()

    def _error(self, i: int) -> ProcessException:
        process, failures = self.processes[i], self._failures[i]
        try:
            said = failures.recv() if failures.poll() else None
        except EOFError:
            said = None
        if said is not None:
            return ProcessRaisedException(
                f"\n\n-- Process {i} terminated with the following error:\n{said}", i, process.pid
            )
        code = process.exitcode
        if code >= 0:
            return ProcessExitedException(f"process {i} terminated with exit code {code}", i, process.pid, code)
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"<Unknown signal {-code}>"
        return ProcessExitedException(f"process {i} terminated with signal {name}", i, process.pid, code, name)


SpawnContext = ProcessContext


def start_processes(
    fn: Callable, args: tuple = (), nprocs: int = 1, join: bool = True, daemon: bool = False, start_method: str = "spawn"
) -> ProcessContext | None:
    """Run ``fn(i, *args)`` in ``nprocs`` processes, i being 0 to nprocs - 1; see ``spawn``."""
    context: Any = multiprocessing.get_context(start_method)
    processes, failures = [], []
    for i in range(nprocs):
        reader, writer = context.Pipe(duplex=False)
        process = context.Process(target=_run, args=(fn, i, args, writer), daemon=daemon)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of every fork beside threads
            try:
                process.start()
            except (TypeError, AttributeError, pickle.PicklingError) as error:
                error.add_note(
                    f"spawn: processes started by {start_method!r} get the function and its arguments by pickle: define"
                    " them at the top of a module"
                )
                raise
        writer.close()
        processes.append(process)
        failures.append(reader)
    running = ProcessContext(processes, failures)
    if not join:
        return running
    while not running.join():
        continue
    return None


def spawn(
    fn: Callable, args: tuple = (), nprocs: int = 1, join: bool = True, daemon: bool = False, start_method: str = "spawn"
) -> ProcessContext | None:
    """Run ``fn(i, *args)`` in ``nprocs`` new processes, i being 0 to nprocs - 1; tensors among ``args`` share their memory.

    If one fails, the others are ended and its error is raised here: ProcessRaisedException with its traceback, or
    ProcessExitedException for one that was killed or called ``sys.exit``. ``join=False`` returns a ``ProcessContext`` at once.
    ``fn`` and ``args`` must be picklable, ``fn`` defined at the top of a module.
    """
    if start_method != "spawn":
        warnings.warn(
            f"This method only supports start_method=spawn (got: {start_method}).\nTo use a different start_method use:\n\t\t"
            " torch.multiprocessing.start_processes(...)",
            FutureWarning,
            stacklevel=2,
        )
    return start_processes(fn, args, nprocs, join, daemon, start_method="spawn")


__all__ = ["ProcessContext", "ProcessException", "ProcessExitedException", "ProcessRaisedException", "SpawnContext", "spawn",
           "start_processes"]  # fmt: skip
