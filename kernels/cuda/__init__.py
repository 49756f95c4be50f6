"""CUDA kernels: twins of cpu/ (same file names, kernel names and arguments, less `chunk, nchunks`).

Rules of this folder, beside those of kernels/:

* A kernel is written for one thread of many; `@kernel(grid=..., threads=...)` says how many (launch.py is
  the manual).
* Pointers and scalars only; index arithmetic in int32 wrapped at each step (`i = int32(i + threads())`),
  int64 only for the base of a row; `while` instead of `range`, unless the bounds are small constants (then
  the loop is unrolled).
* No float literal without T(...); no float32 kernel may contain float64 arithmetic, and none may spill
  registers: the compile tests count.
* Results do not depend on timing: no floating-point atomics; reductions in fixed order.

Map: launch.py (the decorator and launch rules), gpu.py (what a thread can do), scalar.py (mathematics), team.py
(reductions over a warp or a block), rows.py (who works on which row), place.py (which tile a block makes), tile.py
and tensor_tile.py (the tile of a matrix product on ordinary and on tensor cores, for matrices and convolutions), cubins.py (compiled kernels and their cache), compile.py and intrinsics*.py (the only importers of numba-cuda).
Kernels run without a GPU in tests/kernels/cuda/simulator.py.
"""
