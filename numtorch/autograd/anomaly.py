"""Anomaly detection: where a NaN (or inf) was born, in backward as in PyTorch, and in forward too.

Every node keeps the stack of the call that made it. When a backward function gives a NaN that its gradients did not have,
the error names it, the user's line and the module. Values are looked at in one reduction kernel per result.
"""

from __future__ import annotations

import contextlib
import math
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from .._source import is_internal
from .mode import set_anomaly, state


class AnomalyError(RuntimeError):
    """A NaN or inf was born; the message says where."""


class Settings:
    """What is looked for, and the modules entered so far."""

    def __init__(self, check_nan: bool, check_inf: bool, check_forward: bool):
        self.check_nan, self.check_inf, self.check_forward = check_nan, check_inf, check_forward
        self.modules: list[Any] = []
        self.busy = False
        self.node: Any = None  # whose backward runs: its ops are not looked at one by one

    # -- where we are

    @contextlib.contextmanager
    def inside(self, module: Any) -> Iterator[None]:
        """While a module's forward runs."""
        self.modules.append(module)
        try:
            yield
        finally:
            self.modules.pop()

    def module_path(self) -> str:
        """The running module's name below the outermost one: ``blocks.1.norm``."""
        if not self.modules:
            return ""
        root, inner = self.modules[0], self.modules[-1]
        for name, m in root.named_modules():
            if m is inner:
                return f"{type(root).__name__}.{name}" if name else type(root).__name__
        return type(inner).__name__

    def on_create(self, node: Any) -> None:
        """A node was made: keep the stack of the call and the module."""
        node.trace_back = _user_stack()
        node.module = self.module_path()

    # -- looking

    def on_forward(self, name: str, outputs: Sequence[Any], inputs: Sequence[Any]) -> None:
        """An op has run: raise if it made a NaN or inf out of inputs that had none."""
        if not self.check_forward or self.busy or self.node is not None or name in _MAY_HOLD_ANYTHING:
            return
        self.busy = True
        try:
            for out in outputs:
                what = self._bad(out)
                if what and not any(self._bad(x) for x in inputs if hasattr(x, "_layout")):
                    raise AnomalyError(self._forward_message(name, what, out, inputs))
        finally:
            self.busy = False

    def run_backward(self, node: Any, grads: Any) -> Any:
        """Run a node's backward and look at what it gives."""
        outer, self.node = self.node, node
        try:
            results = node.run(grads)
        finally:
            self.node = outer
        self.on_backward(node, results)
        return results

    def on_backward(self, node: Any, results: Sequence[Any]) -> None:
        """A backward function has run: raise if a result holds a NaN or inf."""
        if self.busy:
            return
        self.busy = True
        try:
            for i, g in enumerate(results):
                what = self._bad(g) if g is not None and hasattr(g, "_layout") else ""
                if what:
                    self._raise_backward(node, i, what, g)
        finally:
            self.busy = False

    def _bad(self, t: Any) -> str:
        """ "nan", "inf" or nothing."""
        la = t._layout
        if not la.dtype.is_floating_point or la.numel == 0 or la.device != "cpu":
            return ""
        values = t._storage.array(la.shape, la.strides, la.dtype.numpy, t._offset)
        # A sum is NaN or inf if an element is; only then the elements are looked at one by one.
        import numpy as np

        with np.errstate(all="ignore"):
            total = float(values.sum())
        if math.isfinite(total):
            return ""
        if self.check_nan and bool(np.isnan(values).any()):
            return "nan"
        return "inf" if self.check_inf and bool(np.isinf(values).any()) else ""

    # -- telling

    def _forward_message(self, name: str, what: str, out: Any, inputs: Sequence[Any]) -> str:
        stack = _user_stack()
        la = out._layout
        lines = [
            f"Op '{name}' returned {what} values in forward, from inputs that had none"
            f"{_in_module(self.module_path())}: output numtorch.{la.dtype.name}{list(la.shape)}{_count(out, what)}."
        ]
        lines += _inputs_at(out, inputs, what)
        if name in HINTS:
            lines.append(f"Hint: {HINTS[name]}")
        lines.append("The call:\n" + "".join(stack).rstrip())
        return "\n".join(lines)

    def _raise_backward(self, node: Any, i: int, what: str, g: Any) -> None:
        stack = node.trace_back
        if stack:
            warnings.warn(
                f"Error detected in {node.title}. Traceback of forward call that caused the error:\n{''.join(stack)}",
                UserWarning,
                stacklevel=6,
            )
        la = g._layout
        op = getattr(getattr(node, "op", None), "name", "")
        hint = f"\nHint: {HINTS[op]}" if op in HINTS else ""
        line = f"\nThe forward call:\n{''.join(stack).rstrip()}" if stack else ""
        raise AnomalyError(
            f"Function '{node.title}' returned {what} values in its {i}th output{_in_module(node.module)}: gradient"
            f" numtorch.{la.dtype.name}{list(la.shape)}{_count(g, what)}.{hint}{line}"
        )


