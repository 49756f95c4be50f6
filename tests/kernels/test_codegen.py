"""Generated elementwise kernels against NumPy: bodies, dtypes, layouts, aliasing, chunks, and the messages
for bad bodies."""

import math

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from programs import RNG, apply, floats, one, result

from numtorch.kernels import scalar
from numtorch.kernels.codegen import Program, Step, body_of

SLOPE = 0.25


def add(a, b):
    return a + b


def scaled(t, alpha):
    return t * alpha


def relu(x):
    return x if x > 0 else 0.0


def leaky(x):
    return x if x >= 0 else SLOPE * x


def tanh_grad(g, y):
    return g * (1.0 - y * y)


def mul_grad(g, a, b):
    """Two results."""
    return g * b, g * a


def swish(x):
    s = 1.0 / (1.0 + math.exp(-x))
    return x * s


def where(condition, a, b):
    return a if condition else b


def less(a, b):
    return a < b


def square_root_by_newton(x):
    y = x
    for _ in range(20):
        if y > 0:
            y = 0.5 * (y + x / y)
    return y


# ---- bodies ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bodies(dtype):
    a, b = floats(1000, dtype=dtype), floats(1000, dtype=dtype)
    assert_array_equal(result(one(add, [dtype] * 2, [dtype]), [a, b]), a + b)
    assert_array_equal(result(one(relu, [dtype], [dtype]), [a]), np.maximum(a, 0))
    assert_array_equal(result(one(leaky, [dtype], [dtype]), [a]), np.where(a >= 0, a, a.dtype.type(0.25) * a))
    assert_array_equal(result(one(tanh_grad, [dtype] * 2, [dtype]), [a, b]), a * (1 - b * b))
    np.testing.assert_allclose(result(one(swish, [dtype], [dtype]), [a]), a / (1 + np.exp(-a)), rtol=1e-6)
    x = np.abs(a)
    np.testing.assert_allclose(
        result(one(square_root_by_newton, [dtype], [dtype]), [x]), np.sqrt(x), rtol=1e-6
    )


def collatz(n):
    steps = 0
    while n != 1 and steps < 200:
        if n % 2 == 0:
            n = n // 2
        else:
            n = 3 * n + 1
        steps += 1
    return steps


def polynomial(x, order):
    total = 0.0
    for k in range(int(order)):
        if k == 1:
            continue
        total += relu(x) * (k + 1)
    return total, int(x)


def far_from_zero(x):
    if x < 0:
        return x < -1.0
    return x > 1.0


def test_bodies_with_branches():
    n = np.arange(1, 60)
    expected = [collatz(int(v)) for v in n]
    assert_array_equal(result(one(collatz, ["int64"], ["int64"]), [n]), expected)
    assert_array_equal(result(one(collatz, ["float32"], ["float32"]), [n.astype("f4")]), expected)
    x = floats(300) * 3
    total, whole = np.empty_like(x), np.empty_like(x)
    program = one(polynomial, ["float32"], ["float32"] * 2, scalars=[("order", "i64")])
    apply(program, [total, whole], [x], 4)
    np.testing.assert_allclose(total, np.maximum(x, 0) * 8, rtol=1e-6)
    assert_array_equal(whole, np.trunc(x))
    assert "k + 1" in program.text and "def relu(x):" in program.text
    assert_array_equal(result(one(far_from_zero, ["float32"], ["bool"]), [x]), np.abs(x) > 1)


def test_results_and_components():
    g, a, b = floats(600), floats(600), floats(600)
    f32 = ["float32"]
    both = one(mul_grad, f32 * 3, f32 * 2)
    first, second = np.empty_like(g), np.empty_like(g)
    apply(both, [first, second], [g, a, b])
    assert_array_equal(first, g * b)
    assert_array_equal(second, g * a)
    assert_array_equal(result(one(mul_grad, f32 * 3, f32, component=1), [g, a, b]), g * a)
    assert "x2" not in one(mul_grad, f32 * 3, f32, component=1).text


