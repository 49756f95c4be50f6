"""Arguments drawn at random, most of them wrong: an op answers or raises what PyTorch raises, and never crashes."""

from __future__ import annotations

import importlib.util
import warnings

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import numtorch

DTYPES = ("float32", "float64", "int64", "int32", "uint8", "bool")
RAISED = (RuntimeError, TypeError, ValueError, IndexError)  # NotImplementedError is a RuntimeError

# name -> kinds of arguments: t tensor, i int64 tensor of indices, m bool tensor, d dimension, n number, k small size, b bool
CALLS = {
    "add": "tt", "mul": "tt", "div": "tt", "sub": "tt", "pow": "tt", "maximum": "tt", "where": "mtt", "eq": "tt",
    "bitwise_and": "tt", "floor_divide": "tn", "clamp": "tnn", "exp": "t", "sqrt": "t", "neg": "t", "logical_not": "t",
    "matmul": "tt", "mm": "tt", "bmm": "tt", "mv": "tt", "dot": "tt", "outer": "tt", "addmm": "ttt", "baddbmm": "ttt",
    "sum": "td", "mean": "td", "prod": "td", "amax": "td", "argmax": "td", "max": "td", "std": "td", "logsumexp": "td",
    "cumsum": "td", "softmax": "td", "log_softmax": "td", "sort": "td", "topk": "tkd", "any": "td", "median": "td",
    "reshape": "ts", "permute": "ts", "transpose": "tdd", "squeeze": "td", "unsqueeze": "td", "flatten": "tdd", "narrow": "tdkk",
    "select": "tdk", "split": "tkd", "chunk": "tkd", "diagonal": "tkdd", "movedim": "tdd", "broadcast_to": "ts",
    "cat": "ld", "stack": "ld", "gather": "tdi", "index_select": "tdi", "scatter": "tdit", "scatter_add": "tdit",
    "index_add": "tdit", "masked_fill": "tmn", "masked_select": "tm", "take": "ti", "nonzero": "t", "tril": "tk",
    "flip": "ts", "roll": "tkd", "repeat_interleave": "tkd",
    "nn.functional.linear": "ttt", "nn.functional.conv1d": "ttt", "nn.functional.conv2d": "ttt",
    "nn.functional.conv_transpose2d": "ttt", "nn.functional.max_pool2d": "tk", "nn.functional.avg_pool1d": "tk",
    "nn.functional.adaptive_avg_pool2d": "tk", "nn.functional.embedding": "it", "nn.functional.cross_entropy": "ti",
    "nn.functional.nll_loss": "ti", "nn.functional.mse_loss": "tt", "nn.functional.layer_norm": "ts",
    "nn.functional.batch_norm": "ttt", "nn.functional.pad": "ts", "nn.functional.one_hot": "ik",
    "nn.functional.binary_cross_entropy": "tt", "nn.functional.kl_div": "tt", "nn.functional.dropout": "tn",
}  # fmt: skip
# Where PyTorch itself is inconsistent: that numtorch does not crash is enough.
LOOSE = {
    "nn.functional.batch_norm",  # looks at the running statistics only when there are elements
    "nn.functional.adaptive_avg_pool2d",  # takes a 2-d input of one dtype, and integers if there is no output
    "repeat_interleave",  # refuses dim 0 of a 0-d tensor, naming a dim 1 that was not given
    "nn.functional.mse_loss",  # promotes a 0-d tensor as if it had dimensions, because it expands it first
}

shapes = st.lists(st.integers(0, 4), max_size=4).map(tuple)


@st.composite
def arrays(draw, dtype=None):
    shape = draw(shapes)
    name = dtype or draw(st.sampled_from(DTYPES))
    seed = draw(st.integers(0, 3))
    return np.random.default_rng(seed).integers(0, 2 if name == "bool" else 5, shape).astype(name)


ARGUMENTS = {
    "t": arrays(),
    "i": arrays("int64").map(lambda a: np.asarray(a - 1)) | arrays(),
    "m": arrays("bool") | arrays(),
    "l": st.lists(arrays(), max_size=3),
    "d": st.integers(-5, 5),
    "n": st.sampled_from([0, 1, -2, 0.5, -1.5]),
    "k": st.integers(-2, 6),
    "s": st.lists(st.integers(-2, 5), max_size=4).map(tuple),
    "b": st.booleans(),
}


def convert(module, value):
    if isinstance(value, np.ndarray):
        return module.tensor(value.copy(), dtype=getattr(module, value.dtype.name))
    return [convert(module, v) for v in value] if isinstance(value, list) else value


def find(module, name):
    for part in name.split("."):
        module = getattr(module, part)
    return module


def outcome(module, name, values):
    """The result's shape and dtype, or the class of the exception."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            out = find(module, name)(*[convert(module, v) for v in values])
        except RAISED as error:
            return type(error) if type(error) is not NotImplementedError else RuntimeError, str(error)
    out = out[0] if isinstance(out, (tuple, list)) and out else out
    return (tuple(out.shape), str(out.dtype).split(".")[-1]) if hasattr(out, "shape") else type(out), ""


def _is_empty(value):
    """Without elements PyTorch's ops look at dtypes or don't, each as its loop happens to be written."""
    return (
        any(map(_is_empty, value))
        if isinstance(value, list)
        else isinstance(value, np.ndarray) and not value.size
    )


@pytest.mark.parametrize("name", CALLS)
def test_an_op_answers_or_raises(name):
    @given(st.tuples(*[ARGUMENTS[k] for k in CALLS[name]]))
    @settings(max_examples=25)
    def run(values):
        _, message = outcome(numtorch, name, values)
        assert "Traceback" not in message and "numba" not in message

    run()


@pytest.mark.oracle
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
@pytest.mark.parametrize("name", sorted(set(CALLS) - LOOSE))
def test_what_pytorch_refuses_is_refused_with_its_class(name):
    import torch

    @given(st.tuples(*[ARGUMENTS[k] for k in CALLS[name]]))
    @settings(max_examples=40)
    def run(values):
        want, why = outcome(torch, name, values)
        have, said = outcome(numtorch, name, values)
        if isinstance(want, type) and issubclass(want, Exception):
            if "dtype" in why and any(_is_empty(v) for v in values):
                return
            assert isinstance(have, type), f"PyTorch raises {want.__name__}: {why}; numtorch answers {have}"
            if (
                "not implemented for" in why + said
            ):  # a wrong dtype beside another mistake: either may be named first
                return
            assert have is want or {have, want} <= {IndexError, RuntimeError}, (
                f"{want.__name__}: {why}; {have.__name__}: {said}"
            )
        elif not (isinstance(have, type) and any(_is_empty(v) for v in values)):
            assert have == want, f"PyTorch answers {want}; numtorch: {have} {said}"

    run()
