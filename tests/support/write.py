"""Write numtorch/SUPPORT.md: every public function with its kernels, dtypes and derivatives; modules, optimizers, schedulers.

    python tests/support/write.py          # rewrite the page

The page follows from the declarations. Each function is called once for each dtype on a few elements, with launches noted
instead of run (nothing is compiled): what it launches, which dtypes it accepts and how often its gradient can be taken is
written down. What numtorch refuses is read from the `raise NotImplementedError` and `refuse(...)` of its source.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import inspect
import pathlib
import re
import sys
import types
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numtorch as torch
from numtorch import absent
from numtorch._interpret import Interpreter
from numtorch.autograd import mode
from numtorch.ops.host import HostOp
from numtorch.ops.inplace import Underivable

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from samples import BY_NAME, CALLS, SKIP, Names

FOLDER = pathlib.Path(torch.__file__).parent
TARGET = FOLDER / "SUPPORT.md"
MODULES = ("", "nn.functional", "linalg", "special", "fft", "signal.windows")
DTYPES = {"float32": "float32", "float64": "float64", "float16": "float16", "bfloat16": "bfloat16", "int64": "integers", "bool": "bool"}
OWN_PLANS = ("matmul", "conv")  # a GPU has other kernels for these, in files of the same names
ABSTRACT = re.compile(r"\{type\(self\)|\{kind|\{self.title\}|Module \[|Subclasses|You must|initialize_parameters")  # for whoever derives a class
RUN = ("any", "all", "min_", "max_", "sum_", "index_range")  # kernels whose results are read as conditions


class Noting(Interpreter):
    """Notes what would be launched. Conditions and integers are computed; other results are 0."""

    def __init__(self) -> None:
        self.elementwise_ops: list[str] = []
        self.kernels: list[tuple[str, str]] = []
        self.host: list[str] = []

    def launches(self, launches: Any) -> None:
        for la in launches:
            kernel = la.kernel
            self.kernels.append(kernel if type(kernel) is tuple else (kernel.py.__module__.rpartition(".")[2], kernel.name))
            if self.kernels[-1][1].startswith(RUN):
                super().launches([la])

    def elementwise(self, op: Any, plan: Any, outputs: Any, args: Any) -> None:
        self.elementwise_ops.append(op.name)
        if not outputs[0].dtype.is_floating_point:
            super().elementwise(op, plan, outputs, args)

    def poison(self, storage: Any, dtype: Any) -> None:
        storage.bytes()[:] = (b"\1" if dtype is torch.bool else b"\0") * storage.nbytes


@contextlib.contextmanager
def noting() -> Iterator[Noting]:
    """Note the launches of a block."""
    found, run = Noting(), HostOp.run
    HostOp.run = lambda op, outputs, inputs, attrs: found.host.append(op.name)  # type: ignore[method-assign]
    mode.set_interpreter(found)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield found
    finally:
        mode.set_interpreter(None)
        HostOp.run = run  # type: ignore[method-assign]


class Probed(NamedTuple):
    """What one call has shown."""

    noted: Noting
    view: bool
    order: str  # how often a gradient can be taken
    tensor: bool


def tensors(result: Any) -> list[Any]:
    """The tensors of a result."""
    if isinstance(result, torch.Tensor):
        return [result]
    return [t for r in result for t in tensors(r)] if isinstance(result, (tuple, list)) else []


def text_of_call(module: str, name: str, function: Any) -> str:
    """The sample call of a function."""
    for words, text in CALLS.items():
        if f"{module}.{name}" in words.split():
            return text
    for words, text in CALLS.items():
        if name in words.split() or f"{module}.*" in words.split():
            return text
    parameters = getattr(function, "params", None)
    if parameters is None:
        found = inspect.signature(function).parameters.values()
        parameters = [p.name for p in found if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    else:
        parameters = [p for p in parameters if p not in function.defaults]
    if parameters == []:
        parameters = ["tensors"] if "tensors" in inspect.signature(function).parameters else ["input"]
    return f"f({', '.join(BY_NAME[p] for p in parameters)})"


def probe(text: str, function: Any, dtype: str) -> Probed:
    """Call a function for a dtype; raises what it raises."""
    names = Names(getattr(torch, dtype))
    names["f"] = function
    with noting() as noted:
        found = tensors(eval(text, {}, names))
        memory = {id(t._storage) for t in names.leaves}
        view = bool(found) and all(id(t._storage) in memory for t in found) and not noted.elementwise_ops
        forward = Noting()
        forward.elementwise_ops, forward.kernels, forward.host = list(noted.elementwise_ops), list(noted.kernels), list(noted.host)
        return Probed(forward, view, order(found, names.leaves) if dtype == "float32" else "-", bool(found))


def order(results: list[Any], leaves: list[Any]) -> str:
    """How often gradients of results can be taken: "-", "1" or "any"."""
    wanted = [t for t in results if t.requires_grad]
    if not wanted:
        return "-"
    if any(isinstance(t.grad_fn, Underivable) for t in wanted):
        return "-"
    firsts = torch.autograd.grad(wanted, leaves, [torch.zeros_like(t) for t in wanted], create_graph=True, allow_unused=True)
    again = [g for g in firsts if g is not None and g.requires_grad]
    try:
        if again:
            torch.autograd.grad(again, leaves, [torch.zeros_like(t) for t in again], allow_unused=True)
    except (RuntimeError, NotImplementedError):
        return "1"
    return "any"


# -- rows


def functions(module: str) -> dict[str, Any]:
    """The public functions of a module by name, in-place forms left out."""
    found = importlib.import_module(f"numtorch.{module}".rstrip("."))
    names = getattr(found, "__all__", None) or {*dir(found), *(torch._LATER if not module else ())}
    result = {}
    for name in sorted(names):
        value = getattr(found, name, None)
        home = getattr(value, "__module__", "") or ""
        helper = home in ("numtorch.errors", "numtorch.shape", "numtorch.creation", "numtorch.ops.host") and module
        kept = callable(value) and not isinstance(value, (type, types.ModuleType)) and home.startswith("numtorch") and not helper
        if kept and not name.startswith("_") and not name.endswith("_") and name not in SKIP:
            result[name] = value
    return result


def accepted(found: dict[str, Probed]) -> str:
    """Dtypes in few words."""
    if len(found) == len(DTYPES):
        return "all"
    words = [word for dtype, word in DTYPES.items() if dtype in found]
    return ", ".join(words).replace("float32, float64, float16, bfloat16", "floats")


def made_of(p: Probed) -> str:
    """What runs, in few words."""
    noted = p.noted
    names = list(dict.fromkeys(noted.elementwise_ops))
    kernels = list(dict.fromkeys(f"{m}.{n}" for m, n in noted.kernels))
    if noted.host:
        return "NumPy: " + ", ".join(dict.fromkeys(noted.host))
    if p.view:
        return "view"
    if not kernels:
        return "fused" if len(names) <= 1 else f"fused, {len(names)} ops"
    shown = ", ".join(kernels[:3]) + (", ..." if len(kernels) > 3 else "")
    return shown + (" + fused" if names else "")


def on_gpu(p: Probed) -> str:
    """Whether each kernel has a twin for CUDA."""
    from numtorch.cuda.runtime import twin

    missing = []
    for kernel in dict.fromkeys(p.noted.kernels):
        try:
            planned = kernel[0] in OWN_PLANS or twin(kernel)
        except NotImplementedError:
            planned = None
        if planned is None:
            missing.append(".".join(kernel))
    if missing:
        return "no " + ", ".join(missing)
    return "on the host" if p.noted.host else "yes"


_cells: dict[int, str] = {}  # of functions, which may be in several modules


def cells(module: str, name: str, function: Any) -> str:
    """What is to be said of a function."""
    text = text_of_call(module, name, function)
    found, failed = {}, {}
    for dtype in DTYPES:
        try:
            found[dtype] = probe(text, function, dtype)
        except Exception as error:
            failed[dtype] = error
    if not found:
        raise RuntimeError(
            f"called as {text}, which fails for each dtype: {failed['float32']}"
        ) from failed["float32"]
    first = found.get("float32") or next(iter(found.values()))
    if not first.tensor:
        return ""  # a question about tensors
    trace = "no" if first.noted.host else "yes"
    return " | ".join((made_of(first), accepted(found), first.order, trace, on_gpu(first)))


def table(module: str) -> list[str]:
    """The lines of a module's functions; other names of one function share a line."""
    together: dict[int, tuple[Any, list[str]]] = {}
    for name, function in functions(module).items():
        together.setdefault(id(function), (function, []))[1].append(name)
    missing = []
    for key, (function, names) in together.items():
        try:
            if key not in _cells:
                _cells[key] = cells(module, names[0], function)
        except (RuntimeError, KeyError) as error:
            missing.append(f"{module}.{names[0]}: {error}")
    if missing:
        raise RuntimeError("tests/support/samples.py has no good call for " + "\n".join(missing))
    lines = [f"| {', '.join(names)} | {_cells[key]} |" for key, (_, names) in together.items() if _cells[key]]
    return ["| function | runs | dtypes | derivatives | traced | cuda |", "|---|---|---|---|---|---|", *lines]


