"""Optimizers whose step is a scalar rule: one fused in-place kernel for each parameter.

A rule is a body in plain Python, ``def rule(p, m, g, lr, ...): ...; return p, m``: first the tensors it
changes, which it returns in the same order, then the tensors it only reads, then numbers. ``apply`` runs it
as one kernel.

Step counts are 0-d tensors that a small rule of their own advances, giving the bias corrections as 0-d
float64 tensors for the big rule to read. So a replayed trace counts on by itself, and nothing on a GPU is
ever waited for. Numbers that a user may change between steps (the learning rate, momentum, ...) are `live`: a
trace reads them anew at each replay. Options that only scale something (``maximize``, no weight decay) are
numbers as well and need no second rule.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numtorch

from .._tensor import Tensor
from ..autograd.mode import state as mode
from ..ops.declare import empty_like_layout
from ..ops.elementwise import where
from ..ops.updates import together
from ..shape import contiguous
from .group import Group
from .optimizer import Optimizer

_ALONE = contextlib.nullcontext()  # each parameter's update by itself: the CPU gains nothing by fewer calls
_LABELS = {"lr": "learning rate", "eps": "epsilon value"}


def check_nonnegative(**values: Any) -> None:
    """ValueError unless all given options are numbers >= 0 (a learning rate may be a tensor of one
    element)."""
    for name, value in values.items():
        if isinstance(value, Tensor) and value.numel() != 1:
            raise ValueError(f"Tensor {name} must be 1-element; got one of shape {tuple(value.shape)}")
        if not value >= 0.0:
            label = _LABELS.get(name, f"{name} value")
            raise ValueError(f"Invalid {label}: {value}; it must be >= 0")


def check_betas(betas: Sequence[Any]) -> None:
    """ValueError unless both betas are in [0, 1)."""
    for i, beta in enumerate(betas[:2]):
        if not 0.0 <= beta < 1.0:
            raise ValueError(f"Invalid beta parameter at index {i}: {beta}; it must be in [0, 1)")


def check_flags(foreach: Any, differentiable: Any, fused: Any) -> None:
    """RuntimeError for flags that PyTorch doesn't accept together."""
    if fused and differentiable:
        raise RuntimeError("`fused` does not support `differentiable`; set one of them to False")
    if fused and foreach:
        raise RuntimeError("`fused` and `foreach` cannot be `True` together.")


def count_dtype() -> Any:
    """The dtype of step counts: float32 unless float64 is the default dtype."""
    wide = numtorch.get_default_dtype() is numtorch.float64
    return numtorch.float64 if wide else numtorch.float32


def count(like: Tensor, value: float = 0.0) -> Tensor:
    """A new 0-d tensor that counts a parameter's steps."""
    return numtorch.full((), value, dtype=count_dtype(), device=like.device)


def cell(like: Tensor) -> Tensor:
    """A new 0-d float64 tensor for a number that is computed once per step (a bias correction, a decayed
    rate)."""
    return empty_like_layout(contiguous((), numtorch.float64, like._layout.device))


def option(group: dict[str, Any], name: str) -> Any:
    """An option (or a tuple of them) as Python numbers; tensors give their element, unless the step is
    differentiated."""
    value = group[name]
    if group.get("differentiable"):
        return value
    if isinstance(value, tuple):
        return tuple(v.item() if isinstance(v, Tensor) else v for v in value)
    return value.item() if isinstance(value, Tensor) else value


def sign_of(group: dict[str, Any]) -> float:
    """-1.0 where the objective is to be maximized, else 1.0."""
    return -1.0 if group["maximize"] else 1.0


def descent(p: Any, g: Any, sign: Any, decay: Any) -> Any:
    """Rule: the gradient to follow, with its sign and with weight decay (none leaves infinite parameters
    alone)."""
    g = g * sign
    return where(decay == 0.0, g, g + decay * p)


def one_more(t: Any) -> Any:
    """Rule: advance a count."""
    return t + 1.0


