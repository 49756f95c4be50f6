"""``summary``: a model's layers with their shapes, parameters, operations and memory."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple


class Layer(NamedTuple):
    """One call of one module."""

    name: str
    kind: str
    depth: int
    inputs: str
    outputs: str
    parameters: int  # its own, not those of submodules
    trainable: int
    flops: int  # of its own ops
    bytes: int  # of its results
    is_leaf: bool


class Summary:
    """The layers in the order of their calls; ``print`` it. ``layers`` and the totals are numbers."""

    def __init__(self, name: str, layers: list[Layer], parameters: int, trainable: int, buffers: int, input_bytes: int):
        self.name, self.layers = name, layers
        self.parameters, self.trainable, self.buffer_bytes, self.input_bytes = parameters, trainable, buffers, input_bytes
        self.parameter_bytes = 0

    @property
    def flops(self) -> int:
        """Floating point operations of one forward pass (a multiply-add is two)."""
        return sum(layer.flops for layer in self.layers)

    @property
    def activation_bytes(self) -> int:
        """Bytes of the results of all layers that have no submodules."""
        return sum(layer.bytes for layer in self.layers if layer.is_leaf)

    def table(self) -> list[list[str]]:
        """The rows as text."""
        rows = [["layer", "kind", "input", "output", "parameters", "FLOPs"]]
        for layer in self.layers:
            indent = "  " * layer.depth
            rows.append([
                indent + layer.name, layer.kind, layer.inputs, layer.outputs,
                f"{layer.parameters:,}" if layer.parameters else "", f"{layer.flops:,}" if layer.flops else "",
            ])  # fmt: skip
        return rows

    def totals(self) -> list[str]:
        """The lines below the table."""
        return [
            f"{self.parameters:,} parameters ({self.trainable:,} trained), {_size(self.parameter_bytes)};"
            f" buffers {_size(self.buffer_bytes)}",
            f"{self.flops:,} FLOPs forward; input {_size(self.input_bytes)}, results of layers {_size(self.activation_bytes)}",
        ]

    def __str__(self) -> str:
        rows = self.table()
        widths = [max(len(r[k]) for r in rows) for k in range(len(rows[0]))]
        lines = ["  ".join(c.rjust(w) if k > 3 else c.ljust(w) for k, (c, w) in enumerate(zip(r, widths))).rstrip() for r in rows]
        return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:], "-" * len(lines[0]), *self.totals()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from ..display import table

        head, *rows = self.table()
        return table(head, rows, right=(4, 5), notes=self.totals())


def _size(nbytes: int) -> str:
    value, unit = float(nbytes), "B"
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.2f} {unit}"


def summary(model: Any, input_size: Any = None, *, input_data: Any = None, dtypes: Sequence[Any] | None = None) -> Summary:
    """Run a model once on zeros of ``input_size`` (a shape, or a list of shapes) or on ``input_data``, and list its layers.

    Nothing changes: the run is undone (batch statistics, random numbers). Raises ValueError without an input.

    Example:
        >>> import numtorch
        >>> net = numtorch.nn.Sequential(numtorch.nn.Linear(4, 3), numtorch.nn.ReLU())
        >>> numtorch.utils.summary(net, (2, 4)).parameters
        15
    """
    inputs = _inputs(input_size, input_data, dtypes)
    layers = _run(model, inputs)
    parameters = list(model.parameters())
    buffers = sum(b._layout.numel * b._layout.itemsize for b in model.buffers())
    found = Summary(
        type(model).__name__, layers, sum(p.numel() for p in parameters), sum(p.numel() for p in parameters if p.requires_grad),
        buffers, _bytes(inputs),
    )  # fmt: skip
    found.parameter_bytes = _bytes(parameters)
    return found


def _inputs(input_size: Any, input_data: Any, dtypes: Sequence[Any] | None) -> tuple[Any, ...]:
    import numtorch

    if input_data is not None:
        return tuple(input_data) if isinstance(input_data, (tuple, list)) else (input_data,)
    if input_size is None:
        raise ValueError("summary: expected input_size (a shape or a list of shapes) or input_data")
    sizes = [input_size] if all(isinstance(n, int) for n in input_size) else list(input_size)
    kinds = list(dtypes or [numtorch.get_default_dtype()] * len(sizes))
    if len(kinds) != len(sizes):
        raise ValueError(f"summary: expected one dtype for each of {len(sizes)} inputs, got {len(kinds)}")
    return tuple(numtorch.zeros(*size, dtype=kind) for size, kind in zip(sizes, kinds))


def _run(model: Any, inputs: tuple[Any, ...]) -> list[Layer]:
    """Call the model under a recorder, noting where each module begins and ends."""
    from ..autograd.mode import no_grad
    from ..jit.costs import flops
    from ..jit.record import Recording

    calls: list[list[Any]] = []  # [name, module, depth, inputs, first entry, own flops so far, outputs]
    stack: list[list[Any]] = []
    handles = []
    with Recording() as r:

        def settle() -> None:
            """Give the ops since the last look to the innermost running module."""
            new = r.entries[done[0] :]
            done[0] = len(r.entries)
            if stack:
                stack[-1][4] += sum(map(flops, new))

        done = [0]

        def enter(module: Any, args: Any, name: str) -> None:
            settle()
            call = [name, module, len(stack), _shapes(args), 0, None]
            calls.append(call)
            stack.append(call)

        def leave(module: Any, args: Any, result: Any) -> None:
            settle()
            stack.pop()[5] = result

        for name, m in model.named_modules():
            label = name.rpartition(".")[2] or type(model).__name__
            handles.append(m.register_forward_pre_hook(lambda m, a, label=label: enter(m, a, label)))
            handles.append(m.register_forward_hook(leave))
        try:
            with no_grad(), warnings.catch_warnings():
                model(*inputs)
        finally:
            for h in handles:
                h.remove()
            r.roll_back()
    return [_layer(*call) for call in calls]


def _layer(name: str, m: Any, depth: int, inputs: str, work: int, result: Any) -> Layer:
    own = list(m.parameters(recurse=False))
    trainable = sum(p.numel() for p in own if p.requires_grad)
    leaf = next(m.children(), None) is None
    return Layer(name, type(m).__name__, depth, inputs, _shapes(result), sum(p.numel() for p in own), trainable, work, _bytes(result), leaf)


def _flat(x: Any) -> list[Any]:
    if hasattr(x, "_layout"):
        return [x]
    if isinstance(x, dict):
        x = list(x.values())
    return [t for y in x for t in _flat(y)] if isinstance(x, (tuple, list)) else []


def _shapes(x: Any) -> str:
    return ", ".join(str(list(t.shape)) for t in _flat(x))


def _bytes(x: Any) -> int:
    return sum(t._layout.numel * t._layout.itemsize for t in _flat(x))
