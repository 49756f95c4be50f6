"""The functions of scalar.py in ulp against wider arithmetic, over the whole range, and their special values.

float32 is compared with NumPy in float64, float64 with NumPy in long double (where that is wider) or, for
functions that NumPy lacks, with identities and tabulated values.
"""

import math

import numpy as np
import pytest

from numtorch.kernels import scalar
from numtorch.kernels.driver import launch
from numtorch.kernels.jit import from_source
from numtorch.kernels.target import target

RNG = np.random.default_rng(0)
WIDE = np.longdouble
SLACK = 1.0 if target().vector_bytes > 16 else 1.5  # CPUs without fused multiply-add round more often
needs_wide = pytest.mark.skipif(np.finfo(WIDE).nmant < 60, reason="long double is no wider than float64 here")


def evaluate(name, *xs):
    """The function over arrays, through a compiled vectorised loop."""
    params = "".join(f"x{k}: T_ptr, " for k in range(len(xs)))
    text = f"""
from numtorch.kernels.jit import T_ptr, i64, kernel
from numtorch.kernels.loops import independent, start
from numtorch.kernels.scalar import {name}


@kernel(fastmath=())
def over_{name}(y: T_ptr, {params}n: i64, chunk: i64, nchunks: i64):
    for i in range(start(n, chunk, nchunks), start(n, chunk + 1, nchunks)):
        y[i] = {name}({", ".join(f"x{k}[i]" for k in range(len(xs)))})
    independent()
"""
    y = np.empty_like(xs[0])
    address = from_source(text, f"over_{name}").address(T=y.dtype.name)
    launch(address, 1, y.ctypes.data, *(np.ascontiguousarray(x).ctypes.data for x in xs), y.size)
    return y


def ulps(y, expected):
    """Largest distance in units in the last place of y's dtype; NaN and infinities must be where they are
    expected."""
    rounded = expected.astype(y.dtype)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(rounded))
    finite = np.isfinite(rounded)
    overflow = ~finite & np.isfinite(expected)  # one ulp above the largest number may round either way
    same = (y == rounded) | np.isnan(y) | overflow
    assert same[~finite].all(), (y[~finite & ~same], rounded[~finite & ~same])
    unit = np.maximum(np.spacing(np.abs(rounded[finite])), np.finfo(y.dtype).smallest_subnormal)
    return float(np.max(np.abs(y[finite].astype(expected.dtype) - expected[finite]) / unit, initial=0))


def everywhere(dtype):
    """Numbers of every exponent and sign, the special ones, and many of moderate size."""
    bits = {"float32": np.uint32, "float64": np.uint64}[dtype]
    spread = RNG.integers(0, np.iinfo(bits).max, 200_000, dtype=bits, endpoint=True).view(dtype)
    info = np.finfo(dtype)
    special = [
        0.0,
        -0.0,
        np.inf,
        -np.inf,
        np.nan,
        1.0,
        -1.0,
        info.tiny,
        info.smallest_subnormal,
        info.max,
        -info.max,
    ]
    moderate = np.concatenate(
        [RNG.uniform(-3, 3, 200_000), RNG.uniform(-800, 800, 200_000), RNG.normal(size=50_000) * 1e-4]
    )
    return np.concatenate([spread, np.array(special, dtype), moderate.astype(dtype)])


def sigmoid(x):
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


UNARY = {
    "exp": (np.exp, 1.1), "exp2": (np.exp2, 1.0), "expm1": (np.expm1, 1.6), "log": (np.log, 0.8), "log2": (np.log2, 1.3),
    "log10": (np.log10, 1.3), "log1p": (np.log1p, 0.9), "tanh": (np.tanh, 1.6), "sigmoid": (sigmoid, 1.6),
    "sinh": (np.sinh, 2.2), "cosh": (np.cosh, 1.6), "asinh": (np.arcsinh, 2.0), "acosh": (np.arccosh, 2.4),
    "atanh": (np.arctanh, 2.0), "atan": (np.arctan, 1.6), "asin": (np.arcsin, 2.4), "acos": (np.arccos, 1.3),
    "sqrt": (np.sqrt, 0.501), "rsqrt": (lambda x: 1 / np.sqrt(x), 1.6), "floor": (np.floor, 0), "ceil": (np.ceil, 0),
    "trunc": (np.trunc, 0), "round_even": (np.rint, 0), "sign": (np.sign, 0), "sin": (np.sin, 1.0), "cos": (np.cos, 1.0),
    "tan": (np.tan, 1.5),
}  # fmt: skip


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_float32(name):
    reference, allowed = UNARY[name]
    x = everywhere("float32")
    assert ulps(evaluate(name, x), reference(x.astype(np.float64))) <= allowed * SLACK


