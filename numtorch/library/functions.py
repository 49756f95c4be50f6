"""Which op a mathematical function of a scalar body is: its derivative is the op's."""

from __future__ import annotations

from typing import Any


class InBody:
    """An op as a body calls it: numbers may stand where the op itself wants tensors (``max(x, 0.0)``)."""

    def __init__(self, op: Any):
        self.op, self.body = op, op.body

    def __call__(self, *args: Any) -> Any:
        from ..creation import full
        from ..dtype import get_default_dtype

        like = next((a for a in args if hasattr(a, "_layout")), None)
        if like is None:
            return self.body(*args)
        given = list(args)
        for k, a in enumerate(args[: self.op.tensors]):
            if isinstance(a, (int, float)):
                same = like.is_floating_point() or isinstance(a, int)
                given[k] = full((), a, dtype=like.dtype if same else get_default_dtype(), device=like.device)
        return self.op(*given)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["op"], name)


_in_bodies: dict[Any, InBody] = {}
_OTHER_NAMES = {"power": "pow", "round_even": "round", "remainder": "remainder", "sign": "sign"}


def op_of(name: str) -> Any:
    """The elementwise op behind the scalar function of that name, or None."""
    from ..ops import elementwise, elementwise_more  # noqa: F401  (they fill the table)
    from ..ops.declare import TABLE
    from ..ops.pointwise import Elementwise

    op = TABLE.get(_OTHER_NAMES.get(name, name))
    if not isinstance(op, Elementwise):
        return None
    return _in_bodies.setdefault(op, InBody(op)) if op.tensors else op


def public_op(function: Any) -> Any:
    """The elementwise op behind a public function of numtorch (`numtorch.where`), or None."""
    if (getattr(function, "__module__", None) or "").startswith("numtorch.") and not hasattr(function, "grad_body"):
        return op_of(function.__name__)
    return None
