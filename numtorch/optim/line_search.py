"""The line search of LBFGS: a step length that satisfies the strong Wolfe conditions.

Nocedal and Wright, "Numerical Optimization", algorithms 3.5 and 3.6, with the cubic interpolation and the
safeguards of Schmidt's minFunc.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass
class Point:
    """A place on the line: step length, loss, gradient there, and the gradient's component along the
    direction."""

    t: float
    f: float
    g: Any
    slope: float


def cubic_minimum(a: Point, b: Point, bounds: tuple[float, float] | None = None) -> float:
    """The minimum between two points of the cubic through them with their slopes, or the middle if it has
    none there."""
    low, high = bounds if bounds is not None else (min(a.t, b.t), max(a.t, b.t))
    d1 = a.slope + b.slope - 3 * (a.f - b.f) / (a.t - b.t)
    square = d1 * d1 - a.slope * b.slope
    if not square >= 0:
        return (low + high) / 2.0
    d2 = math.sqrt(square)
    if a.t > b.t:
        a, b = b, a
    spread = b.slope - a.slope + 2 * d2
    if spread == 0:
        return (low + high) / 2.0
    found = b.t - (b.t - a.t) * ((b.slope + d2 - d1) / spread)
    return min(max(found, low), high)


class StrongWolfe:
    """One search along a direction, from ``start`` (at t = 0).

    ``evaluate(t)`` gives the Point there; ``size`` is the largest entry of the direction. ``run(t)`` returns
    the point found and how often it evaluated.
    """

    C1, C2 = 1e-4, 0.9

    def __init__(
        self,
        evaluate: Callable[[float], Point],
        start: Point,
        size: float,
        most: int,
        tolerance: float = 1e-9,
    ):
        self.evaluate, self.start, self.size, self.most, self.tolerance = (
            evaluate,
            start,
            size,
            most,
            tolerance,
        )
        self.iterations = 0
        self.evaluations = 0

    def run(self, t: float) -> tuple[Point, int]:
        """Search from the first step length t."""
        bracket = self._bracket(t)
        point = bracket[0] if len(bracket) == 1 else self._zoom(bracket)
        return point, self.evaluations

    def _point(self, t: float) -> Point:
        self.evaluations += 1
        return self.evaluate(t)

    def _too_high(self, p: Point) -> bool:
        return p.f > self.start.f + self.C1 * p.t * self.start.slope

    def _flat(self, p: Point) -> bool:
        return abs(p.slope) <= -self.C2 * self.start.slope

    def _bracket(self, t: float) -> list[Point]:
        """Two points with a good one between them, or one that is good."""
        before, now = self.start, self._point(t)
        while self.iterations < self.most:
            if self._too_high(now) or (self.iterations > 1 and now.f >= before.f):
                return [before, now]
            if self._flat(now):
                return [now]
            if now.slope >= 0:
                return [before, now]
            t = cubic_minimum(before, now, bounds=(now.t + 0.01 * (now.t - before.t), now.t * 10))
            before, now = now, self._point(t)
            self.iterations += 1
        return [self.start, now]

    def _zoom(self, bracket: list[Point]) -> Point:
        """Narrow the bracket down to a good point, or until nothing is gained."""
        stalled = False
        low, high = (0, 1) if bracket[0].f <= bracket[1].f else (1, 0)
        while self.iterations < self.most and abs(bracket[1].t - bracket[0].t) * self.size >= self.tolerance:
            t, stalled = self._inner(bracket, stalled)
            new = self._point(t)
            self.iterations += 1
            if self._too_high(new) or new.f >= bracket[low].f:
                bracket[high] = new
                low, high = (0, 1) if bracket[0].f <= bracket[1].f else (1, 0)
                continue
            if self._flat(new):
                return new
            if new.slope * (bracket[high].t - bracket[low].t) >= 0:
                bracket[high] = bracket[low]
            bracket[low] = new
        return bracket[low]

    @staticmethod
    def _inner(bracket: list[Point], stalled: bool) -> tuple[float, bool]:
        """A step length inside the bracket, kept off its ends when the search stalls there."""
        left, right = sorted((bracket[0].t, bracket[1].t))
        t = cubic_minimum(bracket[0], bracket[1])
        margin = 0.1 * (right - left)
        if min(right - t, t - left) >= margin:
            return t, False
        if not stalled and left < t < right:
            return t, True
        return (right - margin if abs(t - right) < abs(t - left) else left + margin), False
