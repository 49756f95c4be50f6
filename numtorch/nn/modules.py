"""PyTorch's file names of layers (``nn.modules.batchnorm._BatchNorm``), as views of this package's files."""

from __future__ import annotations

import importlib
import importlib.machinery
import sys
import types
from typing import Any

from ._check import ntuple

# PyTorch's file: ours, in this package.
_FILES = {
    "activation": ("activation", "attention"),
    "adaptive": ("adaptive",),
    "batchnorm": ("norm",),
    "channelshuffle": ("vision",),
    "container": ("container", "parameter_container"),
    "conv": ("conv", "lazy_conv"),
    "distance": ("distance",),
    "dropout": ("dropout",),
    "flatten": ("flatten",),
    "fold": ("vision",),
    "instancenorm": ("norm",),
    "lazy": ("lazy",),
    "linear": ("linear",),
    "loss": ("loss", "margin_loss"),
    "module": ("module", "_hooks"),
    "normalization": ("normalization",),
    "padding": ("padding",),
    "pixelshuffle": ("vision",),
    "pooling": ("pooling",),
    "rnn": ("rnn", "rnn_cell"),
    "sparse": ("sparse",),
    "transformer": ("transformer",),
    "upsampling": ("vision",),
}
__path__: list[str] = []  # a package without files of its own: its modules are made below
_PACKAGE = __name__.rpartition(".")[0]


class _File(types.ModuleType):
    """A module whose names are those of other files, which are looked up when they are asked for."""

    def __getattr__(self, name: str) -> Any:
        for file in _FILES[self.__name__.rpartition(".")[2]]:
            module = importlib.import_module(f"{_PACKAGE}.{file}")
            if name in vars(module):
                return vars(module)[name]
        raise AttributeError(f"module '{self.__name__}' has no attribute '{name}'")


def _repeated(n: int) -> Any:
    return lambda value: ntuple(value, n)


def __getattr__(name: str) -> Any:
    """The files above, and every public layer, as in PyTorch."""
    if name in _FILES:
        return sys.modules[f"{__name__}.{name}"]
    package = sys.modules[_PACKAGE]
    if not name.startswith("_") and name in package.__all__:
        return getattr(package, name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


for _name in _FILES:
    sys.modules[f"{__name__}.{_name}"] = _File(f"{__name__}.{_name}")
    sys.modules[f"{__name__}.{_name}"].__spec__ = importlib.machinery.ModuleSpec(f"{__name__}.{_name}", None)
utils = sys.modules[f"{__name__}.utils"] = types.ModuleType(f"{__name__}.utils", "Sizes for all dimensions.")
utils.__spec__ = importlib.machinery.ModuleSpec(utils.__name__, None)
utils._single, utils._pair, utils._triple = _repeated(1), _repeated(2), _repeated(3)  # type: ignore[attr-defined]
utils._quadruple, utils._ntuple = _repeated(4), _repeated  # type: ignore[attr-defined]
