"""Every example in a docstring of numtorch runs and gives what it says."""

from __future__ import annotations

import doctest
import importlib
import pathlib

import numpy
import pytest

import numtorch

ROOT = pathlib.Path(__file__).resolve().parent.parent
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def modules() -> list[str]:
    """Module names of numtorch and its kernels whose text holds an example."""
    found = []
    for folder, prefix in (("numtorch", "numtorch"), ("kernels", "numtorch.kernels")):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if ">>> " in path.read_text():
                parts = path.relative_to(ROOT / folder).with_suffix("").parts
                found.append(".".join([prefix, *(p for p in parts if p != "__init__")]))
    return found


@pytest.mark.parametrize("module_name", modules())
def test_examples(module_name: str) -> None:
    module = importlib.import_module(module_name)
    names = {"torch": numtorch, "np": numpy, **vars(module)}
    parser, runner = doctest.DocTestFinder(exclude_empty=True), doctest.DocTestRunner(optionflags=OPTIONS)
    lines: list[str] = []
    for example in parser.find(module, globs=names):
        numtorch.manual_seed(0)
        runner.run(example, out=lines.append)
    assert runner.failures == 0, "".join(lines)
