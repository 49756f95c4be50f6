"""A picture of a recorded graph for notebooks: one box a kernel, fused ops in one box, arrows where values go."""

from __future__ import annotations

from html import escape
from typing import Any

from ..drawing import Box, Drawing, embedded
from .listing import Graph, Group, short
from .names import described
from .record import Ref, ref

_MOST_LINES = 9  # of one box; the rest is told when the pointer rests on it


def drawing(graph: Graph) -> Drawing:
    """Boxes and edges of a graph."""
    made = _Maker(graph)
    return Drawing(made.boxes, made.edges)


def bundle(graph: Graph) -> dict[str, str]:
    """What a notebook shows: text, an SVG picture, and HTML with both."""
    svg, text = drawing(graph).svg(), str(graph)
    page = (
        embedded(svg)
        + f"<details><summary>{escape(graph.name)}: {escape(graph.summary)}</summary>"
        f'<pre style="font-size:11px">{escape(text)}</pre></details>'
    )
    return {"text/plain": text, "image/svg+xml": svg, "text/html": page}


class _Maker:
    def __init__(self, graph: Graph):
        self.graph, self.names = graph, graph.names
        self.boxes: list[Box] = []
        self.edges: list[tuple[int, int]] = []
        self.written: dict[int, int] = {}  # storage -> the box that wrote it last
        self.readers: dict[int, set[int]] = {id(o.ref.storage): {0} for o in graph.path.outputs}  # storage -> groups, 0: the caller
        for group in (*graph.groups, *graph.backward_groups):
            for r in (r for e in group.entries for r in e.inputs if isinstance(r, Ref)):
                self.readers.setdefault(id(r.storage), set()).add(id(group))
        for k, r in enumerate(graph.path.inputs):
            self._add(Box([f"input{k}", described(r.layout)], "input", "", f"input{k}"))
            self.written.setdefault(id(r.storage), len(self.boxes) - 1)
        for group in graph.groups:
            self._group(group, False)
        self._results("output", [o.ref for o in graph.path.outputs])
        for who, g, _ in graph.path.grads:
            self._told(g, ".grad of", who)
        for k, r in enumerate(graph.path.given):
            self._add(Box([f"gradient{k}", described(r.layout)], "input"))
            self.written[id(r.storage)] = len(self.boxes) - 1
        for group in graph.backward_groups:
            self._group(group, True)
        for who, g in zip(graph.path.leaves, graph.path.leaf_grads):
            self._told(g, "gradient of", who)

    def _told(self, r: Any, what: str, who: Any) -> None:
        """A line in the box that computes a gradient: whose it is."""
        source = None if r is None else self.written.get(id(r.storage))
        if source is not None:
            name = f"input{who[1]}" if type(who) is tuple else self.names.of(ref(who))
            self.boxes[source].lines.append(f"  {what} {name}")

    def _add(self, box: Box) -> int:
        self.boxes.append(box)
        return len(self.boxes) - 1

    def _group(self, group: Group, backward: bool) -> None:
        if group.kernels == 0:  # optimised away: whoever reads it reads what it was made of
            for e in group.entries:
                sources = [self.written[id(r.storage)] for r in e.inputs if isinstance(r, Ref) and id(r.storage) in self.written]
                for r in e.outputs:
                    if sources:
                        self.written[id(r.storage)] = max(sources)
            return
        fused = len(group.entries) > 1
        kind = "fused" if fused else "backward" if backward or group.entries[0].backward else "op"
        number = self._add(Box(self._lines(group), kind, "\n".join(map(self.graph.line, group.entries)), self._tag(group)))
        read: set[int] = set()
        for e in group.entries:
            for r in (*e.inputs, *e.outputs):
                if isinstance(r, Ref) and self.names.of(r) != "rng":
                    source = self.written.get(id(r.storage))
                    if source is not None and source != number:
                        read.add(source)
            for r in e.outputs:
                self.written[id(r.storage)] = number
        self.edges += [(source, number) for source in sorted(read)]

    def _tag(self, group: Group) -> str:
        return ", ".join(dict.fromkeys(self.names.of(r) for r in group.entries[-1].outputs[:1]))

    def _lines(self, group: Group) -> list[str]:
        made = {id(r.storage) for e in group.entries for r in e.outputs}
        lines = [group.name if len(group.name) <= 40 else f"{group.name[:37]}..."]
        if len(group.entries) > 1:
            lines += [f"  {e.name}" for e in group.entries]
        held = dict.fromkeys(
            self.names.typed(r) for e in group.entries for r in e.inputs
            if isinstance(r, Ref) and id(r.storage) not in made and self.names.of(r) in self.names.captured
        )  # fmt: skip
        lines += [f"  with {text}" for text in held]
        for e in group.entries:
            for r in e.outputs[:1]:
                if e is group.entries[-1] or self.readers.get(id(r.storage), set()) - {id(group)}:
                    lines.append(f"  = {self.names.typed(r)}")
        line = short(group.entries[-1].line)
        lines += [line] if line else []
        return lines if len(lines) <= _MOST_LINES else [*lines[: _MOST_LINES - 2], f"  ... {len(lines) - _MOST_LINES + 1} more", lines[-1]]

    def _results(self, label: str, refs: list[Any]) -> None:
        for k, r in enumerate(refs):
            name = self.names.of(r) if not self.names.of(r).startswith("%") else ""
            number = self._add(Box([f"{label} {k}" if len(refs) > 1 else label, name or described(r.layout)], "output"))
            source = self.written.get(id(r.storage))
            if source is not None:
                self.edges.append((source, number))
