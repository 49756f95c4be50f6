"""Saved traces that use the user's own ops: a file names them, the loading program brings them."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest

import numtorch as torch
from numtorch import jit

MODULE = '''
import math

import numba

import numtorch as torch


@torch.elementwise
def bump(x, width):
    """A bump."""
    return math.exp(-1.0 / (1.0 - (x / width) ** 2)) if abs(x) < width else SMALL


@torch.elementwise
def halved(x):
    return x * 0.5


@halved.grad
def halved_grad(g):
    return g * 0.5


@torch.reduction(init=0.0, combine=lambda a, b: a + b, finish=lambda a, n: math.sqrt(a / n))
def rms(a, x):
    return a + x * x


@torch.reduction(init=(0.0, 0.0), combine=lambda a, b, c, d: (a + c, max(b, d)), finish=lambda a, b: a + b)
def total_and_top(a, b, x):
    return a + x, max(b, x)


@torch.library.custom_op("files::smooth", shape=lambda x: x.shape)
@numba.njit
def smooth(x, out):
    for i in range(x.size):
        out[i] = (x[max(i - 1, 0)] + x[i] + x[min(i + 1, x.size - 1)]) / 3


@smooth.register_autograd
def _(ctx, g):
    return smooth(g)


def model(x):
    y = smooth(bump(x, 2.0)) + halved(x) / rms(x)
    return (y * total_and_top(y)).sum()


def step(x):
    (g,) = torch.autograd.grad(model(x), x, create_graph=True)
    (h,) = torch.autograd.grad((g * g).sum(), x)
    return g.detach(), h
'''
SAVE = """
import sys

import numtorch as torch
import saved_ops as m

x = torch.linspace(-2.5, 2.5, 7).requires_grad_()
torch.jit.trace(m.model, x).save("model")
torch.jit.trace(m.step, x).save("step")
y = m.model(x)
y.backward()
torch.save([y.detach(), x.grad, *m.step(x)], "want")
"""
LOAD = """
import numtorch as torch
import saved_ops

want, x = torch.load("want"), torch.linspace(-2.5, 2.5, 7).requires_grad_()
model = torch.jit.load("model")
y = model(x)
y.backward()
for have, w in zip([y.detach(), x.grad, *torch.jit.load("step")(x)], want):
    assert torch.allclose(have, w, atol=1e-6), (have, w)
model.save("again")
assert torch.equal(torch.jit.load("again")(x), y)
print(model.graph)
"""


def run(folder, program):
    return subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    (folder / "saved_ops.py").write_text(MODULE.replace("SMALL", "0.0"))
    found = run(folder, SAVE)
    assert found.returncode == 0, found.stderr
    return folder


def test_a_program_that_imports_the_ops_goes_on(saved):
    found = run(saved, LOAD)
    assert found.returncode == 0 and not found.stderr, found.stderr
    assert "bump" in found.stdout and "files::smooth" in found.stdout


def test_without_the_ops_the_file_names_them_and_runs_nothing(saved):
    found = run(saved, "import sys, numtorch as torch\ntorch.jit.load('model')")
    assert found.returncode == 1 and "TraceFileError" in found.stderr
    assert "uses the op 'bump' that the module 'saved_ops' made; import that module first" in found.stderr


def test_ops_may_be_given_by_name(saved, monkeypatch):
    monkeypatch.syspath_prepend(saved)
    import saved_ops as m

    from numtorch.library import known

    x = torch.linspace(-2.5, 2.5, 7)
    for key in [k for k in known.USER if k[0] == "saved_ops"]:
        monkeypatch.delitem(known.USER, key)
    with pytest.raises(jit.TraceFileError, match=r"jit.load\(path, ops="):
        jit.load(saved / "model")
    ops = {"bump": m.bump, "halved": m.halved, "rms": m.rms, "total_and_top": m.total_and_top, "files::smooth": m.smooth}
    assert torch.allclose(jit.load(saved / "model", ops=ops)(x.clone().requires_grad_()), m.model(x))
    with pytest.raises(TypeError, match=r"ops\['bump'\] is of type function; expected an op made with numtorch.elementwise"):
        jit.load(saved / "model", ops=ops | {"bump": lambda x: x})
    with pytest.raises(jit.TraceFileError, match="'bump' of the module 'saved_ops' has no part|no part"):
        jit.load(saved / "model", ops=ops | {"rms": m.bump})


def test_another_source_is_told(saved, tmp_path):
    (tmp_path / "saved_ops.py").write_text(MODULE.replace("SMALL", "1e-30").replace("A bump.", "A bump with a floor."))
    for name in ("model", "step", "want"):
        (tmp_path / name).write_bytes((saved / name).read_bytes())
    found = run(tmp_path, LOAD)
    assert found.returncode == 0, found.stderr
    assert "the source of the op 'bump' is not what it was when the trace was saved" in found.stderr
    assert "'halved'" not in found.stderr and "'rms'" not in found.stderr


def test_ops_are_pickled_by_their_names():
    for op in (doubled, length, smoothed):
        assert pickle.loads(pickle.dumps(op)) is op
    with pytest.raises(pickle.PicklingError, match="Can.t pickle .*elementwise function"):
        pickle.dumps(torch.elementwise(lambda x: x + 1))


@torch.elementwise
def doubled(x):
    return x * 2


@torch.reduction(init=0.0, combine=lambda a, b: a + b)
def length(a, x):
    return a + x


@torch.library.custom_op("files::smoothed")
def smoothed(x: torch.Tensor) -> torch.Tensor:
    return x * 1
