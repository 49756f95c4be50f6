"""A CUDA graph of kernel launches: given to the GPU as one, with words that may be changed between launches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class Graph:
    """Launches, one after the other: (kernel, dtypes, words) each. ``update`` and ``launch`` as often as wanted.

    Kernels are loaded, and memory is allocated, before it is made. Raises what the driver raises where it cannot be made.
    """

    def __init__(self, gpu: Any, calls: Sequence[tuple[Any, dict, Sequence[Any]]]):
        from cuda.core import LaunchConfig
        from cuda.core.graph import GraphDefinition

        self.gpu = gpu
        self._codes: list[Any] = []
        self._nodes: list[Any] = []
        last: Any = GraphDefinition()
        self._definition = last
        for kernel, env, words in calls:
            grid, threads = kernel.config(words)
            if 0 in grid:
                self._codes.append(None)
                self._nodes.append(None)
                continue
            code, converters = gpu.code(kernel, env)
            config = LaunchConfig(grid=grid, block=(threads, 1, 1))
            last = last.launch(config, code, *[c(w) for c, w in zip(converters, words)])
            self._codes.append((config, code, converters))
            self._nodes.append(last)
        self._executable = self._definition.instantiate()

    def update(self, number: int, words: Sequence[Any]) -> None:
        """Give launch ``number`` other words, from the next ``launch`` on; their sizes must stay."""
        if self._codes[number] is not None:
            config, code, converters = self._codes[number]
            args = [c(w) for c, w in zip(converters, words)]
            self._executable[self._nodes[number]].update(config=config, kernel=code, args=args)

    def launch(self) -> None:
        """Give everything to the current stream."""
        self.gpu.enter()
        self._executable.launch(self.gpu.stream)
