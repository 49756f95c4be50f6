"""``custom_op``: a Python function on tensors, or a compiled kernel of yours, as one differentiable op.

The names are PyTorch's (``torch.library.custom_op``, ``register_fake``, ``register_autograd``, ``register_kernel``). A function
that ``numba.njit`` compiled, with its outputs as the last parameters, is also recorded by ``jit.trace`` as one native node.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .._tensor import Tensor
from ..autograd.function import Function
from ..autograd.mode import no_grad, state
from ..dtype import bfloat16
from ..dtype import dtype as DType
from ..kernels.user import UserKernel, is_compiled
from ..ops.declare import KernelOp
from ..ops.launch import Launch
from ..shape import Layout, contiguous
from .known import Own

OPS: dict[str, CustomOp] = {}


class CustomOp(Own):
    """An op made by ``custom_op``; call it with tensors and numbers."""

    def __init__(self, name: str, function: Callable, mutates_args: Sequence[str], device_types: Any, shape: Callable | None):
        self.name, self.function, self.mutates = name, function, tuple(mutates_args)
        self.__name__, self.__doc__ = name.partition("::")[2], function.__doc__
        self.__module__ = getattr(function, "__module__", "")
        self.native = is_compiled(function)
        given = inspect.signature(getattr(function, "py_func", function))
        self.kernels: dict[str, Callable] = {}
        self.devices = (device_types,) if isinstance(device_types, str) else device_types
        self._fake = shape
        self._function: type[Function] | None = None
        self._native: dict[tuple, Any] = {}
        self._outputs = 0
        self._raises = False
        if self.native:
            if shape is None:
                raise TypeError(
                    f"custom_op {name}: a compiled function needs its shape rule; pass shape=, a function of the inputs that"
                    " returns a shape, (shape, dtype) or an empty tensor for each output"
                )
            inputs = len(inspect.signature(shape).parameters)
            self._outputs = len(given.parameters) - inputs
            if self._outputs < 1:
                raise TypeError(
                    f"custom_op {name}: the function takes {len(given.parameters)} parameters and the shape rule {inputs}; the"
                    " function's last parameters are the outputs that it fills, so it must take more"
                )
            self.signature = given.replace(parameters=list(given.parameters.values())[:inputs])
            self._op = self._declare()
        else:
            self.signature = given

    # -- registration

    def register_fake(self, rule: Callable) -> Callable:
        """Decorator: the shape rule; returns empty tensors like the outputs. Used to check them."""
        self._fake = rule
        return rule

    def register_kernel(self, device_types: str | Iterable[str], function: Callable | None = None) -> Callable:
        """Decorator: the implementation for a device ("cpu", "cuda"). That of a compiled op is called with inputs and outputs."""
        devices = [device_types] if isinstance(device_types, str) else list(device_types)

        def register(fn: Callable) -> Callable:
            self.kernels.update(dict.fromkeys(devices, fn))
            return fn

        return register if function is None else register(function)

    def register_autograd(self, backward: Callable, /, *, setup_context: Callable | None = None) -> None:
        """The derivative: ``backward(ctx, *grads)`` returns a gradient (or None) per input; ``setup_context(ctx, inputs,
        output)`` saves what it needs. Written in ops, it can be traced and differentiated again."""
        op = self

        def forward(*inputs: Any) -> Any:
            return op._run(inputs)

        def setup(ctx: Any, inputs: tuple, output: Any) -> None:
            if setup_context is not None:
                setup_context(ctx, inputs, output)

        def checked(ctx: Any, *grads: Any) -> Any:
            result = backward(ctx, *grads)
            found = len(result) if isinstance(result, (tuple, list)) else 1
            if found != len(op.signature.parameters):
                raise RuntimeError(
                    f"{op.name}: the backward returned {found} gradient(s), expected {len(op.signature.parameters)}: one for"
                    f" each of {', '.join(op.signature.parameters)} (None where there is none)"
                )
            return result

        members = {"forward": staticmethod(forward), "setup_context": staticmethod(setup), "backward": staticmethod(checked)}
        self._function = type(self.__name__, (Function,), members)

    # -- calls

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        bound = self.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        inputs = tuple(bound.args)
        if state.grad and any(isinstance(a, Tensor) and a.requires_grad for a in inputs):
            if self._function is None:
                raise RuntimeError(
                    f"{self.name}: an input requires grad but the op has no derivative; give one with register_autograd, or"
                    " call it on x.detach()"
                )
            return self._function.apply(*inputs)
        return self._run(inputs)

    def _run(self, inputs: tuple) -> Any:
        device = next((a.device.type for a in inputs if isinstance(a, Tensor)), "cpu")
        if self.devices is not None and device not in self.devices and device not in self.kernels:
            raise NotImplementedError(f"{self.name} has no kernel for {device}; give one with register_kernel({device!r})")
        with no_grad():
            if not self.native:
                result = self.kernels.get(device, self.function)(*inputs)
                self._check_fake(inputs, result)
                return result
            if device != "cpu":
                return self._elsewhere(device, inputs)
            tensors = [a.detach() if isinstance(a, Tensor) else a for a in inputs]
            result = self._op(*[t for t in tensors if isinstance(t, Tensor)], numbers=tuple(_place(tensors)))
            *outputs, status = result
            if self._raises:
                self._check_status(status, tensors, outputs)
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def _elsewhere(self, device: str, inputs: tuple) -> Any:
        """A compiled op on another device: its registered kernel fills the outputs."""
        from ..creation import empty

        if device not in self.kernels:
            raise NotImplementedError(f"{self.name} has no kernel for {device}; give one with register_kernel({device!r})")
        first = next(a for a in inputs if isinstance(a, Tensor))
        outputs = [empty(la.shape, dtype=la.dtype, device=first.device) for la in self._layouts(inputs)]
        if state.recorder is not None:
            state.recorder.refuse(f"{self.name} runs through Python on {device}")
        self.kernels[device](*inputs, *outputs)
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def _check_fake(self, inputs: tuple, result: Any) -> None:
        if self._fake is None or state.recorder is not None:
            return
        want, have = _several(self._fake(*inputs)), _several(result)
        for k, (w, h) in enumerate(zip(want, have)):
            if isinstance(w, Tensor) and (tuple(w.shape) != tuple(h.shape) or w.dtype is not h.dtype):
                raise RuntimeError(
                    f"{self.name}: output {k} is {h.dtype}{list(h.shape)}, its shape rule says {w.dtype}{list(w.shape)};"
                    " mend one of them"
                )

    # -- compiled functions

    def _layouts(self, inputs: Sequence[Any]) -> list[Layout]:
        """The outputs' layouts by the shape rule."""
        assert self._fake is not None
        first = next((a for a in inputs if isinstance(a, Tensor)), None)
        if first is None:
            raise TypeError(f"{self.name}: expected at least one tensor argument, got only numbers; pass a tensor")
        given = self._fake(*inputs)
        rules = [given] if self._outputs == 1 else list(given)
        if len(rules) != self._outputs:
            raise RuntimeError(
                f"{self.name}: the shape rule gives {len(rules)} output(s), the function fills {self._outputs}; return one for each"
            )
        return [_layout(self.name, r, first) for r in rules]

    def _declare(self) -> KernelOp:
        def meta(*tensors: Tensor, numbers: tuple) -> tuple[Layout, ...]:
            from ..dtype import int64

            inputs = _join(tensors, numbers)
            return (*self._layouts(inputs), contiguous((2,), int64, "cpu"))

        op = KernelOp(self.name, meta, tuple(self.signature.parameters), (), (), steady=False)
        op.owner = self, ""  # type: ignore[attr-defined]

        @op.plan
        def _(outputs: Any, *tensors: Tensor, numbers: tuple) -> list[Launch]:
            *filled, status = outputs
            values = [*_join([t.contiguous() for t in tensors], numbers), *filled]
            arrays = [v for v in values if isinstance(v, Tensor)]
            key = tuple((v.dtype.kind, v.dim()) if isinstance(v, Tensor) else type(v) for v in values)
            kernel = self._native.get(key)
            if kernel is None:
                kernel = UserKernel(self.function, [_parameter(v) for v in values])
                if state.interpreter is None:  # else nothing is compiled, and an exception comes from the function itself
                    self._native[key] = kernel
                    self._raises |= kernel.raises
            words = [n for a in arrays for n in a.shape] + [v for v in values if not isinstance(v, Tensor)]
            return [Launch(kernel, {}, [*arrays, status], words)]

        return op

    def _check_status(self, status: Tensor, inputs: Sequence[Any], outputs: Sequence[Tensor]) -> None:
        """Raise what the function raised: now, and at each replay."""

        def failed(_: int = 1) -> Exception:
            arrays = [a.numpy() if isinstance(a, Tensor) else a for a in (*inputs, *outputs)]
            try:
                self.function(*arrays)
            except Exception as error:
                return error
            return RuntimeError(f"{self.name}: the kernel raised an exception in a replay; call the function eagerly to see it")

        recorder = state.recorder
        state_words = status._storage.array((2,), (1,), status._layout.dtype.numpy, status._offset)
        if state_words[0]:
            raise failed()
        if recorder is not None:
            recorder.check_range(status, 0, 0, failed)

    # -- in files

    def sources(self) -> list[Callable]:
        """The function."""
        return [self.function]

    def part(self, role: str) -> Any:
        """The op that a compiled function runs as."""
        return self._op if self.native and not role else None

    def __reduce__(self) -> Any:
        return self.__name__

    def __repr__(self) -> str:
        return f"<custom op {self.name}({', '.join(self.signature.parameters)})>"


