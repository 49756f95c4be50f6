"""float16 in elementwise kernels: stored as its bits, computed in float32, rounded after each step."""

import math
import os
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from programs import one, result

from numtorch.kernels import scalar
from numtorch.kernels.codegen import Program, Step

EVERY = np.arange(65536, dtype=np.uint16).view(np.float16)


def same(x):
    return x


def add(a, b):
    return a + b


def swish(x):
    return x / (1.0 + math.exp(-x))


def wide_numbers():
    """Numbers of every size, and those beside which float16 rounds differently."""
    rng = np.random.default_rng(0)
    sizes = (rng.standard_normal(20000) * 10.0 ** rng.integers(-9, 6, 20000)).astype(np.float32)
    bits = rng.integers(0, 2**32, 20000, dtype=np.uint32).view(np.float32)
    edges = [65504.0, 65519.99, 65520.0, 2.0**-24, 2.0**-25, 2.0**-25 * 1.001, 2.0**-14, -0.0, math.inf, -math.inf, math.nan]
    return np.concatenate([sizes, bits, np.float32(edges)])


def check_conversions():
    assert_array_equal(result(one(same, ["float16"], ["float32"], "float32"), [EVERY]), EVERY.astype(np.float32))
    with np.errstate(all="ignore"):
        wanted = wide_numbers().astype(np.float16)
    assert_array_equal(result(one(same, ["float32"], ["float16"], "float16"), [wide_numbers()]), wanted)


def test_conversions_round_as_numpy():
    check_conversions()


def test_conversions_without_the_instruction(tmp_path):
    environment = {**os.environ, "NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "", "NUMTORCH_CACHE_DIR": str(tmp_path)}
    program = "import test_half; test_half.check_conversions()"
    folder = os.path.dirname(__file__)
    subprocess.run([sys.executable, "-c", program], env=environment, cwd=folder, check=True)


def test_twins_in_plain_python():
    for bits in (0x0001, 0x3C00, 0x7BFF, 0x8000, 0xFC00):
        assert scalar.to_half(scalar.from_half(np.uint16(bits))) == bits
    assert scalar.to_half(np.float32(1e6)) == 0x7C00


@pytest.mark.parametrize("other", ["float16", "int64", "bool"])
def test_each_step_is_rounded(other):
    a = EVERY[np.isfinite(EVERY)][::61]
    b = (np.arange(len(a)) % 7 - 3).astype(other)
    steps = [Step(add, ("x0", "x1"), ("t",), "float16"), Step(swish, ("t",), ("y0",), "float16")]
    have = result(Program(["float16", other], [], ["float16"], steps), [a, b], dtype="float16")
    with np.errstate(all="ignore"):
        total = (a.astype(np.float32) + b.astype(np.float32)).astype(np.float16)
    one_step = result(one(swish, ["float16"], ["float16"]), [total])
    assert_array_equal(have, one_step)


def test_strided_and_copied():
    rows = EVERY[:4096].reshape(64, 64)
    assert_array_equal(result(one(same, ["float16"], ["float16"]), [rows.T]).view(np.uint16), rows.T.view(np.uint16))
    finite = np.ones((64, 64), np.float16)
    assert_array_equal(result(one(add, ["float16", "float16"], ["float16"]), [finite.T, finite]), finite + finite)
