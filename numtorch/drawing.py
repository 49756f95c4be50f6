"""Pictures of graphs as SVG, without any system package: boxes of text in layers, edges drawn between and around them.

The layout follows K. Sugiyama, S. Tagawa, M. Toda: "Methods for visual understanding of hierarchical system structures",
IEEE Trans. SMC 11 (1981): layers by longest path, long edges through place holders, few crossings by barycentres.
"""

from __future__ import annotations

import base64
import bisect
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

_CHAR, _LINE, _PAD = 6.9, 15.0, 8.0  # of the 11 pixel typewriter face; pixels
_GAP_X, _GAP_Y, _WIRE = 18.0, 34.0, 10.0
_SWEEPS = 8
_PULL = 0.9  # below 1: a long chain stays near the middle
_LONGEST = 8  # layers that an edge may span; a longer one is told in words
COLOURS = {
    "input": ("#e3f1e3", "#5b8c5a"), "op": ("#eef2fb", "#6479a8"), "fused": ("#fdf0dc", "#b98531"),
    "backward": ("#f3ebf8", "#8a6aa3"), "output": ("#fbe6e6", "#b05c5c"), "leaf": ("#e9f3f7", "#4f8ca3"),
    "faint": ("#f6f6f6", "#aaaaaa"),
}  # fmt: skip


@dataclass
class Box:
    """A box: its lines of text (the first one bold), its kind (a colour), what a pointer resting on it shows, and how
    other boxes call it.
    """

    lines: list[str]
    kind: str = "op"
    note: str = ""
    tag: str = ""
    x: float = 0.0  # centre
    y: float = 0.0  # top
    rank: int = 0

    @property
    def width(self) -> float:
        """In pixels."""
        return max(map(len, self.lines)) * _CHAR + 2 * _PAD

    @property
    def height(self) -> float:
        """In pixels."""
        return len(self.lines) * _LINE + _PAD


class _Wire(Box):
    """The place where a long edge passes through a layer."""

    tall = 0.0  # of its layer

    def __init__(self) -> None:
        super().__init__([""], "")

    @property
    def width(self) -> float:
        return _WIRE

    @property
    def height(self) -> float:
        return self.tall


@dataclass
class Drawing:
    """Boxes, and edges as pairs of their numbers. ``svg()`` lays them out and draws them.

    Example:
        >>> from numtorch.drawing import Box, Drawing
        >>> Drawing([Box(["x"], "input"), Box(["relu", "float32[3]"])], [(0, 1)]).svg()[:4]
        '<svg'
    """

    boxes: list[Box]
    edges: list[tuple[int, int]]
    layers: list[list[Box]] = field(default_factory=list)
    paths: list[list[Box]] = field(default_factory=list)  # of each edge: its end, the wires between, its other end
    width: float = 0.0
    height: float = 0.0

    def arrange(self) -> Drawing:
        """Give every box its place; returns the drawing."""
        if self.layers or not self.boxes:
            return self
        self.edges = sorted({(a, b) if a < b else (b, a) for a, b in self.edges if a != b})
        self._rank()
        self._wires()
        self._order()
        self._place()
        return self

    # -- layers

    def _rank(self) -> None:
        into: dict[int, list[int]] = {}
        out: dict[int, list[int]] = {}
        for a, b in self.edges:
            into.setdefault(b, []).append(a)
            out.setdefault(a, []).append(b)
        for k, box in enumerate(self.boxes):  # edges lead from lower numbers to higher ones
            box.rank = 1 + max((self.boxes[a].rank for a in into.get(k, ())), default=-1)
        for k in reversed(range(len(self.boxes))):  # what has no predecessor goes next to what follows it
            if k not in into and k in out:
                self.boxes[k].rank = min(self.boxes[b].rank for b in out[k]) - 1

    def _wires(self) -> None:
        self.layers = [[] for _ in range(1 + max(b.rank for b in self.boxes))]
        for box in self.boxes:
            self.layers[box.rank].append(box)
        for a, b in self.edges:
            first, last = self.boxes[a], self.boxes[b]
            if last.rank - first.rank > _LONGEST:
                last.lines = [*last.lines, f"  from {first.tag or first.lines[0]}"]
                continue
            path: list[Box] = [first]
            for rank in range(first.rank + 1, last.rank):
                wire = _Wire()
                wire.rank = rank
                self.layers[rank].append(wire)
                path.append(wire)
            self.paths.append([*path, last])

    def _neighbours(self) -> tuple[dict[int, list[Box]], dict[int, list[Box]]]:
        above: dict[int, list[Box]] = {}
        below: dict[int, list[Box]] = {}
        for path in self.paths:
            for upper, lower in itertools.pairwise(path):
                above.setdefault(id(lower), []).append(upper)
                below.setdefault(id(upper), []).append(lower)
        return above, below

    def _order(self) -> None:
        above, below = self._neighbours()
        best, fewest = [list(layer) for layer in self.layers], self._crossings()
        for sweep in range(_SWEEPS):
            down = sweep % 2 == 0
            near = above if down else below
            place = {id(b): float(k) for layer in self.layers for k, b in enumerate(layer)}

            def centre(b: Box, place: dict = place, near: dict = near) -> float:
                found = near.get(id(b))
                return sum(place[id(n)] for n in found) / len(found) if found else place[id(b)]

            for layer in self.layers if down else reversed(self.layers):
                layer.sort(key=centre)
                place.update({id(b): float(k) for k, b in enumerate(layer)})
            crossings = self._crossings()
            if crossings < fewest:
                best, fewest = [list(layer) for layer in self.layers], crossings
        self.layers = best

    def _crossings(self) -> int:
        place = {id(b): k for layer in self.layers for k, b in enumerate(layer)}
        total = 0
        between: dict[int, list[tuple[int, int]]] = {}
        for path in self.paths:
            for upper, lower in itertools.pairwise(path):
                between.setdefault(upper.rank, []).append((place[id(upper)], place[id(lower)]))
        for pairs in between.values():
            pairs.sort()
            ends: list[int] = []
            for _, end in pairs:
                total += len(ends) - bisect.bisect_right(ends, end)
                bisect.insort(ends, end)
        return total

    # -- places

    def _place(self) -> None:
        y = _PAD
        for layer in self.layers:
            tallest = max(b.height for b in layer)
            x = -sum(b.width + _GAP_X for b in layer) / 2
            for b in layer:
                if isinstance(b, _Wire):
                    b.tall = tallest
                b.x, b.y = x + b.width / 2, y + (tallest - b.height) / 2
                x += b.width + _GAP_X
            y += tallest + _GAP_Y
        self.height = y - _GAP_Y + _PAD
        above, below = self._neighbours()
        for sweep in range(_SWEEPS):
            near = above if sweep % 2 == 0 else below
            for layer in self.layers if sweep % 2 == 0 else reversed(self.layers):
                _settle(layer, near)
        every = [b for layer in self.layers for b in layer]
        left = min(b.x - b.width / 2 for b in every) - _PAD
        for b in every:
            b.x -= left
        self.width = max(b.x + b.width / 2 for b in every) + _PAD

    # -- drawing

    def svg(self) -> str:
        """The picture as a self-contained SVG element."""
        self.arrange()
        w, h = round(max(self.width, 40)), round(max(self.height, 20))
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{w}" height="{h}" viewBox="0 0 {w} {h}"'
            ' font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="11">',
            '<defs><marker id="nt-arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
            '<path d="M0 0 L8 4 L0 8 z" fill="#777"/></marker></defs>',
            f'<rect width="{w}" height="{h}" fill="white"/>',
        ]
        parts += [_edge(path) for path in self.paths]
        parts += [_box(b) for b in self.boxes]
        return "\n".join([*parts, "</svg>"])


