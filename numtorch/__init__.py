"""numtorch: PyTorch's API on Numba kernels.

import numtorch as torch

x = torch.randn(3, requires_grad=True)
(x * x).sum().backward()
"""

# Names are PyTorch's, some of them Python's own as well (abs, all, any, max, min, pow, round, sum).
from __future__ import annotations

import importlib as _importlib
import math as _math
import os as _os
import typing as _typing

from . import autograd as autograd
from . import ops as _ops
from ._tensor import Tensor
from .autograd.anomaly import is_anomaly_check_nan_enabled, is_anomaly_enabled
from .autograd.mode import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)
from .creation import (
    arange,
    empty,
    empty_like,
    empty_permuted,
    empty_strided,
    eye,
    from_numpy,
    frombuffer,
    full,
    full_like,
    linspace,
    logspace,
    ones,
    ones_like,
    result_type,
    scalar_tensor,
    zeros,
    zeros_like,
)
from .device import device, get_default_device, set_default_device
from .dtype import (
    bfloat16,
    can_cast,
    dtype,
    finfo,
    float16,
    float32,
    float64,
    get_default_dtype,
    iinfo,
    int8,
    int16,
    int32,
    int64,
    promote_types,
    set_default_dtype,
    uint8,
)
from .dtype import bool_ as bool
from .errors import require_tensor as _require_tensor
from .errors import tensors_only as _tensors_only
from .from_data import as_tensor, asarray, tensor
from .kernels.threads import get_num_threads, set_num_threads
from .memory_format import (
    channels_last,
    channels_last_3d,
    contiguous_format,
    memory_format,
    preserve_format,
    strided,
)
from .memory_format import memory_layout as layout
from .methods import bind as _bind
from .ops.arithmetic import (
    add,
    addcdiv,
    addcmul,
    bitwise_not,
    clamp,
    div,
    float_power,
    floor_divide,
    fmod,
    mul,
    neg,
    positive,
    pow,
    remainder,
    round,
    rsub,
    sub,
    where,
)
from .ops.batchnorm import batch_norm
from .ops.compare import allclose, equal, isclose
from .ops.conv import convolution
from .ops.copying import clone
from .ops.elementwise import (
    abs,
    acos,
    acosh,
    asin,
    asinh,
    atan,
    atan2,
    atanh,
    bitwise_and,
    bitwise_left_shift,
    bitwise_or,
    bitwise_right_shift,
    bitwise_xor,
    ceil,
    cos,
    cosh,
    eq,
    erf,
    erfc,
    erfinv,
    exp,
    exp2,
    expm1,
    floor,
    frac,
    ge,
    gt,
    hypot,
    isfinite,
    isinf,
    isnan,
    le,
    lerp,
    log,
    log1p,
    log2,
    log10,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    lt,
    maximum,
    minimum,
    ne,
    reciprocal,
    relu,
    rsqrt,
    sigmoid,
    sign,
    sin,
    sinh,
    sqrt,
    square,
    tan,
    tanh,
    trunc,
)
from .ops.extremes import amax, amin, aminmax, argmax, argmin, max, min
from .ops.index import gather
from .ops.joining import (
    atleast_1d,
    atleast_2d,
    atleast_3d,
    broadcast_shapes,
    broadcast_tensors,
    cat,
    column_stack,
    dstack,
    hstack,
    meshgrid,
    stack,
    tile,
    vstack,
)
from .ops.masked import embedding, masked_fill, masked_scatter, masked_select, put, take, take_along_dim
from .ops.matmul import (
    addbmm,
    addmm,
    addmv,
    addr,
    baddbmm,
    bmm,
    dot,
    matmul,
    mm,
    mv,
    outer,
    vdot,
)
from .ops.norm import group_norm, layer_norm, rms_norm
from .ops.parts import chunk, split, tensor_split, unbind
from .ops.places import argwhere, nonzero, nonzero_static
from .ops.random import (
    bernoulli,
    dropout,
    multinomial,
    normal,
    rand,
    rand_like,
    randint,
    randint_like,
    randn,
    randn_like,
    randperm,
)
from .ops.reduce import all, any, count_nonzero, logsumexp, mean, prod, sum
from .ops.scan import cummax, cummin, cumprod, cumsum, logcumsumexp
from .ops.scatter import scatter, scatter_add, scatter_reduce
from .ops.search import bucketize, searchsorted, unique, unique_consecutive
from .ops.slices import index_add, index_copy, index_fill, index_put, index_put_, index_reduce, index_select
from .ops.softmax import log_softmax, softmax
from .ops.sort import argsort, kthvalue, median, mode, msort, nanmedian, sort, topk
from .ops.variance import std, std_mean, var, var_mean
from .ops.vector_norm import norm
from .ops.view import (
    adjoint,
    as_strided,
    as_strided_scatter,
    broadcast_to,
    diagonal,
    flatten,
    movedim,
    narrow,
    permute,
    ravel,
    reshape,
    select,
    squeeze,
    t,
    transpose,
    unflatten,
    unsqueeze,
)
from .printing import set_printoptions
from .random import (
    Generator,
    default_generator,
    fork_rng,
    get_rng_state,
    initial_seed,
    manual_seed,
    seed,
    set_rng_state,
)
from .shape import Size

