"""The ops: one declaration each. Importing this package fills ``declare.TABLE``."""

from . import (
    arithmetic,
    copying,
    elementwise,
    joining,
    reduce,
    view,
)
from .declare import TABLE

__all__ = ["TABLE", "arithmetic", "copying", "elementwise", "joining", "reduce", "view"]
