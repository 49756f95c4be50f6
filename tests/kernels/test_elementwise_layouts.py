"""Elementwise programs over drawn shapes and strides: broadcast, transposed, in place, copied, in any chunks."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from numpy.testing import assert_array_equal
from programs import RNG, apply, floats, one, result

from numtorch.kernels.codegen import Program, Step
from numtorch.kernels.geometry import walk_of


def add(a, b):
    return a + b


def scaled(t, alpha):
    return t * alpha


def less(a, b):
    return a < b


def swish(x):
    s = 1.0 / (1.0 + math.exp(-x))
    return x * s


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


@pytest.mark.parametrize("nchunks", [1, 2, 8])
def test_single_elements_are_read_once(nchunks):
    program = Program(
        ["float32", "float64", "float32"], [], ["float32"],
        [Step(add, ("x0", "x1"), ("t",), "float32"), Step(scaled, ("t", "x2"), ("y0",), "float32")],
    )  # fmt: skip
    x, b, s = RNG.normal(size=(40, 65)).astype("f4"), np.array(0.25), np.array([[3.0]], np.float32)
    layout, _ = program.words((40, 65), ((65, 1), (65, 1), (0, 0), (0, 0)))
    assert layout == "once 1 2" and "x1 = in1[0]" in program.kernel(layout).text
    out, operands = np.empty_like(x), [x, np.broadcast_to(b, x.shape), np.broadcast_to(s, x.shape)]
    apply(program, [out], operands, nchunks=nchunks)
    assert_array_equal(out, (x + np.float32(0.25)) * np.float32(3))
    apply(program, [x], operands, nchunks=nchunks)  # in place
    assert_array_equal(out, x)
    assert program.words((40, 65), ((1, 40), (65, 1), (0, 0), (0, 0)))[0] == "strided"  # the rest is not contiguous
    assert program.words((1, 1), ((1, 1), (1, 1), (0, 0), (1, 1)))[0] == "contiguous"


@pytest.mark.parametrize("nchunks", [1, 2, 8])
def test_rows_of_vectors_and_factors(nchunks):
    def scaled_sum(a, b, c, d):
        return a * b + c * d

    program = Program(["float32"] * 4, [], ["float32", "bool"], [
        Step(scaled_sum, ("x0", "x1", "x2", "x3"), ("y0",), "float32"), Step(less, ("y0", "x0"), ("y1",), "float32"),
    ])  # fmt: skip
    rows, columns = 7, 70
    a = RNG.normal(size=(rows, 90)).astype("f4")[:, 3:73]  # rows of a wider matrix
    bias, factor = RNG.normal(size=columns).astype("f4"), RNG.normal(size=(rows, 3)).astype("f4")[:, 1:2]
    one = np.float32(RNG.normal())
    inputs = [a, *(np.broadcast_to(v, (rows, columns)) for v in (bias, factor, one))]
    strides = [[n // v.itemsize for n in v.strides] for v in inputs]
    layout, words = program.words((rows, columns), ((columns, 1), (columns, 1), *map(tuple, strides)))
    assert layout == "rows vvcc" and words == (rows, columns, columns, columns, 90, 0, 3, 0)
    out, test = np.empty((rows, columns), "f4"), np.empty((rows, columns), bool)
    apply(program, [out, test], inputs, nchunks=nchunks)
    assert_array_equal(out, a * bias + factor * one)
    assert_array_equal(test, out < a)
    expected = out.copy()
    apply(program, [a, test], inputs, nchunks=nchunks)  # in place
    assert_array_equal(a, expected)
    assert program.words((rows, 8), ((8, 1), (8, 1), (90, 1), (0, 1), (3, 0), (0, 0)))[0] == "strided"  # short rows