# isort: off
# fmt: off
from .ops.copies import (
    alias_copy, as_strided_copy, cartesian_prod, combinations, detach_copy, diagonal_copy, dsplit, expand_copy,
    hsplit, narrow_copy, permute_copy, select_copy, slice_copy, split_copy, split_with_sizes,
    split_with_sizes_copy, squeeze_copy, t_copy, transpose_copy, unbind_copy, unfold_copy, unsafe_chunk,
    unsafe_split, unsafe_split_with_sizes, unsqueeze_copy, view_copy, vsplit,
)
from .ops.diagonals import (
    block_diag, diag, diag_embed, diagflat, diagonal_scatter, select_scatter, slice_scatter, trace, tril_indices,
    triu_indices,
)
from .ops.einsum import einsum
from .ops.elementwise import clamp_max, clamp_min
from .ops.elementwise_more import (
    copysign, deg2rad, digamma, fmax, fmin, gcd, heaviside, i0, lgamma, logaddexp, logaddexp2, rad2deg, sinc, xlogy,
)
from .ops.gamma import angle, igamma, igammac
from .ops.mathematics import (
    bincount, conj, conj_physical, fill, frexp, histc, isin, isneginf, isposinf, isreal, lcm, ldexp, logit,
    mvlgamma, nan_to_num, nextafter, polygamma, real, resolve_conj, resolve_neg, signbit, unravel_index, zero_,
)
from .ops.norms import cdist, corrcoef, cov, dist, nanmean, nansum, renorm
from .ops.quantiles import histogram, histogramdd, nanquantile, quantile
from .ops.products import (
    chain_matmul, cross, cumulative_trapezoid, diff, gradient, inner, kron, tensordot, trapezoid, trapz, vander,
)
from .ops.rearrange import flip, fliplr, flipud, repeat_interleave, roll, rot90, tril, triu
# fmt: on
# isort: on

_bind()

__version__ = "0.1.0"
pi, e, inf, nan, newaxis = _math.pi, _math.e, _math.inf, _math.nan, None
float, double, half = float32, float64, float16
short, int, long = int16, int32, int64

subtract, multiply, divide, true_divide, negative, absolute = sub, mul, div, div, neg, abs
greater, greater_equal, less, less_equal, not_equal = gt, ge, lt, le, ne
arcsin, arccos, arctan, arcsinh, arccosh, arctanh, arctan2 = asin, acos, atan, asinh, acosh, atanh, atan2
sgn = sign
clip, fix, concat, concatenate, row_stack = clamp, trunc, cat, cat, vstack


for _name in "as_strided flatten movedim narrow permute ravel reshape select squeeze t transpose unflatten unsqueeze diagonal".split():
    globals()[_name] = _tensors_only(globals()[_name], "numtorch")
swapaxes, swapdims, moveaxis, ger = transpose, transpose, movedim, outer


def is_tensor(obj: _typing.Any) -> _typing.Any:
    """Whether an object is a tensor."""
    return isinstance(obj, Tensor)


def resize_as_(input: Tensor, the_template: Tensor) -> Tensor:
    """``input.resize_as_(the_template)``."""
    return input.resize_as_(the_template)


def is_inference(input: Tensor) -> _typing.Any:
    """Whether a tensor was made in inference mode."""
    return input.is_inference()


