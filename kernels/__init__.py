"""Numeric kernels: addresses in, addresses out; imports numpy, llvmlite and numba only, never the framework."""
