"""The base of all optimizers: parameter groups, per-parameter state, state dicts and hooks, as in PyTorch."""

from __future__ import annotations

import functools
import warnings
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from copy import deepcopy
from itertools import chain
from typing import Any

from .._tensor import Tensor, replaced
from ..autograd.hooks import RemovableHandle
from ..autograd.mode import state as mode
from .group import Group

_HOOK_TABLES = (
    "_optimizer_step_pre_hooks",
    "_optimizer_step_post_hooks",
    "_optimizer_state_dict_pre_hooks",
    "_optimizer_state_dict_post_hooks",
    "_optimizer_load_state_dict_pre_hooks",
    "_optimizer_load_state_dict_post_hooks",
)
_global_pre_hooks: OrderedDict[int, Callable] = OrderedDict()
_global_post_hooks: OrderedDict[int, Callable] = OrderedDict()


class _Required:
    def __repr__(self) -> str:
        return "<required parameter>"


required = _Required()


def _register(table: OrderedDict, hook: Callable, prepend: bool = False) -> RemovableHandle:
    replaced[0] += 1  # traces look again at the hooks
    handle = RemovableHandle(table)
    table[handle.id] = hook
    if prepend:
        table.move_to_end(handle.id, last=False)
    return handle


def register_optimizer_step_pre_hook(hook: Callable) -> RemovableHandle:
    """Call ``hook(optimizer, args, kwargs)`` before every step of every optimizer; it may return new (args,
    kwargs)."""
    return _register(_global_pre_hooks, hook)


def register_optimizer_step_post_hook(hook: Callable) -> RemovableHandle:
    """Call ``hook(optimizer, args, kwargs)`` after every step of every optimizer."""
    return _register(_global_post_hooks, hook)