def _place(values: Sequence[Any]) -> Iterable[Any]:
    """The arguments with None where a tensor stands."""
    return (None if isinstance(v, Tensor) else v for v in values)


def _join(tensors: Sequence[Tensor], numbers: Sequence[Any]) -> list[Any]:
    """Tensors and numbers in the order of the arguments."""
    rest = iter(tensors)
    return [next(rest) if n is None else n for n in numbers]


def _several(result: Any) -> list[Any]:
    return list(result) if isinstance(result, (tuple, list)) else [result]


def _parameter(v: Any) -> tuple:
    if isinstance(v, Tensor):
        if v.dtype is bfloat16:
            raise TypeError("custom_op: a compiled function takes NumPy arrays, which can't be bfloat16; convert with .float()")
        return "array", v.dtype.name, v.dim()
    if isinstance(v, (bool, int)):
        return "int", "int64", 0
    if isinstance(v, float):
        return "float", "float64", 0
    raise TypeError(f"custom_op: a compiled function takes tensors and numbers, got {type(v).__name__}; convert it first")


def _layout(name: str, rule: Any, first: Tensor) -> Layout:
    """A layout from what a shape rule returns: a tensor, a shape, or (shape, dtype)."""
    if isinstance(rule, Tensor):
        return contiguous(tuple(rule.shape), rule.dtype, "cpu")
    if isinstance(rule, tuple) and len(rule) == 2 and isinstance(rule[1], DType):
        return contiguous(tuple(int(n) for n in rule[0]), rule[1], "cpu")
    if isinstance(rule, (tuple, list)) and all(isinstance(n, int) and n >= 0 for n in rule):
        return contiguous(tuple(rule), first.dtype, "cpu")
    raise TypeError(f"{name}: the shape rule returned {rule!r}; return a shape, (shape, dtype) or an empty tensor")


