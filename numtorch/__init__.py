"""numtorch: PyTorch's API on Numba kernels.

    import numtorch as torch

    x = torch.randn(3, requires_grad=True)
    (x * x).sum().backward()
"""

from __future__ import annotations

from . import ops as _ops
from .autograd.mode import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)
from .device import device, get_default_device, set_default_device
from .dtype import (
    bool_ as bool,  # noqa: A004 - PyTorch's name
)
from .dtype import (
    can_cast,
    dtype,
    finfo,
    float16,
    float32,
    float64,
    get_default_dtype,
    iinfo,
    int8,
    int16,
    int32,
    int64,
    promote_types,
    set_default_dtype,
    uint8,
)
from .methods import bind as _bind
from .shape import Size
from .tensor import Tensor

_bind()
__version__ = "0.1.0"