# -- classes


def classes(module: str, base: type) -> list[str]:
    """The public classes of a module that are of a kind."""
    found = importlib.import_module(f"numtorch.{module}")
    return sorted(n for n, v in vars(found).items() if isinstance(v, type) and issubclass(v, base) and v is not base and n[0] != "_")


def named(names: list[str]) -> str:
    return ", ".join(names)


def optimizers() -> list[str]:
    """A line for each optimizer with the options it takes."""
    lines = ["| optimizer | options |", "|---|---|"]
    for name in classes("optim", torch.optim.Optimizer):
        options = [p for p in inspect.signature(getattr(torch.optim, name)).parameters if p != "params"]
        lines.append(f"| {name} | {', '.join(options)} |")
    return lines


# -- what is refused


def messages(kinds: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """(file, message) of each `raise NotImplementedError(...)` or `x.refuse(...)` in the sources."""
    for path in sorted(FOLDER.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            call = node.exc if isinstance(node, ast.Raise) else node
            if not isinstance(call, ast.Call) or not call.args:
                continue
            if ast.unparse(call.func) in kinds and isinstance(call.args[0], (ast.Constant, ast.JoinedStr)):
                text = written(call.args[0])
                if not ABSTRACT.match(text):
                    yield path.relative_to(FOLDER).as_posix(), text


def written(node: ast.expr) -> str:
    """A message as the source has it, with `{...}` for what it fills in."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    assert isinstance(node, ast.JoinedStr)
    return "".join(str(v.value) if isinstance(v, ast.Constant) else f"{{{ast.unparse(v.value)}}}" for v in node.values)  # type: ignore[attr-defined]


def refusals(*kinds: str) -> list[str]:
    return [f"- {text} ({file})" for file, text in sorted(set(messages(kinds)))]


HEAD = """\
# What numtorch supports

Generated by `make support` from the declarations, by calling each function on a few elements; a test fails when it is stale.

- *runs*: `fused` operations are scalar bodies, which traces join into one kernel; `view` copies nothing; otherwise the kernels of
  [kernels/](../kernels) by file and name, `+ fused` where elementwise operations are beside them; `NumPy` computes on the host.
- *dtypes*: floats are float32, float64, and float16 and bfloat16 (computed in float32); integers are uint8 and int8 to int64.
- *derivatives*: `any` number of times, once, or `-` for none (also where the result is constant or not floating).
- *traced*: whether `jit.trace` can record it. *cuda*: every kernel has its twin for a GPU.
"""


def page() -> str:
    """The whole page."""
    lines = [HEAD]
    for module in MODULES:
        lines += [f"## numtorch{'.' if module else ''}{module}", "", *table(module), ""]
    lines += ["## Modules", "", named(classes("nn", torch.nn.Module)), "", "## Optimizers", "", *optimizers(), ""]
    lines += ["## Schedulers", "", named(classes("optim.lr_scheduler", torch.optim.lr_scheduler.LRScheduler)), ""]
    lines += ["## Distributions", "", named(classes("distributions", torch.distributions.Distribution)), ""]
    lines += ["## What raises NotImplementedError", "", *refusals("NotImplementedError"), ""]
    lines += ["## What a trace refuses", "", *refusals("state.recorder.refuse"), ""]
    lines += ["## What there is not", "", *[f"- {', '.join(names.split())}: {why}" for names, why in absent.AREAS], ""]
    return "\n".join(lines)


if __name__ == "__main__":
    TARGET.write_text(page())
