"""Copies: casts between dtypes, ``clone``, ``contiguous``, ``copy_``, ``to``."""

from __future__ import annotations

from typing import Any

from .._tensor import Tensor
from ..autograd.engine import Node
from ..autograd.mode import state, watchers
from ..device import canonical, device
from ..dtype import dtype
from ..errors import no_dtype, tensors_only
from ..memo import Memo
from ..memory_format import contiguous_format, in_format, is_in, preserve_format
from ..shape import broadcast
from ..shape import contiguous as contiguous_layout
from . import ways
from .declare import attach, empty_like_layout
from .elementwise import clone_values
from .inplace import Written, check_inplace, rebase
from .pointwise import Elementwise


def _identity(input):
    """The value as it is: reading and writing change the dtype."""
    return input


def _through(g):
    """The gradient of a copy: the engine brings it to the source's dtype."""
    return g


class Cast(Elementwise):
    """A copy in another dtype."""

    def __init__(self, target: dtype):
        super().__init__(_identity, name=f"to_{target.name}")
        self.target = target
        self.node_name = "ToCopyBackward0"
        self.grad_body = _through if target.is_floating_point else None

    def result_dtype(self, compute: dtype) -> dtype:
        return self.target


_casts: dict[dtype, Cast] = {}
_write = Elementwise(_identity, name="copy")


def cast(input: Tensor, target: dtype) -> Tensor:
    """A copy in another dtype."""
    op = _casts.get(target)
    if op is None:
        op = _casts[target] = Cast(target)
    return op(input)


class CopyNode(Node):
    """The gradient of a copy is the gradient; the engine brings it to the source's dtype, and this node to its device."""

    __slots__ = ("device", "label")

    def __init__(self, source: Tensor, label: str):
        Node.__init__(self, [source])
        self.label = label
        self.device = source._layout.device

    @property
    def title(self) -> str:  # type: ignore[override]
        return self.alias or f"{self.label}Backward0"

    def run(self, grads: list[Any]) -> Any:
        g = grads[0]
        return (g if g._layout.device == self.device else g.to(self.device),)


def clone(input: Tensor, *, memory_format: Any = None) -> Tensor:
    """A copy with its own memory."""
    if memory_format is None or memory_format is preserve_format:
        return clone_values(input)
    return _copied(input, in_format("clone", input._layout, memory_format))


def contiguous(input: Tensor, memory_format: Any = None) -> Tensor:
    """The tensor itself if it is row-major (or in the format asked for), else such a copy."""
    la = input._layout
    if memory_format is None or memory_format is contiguous_format:
        return input if la.contiguous else _copied(input, contiguous_layout(la.shape, la.dtype, la.device))
    return input if is_in("contiguous", la, memory_format) else _copied(input, in_format("contiguous", la, memory_format))


def _copied(x: Tensor, la: Any) -> Tensor:
    """A copy in another layout of the same shape."""
    out = empty_like_layout(la)
    write(out, x)
    if state.grad and x._rg:
        attach(CopyNode(x, "Clone"), (out,))
    return out


def write(target: Tensor, source: Tensor) -> None:
    """Copy values (broadcast, cast) into memory that nobody else has seen: no checks, no history."""
    key = ("write", target._layout, source._layout)
    recipe = _recipes.get(key)
    if recipe is not None and not watchers:
        ways.make(recipe, target, source)
        return
    plan = _write._plans.get(key)
    if plan is None:
        plan, _ = _write.plan(key, (source,), out=[target._layout])
    elif recipe is None and key not in _recipes:  # it comes again
        _recipes.note(key, ways.update_recipe(plan, [target], [source]))
    _write.execute(plan, (target,), (source,))


_recipes = Memo()  # native calls that do what `write` does for two layouts, None where there is none