@needs_wide
@pytest.mark.parametrize("name", UNARY)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_float64(name):
    reference, allowed = UNARY[name]
    x = everywhere("float64")
    assert ulps(evaluate(name, x), reference(x.astype(WIDE))) <= allowed * SLACK


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_signs_of_zero(dtype):
    zeros = np.array([0.0, -0.0], dtype)
    for name in (
        "expm1",
        "log1p",
        "tanh",
        "sinh",
        "asinh",
        "atanh",
        "atan",
        "asin",
        "erf",
        "erfinv",
        "sqrt",
        "sin",
        "tan",
        "trunc",
    ):
        np.testing.assert_array_equal(np.signbit(evaluate(name, zeros)), [False, True], err_msg=name)


# ---- two arguments
# ------------------------------------------------------------------------------------------------------------


def powers(dtype):
    info = np.finfo(dtype)
    top = math.log(float(info.max))
    x = np.exp(RNG.uniform(-top, top, 100_000))
    y = RNG.uniform(-1.0, 1.0, x.size) * 1.1 * top / np.abs(np.log(x))
    near_one = 1 + RNG.normal(size=100_000) * 1e-3
    x = np.concatenate([x, RNG.uniform(0, 3, 100_000), near_one])
    y = np.concatenate([y, RNG.uniform(-20, 20, 100_000), RNG.uniform(-1, 1, 100_000) * top * 1e3])
    return x.astype(dtype), y.astype(dtype)


@needs_wide
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype, wider", [("float32", np.float64), ("float64", WIDE)])
def test_power(dtype, wider):
    x, y = powers(dtype)
    assert ulps(evaluate("power", x, y), np.power(x.astype(wider), y.astype(wider))) <= 1.2 * SLACK


SPECIAL = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    2.0,
    -2.0,
    3.0,
    0.5,
    -0.5,
    2.5,
    -2.5,
    np.inf,
    -np.inf,
    np.nan,
    1e30,
    -1e30,
    1e-30,
    -3.0,
]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "name, reference",
    [("power", np.power), ("atan2", np.arctan2), ("hypot", np.hypot), ("fmod", np.fmod), ("remainder", np.remainder),
     ("maximum", np.maximum), ("minimum", np.minimum), ("copysign", np.copysign)],
)  # fmt: skip
def test_pairs_of_special_values(name, reference, dtype):
    x, y = (
        np.ascontiguousarray(v.ravel())
        for v in np.meshgrid(np.array(SPECIAL, dtype), np.array(SPECIAL, dtype))
    )
    found, expected = evaluate(name, x, y), reference(x, y)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    if name not in ("remainder", "fmod", "maximum", "minimum"):  # NumPy's own zeros have other signs there
        number = ~np.isnan(expected)
        np.testing.assert_array_equal(np.signbit(found)[number], np.signbit(expected)[number])


@needs_wide
@pytest.mark.parametrize("dtype, wider", [("float32", np.float64), ("float64", WIDE)])
def test_atan2_hypot_fmod(dtype, wider):
    x, y = (RNG.normal(size=100_000).astype(dtype) for _ in range(2))
    for name, reference, allowed in [
        ("atan2", np.arctan2, 2.5),
        ("hypot", np.hypot, 2.0),
        ("fmod", np.fmod, 0),
    ]:
        assert ulps(evaluate(name, x, y), reference(x.astype(wider), y.astype(wider))) <= allowed, name


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_floor_divide(dtype):
    x = (RNG.normal(size=10_000) * 100).astype(dtype)
    y = RNG.normal(size=10_000).astype(dtype)
    np.testing.assert_array_equal(evaluate("floor_divide", x, y), np.floor_divide(x, y))
    zero = np.array([1.0, -1.0, 0.0], dtype)
    np.testing.assert_array_equal(
        evaluate("floor_divide", zero, np.zeros(3, dtype)), [np.inf, -np.inf, np.nan]
    )


# ---- functions that NumPy does not have
# ------------------------------------------------------------------------------------------------------------


def wide_erf(x):
    """erf in long double by its Taylor series; |x| <= 4."""
    x = x.astype(WIDE)
    term, total = x, x
    for k in range(1, 120):
        term = -term * x * x / k
        total = total + term / (2 * k + 1)
    return total * (2 / np.sqrt(WIDE("3.14159265358979323846264338327950288")))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_erf(dtype):
    x = np.concatenate(
        [RNG.uniform(-6, 6, 20_000), RNG.normal(size=5000) * 1e-3, [np.inf, -np.inf, np.nan]]
    ).astype(dtype)
    expected = np.array([math.erf(v) for v in x])
    assert ulps(evaluate("erf", x), expected) <= (1.2 if dtype == "float32" else 2)


