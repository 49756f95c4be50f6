"""Runs CUDA kernels on NumPy arrays without a GPU: each thread is a greenlet, the source is the one that is
compiled.

    run(scale_rows, y, x, 3, 40, 2.0)           # words as for a launch, arrays where the kernel takes
    pointers

It sees what hardware does not show: out-of-range and misaligned access, races between threads
(memory_model.py), a barrier or warp operation that not all threads reach, reading shared or stack memory
before writing it (it is NaN). The threads run one warp ahead of the others, in an order that `schedule`
permutes. It does not see numba's typing: that is the compile test's part. Floats overflow silently, as on a
GPU.
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from greenlet import getcurrent, greenlet
from memory_model import Access, Buffer, DevicePointer
from tensor_units import TensorUnits, Values

from numtorch.kernels import binding
from numtorch.kernels.binding import SCALARS, Device, Intrinsic, Placeholder
from numtorch.kernels.cuda import scalar
from numtorch.kernels.cuda.cubins import param_dtype
from numtorch.kernels.cuda.launch import CudaKernel
from numtorch.kernels.interpret import Pointer

WARP = 32
SHARED_BYTES = 48 * 1024  # what a kernel may declare without asking the driver
_BLOCK, _WARP = "barrier", "warp"


class DivergenceError(RuntimeError):
    """Threads that must act together do not."""


class _Thread:
    __slots__ = ("access", "begun", "epoch", "given", "groups", "index", "start", "waits")

    def __init__(self, index: int, start: greenlet):
        self.index, self.start, self.waits, self.epoch = index, start, "", 0
        self.given: Any = None
        self.access: Access | None = None  # until the next barrier
        self.begun: list[Any] = []  # copies to shared memory, and groups of them
        self.groups: list[list[Any]] = []


class Simulator(TensorUnits):
    """One launch. Its public methods are the functions of gpu.py and memory.py as kernels see them."""

    def __init__(self, threads: int, grid: tuple[int, int, int], schedule: int = 0):
        self.size, self.grid = threads, grid
        self.random = random.Random(schedule) if schedule else None
        self.epoch = 0
        self.place = (0, 0, 0)
        self.current: _Thread = None  # type: ignore[assignment]
        self.results: dict[int, list[Any]] = {}

    def run(self, body: Callable[..., None], args: tuple[Any, ...]) -> None:
        """Run all blocks, one after the other."""
        x, y, z = self.grid
        places = [(i, j, k) for k in range(z) for j in range(y) for i in range(x)]
        if self.random:
            self.random.shuffle(places)
        for place in places:
            self._run_block(body, args, place)

    def clock(self) -> Access:
        """Who acts now, for the race check."""
        t = self.current
        if t.access is None:
            x, y, z = self.place
            number = (z * self.grid[1] + y) * self.grid[0] + x
            t.access = Access(number, self.epoch, t.index // WARP, t.epoch, t.index)
        return t.access

    # ---- the schedule

    def _run_block(
        self, body: Callable[..., None], args: tuple[Any, ...], place: tuple[int, int, int]
    ) -> None:
        def enter() -> None:
            with np.errstate(all="ignore"):
                body(*args)

        self.place, self.hub, self.buffers, self.used = place, getcurrent(), {}, 0
        every = [_Thread(i, greenlet(enter, self.hub)) for i in range(self.size)]
        self.warps = [every[i : i + WARP] for i in range(0, self.size, WARP)]
        while any(not t.start.dead for t in every):
            for t in self._ready(every):
                self.current = t
                t.start.switch()

    def _ready(self, every: list[_Thread]) -> list[_Thread]:
        """The threads to run until they wait again: one warp that can go on, else all, past a barrier."""
        warps = self.warps[:]
        if self.random:
            self.random.shuffle(warps)
        for warp in warps:
            waits = {"end" if t.start.dead else t.waits for t in warp}
            if len(waits) > 1:
                raise DivergenceError(f"the threads of a warp are at different places: {sorted(waits)}.")
            kind = waits.pop()
            if kind not in (_BLOCK, "end"):
                self._exchange(warp, kind)
                return self._mixed(warp)
        states = {t.start.dead for t in every}
        if len(states) > 1:
            raise DivergenceError("some threads of the block wait at a barrier that the others never reach.")
        self.epoch += 1
        for t in every:
            t.waits, t.access = "", None
        return self._mixed(every)

    def _mixed(self, threads: list[_Thread]) -> list[_Thread]:
        return self.random.sample(threads, len(threads)) if self.random else threads

    def _exchange(self, warp: list[_Thread], kind: str) -> None:
        """Give the lanes that met in an operation of the warp its results."""
        if kind.startswith("shuffle") or kind in ("ballot", "mma", "matrices"):
            values = warp[0].given[0]([t.given[1] for t in warp], [t.given[2] for t in warp])
            for t, value in zip(warp, values):
                t.given = value
        for t in warp:
            t.waits = ""
            if kind == "warp_barrier":
                t.epoch, t.access = t.epoch + 1, None

    def _wait(self, kind: str) -> None:
        self.current.waits = kind
        self.hub.switch()

    def _collective(self, kind: str, combine: Callable[..., list[Any]], value: Any, other: Any = None) -> Any:
        me = self.current
        me.given = (combine, value, other)
        self._wait(kind)
        return me.given

    # ---- gpu.py

    def thread(self) -> Any:
        return np.int32(self.current.index)

    def threads(self) -> Any:
        return np.int32(self.size)

    def block(self) -> Any:
        return np.int32(self.place[0])

    def block_y(self) -> Any:
        return np.int32(self.place[1])

    def block_z(self) -> Any:
        return np.int32(self.place[2])

    def blocks(self) -> Any:
        return np.int32(self.grid[0])

    def barrier(self) -> None:
        self._wait(_BLOCK)

    def warp_barrier(self) -> None:
        self._wait("warp_barrier")

    def shuffle(self, value: Any, lane: Any) -> Any:
        return self._collective(
            "shuffle", lambda v, k: [v[int(k[i]) & 31] for i in range(WARP)], _word(value), lane
        )

    def shuffle_xor(self, value: Any, mask: Any) -> Any:
        return self._collective(
            "shuffle_xor", lambda v, k: [v[i ^ int(k[i])] for i in range(WARP)], _word(value), mask
        )

    def shuffle_up(self, value: Any, delta: Any) -> Any:
        def up(v: list[Any], k: list[Any]) -> list[Any]:
            return [v[i - int(k[i])] if i >= int(k[i]) else v[i] for i in range(WARP)]

        return self._collective("shuffle_up", up, _word(value), delta)

    def shuffle_down(self, value: Any, delta: Any) -> Any:
        def down(v: list[Any], k: list[Any]) -> list[Any]:
            return [v[i + int(k[i])] if i + int(k[i]) < WARP else v[i] for i in range(WARP)]

        return self._collective("shuffle_down", down, _word(value), delta)

    def ballot(self, condition: Any) -> Any:
        def bits(v: list[Any], _: list[Any]) -> list[Any]:
            return [np.uint32(sum(1 << i for i in range(WARP) if v[i]))] * WARP

        return self._collective("ballot", bits, bool(condition))

    def first_bit(self, mask: Any) -> Any:
        return np.int32((int(mask) & -int(mask)).bit_length() - 1)

    def count_bits(self, mask: Any) -> Any:
        return np.int32(int(mask).bit_count())

    def shared(self, count: int, dtype: Any) -> DevicePointer:
        frame = sys._getframe(1)
        key = (frame.f_code, frame.f_lasti)
        if key not in self.buffers:
            array = Pointer.poisoned(count, dtype).array
            self.used += -(-array.nbytes // 16) * 16
            if self.used > SHARED_BYTES:
                raise MemoryError(f"{self.used} bytes of shared memory; a block has {SHARED_BYTES}.")
            name = f"the shared buffer of {frame.f_code.co_name}, line {frame.f_lineno}"
            self.buffers[key] = Buffer(name, array, self.clock)
        return DevicePointer(self.buffers[key])

    def load4(self, p: Any, i: Any) -> Values:
        at = p.vector(i, 4)
        for k in at:
            p.buffer.read(k)
        return Values(p.array[at.start : at.stop].copy())

    def store4(self, p: Any, i: Any, *values: Any) -> None:
        for k, value in zip(p.vector(i, 4), values):
            p.buffer.write(k)
            p.array[k] = value

    def is_aligned(self, p: Any) -> bool:
        return p.is_aligned()

    def atomic_add(self, p: Any, i: Any, value: Any) -> Any:
        return p.update(i, value, lambda old, new: old + new)

    def atomic_max(self, p: Any, i: Any, value: Any) -> Any:
        return p.update(i, value, max)

    def zeros(self, count: int, dtype: Any) -> Values:
        return Values(np.zeros(count, dtype))

    def take(self, p: Any, values: Values, count: int) -> Values:
        for k in range(count):
            p[k] = values[k]
        return Values(np.roll(values.array, -count))

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        if isinstance(a, np.float32):  # rounded once, as on a GPU: range reductions rely on it
            return np.float32(np.float64(a) * np.float64(b) + np.float64(c))
        return type(a)(a * b + c)

    def fma_outer(self, acc: Values, a: Values, b: Values) -> Values:
        return Values(acc.array + np.multiply.outer(a.array, b.array).ravel())


def _word(value: Any) -> Any:
    assert isinstance(value, np.generic), (
        f"a shuffle moves numbers of a known dtype, got {type(value).__name__}"
    )
    return value


class _Specialiser:
    """Replaces the stand-ins of a kernel's source by the simulator's functions and NumPy's types."""

    def __init__(self, simulator: Simulator, env: binding.Env):
        self.simulator, self.env = simulator, env
        self.devices: dict[Device, Any] = {}

    def replace(self, value: Any) -> Any:
        if isinstance(value, Placeholder):
            return binding.lookup(value, self.env)
        if isinstance(value, Intrinsic):
            return getattr(self.simulator, value.name, value)
        if isinstance(value, Device):
            value = scalar.twin(value)
            if isinstance(value, Intrinsic):
                return value
            if value not in self.devices:
                self.devices[value] = binding.rebind(value.py, self.env, self.replace)
            return self.devices[value]
        return value


