"""A mark for a helper of a kernel that is worth a function of its own."""

from __future__ import annotations

from .binding import intrinsic

_numba = intrinsic(f"{__package__}.intrinsics_apart")


@_numba
def apart() -> None:
    """Keep the function that says this out of line (it is a `@device(inline=False)`).

    LLVM keeps the constants of a loop in registers or on the stack; inside of another loop it fetches them anew each time, which
    makes long polynomials a quarter slower. A function for the inner loop has that loop alone.
    """
