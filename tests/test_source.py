"""Whose a line is, and what it is called: the user's, a notebook's cell."""

from __future__ import annotations

import linecache
import sys
import types

import pytest

import numtorch as torch
from numtorch._source import is_internal, shown

CELL = "ipykernel_77/2606552311.py"


def test_whose_a_file_is():
    assert is_internal(torch.__file__) and is_internal(torch.kernels.__file__) and is_internal("<frozen runpy>")
    assert is_internal("/lib/ipykernel/kernelbase.py") and is_internal("/lib/IPython/core/interactiveshell.py")
    assert not is_internal(CELL) and not is_internal("train.py") and not is_internal(torch.__file__.replace("__init__", "demo"))


def test_a_cell_is_called_as_the_notebook_calls_it(monkeypatch):
    assert shown(CELL) == CELL and shown("train.py") == "train.py"  # no notebook runs
    compiler = types.SimpleNamespace(format_code_name=lambda name: ("Cell", "In[5]") if name == CELL else None)
    shell = types.SimpleNamespace(compile=compiler)
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    assert shown(CELL) == "In[5]" and shown(CELL.replace("77", "78")) == CELL.replace("77", "78")

    source = "def f(x):\n    return (x * 0).sqrt().sum()\n"
    monkeypatch.setitem(linecache.cache, CELL, (len(source), None, source.splitlines(keepends=True), CELL))
    names: dict = {}
    exec(compile(source, CELL, "exec"), names)
    assert "# In[5]:2" in str(torch.jit.trace(names["f"], (torch.ones(3),)).graph)
    with torch.autograd.detect_anomaly(), pytest.warns(UserWarning), pytest.raises(RuntimeError) as caught:
        names["f"](torch.ones(3, requires_grad=True)).backward()
    assert "  Cell In[5], line 2, in f\n    return (x * 0).sqrt().sum()" in str(caught.value)
