"""Random numbers by Philox4x32-10: the CUDA twin of cpu/random.py, with the same words for the same elements.

A thread makes the four words of one counter (state[1] + relative + its number) and the elements that they
fill: four float32, two float64 or int64. So the numbers do not depend on the grid, and are those of the CPU;
normal and exponential ones up to the last digits of libdevice's log.
"""

from numpy import float32, int32, int64, uint32, uint64

from ..cpu.random import below, circle
from ..jit import T, T_ptr, device, f64, i64, i64_ptr, real, u8_ptr
from ..loops import quotient
from ..memory import bitcast
from ..scalar import ceil, log, sqrt
from .gpu import thread
from .index import element
from .launch import ceil_div, kernel

THREADS = 256


def fours_grid(n: int) -> int:
    """A thread for at least every four elements."""
    return ceil_div(ceil_div(n, 4), THREADS)


def pairs_grid(n: int) -> int:
    """A thread for at least every two elements: it may get four, and the others none."""
    return ceil_div(ceil_div(n, 2), THREADS)


@device
def philox(state, counter):
    """The four random words of counter state[1] + counter with the key state[0]."""
    seed, at = uint64(state[0]), uint64(state[1] + counter)
    c0, c1, c2, c3 = uint32(at), uint32(at >> uint64(32)), uint32(0), uint32(0)
    k0, k1 = uint32(seed), uint32(seed >> uint64(32))
    for _ in range(10):
        p0, p1 = uint64(uint32(0xD2511F53)) * uint64(c0), uint64(uint32(0xCD9E8D57)) * uint64(c2)
        c0 = uint32(uint32(uint32(p1 >> uint64(32)) ^ c1) ^ k0)
        c2 = uint32(uint32(uint32(p0 >> uint64(32)) ^ c3) ^ k1)
        c1, c3 = uint32(p1), uint32(p0)
        k0, k1 = uint32(k0 + uint32(0x9E3779B9)), uint32(k1 + uint32(0xBB67AE85))
    return c0, c1, c2, c3


@device
def is_wide():
    """Whether T is float64, whose elements take two words."""
    return T(1) + T(1e-12) > T(1)


@device
def unit(a, b):
    """Uniform in [0, 1): the upper 24 bits of word a, or 53 bits of both if T is float64."""
    if is_wide():
        return (T(int32(a >> uint32(5))) * T(2.0**26) + T(int32(b >> uint32(6)))) * T(2.0**-53)
    return T(int32(a >> uint32(8))) * T(2.0**-24)


@device
def units(state, relative, c):
    """Four uniforms of counter c; only two of them (0 and 1) if T is float64."""
    w = philox(state, relative + c)
    if is_wide():
        return unit(w[0], w[1]), unit(w[2], w[3]), T(0), T(0)
    return unit(w[0], w[0]), unit(w[1], w[1]), unit(w[2], w[2]), unit(w[3], w[3])


@device
def has_elements(c, n):
    """Whether counter c fills any of n elements."""
    return (c * 2 if is_wide() else c * 4) < n


@device
def put(y, c, n, a, b, d, e):
    """Store the elements of counter c: two if T is float64, else four, those below n."""
    i = c * 2 if is_wide() else c * 4
    if i < n:
        y[i] = a
    if i + 1 < n:
        y[i + 1] = b
    if not is_wide():
        if i + 2 < n:
            y[i + 2] = d
        if i + 3 < n:
            y[i + 3] = e


@kernel(grid=pairs_grid, threads=THREADS)
def uniform(y: T_ptr, state: i64_ptr, relative: i64, n: i64, low: real, high: real):
    """y[n] uniform in [low, high)."""
    c, span = element(), high - low
    if has_elements(c, n):
        u = units(state, relative, c)
        put(y, c, n, low + span * u[0], low + span * u[1], low + span * u[2], low + span * u[3])


