"""Generated elementwise kernels against NumPy: bodies, dtypes, layouts, aliasing, chunks, and the messages
for bad bodies."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from numpy.testing import assert_array_equal

from numtorch.kernels import codegen, scalar
from numtorch.kernels.bodies import BodyError
from numtorch.kernels.codegen import Program, Step, body_of
from numtorch.kernels.driver import launch
from numtorch.kernels.geometry import walk_of
from numtorch.kernels.interpret import Pointer, bind

RNG = np.random.default_rng(0)
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


def one(body, inputs, outputs, compute=None, scalars=(), component=None, args=None):
    """The program of a single step."""
    names = args or tuple(f"x{k}" for k in range(len(inputs))) + tuple(n for n, _ in scalars)
    outs = tuple(f"y{k}" for k in range(len(outputs)))
    return Program(inputs, scalars, outputs, [Step(body, names, outs, compute or inputs[0], component)])


def element_strides(array):
    return tuple(s // array.itemsize for s in array.strides)


def apply(program, outputs, inputs, *scalars, nchunks=1):
    """Launch `program` on arrays that are already broadcast to one shape; the layout used."""
    shape = outputs[0].shape
    layout, words = program.words(shape, tuple(element_strides(a) for a in (*outputs, *inputs)))
    pointers = [a.ctypes.data for a in (*outputs, *inputs)]
    launch(program.kernel(layout).address(), nchunks, *pointers, *words, *scalars)
    return layout


def result(program, inputs, *scalars, dtype=None, nchunks=1):
    """A new contiguous output of `program`."""
    out = np.full(inputs[0].shape, 99, np.dtype(dtype or program.outputs[0]))
    apply(program, [out], inputs, *scalars, nchunks=nchunks)
    return out


def floats(*shape, dtype="float32"):
    return RNG.normal(size=shape).astype(dtype)


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


# ---- layouts -----------------------------------------------------------------------------------------------

MADD = Program(
    ["float32", "float64"], [("alpha", "real")], ["float32", "bool"],
    [
        Step(add, ("x0", "x1"), ("t",), "float32"), Step(scaled, ("t", "alpha"), ("y0",), "float32"),
        Step(less, ("x0", "x1"), ("y1",), "float32"),
    ],
)  # fmt: skip


@st.composite
def views(draw, shape, dtype, broadcast):
    """An array of `shape` with drawn strides: permuted, with gaps, and (where allowed) with broadcast
    dimensions."""
    order = draw(st.permutations(range(len(shape))))
    gaps = [draw(st.integers(1, 3)) for _ in shape]
    stretched = [broadcast and draw(st.booleans()) and draw(st.booleans()) for _ in shape]
    size = [1 if s else n * g for n, g, s in zip(shape, gaps, stretched)]
    base = RNG.normal(size=[size[d] for d in order]).astype(dtype)
    base = base.transpose(np.argsort(order)) if shape else base
    view = base[tuple(slice(None, None, 1 if s else g) for g, s in zip(gaps, stretched))] if shape else base
    return np.broadcast_to(view, shape) if broadcast else view


@st.composite
def calls(draw):
    side = st.one_of(st.integers(0, 5), st.sampled_from([1, 1, 2, 3, 33, 70, 130]))
    shape = tuple(draw(st.lists(side, max_size=5)))
    while math.prod(shape) > 20000:
        shape = shape[1:]
    outputs = [draw(views(shape, d, False)) for d in ("float32", "bool")]
    return (
        outputs,
        [draw(views(shape, d, True)) for d in ("float32", "float64")],
        draw(st.sampled_from([1, 2, 3, 8])),
    )


@given(calls())
def test_any_strides(call):
    outputs, inputs, nchunks = call
    apply(MADD, outputs, inputs, 0.5, nchunks=nchunks)
    a, b = inputs[0], inputs[1].astype("f4")
    assert_array_equal(outputs[0], (a + b) * np.float32(0.5))
    assert_array_equal(outputs[1], a < b)


@given(calls())
def test_in_place(call):
    outputs, inputs, nchunks = call
    target = outputs[0]
    target[...] = RNG.normal(size=target.shape)
    expected = (target + inputs[1].astype("f4")) * np.float32(2)
    apply(MADD, [target, outputs[1]], [target, inputs[1]], 2.0, nchunks=nchunks)
    assert_array_equal(target, expected)


def same(x):
    return x


COPIES = {d: one(same, [d], [d]) for d in ("float32", "float64", "int16", "bool")}


@st.composite
def copies(draw):
    shape = tuple(draw(st.lists(st.sampled_from([0, 1, 2, 3, 8, 9, 33, 70, 130]), max_size=4)))
    while math.prod(shape) > 30000:
        shape = shape[1:]
    dtype = draw(st.sampled_from(sorted(COPIES)))
    return draw(views(shape, dtype, False)), draw(views(shape, dtype, True)), draw(st.sampled_from([1, 3]))


@given(copies())
def test_copies(call):
    target, source, nchunks = call
    program = COPIES[source.dtype.name]
    assert program.is_copy
    apply(program, [target], [source], nchunks=nchunks)
    assert_array_equal(target, source)


def test_large_transposes():
    for shape in [(130, 257), (64, 64), (9, 7), (3, 65, 66)]:
        for dtype in sorted(COPIES):
            source = RNG.normal(size=shape[::-1]).astype(dtype).transpose()
            target = np.zeros(shape, dtype)
            apply(COPIES[dtype], [target], [source])
            assert_array_equal(target, source)


@pytest.mark.parametrize("n", [1, 7, 64, 511, 512, 513, 5000])
def test_in_place_swap(n):
    """Two outputs that are each other's inputs: every element is read before any of its outputs is
    written."""
    a, b = floats(n), floats(n)
    before = a.copy(), b.copy()
    program = one(lambda p, q: (q, p), ["float32"] * 2, ["float32"] * 2)
    apply(program, [a, b], [a, b])
    assert_array_equal(a, before[1])
    assert_array_equal(b, before[0])


@pytest.mark.parametrize("shape", [(3000,), (40, 70), (7, 9, 11)])
@pytest.mark.parametrize("turned", [False, True])
def test_index(shape, turned):
    program = Program(["float32"], [], ["float32"], [Step(add, ("x0", "index"), ("y0",), "float32")])
    x = floats(*reversed(shape)).transpose() if turned else floats(*shape)
    out = np.empty(shape, "f4")
    for nchunks in (1, 3):
        apply(program, [out], [x], nchunks=nchunks)
        assert_array_equal(out, x + np.arange(x.size, dtype="f4").reshape(shape))


def test_chunks_give_the_same_bits():
    x = floats(10_007)
    program = one(swish, ["float32"], ["float32"])
    whole = result(program, [x])
    for nchunks in (2, 3, 8, 64):
        assert result(program, [x], nchunks=nchunks).tobytes() == whole.tobytes()


def test_layouts():
    def layout(shape, *strides):
        return walk_of(shape, strides).layout

    assert layout((4, 5), (5, 1), (5, 1)) == "contiguous"
    assert layout((4, 5), (1, 4), (1, 4)) == "contiguous"  # dense in any order
    assert layout((1, 5, 1), (99, 1, 7), (5, 1, 1)) == "contiguous"
    assert layout((), (), ()) == layout((0, 3), (3, 1), (1, 1)) == "contiguous"
    assert layout((4, 5), (5, 1), (0, 1)) == "strided"
    assert walk_of((2, 3, 4), ((12, 4, 1), (0, 4, 1))).sizes == (12, 2)
    with pytest.raises(ValueError, match="one stride per size"):
        walk_of((2, 3), ((3, 1), (1,)))


def test_too_many_operands():
    def first(*, a):
        return a

    program = Program(["float32"] * 40, [], ["float32"], [Step(lambda a: a, ("x0",), ("y0",), "float32")])
    x = np.zeros((2, 2), "f4")
    with pytest.raises(ValueError, match="at most 32"):
        program.kernel("strided").address()
    assert result(program, [x] * 40).shape == (2, 2)


# ---- float32 stays float32 ---------------------------------------------------------------------------------


def llvm_of(program, monkeypatch):
    """The optimised LLVM text of a program's kernel."""
    from numtorch.kernels import compile_cpu, jit

    seen = []
    make = compile_cpu._object
    monkeypatch.setattr(
        compile_cpu, "_object", lambda dispatcher, name: seen.append(dispatcher) or make(dispatcher, name)
    )
    bound = program.kernel()
    compile_cpu.compile_kernel(bound.kernel, jit.complete(bound.env))
    return "".join(seen[0].inspect_llvm().values())


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


