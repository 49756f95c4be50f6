"""Hooks of modules: registering them, and the call that runs them around ``forward``."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

from .. import autograd
from .._tensor import Tensor, replaced
from ..autograd.hooks import RemovableHandle
from ..autograd.mode import state


class _Global:
    """Hooks of every module of the process; ``any`` spares the common call five look-ups."""

    def __init__(self) -> None:
        self.any = False
        self.forward_pre: OrderedDict = OrderedDict()
        self.forward: OrderedDict = OrderedDict()
        self.forward_with_kwargs: OrderedDict = OrderedDict()
        self.forward_always: OrderedDict = OrderedDict()
        self.backward_pre: OrderedDict = OrderedDict()
        self.backward: OrderedDict = OrderedDict()


_global = _Global()


def all_hooks() -> tuple:
    """The numbers of the hooks of every module of the process."""
    return tuple([tuple(hooks) for hooks in vars(_global).values() if isinstance(hooks, OrderedDict)])


def _add(hooks: OrderedDict, hook: Callable, *flags: OrderedDict, prepend: bool = False) -> RemovableHandle:
    replaced[0] += 1  # traces look again at the hooks
    handle = RemovableHandle(hooks, extra=flags)
    hooks[handle.id] = hook
    for flag in flags:
        flag[handle.id] = True
    if prepend:
        hooks.move_to_end(handle.id, last=False)
    return handle


def _add_global(hooks: OrderedDict, hook: Callable, *flags: OrderedDict) -> RemovableHandle:
    _global.any = True
    return _add(hooks, hook, *flags)


def register_module_forward_pre_hook(hook: Callable) -> RemovableHandle:
    """Call ``hook(module, args)`` before the forward of every module of the process."""
    return _add_global(_global.forward_pre, hook)


def register_module_forward_hook(
    hook: Callable, *, with_kwargs: bool = False, always_call: bool = False
) -> RemovableHandle:
    """Call ``hook(module, args, output)`` after the forward of every module of the process."""
    flags = [_global.forward_with_kwargs] * with_kwargs + [_global.forward_always] * always_call
    return _add_global(_global.forward, hook, *flags)


def register_module_full_backward_pre_hook(hook: Callable) -> RemovableHandle:
    """Call ``hook(module, grad_output)`` before the backward of every module of the process."""
    return _add_global(_global.backward_pre, hook)


def register_module_full_backward_hook(hook: Callable) -> RemovableHandle:
    """Call ``hook(module, grad_input, grad_output)`` in the backward of every module of the process."""
    return _add_global(_global.backward, hook)


class BackwardHookFunction(autograd.Function):
    """The identity on tensors, whose backward hands the gradients to a callback and goes on with its
    answer.
    """

    @staticmethod
    def forward(ctx: Any, callback: Callable, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.callback = callback
        ctx.mark_non_differentiable(*[t for t in tensors if not t.requires_grad])
        ctx.set_materialize_grads(False)
        return tuple(t.view_as(t) for t in tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        return (None, *ctx.callback(grads))


class _BackwardHooks:
    """One call's backward hooks: sees the gradients of outputs first, then those of inputs."""

    def __init__(self, module: Any, pre_hooks: list[Callable], hooks: list[Callable]):
        self.module, self.pre_hooks, self.hooks = module, pre_hooks, hooks
        self.grad_outputs: tuple | None = None
        self.input_positions: list[int] | None = None
        self.n_inputs = self.n_outputs = 0
        self.output_positions: list[int] = []

    def _through(self, values: tuple, callback: Callable) -> tuple[tuple, list[int]]:
        """Put tensors among ``values`` behind a boundary if one of them takes part in differentiation."""
        positions = [i for i, v in enumerate(values) if isinstance(v, Tensor)]
        if not any(values[i].requires_grad for i in positions) or not autograd.is_grad_enabled():
            return values, []
        new = list(values)
        for i, tensor in zip(positions, BackwardHookFunction.apply(callback, *(values[i] for i in positions))):
            new[i] = tensor
        return tuple(new), positions

    def inputs(self, args: tuple) -> tuple:
        """The positional inputs, watched."""
        self.n_inputs = len(args)
        args, positions = self._through(args, self._at_inputs)
        self.input_positions = positions or None
        return args

    def outputs(self, result: Any) -> Any:
        """The outputs (a tensor or a tuple of values), watched."""
        is_tuple = isinstance(result, tuple)
        values = result if is_tuple else (result,)
        self.n_outputs = len(values)
        values, self.output_positions = self._through(values, self._at_outputs)
        if not is_tuple:
            return values[0]
        return type(result)(*values) if hasattr(result, "_fields") else tuple(values)

    def _at_outputs(self, grads: tuple) -> tuple:
        full = _spread(grads, self.output_positions, self.n_outputs)
        for hook in self.pre_hooks:
            answer = hook(self.module, full)
            if answer is not None:
                full = _checked(answer, len(full), "Backward pre hook", "grad_output")
        self.grad_outputs = full
        if self.input_positions is None:
            for hook in self.hooks:
                answer = hook(self.module, (None,) * self.n_inputs, full)
                if answer is not None and not all(g is None for g in answer):
                    raise RuntimeError(
                        "Backward hook for Modules where no input requires gradient should always return"
                        " None or None for all gradients."
                    )
        return tuple(full[i] for i in self.output_positions)

    def _at_inputs(self, grads: tuple) -> tuple:
        if self.grad_outputs is None:
            raise RuntimeError(
                "Module backward hook for grad_input is called before the grad_output one. This happens"
                " because the gradient in your nn.Module flows to the Module's input without passing"
                " through the Module's output. Make sure that the output depends on the input and that the"
                " loss is computed based on the output."
            )
        positions = self.input_positions or []
        full = _spread(grads, positions, self.n_inputs)
        for hook in self.hooks:
            answer = hook(self.module, full, self.grad_outputs)
            if answer is not None:
                full = _checked(answer, len(full), "Backward hook", "grad_input")
        self.grad_outputs = None
        return tuple(full[i] for i in positions)


