"""``traced.code``: a recording as Python source that a person can read, change and run.

The source is a function of the inputs and of ``captured``, a dict of the tensors it uses by name. Elementwise ops and their
derivatives are written with public functions; other ops by their name in ``numtorch.ops.TABLE``. It gives what the replay
gives: exactly, except where a derivative or an update rule, one kernel in the replay, is several ops here (some units in the
last place).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from .._tensor import Tensor
from ..dtype import dtype
from ..shape import Layout, contiguous
from .formulas import Helpers
from .listing import short
from .names import Names, all_refs, identifier, module_tensors, optimizer_tensors
from .path import Path, Virtual
from .record import Entry, Live, RangeCheck, Ref, ref
from .tree import Leaf
from .viewing import view_text


class Code(str):
    """Source text; ``captured`` and ``numbers`` are what it needs, ``function()`` compiles it."""

    path: Path
    name: str
    captured: dict[str, Any]
    numbers: dict[str, Any]

    def __new__(cls, path: Path, name: str) -> Code:
        writer = _Writer(path, identifier(name.strip("<>")))
        self = super().__new__(cls, writer.text())
        self.path, self.name = path, writer.name
        self.captured, self.numbers = writer.captured, writer.numbers
        return self

    def function(self) -> Any:
        """The compiled function, with ``captured`` and ``numbers`` given: call it with the inputs."""
        import linecache

        filename = f"<code of {self.name}>"
        linecache.cache[filename] = (len(self), None, self.splitlines(keepends=True), filename)
        space: dict[str, Any] = {}
        exec(compile(self, filename, "exec"), space)
        made, captured, numbers = space[self.name], self.captured, self.numbers
        if numbers:
            return lambda *inputs: made(*inputs, captured=captured, numbers={k: v.function() for k, v in numbers.items()})
        return lambda *inputs: made(*inputs, captured=captured)

    def __repr__(self) -> str:
        return str(self)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": str(self), "text/markdown": f"```python\n{self}\n```"}


class _Writer:
    def __init__(self, path: Path, name: str):
        self.path, self.name = path, name
        self.names = Names(path)
        self.helpers = Helpers()
        self.captured: dict[str, Any] = {}
        self.numbers: dict[str, Live] = {}
        self.live: dict[int, str] = {}
        self.owners: dict[int, tuple[str, Ref]] = {}  # storage -> variable over its memory, and what that shows
        self.lines: list[str] = []
        self.indent = "    "

    # -- the whole

    def text(self) -> str:
        """The source of the module."""
        path = self.path
        inputs = []
        for k, r in enumerate(path.inputs):
            inputs.append(f"input{k}")
            self.owners.setdefault(id(r.storage), (f"input{k}", r))
        self._captured_tensors()
        guards = {g.at: g for g in path.guards}
        for k, e in enumerate(path.forward):
            if k in guards:
                self._guard(guards[k])
            self._entry(e)
        if len(path.forward) in guards:
            self._guard(guards[len(path.forward)])
        self._effects()
        self._ending()
        head = ["import numtorch as torch"]
        body = "\n".join(self.lines)
        if any("ops[" in line for line in (body, *self.helpers.lines())):
            head.append("from numtorch.ops import TABLE as ops")
        numbers = ["numbers"] if self.numbers else []
        signature = f"def {self.name}({', '.join([*inputs, 'captured', *numbers])}):"
        return "\n".join([*head, "", *self.helpers.lines(), "", "@torch.no_grad()", signature, body, ""])

    def _captured_tensors(self) -> None:
        """A variable for each captured tensor: the parameter or state itself, else what shows the most of its memory."""
        path = self.path
        shown: dict[int, Any] = {}
        owned = [t for t, _, _, _ in path.captured if t is not None]
        known = [t for _, t in (*module_tensors(path), *optimizer_tensors(path, {}))]
        for t in (*(w for w, _, _ in path.grads if type(w) is not tuple), *known, *owned):
            shown.setdefault(id(t._storage), t)
        widest: dict[int, Ref] = {}
        for r in all_refs(path):
            key = id(r.storage)
            if type(r.storage) is Virtual or key in self.owners:
                continue
            if key not in widest or r.layout.numel > widest[key].layout.numel:
                widest[key] = r
        for key, r in widest.items():
            t = shown.get(key)
            if t is None or (t._base is not None and t._layout.numel < r.layout.numel):
                t = Tensor._make(*r)
            name = self.names.of(r)
            variable = identifier(name)
            self.captured[name] = t
            self.owners[key] = (variable, ref(t))
            self.line(f"{variable} = captured[{name!r}]  # {t._layout.dtype.name}{list(t._layout.shape)}")

    def line(self, text: str) -> None:
        """One more line."""
        self.lines.append(self.indent + text)

    # -- operands

    def tensor(self, r: Ref) -> str:
        """An expression for the tensor at a place in memory."""
        found = self.owners.get(id(r.storage))
        if found is None:
            variable = identifier(self.names.of(r))
            shape = tuple(r.layout.shape) if self._fresh(r) else (r.storage.nbytes // r.layout.itemsize,)
            self.line(f"{variable} = torch.empty({shape}, dtype=torch.{r.layout.dtype.name})")
            found = self.owners[id(r.storage)] = (variable, Ref(r.storage, 0, contiguous(shape, r.layout.dtype)))
        return view_text(*found, r)

    def value(self, x: Any) -> str:
        """An operand or an attribute as source."""
        if isinstance(x, Ref):
            return self.tensor(x)
        if isinstance(x, Live):
            return self._number(x)
        if type(x) is tuple:
            return f"({', '.join(map(self.value, x))}{',' if len(x) == 1 else ''})"
        if type(x) is list:
            return f"[{', '.join(map(self.value, x))}]"
        if isinstance(x, float) and not x - x == 0:
            return f'float("{x}")'
        if isinstance(x, dtype):
            return f"torch.{x.name}"
        if isinstance(x, Layout):
            return f"torch.empty_strided({tuple(x.shape)}, {tuple(x.strides)}, dtype=torch.{x.dtype.name})._layout"
        return repr(x)

    def _number(self, x: Live) -> str:
        name = self.live.get(id(x.function))
        if name is None:
            args = getattr(x.function, "args", ())
            base = args[-1] if args and isinstance(args[-1], str) else "number"
            name, k = base, 1
            while name in self.numbers:
                name, k = f"{base}_{k}", k + 1
            self.live[id(x.function)] = name
            self.numbers[name] = x
        return f"numbers[{name!r}]"

    # -- ops

    def _entry(self, e: Entry) -> None:
        if not any(r.layout.numel for r in e.outputs):
            return
        where = f"  # {short(e.line)}" if e.line else ""
        if e.plan is not None:
            targets = e.outputs
            args = [self.value(a) for a in e.args]
            into = e.op.name == "copy" and not self._fresh(e.outputs[0])  # copy_() does it all
            text = args[0] if into else self.helpers.call(e, args)
        else:
            mutated = e.op.mutates and sum(e.args[i] is not None for i in e.op.mutates)
            targets = e.outputs[: len(e.outputs) - mutated] if mutated else e.outputs
            if not all(self._fresh(r) for r in targets):
                self._into(e, targets, where)
                return
            text = self._call(e)
        self._assign(e, targets, text, where)

    def _call(self, e: Entry) -> str:
        args = [self.value(a) for a in e.args]
        args += [f"{k}={self.value(v)}" for k, v in e.attrs.items()]
        return f'ops["{e.op.name}"]({", ".join(args)})'

    def _into(self, e: Entry, targets: Sequence[Ref], where: str) -> None:
        attrs = ", ".join(f"{k!r}: {self.value(v)}" for k, v in e.attrs.items())
        outs, args = self.value(list(targets)), self.value(tuple(e.args))
        self.line(f'ops["{e.op.name}"].run({outs}, {args}, {{{attrs}}}){where}')

    def _fresh(self, r: Ref) -> bool:
        """Whether a result is the first thing in its memory, and all of it."""
        whole = r.offset == 0 and r.layout.numel * r.layout.itemsize == r.storage.nbytes
        return id(r.storage) not in self.owners and whole

    def _assign(self, e: Entry, targets: Sequence[Ref], text: str, where: str) -> None:
        if all(self._fresh(r) for r in targets):
            variables = [identifier(self.names.of(r)) for r in targets]
            for v, r in zip(variables, targets):
                self.owners[id(r.storage)] = (v, r)
            self.line(f"{', '.join(variables)} = {text}{where}")
            return
        if len(targets) == 1:
            self.line(f"{self.tensor(targets[0])}.copy_({text}){where}")
            return
        self.line(f"results = {text}{where}")
        for k, r in enumerate(targets):
            self.line(f"{self.tensor(r)}.copy_(results[{k}])")

    def _guard(self, g: Any) -> None:
        source = self.tensor(g.source)
        if isinstance(g.value, RangeCheck):
            self.line(f"assert {g.value.low} <= {source}[0] and {source}[1] <= {g.value.high}, 'an index is out of range'")
        elif isinstance(g.value, bytes):
            self.line(f"# the values of {source} were read here: the recording holds for those alone")
        else:
            value = 'float("nan")' if g.value != g.value else self.value(g.value)
            self.line(f"assert {source}.item() == {value}, 'the recording went another way from here'")

    # -- effects and results

    def _effects(self) -> None:
        for who, r, same in self.path.grads:
            if same is not None:
                continue
            owner = self._who(who)
            self.line(f"{owner}.grad = {'None' if r is None else self.tensor(r)}")

    def _who(self, who: Any) -> str:
        if type(who) is tuple:
            return f"input{who[1]}"
        found = self.owners.get(id(who._storage))
        if found is None:
            name = f"tensor{len(self.captured)}"
            self.captured[name] = who
            self.line(f"{name} = captured[{name!r}]")
            self.owners[id(who._storage)] = (name, Ref(who._storage, who._offset, who._layout))
            return name
        return found[0]

    def _ending(self) -> None:
        path = self.path
        outputs = [self._who(o.same) if o.same is not None else self.tensor(o.ref) for o in path.outputs]
        result = "".join(_structure(path.result, outputs))
        if not path.backward:
            self.line(f"return {result}")
            return
        given = [f"gradient{k}" for k in range(len(path.given))]
        for variable, r in zip(given, path.given):
            self.owners[id(r.storage)] = (variable, r)
        self.line("")
        self.line("@torch.no_grad()")
        self.line(f"def backward({', '.join(given)}):")
        self.indent = "        "
        for variable, r in zip(given, path.given):
            la = r.layout
            layout = f"{tuple(la.shape)}, {tuple(la.strides)}, dtype=torch.{la.dtype.name}"
            whole = f"{variable}.contiguous()" if la.contiguous else f"torch.empty_strided({layout}).copy_({variable})"
            self.line(f"{variable} = {whole}")
        for e in path.backward:
            self._entry(e)
        made = ["None" if r is None else self.tensor(r) for r in path.leaf_grads]
        self.line(f"return [{', '.join(made)}]")
        self.indent = "    "
        self.line("")
        self.line(f"return {result}, backward")


def _structure(s: Any, outputs: Sequence[str]) -> Iterator[str]:
    if type(s) is Leaf:
        yield outputs[s.index]
        return
    kind = s[0]
    if kind == "value":
        yield repr(s[1])
    elif kind == "dict":
        items = [f"{k!r}: {''.join(_structure(v, outputs))}" for k, v in s[2]]
        yield f"{{{', '.join(items)}}}"
    elif kind == "data":
        yield f"{s[1].__name__}({', '.join(k + '=' + ''.join(_structure(v, outputs)) for k, v in s[2])})"
    else:
        children = s[2] if kind == "named" else s[1]
        items = ["".join(_structure(v, outputs)) for v in children]
        yield f"[{', '.join(items)}]" if kind is list else f"({', '.join(items)}{',' if len(items) == 1 else ''})"
