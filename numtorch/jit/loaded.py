"""A function from a file: it runs the recorded ops one by one, and ``trace`` makes a program of that as of any function.

So a loaded trace takes the same way as a new one: kernels are chosen and fused for this processor, values that the
function had looked at are compared, effects happen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._tensor import Tensor
from ..autograd.engine import Node
from ..autograd.mode import no_grad, state
from ..errors import second_backward_error
from ..nn.parameter import Parameter
from ..storage import Storage, allocate
from . import tree
from .file import TraceFileError
from .memory import snapshot
from .nodes import FreedNode
from .record import RangeCheck, Ref
from .stored import StoredEntry, StoredPath, alternatives
from .values import LiveNumber


class OtherPathNeeded(RuntimeError):
    """A call went another way than all that were saved."""


class Loaded:
    """The function of a saved trace.

    ``options``: numbers that each call reads anew (learning rates and the like), to be changed at will.
    """

    def __init__(self, name: str, paths: list[StoredPath], tensors: list[Any], storages: list[Any], options: dict[str, float]):
        self.__name__ = name
        self._paths, self._tensors, self._storages = paths, tensors, storages
        self.options = options
        self.ops: dict[int, Any] = {}  # of the entries, by id

    # -- what a user may look at

    def named_tensors(self) -> dict[str, Tensor]:
        """Parameters, buffers and optimizer state, by name."""
        return {x.name: x.tensor for x in self._tensors if x.name}

    def named_parameters(self) -> list[tuple[str, Tensor]]:
        """The parameters with their names."""
        return [(x.name, x.tensor) for x in self._tensors if isinstance(x.tensor, Parameter)]

    def parameters(self) -> list[Tensor]:
        """The parameters."""
        return [t for _, t in self.named_parameters()]

    def state_dict(self) -> dict[str, Tensor]:
        """Parameters and buffers of the traced modules, by name; the tensors share their memory."""
        return {x.name: x.tensor.detach() for x in self._tensors if x.of_module}

    def load_state_dict(self, state_dict: dict[str, Tensor]) -> None:
        """Copy values in by name; KeyError for a missing name, RuntimeError for a wrong shape."""
        with no_grad():
            for name, t in self.state_dict().items():
                if name not in state_dict:
                    raise KeyError(f"load_state_dict: {name!r} is missing")
                t.copy_(state_dict[name])

    # -- calls

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        leaves: list[Any] = []
        structure = tree.flatten((args, kwargs), leaves)
        path = self._choose(structure, leaves)
        if state.recorder is not None:
            state.recorder.labels.update({id(x.tensor._storage): x.name for x in self._tensors if x.name})
        run = Run(self, path, leaves)
        with no_grad():
            run.forward()
        outputs = run.finish()
        return tree.unflatten(run.path.result, outputs)

    def _choose(self, structure: Any, leaves: Sequence[Any]) -> StoredPath:
        fitting = [p for p in self._paths if p.fits(structure, leaves)]
        exact = [p for p in fitting if p.mode == (state.grad, state.inference)]
        found = [p for p in exact or fitting if (exact or not p.steps) and self._same_grads(p, leaves)]
        if found:
            return found[0]
        given = ", ".join(f"{t.dtype.name}{list(t.shape)}" + (f" on {t.device}" if t.is_cuda else "") for t in leaves)
        saved = "; ".join(dict.fromkeys(p.signature for p in self._paths))
        raise OtherPathNeeded(
            f"{self.__name__}: the file holds no program for this call ({given}); it was saved for {saved}. Call the original"
            " trace this way once before saving it"
        )

    def _same_grads(self, path: StoredPath, leaves: Sequence[Any]) -> bool:
        return all((self.who(t, leaves).grad is not None) == present for t, present in path.grad_reads)

    def who(self, who: Any, leaves: Sequence[Any]) -> Any:
        """An argument or a tensor of the file."""
        return leaves[who[1]] if who[0] == "input" else self._tensors[who[1]].tensor

    def op(self, e: StoredEntry) -> Any:
        """The op of an entry."""
        return self.ops[id(e)]


class Run:
    """One call of a loaded function: where each storage of the path is, and what was done so far."""

    def __init__(self, function: Loaded, path: StoredPath, leaves: Sequence[Any]):
        self.function, self.path, self.leaves = function, path, list(leaves)
        self.places: dict[int, tuple[Any, int]] = {}  # number -> (storage, shift in bytes)
        self.at = 0

    # -- memory

    def place(self, number: int) -> tuple[Any, int]:
        """The storage of a number, and by how many bytes everything in it lies elsewhere than in the recording."""
        found = self.places.get(number)
        if found is None:
            found = self.places[number] = self._find(number)
        return found

    def _find(self, number: int) -> tuple[Any, int]:
        row = self.function._storages[number]
        if isinstance(row, Storage):
            return row, 0
        kind = row["kind"]
        if kind == "local":
            return allocate(row["nbytes"]), 0
        if kind == "input":
            t, recorded = self.leaves[row["input"]], self.path.inputs[row["input"]]
            return t._storage, (t._offset - recorded.offset) * t._layout.itemsize
        owner = self.function.who(row["of"], self.leaves) if kind == "grad" else self.function._tensors[row["tensor"]].tensor
        if state.recorder is not None:
            state.recorder.alias(owner, owner)
        t = owner.grad if kind == "grad" else owner
        if t is None:
            raise OtherPathNeeded(f"{self.function.__name__}: a gradient that the program reads is gone; keep .grad")
        if kind == "tensor" and t._layout is not self.function._tensors[row["tensor"]].layout:
            raise OtherPathNeeded(f"{self.function.__name__}: a parameter now has the shape {list(t.shape)}; keep its shape and strides")
        return t._storage, (t._offset - row["offset"]) * t._layout.itemsize

    def tensor(self, r: Ref) -> Tensor:
        """The tensor at a place of the path."""
        storage, shift = self.place(r.storage)
        offset = r.offset + shift // r.layout.itemsize
        low, high = r.layout.numel and offset * r.layout.itemsize, storage.nbytes
        if low < 0 or low > high:
            raise RuntimeError(f"{self.function.__name__}: an argument's memory is smaller than when it was recorded")
        return Tensor._make(storage, offset, r.layout)

    def value(self, x: Any) -> Any:
        """An operand: tensors from their places, options read anew."""
        if isinstance(x, Ref):
            return self.tensor(x)
        if type(x) is LiveNumber:
            from ..ops.updates import live

            options, name = self.function.options, list(self.function.options)[x]
            return live(lambda: options[name])
        return type(x)(map(self.value, x)) if type(x) in (tuple, list) else x

    # -- running

    def forward(self) -> None:
        """All ops of the path, or of another saved one once a value that was looked at differs."""
        for number, content in self.path.constants:
            self._restore(number, content)
        while True:
            self.path = self._look()
            if self.at == len(self.path.forward):
                return
            self.step(self.path.forward[self.at])
            self.at += 1

    def _restore(self, number: int, content: bytes) -> None:
        import numpy as np

        from ..creation import from_numpy
        from ..dtype import uint8
        from ..ops.copying import write
        from ..shape import contiguous

        storage, _ = self.place(number)
        t = Tensor._make(storage, 0, contiguous((len(content),), uint8))
        write(t, from_numpy(np.frombuffer(content, np.uint8).copy()))

    def step(self, e: StoredEntry, line: str = "") -> None:
        """One op, which anomaly detection says to be at ``line`` (by default where it was recorded)."""
        recorder = state.recorder
        before = len(recorder.entries) if recorder is not None else 0
        anomaly = state.anomaly
        if anomaly is not None:
            anomaly.line = line or e.line
        try:
            outputs = self._do(self.function.op(e), e)
        finally:
            if anomaly is not None:
                anomaly.line = ""
        for t in outputs:
            t._storage.version += 1
        if recorder is not None:
            for noted in recorder.entries[before:]:
                noted.line = e.line

    def _do(self, op: Any, e: StoredEntry) -> list[Tensor]:
        outputs = [self.tensor(r) for r in e.outputs]
        args = [self.value(a) for a in e.args]
        if e.attrs is None:
            self._elementwise(op, outputs, args)
        else:
            made = len(outputs) - len(op.mutated(args))
            op.run(outputs[:made], tuple(args), {k: self.value(v) for k, v in e.attrs.items()})
        return outputs

    def _elementwise(self, op: Any, outputs: list[Tensor], args: list[Any]) -> None:
        la = outputs[0]._layout
        key = ("file", *[t._layout for t in outputs], *[a._layout if isinstance(a, Tensor) else type(a) for a in args])
        plan = op._plans.get(key)
        if plan is None:
            from ..shape import broadcast

            shapes = [a._layout.shape for a in args if isinstance(a, Tensor)]
            if len(args) != len(op.params) or len(outputs) != op.count or broadcast(la.shape, *shapes) != la.shape:
                raise TraceFileError(f"jit.load: the file calls {op.name} with operands that don't fit: {shapes}")
            plan, args = op.plan(key, tuple(args), out=[t._layout for t in outputs])
        op.execute(plan, outputs, args)

    # -- values that the function had looked at

    def _look(self) -> StoredPath:
        """Compare the values that were read here; the path itself, or the saved one that goes on with these values."""
        path = self.path
        for k, (at, source, wanted) in enumerate(path.guards):
            if at != self.at:
                continue
            if isinstance(wanted, RangeCheck):
                self._check_range(source, wanted)
                continue
            now = self._read(source, wanted)
            if not _same_value(now, wanted):
                for other in alternatives(self.function._paths, path, k):
                    if _same_value(now, other.guards[k][2]):
                        self._renumber(path, other)
                        self.path = other
                        return self._look()
                raise OtherPathNeeded(
                    f"{self.function.__name__}: a value that it reads in Python is {now!r} now, and no saved path goes on from"
                    " there; call the original trace with such values before saving it"
                )
        return path

    def _renumber(self, old: StoredPath, new: StoredPath) -> None:
        """Give the memory made so far its numbers in the other path, which is the same up to here."""
        pairs = [(a, b) for e, f in zip(old.forward[: self.at], new.forward[: self.at])
                 for a, b in zip((*e.outputs, *e.args), (*f.outputs, *f.args)) if isinstance(a, Ref)]  # fmt: skip
        for a, b in pairs:
            if a.storage in self.places:
                self.places[b.storage] = self.places[a.storage]

    def _read(self, source: Ref, wanted: Any) -> Any:
        t = self.tensor(source)
        if isinstance(wanted, bytes):
            if state.recorder is not None:
                state.recorder.read(t, "numpy")
            return snapshot(t._storage)
        one = Tensor._make(t._storage, t._offset, _scalar(t._layout))
        return one.item()

    def _check_range(self, source: Ref, wanted: RangeCheck) -> None:
        t = self.tensor(source)
        if state.recorder is not None:
            state.recorder.check_range(t, wanted.low, wanted.high, wanted.make_error)
            return
        low, high = t.tolist()
        if low < wanted.low or high > wanted.high:
            raise wanted.make_error(low if low < wanted.low else high)

    # -- results

    def finish(self) -> list[Any]:
        """Gradients that were set, and the outputs with their history."""
        path = self.path
        for who, r, same in path.grads:
            target = self.function.who(who, self.leaves)
            if r is None:
                target.grad = None
            elif not same:
                target.grad = self.tensor(r)
        outputs = [self._output(*o) for o in path.outputs]
        if path.differentiable and state.grad:
            targets = [self.function.who(w, self.leaves) for w in path.leaves]
            node = LoadedNode(self, targets, len(path.differentiable))
            for k, i in enumerate(path.differentiable):
                node.out_metas[k] = outputs[i]._layout
                outputs[i]._set_history(node, k)
        return outputs

    def _output(self, r: Ref, requires_grad: bool, same: Any) -> Any:
        if same is not None:
            return self.function.who(same, self.leaves)
        row = self.function._storages[r.storage]
        if isinstance(row, dict) and row["kind"] in ("input", "tensor"):
            owner = self.function.who(("input", row["input"]) if row["kind"] == "input" else ("tensor", row["tensor"]), self.leaves)
            t = self.tensor(r)
            with no_grad():
                return owner.detach().as_strided(r.layout.shape, r.layout.strides, t._offset)
        t = self.tensor(r)
        if requires_grad and not self.path.differentiable:
            node = FreedNode((), 1)
            node.out_metas[0] = t._layout
            t._set_history(node, 0)
        return t


def _scalar(la: Any) -> Any:
    from ..shape import contiguous

    return contiguous((), la.dtype)


def _same_value(a: Any, b: Any) -> bool:
    return type(a) is type(b) and (a == b or (a != a and b != b))


def _forward_line(forward: Sequence[StoredEntry], e: StoredEntry) -> str:
    """The line of the forward op that a derivative belongs to: the same op on the same memory."""
    if e.op[0] == "grad":
        mine = {r.storage for r in (*e.args, *e.outputs) if isinstance(r, Ref)}
        for f in reversed(forward):
            if f.op == e.op[1] and mine & {r.storage for r in (*f.args, *f.outputs) if isinstance(r, Ref)}:
                return f.line
    return ""


class LoadedNode(Node):
    """History of what a loaded forward gave: its backward runs the recorded backward ops."""

    title = "LoadedBackward0"
    has_ops = True  # anomaly detection looks at them one by one

    def __init__(self, run: Run, inputs: Sequence[Any], outputs: int):
        Node.__init__(self, inputs, outputs)
        self.call: Run | None = run
        self.freed = False

    def release(self) -> None:
        """Drop the memory of the forward."""
        self.call, self.freed = None, True

    def run(self, grads: list[Any]) -> Any:
        """The gradients of the leaves."""
        run = self.call
        if run is None:
            raise second_backward_error(self)
        if state.grad:
            raise RuntimeError(
                f"{run.function.__name__}: a loaded trace has no second derivative; trace the function that computes the first"
                " one, and save that"
            )
        from ..creation import zeros_like
        from ..ops.copying import write
        from ..ops.declare import empty_like_layout

        for r, g in zip(run.path.given, grads):
            t = empty_like_layout(r.layout)
            write(t, zeros_like(t) if g is None else g)
            run.places[r.storage] = (t._storage, -r.offset * r.layout.itemsize)
        for e in run.path.backward:
            run.step(e, _forward_line(run.path.forward, e))
        return [None if g is None else run.tensor(g) for g in run.path.leaf_grads]