def _spread(grads: tuple, positions: list[int], n: int) -> tuple:
    full: list = [None] * n
    for i, g in zip(positions, grads):
        full[i] = g
    return tuple(full)


def _checked(answer: Any, n: int, what: str, name: str) -> tuple:
    answer = answer if isinstance(answer, tuple) else (answer,)
    if len(answer) != n:
        raise RuntimeError(
            f"{what} returned an invalid number of {name}, got {len(answer)}, but expected {n}"
        )
    return answer


def _first_grad_fn(value: Any) -> Any:
    """The graph node behind the first tensor in a nested result, for the deprecated kind of backward hook."""
    while not isinstance(value, Tensor):
        if isinstance(value, dict):
            value = next((v for v in value.values() if isinstance(v, Tensor)), None)
        elif isinstance(value, (tuple, list)) and value:
            value = value[0]
        else:
            return None
        if value is None:
            return None
    return value.grad_fn


class HooksMixin:
    """The part of ``Module`` that keeps hooks and calls ``forward`` with them."""

    _forward_hooks: OrderedDict
    _forward_hooks_with_kwargs: OrderedDict
    _forward_hooks_always_called: OrderedDict
    _forward_pre_hooks: OrderedDict
    _forward_pre_hooks_with_kwargs: OrderedDict
    _backward_hooks: OrderedDict
    _backward_pre_hooks: OrderedDict
    _is_full_backward_hook: bool | None
    forward: Callable

    def register_forward_pre_hook(
        self, hook: Callable, *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call ``hook(module, args)`` before forward; a value that is not None replaces the arguments."""
        flags = [self._forward_pre_hooks_with_kwargs] * with_kwargs
        return _add(self._forward_pre_hooks, hook, *flags, prepend=prepend)

    def register_forward_hook(
        self, hook: Callable, *, prepend: bool = False, with_kwargs: bool = False, always_call: bool = False
    ) -> RemovableHandle:
        """Call ``hook(module, args, output)`` after forward; a value that is not None replaces the output.

        Example:
            >>> import numtorch
            >>> seen = []
            >>> layer = numtorch.nn.Linear(2, 3)
            >>> handle = layer.register_forward_hook(lambda m, args, out: seen.append(tuple(out.shape)))
            >>> _ = layer(numtorch.ones(4, 2))
            >>> handle.remove()
            >>> seen
            [(4, 3)]
        """
        flags = [self._forward_hooks_with_kwargs] * with_kwargs + [
            self._forward_hooks_always_called
        ] * always_call
        return _add(self._forward_hooks, hook, *flags, prepend=prepend)

    def register_full_backward_pre_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """Call ``hook(module, grad_output)`` before this module's backward; its answer replaces
        grad_output.
        """
        return _add(self._backward_pre_hooks, hook, prepend=prepend)

    def register_full_backward_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """Call ``hook(module, grad_input, grad_output)`` in backward; its answer replaces grad_input."""
        self._claim_backward_kind(True)
        return _add(self._backward_hooks, hook, prepend=prepend)

    def register_backward_hook(self, hook: Callable) -> RemovableHandle:
        """The deprecated hook on the last operation only; use ``register_full_backward_hook``."""
        self._claim_backward_kind(False)
        return _add(self._backward_hooks, hook)

    def _claim_backward_kind(self, full: bool) -> None:
        if self._is_full_backward_hook is (not full):
            raise RuntimeError(
                "Cannot use both regular backward hooks and full backward hooks on a single Module. Please"
                " use only one of them."
            )
        self._is_full_backward_hook = full

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if state.recorder is not None:
            state.recorder.module(self)
        if state.anomaly is not None:
            anomaly = state.anomaly
            with anomaly.inside(self):
                result = self._call_plain(args, kwargs)
            anomaly.leave(self, result)
            return result
        return self._call_plain(args, kwargs)

    def _call_plain(self, args: tuple, kwargs: dict) -> Any:
        if not (
            self._forward_hooks
            or self._forward_pre_hooks
            or self._backward_hooks
            or self._backward_pre_hooks
            or _global.any
        ):
            return self.forward(*args, **kwargs)
        called: set[int] = set()
        try:
            return self._call_with_hooks(called, args, kwargs)
        except Exception:
            self._call_remaining(called, args, kwargs)
            raise

    _call_impl = __call__

    def _call_with_hooks(self, called: set[int], args: tuple, kwargs: dict) -> Any:
        args, kwargs = self._run_pre_hooks(args, kwargs)
        watch = None
        full = self._is_full_backward_hook is not False
        hooks = [*_global.backward.values(), *(self._backward_hooks.values() if full else ())]
        pre_hooks = [*_global.backward_pre.values(), *self._backward_pre_hooks.values()]
        if hooks or pre_hooks:
            watch = _BackwardHooks(self, pre_hooks, hooks)
            args = watch.inputs(args)
        result = self.forward(*args, **kwargs)
        for key, hook, with_kwargs, _ in self._forward_hook_list():
            called.add(key)
            answer = hook(self, args, kwargs, result) if with_kwargs else hook(self, args, result)
            if answer is not None:
                result = answer
        if watch is not None:
            if not isinstance(result, (Tensor, tuple)):
                return result
            result = watch.outputs(result)
        if not full and self._backward_hooks:
            self._hook_last_operation(result)
        return result

    def _forward_hook_list(self) -> Iterator[tuple[int, Callable, bool, bool]]:
        """(id, hook, takes kwargs, must always run) of the process's and this module's forward hooks."""
        for key, hook in list(_global.forward.items()):
            yield key, hook, key in _global.forward_with_kwargs, key in _global.forward_always
        for key, hook in list(self._forward_hooks.items()):
            yield key, hook, key in self._forward_hooks_with_kwargs, key in self._forward_hooks_always_called

    def _run_pre_hooks(self, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        for key, hook in [*_global.forward_pre.items(), *self._forward_pre_hooks.items()]:
            if key in self._forward_pre_hooks_with_kwargs:
                answer = hook(self, args, kwargs)
                if answer is not None:
                    if not isinstance(answer, tuple) or len(answer) != 2:
                        raise RuntimeError(
                            "forward pre-hook must return None or a tuple of (new_args, new_kwargs), but"
                            f" got {answer}."
                        )
                    args, kwargs = answer
            else:
                answer = hook(self, args)
                if answer is not None:
                    args = answer if isinstance(answer, tuple) else (answer,)
        return args, kwargs

    def _call_remaining(self, called: set[int], args: tuple, kwargs: dict) -> None:
        """After an error, run the hooks registered with ``always_call`` that have not run, with output
        None.
        """
        for key, hook, with_kwargs, always in self._forward_hook_list():
            if always and key not in called:
                hook(self, args, kwargs, None) if with_kwargs else hook(self, args, None)

    def _hook_last_operation(self, result: Any) -> None:
        grad_fn = _first_grad_fn(result)
        if grad_fn is None:
            return
        for hook in self._backward_hooks.values():

            def call(grad_input: Any, grad_output: Any, hook: Callable = hook) -> Any:
                return hook(self, grad_input, grad_output)

            grad_fn.register_hook(call)
