"""Which frames of a stack are the user's: error messages and traces name those."""

from __future__ import annotations

import os
import sys
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


def shown(filename: str) -> str:
    """A file's name for a reader: a notebook's cell, which IPython keeps under a made-up file name, as ``In[5]``.

    >>> shown("train.py")
    'train.py'
    """
    if "ipykernel_" not in filename and not filename.startswith("<ipython-input"):
        return filename
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    name = shell.compile.format_code_name(filename) if shell is not None else None
    return name[1] if name is not None else filename
