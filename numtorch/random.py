"""Random numbers: generators on Philox, a counter-based function of (seed, position), the same on every device.

Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011. A generator's state is two int64 words in
memory, seed and offset; kernels read it there and advance it, so a replayed trace draws fresh numbers.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from ._tensor import Tensor
from .autograd.mode import state
from .creation import from_array, from_numpy, new_tensor
from .device import canonical, device
from .dtype import int64, uint8


class Generator:
    """A stream of random numbers with its own seed.

    Example:
        >>> import numtorch
        >>> g = numtorch.Generator().manual_seed(7)
        >>> a = numtorch.rand(2, generator=g)
        >>> bool((numtorch.rand(2, generator=g.manual_seed(7)) == a).all())
        True
    """

    def __init__(self, device: Any = "cpu"):
        self._device = canonical(device)
        self._state = new_tensor((2,), int64, self._device)
        self.manual_seed(67280421310721)

    @property
    def device(self) -> device:
        """Where the state is."""
        return device(self._device)

    def _words(self) -> np.ndarray:
        """Seed and offset; of a generator on a GPU a copy, for which the work launched there is waited for."""
        words = self._state if self._device == "cpu" else self._state.cpu()
        return words._storage.array((2,), (1,), np.dtype(np.int64), 0)

    def _set_words(self, words: Any) -> None:
        if self._is_recorded():
            self._state.copy_(from_array(np.array(words, np.int64)))
        elif self._device == "cpu":
            self._words()[:] = words
        else:
            self._state.copy_(from_numpy(np.array(words, np.int64)))

    def manual_seed(self, seed: int) -> Generator:
        """Start again from a seed (any 64-bit integer); returns the generator."""
        value = int(seed)
        if not -(1 << 63) <= value < 1 << 64:
            raise ValueError(f"manual_seed: Overflow when unpacking long long: seed {seed} must fit into 64 bits")
        self._set_words((value - (1 << 64) if value >= 1 << 63 else value, 0))
        return self

    def seed(self) -> int:
        """Start again from a seed of the operating system's; returns it."""
        if state.recorder is not None:
            state.recorder.refuse("a generator takes a seed of the operating system's, another one each time")
        value = int.from_bytes(os.urandom(8), "little") >> 1
        self.manual_seed(value)
        return value

    def initial_seed(self) -> int:
        """The seed of the stream."""
        seed = self._state[0].item() if self._is_recorded() else int(self._words()[0])
        return seed & (1 << 64) - 1

    def get_state(self) -> Tensor:
        """The state as a uint8 tensor."""
        if self._is_recorded():
            return self._state.clone().view(uint8)  # of the time of each replay
        return from_numpy(self._words().copy().view(np.uint8))

    def set_state(self, new_state: Tensor) -> Generator:
        """Take over a state from ``get_state``; TypeError or RuntimeError for anything else."""
        if not isinstance(new_state, Tensor) or new_state.dtype is not uint8:
            raise TypeError(
                "expected a torch.ByteTensor, but got something else; use the result of get_state()"
            )
        if new_state.numel() != 16:
            raise RuntimeError(f"RNG state is wrong size: expected 16 bytes, got {new_state.numel()}")
        if self._is_recorded():
            self._state.copy_(new_state.clone().view(int64))
            return self
        self._set_words(new_state.contiguous().numpy().view(np.int64))
        return self

    def _is_recorded(self) -> bool:
        """Whether a trace is being recorded, which must do again what is done to the state."""
        return self._device == "cpu" and state.recorder is not None

    def clone_state(self) -> Generator:
        """A new generator that goes on from the same state."""
        return Generator(self._device).set_state(self.get_state())

    def __reduce__(self) -> Any:
        return _rebuild, (self.get_state().numpy().tobytes(), self._device)


def _rebuild(content: bytes, device: str = "cpu") -> Generator:
    g = Generator(device)
    g._set_words(np.frombuffer(content, np.int64))
    return g


default_generator = Generator()
_defaults = {"cpu": default_generator}  # by device, those of GPUs once they are used; their state is in device memory


def default_of(device: str) -> Generator:
    """The default generator of a device ("cpu", "cuda:0"): each starts from the seed of the CPU's."""
    found = _defaults.get(device)
    if found is None:
        found = _defaults[device] = Generator(device).manual_seed(default_generator.initial_seed())
    return found


def manual_seed(seed: int) -> Generator:
    """Seed the default generators of all devices; returns the CPU's."""
    for generator in list(_defaults.values()):
        generator.manual_seed(seed)
    return default_generator


def seed() -> int:
    """Seed the default generators from the operating system; returns the seed."""
    value = default_generator.seed()
    manual_seed(value)
    return value


def initial_seed() -> int:
    """The default generator's seed."""
    return default_generator.initial_seed()


def get_rng_state() -> Tensor:
    """The default generator's state."""
    return default_generator.get_state()


def set_rng_state(new_state: Tensor) -> None:
    """Give the default generator a state from ``get_rng_state``."""
    default_generator.set_state(new_state)


@contextlib.contextmanager
def fork_rng(devices: Any = None, enabled: bool = True, **ignored: Any) -> Iterator[None]:
    """Restore the default generators' states (of the CPU, and of the GPUs used so far) at the end of the block."""
    states = [(g, g.get_state()) for g in _defaults.values()] if enabled else []
    try:
        yield
    finally:
        for generator, before in states:
            generator.set_state(before)
