"""The numba intrinsic behind apart.py."""

from __future__ import annotations

from numba import types
from numba.extending import intrinsic


@intrinsic
def apart(typingctx):
    """Give the function that is being written the attribute noinline."""

    def gen(context, builder, sig, args):
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), gen
