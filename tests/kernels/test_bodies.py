"""What bodies tell about themselves, the text they become, and the messages for bodies that no kernel can hold."""

import math

import numpy as np
import pytest
from programs import RNG, floats, one, result

from numtorch.kernels import codegen
from numtorch.kernels.bodies import BodyError
from numtorch.kernels.codegen import Program, Step, body_of
from numtorch.kernels.interpret import Pointer, bind


def add(a, b):
    return a + b


def relu(x):
    return x if x > 0 else 0.0


def swish(x):
    s = 1.0 / (1.0 + math.exp(-x))
    return x * s


def tanh_grad(g, y):
    return g * (1.0 - y * y)


def mul_grad(g, a, b):
    """Two results."""
    return g * b, g * a


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
# ------------------------------------------------------------------------------------------------------------


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
