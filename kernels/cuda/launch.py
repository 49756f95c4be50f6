"""How a CUDA kernel is declared and how large its launch is; imports no CUDA.

    from numpy import int32, int64
    from ..jit import T_ptr, i64, real
    from .gpu import block, thread
    from .launch import ceil_div, kernel

    @kernel(grid=lambda rows, cols: rows, threads=256)
    def scale_rows(y: T_ptr, x: T_ptr, rows: i64, cols: i64, alpha: real):
        base = int64(block()) * cols
        c = thread()
        while c < int32(cols):
            y[base + c] = x[base + c] * alpha
            c = int32(c + int32(256))

The launch rule `grid` takes some of the kernel's parameters by name and gives the number of blocks, or a
tuple (x, y, z). Parameters arrive as the kernel's own: pointers, int64, `real` as T, `f64` as float64.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any, NamedTuple

from ..jit import Kernel

MAX_X, MAX_YZ = 2**31 - 1, 65535
_KERNELS: dict[tuple[str, str], CudaKernel] = {}  # by module and name


class Config(NamedTuple):
    """Size of one launch.

    Blocks along x, y, z, and threads in each block. Nothing is to be done if a size is 0.
    """

    grid: tuple[int, int, int]
    threads: int


class CudaKernel(Kernel):
    """A CUDA kernel before specialisation.

    `threads` of a block; `min_blocks` that a multiprocessor should hold at once; `contract`: a product and a
    sum may become one fused multiply-add, which rounds once.
    """

    def __init__(self, py: Any, grid: Callable[..., Any], threads: int, min_blocks: int, contract: bool):
        super().__init__(py, fastmath={"contract"} if contract else (), grid=grid)
        if threads % 32 or not 32 <= threads <= 1024:
            raise ValueError(
                f"kernel {self.name}: threads must be a multiple of 32 up to 1024, not {threads}."
            )
        names = list(self.params)
        unknown = [n for n in inspect.signature(grid).parameters if n not in self.params]
        if unknown:
            raise TypeError(f"kernel {self.name}: the launch rule asks for {unknown}, it has {names}.")
        self.threads, self.min_blocks = threads, min_blocks
        self._positions = [names.index(n) for n in inspect.signature(grid).parameters]
        package, _, module = py.__module__.rpartition(".")
        if package == __package__:
            _KERNELS[module, self.name] = self

    def address(self, *args: Any, **env: Any) -> int:
        """CUDA kernels have no address on the host: raises TypeError."""
        raise TypeError(f"{self.name} is a CUDA kernel; numtorch.cuda.runtime launches it.")

    def config(self, words: Sequence[Any]) -> Config:
        """The launch size for the words of a call. Raises ValueError for a grid that no GPU can launch."""
        assert self.grid is not None
        size = self.grid(*[words[i] for i in self._positions])
        grid = (size, 1, 1) if isinstance(size, int) else (*size, 1, 1)[:3]
        if grid[0] > MAX_X or max(grid[1:]) > MAX_YZ or min(grid) < 0:
            raise ValueError(
                f"kernel {self.name}: a grid of {grid} blocks is beyond {MAX_X, MAX_YZ, MAX_YZ}."
            )
        return Config(grid, self.threads)


def kernel(
    *, grid: Callable[..., Any], threads: int = 256, min_blocks: int = 1, contract: bool = True
) -> Callable[[Any], CudaKernel]:
    """Decorator for a CUDA kernel (see the module's docstring and CudaKernel).

    Wraps only; compiles nothing.
    """
    return lambda py: CudaKernel(py, grid, threads, min_blocks, contract)


def find(module: str, name: str) -> CudaKernel:
    """The kernel `name` of kernels/cuda/`module`.py. Raises LookupError where the CPU's kernel has no twin.

    Example: `find("softmax", "softmax_rows")`
    """
    known = _KERNELS.get((module, name))
    if known is not None:
        return known
    try:
        importlib.import_module(f"{__package__}.{module}")
        return _KERNELS[module, name]
    except (KeyError, ModuleNotFoundError) as error:
        raise LookupError(
            f"{module}.{name} has no CUDA kernel; move its tensors to the CPU with .cpu()."
        ) from error


def kernels() -> dict[tuple[str, str], CudaKernel]:
    """All kernels of the modules imported so far, by module and name."""
    return dict(_KERNELS)


def bound(function: FunctionType, name: str, /, **names: Any) -> FunctionType:
    """A copy of a module-level function, called `name`, that sees `names` in place of its globals."""
    code = function.__code__.replace(co_name=name, co_qualname=name)
    copy = FunctionType(code, {**function.__globals__, **names}, name, function.__defaults__)
    copy.__annotations__, copy.__doc__ = function.__annotations__, function.__doc__
    copy.__module__ = function.__module__
    return copy


def ceil_div(a: int, b: int) -> int:
    """a / b rounded up."""
    return -(-a // b)