def detach(input: Tensor) -> Tensor:
    """``input.detach()``."""
    _require_tensor("detach", "input", input)
    return input.detach()


@_tensors_only
def is_floating_point(input: Tensor) -> _typing.Any:
    """Whether a tensor's dtype is a floating one."""
    return input.dtype.is_floating_point


@_tensors_only
def numel(input: Tensor) -> _typing.Any:
    """The number of elements."""
    return input.numel()


# Imported when they are first used, so that `import numtorch` stays quick.
_SUBMODULES = ("nn", "optim", "utils", "jit", "cuda", "linalg", "special", "masked", "datasets", "serialization", "testing",
               "library", "accelerator", "amp", "profiler", "debug", "backends", "compat", "distributed", "distributions", "fft", "signal", "hub", "multiprocessing", "func", "safetensors", "types", "version")  # fmt: skip
_LATER = {"save": "serialization", "load": "serialization", "from_dlpack": "interop", "elementwise": "library",
          "reduction": "library", "compile": "jit.compiling", "autocast": "amp", "interpret": "_interpret"}
for _name in """conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d conv_tbc max_pool1d max_pool2d max_pool3d
        max_pool1d_with_indices avg_pool1d adaptive_avg_pool1d adaptive_max_pool1d instance_norm""".split():
    _LATER[_name] = "nn.functional"
for _name in "grid_sampler grid_sampler_2d grid_sampler_3d".split():
    _LATER[_name] = "nn.functional.grid"
for _name in "bartlett_window blackman_window hamming_window hann_window kaiser_window".split():
    _LATER[_name] = "signal.periodic"
for _name in """alpha_dropout bilinear celu channel_shuffle cosine_similarity hardshrink pairwise_distance pdist pixel_shuffle
        pixel_unshuffle prelu rrelu selu threshold""".split():
    _LATER[_name] = "nn.functional"
for _name in """FloatTensor DoubleTensor HalfTensor BFloat16Tensor LongTensor IntTensor ShortTensor CharTensor ByteTensor BoolTensor
        set_default_tensor_type""".split():
    _LATER[_name] = "legacy"
for _name in "is_complex is_conj is_neg is_nonzero is_same_size is_signed get_device".split():
    _LATER[_name] = "ops.questions"
for _name in "celu_ rrelu_ selu_ threshold_".split():
    _LATER[_name] = "nn.functional"
for _name in """is_autocast_enabled is_autocast_cpu_enabled get_autocast_dtype get_autocast_gpu_dtype get_autocast_cpu_dtype
        set_autocast_dtype""".split():
    _LATER[_name] = "amp"
_LATER["constant_pad_nd"] = "nn.functional.padding"
_LATER["vmap"] = "func"
for _name in """set_float32_matmul_precision get_float32_matmul_precision use_deterministic_algorithms set_flush_denormal typename
        are_deterministic_algorithms_enabled is_deterministic_algorithms_warn_only_enabled set_deterministic_debug_mode
        get_deterministic_debug_mode set_num_interop_threads get_num_interop_threads set_warn_always is_warn_always_enabled""".split():
    _LATER[_name] = "settings"
for _name in """cholesky cholesky_inverse cholesky_solve det geqrf inverse logdet lu lu_solve lu_unpack matrix_exp matrix_power
        orgqr ormqr pca_lowrank pinverse qr slogdet svd svd_lowrank triangular_solve""".split():
    _LATER[_name] = "ops.factor_names"


def __getattr__(name: str) -> _typing.Any:
    if name in _SUBMODULES:
        try:
            return _importlib.import_module(f"{__name__}.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"{__name__}.{name}":
                raise
    elif name in _LATER:
        return getattr(_importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
    absent = _importlib.import_module("numtorch.absent")

    found = absent.in_place(name)
    if found is None:
        raise absent.error("numtorch", name, {*globals(), *_LATER, *_SUBMODULES})
    globals()[name] = found
    return found

if _os.environ.get("NUMTORCH_DEBUG"):
    from .debug import from_environment as _from_environment

    _from_environment()
if _os.environ.get("NUMTORCH_INTERPRET"):
    from ._interpret import from_environment as _interpret_from_environment

    _interpret_from_environment()
