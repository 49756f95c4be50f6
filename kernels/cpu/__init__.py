"""Kernels for the CPU: plain Python, compiled by `..jit`; a file has its twin of that name in `cuda/`."""
