"""The elementwise kind: an op that is one scalar body.

``@elementwise()`` turns a scalar function into an op on tensors and numbers; ``@op.grad`` gives its derivative as a second
scalar body that takes ``g`` and whichever of the op's parameters and its output ``y`` it uses, and returns a value per
parameter. A plan (output layout, kernel, size words) is found by the identity of the operands' layouts.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from ..autograd.mode import state, watchers
from ..dtype import REDUCED, bool_, dtype, get_default_dtype, of_number, promote_types, result_of, uint8
from ..errors import not_implemented
from ..memo import Memo
from ..shape import Layout, broadcast, contiguous, expand_strides, layout
from ..storage import Storage
from . import launch as launching
from . import quick, ways
from .declare import TABLE, Saved, empty_like_layout
from .derivative import Differentiable, NotNeeded, Unneeded
from .launch import PARALLEL_COST, Plan

_PLAIN = (float, int, bool)
_ONE = [None]
# Ops that give a tensor of two numbers, as in PyTorch.
_OF_NUMBERS = frozenset(("add", "add_scaled", "sub", "mul", "true_divide", "copy", "fill"))


class Elementwise(Differentiable):
    """An elementwise op; call it with tensors and numbers."""

    def __init__(self, body: Callable, result: str = "same", promote: Sequence[str] | None = None,
                 outputs: int = 1, name: str | None = None, component: int | None = None,
                 uses: tuple[str, ...] | None = None, int_ok: bool = True):  # fmt: skip
        self.body = body
        self.name = name or body.__name__
        self.node_name: str | None = None  # of its node, if not <Name>Backward0
        self.__name__ = self.name
        self.__doc__ = body.__doc__
        signature = inspect.signature(body)
        self.params = uses or tuple(signature.parameters)
        self.defaults = {
            n: p.default for n, p in signature.parameters.items() if p.default is not inspect.Parameter.empty
        }
        self.result = result
        self.promoted = tuple(self.params if promote is None else promote)
        self._promotes = tuple(n in self.promoted for n in self.params)
        self.count = outputs
        self.component = component
        self.int_ok = int_ok
        self.bool_ok = self.float_ok = self.half_ok = True
        self.tensors = 0  # how many leading operands may not be numbers
        self.bodies: dict[int, Callable] = {}  # for a category of dtypes another body
        self.lift: Any = False  # bool operands are computed as bytes
        self.grad_body: Callable | None = None
        self._grads: dict[int, Any] = {}
        self._plans = Memo()
        self._ways = Memo()  # the short way (quick.py) by layouts
        self._saves: dict[tuple, Any] = {}
        self.domain: Any = None
        self.ref: Callable | None = None
        self.samples: Callable | None = None
        self.aliases: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    # -- declaration

    def derived(self, body: Any, name: str, component: int | None, uses: tuple[str, ...]) -> Elementwise:
        """The elementwise op of a component of a gradient's body."""
        return Elementwise(body, name=name, component=component, uses=uses)

    def grad(self, body: Callable) -> Callable:
        """Decorator: the derivative, a scalar body of ``g``, parameters by name and ``y``."""
        self.grad_body = body
        return body

    # -- calls

    def __call__(self, *args: Any, out: Any = None, **kwargs: Any) -> Any:
        if kwargs or len(args) != len(self.params):
            args = self.bind(args, kwargs)
        if out is not None:
            return self._into(args, out)
        key = tuple([a._layout if hasattr(a, "_layout") else type(a) for a in args])
        if not watchers:
            way = self._ways.get(key)
            if way is not None:
                result = way.run(*args)
                for i in way.tensors:
                    if args[i]._rg:
                        if state.grad:
                            quick.record(way, args, result)
                        break
                return result
        elif state.autocast is not None:
            args, key = state.autocast.keyed(self.name, args)
        result = self._by_plan(key, args)
        if not watchers:
            ways.learn(self, key, args)
        return result

    def _by_plan(self, key: tuple, args: tuple) -> Any:
        """Plan, make the outputs, launch, record: every op can go this way."""
        plan = self._plans.get(key)
        if plan is None:
            if Unneeded in key:
                return NotNeeded
            plan, args = self.plan(key, args)
        if plan.alone is not None:
            la = plan.alone
            plain = la.device == "cpu" and not state.watched
            result = _tensor(Storage(la.numel * la.itemsize), 0, la) if plain else empty_like_layout(la)
            outputs: Any = (result,)
        else:
            outputs = [empty_like_layout(la) for la in plan.outputs]
            result = outputs[0] if self.count == 1 else tuple(outputs)
        self.execute(plan, outputs, args)
        if state.grad and self.grad_body is not None:
            for i in plan.tensors:
                if args[i]._rg:
                    self._record_node(args, outputs)
                    break
        return result

    def bind(self, args: tuple, kwargs: dict) -> tuple:
        """Arguments in the order of the body's parameters; TypeError as Python gives."""
        if len(args) > len(self.params):
            raise TypeError(f"{self.name}() takes {len(self.params)} positional arguments but {len(args)} were given")
        values = dict(zip(self.params, args))
        for n, v in kwargs.items():
            if n not in self.params:
                raise TypeError(
                    f"{self.name}() got an unexpected keyword argument '{n}'; it takes {', '.join(self.params)}"
                )
            if n in values:
                raise TypeError(f"{self.name}() got multiple values for argument '{n}'")
            values[n] = v
        missing = [n for n in self.params if n not in values and n not in self.defaults]
        if missing:
            names = ", ".join(f'"{n}"' for n in missing)
            raise TypeError(f"{self.name}() missing {len(missing)} required positional arguments: {names}")
        return tuple(values.get(n, self.defaults.get(n)) for n in self.params)

    def execute(self, plan: Plan, outputs: Sequence[Any], args: Sequence[Any]) -> None:
        """Launch the kernel of a plan."""
        watched = state.watched
        if watched and state.recorder is not None:
            state.recorder.before(outputs)
        if watched and state.anomaly is not None:
            state.anomaly.on_write(outputs, args)
        if watched and state.interpreter is not None and plan.outputs[0].device == "cpu":
            state.interpreter.elementwise(self, plan, outputs, args)
        elif plan.address:
            words = [t._address() for t in outputs]
            words += [args[i]._address() for i in plan.tensors]
            words += plan.words
            for i in plan.scalars:
                a = args[i]
                words.append(a if type(a) in _PLAIN else float(a))
            (launching._launch or launching.driver())(plan.address, plan.chunks, *words)
        elif plan.outputs[0].numel:
            self._execute_elsewhere(plan, outputs, args)
        if watched:
            if state.recorder is not None:
                state.recorder.elementwise(self, plan, outputs, args)
            if state.anomaly is not None:
                state.anomaly.on_forward(self.name, outputs, args)

    def _execute_elsewhere(self, plan: Plan, outputs: Sequence[Any], args: Sequence[Any]) -> None:
        from ..cuda import runtime

        runtime.run_program(plan, outputs, args)

    # -- planning: shapes and dtypes first, then the device

    def plan(self, key: tuple, args: tuple, out: Sequence[Layout] | None = None) -> tuple[Plan, tuple]:
        """Find the output layouts and the kernel for operands of these layouts."""
        from .._tensor import Tensor

        args = tuple(self._argument(i, a) for i, a in enumerate(args))
        tensors = [i for i, a in enumerate(args) if isinstance(a, Tensor)]
        if not tensors and self.name not in _OF_NUMBERS:
            raise self._no_tensor(0, args[0], "Tensor")
        of_out = out is not None and not tensors  # numbers written to where it is
        device = out[0].device if of_out else launching.common_device(self.name, [args[i] for i in tensors])  # type: ignore[index]
        compute = self.compute_dtype(args)
        layouts = [args[i]._layout for i in tensors]
        shape = broadcast(*[la.shape for la in layouts], op=self.name) if layouts else ()
        shape = shape if out is None else out[0].shape
        plan = Plan()
        plan.tensors = tuple(tensors)
        plan.scalars = tuple(i for i in range(len(args)) if i not in tensors)
        plan.outputs = tuple(self._output_layouts(shape, layouts, compute, device) if out is None else out)
        plan.alone = plan.outputs[0] if self.count == 1 and out is None else None
        try:
            self._bind_kernel(plan, args, layouts, shape, compute, device)
        except TypeError as error:  # the body has no meaning in this dtype, as `&` of floats
            raise not_implemented(self.name, compute) from error
        if state.interpreter is not None:
            return plan, args  # without a compiled kernel: for this call only
        self._plans.note(key, plan)
        return plan, args

    def _argument(self, position: int, a: Any) -> Any:
        from .._tensor import Tensor

        if isinstance(a, Tensor):
            return a
        number_ok = position >= self.tensors
        if number_ok and isinstance(a, (bool, int, float)):
            return a
        if number_ok and hasattr(a, "dtype") and getattr(a, "ndim", None) == 0 and hasattr(a, "item"):
            return a.item()
        kind = "Tensor or Number" if number_ok else "Tensor"
        raise self._no_tensor(position, a, kind)

    def _no_tensor(self, position: int, a: Any, kind: str) -> TypeError:
        return TypeError(
            f"{self.name}(): argument '{self.params[position]}' (position {position + 1}) must be {kind}, not"
            f" {type(a).__name__}; make one with numtorch.tensor(...)"
        )

    def compute_dtype(self, args: Sequence[Any]) -> dtype:
        """The dtype in which the body is evaluated."""
        dimensioned = zero_dim = number = None
        for use, a in zip(self._promotes, args):
            if not use:
                continue
            if hasattr(a, "_layout"):
                d = a._layout.dtype
                if a._layout.ndim:
                    dimensioned = d if dimensioned is None else promote_types(dimensioned, d)
                else:
                    zero_dim = d if zero_dim is None else promote_types(zero_dim, d)
            else:
                d = of_number(a)
                assert d is not None
                number = d if number is None else promote_types(number, d)
        if dimensioned is None and zero_dim is None and number is None:
            found = bool_
        else:
            found = result_of(dimensioned, zero_dim, number)
        if found is bool_ and self.lift:
            found = uint8 if self.lift is True else self.lift
        if self.result == "float" and not found.is_floating_point:
            return get_default_dtype()
        if found is bool_ and not self.bool_ok:
            raise not_implemented(self.name, found)
        if not (self.float_ok if found.is_floating_point else self.int_ok) or (found in REDUCED and not self.half_ok):
            raise not_implemented(self.name, found)
        return found

    def result_dtype(self, compute: dtype) -> dtype:
        """The dtype of the outputs."""
        return bool_ if self.result == "bool" else compute

    def _output_layouts(
        self, shape: tuple, layouts: list[Layout], compute: dtype, device: str
    ) -> list[Layout]:
        d = self.result_dtype(compute)
        full = [la for la in layouts if la.shape == shape]
        if full and not full[0].contiguous and full[0].dense and all(la.strides == full[0].strides for la in full):
            one = layout(shape, full[0].strides, d, device)
        else:
            one = contiguous(shape, d, device)
        return [one] * self.count

    def _bind_kernel(
        self, plan: Plan, args: tuple, layouts: list[Layout], shape: tuple, compute: dtype, device: str
    ) -> None:
        plan.program = self.program(plan, args, compute)
        strides = [la.strides for la in plan.outputs]
        strides += [expand_strides(la.shape, la.strides, shape) for la in layouts]
        if not plan.outputs:
            plan.address = 0
            return
        if device == "cpu" and state.interpreter is not None:
            assert plan.program.written is not None  # raises for a body that no kernel can hold
            plan.layout_kind, plan.words, plan.address, plan.chunks = "interpreted", (), 0, 1
            plan.sizes = (shape, tuple(strides))
            return
        here = device == "cpu"  # a GPU lays its launch out itself (kernels/cuda/elementwise.py)
        plan.layout_kind, plan.words = plan.program.words(shape, tuple(strides)) if here else ("cuda", ())
        n = plan.outputs[0].numel
        plan.sizes = (shape, tuple(strides))
        if here:
            kernel = plan.program.kernel(plan.layout_kind)
            plan.address = kernel.address() if n else 0
        else:
            plan.address = 0
        plan.chunks = 1 if n < PARALLEL_COST else min(launching.threads(), (n + 16383) // 16384)

    def program(self, plan: Plan, args: Sequence[Any], compute: dtype) -> Any:
        """The fused-kernel program that consists of this op alone."""
        from ..kernels.codegen import Program, Step

        scalars = [(self.params[i], "real" if isinstance(args[i], float) else "i64") for i in plan.scalars]
        tensors = {self.params[i]: f"x{k}" for k, i in enumerate(plan.tensors)}
        names = tuple(tensors.get(p, p) for p in self.params)
        outs = tuple(f"y{k}" for k in range(len(plan.outputs)))
        step = Step(
            self.bodies.get(compute.category, self.body),
            self._full_args(names),
            outs,
            compute.kind,
            self.component,
        )
        return Program(
            inputs=[args[i]._layout.dtype.kind for i in plan.tensors],
            scalars=scalars,
            outputs=[la.dtype.kind for la in plan.outputs],
            steps=[step],
        )

    def _full_args(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Arguments for all of the body's parameters: those that a component does not use are given as the first."""
        every = tuple(inspect.signature(self.body).parameters)
        if every == self.params:
            return names
        given = dict(zip(self.params, names))
        return tuple(given.get(p, names[0]) for p in every)

    # -- other places for the result

    def _into(self, args: tuple, out: Any) -> Any:
        from .inplace import EXACT, write_out

        return write_out(self(*args), out, self.name, self.name not in EXACT, self.grad_body is not None)

    def inplace(self, target: Any, *args: Any) -> Any:
        """Write the result into ``target``, the first operand, recording history as PyTorch does."""
        from .inplace import check_inplace, check_result, rebase

        args = (target, *args)
        if len(args) != len(self.params):
            args = self.bind(args, {})
        needs = state.grad and any(getattr(a, "_rg", False) for a in args)
        check_inplace(target, self.name, needs)
        la = target._layout
        key = ("in", *[a._layout if hasattr(a, "_layout") else type(a) for a in args])
        plan = self._plans.get(key)
        if plan is None:
            checked = tuple(self._argument(i, a) for i, a in enumerate(args))
            result = self.result_dtype(self.compute_dtype(checked))
            shapes = [a._layout.shape for a in checked if hasattr(a, "_layout")]
            check_result(self.name, la, broadcast(*shapes, op=self.name), result)
            plan, args = self.plan(key, args, out=[la])
        node = self._make_node(args) if needs and self.grad_body is not None else None
        if node is not None and self.params[0] in node.saved:  # the derivative reads what is overwritten here
            node.saved[self.params[0]] = Saved(target.clone())
        self.execute(plan, (target,), args)
        target._storage.version += not target._untracked
        if node is not None:
            self._save_outputs(node, (target,))
            rebase(target, node)
        elif needs:
            rebase(target, None)
        return target


def _tensor(storage: Any, offset: int, la: Layout) -> Any:
    global _tensor
    from .._tensor import Tensor

    _tensor = Tensor._make
    return Tensor._make(storage, offset, la)


def elementwise(
    result: str = "same", promote: Sequence[str] | None = None, outputs: int = 1, name: str | None = None,
    ref: Callable | None = None, domain: Any = None, samples: Callable | None = None, int_ok: bool = True,
    aliases: Sequence[str] = (), lift: Any = False, bool_ok: bool = True, bodies: dict[int, Callable] | None = None,
    tensors: int = 0, float_ok: bool = True, half_ok: bool = True,
) -> Callable[[Callable], Elementwise]:  # fmt: skip
    """Declare an elementwise op from its scalar body.

    ``result``: "same" (the promoted dtype), "float" (the same, integers become the default float) or "bool"; ``promote``: the
    parameters that take part in promotion (default all); ``lift``: bool is computed as uint8 (or the dtype given);
    ``int_ok``, ``bool_ok``, ``float_ok``, ``half_ok``: False refuses the dtypes; ``bodies``: another body for a category of dtypes; ``tensors``: how many leading
    operands must be tensors, as PyTorch asks of them; ``ref``: a NumPy reference, ``domain``: (low, high) where samples are drawn, or one pair per parameter.
    """

    def declare(body: Callable) -> Elementwise:
        op = Elementwise(body, result, promote, outputs, name, int_ok=int_ok)
        op.ref, op.domain, op.samples, op.aliases, op.half_ok = ref, domain, samples, tuple(aliases), half_ok
        op.lift, op.bool_ok, op.bodies, op.tensors, op.float_ok = lift, bool_ok, bodies or {}, tensors, float_ok
        TABLE[op.name] = op
        return op

    return declare
