"""Programs of one step, and their launch on NumPy arrays: for the tests of the elementwise generator."""

import numpy as np

from numtorch.kernels.codegen import Program, Step
from numtorch.kernels.driver import launch

RNG = np.random.default_rng(0)


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
