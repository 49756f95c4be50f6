"""Random tensors: kernel ops that read a generator's state from memory and advance it, so replays draw fresh numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._tensor import Tensor
from ..creation import _like, _options
from ..device import canonical
from ..dtype import REDUCED, bool_, dtype, float16, float32, get_default_dtype, int64
from ..errors import UNREAL, not_implemented, refuse_dtypes, require_floating, tensors_only
from ..shape import Layout, as_index, as_shape, check_sizes, contiguous
from . import elementwise as E
from .declare import Context, KernelOp, kernel_op
from .launch import PARALLEL_COST, Launch


def state_of(generator: Any, device: str) -> Tensor:
    """The state memory of a generator (None: the default one of the device). RuntimeError for one of another device."""
    from ..random import Generator, default_of

    if generator is None:
        return default_of(device)._state
    if not isinstance(generator, Generator):
        raise TypeError(f"argument 'generator' must be numtorch.Generator, not {type(generator).__name__}")
    here, there = device.partition(":")[0], generator._device.partition(":")[0]
    if here != there:
        raise RuntimeError(
            f"Expected a '{here}' device type for generator but found '{there}'; use numtorch.Generator('{here}')"
        )
    return generator._state


def _counters(n: int, per: int) -> int:
    """How many Philox counters n elements use, rounded up to whole kernel pieces of 256 counters."""
    counters = (n + per - 1) // per
    return (counters + 255) // 256 * 256


def _per_counter(d: dtype) -> int:
    return 2 if d.itemsize == 8 and d.is_floating_point else 4


def _draw(
    kernel: str, env: dict, pointers: list[Any], words: tuple, n: int, per: int, state: Tensor
) -> list[Launch]:
    """A launch that draws n elements, and the one that advances the state."""
    if n == 0:
        return []
    units = -(-n // 256) if kernel != "randperm" else 1
    return [
        Launch(("random", kernel), env, pointers, words, units, n * 8),
        Launch(("random", "advance"), {"T": "float32"}, [state], (_counters(n, per),)),
    ]


def _sampler(name: str, kernel: str, per: Callable[[dtype], int]) -> KernelOp:
    """An op that fills a new tensor: ``op(state, layout=..., params=(...))``."""

    def meta(state: Tensor, layout: Layout, params: tuple) -> Layout:
        return layout

    op = KernelOp(name, meta, ("state",), (), (), ("state",))

    @op.plan
    def _(outputs: Any, state: Tensor, layout: Layout, params: tuple) -> list[Launch]:
        n, d = layout.numel, layout.dtype
        return _draw(kernel, {"T": d.kind}, [outputs[0], state], (0, n, *params), n, per(d), state)

    return op


_uniform_values = _sampler("uniform", "uniform", _per_counter)
_normal = _sampler("normal", "normal", _per_counter)
_exponential = _sampler("exponential", "exponential", _per_counter)
_bernoulli = _sampler("bernoulli", "bernoulli", lambda d: 4)
_randint = _sampler("randint", "randint", lambda d: 2)
_randperm = _sampler("randperm", "randperm", lambda d: 2)


def _uniform(state: Tensor, layout: Layout, params: tuple) -> Tensor:
    """Uniform numbers in [low, high); those of 16 bits as multiples of their precision, as PyTorch: rounding could give ``high``."""
    if layout.dtype not in REDUCED:
        return _uniform_values(state, layout=layout, params=params)
    low, high = params
    steps = 2048.0 if layout.dtype is float16 else 256.0
    wide = _uniform_values(state, layout=contiguous(layout.shape, float32, layout.device), params=(0.0, 1.0))
    return E.add(E.mul(E.floor(E.mul(wide, steps)), (high - low) / steps), low).to(layout.dtype)


@kernel_op(["p", "state"], name="bernoulli_tensor", mutates=["state"])
def _bernoulli_tensor(p: Tensor, state: Tensor) -> Layout:
    return contiguous(p._layout.shape, p._layout.dtype, p._layout.device)


@_bernoulli_tensor.plan
def _(outputs: Any, p: Tensor, state: Tensor) -> list[Launch]:
    n = p.numel()
    return _draw("bernoulli_tensor", {"T": p.dtype.kind}, [outputs[0], p, state], (0, n), n, 4, state)


@kernel_op(["x", "state"], saves=["out1"], nograd=[1], name="dropout", mutates=["state"])
def dropout_values(x: Tensor, state: Tensor, p: float) -> Any:
    """The input with elements zeroed at random and the others scaled, and the mask of kept ones."""
    la = x._layout
    return contiguous(la.shape, la.dtype, la.device), contiguous(la.shape, bool_, la.device)


@dropout_values.plan
def _(outputs: Any, x: Tensor, state: Tensor, p: float) -> list[Launch]:
    n = x.numel()
    source = x.detach().contiguous()
    words = (0, n, float(p), 1.0 / (1.0 - p))
    return _draw("dropout", {"T": x.dtype.kind}, [outputs[0], outputs[1], source, state], words, n, 4, state)


@dropout_values.backward
def _(ctx: Context, g: Tensor, g_mask: Any = None) -> Any:
    return E.where(ctx.out1, g * (1.0 / (1.0 - ctx.attrs["p"])), 0.0), None


@tensors_only
def dropout(input: Tensor, p: float = 0.5, training: bool = True) -> Tensor:
    """The input with each element zeroed with probability ``p`` and the others scaled by ``1 / (1 - p)``, if training."""
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout: argument 'p': dropout probability has to be between 0 and 1, but got {p}")
    if not training or p == 0.0:
        return input
    if not input.is_floating_point() and (p == 1.0 or not input._layout.numel):
        return input.new_zeros(input._layout.shape)
    require_floating("dropout", "input", input)
    if p == 1.0:
        return input * 0.0
    return dropout_values(input, state_of(None, input._layout.device), p=float(p))[0]


# -- new tensors


def _floating(d: dtype, op: str) -> dtype:
    if not d.is_floating_point:
        raise not_implemented(op, d)
    return d


def _made(draw: Callable[[Layout, Any], Tensor], size: tuple, kwargs: dict, op: str) -> Tensor:
    generator, requires_grad, out = (
        kwargs.pop("generator", None),
        kwargs.pop("requires_grad", False),
        kwargs.pop("out", None),
    )
    kwargs.pop("names", None)
    shape, d, where = _options(size, kwargs, op)
    result = draw(contiguous(shape, _floating(d, op), where), state_of(generator, where))
    if out is not None:
        from .inplace import write_out

        return write_out(result, out, op)
    return result.requires_grad_(True) if requires_grad else result


def rand(*size: Any, **kwargs: Any) -> Tensor:
    """Uniform numbers in [0, 1)."""
    return _made(lambda la, s: _uniform(s, layout=la, params=(0.0, 1.0)), size, kwargs, "rand")


def randn(*size: Any, **kwargs: Any) -> Tensor:
    """Normal numbers with mean 0 and standard deviation 1."""
    return _made(lambda la, s: _normal(s, layout=la, params=(0.0, 1.0)), size, kwargs, "randn")


def _made_like(x: Tensor, draw: Callable, kwargs: dict, op: str) -> Tensor:
    la = _like(x, kwargs)
    result = draw(contiguous(la.shape, _floating(la.dtype, op), la.device), state_of(kwargs.get("generator"), la.device))
    return result.requires_grad_(True) if kwargs.get("requires_grad") else result


def rand_like(input: Tensor, **kwargs: Any) -> Tensor:
    """Uniform numbers in [0, 1), like another tensor."""
    return _made_like(input, lambda la, s: _uniform(s, layout=la, params=(0.0, 1.0)), kwargs, "rand_like")


def randn_like(input: Tensor, **kwargs: Any) -> Tensor:
    """Normal numbers, like another tensor."""
    return _made_like(input, lambda la, s: _normal(s, layout=la, params=(0.0, 1.0)), kwargs, "randn_like")


def _integers(low: int, high: int, shape: tuple[int, ...], d: dtype, where: str, generator: Any) -> Tensor:
    if low >= high:
        raise RuntimeError(f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}")
    result = _randint(state_of(generator, where), layout=contiguous(shape, int64, where), params=(low, high))
    return result if d is int64 else result.to(d)


def randint(*args: Any, dtype: Any = None, device: Any = None, generator: Any = None, requires_grad: bool = False,
            out: Any = None, **kwargs: Any) -> Tensor:  # fmt: skip
    """Whole numbers in [low, high): ``randint(high, size)`` or ``randint(low, high, size)``."""
    values = list(args)
    size = kwargs.get("size", None)
    if size is None:
        size = values.pop()
    high = kwargs.get("high", None)
    if high is None:
        high = values.pop()
    low = values[0] if values else kwargs.get("low", 0)
    shape = as_shape(size, "randint")
    check_sizes(shape, "randint")
    result = _integers(as_index(low, "randint", "low"), as_index(high, "randint", "high"), shape, dtype or int64,
                       canonical(device), generator)  # fmt: skip
    if out is not None:
        from .inplace import write_out

        return write_out(result, out, "randint")
    return result.requires_grad_(True) if requires_grad else result


def randint_like(
    input: Tensor, *args: Any, dtype: Any = None, device: Any = None, generator: Any = None, **kwargs: Any
) -> Tensor:
    """Whole numbers in [low, high), like another tensor."""
    if not args and "high" not in kwargs:
        raise TypeError("randint_like(): missing the argument 'high', the exclusive upper bound; give it")
    low, high = (0, args[0]) if len(args) == 1 else args if args else (kwargs.get("low", 0), kwargs["high"])
    where = input._layout.device if device is None else canonical(device)
    return _integers(int(low), int(high), input._layout.shape, dtype or input.dtype, where, generator)


def randperm(n: int, *, generator: Any = None, out: Any = None, dtype: Any = None, device: Any = None,
             requires_grad: bool = False, **ignored: Any) -> Tensor:  # fmt: skip
    """The numbers 0..n-1 in random order."""
    if n < 0:
        raise RuntimeError(f"n must be non-negative, got {n}")
    where = canonical(device)
    result = _randperm(state_of(generator, where), layout=contiguous((n,), int64, where), params=())
    result = result if dtype in (None, int64) else result.to(dtype)
    if out is not None:
        from .inplace import write_out

        return write_out(result, out, "randperm")
    return result


def normal(
    mean: Any = 0.0,
    std: Any = 1.0,
    size: Any = None,
    *,
    generator: Any = None,
    out: Any = None,
    **kwargs: Any,
) -> Tensor:
    """Normal numbers with given means and standard deviations (tensors or numbers)."""
    if not isinstance(mean, Tensor) and not isinstance(std, Tensor):
        if std < 0:
            raise RuntimeError(f"normal expects std >= 0.0, but found std {std}")
        shape = as_shape(() if size is None else size, "normal")
        la = contiguous(shape, kwargs.get("dtype") or get_default_dtype(), canonical(kwargs.get("device")))
        result = _normal(state_of(generator, la.device), layout=la, params=(float(mean), float(std)))
    else:
        like = mean if isinstance(mean, Tensor) else std
        _floating(like.dtype, "normal")
        if isinstance(std, Tensor) and bool((std < 0).any()):
            raise RuntimeError("normal expects all elements of std >= 0.0")
        shape = (
            (mean + std)._layout.shape
            if isinstance(mean, Tensor) and isinstance(std, Tensor)
            else like._layout.shape
        )
        z = _normal(
            state_of(generator, like._layout.device),
            layout=contiguous(shape, like.dtype, like._layout.device),
            params=(0.0, 1.0),
        )
        result = z * std + mean
    if out is not None:
        from .inplace import write_out

        return write_out(result.detach(), out, "normal")
    return result.detach()


@tensors_only
def bernoulli(input: Tensor, p: Any = None, *, generator: Any = None, out: Any = None) -> Tensor:
    """1 with the probability that the input (or ``p``) gives, else 0; RuntimeError unless probabilities are in [0, 1]."""
    if p is not None:
        from .random_fill import bernoulli_

        result = bernoulli_(input.detach().clone(), p, generator=generator)
    else:
        _floating(input.dtype, "bernoulli_tensor_cpu_p_")
        _check_probabilities(input)
        result = _bernoulli_tensor(input.detach().contiguous(), state_of(generator, input._layout.device))
    if out is not None:
        from .inplace import write_out

        return write_out(result, out, "bernoulli")
    return result


def _check_probabilities(p: Tensor) -> None:
    from .promised import check_all

    p = p.detach()
    message = "Expected p_in >= 0 && p_in <= 1 to be true, but got false.  (bernoulli: probabilities are in [0, 1])"
    check_all((p >= 0) & (p <= 1), lambda: RuntimeError(message))


def multinomial(
    input: Tensor, num_samples: int, replacement: bool = False, *, generator: Any = None, out: Any = None
) -> Tensor:
    """Indices drawn with the probabilities (up to a factor) of each row; RuntimeError for bad weights."""
    if input.ndim not in (1, 2):
        raise RuntimeError("prob_dist must be 1 or 2 dim")
    refuse_dtypes("multinomial", input, UNREAL, RuntimeError)
    n = input.shape[-1]
    if num_samples <= 0:
        raise RuntimeError("cannot sample n_sample <= 0 samples")
    if not replacement and num_samples > n:
        raise RuntimeError("multinomial: cannot sample n_sample > prob_dist.size(-1) samples without replacement; give replacement=True, or draw fewer")
    w = input.detach()
    if not bool(((w >= 0) & E.isfinite(w)).all()):
        raise RuntimeError("multinomial: probability tensor contains either `inf`, `nan` or element < 0; give finite weights >= 0")
    if not bool((w.sum(-1) > 0).all()):
        raise RuntimeError("multinomial: invalid multinomial distribution (sum of probabilities <= 0); give at least one positive weight")
    if replacement:
        result = _with_replacement(w, num_samples, generator)
    else:
        # Exponential race (Efraimidis and Spirakis 2006): the smallest of E / w, drawn without replacement.
        from .sort import topk

        e = _exponential(
            state_of(generator, w._layout.device),
            layout=contiguous(w._layout.shape, w.dtype, w._layout.device),
            params=(1.0,),
        )
        result = topk(E.true_divide(w, e), num_samples, -1)[1]
    if out is not None:
        from .inplace import write_out

        return write_out(result, out, "multinomial")
    return result


def _with_replacement(w: Tensor, samples: int, generator: Any) -> Tensor:
    from .scan import cumsum

    rows = w.numel() // w.shape[-1]
    shape = (samples,) if w.ndim == 1 else (rows, samples)
    return _multinomial(
        cumsum(w.contiguous(), -1),
        state_of(generator, w._layout.device),
        layout=contiguous(shape, int64, w._layout.device),
    )


@kernel_op(["total", "state"], name="multinomial", mutates=["state"])
def _multinomial(total: Tensor, state: Tensor, layout: Layout) -> Layout:
    return layout


@_multinomial.plan
def _(outputs: Any, total: Tensor, state: Tensor, layout: Layout) -> list[Launch]:
    n = total._layout.shape[-1]
    rows = total.numel() // n
    words = (0, rows, n, layout.shape[-1])
    return [
        Launch(
            ("random", "multinomial"),
            {"T": total.dtype.kind},
            [outputs[0], total, state],
            words,
            layout.numel,
            PARALLEL_COST,
        ),
        Launch(("random", "advance"), {"T": "float32"}, [state], (_counters(layout.numel, 2),)),
    ]