def test_chain_is_rounded_step_by_step():
    a, b, c = floats(4000), floats(4000), floats(4000)

    def mul(p, q):
        return p * q

    steps = [Step(mul, ("x0", "x1"), ("t",), "float32"), Step(add, ("t", "x2"), ("y0",), "float32")]
    fused = result(Program(["float32"] * 3, [], ["float32"], steps), [a, b, c])
    assert_array_equal(fused, (a * b) + c)  # a fused multiply-add would differ in the last bit


def test_nested_bodies_and_lambdas():
    def double(x):
        return x + x

    outer = lambda x: double(double(x)) + SLOPE  # noqa: E731
    x = floats(100)
    program = one(outer, ["float32"], ["float32"])
    assert_array_equal(result(program, [x]), 4 * x + np.float32(0.25))
    assert body_of(outer).params == ("x",)
    pair = (lambda a: a + 1.0, lambda a: a - 1.0)
    assert [body_of(f).formula for f in pair] == ["a + 1.0", "a - 1.0"]


def test_literals_take_the_dtype():
    text = one(tanh_grad, ["float32"] * 2, ["float32"]).text
    assert "T(1.0)" in text and " 1.0" not in text.replace("(g, y): g * (1.0 - y * y)", "")
    assert "select(x0 > T(0), x0, T(0.0))" in one(relu, ["float32"], ["float32"]).text.replace(
        "T(0.0), x0, T", "T(0), x0, T"
    )


def test_constants_of_the_module_and_infinities():
    x = floats(50)
    assert_array_equal(
        result(one(lambda v: v if v > math.inf else -math.inf, ["float32"], ["float32"]), [x]),
        np.full(50, -np.inf, "f4"),
    )
    np.testing.assert_allclose(
        result(one(lambda v: v * math.pi, ["float32"], ["float32"]), [x]), x * np.float32(np.pi)
    )


def test_powers():
    x = np.abs(floats(300)) + 0.1

    def powers(v):
        return v**2 + v**3 + v**-1 + v**0.5

    np.testing.assert_allclose(
        result(one(powers, ["float32"], ["float32"]), [x]), x**2 + x**3 + 1 / x + np.sqrt(x), rtol=1e-6
    )
    assert " power(" not in one(powers, ["float32"], ["float32"]).text
    np.testing.assert_allclose(
        result(one(lambda v, p: v**p, ["float32"] * 2, ["float32"]), [x, x]), x.astype(float) ** x, rtol=1e-6
    )


def test_chained_comparisons_and_logic():
    def inside(x, lo, hi):
        return (lo <= x < hi and not x == 0.5) or x > 2.0

    x = np.linspace(-3, 3, 121).astype("f4")
    found = result(
        one(inside, ["float32"], ["bool"], scalars=[("lo", "real"), ("hi", "real")]), [x], -1.0, 1.0
    )
    assert_array_equal(found, ((x >= -1) & (x < 1) & (x != 0.5)) | (x > 2))


def test_every_scalar_function_compiles_in_a_body():
    one_argument = [
        n
        for n in scalar.MATH
        if hasattr(math, n) and n not in ("pow", "atan2", "fmod", "hypot", "copysign", "remainder")
    ]
    for name in one_argument:
        function = getattr(math, name)
        x = RNG.uniform(1.1, 3.0, 40) if name == "acosh" else RNG.uniform(0.1, 0.9, 40)
        body = _body_calling(name)
        kind = "bool" if name in scalar.PREDICATES else "float64"
        expected = [function(v) for v in x]
        np.testing.assert_allclose(
            result(one(body, ["float64"], [kind]), [x]), expected, rtol=1e-13, err_msg=name
        )


def _body_calling(name):
    scope = {"f": getattr(math, name)}
    exec(compile("g = lambda x: f(x)", __file__, "exec"), scope)
    return _with_global(_call_f, scope["f"])


def _call_f(x):
    return f(x)  # noqa: F821