class Numbers:
    """The numbers of a group's rules, by name, computed again when one of the group's options has changed."""

    def __init__(self, group: Any, compute: Callable[[Any], dict[str, Any]]):
        self.group, self.compute = group, compute
        self._live: dict[str, Any] = {}  # while a trace is recorded: one live number per name
        self._by_rule: dict[Callable, dict[str, Any]] = {}
        self._refresh()

    def _refresh(self) -> None:
        """Compute them; what is read from a tensor here is not something that a trace must hold for."""
        recorder, mode.recorder = mode.recorder, None
        if recorder is not None:
            for name, t in self.group.items():
                for part in t if type(t) is tuple else (t,):
                    if isinstance(part, Tensor):
                        recorder.read_early(part, f"the option {name} of an optimizer")
        try:
            self.values = self.compute(self.group)
        finally:
            mode.recorder = recorder
        volatile = any(isinstance(v, Tensor) for k, v in self.group.items() if k != "params")
        self.version = None if volatile else getattr(self.group, "version", None)

    def source(self) -> Any:
        """The group, whose version tells when the numbers change; None if one is read from a tensor."""
        return None if self.version is None else self.group

    def current(self, name: str) -> Any:
        """One of them now."""
        if self.version is None or self.version != self.group.version:
            self._refresh()
        return self.values[name]

    def get(self, name: str) -> Any:
        """One of them: a number, or what gives it at each replay of the trace that is being recorded."""
        if mode.recorder is None:
            return self.values[name]
        found = self._live.get(name)
        if found is None:
            found = self._live[name] = numtorch.ops.live(functools.partial(self.current, name), self.source)
        return found

    def of(self, rule: Callable, skip: int) -> dict[str, Any]:
        """Those that a rule takes after ``skip`` tensors."""
        found = self._by_rule.get(rule)
        if found is None:
            names = tuple(inspect.signature(rule).parameters)[skip:]
            found = self._by_rule[rule] = {name: self.get(name) for name in names}
        return found


def numbers_of(group: Any, compute: Callable[[Any], dict[str, Any]]) -> Numbers:
    """The numbers of a group, from the step before if no option has changed since."""
    if type(group) is not Group or mode.recorder is not None:
        return Numbers(group, compute)
    found = group.numbers
    if found is None or found.version is None or found.version != group.version or found.compute != compute:
        found = group.numbers = Numbers(group, compute)
    return found


def apply(rule: Callable, tensors: Sequence[Tensor], reads: Sequence[Any], numbers: Numbers) -> None:
    """Run a rule on a parameter's tensors, in place.

    Raises RuntimeError if a read tensor doesn't fit the shape of those that are written.
    """
    scalars = numbers.of(rule, len(tensors) + len(reads))
    if not mode.grad:
        numtorch.ops.update(rule, tensors=tensors, reads=reads, scalars=scalars)
        return
    # differentiable=True: the rule runs on copies, op by op, and the results are recorded as in-place copies.
    results = rule(*[t.clone() for t in tensors], *reads, *scalars.values())
    for tensor, result in zip(tensors, results if isinstance(results, tuple) else (results,)):
        tensor.copy_(result)


class RuleOptimizer(Optimizer):
    """Base of the optimizers in this folder: the loop over groups and parameters.

    A subclass gives ``_new_state`` (the state of a parameter at its first step), ``_numbers`` (the numbers of
    a group's rules) and ``_update`` (which rules to apply to a parameter).
    """

    _reads_live = True
    # State that is a 0-d tensor now and was a plain number in old state dicts.
    _counts: tuple[str, ...] = ("step",)
    # Options that older state dicts lack.
    _added_options: ClassVar[dict[str, Any]] = {
        "foreach": None,
        "maximize": False,
        "differentiable": False,
        "capturable": False,
    }

    def _new_state(self, p: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        return {}

    def _numbers(self, group: dict[str, Any]) -> dict[str, Any]:
        raise NotImplementedError

    def _update(self, p: Tensor, g: Tensor, state: dict, group: dict[str, Any], numbers: Numbers) -> None:
        raise NotImplementedError

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient; returns the closure's loss, or None without a
        closure."""
        with numtorch.set_grad_enabled(bool(self.defaults.get("differentiable"))):
            loss = None
            if closure is not None:
                with numtorch.enable_grad():
                    loss = closure()
            for group in self.param_groups:
                self._step_group(group)
        return loss

    def _step_group(self, group: dict[str, Any]) -> None:
        with together() if any(p.is_cuda for p in group["params"][:1]) else _ALONE:
            self._step_parameters(group)

    def _step_parameters(self, group: dict[str, Any]) -> None:
        numbers = numbers_of(group, self._numbers)
        for p in group["params"]:
            g = p.grad
            if g is None:
                continue
            state = self.state.get(p)
            if not state:
                if not p.is_floating_point():
                    raise RuntimeError(
                        f"{type(self).__name__}: parameters must have a floating point dtype, got"
                        f" {p.dtype}; convert it"
                    )
                state = self._new_state(p, group)
                if state:
                    self.state[p] = state
            self._update(p, g, state, group, numbers)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            for name, value in self._added_options.items():
                if name in self.defaults:
                    group.setdefault(name, value)
            for p in group["params"]:
                state_of_p = self.state.get(p) or {}
                for name in self._counts:
                    if name in state_of_p and not isinstance(state_of_p[name], Tensor):
                        state_of_p[name] = count(p, float(state_of_p[name]))
