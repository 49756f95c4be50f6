"""Generator of fused elementwise kernels: a program of scalar bodies becomes the text of one kernel.

    program = Program(
        inputs=["float32", "float32"], scalars=[("alpha", "real")], outputs=["float32"],
        steps=[Step(scaled_add, ("x0", "x1", "alpha"), ("t",), "float32"), Step(tanh, ("t",), ("y0",),
        "float32")],
    )
    layout, words = program.words(shape, strides)               # strides: outputs, then inputs
    launch(program.kernel(layout).address(), nchunks, *output_pointers, *input_pointers, *words, *scalars)

Layouts are "contiguous", "strided" (any strides, through the walker of cpu/elementwise.py), and those of layouts.py.

Inputs are called x0, x1, ..., outputs y0, y1, ...; a step reads inputs, scalars, outputs of earlier steps,
numbers, and `index` (the element's number in the broadcast shape). Steps are rounded one by one: no operation
of one step is contracted with one of another, so a fused program gives the same bits as its steps alone.
"""

from __future__ import annotations

import ast
import builtins
import keyword
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from . import jit, scalar
from .bodies import Body, BodyError, body_of
from .cpu import elementwise
from .expressions import Writer
from .geometry import Walk, intern, walk_of
from .layouts import rows_kernel, special
from .values import FLOATS, STORED, Value, name_of

__all__ = ["Body", "BodyError", "Bound", "Program", "Step", "Walk", "body_of", "walk_of"]

