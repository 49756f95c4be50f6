"""bfloat16 in elementwise kernels: stored as its bits, computed in float32, rounded after each step."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from programs import one, result
from test_half import add, same, swish, wide_numbers

from numtorch.kernels import scalar
from numtorch.kernels.codegen import Program, Step

BITS = np.arange(65536, dtype=np.uint16).view(np.int16)  # of every bfloat16


def floats_of(bits):
    """The float32 of bfloat16 numbers given by their bits."""
    return (bits.astype(np.uint16).astype(np.uint32) << 16).view(np.float32)


def bits_of(floats):
    """The bits of the bfloat16 nearest to a float32: of its two neighbours the nearer, of two as near the even one."""
    floats = np.asarray(floats, np.float32)
    below = (floats.view(np.uint32) >> 16).astype(np.uint16)
    with np.errstate(all="ignore"):
        low, high = (floats_of(b).astype(np.float64) for b in (below, below + np.uint16(1)))
        high = np.where(np.isinf(high), np.copysign(2.0**128, high), high)  # as if the exponents went on
        near, far = abs(floats - low), abs(high - floats)
    up = (far < near) | ((far == near) & (below & 1 == 1))
    found = np.where(np.isinf(floats), below, below + up)
    return np.where(np.isnan(floats), 0x7FC0, found).astype(np.uint16).view(np.int16)


def test_every_number_is_read_as_the_upper_half_of_a_float32():
    assert_array_equal(result(one(same, ["bfloat16"], ["float32"], "float32"), [BITS]), floats_of(BITS))


def test_numbers_are_rounded_to_the_nearest_and_ties_to_even():
    numbers = np.concatenate([wide_numbers(), floats_of(BITS), (np.arange(65536, dtype=np.uint32) << 16 | 0x8000).view(np.float32)])
    have = result(one(same, ["float32"], ["bfloat16"], "bfloat16"), [numbers], dtype=np.int16)
    assert_array_equal(have, bits_of(numbers))


@given(st.integers(0, 2**32 - 1))
def test_the_twin_in_plain_python_rounds_so_too(bits):
    x = np.uint32(bits).view(np.float32)
    with np.errstate(all="ignore"):
        assert scalar.to_bfloat(x) == bits_of(x)
    assert scalar.to_bfloat(scalar.from_bfloat(scalar.to_bfloat(x))) == scalar.to_bfloat(x)


@pytest.mark.parametrize("other", ["bfloat16", "float16", "int64", "bool"])
def test_each_step_is_rounded(other):
    a = BITS[np.isfinite(floats_of(BITS))][::61]
    b = (np.arange(len(a)) % 7 - 3).astype(np.float32)
    given = bits_of(b) if other == "bfloat16" else b.astype(other)
    steps = [Step(add, ("x0", "x1"), ("t",), "bfloat16"), Step(swish, ("t",), ("y0",), "bfloat16")]
    have = result(Program(["bfloat16", other], [], ["bfloat16"], steps), [a, given], dtype=np.int16)
    number = (b != 0) if other == "bool" else b
    one_step = result(one(swish, ["bfloat16"], ["bfloat16"]), [bits_of(floats_of(a) + number)], dtype=np.int16)
    assert_array_equal(have, one_step)


def test_float16_and_bfloat16_in_one_program():
    halves = np.float16([1.001, 300.5, 65504.0, -math.inf])
    have = result(one(add, ["float16", "bfloat16"], ["float32"], "float32"), [halves, bits_of(np.float32([1.0, 3e38, 2.0, 0.0]))])
    assert_array_equal(have, halves.astype(np.float32) + floats_of(bits_of(np.float32([1.0, 3e38, 2.0, 0.0]))))


def test_strided_and_copied():
    rows = BITS[:4096].reshape(64, 64)
    assert_array_equal(result(one(same, ["bfloat16"], ["bfloat16"]), [rows.T], dtype=np.int16), rows.T)
    ones = bits_of(np.ones((64, 64)))
    assert_array_equal(result(one(add, ["bfloat16", "bfloat16"], ["bfloat16"]), [ones.T, ones], dtype=np.int16), bits_of(np.full((64, 64), 2.0)))
