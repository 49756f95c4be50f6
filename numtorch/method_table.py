"""Which functions are Tensor methods: tables for methods.py, names by the module of ops/ that has them."""

from __future__ import annotations

from .ops import (
    arithmetic,
    compare,
    copies,
    copying,
    diagonals,
    extremes,
    gamma,
    index,
    joining,
    masked,
    mathematics,
    norms,
    parts,
    places,
    products,
    quantiles,
    questions,
    random,
    random_fill,
    rearrange,
    scan,
    scatter,
    search,
    slices,
    softmax,
    sort,
    variance,
    vector_norm,
    view,
)
from .ops import elementwise as E
from .ops import elementwise_more as EM
from .ops import matmul as M
from .ops import reduce as R

VIEWS = """view reshape view_as reshape_as flatten ravel unflatten squeeze unsqueeze permute transpose t movedim expand
    expand_as broadcast_to narrow select diagonal unfold as_strided as_strided_scatter adjoint"""
ARITHMETIC = """add sub mul div floor_divide remainder fmod pow float_power clamp addcmul addcdiv bitwise_not round positive
    neg""".split()
ELEMENTWISE = """eq ne lt le gt ge isnan isinf isfinite logical_and logical_or logical_xor logical_not abs sign square reciprocal
    maximum minimum lerp exp exp2 expm1 log log2 log10 log1p sqrt rsqrt sin cos tan sinh cosh tanh asin acos atan asinh acosh
    atanh atan2 hypot erf erfc erfinv sigmoid floor ceil trunc frac bitwise_and bitwise_or bitwise_xor bitwise_left_shift
    bitwise_right_shift relu""".split()

# Methods that are the functions of a module of ops/ as they are, in-place forms included.
PLAIN = (
    (view, VIEWS),
    (parts, "unbind split chunk tensor_split"),
    (arithmetic, "float_power_"),
    (compare, "equal isclose allclose"),
    (R, "sum mean prod any all count_nonzero logsumexp sum_to_size"),
    (extremes, "amax amin aminmax argmax argmin max min"),
    (variance, "var std"),
    (vector_norm, "norm"),
    (M, "matmul mm bmm mv dot vdot outer"),
    (joining, "tile repeat"),
    (random, "bernoulli multinomial"),
    (random_fill, "uniform_ normal_ exponential_ bernoulli_ random_ cauchy_ log_normal_ geometric_"),
    (copying, "clone contiguous copy_ to type_as"),
    (softmax, "softmax log_softmax"),
    (scan, "cumsum cumsum_ cumprod cumprod_ logcumsumexp cummax cummin"),
    (sort, "sort argsort msort topk kthvalue median nanmedian mode"),
    (search, "unique unique_consecutive"),
    (index, "gather"),
    (places, "nonzero nonzero_static argwhere"),
    (quantiles, "quantile nanquantile histogram"),
    (scatter, "scatter scatter_ scatter_add scatter_add_ scatter_reduce scatter_reduce_"),
    (slices, """index_select index_add index_add_ index_copy index_copy_ index_fill index_fill_ index_reduce index_reduce_
        index_put index_put_"""),
    (masked, """masked_fill masked_fill_ masked_select masked_scatter masked_scatter_ take put put_ take_along_dim"""),
    (rearrange, "flip fliplr flipud roll rot90 repeat_interleave"),
    (diagonals, "diag diagflat diag_embed fill_diagonal_ trace diagonal_scatter select_scatter slice_scatter"),
    (mathematics, """bincount conj frexp histc isneginf isposinf isreal resolve_conj resolve_neg signbit"""),
    (questions, "is_nonzero is_same_size is_set_to is_conj is_neg apply_ map_ map2_"),
    (norms, "dist nansum nanmean cov corrcoef"),
    (products, "inner kron cross diff"),
    (copies, "narrow_copy split_with_sizes unsafe_split unsafe_split_with_sizes unsafe_chunk hsplit vsplit dsplit"),
)  # fmt: skip

# Functions of ops/factor_names.py, which is imported when the first of them is called.
FACTORS = """cholesky cholesky_inverse cholesky_solve det geqrf inverse logdet lu lu_solve matrix_exp matrix_power ormqr pinverse qr
    slogdet svd triangular_solve orgqr"""

# Functions with an in-place form that computes, then copies.
TRAILING = (
    (rearrange, "tril triu"),
    (norms, "renorm"),
    (mathematics, "conj_physical lcm ldexp logit mvlgamma nan_to_num nextafter"),
    (E, "clamp_min clamp_max"),
    (gamma, "angle igamma igammac"),
    (EM, "copysign deg2rad digamma fmax fmin gcd heaviside i0 lgamma logaddexp logaddexp2 rad2deg sinc xlogy"),
)  # fmt: skip

# Elementwise, but without an in-place form in PyTorch.
OUT_OF_PLACE = frozenset("angle isnan isinf isfinite maximum minimum fmax fmin logaddexp logaddexp2".split())

IN_PLACE_OPERATORS = {
    "__iadd__": "add_", "__isub__": "sub_", "__imul__": "mul_", "__itruediv__": "div_", "__ipow__": "pow_",
    "__ifloordiv__": "floor_divide_", "__imod__": "remainder_", "__iand__": "bitwise_and_", "__ior__": "bitwise_or_",
    "__ixor__": "bitwise_xor_", "__ilshift__": "bitwise_left_shift_", "__irshift__": "bitwise_right_shift_",
}  # fmt: skip
CASTS = {"float": "float32", "double": "float64", "half": "float16", "bfloat16": "bfloat16", "long": "int64", "int": "int32", "short": "int16",
         "char": "int8", "byte": "uint8", "bool": "bool"}  # fmt: skip

ALIASES = {
    "sgn": "sign",
    "subtract": "sub", "multiply": "mul", "divide": "div", "true_divide": "div", "negative": "neg", "absolute": "abs",
    "greater": "gt", "greater_equal": "ge", "less": "lt", "less_equal": "le", "not_equal": "ne", "clip": "clamp",
    "arcsin": "asin", "arccos": "acos", "arctan": "atan", "arcsinh": "asinh", "arccosh": "acosh", "arctanh": "atanh",
    "arctan2": "atan2", "fix": "trunc", "swapaxes": "transpose", "swapdims": "transpose", "moveaxis": "movedim", "ger": "outer",
}  # fmt: skip
