"""Which op a mathematical function of a scalar body is: its derivative is the op's."""

from __future__ import annotations

from typing import Any

_OTHER_NAMES = {"power": "pow", "round_even": "round", "remainder": "remainder", "sign": "sign"}


def op_of(name: str) -> Any:
    """The elementwise op behind the scalar function of that name, or None."""
    from ..ops import elementwise, elementwise_more  # noqa: F401  (they fill the table)
    from ..ops.declare import TABLE
    from ..ops.pointwise import Elementwise

    op = TABLE.get(_OTHER_NAMES.get(name, name))
    return op if isinstance(op, Elementwise) else None


def public_op(function: Any) -> Any:
    """The elementwise op behind a public function of numtorch (`numtorch.where`), or None."""
    if (getattr(function, "__module__", None) or "").startswith("numtorch.") and not hasattr(function, "grad_body"):
        return op_of(function.__name__)
    return None
