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
from .updates import live, update

__all__ = ["TABLE", "arithmetic", "copying", "elementwise", "joining", "live", "reduce", "update", "view"]
