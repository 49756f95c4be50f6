"""Activations and gradients layer by layer while a model trains, through hooks: what vanishes, explodes or dies."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..autograd.mode import state
from ..jit.record import NotNow


class Values(NamedTuple):
    """What was seen of one tensor: moments of its finite elements, and how many are zero or not finite."""

    mean: float
    std: float
    largest: float  # absolute
    zeros: float  # part of the elements
    bad: int  # NaN and infinities

    @classmethod
    def of(cls, t: Any) -> Values:
        """Those of a tensor now."""
        la = t._layout
        stored = t._storage.array(la.shape, la.strides, la.dtype.numpy, t._offset)
        values = la.dtype.numbers(stored).astype(np.float64).ravel()
        finite = values[np.isfinite(values)]
        if not finite.size:
            return cls(0.0, 0.0, 0.0, 0.0, values.size)
        largest, zeros = float(np.abs(finite).max()), float((finite == 0).mean())
        return cls(float(finite.mean()), float(finite.std()), largest, zeros, values.size - finite.size)


class Statistics:
    """Watches a model until ``close()`` or the end of a ``with`` block; ``print`` it for a table.

    ``activations``, ``gradients``, ``weights``: the newest ``Values`` by name of layer or parameter; ``history``: all of them,
    one dict for each reading. Gradients are those that arrive at parameters.

    Example:
        >>> import numtorch
        >>> net = numtorch.nn.Sequential(numtorch.nn.Linear(2, 3), numtorch.nn.ReLU())
        >>> with numtorch.utils.watch(net) as seen:
        ...     net(numtorch.ones(4, 2)).sum().backward()
        >>> sorted(seen.activations), sorted(seen.gradients)
        (['0', '1'], ['0.bias', '0.weight'])
    """

    def __init__(self, model: Any, activations: bool = True, gradients: bool = True, every: int = 1):
        if every < 1:
            raise ValueError(f"watch: expected every >= 1, got {every}")
        self.activations: dict[str, Values] = {}
        self.gradients: dict[str, Values] = {}
        self.weights: dict[str, Values] = {}
        self.history: list[tuple[str, str, Values]] = []  # (kind, name, values)
        self.every, self._calls = every, {}  # type: ignore[var-annotated]
        self._handles: list[Any] = []
        if activations:
            for name, m in model.named_modules():
                if next(m.children(), None) is None:
                    self._handles.append(m.register_forward_hook(lambda m, a, out, name=name: self._activation(name, out)))
        if gradients:
            for name, p in model.named_parameters():
                if p.requires_grad:
                    self._handles.append(p.register_hook(lambda g, name=name, p=p: self._gradient(name, p, g)))

    def _due(self, key: tuple[str, str]) -> bool:
        if state.recorder is not None:
            raise NotNow("a trace's replays would not be seen")
        count = self._calls[key] = self._calls.get(key, 0) + 1
        return (count - 1) % self.every == 0

    def _note(self, kind: str, into: dict[str, Values], name: str, t: Any) -> None:
        if t._layout.dtype.is_floating_point and t._layout.device == "cpu" and t._layout.numel:
            into[name] = Values.of(t)
            self.history.append((kind, name, into[name]))

    def _activation(self, name: str, out: Any) -> None:
        if self._due(("activation", name)):
            for t in out if isinstance(out, (tuple, list)) else (out,):
                if hasattr(t, "_layout"):
                    self._note("activation", self.activations, name, t)
                    return

    def _gradient(self, name: str, p: Any, g: Any) -> None:
        if self._due(("gradient", name)):
            self._note("gradient", self.gradients, name, g)
            self._note("weight", self.weights, name, p)

    def close(self) -> None:
        """Take the hooks away; the numbers stay."""
        for h in self._handles:
            h.remove()
        self._handles.clear()

    def __enter__(self) -> Statistics:
        return self

    def __exit__(self, *exc: Any) -> None:
        self.close()

    def table(self) -> list[list[str]]:
        """The newest numbers as text, with a remark where something is wrong."""
        rows = [["what", "name", "mean", "std", "largest", "zeros", "remark"]]
        for kind, found in (("activation", self.activations), ("gradient", self.gradients)):
            for name, v in found.items():
                rows.append([
                    kind, name, f"{v.mean:.3g}", f"{v.std:.3g}", f"{v.largest:.3g}", f"{100 * v.zeros:.0f} %", self._remark(kind, name, v)
                ])  # fmt: skip
        return rows

    def _remark(self, kind: str, name: str, v: Values) -> str:
        if v.bad:
            return f"{v.bad} not finite"
        if v.zeros == 1:
            return "all zero" if kind == "gradient" else "dead"
        if kind == "activation":
            return "mostly dead" if v.zeros > 0.9 else ""
        weight = self.weights.get(name)
        ratio = v.largest / weight.largest if weight is not None and weight.largest else 0.0
        return "explodes" if v.largest > 1e3 or ratio > 1e3 else "vanishes" if v.largest < 1e-8 else ""

    def __str__(self) -> str:
        rows = self.table()
        widths = [max(len(r[k]) for r in rows) for k in range(len(rows[0]))]
        return "\n".join(
            "  ".join(c.rjust(w) if 1 < k < 6 else c.ljust(w) for k, (c, w) in enumerate(zip(r, widths))).rstrip() for r in rows
        )

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from ..display import table

        head, *rows = self.table()
        return table(head, rows, right=(2, 3, 4, 5))


def watch(model: Any, activations: bool = True, gradients: bool = True, every: int = 1) -> Statistics:
    """Statistics of a model's activations and gradients from now on, each ``every`` calls; see ``Statistics``."""
    return Statistics(model, activations, gradients, every)
