"""Numba intrinsics behind scalar_base.py: bits of floats, LLVM's functions. Imported only when compiling."""

from __future__ import annotations

import platform

from llvmlite import ir
from numba import types
from numba.core.errors import TypingError
from numba.extending import intrinsic

from .target import target

# ---- floats and their bits ---------------------------------------------------------------------------------

_MANTISSA = {types.float32: 23, types.float64: 52}
_BIAS = {types.float32: 127, types.float64: 1023}
_ROOT_HALF = {types.float32: 0x3F3504F3, types.float64: 0x3FE6A09E667F3BCD}  # bits of sqrt(1/2)
_MAGIC = {types.float32: 0x4B400000, types.float64: 0x4338000000000000}  # bits of 1.5 * 2**23 and 1.5 * 2**52


def _float(what, name):
    if what not in _MANTISSA:
        raise TypingError(f"{name} needs a float32 or float64, got {what}")
    return ir.IntType(what.bitwidth)


def _integer(what):
    return types.int32 if what == types.float32 else types.int64


def _power_of_two(builder, k, kind):
    """2**k as a float, by its bits; k within the normal exponents."""
    biased = builder.add(k, k.type(_BIAS[kind]))
    return builder.bitcast(builder.shl(biased, k.type(_MANTISSA[kind])), _LLVM[kind])


_LLVM = {types.float32: ir.FloatType(), types.float64: ir.DoubleType()}


@intrinsic
def pick(typingctx, x, narrow, wide):
    _float(x, "pick")

    def gen(context, builder, sig, args):
        chosen = args[1] if x == types.float32 else args[2]
        return context.cast(builder, chosen, sig.args[1], x)

    return x(x, types.float64, types.float64), gen


@intrinsic
def nearest_int(typingctx, t):
    bits = _float(t, "nearest_int")

    def gen(context, builder, sig, args):
        return builder.sub(builder.bitcast(args[0], bits), bits(_MAGIC[t]))

    return _integer(t)(t), gen


@intrinsic
def scale(typingctx, y, k):
    bits = _float(y, "scale")

    def gen(context, builder, sig, args):
        half = builder.ashr(args[1], bits(1))
        up = builder.fmul(args[0], _power_of_two(builder, half, y))
        return builder.fmul(up, _power_of_two(builder, builder.sub(args[1], half), y))

    return y(y, _integer(y)), gen


@intrinsic
def power_of_two(typingctx, x, k):
    _float(x, "power_of_two")

    def gen(context, builder, sig, args):
        return _power_of_two(builder, args[1], x)

    return x(x, _integer(x)), gen


@intrinsic
def exponent(typingctx, x):
    bits = _float(x, "exponent")

    def gen(context, builder, sig, args):
        above = builder.sub(builder.bitcast(args[0], bits), bits(_ROOT_HALF[x]))
        return builder.ashr(above, bits(_MANTISSA[x]))

    return _integer(x)(x), gen


@intrinsic
def without_exponent(typingctx, x, k):
    bits = _float(x, "without_exponent")

    def gen(context, builder, sig, args):
        shifted = builder.shl(args[1], bits(_MANTISSA[x]))
        return builder.bitcast(builder.sub(builder.bitcast(args[0], bits), shifted), _LLVM[x])

    return x(x, _integer(x)), gen


@intrinsic
def number(typingctx, x, k):
    _float(x, "number")

    def gen(context, builder, sig, args):
        return builder.sitofp(args[1], _LLVM[x])

    return x(x, _integer(x)), gen


def _unary(name):
    """The intrinsic for LLVM's own function `llvm.<name>` of one float."""

    def unary(typingctx, x):
        _float(x, name)

        def gen(context, builder, sig, args):
            kind = args[0].type
            return builder.call(
                builder.module.declare_intrinsic(f"llvm.{name}", [kind], ir.FunctionType(kind, [kind])), args
            )

        return x(x), gen

    unary.__name__ = name
    return intrinsic(unary)


fabs, root, round_down, round_up, cut = (_unary(n) for n in ("fabs", "sqrt", "floor", "ceil", "trunc"))


@intrinsic
def copysign(typingctx, x, y):
    _float(x, "copysign")

    def gen(context, builder, sig, args):
        kind = args[0].type
        return builder.call(
            builder.module.declare_intrinsic("llvm.copysign", [kind], ir.FunctionType(kind, [kind] * 2)), args
        )

    return x(x, x), gen


