"""Kernels: raw memory in, raw memory out.

Rules of this folder:

* It imports numpy, llvmlite and numba only, and numba only when something must be compiled; it never imports
  numtorch.
* A kernel is a plain Python function (`jit.py` is its manual). Nothing is compiled when a module is imported.
* Kernels never allocate, never raise, compute only their chunk, and give the same bits whatever the number of
  chunks.
* `cpu/` and `cuda/` are twins: same file names, same function names, same arguments.

Map, in the order in which a kernel passes through it:

    jit.py         the door: decorators, annotations, specialisation    binding.py      placeholders, fingerprints
    memory.py      pointers, stack buffers, atomics                     simd.py         vectors of registers
    scalar.py      exp, log, ... as device functions                    codegen.py      elementwise source text
    compile_cpu.py numba to object code (with lean.py, elf.py and the intrinsics_*.py: the only importers of numba)
    cache.py       object code on disk                                  target.py       which CPU, SIMD width
    engine.py      object code to address                               interpret.py    kernels as checked Python
    driver.py      launch and replay from Python (builtin.py)           threads.py      the pool
"""