@device
def two_normals(u, v, mean, std):
    """Box and Muller's pair from two uniforms; 1 - u is in (0, 1], so that the logarithm is finite."""
    radius = std * sqrt(T(-2) * log(T(1) - u))
    cosine, sine = circle(v)
    return mean + radius * cosine, mean + radius * sine


@kernel(grid=pairs_grid, threads=THREADS)
def normal(y: T_ptr, state: i64_ptr, relative: i64, n: i64, mean: real, std: real):
    """y[n] normal (Box and Muller 1958): elements 2k and 2k + 1 come from the same pair of uniforms."""
    c = element()
    if has_elements(c, n):
        u = units(state, relative, c)
        a, b = two_normals(u[0], u[1], mean, std)
        d, e = T(0), T(0)
        if not is_wide():
            d, e = two_normals(u[2], u[3], mean, std)
        put(y, c, n, a, b, d, e)


@kernel(grid=pairs_grid, threads=THREADS)
def exponential(y: T_ptr, state: i64_ptr, relative: i64, n: i64, rate: real):
    """y[n] exponential with the given rate."""
    c = element()
    if not has_elements(c, n):
        return
    u = units(state, relative, c)
    a, b = -log(T(1) - u[0]) / rate, -log(T(1) - u[1]) / rate
    put(y, c, n, a, b, -log(T(1) - u[2]) / rate, -log(T(1) - u[3]) / rate)


@kernel(grid=pairs_grid, threads=THREADS)
def randint(y: i64_ptr, state: i64_ptr, relative: i64, n: i64, low: i64, high: i64):
    """y[n] uniform integers in [low, high); two words each."""
    c = element()
    if 2 * c < n:
        w = philox(state, relative + c)
        y[2 * c] = low + below(w[0], w[1], high - low)
        if 2 * c + 1 < n:
            y[2 * c + 1] = low + below(w[2], w[3], high - low)


@device
def threshold(p):
    """The integer t such that word < t just when word / 2**32 < p, for the float64 p; from its bits."""
    bits = bitcast(p, int64)
    exponent = int64(int64(bits >> int64(52)) & int64(2047)) - int64(1023)
    digits = (bits & int64((1 << 52) - 1)) | int64(1 << 52)  # p = digits * 2**(exponent - 52)
    cut = int64(20) - exponent  # p * 2**32 = digits * 2**-cut, rounded up
    rounded = (digits + ((int64(1) << min(cut, int64(53))) - int64(1))) >> min(cut, int64(53))
    return rounded if bits > int64(0) else int64(0)


@device
def flags(state, relative, c, t):
    """For each of the four words of counter c whether it is below t."""
    w = philox(state, relative + c)
    return int64(w[0]) < t, int64(w[1]) < t, int64(w[2]) < t, int64(w[3]) < t


@kernel(grid=fours_grid, threads=THREADS)
def bernoulli(y: T_ptr, state: i64_ptr, relative: i64, n: i64, p: f64):
    """y[n] = 1 with probability p, else 0; one word each, for every dtype."""
    c, t = element(), threshold(p)
    f = flags(state, relative, c, t)
    for k in range(4):
        if 4 * c + k < n:
            hit = f[0] if k == 0 else f[1] if k == 1 else f[2] if k == 2 else f[3]
            y[4 * c + k] = T(1) if hit else T(0)


@kernel(grid=fours_grid, threads=THREADS)
def bernoulli_tensor(y: T_ptr, p: T_ptr, state: i64_ptr, relative: i64, n: i64):
    """y[n] = 1 with probability p[i], else 0; one word each."""
    c = element()
    w = philox(state, relative + c)
    for k in range(4):
        i = 4 * c + k
        if i < n:
            word = w[0] if k == 0 else w[1] if k == 1 else w[2] if k == 2 else w[3]
            y[i] = T(1) if int64(word) < int64(ceil(p[i] * T(4294967296.0))) else T(0)


