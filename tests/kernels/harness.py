"""One-line kernel runs for tests: `run(scale_rows, y, x, 3, 4, 2.0)` (chunk and nchunks are not given)."""

from __future__ import annotations

from typing import Any

import numpy as np

from numtorch.kernels import interpret
from numtorch.kernels.binding import SCALARS, Placeholder
from numtorch.kernels.driver import launch
from numtorch.kernels.jit import Kernel, Parameter


def run(kernel: Kernel, *args: Any, T: str | None = None, S: str | None = None, nchunks: int = 1,
        interpreted: bool = False, **more: Any) -> None:  # fmt: skip
    """Run `kernel` on NumPy arrays (where it takes pointers) and numbers, checked against its annotations.

    T and S default to the dtype of the first array passed as T_ptr and S_ptr. `interpreted` runs the plain
    Python instead, on checked pointers. Raises AssertionError for a wrong count, dtype, layout or kind of
    argument.
    """
    params = list(kernel.params.items())[:-2]
    assert len(params) == len(args), (
        f"{kernel.name} takes {[name for name, _ in params]}, got {len(args)} arguments"
    )
    env = {"T": T, "S": S, **more}
    for (_, param), arg in zip(params, args):
        if (
            isinstance(param.dtype, Placeholder)
            and isinstance(arg, np.ndarray)
            and env.get(param.dtype.name) is None
        ):
            env[param.dtype.name] = arg.dtype.name
    env["T"] = env["T"] or "float32"
    for (name, param), arg in zip(params, args):
        _check(f"{kernel.name}: {name}", param, arg, env)
    if interpreted:
        plain = interpret.bind(kernel, **env)
        cells = [_plain(param, arg, env) for (_, param), arg in zip(params, args)]
        for chunk in range(nchunks):
            plain(*cells, chunk, nchunks)
    else:
        launch(
            kernel.address(**env), nchunks, *(a.ctypes.data if isinstance(a, np.ndarray) else a for a in args)
        )


def _scalar(param: Parameter, env: dict[str, Any]) -> Any:
    name = param.dtype if isinstance(param.dtype, str) else env[param.dtype.name]
    return SCALARS[name]


def _check(where: str, param: Parameter, arg: Any, env: dict[str, Any]) -> None:
    if param.kind == "pointer":
        assert isinstance(arg, np.ndarray) or arg == 0, (
            f"{where} is a pointer: pass an array (or 0), got {arg!r}"
        )
        if isinstance(arg, np.ndarray):
            wanted, found = (
                np.dtype(_scalar(param, env)),
                arg.view(np.uint8).dtype if arg.dtype == bool else arg.dtype,
            )
            found = np.dtype(np.uint16) if found == np.float16 else found
            assert found == wanted, f"{where} points to {wanted}, got an array of {arg.dtype}"
            assert arg.flags.c_contiguous, f"{where} must be contiguous"
    elif param.kind == "int":
        assert type(arg) in (int, bool), f"{where} must be an int, got {arg!r}"
    else:
        assert type(arg) is float, f"{where} must be a float, got {arg!r}"


def _plain(param: Parameter, arg: Any, env: dict[str, Any]) -> Any:
    if param.kind == "pointer":
        return interpret.Pointer(arg.view(_scalar(param, env))) if isinstance(arg, np.ndarray) else 0
    return _scalar(param, env)(arg)
