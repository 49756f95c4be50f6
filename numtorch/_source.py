"""Which frames of a stack are the user's: error messages and traces name those."""

from __future__ import annotations

import os
from functools import cache

_HERE = os.path.dirname(os.path.abspath(__file__))
_FOLDERS = (_HERE + os.sep, os.path.join(os.path.dirname(_HERE), "kernels") + os.sep)
_PROGRAMS = (os.path.join(_HERE, "demo.py"), os.path.join(_HERE, "warmup.py"))  # written as a user would


@cache
def is_internal(filename: str) -> bool:
    """Whether a file belongs to numtorch itself or to Python's start-up, so that nobody looks for a mistake there.

    >>> is_internal("train.py")
    False
    """
    return filename.startswith("<frozen ") or (filename.startswith(_FOLDERS) and filename not in _PROGRAMS)
