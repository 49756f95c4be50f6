"""A picture of the autograd graph: what a tensor was computed from, node by node, for notebooks and for print."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from ..drawing import Box, Drawing, embedded
from .blame import _saved
from .engine import Node


class AutogradGraph:
    """The nodes behind some tensors, from the leaves to the results; ``print`` it, or let a notebook draw it.

    ``nodes``: in the order in which they were made; ``leaves``: the tensors that gradients arrive at.
    """

    def __init__(self, tensors: tuple[Any, ...], names: Mapping[str, Any]):
        self.tensors = tensors
        self.names = {id(t): name for name, t in names.items()}
        self.nodes: list[Node] = []
        self.leaves: list[Any] = []
        self._walk()

    def _walk(self) -> None:
        seen: set[int] = set()
        leaves: dict[int, Any] = {}
        stack = []
        for t in self.tensors:
            node = t._grad_fn()
            if node is None:
                leaves[id(t)] = t
            else:
                stack.append(node)
        while stack:
            node = stack.pop()
            if id(node) in seen:
                continue
            seen.add(id(node))
            self.nodes.append(node)
            for edge in node.edges:
                if type(edge) is tuple:
                    stack.append(edge[0])
                elif edge is not None:
                    leaves[id(edge)] = edge
        self.nodes.sort(key=lambda n: n.seq)
        self.leaves = list(leaves.values())

    # -- text

    def _leaf(self, t: Any) -> str:
        name = self.names.get(id(t), f"leaf {next(k for k, x in enumerate(self.leaves) if x is t)}")
        return f"{name}: {t._layout.dtype.name}{list(t._layout.shape)}"

    def _results(self, node: Node) -> str:
        return ", ".join(f"{la.dtype.name}{list(la.shape)}" for la in node.out_metas if la is not None)

    def _lines(self, node: Node) -> list[str]:
        lines = [node.title, f"  = {self._results(node)}"]
        saved = [(name, t) for name, t in _saved(node)]
        if saved:
            size = sum(t._layout.numel * t._layout.itemsize for _, t in saved)
            lines.append(f"  keeps {', '.join(name for name, _ in saved)} ({size} bytes)")
        if getattr(node, "freed", False):
            lines.append("  freed")
        if node.trace_back is not None:
            line = node.trace_back.stack.line
            lines += [f"  in {node.trace_back.module}"] if node.trace_back.module else []
            lines += [line.rpartition("/")[2]] if line else []
        return lines

    def __str__(self) -> str:
        numbers = {id(n): k for k, n in enumerate(self.nodes)}
        rows = [f"  {self._leaf(t)}" for t in self.leaves]
        for k, node in enumerate(self.nodes):
            given = [
                f"%{numbers[id(edge[0])]}" if type(edge) is tuple else self._leaf(edge).partition(":")[0]
                for edge in node.edges
                if edge is not None
            ]
            head, *rest = self._lines(node)
            rows.append(f"  %{k}: {self._results(node)} = {head}({', '.join(given)}){'; '.join(['', *(r.strip() for r in rest[1:])])}")
        return "\n".join([f"{len(self.nodes)} nodes, {len(self.leaves)} leaves", *rows])

    __repr__ = __str__

    # -- picture

    def drawing(self) -> Drawing:
        """Boxes and arrows, leaves first."""
        boxes = [Box(self._leaf(t).split(": "), "leaf") for t in self.leaves]
        place: dict[int, int] = {id(t): k for k, t in enumerate(self.leaves)}
        edges: list[tuple[int, int]] = []
        for k, node in enumerate(self.nodes):
            place[id(node)] = len(boxes)
            note = str(node.trace_back.stack) if node.trace_back is not None else ""
            boxes.append(Box(self._lines(node), "backward", note, f"%{k}"))
            before = [edge[0] if type(edge) is tuple else edge for edge in node.edges if edge is not None]
            edges += [(place[id(x)], place[id(node)]) for x in before]
        for t in self.tensors:
            node = t._grad_fn()
            boxes.append(Box([self.names.get(id(t), "result"), f"{t._layout.dtype.name}{list(t._layout.shape)}"], "output"))
            edges.append((place[id(t if node is None else node)], len(boxes) - 1))
        return Drawing(boxes, edges)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        svg, text = self.drawing().svg(), str(self)
        page = (
            embedded(svg)
            + f'<details><summary>{escape(text.splitlines()[0])}</summary><pre style="font-size:11px">{escape(text)}</pre></details>'
        )
        return {"text/plain": text, "image/svg+xml": svg, "text/html": page}


def graph(*tensors: Any, params: Any = None) -> AutogradGraph:
    """The autograd graph behind tensors, to be printed or drawn in a notebook.

    ``params``: names for leaves, a dict or what ``named_parameters()`` gives, or the module itself. Under ``detect_anomaly``
    every node also tells its module and line.

    Raises:
        RuntimeError: none of the tensors requires grad.

    Example:
        >>> import numtorch
        >>> w = numtorch.ones(2, requires_grad=True)
        >>> numtorch.autograd.graph.graph((w * 2).sum(), params={"w": w})
        2 nodes, 1 leaves
          w: float32[2]
          %0: float32[2] = MulBackward0(w)
          %1: float32[] = SumBackward0(%0)
    """
    if not tensors or not any(t._rg for t in tensors):
        raise RuntimeError("graph: expected a tensor that requires grad; nothing was recorded behind this one")
    if params is not None and hasattr(params, "named_parameters"):
        params = params.named_parameters()
    return AutogradGraph(tensors, dict(params or {}))