# ---- messages ----------------------------------------------------------------------------------------------


def _unknown(x):
    return frobnicate(x)  # noqa: F821


def _string(x):
    return x + "1"


def _tuple_in_expression(x):
    return mul_grad(x, x, x) + 1.0


def _subscript(x):
    return x[0]


def _try(x):
    try:
        return x
    finally:
        pass


def _uneven(x):
    if x > 0:
        return x, x
    return x


def _no_return(x):
    y = x  # noqa: F841


def _import(x):
    return np.linalg.norm(x)


def _object(x):
    return x + RNG


def _late(x):
    y = z + x  # noqa: F821
    z = y * 2.0
    return y + z


@pytest.mark.parametrize(
    "body, message",
    [
        (_unknown, "frobnicate"), (_string, "not a number"), (_tuple_in_expression, "gives 2 values"),
        (_subscript, "cannot be written into a kernel"), (_try, "no place in a kernel"),
        (_uneven, "different numbers"), (_no_return, "no return"),
        (_import, "do not know the function np.linalg.norm"), (_object, "not a number"),
        (_late, "before it is assigned"),
    ],
)  # fmt: skip
def test_bad_bodies(body, message):
    with pytest.raises(BodyError, match=message) as caught:
        one(body, ["float32"], ["float32"]).kernel()
    assert body.__name__ in str(caught.value) and "line" in str(caught.value)
    assert isinstance(caught.value, TypeError)


