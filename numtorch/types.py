"""Names for annotations, as ``torch.types`` has them."""

from __future__ import annotations

import builtins
import os
from collections.abc import Sequence
from typing import IO, TypeAlias

from ._tensor import Tensor
from .device import device as _device
from .dtype import dtype as _dtype
from .shape import Size
from .storage import Storage

_TensorOrTensors: TypeAlias = Tensor | Sequence[Tensor]
_int, _float, _bool = builtins.int, builtins.float, builtins.bool
_size: TypeAlias = Size | list[int] | tuple[int, ...]
Device: TypeAlias = _device | str | int | None
FileLike: TypeAlias = str | os.PathLike[str] | IO[bytes]
Number: TypeAlias = int | float | bool

__all__ = ["Device", "FileLike", "Number", "Storage", "_dtype"]
