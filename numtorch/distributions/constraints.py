"""Where parameters and values of distributions lie: objects with ``check(value)``, which says it element by element."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._tensor import Tensor


class Constraint:
    """A set of values. ``event_dim``: how many last dimensions make one value; ``is_discrete``: whole numbers only."""

    def __init__(self, name: str, holds: Callable[[Tensor], Tensor], event_dim: int = 0, is_discrete: bool = False):
        self.name, self._holds, self.event_dim, self.is_discrete = name, holds, event_dim, is_discrete

    def check(self, value: Tensor) -> Tensor:
        """True where a value is in the set."""
        return self._holds(value)

    def __repr__(self) -> str:
        return self.name


def _whole(x: Tensor) -> Tensor:
    return x % 1 == 0


def greater_than(lower_bound: Any) -> Constraint:
    """Above a bound."""
    return Constraint(f"GreaterThan(lower_bound={lower_bound})", lambda x: x > lower_bound)


def greater_than_eq(lower_bound: Any) -> Constraint:
    """At a bound or above."""
    return Constraint(f"GreaterThanEq(lower_bound={lower_bound})", lambda x: x >= lower_bound)


def less_than(upper_bound: Any) -> Constraint:
    """Below a bound."""
    return Constraint(f"LessThan(upper_bound={upper_bound})", lambda x: x < upper_bound)


def interval(lower_bound: Any, upper_bound: Any) -> Constraint:
    """From a bound to another, both included."""
    return Constraint(f"Interval(lower_bound={lower_bound}, upper_bound={upper_bound})", lambda x: (x >= lower_bound) & (x <= upper_bound))


def half_open_interval(lower_bound: Any, upper_bound: Any) -> Constraint:
    """From a bound up to another, which is not included."""
    return Constraint(f"HalfOpenInterval(lower_bound={lower_bound}, upper_bound={upper_bound})", lambda x: (x >= lower_bound) & (x < upper_bound))


def integer_interval(lower_bound: Any, upper_bound: Any) -> Constraint:
    """Whole numbers from a bound to another."""
    return Constraint(f"IntegerInterval(lower_bound={lower_bound}, upper_bound={upper_bound})",
                      lambda x: _whole(x) & (x >= lower_bound) & (x <= upper_bound), is_discrete=True)  # fmt: skip


real = Constraint("Real()", lambda x: x == x)  # not NaN
positive = greater_than(0.0)
nonnegative = greater_than_eq(0.0)
unit_interval = interval(0.0, 1.0)
boolean = Constraint("Boolean()", lambda x: (x == 0) | (x == 1), is_discrete=True)
nonnegative_integer = Constraint("IntegerGreaterThan(lower_bound=0)", lambda x: _whole(x) & (x >= 0), is_discrete=True)
positive_integer = Constraint("IntegerGreaterThan(lower_bound=1)", lambda x: _whole(x) & (x >= 1), is_discrete=True)
simplex = Constraint("Simplex()", lambda x: (x >= 0).all(-1) & ((x.sum(-1) - 1).abs() < 1e-6), 1)
one_hot = Constraint("OneHot()", lambda x: ((x == 0) | (x == 1)).all(-1) & (x.sum(-1) == 1), 1, True)
real_vector = Constraint("IndependentConstraint(Real(), 1)", lambda x: (x == x).all(-1), 1)
lower_triangular = Constraint("LowerTriangular()", lambda x: (x.tril() == x).flatten(-2).all(-1), 2)
lower_cholesky = Constraint(
    "LowerCholesky()", lambda x: (x.tril() == x).flatten(-2).all(-1) & (x.diagonal(dim1=-2, dim2=-1) > 0).all(-1), 2
)


def _one(x: Tensor) -> Tensor:
    """Whether the rows of matrices have length 1."""
    from ..dtype import finfo

    tolerance = finfo(x.dtype).eps * x.shape[-1] * 10
    return ((x * x).sum(-1).sqrt() - 1).abs().lt(tolerance).all(-1)


def _positive_definite(x: Tensor) -> Tensor:
    from ..linalg import cholesky_ex

    symmetric = (x - x.transpose(-1, -2)).abs().flatten(-2).amax(-1) <= 1e-6
    return symmetric & (cholesky_ex(x).info == 0)


corr_cholesky = Constraint("CorrCholesky()", lambda x: lower_cholesky.check(x) & _one(x), 2)
positive_definite = Constraint("PositiveDefinite()", _positive_definite, 2)
