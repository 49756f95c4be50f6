"""The tile of a product on tensor cores: what tensor.py and conv_tensor.py have in common.

An operand is lines (rows of A, columns of B) of words along k: a word is one float32, which is rounded to tf32 when it is
used, or two of 16 bits. A block of four warps makes HEIGHT x WIDTH sums, each warp a quarter. Pieces of 16 words come by
copies that run beside the arithmetic, two pieces ahead, into a ring of three in shared memory:

    copy piece n + 2 -> its place     products of the two halves of piece n
    wait until piece n + 1 is there, for this thread; barrier: for all, and none still reads the place of piece n

    along    the operand is contiguous along k             kept as [line][word], read by `matrices`
    across   it is contiguous along the lines, or neither  kept as [word][line], 16 bits as [k][line] and read turned

Groups of 16 bytes change places within a line of 128 bytes, so that neither copies nor reads meet a bank twice. Copies are
of 16 bytes where the operand is aligned, else of a word; what lies outside of the operand becomes 0.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from numpy import float32, int32, int64

from ..jit import T, device
from ..memory import offset
from .gpu import (
    barrier,
    commit,
    copy16,
    copy_word,
    is_aligned,
    matrices,
    matrices_turned,
    mma,
    per_word,
    rounded,
    thread,
    threads,
    wait_copies,
    zeros,
)
from .launch import bound
from .place import minus, over, plus, times
from .team import lane, warp
from .tile import sides

THREADS, WORDS, STAGES, PENDING = 128, 16, 3, 1
HEIGHT, WIDTH, SUMS, ROOM_A, ROOM_B = 128, 128, 128, 6144, 6144  # a variant binds these
EXTENT = 128  # a loader's functions see that of their operand


@device
def bytes_of(count):
    """Bytes of the elements that exist of 16, given how many there are from the first on."""
    return over(times(min(max(int32(count), int32(0)), times(4, per_word(T))), 4), per_word(T))


@device
def words_one_by_one():
    """EXTENT // 8, in a way that the compiler does not know: it should not write out a loop that seldom runs."""
    return over(EXTENT, threads() >> int32(4))


# ---- operands that are contiguous along k


@device
def start_along(p, first, lines, line_step, k_step):
    """(pointer, lines from this thread's first on, its k, 32 lines, k step, place in a piece, whether groups are aligned)."""
    line, group = int32(thread() >> int32(2)), int32(thread() & int32(3))
    k = times(group, times(4, per_word(T)))
    q = offset(p, int64(plus(first, line)) * line_step + int64(k) * k_step)
    place = plus(times(line, WORDS), times(group ^ int32(int32(line >> int32(1)) & int32(3)), 4))
    quick = k_step == 1 and line_step & int64(times(4, per_word(T)) - 1) == 0 and is_aligned(p)
    return q, minus(minus(lines, first), line), k, line_step * 32, k_step, place, quick