def environment(kernel: CudaKernel, args: tuple[Any, ...], given: dict[str, Any]) -> dict[str, Any]:
    """`given` completed by the dtypes of the arrays; T is float32 where nothing says."""
    env = {k: v for k, v in given.items() if v is not None}
    for param, arg in zip(kernel.params.values(), args):
        if isinstance(param.dtype, Placeholder) and hasattr(arg, "dtype"):
            env.setdefault(param.dtype.name, arg.dtype.name)
    env.setdefault("T", "float32")
    return env


def argument(name: str, kind: type, is_pointer: bool, value: Any, clock: Callable[[], Access]) -> Any:
    """The kernel's argument for a word of a call, checked against the parameter's type."""
    if not is_pointer:
        assert isinstance(value, (int, float)), f"{name} must be a number, got {value!r}"
        return kind(value)
    if isinstance(value, int) and value == 0:
        return 0
    array, start = (value.array, value.start) if isinstance(value, Pointer) else (value, 0)
    plain = array.view(SCALARS[array.dtype.name]) if array.dtype != np.dtype(kind) else array
    assert plain.dtype == np.dtype(kind), f"{name} points to {np.dtype(kind)}, got an array of {array.dtype}"
    assert plain.flags.c_contiguous, f"{name} must be contiguous"
    return DevicePointer(Buffer(name, plain.reshape(-1), clock), start)


def run(kernel: CudaKernel, *args: Any, schedule: int = 0, **given: Any) -> None:
    """Run `kernel` with the words of a call: arrays (or Pointers into them) where it takes pointers, numbers
    elsewhere.

    T and S default to the arrays' dtypes; `schedule` permutes the order of blocks, warps and threads.
    """
    assert len(args) == len(kernel.params), (
        f"{kernel.name} takes {list(kernel.params)}, got {len(args)} arguments"
    )
    env = environment(kernel, args, given)
    config = kernel.config(args)
    simulator = Simulator(config.threads, config.grid, schedule)
    shared_memory: dict[int, Any] = {}  # two arguments may be the same array
    words = []
    for (name, param), arg in zip(kernel.params.items(), args):
        made = argument(name, param_dtype(param, env), param.kind == "pointer", arg, simulator.clock)
        if isinstance(made, DevicePointer):
            first = shared_memory.setdefault(made.array.ctypes.data, made)
            made = DevicePointer(first.buffer, made.start) if first.array.dtype == made.array.dtype else made
        words.append(made)
    body = binding.rebind(kernel.py, env, _Specialiser(simulator, env).replace)
    if math.prod(config.grid):
        simulator.run(body, tuple(words))
