"""Layouts of elementwise calls that have kernels of their own, besides "contiguous" and the walker's "strided".

    "once 4 5"   all is contiguous but inputs 4 and 5, single elements that are read before the loop (Adam's step size)
    "rows vvc"   rows of vectors: each output and input v runs along its memory from any start (a bias: the same at each
                 row), each input c is one element a row (a row's factor)
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from .geometry import collapse, walk_of

LEAST_OPERANDS = 4  # of a program: for fewer the walker is about as quick, and a kernel less to compile
LEAST_COLUMNS = 32  # of a row
Strides = Sequence[tuple[int, ...]]


def special(shape: tuple[int, ...], strides: Strides, outputs: int) -> tuple[str, tuple[int, ...]] | None:
    """The layout of a call, and its words; None where the ordinary ones serve."""
    if len(strides) < LEAST_OPERANDS or prod(shape) < 2:
        return None
    once = [k for k, s in enumerate(strides) if k >= outputs and not any(st for n, st in zip(shape, s) if n > 1)]
    rest = tuple(s for k, s in enumerate(strides) if k not in once)
    if walk_of(shape, rest).layout == "contiguous":
        return (f"once {' '.join(str(k - outputs) for k in once)}", (prod(shape),)) if once else None
    sizes, steps = collapse(shape, strides)
    if len(sizes) != 2 or sizes[0] < LEAST_COLUMNS or any(s != 1 for s in steps[0][:outputs]):
        return None
    inputs = steps[0][outputs:]
    if any(s not in (0, 1) for s in inputs):
        return None
    return f"rows {''.join('cv'[s] for s in inputs)}", (sizes[1], sizes[0], *steps[1])


def rows_kernel(written: Any, kinds: str) -> list[str]:
    """The lines of a "rows" kernel, and of the function for one row; `kinds`: v or c for each input."""
    program, names = written.program, list(written.scalars.values())
    outputs = range(len(program.outputs))
    steps = [f"p{k}" for k in outputs] + [f"q{k}" for k in range(len(kinds))]
    vectors = [k for k in written.used if kinds[k] == "v"]
    single = [k for k in written.used if kinds[k] == "c"]
    given = [f"a{k}" for k in outputs] + [f"b{k}" for k in vectors] + [f"x{k}" for k in single] + names + ["cols"]
    passed = [f"offset(out{k}, row * p{k})" for k in outputs] + [f"offset(in{k}, row * q{k})" for k in vectors]
    return [
        "@device(inline=False, fastmath=())",
        f"def one_row({', '.join(given)}):",
        "    apart()",
        "    for i in range(cols):",
        *("        " + line for line in written.element("b{k}[i]", "a{k}[i]", tuple(single))),
        "    independent()",
        "",
        "",
        written.signature([f"{name}: i64" for name in ("rows", "cols", *steps)]),
        "    lo, hi = split(rows, chunk, nchunks)",
        "    for row in range(lo, hi):",
        *("        " + line for line in written.loads(single, "in{k}[row * q{k}]")),
        f"        one_row({', '.join([*passed, *given[len(passed) :]])})",
    ]
