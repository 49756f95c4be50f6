"""``numtorch.compat.install()``: programs that say ``import torch`` get numtorch, without an edit.

    import numtorch
    numtorch.compat.install()
    import torch                      # numtorch, and torch.nn, torch.utils.data, ... likewise

Or for a whole program: ``python -m numtorch.compat train.py --epochs 3``.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import runpy
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

_NAME, _OURS = "torch", "numtorch"


class _Loader(importlib.abc.Loader):
    """Gives an existing module under another name; its own identity stays."""

    def __init__(self, name: str):
        self.name = name
        self.spec: Any = None

    def create_module(self, spec: Any) -> ModuleType:
        module = importlib.import_module(self.name)
        self.spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec  # the import system has put that of the other name there


class Finder(importlib.abc.MetaPathFinder):
    """Finds ``torch`` and ``torch.x`` as ``numtorch`` and ``numtorch.x``."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        """The spec of numtorch's module of that name; None for other packages. ModuleNotFoundError for what numtorch lacks."""
        if fullname != _NAME and not fullname.startswith(f"{_NAME}."):
            return None
        ours = _OURS + fullname[len(_NAME) :]
        try:
            found = importlib.util.find_spec(ours)
        except ModuleNotFoundError:
            found = None
        if found is None:
            from .absent import reason

            why = reason(fullname.rpartition(".")[2])
            raise ModuleNotFoundError(
                f"No module named {fullname!r}: numtorch, which stands for torch here, has no {ours}{why and '; '}{why}",
                name=fullname,
            )
        return importlib.machinery.ModuleSpec(fullname, _Loader(ours), is_package=found.submodule_search_locations is not None)


def _installed() -> Finder | None:
    return next((f for f in sys.meta_path if isinstance(f, Finder)), None)


class _InChild:
    """What a spawned process unpickles first: there, too, numtorch then stands for torch."""

    def __reduce__(self) -> Any:
        return install, ()


def _tell_children() -> None:
    """Spawned processes import the program anew, so they get numtorch under the same name."""
    from multiprocessing import spawn

    prepared = spawn.get_preparation_data
    if hasattr(prepared, "without_numtorch"):
        return

    def with_numtorch(name: str) -> dict[str, Any]:
        return {"numtorch": _InChild(), **prepared(name)}

    with_numtorch.without_numtorch = prepared  # type: ignore[attr-defined]
    spawn.get_preparation_data = with_numtorch


def _tell_children_no_more() -> None:
    from multiprocessing import spawn

    spawn.get_preparation_data = getattr(spawn.get_preparation_data, "without_numtorch", spawn.get_preparation_data)


def install(force: bool = False) -> ModuleType:
    """Register numtorch as ``torch`` in this process and those that multiprocessing starts from it; returns numtorch.

    Raises RuntimeError if PyTorch itself is already imported, unless ``force``: then later imports get numtorch, while modules
    that hold PyTorch keep it.
    """
    package = importlib.import_module(_OURS)
    held = sys.modules.get(_NAME)
    if held is not None and held is not package:
        if not force:
            raise RuntimeError(
                "numtorch.compat.install: PyTorch is already imported in this process; call install() before the first `import"
                " torch`, or pass force=True"
            )
        for name in [n for n in sys.modules if n == _NAME or n.startswith(f"{_NAME}.")]:
            del sys.modules[name]
    if _installed() is None:
        sys.meta_path.insert(0, Finder())
        _tell_children()
    sys.modules[_NAME] = package
    return package


def uninstall() -> None:
    """Take numtorch's name ``torch`` back: later imports find PyTorch, if it is installed."""
    found = _installed()
    if found is not None:
        sys.meta_path.remove(found)
        _tell_children_no_more()
    for name in [n for n in sys.modules if n == _NAME or n.startswith(f"{_NAME}.")]:
        if sys.modules[name].__name__.partition(".")[0] == _OURS:
            del sys.modules[name]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a Python program with numtorch in PyTorch's place: ``python -m numtorch.compat program.py [arguments]``."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given:
        raise SystemExit("usage: python -m numtorch.compat program.py [arguments]")
    install()
    sys.argv = given
    sys.path.insert(0, str(importlib.import_module("pathlib").Path(given[0]).resolve().parent))
    runpy.run_path(given[0], run_name="__main__")


if __name__ == "__main__":
    importlib.import_module(f"{_OURS}.compat").main()  # by its own name, which other processes know, too