@kernel(grid=fours_grid, threads=THREADS)
def dropout(y: T_ptr, mask: u8_ptr, x: T_ptr, state: i64_ptr, relative: i64, n: i64, p: f64, scale: real):
    """mask[n] = 0 with probability p, else 1; y = x * mask * scale; one word each. y may be x."""
    c, t = element(), threshold(p)
    f = flags(state, relative, c, t)
    for k in range(4):
        i = 4 * c + k
        if i < n:
            dropped = f[0] if k == 0 else f[1] if k == 1 else f[2] if k == 2 else f[3]
            mask[i] = 0 if dropped else 1
            y[i] = x[i] * (T(0) if dropped else scale)


@kernel(grid=lambda: 1, threads=32)
def randperm(y: i64_ptr, state: i64_ptr, relative: i64, n: i64):
    """y[n] = a random order of 0..n-1 (Fisher and Yates, as in Durstenfeld 1964): one thread."""
    if thread() == 0:
        i = int64(0)
        while i < n:
            y[i] = i
            i += 1
        k = int64(0)
        while k < n:
            i = n - 1 - k
            w = philox(state, relative + (k >> int64(1)))
            odd = (k & int64(1)) == 1
            j = below(w[2] if odd else w[0], w[3] if odd else w[1], i + 1)
            kept = y[i]
            y[i] = y[j]
            y[j] = kept
            k += 1


@device
def fixed(x, last):
    """The float32 x >= 0 in units of 2**-62 of the largest power of two that `last` >= x holds."""
    own, its = bitcast(x, int32), bitcast(last, int32)
    e, top = max(own >> int32(23), int32(1)), max(its >> int32(23), int32(1))
    digits = int64(own & int32(0x7FFFFF)) | (int64(0) if own < int32(0x800000) else int64(0x800000))
    return int64(digits << int64(39)) >> int64(min(int32(top - e), int32(63)))


@device
def product_below(a, high, low):
    """The integer at or below a * u, u = (high * 2**26 + low) * 2**-53, for a < 2**63, high < 2**27, low < 2**26."""
    u = (uint64(high) << uint64(37)) | (uint64(low) << uint64(11))  # u * 2**64
    half, mask = uint64(32), uint64(0xFFFFFFFF)
    a1, a0, u1, u0 = uint64(a) >> half, uint64(a) & mask, u >> half, u & mask
    middle = a1 * u0 + ((a0 * u0) >> half)
    return int64(a1 * u1 + (middle >> half) + ((a0 * u1 + (middle & mask)) >> half))


@kernel(grid=lambda rows, samples: ceil_div(rows * samples, THREADS), threads=THREADS)
def multinomial(y: i64_ptr, total: T_ptr, state: i64_ptr, relative: i64, rows: i64, n: i64, samples: i64):
    """y[rows, samples] drawn with replacement; total[rows, n] holds cumulative weights; two words each."""
    i = element()
    if i < rows * samples:
        w = philox(state, relative + (i >> int64(1)))
        odd = (i & int64(1)) == 1
        high = int32((w[2] if odd else w[0]) >> uint32(5))
        low = int32((w[3] if odd else w[1]) >> uint32(6))
        first = quotient(i, samples) * n
        last = total[first + n - 1]
        aim = (T(high) * T(2.0**26) + T(low)) * T(2.0**-53) * last  # if T is float64
        exact = product_below(fixed(float32(last), float32(last)), high, low)  # the same for float32, in integers
        left, right = int64(0), n - 1
        while left < right:
            middle = (left + right) >> int64(1)
            value = total[first + middle]
            beyond = value > aim if is_wide() else fixed(float32(value), float32(last)) > exact
            if beyond:
                right = middle
            else:
                left = middle + 1
        y[i] = left


@kernel(grid=lambda: 1, threads=32)
def advance(state: i64_ptr, count: i64):
    """state[1] += count; after all launches that read this state."""
    if thread() == 0:
        state[1] += count