def custom_op(
    name: str, fn: Callable | None = None, /, *, mutates_args: str | Sequence[str] = (), device_types: Any = None,
    shape: Callable | None = None,
) -> Any:  # fmt: skip
    """Make one op of a function of yours: a Python function on tensors, or a function that ``numba.njit`` compiled.

    ``name``: "namespace::name". A compiled function takes NumPy arrays and numbers, the outputs last, and fills them;
    ``shape`` gives each output's shape, (shape, dtype) or an empty tensor from the inputs. ``mutates_args``: inputs that a
    Python function changes. Derivatives: ``op.register_autograd``. Raises ValueError for a name without namespace, TypeError
    for a compiled function without shape rule.

    Example:
        >>> import numba
        >>> @torch.library.custom_op("docs::smooth", shape=lambda x: x.shape)
        ... @numba.njit
        ... def smooth(x, out):
        ...     for i in range(x.size):
        ...         out[i] = (x[max(i - 1, 0)] + x[i] + x[min(i + 1, x.size - 1)]) / 3
        >>> smooth(torch.tensor([0.0, 3.0, 0.0]))
        tensor([1., 1., 1.])
    """
    namespace, _, local = name.partition("::")
    if not namespace or not local:
        raise ValueError(f'custom_op: expected a name like "mylib::blur", got {name!r}; put your namespace before the name')

    def make(function: Callable) -> CustomOp:
        mutated = (mutates_args,) if isinstance(mutates_args, str) else mutates_args
        op = OPS[name] = CustomOp(name, function, mutated, device_types, shape)
        op.remember(op.__module__, name)
        return op

    return make if fn is None else make(fn)
