"""The report of an anomaly: what was found, where, the values there, and how to mend it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._source import is_internal
from .mode import no_grad, nobody_looking
from .remedies import public_name, remedy
from .stack import Stack, module_path


class AnomalyError(RuntimeError):
    """A NaN or inf was born, or came in; the message says where.

    Attributes: ``op``, ``phase`` ("forward", "backward", "data", "optimizer"), ``what`` ("nan" or "inf"), ``line``
    ("file:line" of the user's call), ``module``, ``count``, ``index`` (of the first bad element).
    """

    __module__ = "numtorch.autograd"  # where users find it
    op = phase = what = line = module = ""
    count = 0
    index: tuple[int, ...] = ()


# -- looking at values

_checker: Any = None


def looks_bad(t: Any) -> bool:
    """Whether a floating tensor may hold something that is not finite: one native pass."""
    global _checker
    la = t._layout
    if la.numel == 0:
        return False
    if la.device != "cpu":
        with nobody_looking(), no_grad():
            return bool((t - t).sum(dtype=t.dtype) != 0)  # x - x is 0 for a finite x
    if not la.dense or la.itemsize < 4:
        return not bool(np.isfinite(array_of(t)).all())
    if _checker is None:
        _checker = _Checker()
    return _checker(t._storage.ptr + t._offset * la.itemsize, la.numel, la.itemsize)


class _Checker:
    """The kernel with the memory it answers in."""

    def __init__(self) -> None:
        from ..kernels.driver import launch
        from ..kernels.finite import not_finite

        self.launch = launch
        self.out = np.zeros(1)
        self.place = self.out.ctypes.data
        self.addresses = {4: not_finite.address(T="float32"), 8: not_finite.address(T="float64")}

    def __call__(self, pointer: int, n: int, itemsize: int) -> bool:
        self.launch(self.addresses[itemsize], 1, self.place, pointer, n)
        return self.out[0] != 0.0


def is_bad(t: Any, settings: Any) -> str:
    """ "nan", "inf" or nothing, of what is looked for."""
    if not t._layout.dtype.is_floating_point or not looks_bad(t):
        return ""
    values = array_of(t)
    if settings.check_nan and bool(np.isnan(values).any()):
        return "nan"
    return "inf" if settings.check_inf and bool(np.isinf(values).any()) else ""


def array_of(t: Any, storage: Any = None) -> np.ndarray:
    """A tensor's values, or those it had in a copy of its memory."""
    la = t._layout
    if la.device != "cpu":
        with nobody_looking(), no_grad():
            return array_of(type(t)._make(storage or t._storage, t._offset, la).cpu())
    return la.dtype.numbers((storage or t._storage).array(la.shape, la.strides, la.dtype.numpy, t._offset))


def pass_running() -> str:
    """Who called the running op during a reverse pass: "engine" (adding up gradients), "hook" (the user's), or nobody."""
    frame: Any = sys._getframe(1)
    who = "engine"
    while frame is not None:
        name = frame.f_code.co_filename
        if not is_internal(name):
            who = "hook"
        elif os.path.basename(name) == "engine.py":
            return who
        frame = frame.f_back
    return ""


class Report:
    """Everything known about one anomaly; its methods give the error to raise."""

    def __init__(self, settings: Any, phase: str, op: str, t: Any, what: str, inputs: Sequence[Any] = (), before: Any = None):
        self.settings, self.phase, self.op, self.tensor, self.what = settings, phase, public_name(op), t, what
        self.kernel = op
        self.inputs, self.before = inputs, before or {}
        self.stack = Stack(4)
        values = array_of(t)
        self.bad = np.isnan(values) if what == "nan" else np.isinf(values)
        self.count = int(self.bad.sum())
        self.index = tuple(int(i) for i in np.argwhere(self.bad)[0])

    @property
    def found(self) -> str:
        """Shape, dtype, how many elements are bad, and the first one."""
        la = self.tensor._layout
        return (
            f"numtorch.{la.dtype.name}{list(la.shape)}, {self.count} of {self.bad.size} elements, first at {self.index}"
        )

    def error(self, lines: Sequence[str], phase: str, line: str, module: str) -> AnomalyError:
        """The exception of a message."""
        e = AnomalyError("\n".join(x for x in lines if x))
        e.op, e.phase, e.what, e.line, e.module = self.op, phase, self.what, line, module
        e.count, e.index = self.count, self.index
        return e

    # -- the kinds of report

    def of_forward(self) -> AnomalyError:
        """An op made it."""
        settings, outer = self.settings, self.settings.outer
        module, phase, where = settings.module_path(), "forward", "in forward"
        if outer is not None:
            phase, where = "backward", f"in the backward of '{outer.title}'"
            module = module or (outer.trace_back.module if outer.trace_back is not None else "")
        else:
            caller = pass_running()
            if caller:
                what = "where gradients were added up" if caller == "engine" else "in a hook that ran"
                phase, where = "backward", f"{what} in backward"
        lines = [
            f"Op '{self.op}' returned {self.what} values {where}, from inputs that had none{_in_module(module)}: output"
            f" {self.found}."
        ]
        lines += self._inputs_there()
        lines.append(_hint(self.kernel, phase == "backward" and outer is None))
        line = settings.line or self.stack.line
        lines.append(f"Recorded at {settings.line}" if settings.line else "")
        lines.append(f"The call:\n{self.stack}".rstrip())
        if outer is not None:
            lines += _chain(outer)
        return self.error(lines, phase, line, module)

    def of_optimizer(self, parameter: Any) -> AnomalyError:
        """An optimizer's step wrote it."""
        optimizer = self.settings.optimizer
        name = self.settings.name_of(parameter) or "a state tensor"
        lines = [
            f"The step of {type(optimizer).__name__} (op '{self.op}') wrote {self.what} values to '{name}': {self.found}."
        ]
        lines += self._inputs_there()
        bad = [x for x in self.inputs if hasattr(x, "_layout") and id(x._storage) not in self.before and is_bad(x, self.settings)]
        if bad:
            hint = "its gradient held them already; run backward() under detect_anomaly too"
        elif any(n == "eps" and x == 0 for n, x in zip(_operands(self.kernel), self.inputs)):
            hint = "eps is 0: the step divides by the root of squared gradients that were all 0; give it a small number"
        elif any(isinstance(x, float) and x - x != 0 for x in self.inputs):
            hint = "a number of the step is not finite itself; look at the learning rate, and at what its scheduler makes of it"
        else:
            hint = "the step is too long or the moments overflowed; lower the learning rate or clip the gradients"
        lines += [f"Hint: {hint}", f"The call:\n{self.stack}".rstrip()]
        return self.error(lines, "optimizer", self.settings.line or self.stack.line, name)

    def brought_in(self, note: str) -> AnomalyError:
        """It was there before the first op."""
        module = self.op
        lines = [f"The result of {module} holds {self.what} values that no op made: {note}. Result: {self.found}."]
        lines += ["Hint: look at the data or the parameter with isnan().any() before the call", f"The call:\n{self.stack}".rstrip()]
        return self.error(lines, "data", _line_of(note) or self.stack.line, module)

    def of_backward(self, node: Any, i: int, grads: Sequence[Any]) -> AnomalyError:
        """A backward function gave it."""
        self.op, line, module = _identity(node)
        given = [g for g in grads if g is not None and is_bad(g, self.settings) == self.what]
        note = "" if given else self._brought_by(node)
        head = f"Function '{node.title}' returned {self.what} values in its {i}th output{_in_module(module)}: gradient"
        label = _input_label(node, i)
        lines = [f"{head}{label} {self.found}."]
        born = getattr(node, "infinite", None)
        if given:
            lines.append(
                "The gradient that reached it held them already: it came from a hook, or was given to backward() itself."
            )
        elif note:
            lines.append(f"They came from the forward: {note}.")
        elif born is not None and any(g is not None and np.isinf(array_of(g)).any() for g in grads):
            self.op, line, module = _identity(born)
            lines.append(
                f"It was born in '{born.title}'{_in_module(module)}, whose gradient was infinite already; here it met a zero"
                " or another infinity."
            )
            lines += [*self._saved_there(node, grads), _hint(self.op, True), *_chain(born)]
        else:
            lines += self._saved_there(node, grads)
            line = self._inside(node, grads, lines) or line
            lines.append(_hint(self.op, True))
        lines += _chain(node)
        phase = "data" if note else "backward"
        return self.error(lines, phase, (_line_of(note) if note else "") or line, module)

    def _inside(self, node: Any, grads: Sequence[Any], lines: list[str]) -> str:
        """For the node of a trace: the op in it, which becomes the op of this report; returns the user's line."""
        if not hasattr(node, "bound"):
            return ""
        from ..jit.blaming import in_backward

        test = np.isnan if self.what == "nan" else np.isinf
        found = in_backward(node, grads, lambda values: bool(test(values).any()))
        if found is None:
            return ""
        self.op = found.op
        lines.append(f"In the trace: the backward of op '{found.op}' ({found.line}), in the kernel {found.kernel}")
        return found.line

    def _brought_by(self, node: Any) -> str:
        for _, t in _saved(node):
            note = self.settings._note(t)
            if not note and is_bad(t, self.settings) == self.what:
                owner = self.settings.owner_of(t)
                note = f"{owner} held it" if owner else "a tensor saved for backward held it, as it came with the data"
            if note:
                return note
        return ""

    # -- the values

    def _inputs_there(self) -> list[str]:
        rows = []
        names = _operands(self.kernel)
        for k, x in enumerate(self.inputs):
            if hasattr(x, "_layout"):
                held = self.before.get(id(x._storage))
                if held is not None and held[1] is None:
                    rows.append(f"  input {k}: overwritten by the op")
                    continue
                rows.append(self._there(f"input {k}", x, held[1] if held is not None else None))
            elif isinstance(x, (int, float)):
                rows.append(f"  input {k}{_called(names, k)}: {x}")
        return rows

    def _saved_there(self, node: Any, grads: Sequence[Any]) -> list[str]:
        rows = [self._there(f"incoming gradient {k}", g) for k, g in enumerate(grads) if g is not None]
        return rows + [self._there(f"saved {name}", t) for name, t in _saved(node)]

    def _there(self, label: str, x: Any, memory: Any = None) -> str:
        """The value at the first bad element, where shapes fit; otherwise what can be said of the whole."""
        la = x._layout
        values = array_of(x, memory)
        try:
            value = np.broadcast_to(values, self.bad.shape)[self.index].item()
            since = self.settings.infinite_since(x) if isinstance(value, float) and value - value != 0 else ""
            return f"  {label} there: {value}{since}"
        except ValueError:
            if la.numel and la.dtype.is_floating_point:
                with np.errstate(all="ignore"):
                    low, high = float(np.nanmin(values)), float(np.nanmax(values))
                return f"  {label}: numtorch.{la.dtype.name}{list(la.shape)}, values from {low:g} to {high:g}"
            return f"  {label}: numtorch.{la.dtype.name}{list(la.shape)}"


def _identity(node: Any) -> tuple[str, str, str]:
    """(op, line, module) of a node: of the forward call that it goes back to."""
    op = public_name(getattr(getattr(node, "op", None), "name", "") or node.title)
    origin = node.trace_back
    module = origin.module if origin is not None else ""
    while origin is not None and origin.parent is not None and origin.parent.trace_back is not None:
        if hasattr(origin.parent, "cls") and origin.stack.line:
            break  # made by the user's own backward function: the line is in there
        origin = origin.parent.trace_back
    return op, origin.stack.line if origin is not None else "", module


def _saved(node: Any) -> list[tuple[str, Any]]:
    """(name, tensor) of what a node keeps for its backward."""
    saved = getattr(node, "saved", None)
    if isinstance(saved, dict):
        pairs = list(saved.items())
    elif isinstance(saved, (tuple, list)):
        pairs = [(str(k), s) for k, s in enumerate(saved)]
    else:
        pairs = []
    found = [(str(name), getattr(s, "tensor", None)) for name, s in pairs]
    return [(name, t) for name, t in found if t is not None and hasattr(t, "_layout")]


def _operands(op: str) -> Sequence[str]:
    """The names of an op's operands, where it is one of numtorch's."""
    from ..ops.declare import TABLE
    from ..ops.updates import _rules

    found = TABLE.get(op) or next((rule for rule in _rules.values() if rule.name == op), None)
    return getattr(found, "params", None) or getattr(found, "inputs", None) or ()


def _called(names: Sequence[str], k: int) -> str:
    return f" ({names[k]})" if k < len(names) else ""


def _input_label(node: Any, i: int) -> str:
    """Whose gradient a result is: " of input 'exponent'"."""
    op = getattr(node, "op", None)
    names = getattr(op, "params", None) or getattr(op, "inputs", None) or ()
    return f" of '{names[i]}'," if i < len(names) else ""


def _chain(node: Any) -> list[str]:
    """The forward call of a node, and of the nodes in whose backward it was made."""
    rows: list[str] = []
    first = True
    while node is not None:
        origin = node.trace_back
        if origin is None:
            break
        what = "The forward call" if origin.parent is None else f"Made in the backward of '{origin.parent.title}', by the call"
        rows.append(f"{what}{'' if first else f' of {node.title}'}:\n{origin.stack}".rstrip())
        node, first = origin.parent, False
    return rows


def _line_of(note: str) -> str:
    """The "file:line" in a note."""
    start, end = note.find("("), note.find(")")
    return note[start + 1 : end] if 0 <= start < end else ""


def _hint(op: str, backward: bool) -> str:
    found = remedy(op, backward)
    return f"Hint: {found}" if found else ""


def _in_module(path: Any) -> str:
    return f" in module {path}" if path else ""


__all__ = ["AnomalyError", "Report", "is_bad", "looks_bad", "module_path", "pass_running"]