class Optimizer:
    """Base class of optimizers; subclass it, give ``defaults``, and write ``step``.

    Args:
        params: an iterable of tensors, of (name, tensor) pairs, or of dicts with a ``"params"`` entry and
            options.
        defaults: the options that groups don't set themselves.

    ``param_groups`` holds copies of the groups; change an option there, between steps. ``state`` holds a dict
    per parameter.

    Example:
        >>> import numtorch
        >>> class Plain(numtorch.optim.Optimizer):
        ...     def __init__(self, params, lr=0.1):
        ...         super().__init__(params, {"lr": lr})
        ...     @numtorch.no_grad()
        ...     def step(self, closure=None):
        ...         for group in self.param_groups:
        ...             for p in group["params"]:
        ...                 p -= group["lr"] * p.grad
        >>> w = numtorch.ones(2, requires_grad=True)
        >>> w.sum().backward()
        >>> Plain([w], lr=0.5).step()
        >>> w.tolist()
        [0.5, 0.5]
    """

    state: defaultdict[Any, Any]
    param_groups: list[Any]
    _opt_called = False
    _reads_live = False  # whether a trace of a step reads the options' numbers at each replay

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]):
        self.defaults = defaults
        for table in _HOOK_TABLES:
            setattr(self, table, OrderedDict())
        self._patch_step_function()
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts, but got"
                f" {type(params).__module__}.{type(params).__name__}; put it into a list"
            )
        self.state = defaultdict(dict)
        self.param_groups = []
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list; give it at least one tensor to optimize")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    # -- stepping

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of all parameters; a closure evaluates the model again and returns the loss. Subclasses
        write it."""
        raise NotImplementedError(
            f"{type(self).__name__} doesn't implement step(); an optimizer's subclass must"
        )

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients of all parameters, or fill them with zeros in place if ``set_to_none`` is
        false."""
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none:
                    p.grad = None  # whatever it was: a trace of this is right with and without gradients
                    continue
                if p.grad is None:
                    continue
                if p.grad.grad_fn is not None:
                    p.grad.detach_()
                else:
                    p.grad.requires_grad_(False)
                p.grad.zero_()

    def _patch_step_function(self) -> None:
        cls = type(self)
        if not getattr(cls.step, "hooked", False):
            cls.step = self.profile_hook_step(cls.step)  # type: ignore[method-assign]
            cls.step.hooked = True  # type: ignore[attr-defined]

    @staticmethod
    def profile_hook_step(func: Callable) -> Callable:
        """Wrap a class's ``step`` so that the registered hooks run around it."""

        @functools.wraps(func)
        def wrapper(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
            if mode.recorder is not None:
                mode.recorder.optimizer(self)
                self._opt_called = True  # for schedulers: replays make steps without coming here
            if mode.anomaly is not None and mode.anomaly.optimizer is not self:
                with mode.anomaly.stepping(self):
                    return wrapper(self, *args, **kwargs)
            if not (
                self._optimizer_step_pre_hooks
                or self._optimizer_step_post_hooks
                or _global_pre_hooks
                or _global_post_hooks
            ):
                return func(self, *args, **kwargs)
            given: tuple[Any, ...] = (self, *args)
            for hook in chain(_global_pre_hooks.values(), self._optimizer_step_pre_hooks.values()):
                result = hook(self, given, kwargs)
                if result is None:
                    continue
                if not isinstance(result, tuple) or len(result) != 2:
                    raise RuntimeError(
                        f"{func} must return None or a tuple of (new_args, new_kwargs), but got {result}."
                    )
                given, kwargs = result
            out = func(*given, **kwargs)
            for hook in chain(self._optimizer_step_post_hooks.values(), _global_post_hooks.values()):
                hook(self, given, kwargs)
            return out

        return wrapper

    # -- hooks

    _optimizer_step_pre_hooks: OrderedDict
    _optimizer_step_post_hooks: OrderedDict
    _optimizer_state_dict_pre_hooks: OrderedDict
    _optimizer_state_dict_post_hooks: OrderedDict
    _optimizer_load_state_dict_pre_hooks: OrderedDict
    _optimizer_load_state_dict_post_hooks: OrderedDict

    def register_step_pre_hook(self, hook: Callable) -> RemovableHandle:
        """Call ``hook(optimizer, args, kwargs)`` before each step; it may return new (args, kwargs)."""
        return _register(self._optimizer_step_pre_hooks, hook)

    def register_step_post_hook(self, hook: Callable) -> RemovableHandle:
        """Call ``hook(optimizer, args, kwargs)`` after each step."""
        return _register(self._optimizer_step_post_hooks, hook)

    def register_state_dict_pre_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """Call ``hook(optimizer)`` before ``state_dict`` is made."""
        return _register(self._optimizer_state_dict_pre_hooks, hook, prepend)

    def register_state_dict_post_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """Call ``hook(optimizer, state_dict)`` after ``state_dict``; a result that is not None replaces
        it."""
        return _register(self._optimizer_state_dict_post_hooks, hook, prepend)

    def register_load_state_dict_pre_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """Call ``hook(optimizer, state_dict)`` before loading; a result that is not None is loaded
        instead."""
        return _register(self._optimizer_load_state_dict_pre_hooks, hook, prepend)

    def register_load_state_dict_post_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """Call ``hook(optimizer)`` after loading."""
        return _register(self._optimizer_load_state_dict_post_hooks, hook, prepend)

    # -- state dicts

    def state_dict(self) -> dict[str, Any]:
        """State and options with parameters replaced by their numbers; the same layout as PyTorch's.

        Example:
            >>> import numtorch
            >>> w = numtorch.ones(2, requires_grad=True)
            >>> numtorch.optim.SGD([w], lr=0.5).state_dict()["param_groups"][0]["params"]
            [0]
        """
        for hook in self._optimizer_state_dict_pre_hooks.values():
            hook(self)
        numbers: dict[int, int] = {}
        groups, start = [], 0
        for group in self.param_groups:
            numbers |= {id(p): i for i, p in enumerate(group["params"], start) if id(p) not in numbers}
            start += len(group["params"])
            packed = {k: v for k, v in group.items() if k != "params"}
            packed["params"] = [numbers[id(p)] for p in group["params"]]
            groups.append(packed)
        state = {numbers[id(k)] if isinstance(k, Tensor) else k: v for k, v in self.state.items()}
        result = {"state": state, "param_groups": groups}
        for hook in self._optimizer_state_dict_post_hooks.values():
            answer = hook(self, result)
            if answer is not None:
                result = answer
        return result

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over state and options from ``state_dict()`` of an optimizer with the same groups (ValueError
        otherwise)."""
        replaced[0] += 1  # traces look again at the optimizers they recorded
        state_dict = state_dict.copy()
        for hook in self._optimizer_load_state_dict_pre_hooks.values():
            answer = hook(self, state_dict)
            if answer is not None:
                state_dict = answer
        groups, saved_groups = self.param_groups, deepcopy(state_dict["param_groups"])
        if len(groups) != len(saved_groups):
            raise ValueError(
                "loaded state dict has a different number of parameter groups:"
                f" {len(saved_groups)}, where the optimizer has {len(groups)}"
            )
        for i, (group, saved) in enumerate(zip(groups, saved_groups)):
            if len(group["params"]) != len(saved["params"]):
                raise ValueError(
                    "loaded state dict contains a parameter group that doesn't match the size of"
                    f" optimizer's group: group {i} has {len(saved['params'])} parameters there,"
                    f" {len(group['params'])} here"
                )
        numbers = chain.from_iterable(g["params"] for g in saved_groups)
        params = dict(zip(numbers, chain.from_iterable(g["params"] for g in groups)))
        state: defaultdict[Any, Any] = defaultdict(dict)
        for k, v in state_dict["state"].items():
            if k in params:
                state[params[k]] = _to_param(params[k], v)
            else:
                state[k] = v
        for group, saved in zip(groups, saved_groups):
            saved["params"] = group["params"]
            if "param_names" in group:
                saved.setdefault("param_names", group["param_names"])
        self.__setstate__({"state": state, "param_groups": saved_groups})
        for hook in self._optimizer_load_state_dict_post_hooks.values():
            hook(self)

    def __getstate__(self) -> dict[str, Any]:
        return {"defaults": self.defaults, "state": self.state, "param_groups": self.param_groups}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.param_groups = [g if type(g) is Group else Group(g, self._reads_live) for g in self.param_groups]
        for table in _HOOK_TABLES:
            self.__dict__.setdefault(table, OrderedDict())
        self._patch_step_function()
        self.defaults.setdefault("differentiable", False)

    def _looks(self) -> tuple:
        """What of the options a trace of a step depends on."""
        hooks = (tuple(self._optimizer_step_pre_hooks), tuple(self._optimizer_step_post_hooks))
        return hooks, *[g.look() for g in self.param_groups if type(g) is Group]

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {key}: {group[key]}" for key in sorted(group) if key != "params"]
            lines.append("")
        return "\n".join(lines[:-1]) + "\n)"

    # -- groups

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group ``{"params": tensors, option: value, ...}``; TypeError or ValueError if it can't be
        optimized."""
        replaced[0] += 1
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        _unpack_params(param_group)
        for p in param_group["params"]:
            self._check_param(p)
        for name, default in self.defaults.items():
            if default is required and name not in param_group:
                raise ValueError(
                    f"parameter group didn't specify a value of required optimization parameter {name}"
                )
            param_group.setdefault(name, default)
        params = set(param_group["params"])
        if len(params) != len(param_group["params"]):
            warnings.warn(
                "optimizer contains a parameter group with duplicate parameters; in future, this will cause"
                " an error; see github.com/pytorch/pytorch/issues/40967 for more information",
                stacklevel=3,
            )
        for group in self.param_groups:
            if ("param_names" in param_group) != ("param_names" in group):
                how = "with names" if "param_names" in param_group else "without names"
                raise ValueError(
                    f"all optimizer param groups should be with/without names. cannot add param group {how}"
                    " to the optimizer"
                )
            if not params.isdisjoint(group["params"]):
                raise ValueError(
                    "some parameters appear in more than one parameter group; put each into one group only"
                )
        self.param_groups.append(Group(param_group, self._reads_live))

    def _check_param(self, p: Any) -> None:
        if not isinstance(p, Tensor):
            kind = type(p)
            name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
            raise TypeError(f"optimizer can only optimize Tensors, but one of the params is {name}")
        if not self.defaults.get("differentiable", None) and not (p.is_leaf or p.retains_grad):
            raise ValueError(
                "can't optimize a non-leaf Tensor; give the optimizer the leaf that it was computed from"
            )


def _unpack_params(group: dict[str, Any]) -> None:
    """Turn ``group["params"]`` into a list of tensors, with ``group["param_names"]`` if it held (name,
    tensor) pairs."""
    params = group["params"]
    if isinstance(params, Tensor):
        params = [params]
    elif isinstance(params, set):
        raise TypeError(
            "optimizer parameters need to be organized in ordered collections, but the ordering of tensors"
            " in sets will change between runs. Please use a list instead."
        )
    params = list(params)
    names = [p[0] for p in params if isinstance(p, tuple)]
    if names and len(names) != len(params):
        raise ValueError("all optimizer params should be with/without names. Some param names are missing")
    group["params"] = [p[1] if isinstance(p, tuple) else p for p in params]
    if names:
        group["param_names"] = names


def _to_param(param: Tensor, value: Any, key: Any = None) -> Any:
    """State of a loaded dict on the parameter's device, in its dtype (but for ``step``, which counts in its
    own)."""
    if isinstance(value, Tensor):
        if key == "step" or not param.is_floating_point():
            return value.to(device=param.device)
        return value.to(dtype=param.dtype, device=param.device)
    if isinstance(value, dict):
        return {k: _to_param(param, v, k) for k, v in value.items()}
    if isinstance(value, (list, tuple, set)):
        return type(value)(_to_param(param, v) for v in value)
    return value
