"""Every example in a docstring runs and gives what it says; so do the README's program and the notebooks."""

from __future__ import annotations

import contextlib
import doctest
import importlib
import inspect
import io
import json
import linecache
import pathlib
import re
import warnings

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


class Finder(doctest.DocTestFinder):
    """Looks into classes that are printed under another module's name, too."""

    def _from_module(self, module, object) -> bool:
        here = inspect.isclass(object) and inspect.getmodule(object.__dict__.get("__new__")) is module
        return here or super()._from_module(module, object)  # type: ignore[misc]


@pytest.mark.parametrize("module_name", modules())
def test_examples(module_name: str) -> None:
    module = importlib.import_module(module_name)
    names = {"torch": numtorch, "np": numpy, **vars(module)}
    parser, runner = Finder(exclude_empty=True), doctest.DocTestRunner(optionflags=OPTIONS)
    lines: list[str] = []
    for example in parser.find(module, globs=names):
        numtorch.manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an example may show what warns
            runner.run(example, out=lines.append)
    assert runner.failures == 0, "".join(lines)


def test_the_readme_program_runs() -> None:
    program = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)[0]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(program, "README.md", "exec"), {"__name__": "readme"})
    losses = [float(line) for line in printed.getvalue().split()]
    assert losses[-1] < 0.1 * losses[0]


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_run(path: pathlib.Path) -> None:
    pytest.importorskip("matplotlib").use("Agg")
    pytest.importorskip("tqdm")
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    names = {"__name__": "notebook"}
    for number, cell in enumerate(cells, 1):
        source, name = "".join(cell["source"]), f"{path.name}, code cell {number}"
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)  # as a notebook does
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(source, name, "exec"), names)
    assert cells and all(cell["outputs"] is not None for cell in cells)
