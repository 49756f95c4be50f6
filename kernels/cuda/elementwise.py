"""Fused elementwise kernels for CUDA, from the same programs as the CPU's (codegen.py): other loops, the same
statements.

    contiguous   block 0 | block 1 | ...      a thread loads a few groups of four elements, a block apart,
                 t0 t0 t0 t0 t1 t1 t1 t1 ..   then computes and stores: 16-byte accesses, loads first
    strided      t0 t1 t2 ...                 a thread finds its element by division (multiply and shift)

`plan(program, shape, strides)` says what to launch. No step is contracted with another one, so a fused
program gives the same bits as its steps alone.
"""

from __future__ import annotations

import ast
import math
from functools import cache
from typing import Any, NamedTuple

from .. import jit, scalar
from ..geometry import walk_of
from .launch import CudaKernel

THREADS = 256
STRIDED = 4  # elements of a thread of a strided kernel
MOST = 2**31 - 4096  # elements of one launch: element numbers are 32-bit
ENOUGH = 64  # instructions of an element after which more loads in flight gain nothing
LIGHT = frozenset(
    "ceil copysign exp exp2 floor isfinite isinf isnan log log2 maximum minimum round_even rsqrt sigmoid sign signbit"
    " sqrt tanh trunc".split()
)  # functions of few instructions on a GPU
_HEADER = """\
from math import inf, nan

from numpy import float32, float64, int8, int16, int32, int64, uint8, uint32, uint64

from numtorch.kernels.cuda.gpu import block, is_aligned, load4, store4, thread
from numtorch.kernels.cuda.launch import ceil_div, kernel
from numtorch.kernels.jit import S, T, device, f64, i64, pointer, real
from numtorch.kernels.memory import select
"""
_DIVIDE = """

@device
def _divide(i, multiplier, shift):
    high = uint32((uint64(i) * uint64(multiplier)) >> uint64(32))
    return uint32(uint32(high + i) >> uint32(shift))
"""


class Call(NamedTuple):
    """One launch of a program.

    Where each operand starts (in elements), and the words between pointers and scalars.
    """

    kernel: CudaKernel
    starts: tuple[int, ...]
    words: tuple[int, ...]


def plan(program: Any, shape: tuple[int, ...], strides: tuple[tuple[int, ...], ...]) -> list[Call]:
    """The launches of `program` over the broadcast `shape`; `strides` in elements for outputs, then inputs
    (0: broadcast).

    More than one where an operand has more elements than a launch can number.
    """
    walk = walk_of(shape, strides, program.uses_index)
    count = math.prod(walk.sizes)
    nothing = (0,) * len(strides)
    if count == 0:
        return []
    if walk.layout == "contiguous":
        words = (count, 0, 1) if program.uses_index else (count,)
        return [Call(contiguous(program), nothing, words)]
    return _slabs(program, walk.sizes, walk.steps, nothing, 0)


def _slabs(
    program: Any, sizes: tuple[int, ...], steps: tuple[tuple[int, ...], ...], starts: tuple, first: int
) -> list[Call]:
    """Strided launches; the outermost dimension is halved until a part is small enough."""
    if math.prod(sizes) <= MOST:
        found = Call(strided(program, len(sizes)), starts, _strided_words(program, sizes, steps, first))
        return [found]
    low = sizes[-1] // 2
    if low == 0:
        return _slabs(program, sizes[:-1], steps[:-1], starts, first)
    moved = tuple(s + low * step for s, step in zip(starts, steps[-1]))
    return [
        *_slabs(program, (*sizes[:-1], low), steps, starts, first),
        *_slabs(program, (*sizes[:-1], sizes[-1] - low), steps, moved, first + low * steps[-1][-1]),
    ]


def _strided_words(
    program: Any, sizes: tuple[int, ...], steps: tuple[tuple[int, ...], ...], first: int
) -> tuple[int, ...]:
    """n, (first index), size, multiplier and shift of each dimension but the last, steps of each operand (and
    the index)."""
    words = [math.prod(sizes)] + ([first] if program.uses_index else [])
    for size in sizes[:-1]:
        words += [size, *divisor(size)]
    for k in range(len(steps[0]) - (not program.uses_index)):
        words += [step[k] for step in steps]
    return tuple(words)