# Ops that only move or make values.
_MAY_HOLD_ANYTHING = {"copy", "clone_values", "fill", "where", "to_float32", "to_float64", "to_float16"}
HINTS = {
    "sqrt": "the derivative of sqrt is infinite at 0; add a small number under the root, or clamp from below",
    "div": "0/0 is NaN, and stays so under a where(); replace the denominator inside, where(d == 0, 1, d)",
    "log": "log of 0 is -inf and of a negative number NaN; clamp the argument, or use log_softmax or logsumexp",
    "softmax": "a row whose entries are all -inf (fully masked) has no softmax; leave one entry unmasked",
    "std": "std of one element or of equal ones has no derivative; use var, or add a small number",
    "norm": "the norm has no derivative at 0; add a small number, or skip zero vectors",
    "exp": "exp overflows above 88 (float32); subtract the maximum first",
    "pow": "a negative base needs a whole exponent, and 0 to a power below 1 has no finite derivative",
}


def _in_module(path: Any) -> str:
    return f" in module {path}" if path else ""


def _count(t: Any, what: str) -> str:
    import numpy as np

    la = t._layout
    values = t._storage.array(la.shape, la.strides, la.dtype.numpy, t._offset)
    bad = np.isnan(values) if what == "nan" else np.isinf(values)
    first = tuple(int(i) for i in np.argwhere(bad)[0])
    return f", {int(bad.sum())} of {bad.size} elements, first at {first}"


def _inputs_at(out: Any, inputs: Sequence[Any], what: str) -> list[str]:
    """The input values at the first bad element, for inputs that broadcast to the output."""
    import numpy as np

    la = out._layout
    values = out._storage.array(la.shape, la.strides, la.dtype.numpy, out._offset)
    bad = np.isnan(values) if what == "nan" else np.isinf(values)
    at = tuple(int(i) for i in np.argwhere(bad)[0])
    lines = []
    for k, x in enumerate(inputs):
        if not hasattr(x, "_layout"):
            if isinstance(x, (int, float)):
                lines.append(f"  input {k}: {x}")
            continue
        m = x._layout
        try:
            seen = np.broadcast_to(x._storage.array(m.shape, m.strides, m.dtype.numpy, x._offset), la.shape)
        except ValueError:
            lines.append(f"  input {k}: numtorch.{m.dtype.name}{list(m.shape)}")
            continue
        lines.append(f"  input {k} there: {seen[at].item()}")
    return lines


def _user_stack() -> list[str]:
    """The stack of the running call without this package's frames, as text."""
    frames = traceback.extract_stack(sys._getframe(2), limit=60)
    return traceback.format_list([f for f in frames if not is_internal(f.filename)])


class detect_anomaly:
    """Within the block, the first op or backward function that makes a NaN raises RuntimeError naming the place.

    ``check_inf``: infinities too; ``check_forward``: look at forward results as well (default).

    Example:
        >>> import numtorch
        >>> x = numtorch.tensor([0.0, 1.0], requires_grad=True)
        >>> with numtorch.autograd.detect_anomaly(check_forward=False):
        ...     (x.sqrt() * 0).sum().backward()
        Traceback (most recent call last):
        numtorch.autograd.anomaly.AnomalyError: ...
    """

    def __init__(self, check_nan: bool = True, check_inf: bool = False, check_forward: bool = True):
        self.settings = Settings(check_nan, check_inf, check_forward)
        self._before: list[Any] = []

    def __enter__(self) -> None:
        self._before.append(state.anomaly)
        set_anomaly(self.settings)

    def __exit__(self, *exc: Any) -> None:
        set_anomaly(self._before.pop())


class set_detect_anomaly(detect_anomaly):
    """Switch anomaly detection on or off at once; used with ``with``, the setting is restored afterwards."""

    def __init__(
        self, mode: bool, check_nan: bool = True, check_inf: bool = False, check_forward: bool = True
    ):
        super().__init__(check_nan, check_inf, check_forward)
        self._previous = state.anomaly
        set_anomaly(self.settings if mode else None)

    def __enter__(self) -> None:
        self._before.append(self._previous)


def is_anomaly_enabled() -> bool:
    """Whether anomalies are looked for."""
    return state.anomaly is not None


def is_anomaly_check_nan_enabled() -> bool:
    """Whether NaN counts as an anomaly."""
    return state.anomaly is not None and state.anomaly.check_nan
