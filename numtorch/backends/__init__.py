"""What computes (``torch.backends``): PyTorch's switches, kept and read back; kernels here have one way to compute."""

from . import cpu, cuda, cudnn, mkl, mkldnn, mps, openmp

__all__ = ["cpu", "cuda", "cudnn", "mkl", "mkldnn", "mps", "openmp"]