@needs_wide
def test_erf_float64():
    x = RNG.uniform(-2, 2, 20_000)
    assert ulps(evaluate("erf", x), wide_erf(x)) <= 1.2 * SLACK


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_erfc(dtype):
    x = np.concatenate([RNG.uniform(-6, 28, 20_000), [np.inf, -np.inf, np.nan, 0.0]]).astype(dtype)
    assert ulps(evaluate("erfc", x), np.array([math.erfc(v) for v in x])) <= (
        3.5 if dtype == "float32" else 5
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_normal_cdf(dtype):
    rng, ends = np.random.default_rng(5), [0.0, 1e-30, np.inf, -np.inf, np.nan]
    x = np.concatenate([rng.uniform(-10, 10, 20_000), rng.normal(size=5000), ends]).astype(dtype)
    found, eps = evaluate("normal_cdf", x), np.finfo(dtype).eps
    expected = np.array([0.5 * math.erfc(-v * math.sqrt(0.5)) for v in x.astype(np.float64)])
    assert np.nanmax(np.abs(found - expected)) <= 1.1 * eps
    assert np.isnan(found[-1]) and found[-2] == 0 and found[-3] == 1 and found[-5] == 0.5


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_erfinv(dtype):
    y = np.concatenate([RNG.uniform(-1, 1, 5000), 1 - np.exp(RNG.uniform(-15, 0, 2000))]).astype(dtype)
    x = evaluate("erfinv", y[np.abs(y) < 1]).astype(np.float64)
    y = y[np.abs(y) < 1].astype(np.float64)
    slope = 2 / math.sqrt(math.pi) * np.exp(-x * x)
    error = np.array(
        [
            math.erf(v) - w if abs(w) < 0.5 else math.copysign(1 - abs(w) - math.erfc(abs(v)), w)
            for v, w in zip(x, y)
        ]
    )
    assert np.max(np.abs(error / slope) / np.abs(x)) <= 3 * np.finfo(dtype).eps
    ends = evaluate("erfinv", np.array([1.0, -1.0, 1.5, np.nan], dtype))
    np.testing.assert_array_equal(ends, [np.inf, -np.inf, np.nan, np.nan])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_lgamma_digamma_i0(dtype):
    x = np.concatenate([RNG.uniform(0.01, 30, 2000), RNG.uniform(-5, 0, 500)]).astype(dtype)
    eps = np.finfo(dtype).eps
    expected = np.array([math.lgamma(v) for v in x])
    assert np.max(np.abs(evaluate("lgamma", x) - expected) / np.maximum(1, np.abs(expected))) <= 10 * eps
    positive = RNG.uniform(0.01, 30, 2000).astype(dtype)
    step = evaluate("digamma", positive + np.ones(1, dtype)) - evaluate("digamma", positive)
    np.testing.assert_allclose(step, 1 / positive, rtol=0, atol=20 * eps * np.max(1 / positive))
    constant = evaluate("digamma", np.array([1.0, 0.5, -0.5, 0.0, -3.0], dtype))
    euler = 0.5772156649015329
    np.testing.assert_allclose(
        constant[:3], [-euler, -euler - 2 * math.log(2), 2 - euler - 2 * math.log(2)], atol=20 * eps
    )
    np.testing.assert_array_equal(constant[3:], [-np.inf, np.nan])
    around = RNG.uniform(-40, 40, 2000).astype(dtype)
    np.testing.assert_allclose(
        evaluate("i0", around),
        np.i0(around.astype(np.float64)),
        rtol=40 * eps if dtype == "float64" else 6 * eps,
    )


# ---- twins
# ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(n for n in scalar.FUNCTIONS if not n.endswith("_int")))
def test_twins_agree(name):
    """The plain Python twin computes what the compiled function does, in the type of its argument."""
    function = scalar.FUNCTIONS[name]
    count = function.py.__code__.co_argcount
    xs = [RNG.uniform(1.01, 3, 20) if name == "acosh" else RNG.uniform(0.1, 0.9, 20) for _ in range(count)]
    for dtype in ("float32", "float64"):
        typed = [x.astype(dtype) for x in xs]
        plain = [function.twin(*values) for values in zip(*typed)]
        if name in scalar.PREDICATES:
            assert plain == [name == "isfinite"] * 20
        else:
            assert {type(v).__name__ for v in plain} == {dtype}
            np.testing.assert_allclose(
                evaluate(name, *typed), plain, rtol=1e-5 if dtype == "float32" else 1e-12
            )


def test_twins_never_raise():
    for name, argument in [
        ("exp", 1e4),
        ("log", 0.0),
        ("log", -1.0),
        ("sqrt", -1.0),
        ("acosh", 0.0),
        ("erfinv", 2.0),
        ("lgamma", 0.0),
    ]:
        value = scalar.FUNCTIONS[name].twin(np.float32(argument))
        assert type(value) is np.float32 and not math.isfinite(value)