def test_bad_programs():
    with pytest.raises(TypeError, match="unknown dtype 'float31'"):
        Program(["float31"], [], ["float32"], [])
    with pytest.raises(TypeError, match="must be 'real' or 'i64'"):
        Program(["float32"], [("a", "f64")], ["float32"], [])
    with pytest.raises(BodyError, match="no step defines the output y0"):
        Program(["float32"], [], ["float32"], [Step(relu, ("x0",), ("t",), "float32")]).kernel()
    with pytest.raises(BodyError, match="reads 'x7'"):
        Program(["float32"], [], ["float32"], [Step(relu, ("x7",), ("y0",), "float32")]).kernel()
    with pytest.raises(BodyError, match="takes 2 arguments"):
        one(add, ["float32"], ["float32"]).kernel()
    with pytest.raises(BodyError, match="2 value"):
        one(mul_grad, ["float32"] * 3, ["float32"]).kernel()
    with pytest.raises(BodyError, match="/ in the integer dtype"):
        one(lambda a: a / 2, ["int64"], ["int64"]).kernel()
    with pytest.raises(BodyError, match="exp in the dtype int64"):
        one(lambda a: math.exp(a), ["int64"], ["int64"]).kernel()
    with pytest.raises(BodyError, match=r"0\.5 does not fit"):
        one(lambda a: a + 0.5, ["int64"], ["int64"]).kernel()
    with pytest.raises(BodyError, match="source of body"):
        body_of(eval("lambda x: x"))


# ---- what bodies tell
# ----------------------------------------------------------------------------------------


def test_uses_and_trivial():
    def grads(g, x, y, scale):
        t = y * 2.0
        return g, t * x, 0.0, None

    body = body_of(grads)
    assert body.components == 4
    assert [body.uses(k) for k in range(4)] == [("g",), ("x", "y"), (), ()]
    assert [body.trivial(k) for k in range(4)] == ["g", None, "zero", "zero"]
    assert body_of(add).trivial() is None
    with pytest.raises(IndexError, match="no component 4"):
        body.uses(4)


def test_equal_programs_share_their_kernel():
    first, second = (one(tanh_grad, ["float32"] * 2, ["float32"]) for _ in range(2))
    assert first.kernel() is second.kernel()
    assert first.words((4, 4), ((4, 1), (4, 1), (4, 1))) == ("contiguous", (16,))


def test_interpreted():
    """The same text runs as plain Python on checked pointers."""
    x = floats(50)
    program = one(swish, ["float32"], ["float32"])
    bound, out = program.kernel(), np.empty_like(x)
    bind(bound.kernel, **bound.env)(Pointer(out), Pointer(x), 50, 0, 1)
    np.testing.assert_allclose(out, result(program, [x]), rtol=1e-6)
    with pytest.raises(IndexError):
        bind(bound.kernel, **bound.env)(Pointer(out), Pointer(x), 51, 0, 1)


def test_text_reads_well():
    steps = [Step(add, ("x0", "x1"), ("t",), "float32"), Step(tanh_grad, ("t", "x1"), ("y0",), "float32")]
    text = codegen.Program(["float32", "float32"], [], ["float32"], steps).text
    assert "# add(a, b): a + b\n        t = x0 + x1\n" in text
    assert "# tanh_grad(g, y): g * (1.0 - y * y)\n        y0 = t * (T(1.0) - x1 * x1)\n" in text