def _with_global(function, f):
    import types

    return types.FunctionType(function.__code__, {**function.__globals__, "f": f}, f"call_{f.__name__}")


# ---- dtypes ------------------------------------------------------------------------------------------------


INTEGERS = ["int64", "int32", "int16", "int8", "uint8"]


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_wrap_around(dtype):
    info = np.iinfo(dtype)
    a = RNG.integers(info.min, info.max, 700, dtype=dtype, endpoint=True)
    b = RNG.integers(info.min, info.max, 700, dtype=dtype, endpoint=True)
    b[:3] = 0
    if info.min:
        a[3], b[3] = info.min, -1
    else:
        b[3:6] = info.max
    with np.errstate(all="ignore"):
        for body, reference in [
            (add, np.add), (lambda p, q: p * q, np.multiply), (lambda p, q: p - q, np.subtract),
            (lambda p, q: p & q, np.bitwise_and), (lambda p, q: p | q, np.bitwise_or),
            (lambda p, q: p ^ q, np.bitwise_xor),
            (lambda p, q: p // q, np.floor_divide), (lambda p, q: p % q, np.remainder),
            (lambda p, q: max(p, q), np.maximum), (lambda p, q: min(p, q), np.minimum),
        ]:  # fmt: skip
            expected = reference(a, b)
            assert_array_equal(result(one(body, [dtype] * 2, [dtype]), [a, b]), expected)
    exponent = RNG.integers(0, 6, 700).astype(dtype)
    assert_array_equal(result(one(lambda p, q: p**q, [dtype] * 2, [dtype]), [a, exponent]), a**exponent)
    assert_array_equal(result(one(less, [dtype] * 2, ["bool"]), [a, b]), a < b)
    twice = Program(
        [dtype] * 2,
        [],
        ["bool"],
        [Step(add, ("x0", "x1"), ("t",), dtype), Step(less, ("t", 0), ("y0",), dtype)],
    )
    assert_array_equal(result(twice, [a, b]), (a + b) < 0)


@pytest.mark.parametrize("source", [*INTEGERS, "bool", "float32", "float64"])
@pytest.mark.parametrize("target", [*INTEGERS, "bool", "float32", "float64"])
def test_casts(source, target):
    x = (RNG.integers(0, 2, 600) if source == "bool" else RNG.integers(0, 100, 600)).astype(source)
    if source not in ("bool", "uint8") and target != "uint8":
        x -= np.asarray(50, x.dtype)
    if source.startswith("float"):
        x += np.asarray(0.25, x.dtype)

    def same(v):
        return v

    program = one(same, [source], [target], compute=target)
    assert_array_equal(result(program, [x]), x.astype(target))


def test_floats_out_of_range_wrap_into_small_integers():
    x = np.array([-1.0, 256.0, 300.7, -129.0, 1e9], "f4")
    program = one(lambda v: v, ["float32"], ["uint8"], compute="uint8")
    assert_array_equal(result(program, [x]), x.astype(np.int32).astype(np.uint8))


def test_mixed_dtypes():
    mask, x, n = RNG.integers(0, 2, 900).astype(bool), floats(900), RNG.integers(-5, 5, 900)
    assert_array_equal(
        result(one(where, ["bool", "float32", "int64"], ["float32"], "float32"), [mask, x, n], dtype="f4"),
        np.where(mask, x, n).astype("f4"),
    )
    assert_array_equal(result(one(add, ["bool", "float32"], ["float32"], "float32"), [mask, x]), mask + x)
    assert_array_equal(
        result(one(add, ["float32", "int64"], ["float64"], "float64"), [x, n], dtype="f8"), x.astype("f8") + n
    )
    assert_array_equal(
        result(one(where, ["float32", "float32", "float32"], ["float32"]), [x, x, n.astype("f4")]),
        np.where(x != 0, x, n).astype("f4"),
    )
    both = one(lambda p, q: p and not q, ["bool", "bool"], ["bool"], "bool")
    assert_array_equal(result(both, [mask, x > 0]), mask & ~(x > 0))
    assert_array_equal(result(one(add, ["bool", "bool"], ["bool"], "bool"), [mask, x > 0]), mask | (x > 0))
    assert_array_equal(result(one(less, ["bool", "bool"], ["bool"], "bool"), [mask, x > 0]), ~mask & (x > 0))
    some = np.array([0.0, -0.0, 0.5, np.nan], "f4")
    assert_array_equal(result(one(lambda v: v, ["float32"], ["bool"], "bool"), [some]), some != 0)


def test_scalars():
    x, n = floats(100), RNG.integers(-9, 9, 100)
    program = one(
        lambda v, alpha, k: v * alpha + k, ["float32"], ["float32"], scalars=[("alpha", "real"), ("k", "i64")]
    )
    assert_array_equal(result(program, [x], 0.1, 3), x * np.float32(0.1) + np.float32(3))
    assert_array_equal(
        result(one(add, ["int64"], ["int64"], scalars=[("n", "i64")]), [n], 1 << 40), n + (1 << 40)
    )
    wide = one(add, ["int64"], ["float64"], "float64", scalars=[("chunk", "real")])
    assert_array_equal(result(wide, [n], 0.1, dtype="f8"), n + 0.1)


def test_scalars_may_have_any_name():
    x = floats(60)
    for name in ("n", "i", "step", "first", "select", "start", "T", "y0", "in0", "exp", "tanh"):
        program = one(add, ["float32"], ["float32"], scalars=[(name, "real")], args=("x0", name))
        assert_array_equal(result(program, [x], 0.5), x + np.float32(0.5))


def test_special_values_survive():
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0], "f4")
    assert_array_equal(
        result(one(lambda v: max(v, 1.0), ["float32"], ["float32"]), [x]), np.maximum(x, np.float32(1))
    )
    assert_array_equal(
        result(one(lambda v: min(1.0, v), ["float32"], ["float32"]), [x]), np.minimum(np.float32(1), x)
    )
    assert_array_equal(np.signbit(result(one(lambda v: -v, ["float32"], ["float32"]), [x])), ~np.signbit(x))


