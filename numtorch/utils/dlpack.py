"""``to_dlpack`` and ``from_dlpack`` where older programs look for them."""

from ..interop import from_dlpack, to_dlpack

__all__ = ["from_dlpack", "to_dlpack"]
