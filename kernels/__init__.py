"""Kernels: raw memory in, raw memory out.

Rules of this folder:

* It imports numpy, llvmlite and numba only, and numba only when something must be compiled; it never imports
  numtorch.
* A kernel is a plain Python function (`jit.py` is its manual). Nothing is compiled when a module is imported.
* Kernels never allocate, never raise, compute only their chunk, and give the same bits whatever the number of
  chunks.
* `cpu/` and `cuda/` are twins: same file names, same function names, same arguments.

Map: jit.py (the door: decorators, specialisation), binding.py (placeholders and their replacement), memory.py
(pointers, stack buffers, atomics), target.py (CPU and SIMD width), compile_cpu.py and intrinsics_cpu.py (the
only importers of numba), cache.py (object code on disk), engine.py (object code to address), driver.py (calls
from Python, replay), threads.py (pool), interpret.py (kernels as plain Python with checked pointers).
"""
