"""Random numbers by Philox4x32-10 (Salmon, Moraes, Dror, Shaw: Parallel Random Numbers, SC 2011).

Counter based: word j of a launch is word j % 4 of the block with counter state[1] + relative + j // 4 and key
state[0], so that the numbers depend on neither chunks nor device. `state` lies in memory (seed, offset): a
replayed program draws fresh numbers, and `advance` moves the offset. Elements use one word, or two where they
hold more than 32 random bits (float64, int64): `counters` says how far an n-element launch must advance.
"""

from numpy import int32, int64, uint32, uint64

from ..jit import T, T_ptr, device, f64, i64, i64_ptr, kernel, real, u8_ptr
from ..memory import select, split, stack
from ..scalar import log, sqrt

WORDS = 1024  # words made at a time, on the stack


def counters(n: int, T: str) -> int:
    """How many counters n elements of dtype T use: four float32 or two float64 or int64 elements each."""
    return -(-n // 2) if T in ("float64", "int64") else -(-n // 4)


@device
def philox(words, state, counter, blocks):
    """words[4 * blocks] = the random words of `blocks` counters from state[1] + counter."""
    mask, half = uint64(0xFFFFFFFF), uint64(32)
    seed = uint64(state[0])
    for i in range(blocks):
        at = uint64(state[1] + counter + i)
        c0, c1, c2, c3 = at & mask, at >> half, uint64(0), uint64(0)
        k0, k1 = seed & mask, seed >> half
        for _ in range(10):
            p0 = uint64(0xD2511F53) * c0
            p1 = uint64(0xCD9E8D57) * c2
            c0, c1, c2, c3 = (p1 >> half) ^ c1 ^ k0, p1 & mask, (p0 >> half) ^ c3 ^ k1, p0 & mask
            k0, k1 = (k0 + uint64(0x9E3779B9)) & mask, (k1 + uint64(0xBB67AE85)) & mask
        words[4 * i] = uint32(c0)
        words[4 * i + 1] = uint32(c1)
        words[4 * i + 2] = uint32(c2)
        words[4 * i + 3] = uint32(c3)


@device
def words_each():
    """Words used by one element: 2 if T is float64."""
    return 2 if T(1) + T(1e-12) > T(1) else 1


@device
def unit(words, i):
    """Element i uniform in [0, 1): 24 random bits, or 53 if T is float64."""
    if T(1) + T(1e-12) > T(1):
        high, low = int32(words[2 * i] >> uint32(5)), int32(words[2 * i + 1] >> uint32(6))
        return (T(high) * T(2.0**26) + T(low)) * T(2.0**-53)
    return T(int32(words[i] >> uint32(8))) * T(2.0**-24)


@kernel
def uniform(y: T_ptr, state: i64_ptr, relative: i64, n: i64, low: real, high: real, chunk: i64, nchunks: i64):
    """y[n] uniform in [low, high); units: pieces of WORDS words."""
    words = stack(WORDS, uint32)
    size = WORDS // words_each()
    lo, hi = split((n + size - 1) // size, chunk, nchunks)
    for piece in range(lo, hi):
        philox(words, state, relative + piece * (WORDS // 4), WORDS // 4)
        count = n - piece * size if n - piece * size < size else size
        for i in range(count):
            y[piece * size + i] = low + (high - low) * unit(words, i)


@device
def circle(u):
    """(cos, sin) of 2 pi u for u in [0, 1): exact reduction to an eighth turn, then Cephes polynomials."""
    quarter = int32(u * T(4) + T(0.5))
    r = (u - T(quarter) * T(0.25)) * T(6.283185307179586)
    v = r * r
    s = T(1.58962301576546568060e-10)
    s = s * v - T(2.50507477628578072866e-8)
    s = s * v + T(2.75573136213857245213e-6)
    s = s * v - T(1.98412698295895385996e-4)
    s = s * v + T(8.33333333332211858878e-3)
    s = r + r * v * (s * v - T(1.66666666666666307295e-1))
    c = T(-1.13585365213876817300e-11)
    c = c * v + T(2.08757008419747316778e-9)
    c = c * v - T(2.75573141792967388112e-7)
    c = c * v + T(2.48015872888517045348e-5)
    c = c * v - T(1.38888888888730564116e-3)
    c = c * v + T(4.16666666666665929218e-2)
    c = T(1) - v * T(0.5) + v * v * c
    odd = (quarter & int32(1)) == int32(1)
    cosine = select(odd, s, c)
    sine = select(odd, c, s)
    cosine = select(((quarter + int32(1)) & int32(2)) != int32(0), -cosine, cosine)
    return cosine, select((quarter & int32(2)) != int32(0), -sine, sine)


@kernel
def normal(y: T_ptr, state: i64_ptr, relative: i64, n: i64, mean: real, std: real, chunk: i64, nchunks: i64):
    """y[n] normal (Box and Muller 1958): elements 2k and 2k + 1 come from the same pair of uniforms."""
    words = stack(WORDS, uint32)
    z = stack(WORDS, T)
    size = WORDS // words_each()
    lo, hi = split((n + size - 1) // size, chunk, nchunks)
    for piece in range(lo, hi):
        philox(words, state, relative + piece * (WORDS // 4), WORDS // 4)
        for k in range(size // 2):
            # 1 - u is in (0, 1], so that the logarithm is finite
            radius = std * sqrt(T(-2) * log(T(1) - unit(words, 2 * k)))
            cosine, sine = circle(unit(words, 2 * k + 1))
            z[2 * k] = mean + radius * cosine
            z[2 * k + 1] = mean + radius * sine
        count = n - piece * size if n - piece * size < size else size
        for i in range(count):
            y[piece * size + i] = z[i]


@kernel
def exponential(y: T_ptr, state: i64_ptr, relative: i64, n: i64, rate: real, chunk: i64, nchunks: i64):
    """y[n] exponential with the given rate."""
    words = stack(WORDS, uint32)
    size = WORDS // words_each()
    lo, hi = split((n + size - 1) // size, chunk, nchunks)
    for piece in range(lo, hi):
        philox(words, state, relative + piece * (WORDS // 4), WORDS // 4)
        count = n - piece * size if n - piece * size < size else size
        for i in range(count):
            y[piece * size + i] = -log(T(1) - unit(words, i)) / rate


@device
def below(high_word, low_word, bound):
    """An integer in [0, bound) from 64 random bits: their product with the bound, without its low 64 bits."""
    a, b, n = uint64(high_word), uint64(low_word), uint64(bound)
    if n >> uint64(32) != uint64(0):
        return int64(((a << uint64(32)) | b) % n)
    return int64((a * n + ((b * n) >> uint64(32))) >> uint64(32))


@kernel
def randint(y: i64_ptr, state: i64_ptr, relative: i64, n: i64, low: i64, high: i64, chunk: i64, nchunks: i64):
    """y[n] uniform integers in [low, high); two words each."""
    words = stack(WORDS, uint32)
    size = WORDS // 2
    lo, hi = split((n + size - 1) // size, chunk, nchunks)
    for piece in range(lo, hi):
        philox(words, state, relative + piece * (WORDS // 4), WORDS // 4)
        count = n - piece * size if n - piece * size < size else size
        for i in range(count):
            y[piece * size + i] = low + below(words[2 * i], words[2 * i + 1], high - low)


@kernel
def bernoulli(y: T_ptr, state: i64_ptr, relative: i64, n: i64, p: f64, chunk: i64, nchunks: i64):
    """y[n] = 1 with probability p, else 0; one word each, for every dtype."""
    words = stack(WORDS, uint32)
    lo, hi = split((n + WORDS - 1) // WORDS, chunk, nchunks)
    for piece in range(lo, hi):
        philox(words, state, relative + piece * (WORDS // 4), WORDS // 4)
        count = n - piece * WORDS if n - piece * WORDS < WORDS else WORDS
        for i in range(count):
            y[piece * WORDS + i] = T(1 if words[i] * 2.0**-32 < p else 0)


@kernel
def bernoulli_tensor(y: T_ptr, p: T_ptr, state: i64_ptr, relative: i64, n: i64, chunk: i64, nchunks: i64):
    """y[n] = 1 with probability p[i], else 0; one word each."""
    words = stack(WORDS, uint32)
    lo, hi = split((n + WORDS - 1) // WORDS, chunk, nchunks)
    for piece in range(lo, hi):
        philox(words, state, relative + piece * (WORDS // 4), WORDS // 4)
        count = n - piece * WORDS if n - piece * WORDS < WORDS else WORDS
        for i in range(count):
            at = piece * WORDS + i
            y[at] = T(1 if words[i] * 2.0**-32 < p[at] else 0)


@kernel
def dropout(
    y: T_ptr, mask: u8_ptr, x: T_ptr, state: i64_ptr, relative: i64, n: i64, p: f64, scale: real,
    chunk: i64, nchunks: i64,
):  # fmt: skip
    """mask[n] = 0 with probability p, else 1; y = x * mask * scale; one word each. y may be x."""
    words, kept = stack(WORDS, uint32), stack(WORDS, T)
    lo, hi = split((n + WORDS - 1) // WORDS, chunk, nchunks)
    for piece in range(lo, hi):
        philox(words, state, relative + piece * (WORDS // 4), WORDS // 4)
        start = piece * WORDS
        count = n - start if n - start < WORDS else WORDS
        for i in range(count):
            mask[start + i] = 1 if words[i] * 2.0**-32 >= p else 0
        # by way of the stack, so that the loops vectorise even if y is x
        for i in range(count):
            kept[i] = x[start + i] * (T(mask[start + i]) * scale)
        for i in range(count):
            y[start + i] = kept[i]


@kernel
def dropout_mask(mask: u8_ptr, state: i64_ptr, relative: i64, n: i64, p: f64, chunk: i64, nchunks: i64):
    """The mask of `dropout` alone: mask[n] = 0 with probability p, else 1; one word each."""
    words = stack(WORDS, uint32)
    lo, hi = split((n + WORDS - 1) // WORDS, chunk, nchunks)
    for piece in range(lo, hi):
        philox(words, state, relative + piece * (WORDS // 4), WORDS // 4)
        start = piece * WORDS
        for i in range(n - start if n - start < WORDS else WORDS):
            mask[start + i] = 1 if words[i] * 2.0**-32 >= p else 0


@kernel
def randperm(y: i64_ptr, state: i64_ptr, relative: i64, n: i64, chunk: i64, nchunks: i64):
    """y[n] = a random order of 0..n-1 (Fisher and Yates, as in Durstenfeld 1964); run as one chunk."""
    words = stack(WORDS, uint32)
    if chunk == 0:
        for i in range(n):
            y[i] = i
        for piece in range((n + WORDS // 2 - 1) // (WORDS // 2)):
            philox(words, state, relative + piece * (WORDS // 4), WORDS // 4)
            start = piece * (WORDS // 2)
            count = n - start if n - start < WORDS // 2 else WORDS // 2
            for k in range(count):
                i = n - 1 - start - k
                j = below(words[2 * k], words[2 * k + 1], i + 1)
                kept = y[i]
                y[i] = y[j]
                y[j] = kept


@kernel
def multinomial(
    y: i64_ptr, total: T_ptr, state: i64_ptr, relative: i64, rows: i64, n: i64, samples: i64,
    chunk: i64, nchunks: i64,
):  # fmt: skip
    """y[rows, samples] drawn with replacement; total[rows, n] holds cumulative weights; two words each."""
    words = stack(4, uint32)
    lo, hi = split(rows * samples, chunk, nchunks)
    for i in range(lo, hi):
        philox(words, state, relative + i // 2, 1)
        high, low = int32(words[i % 2 * 2] >> uint32(5)), int32(words[i % 2 * 2 + 1] >> uint32(6))
        first = i // samples * n
        aim = (high * 2.0**26 + low) * 2.0**-53 * total[first + n - 1]
        left, right = 0, n - 1
        while left < right:
            middle = (left + right) // 2
            if total[first + middle] > aim:
                right = middle
            else:
                left = middle + 1
        y[i] = left


@kernel
def advance(state: i64_ptr, count: i64, chunk: i64, nchunks: i64):
    """state[1] += count; run as one chunk, after all launches that read this state."""
    if chunk == 0:
        state[1] += count
