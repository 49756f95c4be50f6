"""Which frames of a stack are the user's: error messages and traces name those."""

from __future__ import annotations

import os
from functools import cache

_HERE = os.path.dirname(os.path.abspath(__file__))
_FOLDERS = (_HERE + os.sep, os.path.join(os.path.dirname(_HERE), "kernels") + os.sep)
_PROGRAMS = (os.path.join(_HERE, "demo.py"), os.path.join(_HERE, "warmup.py"))  # written as a user would

_NOTEBOOK = {"ipykernel", "IPython", "tornado", "traitlets", "asyncio"}  # what runs a notebook's cells


@cache
def is_internal(filename: str) -> bool:
    """Whether a file belongs to numtorch itself, Python's start-up or a notebook's, so that nobody looks for a mistake there.

    >>> is_internal("train.py")
    False
    """
    if filename.startswith("<frozen ") or filename.endswith("ipykernel_launcher.py"):
        return True
    if filename.startswith(_FOLDERS):
        return filename not in _PROGRAMS
    return not _NOTEBOOK.isdisjoint(filename.split(os.sep)[:-1])