# ---- float16, stored as its bits ----------------------------------------------------------------------------


@intrinsic
def from_half(typingctx, bits):
    """The float32 of a float16 given as uint16; without the CPU's instruction by F. Giesen's multiplication."""

    def gen(context, builder, sig, args):
        if _has_half():
            return builder.fpext(builder.bitcast(args[0], ir.HalfType()), ir.FloatType())
        word = ir.IntType(32)
        wide = builder.zext(args[0], word)
        moved = builder.shl(builder.and_(wide, word(0x7FFF)), word(13))
        scaled = builder.fmul(builder.bitcast(moved, ir.FloatType()), ir.Constant(ir.FloatType(), 2.0**112))
        special = builder.icmp_unsigned(">=", moved, word(0x7C00 << 13))
        number = builder.select(special, builder.or_(moved, word(0x7F800000)), builder.bitcast(scaled, word))
        sign = builder.shl(builder.and_(wide, word(0x8000)), word(16))
        return builder.bitcast(builder.or_(number, sign), ir.FloatType())

    return types.float32(types.uint16), gen


@intrinsic
def to_half(typingctx, x):
    """The bits of the float16 nearest to a float32, ties to even."""

    def gen(context, builder, sig, args):
        if _has_half():
            return builder.bitcast(builder.fptrunc(args[0], ir.HalfType()), ir.IntType(16))
        word, single = ir.IntType(32), ir.FloatType()
        bits = builder.bitcast(args[0], word)
        sign = builder.and_(bits, word(0x80000000))
        size = builder.xor(bits, sign)
        # Normal numbers: round the last 13 digits away. Small ones: add 1/2, whose last digit is float16's least number.
        odd = builder.and_(builder.lshr(size, word(13)), word(1))
        normal = builder.lshr(builder.add(builder.add(size, word(0xC8000FFF)), odd), word(13))
        added = builder.fadd(builder.bitcast(size, single), ir.Constant(single, 0.5))
        small = builder.sub(builder.bitcast(added, word), word(0x3F000000))
        number = builder.select(builder.icmp_unsigned("<", size, word(0x38800000)), small, normal)
        nan = builder.icmp_unsigned(">", size, word(0x7F800000))
        edge = builder.select(nan, word(0x7E00), word(0x7C00))
        number = builder.select(builder.icmp_unsigned(">=", size, word(0x47800000)), edge, number)
        return builder.trunc(builder.or_(number, builder.lshr(sign, word(16))), ir.IntType(16))

    return types.uint16(types.float32), gen


def _has_half():
    wanted = target()
    return "+f16c" in wanted.features.split(",") or platform.machine().lower() in ("arm64", "aarch64")


@intrinsic
def below_product(typingctx, a, b, p):
    """a * b - p, where p is the rounded product: exact, by fused arithmetic or by Dekker's splitting."""
    _float(a, "below_product")

    def gen(context, builder, sig, args):
        x, y, product = args
        kind = x.type
        if _has_fma():
            fma = builder.module.declare_intrinsic("llvm.fma", [kind], ir.FunctionType(kind, [kind] * 3))
            return builder.call(fma, [x, y, builder.fneg(product)])
        (xh, xl), (yh, yl) = _split(builder, x), _split(builder, y)
        rest = builder.fsub(product, builder.fmul(xh, yh))
        rest = builder.fsub(builder.fsub(rest, builder.fmul(xl, yh)), builder.fmul(xh, yl))
        return builder.fsub(builder.fmul(xl, yl), rest)

    return a(a, a, a), gen


def _has_fma():
    wanted = target()
    return "+fma" in wanted.features.split(",") or platform.machine().lower() in ("arm64", "aarch64")


def _split(builder, x):
    """Two halves of x with half the digits each, by clearing the low bits."""
    bits = ir.IntType(32 if x.type == ir.FloatType() else 64)
    keep = 0xFFFFF000 if bits.width == 32 else 0xFFFFFFFFF8000000
    high = builder.bitcast(builder.and_(builder.bitcast(x, bits), bits(keep)), x.type)
    return high, builder.fsub(x, high)


@intrinsic
def top_digits(typingctx, x):
    _float(x, "top_digits")

    def gen(context, builder, sig, args):
        return _split(builder, args[0])[0]

    return x(x), gen


@intrinsic
def float_remainder(typingctx, a, b):
    _float(a, "float_remainder")

    def gen(context, builder, sig, args):
        return builder.frem(*args)

    return a(a, a), gen
