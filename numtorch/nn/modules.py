"""PyTorch's file names of layers (``nn.modules.batchnorm._BatchNorm``), as views of this package's files."""

from __future__ import annotations

import sys
import types
from typing import Any

from . import (
    _hooks,
    activation,
    adaptive,
    attention,
    container,
    conv,
    distance,
    dropout,
    flatten,
    lazy,
    lazy_conv,
    linear,
    loss,
    margin_loss,
    module,
    norm,
    normalization,
    padding,
    parameter_container,
    pooling,
    rnn,
    rnn_cell,
    sparse,
    transformer,
    vision,
)
from ._check import ntuple

_FILES: dict[str, tuple[types.ModuleType, ...]] = {
    "activation": (activation, attention),
    "adaptive": (adaptive,),
    "batchnorm": (norm,),
    "channelshuffle": (vision,),
    "container": (container, parameter_container),
    "conv": (conv, lazy_conv),
    "distance": (distance,),
    "dropout": (dropout,),
    "flatten": (flatten,),
    "fold": (vision,),
    "instancenorm": (norm,),
    "lazy": (lazy,),
    "linear": (linear,),
    "loss": (loss, margin_loss),
    "module": (module, _hooks),
    "normalization": (normalization,),
    "padding": (padding,),
    "pixelshuffle": (vision,),
    "pooling": (pooling,),
    "rnn": (rnn, rnn_cell),
    "sparse": (sparse,),
    "transformer": (transformer,),
    "upsampling": (vision,),
}


class _File(types.ModuleType):
    """A module whose names are those of several others."""

    def __init__(self, name: str, files: tuple[types.ModuleType, ...]):
        super().__init__(f"{__name__}.{name}", files[0].__doc__)
        self._files = files

    def __getattr__(self, name: str) -> Any:
        for file in self.__dict__.get("_files", ()):
            if name in vars(file):
                return vars(file)[name]
        raise AttributeError(f"module '{self.__name__}' has no attribute '{name}'")

    def __dir__(self) -> list[str]:
        return sorted({name for file in self._files for name in vars(file)})


def _repeated(n: int) -> Any:
    return lambda value: ntuple(value, n)


def __getattr__(name: str) -> Any:
    """The files above, and every public layer, as in PyTorch."""
    if name in _FILES:
        return sys.modules[f"{__name__}.{name}"]
    package = sys.modules[__package__ or ""]
    if not name.startswith("_") and name in package.__all__:
        return getattr(package, name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


for _name, _parts in _FILES.items():
    sys.modules[f"{__name__}.{_name}"] = _File(_name, _parts)
utils = sys.modules[f"{__name__}.utils"] = types.ModuleType(
    f"{__name__}.utils", "Sizes given once for all dimensions."
)
utils._single, utils._pair, utils._triple = _repeated(1), _repeated(2), _repeated(3)  # type: ignore[attr-defined]
utils._quadruple, utils._ntuple = _repeated(4), _repeated  # type: ignore[attr-defined]
