"""Every public function and method with arguments of wrong shapes, dtypes, devices and ranges: it answers or refuses, as PyTorch.

The calls run in processes of their own (wrong_arguments.py), so that a crash is a failure that names the call.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import hypothesis.strategies as st
import pytest
import wrong_arguments
from hypothesis import HealthCheck, given, settings

REFUSES = {"RuntimeError", "TypeError", "ValueError", "IndexError", "NotImplementedError"}
# What only Python itself says, of code that never looked at its argument.
PYTHON = ("object has no attribute", "tuple index out of range", "local variable", "_layout", "referenced before")
# PyTorch asserts here, too: attention's shapes, and a GPU where there is none.
ASSERTS = {"nn.functional.multi_head_attention_forward", "Tensor.to", "Tensor.type"}
NAMES = wrong_arguments.public("numtorch")
GROUPS = 16


def calls(package, seed, examples, names):
    """(name, arguments, class, message) of the calls a process makes; fails if it dies."""
    script = Path(wrong_arguments.__file__)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(script), package, str(seed), str(examples), *names], capture_output=True, text=True, timeout=900
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert done.returncode == 0, f"the process died ({done.returncode}) in {lines[-1] if lines else '?'}\n{done.stderr[-2000:]}"
    pairs = zip(lines[::2], lines[1::2])
    return [(json.loads(call)["name"], call, *json.loads(answer)) for call, answer in pairs]


def test_the_names():
    assert len(NAMES) > 450 and {"add", "nn.functional.linear", "Tensor.add_", "index_select", "matmul"} <= set(NAMES)


@pytest.mark.slow
@pytest.mark.parametrize("group", range(GROUPS))
def test_no_crash_and_no_foreign_error(group):
    @given(st.integers(0, 10**6))
    @settings(max_examples=2, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    def run(seed):
        for name, call, kind, message in calls("numtorch", seed, 3, NAMES[group::GROUPS]):
            if kind == "AssertionError" and name in ASSERTS:
                continue
            assert kind == "ok" or kind in REFUSES, f"{kind}: {message} in {call}"
            assert kind == "ok" or not any(p in message for p in PYTHON), f"{kind}: {message} in {call}"

    run()


# PyTorch's classes where its parser, which looks at all arguments first, or its order of checks names another of several mistakes.
OTHER_ORDER = {"LinAlgError", "TypeError", "RuntimeError", "IndexError", "ValueError", "NotImplementedError", "AttributeError", "KeyError", "AssertionError"}


@pytest.mark.oracle
@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
@pytest.mark.parametrize("group", range(GROUPS))
def test_what_pytorch_refuses_is_refused(group):
    import torch

    names = [n for n in NAMES[group::GROUPS] if _has(torch, n)]
    theirs = calls("torch", 0, 6, names)
    ours = calls("numtorch", 0, 6, names)
    same = refused = 0
    for (name, call, want, why), (_, _, have, said) in zip(theirs, ours):
        if want == "ok" or have == "ok":
            # PyTorch answers: so does numtorch (a few of its limits are told in its message)
            assert want != "ok" or have == "ok" or name in MAY_REFUSE, f"PyTorch answers {why}, numtorch: {have}: {said} in {call}"
            assert have != "ok" or want == "ok" or want == "TypeError" or name in MAY_ANSWER, f"PyTorch: {want}: {why} in {call}"
            assert not (want == have == "ok") or why == said or name in MAY_DIFFER, f"PyTorch: {why}, numtorch: {said} in {call}"
            continue
        refused += 1
        same += want == have
        assert have == want or {have, want} <= OTHER_ORDER, f"{want}: {why}; {have}: {said} in {call}"
    # The rest: several arguments are wrong at once, and PyTorch's parser looks at all types before any value.
    assert same > 0.7 * refused, f"only {same} of {refused} refusals have PyTorch's class"


def _has(module, name):
    for part in name.split("."):
        module = getattr(module, part, None)
    return module is not None


# Where PyTorch's own rules are accidents: empty tensors of a dtype that it refuses otherwise, a 0-d tensor of a byte more, ...
MAY_REFUSE = set("""cummin cummax log_softmax softmax nanmedian median take_along_dim trapezoid trapz nn.functional.dropout2d
    nn.functional.dropout3d nn.functional.dropout1d nn.functional.fractional_max_pool3d nn.functional.gaussian_nll_loss
    nn.functional.gumbel_softmax nn.functional.hardtanh_ nn.functional.poisson_nll_loss Tensor.normal_""".split())
# What numtorch computes and PyTorch has no kernel for.
MAY_ANSWER = set("""corrcoef gcd heaviside isin logspace trapezoid trapz unique_consecutive unravel_index nn.functional.relu6
    nn.functional.binary_cross_entropy_with_logits nn.functional.dropout2d nn.functional.softsign Tensor.cumprod_""".split())
MAY_DIFFER = {"vander", "trapz", "Tensor.sum_to_size"}  # dtypes of results without a sum, a power or a product
