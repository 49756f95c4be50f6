"""What a notebook shows of tensors, modules and tables: HTML without scripts, styles or files from elsewhere.

Everything is given in shades of the page's own text and background, so that it reads in a light and in a dark theme, and in
elements that JupyterLab also shows in a notebook that was not run on this machine. Each text is escaped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from .nn.parameter import is_lazy

_FAINT = "opacity:0.7;font-size:90%;padding:0 5px"
_BAR = "background-color:rgba(100,130,200,0.65);height:0.8em"
_BAR_WIDTH = 120  # pixels of a whole
_MOST_ROWS = 200  # of a module's table; the rest is counted
MOST_KERNELS = 20  # of a profile


def table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = (), parts: Sequence[float] = (), notes: Sequence[str] = ()) -> str:
    """Rows of text as an HTML table: columns ``right`` are flush right, ``parts`` (0 to 1, one a row) become bars, ``notes``
    are the lines below.

    Example:
        >>> from numtorch.display import table
        >>> table(["op", "us"], [["a<b", "3"]])[:56]
        '<table><thead><tr><th style="text-align:left">op</th><th'
    """

    def cell(tag: str, k: int, text: str) -> str:
        style = "text-align:right" if k in right else "text-align:left;white-space:pre" if tag == "td" else "text-align:left"
        return f'<{tag} style="{style}">{escape(text)}</{tag}>'

    heads = "".join(cell("th", k, c) for k, c in enumerate(head)) + ("<th></th>" if parts else "")
    lines = []
    for number, row in enumerate(rows):
        bar = f'<td style="text-align:left">{_bar(parts[number])}</td>' if parts else ""
        lines.append(f"<tr>{''.join(cell('td', k, c) for k, c in enumerate(row))}{bar}</tr>")
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(lines)}</tbody></table>{caption(notes)}"


def _bar(part: float) -> str:
    width = max(1, round(_BAR_WIDTH * min(max(part, 0.0), 1.0)))
    return f'<div style="{_BAR};width:{width}px"></div>'


def caption(lines: Sequence[str]) -> str:
    """Lines of fainter text."""
    return f'<div style="{_FAINT}">{"<br/>".join(map(escape, lines))}</div>' if lines else ""


def tensor(t: Any) -> str:
    """A tensor: its text, and below it what that leaves out: dtype, shape, device.

    Example:
        >>> import numtorch
        >>> "float32, shape [2, 3], cpu" in numtorch.zeros(2, 3)._repr_html_()
        True
    """
    shape = "without a shape yet" if is_lazy(t) else f"shape {list(t.shape)}"
    facts = [t.dtype.name, shape, str(t._layout.device), *(["requires grad"] if t._rg else [])]
    return f'<pre style="margin:0;padding:0 5px">{escape(repr(t))}</pre>{caption([", ".join(facts)])}'


def module(m: Any) -> str | None:
    """A module's tree with the parameters and buffers of each part; None if its class prints itself in its own way.

    Example:
        >>> import numtorch
        >>> "9 parameters" in numtorch.nn.Linear(2, 3)._repr_html_()
        True
    """
    if not type(m).__repr__.__module__.startswith(__name__.partition(".")[0] + "."):
        return None
    rows = list(_rows("", m, 0))
    more = len(rows) - _MOST_ROWS
    sizes = [(p, 0 if is_lazy(p) else p.numel()) for p in m.parameters()]
    trained = sum(n for p, n in sizes if p.requires_grad)
    total = sum(n for _, n in sizes)
    note = f"{total:,} parameters" + ("" if trained == total else f", {trained:,} of them trained")
    note += ", some without a shape yet" if any(is_lazy(p) for p, _ in sizes) else ""
    mode = "in training mode" if m.training else "in evaluation mode"
    notes = ([f"and {more:,} more lines"] if more > 0 else []) + [f"{note}; {mode}"]
    return table(["module", "kind", "parameters and buffers", "count"], rows[:_MOST_ROWS], right=(3,), notes=notes)


def _rows(name: str, m: Any, depth: int, times: int = 1) -> Iterator[list[str]]:
    """A module's line, and those of what it holds; neighbours that are alike become one."""
    held = [(n, t) for kind in (m._parameters, m._buffers) for n, t in kind.items() if t is not None]
    count = sum(p.numel() for p in m._parameters.values() if p is not None and not is_lazy(p))
    extra = " ".join(m.extra_repr().split())
    kind = (f"{times} x " if times > 1 else "") + m._get_name() + (f"({extra})" if extra else "")
    shapes = ", ".join(f"{n} {_shape(t)}" for n, t in held)
    yield ["    " * depth + (name or m._get_name()), kind if name or extra else "", shapes, f"{count:,}" if count else ""]
    runs: list[list[Any]] = []  # first and last name, the module, what must be alike, how many
    for key, child in m._modules.items():
        if child is None:
            continue
        look = (repr(child), [(n, _shape(t)) for n, t in (*child.named_parameters(), *child.named_buffers())])
        if runs and runs[-1][3] == look:
            runs[-1][1], runs[-1][4] = key, runs[-1][4] + 1
        else:
            runs.append([key, key, child, look, 1])
    for first, last, child, _, n in runs:
        yield from _rows(first if n == 1 else f"{first} to {last}", child, depth + 1, n)


def _shape(t: Any) -> str:
    return "without a shape yet" if is_lazy(t) else str(list(t.shape))
