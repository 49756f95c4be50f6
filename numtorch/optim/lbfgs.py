"""LBFGS: a quasi-Newton method with limited memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numtorch

from .._tensor import Tensor
from .line_search import Point, StrongWolfe
from .optimizer import Optimizer
from .rule import check_nonnegative, option


class LBFGS(Optimizer):
    """Limited-memory BFGS, after Schmidt's minFunc; Nocedal and Wright, "Numerical Optimization", chapter 7.

    One parameter group only; ``step`` needs a closure that clears the gradients, computes them and returns
    the loss.

    Args:
        params: tensors, or (name, tensor) pairs.
        lr: the step length (with a line search, where that begins).
        max_iter, max_eval: limits per step, of iterations and of calls of the closure (default 1.25 times
            max_iter).
        tolerance_grad, tolerance_change: stop when the largest gradient, or the change of parameters or loss,
            is smaller.
        history_size: how many past steps are kept; each costs twice the parameters' memory.
        line_search_fn: "strong_wolfe" or None.

    Raises:
        ValueError: several parameter groups.

    Example:
        >>> import numtorch
        >>> w = numtorch.tensor([4.0, -3.0], requires_grad=True)
        >>> optimizer = numtorch.optim.LBFGS([w], line_search_fn="strong_wolfe")
        >>> def closure():
        ...     optimizer.zero_grad()
        ...     loss = ((w - 1) ** 2).sum()
        ...     loss.backward()
        ...     return loss
        >>> _ = optimizer.step(closure)
        >>> bool((w - 1).abs().max() < 1e-4)
        True
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ):
        check_nonnegative(lr=lr)
        if max_eval is None:
            max_eval = max_iter * 5 // 4
        defaults = {
            "lr": lr,
            "max_iter": max_iter,
            "max_eval": max_eval,
            "tolerance_grad": tolerance_grad,
            "tolerance_change": tolerance_change,
            "history_size": history_size,
            "line_search_fn": line_search_fn,
        }
        super().__init__(params, defaults)
        if len(self.param_groups) != 1:
            raise ValueError(
                "LBFGS doesn't support per-parameter options (parameter groups); got"
                f" {len(self.param_groups)} groups"
            )
        self._params = self.param_groups[0]["params"]

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._params = self.param_groups[0]["params"]

    @numtorch.no_grad()
    def step(self, closure: Callable[[], Any]) -> Any:  # type: ignore[override]
        """Several iterations; returns the loss at the beginning."""
        group = self.param_groups[0]
        if group["line_search_fn"] not in (None, "strong_wolfe"):
            raise RuntimeError(
                f"only 'strong_wolfe' is supported, got line_search_fn={group['line_search_fn']!r}"
            )
        state = self.state[self._params[0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)
        evaluate = numtorch.enable_grad()(closure)
        first_loss = evaluate()
        state["func_evals"] += 1
        g = self._gradient()
        if _largest(g) > group["tolerance_grad"]:
            self._iterate(evaluate, float(first_loss), g, state, group)
        return first_loss

    def _iterate(
        self, evaluate: Callable, loss: float, g: Tensor, state: dict[str, Any], group: dict[str, Any]
    ) -> None:
        lr, tolerance = option(group, "lr"), group["tolerance_change"]
        evals, n = 1, 0
        while n < group["max_iter"]:
            n += 1
            state["n_iter"] += 1
            self._direction(g, state, group["history_size"])
            d, before = state["d"], loss
            state["prev_flat_grad"], state["prev_loss"] = g.clone(), loss
            t = state["t"] = min(1.0, 1.0 / g.abs().sum().item()) * lr if state["n_iter"] == 1 else lr
            slope = g.dot(d).item()
            if slope > -tolerance:
                break
            used = 0
            if group["line_search_fn"] is not None:
                start = Point(0.0, loss, g, slope)
                point, used = self._search(evaluate, start, t, d, group["max_eval"] - evals)
                loss, g, t = point.f, point.g, point.t
                state["t"] = t
                self._move(t, d)
            else:
                self._move(t, d)
                if n != group["max_iter"]:  # the last evaluation would not be used
                    loss, g, used = float(evaluate()), self._gradient(), 1
            evals += used
            state["func_evals"] += used
            if n == group["max_iter"] or evals >= group["max_eval"] or _largest(g) <= group["tolerance_grad"]:
                break
            if _largest(d) * abs(t) <= tolerance or abs(loss - before) < tolerance:
                break

    @staticmethod
    def _direction(g: Tensor, state: dict[str, Any], history_size: int) -> None:
        """Set ``state["d"]``: minus the gradient times the approximate inverse Hessian, by the two-loop
        recursion."""
        if state["n_iter"] == 1:
            state.update(d=g.neg(), old_dirs=[], old_stps=[], ro=[], H_diag=1)
            return
        y, s = g - state["prev_flat_grad"], state["d"] * state["t"]
        ys = y.dot(s)
        dirs, steps, ro = state["old_dirs"], state["old_stps"], state["ro"]
        if ys.item() > 1e-10:
            if len(dirs) == history_size:
                for memory in (dirs, steps, ro):
                    memory.pop(0)
            dirs.append(y)
            steps.append(s)
            ro.append(1.0 / ys)
            state["H_diag"] = ys / y.dot(y)
        q = g.neg()
        weights = [ys] * len(dirs)
        for i in reversed(range(len(dirs))):
            weights[i] = steps[i].dot(q) * ro[i]
            q.sub_(dirs[i] * weights[i])
        r = q * state["H_diag"]
        for i in range(len(dirs)):
            r.add_(steps[i] * (weights[i] - dirs[i].dot(r) * ro[i]))
        state["d"] = r

    def _search(self, evaluate: Callable, start: Point, t: float, d: Tensor, most: int) -> tuple[Point, int]:
        origin = [p.clone() for p in self._params]

        def at(t: float) -> Point:
            self._move(t, d)
            loss = float(evaluate())
            g = self._gradient()
            for p, value in zip(self._params, origin):
                p.copy_(value)
            return Point(t, loss, g, g.dot(d).item())

        return StrongWolfe(at, start, _largest(d), most).run(t)

    def _gradient(self) -> Tensor:
        """All gradients in one vector (zeros where there is none)."""
        views = [p.new_zeros(p.numel()) if p.grad is None else p.grad.reshape(-1) for p in self._params]
        return numtorch.cat(views, 0)

    def _move(self, t: float, d: Tensor) -> None:
        """Add t times the direction to the parameters."""
        offset = 0
        for p in self._params:
            n = p.numel()
            p.add_(d[offset : offset + n].view_as(p), alpha=t)
            offset += n


def _largest(x: Tensor) -> float:
    return x.abs().max().item()