@device
def fetch_along(room, operand, stage, k, last):
    q, lines, ahead, step, k_step, place, quick = operand
    at, left = plus(times(stage, EXTENT * WORDS), place), minus(minus(last, k), ahead)
    piece = offset(q, int64(k) * k_step)
    if quick:
        for i in range(EXTENT // 32):
            count = left if int32(32 * i) < lines else int32(0)
            copy16(room, plus(at, 32 * WORDS * i), piece, i * step, bytes_of(count))
        return
    n = int32(0)
    while n < words_one_by_one():
        i, e = int32(n >> int32(2)), int32(n & int32(3))
        before, count = times(e, per_word(T)), left if times(32, i) < lines else int32(0)
        from_first = int64(i) * step + int64(before) * k_step
        copy_word(room, plus(plus(at, times(32 * WORDS, i)), e), piece, from_first, k_step, minus(count, before))
        n = plus(n, 1)


@device
def left_along(room, stage, row, half, i):
    """The words of A in rows `row` + 16 i .. + 16 and half a piece."""
    line = plus(plus(row, 16 * i), lane() & int32(15))
    group = int32(plus(2 * half, lane() >> int32(4)) ^ int32(int32(lane() >> int32(1)) & int32(3)))
    return matrices(room, plus(plus(times(stage, EXTENT * WORDS), times(line, WORDS)), times(group, 4)))


@device
def right_along(room, stage, col, half, i):
    """The words of B in columns `col` + 16 i .. + 16 and half a piece: those of the first 8 columns, then the others'."""
    line = plus(plus(col, 16 * i), plus(lane() & int32(7), times(lane() >> int32(4), 8)))
    group = int32(plus(2 * half, int32(lane() >> int32(3)) & int32(1)) ^ int32(int32(lane() >> int32(1)) & int32(3)))
    return matrices(room, plus(plus(times(stage, EXTENT * WORDS), times(line, WORDS)), times(group, 4)))


# ---- operands that are contiguous along the lines


@device
def start_across(p, first, lines, line_step, k_step):
    """(pointer, lines from this thread's first on, its k, k of the next group, k step, place, whether aligned, line step)."""
    groups = over(EXTENT // 4, per_word(T))
    k = over(thread(), groups)
    group = minus(thread(), times(k, groups))
    line = plus(first, times(group, times(4, per_word(T))))
    q = offset(p, int64(line) * line_step + int64(k) * k_step)
    moved = group ^ (times(k & int32(3), 2) if per_word(T) == 1 else k & int32(7))
    place = plus(times(k, over(EXTENT, per_word(T))), times(moved, 4))
    quick = line_step == 1 and k_step & int64(times(4, per_word(T)) - 1) == 0 and is_aligned(p)
    return q, minus(lines, line), k, over(THREADS, groups), k_step, place, quick, line_step


@device
def fetch_across(room, operand, stage, k, last):
    q, lines, deep, ahead, k_step, place, quick, line_step = operand
    at, left = plus(times(stage, EXTENT * WORDS), place), minus(minus(last, k), deep)
    piece = offset(q, int64(k) * k_step)
    if quick:
        for i in range(EXTENT // 32):
            count = lines if times(i, ahead) < left else int32(0)
            copy16(room, plus(at, THREADS * 4 * i), piece, int64(times(i, ahead)) * k_step, bytes_of(count))
        return
    n = int32(0)
    while n < words_one_by_one():
        i, e = int32(n >> int32(2)), int32(n & int32(3))
        before, count = times(e, per_word(T)), lines if times(i, ahead) < left else int32(0)
        from_first = int64(times(i, ahead)) * k_step + int64(before) * line_step
        copy_word(room, plus(plus(at, times(THREADS * 4, i)), e), piece, from_first, line_step, minus(count, before))
        n = plus(n, 1)


@device
def spread(c):
    """Where the lines 8 c .. 8 c + 8 of 32 are in a word of tf32, for this lane."""
    return plus(times(int32(c) ^ int32(lane() & int32(3)), 8), lane() >> int32(2))


@device
def turned_place(stage, line, k):
    """Place of 8 numbers of 16 bits along the lines, from `line` on, at this k of a piece; those 16 i further: with 8 i of other bits."""
    group = int32(line >> int32(3)) ^ int32(k & int32(7))
    return plus(plus(times(stage, EXTENT * WORDS), times(k, EXTENT // 2)), times(group, 4))


@device
def read_across(room, stage, first, half, i, line, k):
    """Words of lines `first` + 16 i .. + 16 and half a piece.

    tf32: this lane's, of the first 8 lines and of the others, at one k and 4 further. 16 bits: `line` and `k` say where the
    line of a matrix begins that this lane points to, counted from the first ones.
    """
    if per_word(T) == 1:
        deep = plus(stage * WORDS, plus(8 * half, lane() & int32(3)))
        at = plus(times(deep, EXTENT), plus(first, 32 * (i >> 1)))
        one, two = plus(at, spread(2 * (i & 1))), plus(at, spread(2 * (i & 1) + 1))
        return room[one], room[two], room[plus(one, 4 * EXTENT)], room[plus(two, 4 * EXTENT)]
    return matrices_turned(room, int32(turned_place(stage, plus(first, line), plus(16 * half, k)) ^ int32(8 * i)))


@device
def left_across(room, stage, row, half, i):
    low, eight, high = lane() & int32(7), int32(lane() & int32(8)), times(lane() >> int32(4), 8)
    return read_across(room, stage, row, half, i, eight, plus(high, low))


@device
def right_across(room, stage, col, half, i):
    low, eight, high = lane() & int32(7), int32(lane() & int32(8)), times(lane() >> int32(4), 8)
    words = read_across(room, stage, col, half, i, high, plus(eight, low))
    return (words[0], words[2], words[1], words[3]) if per_word(T) == 1 else words


class Loader(NamedTuple):
    """How an operand comes from memory and is kept; see above."""

    start: Any
    fetch: Any
    across: bool


ALONG, ACROSS = Loader(start_along, fetch_along, False), Loader(start_across, fetch_across, True)


# ---- the product: a variant binds these names for A and for B

start_a, start_b, fetch_a, fetch_b, left, right = start_along, start_along, fetch_along, fetch_along, left_along, right_along


@device
def rows_of_64(room, stage, row, half):
    return left(room, stage, row, half, 0) + left(room, stage, row, half, 1) + left(room, stage, row, half, 2) + left(room, stage, row, half, 3)


@device
def rows_of_32(room, stage, row, half):
    return left(room, stage, row, half, 0) + left(room, stage, row, half, 1)


rows = rows_of_64


@device
def columns(room, stage, col, half):
    return right(room, stage, col, half, 0) + right(room, stage, col, half, 1) + right(room, stage, col, half, 2) + right(room, stage, col, half, 3)


@device
def warp_row():
    return times(warp() & int32(1), HEIGHT // 2)


@device
def warp_col():
    return times(warp() >> int32(1), WIDTH // 2)


@device
def following(stage):
    """The next place in the ring."""
    return int32(0) if stage == int32(STAGES - 1) else plus(stage, 1)


@device
def accumulate(operand_a, operand_b, last, room_a, room_b):
    """This thread's sums over k in 0..last (int32): for 16 rows after 16 rows and 8 columns after 8 columns, `mma`'s four."""
    row, col, deep = warp_row(), warp_col(), times(WORDS, per_word(T))
    sums, k, done, now, ahead = zeros(SUMS, float32), int32(0), int32(0), int32(0), int32(STAGES - 1)
    for stage in range(STAGES - 1):
        if k < last:
            fetch_a(room_a, operand_a, int32(stage), k, last)
            fetch_b(room_b, operand_b, int32(stage), k, last)
        commit()
        k = plus(k, deep)
    wait_copies(PENDING)
    barrier()
    while done < last:
        if k < last:  # the place of the piece before the last barrier, which nobody reads any more
            fetch_a(room_a, operand_a, ahead, k, last)
            fetch_b(room_b, operand_b, ahead, k, last)
        commit()
        a, b = rows(room_a, now, row, 0), columns(room_b, now, col, 0)
        sums = mma(sums, rounded(a, T), rounded(b, T), T)
        a, b = rows(room_a, now, row, 1), columns(room_b, now, col, 1)  # the compiler reads them earlier, as registers permit
        sums = mma(sums, rounded(a, T), rounded(b, T), T)
        wait_copies(PENDING)
        barrier()
        now, ahead = following(now), following(ahead)
        k, done = plus(k, deep), plus(done, deep)
    return sums


def shaped(height: int, name: str, one: Loader, other: Loader) -> dict[str, Any]:
    """The names that a kernel with tiles of `height` x 128 and these loaders sees; `name` tells them from those of others."""
    known: dict[str, Any] = {"HEIGHT": height, "SUMS": height, "ROOM_A": STAGES * WORDS * height, "rows": rows_of_64}

    def specialised(function: Any, role: str = "", **names: Any) -> Any:
        return device(bound(function.py, f"{name}_{function.name}{role}", **known, **names))

    for role, loader, extent in (("_a", one, height), ("_b", other, 128)):
        names: dict[str, Any] = {"EXTENT": extent}
        names |= {f.name: specialised(f, role, **names) for f in (words_one_by_one, turned_place)}
        names["read_across"] = specialised(read_across, role, **names)
        known["start" + role] = specialised(loader.start, role, **names)
        known["fetch" + role] = specialised(loader.fetch, role, **names)
        readers = (left_across, right_across) if loader.across else (left_along, right_along)
        side = "left" if role == "_a" else "right"
        known[side] = specialised(readers[side == "right"], role, **names)
    known["rows"] = specialised(rows_of_64 if height == 128 else rows_of_32)
    for function in (sides, columns, warp_row, accumulate):
        known[function.name] = specialised(function)
    return known
