"""The bias gradient of a convolution: the CUDA twin of cpu/conv_weight.py's. (Its weight gradient is in conv.py.)"""

from numpy import int64

from ..jit import T, T_ptr, i64
from .gpu import block, shared, thread
from .launch import kernel
from .team import block_sum

THREADS = 256


@kernel(grid=lambda M: M, threads=THREADS)
def bias_grad(db: T_ptr, dy: T_ptr, N: i64, M: i64, P: i64, accumulate: i64):
    """db[m] = sum of dy (N, M, P) over images and pixels (+ db with `accumulate`); a block a channel."""
    room = shared(32, T)
    m, total, n = int64(block()), T(0), int64(0)
    while n < N:
        base, p = (n * M + m) * P, int64(thread())
        while p < P:
            total += dy[base + p]
            p += THREADS
        n += 1
    total = block_sum(total, room)
    if thread() == 0:
        db[m] = total + db[m] if accumulate != 0 else total
