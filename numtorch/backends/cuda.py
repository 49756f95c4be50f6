"""Switches for NVIDIA GPUs. ``matmul.allow_tf32`` is one with ``set_float32_matmul_precision``; the others are kept and read back."""

from __future__ import annotations

from .. import cuda as _cuda
from .. import settings as _settings


class _Matmul:
    """How matrix products may be computed on GPUs. float16 sums are always float32."""

    allow_fp16_reduced_precision_reduction = True
    allow_bf16_reduced_precision_reduction = True
    fp32_precision = "none"

    @property
    def allow_tf32(self) -> bool:
        """Whether float32 products may go to tensor cores, which round the factors to 10 binary digits after the point."""
        return _settings.tf32_permitted()

    @allow_tf32.setter
    def allow_tf32(self, allowed: bool) -> None:
        _settings.set_float32_matmul_precision("high" if allowed else "highest")


matmul = _Matmul()
_attention = {"flash": True, "mem_efficient": True, "math": True, "cudnn": True}


def is_built() -> bool:
    """Whether the kernels for GPUs are there: they always are, compiled when first used on a machine that has one."""
    return True


def is_available() -> bool:
    """Whether a GPU can be used."""
    return _cuda.is_available()


def fused_permitted() -> bool:
    """Whether attention may be one kernel: unless both flash and memory-efficient attention were forbidden."""
    return _attention["flash"] or _attention["mem_efficient"]


def enable_flash_sdp(enabled: bool) -> None:
    """Permit attention as one kernel, which is what PyTorch's flash and memory-efficient attention both are here."""
    _attention["flash"] = bool(enabled)


def enable_mem_efficient_sdp(enabled: bool) -> None:
    """The same as ``enable_flash_sdp``: attention is one kernel unless both are forbidden."""
    _attention["mem_efficient"] = bool(enabled)


def enable_math_sdp(enabled: bool) -> None:
    """Permit attention of single operations; it is what is left for operands that the kernel doesn't take."""
    _attention["math"] = bool(enabled)


def enable_cudnn_sdp(enabled: bool) -> None:
    """Permit cuDNN's attention; changes nothing here."""
    _attention["cudnn"] = bool(enabled)


def flash_sdp_enabled() -> bool:
    """What ``enable_flash_sdp`` was last given."""
    return _attention["flash"]


def mem_efficient_sdp_enabled() -> bool:
    """What ``enable_mem_efficient_sdp`` was last given."""
    return _attention["mem_efficient"]


def math_sdp_enabled() -> bool:
    """What ``enable_math_sdp`` was last given."""
    return _attention["math"]


def cudnn_sdp_enabled() -> bool:
    """What ``enable_cudnn_sdp`` was last given."""
    return _attention["cudnn"]