DTYPES = ("float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
ITEMSIZES = dict(zip(DTYPES, (4, 8, 2, 2, 8, 4, 2, 1, 1, 1)))
_POINTERS = {
    "float32": "f32_ptr",
    "float64": "f64_ptr",
    "int64": "i64_ptr",
    "int32": "i32_ptr",
    "uint8": "u8_ptr",
    "bool": "u8_ptr",
}
# Names that the text uses itself; a scalar of such a name gets an underscore.
_RESERVED = frozenset(
    "n i row rows cols one_row apart lo hi split offset chunk nchunks index first step T S inf nan select start independent kernel device pointer real i64 f64 "
    "range min max abs bool int64 int32 int16 int8 uint8 float32 float64".split()
)
_IMPORTS = {
    "apart": ("apart",),
    "math": ("inf", "nan"),
    "numpy": ("float32", "float64", "int16", "int32", "int64", "int8", "uint8"),
    "jit": (
        "S", "S_ptr", "T", "T_ptr", "device", "f32_ptr", "f64", "f64_ptr", "i32_ptr", "i64", "i64_ptr",
        "kernel", "pointer", "real", "u8_ptr",
    ),
    "loops": ("independent", "start"),
    "memory": ("offset", "select", "split"),
}  # fmt: skip


@dataclass(frozen=True)
class Step:
    """One op of a program: `outs = body(args)` computed in `compute_dtype`; only result number `component` if
    given."""

    body: Callable[..., Any]
    args: tuple[Any, ...]
    outs: tuple[str, ...]
    compute_dtype: str
    component: int | None = None


class Bound:
    """A kernel with the dtypes of its program: `address()`, `kernel` (the door's object), `env` (T and S),
    `text`.

    Strided programs share one walker (cpu/elementwise.py): their `address()` is its entry, and the table that
    `Program.words` names leads to this kernel.
    """

    __slots__ = ("env", "kernel", "operands", "text")

    def __init__(self, kernel: jit.Kernel, env: dict[str, str], text: str, operands: int = 0):
        self.kernel, self.env, self.text, self.operands = kernel, env, text, operands

    def address(self) -> int:
        """Address to launch; compiled or loaded at the first call."""
        if self.operands:
            return elementwise.entry(self.operands)
        return self.kernel.address(**self.env)

    def __repr__(self) -> str:
        return f"<{'strided ' if self.operands else ''}{self.kernel!r} for {self.env}>"


class Program:
    """A fused elementwise computation; see the module's docstring. Equal programs share their kernels.

    Raises TypeError for unknown dtypes and (as BodyError, when the kernel is written) for bodies that no
    kernel can hold.
    """

    def __init__(
        self,
        inputs: Sequence[str],
        scalars: Sequence[tuple[str, str]],
        outputs: Sequence[str],
        steps: Sequence[Step],
    ):
        self.inputs, self.outputs, self.steps = tuple(inputs), tuple(outputs), tuple(steps)
        self.scalars = tuple((name, kind) for name, kind in scalars)
        for dtype in (*self.inputs, *self.outputs, *(s.compute_dtype for s in self.steps)):
            if dtype not in DTYPES:
                raise TypeError(f"Program: unknown dtype {dtype!r}; kernels know {', '.join(DTYPES)}.")
        for name, kind in self.scalars:
            if kind not in ("real", "i64"):
                raise TypeError(
                    f"Program: scalar {name!r} has the kind {kind!r}; it must be 'real' or 'i64'."
                )
        self.uses_index = any("index" in s.args for s in self.steps) and "index" not in dict(self.scalars)
        self._written: _Written | None = None
        self._kernels: dict[str, Bound] = {}
        self._words: dict[tuple, tuple[str, tuple[int, ...]]] = {}

    @property
    def key(self) -> tuple:
        """Equal for programs that are the same computation."""
        return (self.inputs, self.scalars, self.outputs, self.steps)

    def kernel(self, layout: str = "contiguous") -> Bound:
        """The kernel for a layout, as `words` names it. Memoised."""
        found = self._kernels.get(layout)
        if found is None:
            if layout.split()[0] not in ("contiguous", "strided", "once", "rows"):
                raise ValueError(f"Program.kernel: layout must be 'contiguous' or 'strided', got {layout!r}.")
            found = _KERNELS.get((self.key, layout))
            if found is None:
                written = self.written
                operands = len(self.outputs) + len(self.inputs) if layout == "strided" else 0
                text = written.text_of(layout)
                made = jit.from_source(text, written.title)
                found = _KERNELS[self.key, layout] = Bound(made, written.env, text, operands)
            self._kernels[layout] = found
        return found

    def words(
        self, shape: tuple[int, ...], strides: tuple[tuple[int, ...], ...]
    ) -> tuple[str, tuple[int, ...]]:
        """The layout, and the words that stand between a call's pointers and its scalars.

        `shape`: the broadcast shape; `strides`: for each operand, outputs first, its element strides in that
        shape (0 where it is broadcast). The word of a strided layout is the address of a table that lives as
        long as the process, and means nothing in another one. Memoised. Raises ValueError for strides of
        another rank.
        """
        key = (shape, strides)
        found = self._words.get(key)
        if found is None:
            if len(self._words) >= 16384:
                self._words.clear()
            found = None if self.uses_index else special(shape, strides, len(self.outputs))
            if found is None:
                found = self._lay_out(walk_of(shape, strides, self.uses_index, self.is_copy))
            self._words[key] = found
        return found

    def _lay_out(self, walk: Walk) -> tuple[str, tuple[int, ...]]:
        if walk.layout == "contiguous":
            return "contiguous", (walk.sizes[0], 0, 1) if self.uses_index else (walk.sizes[0],)
        sizes = [ITEMSIZES[d] for d in (*self.outputs, *self.inputs)]
        kernel = 0 if self.is_copy else self.kernel().address()
        head = elementwise.head(kernel, len(self.outputs), len(sizes), self.uses_index, len(self.scalars))
        movers = [elementwise.mover(size) for size in sizes]
        return "strided", (intern((*head, *walk.geometry(movers, sizes))),)

    @property
    def is_copy(self) -> bool:
        """Whether the program copies its only input to its only output, dtype and all."""
        return self.inputs == self.outputs and len(self.inputs) == 1 and self.written.is_copy

    @property
    def text(self) -> str:
        """Source of the module that holds the kernel."""
        return self.written.text

    @property
    def written(self) -> _Written:
        """The program's statements and the kernels made of them."""
        if self._written is None:
            found = _WRITTEN.get(self.key)
            if found is None:
                found = _WRITTEN[self.key] = _Written(self)
            self._written = found
        return self._written

    def __repr__(self) -> str:
        steps = "; ".join(
            f"{', '.join(s.outs)} = {body_of(s.body).name}({', '.join(map(str, s.args))})" for s in self.steps
        )
        return f"<program {', '.join(self.inputs)} -> {', '.join(self.outputs)}: {steps}>"


_KERNELS: dict[Any, Bound] = {}
_WRITTEN: dict[Any, Any] = {}


def _computed(dtype: str) -> str:
    """The dtype of numbers in registers."""
    return "float32" if dtype in STORED else dtype


def _main_types(program: Program) -> dict[str, str]:
    """How each dtype is written: the main one T, a second one S, others by NumPy's name; bool is stored as
    uint8."""
    order = [s.compute_dtype for s in program.steps if s.compute_dtype in (*FLOATS, *STORED)]
    order += [*program.outputs, *program.inputs, *(s.compute_dtype for s in program.steps)]
    distinct = [d for d in dict.fromkeys(_computed(d) for d in order) if d != "bool"]
    return {d: d for d in DTYPES} | {dtype: short for short, dtype in zip("TS", distinct)}


class _Written:
    """The statements of a program, and the text of its kernels."""

    def __init__(self, program: Program):
        self.program = program
        self.types = _main_types(program)
        self.env = {short: dtype for dtype, short in self.types.items() if short in ("T", "S")} or {
            "T": "uint8"
        }
        self.scalars = {name: _parameter_name(name) for name, _ in program.scalars}
        self.writer = Writer(self.types)
        self._declare()
        for step in program.steps:
            self.writer.step(
                body_of(step.body), tuple(step.args), tuple(step.outs), step.compute_dtype, step.component
            )
        self.stores = [self._store(k, dtype) for k, dtype in enumerate(program.outputs)]
        self.lines = self.writer.live_lines(self.stores)
        read = {n.id for line in self.lines for n in ast.walk(line.value) if isinstance(n, ast.Name)}
        read |= {n.id for s in self.stores for n in ast.walk(s) if isinstance(n, ast.Name)}
        self.used = [k for k in range(len(program.inputs)) if f"x{k}" in read]
        self.is_copy = [str(line) for line in self.lines] == ["y0 = x0"]
        self.title = _title(program, self.writer.taken)

    def _declare(self) -> None:
        """Name the values that exist before the first step."""
        writer, program = self.writer, self.program
        count = len(program.inputs)
        writer.taken |= _RESERVED | {
            f"{p}{k}"
            for p in ("in", "out", "p", "q", "a", "b")
            for k in range(max(count, len(program.outputs)))
        }
        writer.taken |= (
            set(self.scalars.values()) | set(self.types.values()) | {f"x{k}" for k in range(count)}
        )
        for k, dtype in enumerate(program.inputs):
            writer.values[f"x{k}"] = Value(name_of(f"x{k}"), _computed(dtype))
            if dtype in STORED:
                writer.narrow[f"x{k}"] = dtype
                writer.functions.add(STORED[dtype][0])
        for name, kind in program.scalars:
            writer.values[name] = Value(name_of(self.scalars[name]), self._scalar_dtype(kind))
        if program.uses_index:
            writer.values["index"] = Value(name_of("index"), "int64")

    def _scalar_dtype(self, kind: str) -> str:
        if kind == "i64":
            return "int64"
        only = {_computed(s.compute_dtype) for s in self.program.steps}
        return self.env["T"] if self.env["T"] in FLOATS and only == {self.env["T"]} else "float64"

    def _store(self, k: int, dtype: str) -> ast.expr:
        if f"y{k}" not in self.writer.values:
            raise BodyError(f"no step defines the output y{k}; name it in the outs of a step.")
        return self.writer.store(f"y{k}", dtype)

    # -- text

    @cached_property
    def text(self) -> str:
        """Source of the whole module."""
        return self.text_of("contiguous")

    def text_of(self, layout: str) -> str:
        """The same for the kernel of a layout."""
        kind, *rest = layout.split()
        body = "\n".join(rows_kernel(self, *rest) if kind == "rows" else self._kernel(tuple(map(int, rest))))
        helpers = "".join(f"\n\n@device\n{text}\n" for _, text in self.writer.helpers.values())
        return f"{self._imports(body + helpers)}\n{helpers}\n\n{body}\n"

    def _imports(self, body: str) -> str:
        words = set(re.findall(r"[A-Za-z_]\w*", body))
        rows = []
        for module, names in (
            *_IMPORTS.items(),
            ("scalar", sorted(self.writer.functions - {"inf", "nan", "select"})),
        ):
            wanted = [n for n in names if n in words]
            if wanted:
                package = "" if module in ("math", "numpy") else f"{__package__}."
                rows.append(f"from {package}{module} import {', '.join(wanted)}")
        return "\n".join(rows)

    def _pointer(self, dtype: str) -> str:
        short = self.types[dtype]
        if dtype != "bool" and short in ("T", "S"):
            return f"{short}_ptr"
        return _POINTERS.get(dtype) or f'pointer("{dtype}")'

    def signature(self, sizes: Sequence[str]) -> str:
        """The kernel's first lines; `sizes`: its parameters between pointers and scalars."""
        program = self.program
        params = [f"out{k}: {self._pointer(d)}" for k, d in enumerate(program.outputs)]
        params += [f"in{k}: {self._pointer(d)}" for k, d in enumerate(program.inputs)]
        params += sizes
        for name, kind in program.scalars:
            note = "i64" if kind == "i64" else "real" if self._scalar_dtype(kind) == self.env["T"] else "f64"
            params.append(f"{self.scalars[name]}: {note}")
        return f"@kernel(fastmath=())\ndef {self.title}({', '.join(params)}, chunk: i64, nchunks: i64):"

    def loads(self, numbers: Iterable[int], load: str) -> list[str]:
        """Statements that read these inputs, each as x with its number."""
        form = {"bool": "{} != 0"} | {dtype: f"{read}({{}})" for dtype, (read, _) in STORED.items()}
        return [f"x{k} = {form.get(self.program.inputs[k], '{}').format(load.format(k=k))}" for k in numbers]

    def element(self, load: str, store: str, once: tuple[int, ...] = ()) -> list[str]:
        """Loads (but those of `once`), statements and stores of one element. `load`, `store`: as "in{k}[i]", "out{k}[i]"."""
        rows = self.loads([k for k in self.used if k not in once], load)
        step = None
        for line in self.lines:
            if line.step != step:
                step = line.step
                rows.append(f"# {self.writer.comments[step]}")
            rows.append(str(line))
        return rows + [f"{store.format(k=k)} = {ast.unparse(s)}" for k, s in enumerate(self.stores)]

    def _kernel(self, once: tuple[int, ...]) -> list[str]:
        rows = [
            self.signature(["n: i64", "first: i64", "step: i64"] if self.program.uses_index else ["n: i64"]),
            *("    " + row for row in self.loads([k for k in self.used if k in once], "in{k}[0]")),
            "    for i in range(start(n, chunk, nchunks), start(n, chunk + 1, nchunks)):",
        ]
        rows += ["        index = first + i * step"] if self.program.uses_index else []
        return [
            *rows,
            *("        " + row for row in self.element("in{k}[i]", "out{k}[i]", once)),
            "    independent()",
        ]


def _parameter_name(name: str) -> str:
    safe = re.sub(r"\W", "_", name)
    taken = safe in _RESERVED or safe in scalar.FUNCTIONS or re.fullmatch(r"(in|out|[abpqxy])\d+", safe)
    return f"{safe}_" if taken else safe


def _title(program: Program, taken: set[str]) -> str:
    """A name for the kernel: its ops, the first ones when there are many."""
    names = [re.sub(r"\W", "_", body_of(s.body).name) for s in program.steps]
    short = "_".join(names[:4]) + (f"_and_{len(names) - 4}_more" if len(names) > 4 else "")
    return (
        short
        if short.isidentifier()
        and not keyword.iskeyword(short)
        and short not in taken | set(scalar.FUNCTIONS) | set(dir(builtins))
        else f"{short}_kernel"
    )
