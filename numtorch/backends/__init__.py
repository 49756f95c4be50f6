"""What computes (``torch.backends``): PyTorch's switches, kept and read back; kernels here have one way to compute."""

from ..absent import hints as _hints
from . import cpu, cuda, cudnn, mkl, mkldnn, mps, openmp

__all__ = ["cpu", "cuda", "cudnn", "mkl", "mkldnn", "mps", "openmp"]

__getattr__ = _hints(__name__)
