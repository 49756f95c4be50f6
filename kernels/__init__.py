"""Kernels: raw memory in, raw memory out.

Rules of this folder:

* It imports numpy, llvmlite and numba only, and numba only when something must be compiled; it never imports
  numtorch.
* A kernel is a plain Python function (`jit.py` is its manual). Nothing is compiled when a module is imported.
* Kernels never allocate, never raise, compute only their chunk, and give the same bits whatever the number of
  chunks.
* `cpu/` and `cuda/` are twins: same file names, same function names, same arguments.

Map, in the order in which a kernel passes through it:

* jit.py: the door (decorators, annotations, specialisation); binding.py: placeholders and fingerprints.
* memory.py: pointers, stack buffers, atomics; simd.py: vectors of registers; scalar.py: exp, log; codegen.py:
  text of elementwise kernels.
* compile_cpu.py: kernel to object code. compile_front.py (with syntax.py, compile_function.py, compile_expressions.py,
  compile_values.py): the short way to LLVM, with numba's types and operators; whatever it does not know goes
  through numba's own front end. With lean.py, elf.py and intrinsics_*.py the only importers of numba.
* target.py: CPU and SIMD width; cache.py: object code on disk; engine.py: object code to address.
* driver.py and builtin.py: launch and replay from Python; threads.py: the pool; interpret.py: kernels as
  plain Python with checked pointers.
"""
