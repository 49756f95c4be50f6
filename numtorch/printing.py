"""How tensors print: PyTorch's layout, four digits, long tensors summarised."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


class _Options:
    precision, threshold, edgeitems, linewidth = 4, 1000.0, 3, 80
    sci_mode: bool | None = None


options = _Options()
PROFILES = {"default": (4, 1000.0, 3, 80), "short": (2, 1000.0, 2, 80), "full": (4, math.inf, 3, 80)}


def set_printoptions(
    precision: int | None = None, threshold: float | None = None, edgeitems: int | None = None, linewidth: int | None = None,
    profile: str | None = None, sci_mode: bool | None = None,
) -> None:  # fmt: skip
    """Set how tensors print: digits, the number of elements from which they are summarised, elements shown at the edges, line
    width; ``profile``: "default", "short" or "full"; ``sci_mode``: always (True) or never (False) scientific.
    """
    if profile is not None:
        options.precision, options.threshold, options.edgeitems, options.linewidth = PROFILES[profile]
    for name, value in (
        ("precision", precision),
        ("threshold", threshold),
        ("edgeitems", edgeitems),
        ("linewidth", linewidth),
    ):
        if value is not None:
            setattr(options, name, value)
    options.sci_mode = sci_mode


class _Formatter:
    """One format for all elements: chosen from the finite nonzero ones, as in PyTorch."""

    def __init__(self, values: np.ndarray, floating: bool):
        self.floating = floating
        self.int_mode, self.sci, self.width = True, False, 1
        if not floating:
            self.width = max([1, *(len(str(v)) for v in values.ravel().tolist())])
            return
        flat = values.astype(np.float64).ravel()
        finite = np.abs(flat[np.isfinite(flat) & (flat != 0)])
        if finite.size:
            self._choose(finite)
            signed = flat[np.isfinite(flat) & (flat != 0)]
            self.width = max([1, *(len(self._text(float(v))) for v in signed)])
        if options.sci_mode is not None and finite.size:
            self.sci = options.sci_mode
            self.width = max([1, *(len(self._text(float(v))) for v in flat[np.isfinite(flat) & (flat != 0)])])

    def _choose(self, finite: np.ndarray) -> None:
        low, high = float(finite.min()), float(finite.max())
        self.int_mode = bool(np.all(finite == np.ceil(finite)))
        if self.int_mode:
            self.sci = high / low > 1000.0 or high > 1.0e8
        else:
            self.sci = high / low > 1000.0 or high > 1.0e8 or low < 1.0e-4

    def _text(self, value: float) -> str:
        if self.sci:
            return f"{value:.{options.precision}e}"
        if self.int_mode:
            return f"{value:.0f}." if math.isfinite(value) else f"{value}"
        return f"{value:.{options.precision}f}"

    def format(self, value: Any) -> str:
        text = self._text(float(value)) if self.floating else str(value)
        return text.rjust(self.width)


def _row(values: np.ndarray, indent: int, f: _Formatter, summarize: bool) -> str:
    if values.ndim == 0:
        return f.format(values.item())
    per_line = max(1, int(math.floor((options.linewidth - indent) / (f.width + 2))))
    edge = options.edgeitems
    if values.ndim == 1:
        if summarize and not edge:
            cells = ["..."]
        elif summarize and values.size > 2 * edge:
            shown = values.tolist()
            cells = [f.format(v) for v in shown[:edge]] + [" ..."] + [f.format(v) for v in shown[-edge:]]
        else:
            cells = [f.format(v) for v in values.tolist()]
        lines = [", ".join(cells[k : k + per_line]) for k in range(0, len(cells), per_line)]
        return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"
    n = values.shape[0]
    if summarize and n > 2 * edge:
        parts = [_row(values[i], indent + 1, f, True) for i in range(edge)] + ["..."]
        parts += [_row(values[i], indent + 1, f, True) for i in range(n - edge, n)]
    else:
        parts = [_row(values[i], indent + 1, f, summarize) for i in range(n)]
    gap = "," + "\n" * (values.ndim - 1) + " " * (indent + 1)
    return "[" + gap.join(parts) + "]"


def _edges(values: np.ndarray) -> np.ndarray:
    """What of a summarised tensor is shown: the corner elements, from which the format is chosen."""
    k = options.edgeitems
    for axis, n in enumerate(values.shape):
        if n > 2 * k:
            keep = np.r_[0:k, n - k : n]
            values = np.take(values, keep, axis)
    return values


def _content(values: np.ndarray, floating: bool, indent: int) -> str:
    summarize = values.size > options.threshold
    return _row(values, indent, _Formatter(_edges(values) if summarize else values, floating), summarize)


def _history(t: Any) -> list[str]:
    """How the printed tensor shows that it requires grad."""
    try:
        node = t.grad_fn
    except RuntimeError:  # a view whose base was changed in place in a way that forbids its use
        return ["grad_fn=<Invalid>"]
    if node is not None:
        return [f"grad_fn=<{node.title}>"]
    return ["requires_grad=True"] if t.requires_grad else []


def tensor_repr(t: Any, name: str | None = None) -> str:
    """The text of ``repr(tensor)``."""
    from .dtype import get_default_dtype

    cls = type(t).__name__
    prefix = (name or ("tensor" if cls in ("Tensor", "Parameter") else cls)) + "("
    d = t.dtype
    suffixes = []
    if t.is_cuda:
        suffixes.append(f"device='{t._layout.device}'")
    if d not in (get_default_dtype(),) and d.name not in ("int64", "bool"):
        suffixes.append(f"dtype=torch.{d.name}")
    if t.numel() == 0:
        if t.ndim != 1:
            suffixes.insert(0, f"size={tuple(t.shape)}")
        if d is not get_default_dtype() and f"dtype=torch.{d.name}" not in suffixes:
            suffixes.append(f"dtype=torch.{d.name}")
        text = "[]"
    else:
        values = t.detach().cpu()._numbers()
        text = _content(values, d.is_floating_point, len(prefix))
    suffixes += _history(t)
    out, line = prefix + text, len(prefix + text) - (prefix + text).rfind("\n") + 1
    for s in suffixes:
        if line + len(s) + 2 > options.linewidth:
            out += ",\n" + " " * len(prefix) + s
            line = len(prefix) + len(s)
        else:
            out += ", " + s
            line += len(s) + 2
    out += ")"
    return f"Parameter containing:\n{out}" if cls == "Parameter" else out