def _settle(layer: Sequence[Box], near: dict[int, list[Box]]) -> None:
    """Move the boxes of a layer towards their neighbours without changing the order or letting them overlap."""
    wanted = []
    for b in layer:
        found = near.get(id(b))
        wanted.append(_PULL * (sum(n.x for n in found) / len(found) if found else b.x))
    # Boxes that would overlap form a block that stands where its members on average want it.
    blocks: list[tuple[float, int, float, list[tuple[Box, float]]]] = []  # sum of wishes, members, width, (box, place in block)
    for b, x in zip(layer, wanted):
        total, count, width, members = x - b.width / 2, 1, b.width, [(b, 0.0)]
        while blocks and blocks[-1][0] / blocks[-1][1] + blocks[-1][2] + _GAP_X > total / count:
            t, n, w, earlier = blocks.pop()
            shift = w + _GAP_X
            members = [*earlier, *((m, at + shift) for m, at in members)]
            total, count, width = t + total - count * shift, n + count, shift + width
        blocks.append((total, count, width, members))
    for total, count, _, members in blocks:
        for b, at in members:
            b.x = total / count + at + b.width / 2


def _edge(path: Sequence[Box]) -> str:
    """A smooth line through the places of an edge."""
    x, y = path[0].x, path[0].y + path[0].height
    parts = [f"M{x:.1f} {y:.1f}"]
    for b in path[1:]:
        middle = (y + b.y) / 2
        parts.append(f"C{x:.1f} {middle:.1f} {b.x:.1f} {middle:.1f} {b.x:.1f} {b.y:.1f}")
        x, y = b.x, b.y
        if isinstance(b, _Wire):
            y += b.height
            parts.append(f"L{x:.1f} {y:.1f}")
    return f'<path d="{" ".join(parts)}" fill="none" stroke="#777" stroke-width="1.1" marker-end="url(#nt-arrow)"/>'


def _box(b: Box) -> str:
    fill, stroke = COLOURS.get(b.kind, COLOURS["op"])
    left = b.x - b.width / 2
    rows = [
        f'<g><rect x="{left:.1f}" y="{b.y:.1f}" width="{b.width:.1f}" height="{b.height:.1f}" rx="5" fill="{fill}"'
        f' stroke="{stroke}"/>'
    ]
    for k, text in enumerate(b.lines):
        weight = ' font-weight="bold"' if k == 0 else ' fill="#444"'
        rows.append(f'<text x="{left + _PAD:.1f}" y="{b.y + (k + 1) * _LINE:.1f}"{weight} xml:space="preserve">{escape(text)}</text>')
    if b.note:
        rows.append(f"<title>{escape(b.note)}</title>")
    return "".join([*rows, "</g>"])


def embedded(svg: str) -> str:
    """HTML that shows a picture in a notebook: as an image, because notebooks that were not run here drop bare SVG as unsafe."""
    data = base64.b64encode(svg.encode()).decode()
    return f'<div style="overflow:auto;max-height:44em;border:1px solid #ddd"><img src="data:image/svg+xml;base64,{data}" style="max-width:none"></div>'