def divisor(d: int) -> tuple[int, int]:
    """(multiplier, shift) with i // d == (high 32 bits of i * multiplier, plus i) >> shift for 0 <= i <
    2**31.

    Granlund and Montgomery, Division by invariant integers using multiplication (1994).
    """
    shift = (d - 1).bit_length()
    return ((1 << 32) * ((1 << shift) - d)) // d + 1, shift


# ---- source -----------------------------------------------------------------------------------------------


@cache
def _contiguous(key: tuple, program: Same) -> CudaKernel:
    program = program.program
    # As many groups of four as keep eight loads in flight, unless there is enough to do meanwhile.
    unroll = max(1, min(4 // max(1, len(program.written.used)), ENOUGH // work(program.written)))
    per_block = 4 * THREADS * unroll
    pointers = [*(f"out{k}" for k in range(len(program.outputs))), *(f"in{k}" for k in program.written.used)]
    index = ["first: i64", "step: i64"] if program.uses_index else []
    aligned = " and ".join(f"is_aligned({p})" for p in pointers)
    body = [
        f"begin = int64(block()) * int64({per_block})",
        f"if begin + int64({per_block}) <= n and {aligned}:",
    ]
    body += ["    i = begin + int64(int32(thread() * int32(4)))"]
    groups = [f"i + int64({4 * THREADS * u})" if u else "i" for u in range(unroll)]
    for u, at in enumerate(groups):
        body += [f"    a{k}_{u} = load4(in{k}, {at})" for k in program.written.used]
    for u, at in enumerate(groups):
        for e in range(4):
            results = ", ".join(f"b{k}_{e}" for k in range(len(program.outputs)))
            body.append(
                f"    {results} = {call_of(program, f'a{{k}}_{u}[{e}]', f'first + ({at} + int64({e})) * step')}"
            )
        for k in range(len(program.outputs)):
            body.append(f"    store4(out{k}, {at}, {', '.join(f'b{k}_{e}' for e in range(4))})")
    results = ", ".join(f"out{k}[i]" for k in range(len(program.outputs)))
    body += [
        "else:",
        "    i = begin + int64(thread())",
        f"    end = min(n, begin + int64({per_block}))",
        "    while i < end:",
    ]
    body += [
        f"        {results} = {call_of(program, 'in{k}[i]', 'first + i * step')}",
        f"        i += int64({THREADS})",
    ]
    return _module(program, "_run", ["n: i64", *index], per_block, body)


@cache
def _strided(key: tuple, program: Same, rank: int) -> CudaKernel:
    program = program.program
    operands = [
        *(f"out{k}" for k in range(len(program.outputs))),
        *(f"in{k}" for k in range(len(program.inputs))),
    ]
    places = operands + (["index"] if program.uses_index else [])
    words = ["n: i64"] + (["first: i64"] if program.uses_index else [])
    words += [f"{w}{d}: i64" for d in range(rank - 1) for w in ("size", "multiplier", "shift")]
    words += [f"{p}_step{d}: i64" for p in places for d in range(rank)]
    body = [f"i = uint32(uint32(block()) * uint32({STRIDED * THREADS}) + uint32(thread()))"]
    body += ["end = uint32(n)", f"for _ in range({STRIDED}):", "    if i < end:", "        q0 = i"]
    for d in range(rank - 1):
        body.append(f"        q{d + 1} = _divide(q{d}, multiplier{d}, shift{d})")
        body.append(f"        p{d} = int64(uint32(q{d} - uint32(q{d + 1} * uint32(size{d}))))")
    body.append(f"        p{rank - 1} = int64(q{rank - 1})")
    for p in places:
        terms = " + ".join(f"p{d} * {p}_step{d}" for d in range(rank))
        body.append(
            f"        {'at_' if p in operands else ''}{p} = {'first + ' if p == 'index' else ''}{terms}"
        )
    results = ", ".join(f"out{k}[at_out{k}]" for k in range(len(program.outputs)))
    body.append(f"        {results} = {call_of(program, 'in{k}[at_in{k}]', 'index')}")
    body.append(f"    i = uint32(i + uint32({THREADS}))")
    return _module(program, f"_rank{rank}", words, STRIDED * THREADS, body)


def work(written: Any) -> int:
    """About how many instructions compute one element: a few are hidden by the memory's latency, many are not."""
    nodes = [n for line in written.lines for n in ast.walk(line.value)]
    names = [n.func.id for n in nodes if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
    loops = sum(200 for _, text in written.writer.helpers.values() if "for " in text or "while " in text)
    calls = sum(8 if name in LIGHT else 40 for name in names if name in scalar.FUNCTIONS)
    return 1 + sum(isinstance(n, (ast.BinOp, ast.Compare)) for n in nodes) + calls + loops


class Same:
    """A program in the arguments of a memoised function, where its key stands for it."""

    def __init__(self, program: Any):
        self.program = program

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same)

    def __hash__(self) -> int:
        return 0


def contiguous(program: Any) -> CudaKernel:
    """The kernel of a program for operands that are one unbroken run.

    Words: n (and first, step of the index).
    """
    return _contiguous(program.key, Same(program))


def strided(program: Any, rank: int) -> CudaKernel:
    """The kernel of a program for operands of any strides over `rank` dimensions.

    Words as _strided_words gives them.
    """
    return _strided(program.key, Same(program), rank)


def call_of(program: Any, load: str, index: str) -> str:
    """The call that computes one element from `load` (such as "in{k}[i]")."""
    args = [load.format(k=k) for k in program.written.used]
    args += [program.written.scalars[name] for name, _ in program.scalars]
    return f"_element({', '.join(args + ([index] if program.uses_index else []))})"


def _element(program: Any) -> str:
    """Source of the function that computes one element: the program's statements."""
    written = program.written
    params = [f"_v{k}" for k in written.used] + [written.scalars[name] for name, _ in program.scalars]
    rows = written.element("_v{k}", "_r{k}")
    rows.append(f"return {', '.join(f'_r{k}' for k in range(len(program.outputs)))}")
    text = "\n".join(f"    {row}" for row in rows)
    params += ["index"] if program.uses_index else []
    return f"\n\n@device\ndef _element({', '.join(params)}):\n{text}\n"


def _module(program: Any, suffix: str, words: list[str], per_block: int, body: list[str]) -> CudaKernel:
    """The kernel whose body is `body`, in a module with the program's element function."""
    operands = [(f"out{k}", d) for k, d in enumerate(program.outputs)]
    operands += [(f"in{k}", d) for k, d in enumerate(program.inputs)]
    params = [*(f"{name}: {d}_ptr" for name, d in operands), *words]
    return module(program, suffix, params, f"lambda n: ceil_div(n, {per_block})", body)


def module(program: Any, suffix: str, params: list[str], grid: str, body: list[str]) -> CudaKernel:
    """The kernel with these parameters (the program's numbers follow), launch rule and body, beside the element function."""
    written = program.written
    pointers = "".join(f'{d}_ptr = pointer("{d}")\n' for d in sorted({*program.outputs, *program.inputs}))
    params = [*params]
    for name, _ in program.scalars:
        dtype = written.writer.values[name].dtype
        note = "i64" if dtype == "int64" else "real" if dtype == written.env["T"] else "f64"
        params.append(f"{written.scalars[name]}: {note}")
    functions = sorted(written.writer.functions - {"inf", "nan", "select"})
    imports = f"from numtorch.kernels.scalar import {', '.join(functions)}\n" if functions else ""
    helpers = "".join(f"\n\n@device\n{text}\n" for _, text in written.writer.helpers.values())
    decorator = f"@kernel(grid={grid}, threads={THREADS}, contract=False)"
    rows = "\n".join(f"    {row}" for row in body)
    title = written.title + suffix
    text = f"{_HEADER}{imports}\n{pointers}{_DIVIDE}{helpers}{_element(program)}"
    made = jit.from_source(f"{text}\n\n{decorator}\ndef {title}({', '.join(params)}):\n{rows}\n", title)
    assert isinstance(made, CudaKernel)
    return made
