"""Kernel launches: what an op's plan is made of, run at once when eager, stored by a trace.

A launch names a kernel of the twin folders (or a fused program), the dtypes it is compiled for, the tensors whose
addresses lead its words, the remaining words, and into how many independent parts it may be split.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from ..autograd.mode import state, watchers
from ..storage import Storage

_kernels: dict[tuple[str, str, str], Any] = {}
PARALLEL_COST = 60_000  # element operations below which one thread is quicker than waking the pool
REPLAYED_COST = 15_000  # and in a replay, which has woken it


def twin(device: str, module: str, name: str) -> Any:
    """The kernel ``name`` of ``kernels/<device>/<module>.py``."""
    key = (device, module, name)
    found = _kernels.get(key)
    if found is None:
        found = getattr(importlib.import_module(f"numtorch.kernels.{device}.{module}"), name)
        _kernels[key] = found
    return found


class Plan:
    """What an elementwise op knows from its operands' layouts alone."""

    __slots__ = (
        "address",
        "alone",
        "chunks",
        "layout_kind",
        "outputs",
        "program",
        "ready",  # on a GPU: which one, and the launches prepared for it
        "scalars",
        "sizes",
        "tensors",
        "words",
    )


class Scratch:
    """Working memory shared by the launches of one plan: ``nbytes``, uninitialised, worthless afterwards.

    ``each``: what one chunk needs, where the memory is private to the chunks of one launch.
    """

    __slots__ = ("each", "nbytes")

    def __init__(self, nbytes: int, each: int = 0):
        self.nbytes, self.each = nbytes, each


class Launch:
    """One kernel call.

    ``kernel``: (module, name) of a twin, or an object with ``address(**env)``; ``pointers``: tensors (their first
    element), ``Scratch``, or 0; ``units``: how many parts may run side by side (results never depend on it); ``cost``:
    about how many element operations it takes.
    """

    __slots__ = ("cost", "env", "kernel", "pointers", "units", "words")

    def __init__(
        self,
        kernel: Any,
        env: dict,
        pointers: Sequence[Any],
        words: Sequence[Any] = (),
        units: int = 1,
        cost: int = 0,
    ):
        self.kernel, self.env, self.pointers, self.words = kernel, env, pointers, words
        self.units, self.cost = units, cost

    def address(self, device: str = "cpu") -> int:
        """The compiled kernel's address."""
        k = self.kernel
        if type(k) is tuple:
            k = twin(device, k[0], k[1])
        return k.address(**self.env)

    def chunks(self, least: int = PARALLEL_COST) -> int:
        """Into how many chunks a CPU launch is split, one if it costs less than ``least``."""
        if self.units <= 1 or self.cost < least:
            return 1
        return min(self.units, threads())

    def __repr__(self) -> str:
        name = ".".join(self.kernel) if type(self.kernel) is tuple else repr(self.kernel)
        return f"Launch({name}, {self.env}, {len(self.pointers)} pointers, words={list(self.words)}, units={self.units})"


_count: Any = None


def threads() -> int:
    """The number of threads in use."""
    global _count
    if _count is None:
        from ..kernels.threads import get_num_threads

        _count = get_num_threads
    return _count()


def from_plan(plan: Any, **tensors: Any) -> list[Launch]:
    """Launches from a kernel planner's answer: ([(kernel, dtypes, pointer names, words, units)], scratch bytes)."""
    launches, scratch = plan
    if scratch:
        tensors["scratch"] = Scratch(scratch)
    return [
        Launch(k, env, [tensors[n] for n in names], words, units, PARALLEL_COST)
        for k, env, names, words, units in launches
    ]


_launch: Any = None


def driver() -> Any:
    """``launch(address, nchunks, *words)``, loaded on first use."""
    global _launch
    if _launch is None:
        from ..kernels.driver import launch

        _launch = launch
    return _launch


def run_launches(launches: Sequence[Launch], device: str) -> None:
    """Run launches in order on a device."""
    if device != "cpu":
        from ..cuda import runtime

        runtime.run_launches(launches, device)
        return
    if watchers and state.interpreter is not None:
        state.interpreter.launches(launches)
        return
    call = _launch or driver()
    memory: dict[Scratch, Storage] = {}
    for la in launches:
        addresses = []
        for p in la.pointers:
            if type(p) is Scratch:
                if p not in memory:
                    memory[p] = Storage(p.nbytes)
                addresses.append(memory[p].ptr)
            else:
                addresses.append(p if type(p) is int else _host_address(p))
        call(la.address(), la.chunks(), *addresses, *la.words)


def _host_address(t: Any) -> int:
    """Where a CPU kernel finds a tensor; RuntimeError for one on a GPU."""
    if t._layout.device != "cpu":
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found at least two devices, cpu and {t._layout.device}! Move"
            " one of them with .to()"
        )
    return t._address()


def common_device(op: str, tensors: list[Any]) -> str:
    """The device of all tensors; RuntimeError for more than one."""
    device, only_numbers = None, True  # a 0-d tensor on the CPU goes with tensors anywhere
    for t in tensors:
        d, number = t._layout.device, t._layout.ndim == 0
        if device is None or (only_numbers and device == "cpu"):
            device, only_numbers = d, number
        elif d != device and not (d == "cpu" and number):
            raise RuntimeError(
                f"{op}: Expected all tensors to be on the same device, but found at least two"
                f" devices, {device} and {d}! Move one of them with .to()"
            )
    return device or "cpu"