def copy_(self: Tensor, src: Any, non_blocking: bool = False) -> Tensor:
    """Write the values of ``src`` (broadcast, cast, from any device) into this tensor."""
    if not isinstance(src, Tensor):
        from ..from_data import tensor

        src = tensor(src, dtype=self.dtype)
    needs = state.grad and (self._rg or src._rg)
    check_inplace(self, "copy", needs)
    la, ls = self._layout, src._layout
    if ls.shape != la.shape and broadcast(ls.shape, la.shape, op="copy_") != la.shape:
        raise RuntimeError(
            f"copy_: output with shape {list(la.shape)} doesn't match the broadcast shape of the source {list(ls.shape)}"
        )
    if needs:
        node = Overwrite(self, src)
    if la.device != ls.device:
        _between_devices(self, src, non_blocking)
    elif self._storage is src._storage and la is not ls and la.numel:
        write(self, clone_values(src.detach()))
    else:
        write(self, src)
    self._storage.version += not self._untracked
    if needs:
        rebase(self, node if la.dtype.is_floating_point else None)
    return self


def overwrite(self: Tensor, result: Tensor) -> Tensor:
    """``copy_`` of what an op made of this tensor: its node is called as that of the op."""
    copy_(self, result)
    if self._base is None and self._node is not None and result._node is not None:
        self._node.alias = result._node.title
    return self


class Overwrite(Written):
    """History of ``copy_``: the old value gets zeros, the source the gradient."""

    __slots__ = ("device",)
    kind = "CopyBackwards"

    def __init__(self, target: Tensor, source: Tensor):
        Node.__init__(self, [target, source])
        self.device = source._layout.device

    def run(self, grads: list[Any]) -> Any:
        from ..creation import zeros

        g, meta = grads[0], self.metas[0]
        old = None if self.edges[0] is None else zeros(meta.shape, dtype=meta.dtype, device=meta.device)
        return old, (g if g._layout.device == self.device else g.to(self.device))


def _between_devices(target: Tensor, source: Tensor, non_blocking: bool) -> None:
    from ..cuda import runtime

    runtime.copy(target, source, non_blocking)


def to(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """The tensor in another dtype and/or on another device: ``to(dtype)``, ``to(device, dtype)``, ``to(other)``."""
    where_to, d = parse_to(args, kwargs)
    if kwargs.get("memory_format") not in (None, preserve_format):
        rest = {k: v for k, v in kwargs.items() if k != "memory_format"}
        moved = to(self, *args, **rest)
        return contiguous(moved, kwargs["memory_format"])
    if len(args) > (where_to is not None) + (d is not None) and isinstance(args[-1], bool):
        kwargs.setdefault("copy", len(args) > 2 and args[-1])
    la = self._layout
    d = d or la.dtype
    where_to = la.device if where_to is None else where_to
    if where_to == la.device:
        if d is la.dtype:
            return clone(self) if kwargs.get("copy") else self
        return cast(self, d)
    source = self if d is la.dtype else cast(self, d)
    out = empty_like_layout(_on(source.contiguous()._layout, where_to))
    flags = [a for a in args if isinstance(a, bool)]
    _between_devices(out, source.contiguous(), kwargs.get("non_blocking", bool(flags and flags[0])))
    if state.grad and source._rg:
        attach(CopyNode(source, "ToCopy"), (out,))
    return out


def _on(la: Any, where_to: str) -> Any:
    return contiguous_layout(la.shape, la.dtype, where_to)


def parse_to(args: tuple, kwargs: dict) -> tuple[str | None, dtype | None]:
    """(device name, dtype) of the arguments of ``Tensor.to`` and ``Module.to``; TypeError for anything else."""
    where_to: Any = kwargs.get("device")
    d: Any = kwargs.get("dtype")
    for a in args:
        if isinstance(a, dtype):
            d = a
        elif isinstance(a, Tensor):
            where_to, d = a._layout.device, a._layout.dtype
        elif isinstance(a, (str, device)) or (isinstance(a, int) and not isinstance(a, bool)):
            where_to = a
        elif a is not None and not isinstance(a, bool):
            if hasattr(a, "is_floating_point"):
                raise no_dtype("to", a)
            raise TypeError(
                f"to() received an invalid combination of arguments - got ({type(a).__name__}); expected a dtype, a device"
                " or a tensor"
            )
    if isinstance(kwargs.get("other"), Tensor):
        where_to, d = kwargs["other"]._layout.device, kwargs["other"]._layout.dtype
    if d is not None and not isinstance(d, dtype):
        raise no_dtype("to", d)
    return (None if where_to is None else canonical(where_to)), d


@tensors_only
def type_as(input: Tensor, other: Tensor) -> Tensor:
    """In another tensor's dtype."""
    return to(input, other.dtype)