# ---- float32 stays float32 ---------------------------------------------------------------------------------


def llvm_of(program, monkeypatch):
    """The optimised LLVM text of a program's kernel."""
    from numtorch.kernels import compile_cpu, jit

    seen = []
    make = compile_cpu._object
    monkeypatch.setattr(compile_cpu, "_object", lambda library, *names: seen.append(library) or make(library, *names))
    bound = program.kernel()
    compile_cpu.compile_kernel(bound.kernel, jit.complete(bound.env))
    return str(seen[0]._final_module)


NAMES = sorted(set(scalar.MATH.values()) - {"abs"} - scalar.PREDICATES)


@pytest.mark.parametrize("names", [NAMES[k : k + 8] for k in range(0, len(NAMES), 8)], ids=" ".join)
def test_float32_stays_float32(names, monkeypatch):
    steps = []
    for k, name in enumerate(names):
        function = scalar.FUNCTIONS[name]
        count = function.py.__code__.co_argcount
        body = _with_global(_call_f if count == 1 else _call_f2, function)
        steps.append(Step(body, ("x0", "x1")[:count], (f"y{k}",), "float32"))
    text = llvm_of(Program(["float32"] * 2, [], ["float32"] * len(names), steps), monkeypatch)
    wide = [line for line in text.splitlines() if " double" in line and "define" not in line]
    assert not [line for line in wide if "fptrunc" not in line], wide[:5]


def _call_f2(x, y):
    return f(x, y)  # noqa: F821


def test_loops_are_vectorised(monkeypatch):
    for body in (add, swish):
        count = body.__code__.co_argcount
        text = llvm_of(one(body, ["float32"] * count, ["float32"]), monkeypatch)
        assert "x float>" in text and "vector.memcheck" not in text
