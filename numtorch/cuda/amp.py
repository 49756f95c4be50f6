"""``torch.cuda.amp``: the names of ``numtorch.amp`` where older programs look for them."""

from __future__ import annotations

from typing import Any

from .. import amp as _amp

GradScaler, custom_fwd, custom_bwd = _amp.GradScaler, _amp.custom_fwd, _amp.custom_bwd
__all__ = ["GradScaler", "autocast", "custom_bwd", "custom_fwd"]


class autocast(_amp.autocast):
    """``numtorch.amp.autocast("cuda", ...)``."""

    def __init__(self, enabled: bool = True, dtype: Any = None, cache_enabled: bool = True):
        super().__init__("cuda", dtype, enabled, cache_enabled)
