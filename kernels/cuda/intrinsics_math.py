"""The numba intrinsics of scalar mathematics and register tiles: the second half of intrinsics.py."""

from __future__ import annotations

from llvmlite import ir
from numba.cuda import types
from numba.cuda.core.errors import TypingError
from numba.cuda.extending import intrinsic

from .intrinsics import I1, I64, call_function, constant, dtype_of, literal_intrinsic, need_pointer

# ---- scalars ----------------------------------------------------------------------------------------------


@intrinsic
def fma(typingctx, a, b, c):
    if not (isinstance(a, types.Float) and a == b == c):
        raise TypingError(f"fma needs three floats of one type, got {a}, {b}, {c}")

    def gen(context, builder, sig, args):
        return call_function(builder, f"llvm.fma.f{a.bitwidth}", args[0].type, args)

    return a(a, a, a), gen


@intrinsic
def roundeven(typingctx, x):
    if not isinstance(x, types.Float):
        raise TypingError(f"roundeven needs a float, got {x}")

    def gen(context, builder, sig, args):
        # libdevice's, to nearest even: NVVM knows neither llvm.rint nor llvm.roundeven
        return call_function(builder, "__nv_rintf" if x.bitwidth == 32 else "__nv_rint", args[0].type, args)

    return x(x), gen


@intrinsic
def bitcast(typingctx, x, dtype):
    result = dtype_of(dtype)
    if result.bitwidth != x.bitwidth:
        raise TypingError(f"bitcast between different sizes: {x} to {result}")

    def gen(context, builder, sig, args):
        return builder.bitcast(args[0], context.get_value_type(result))

    return result(x, dtype), gen


@intrinsic
def select(typingctx, condition, a, b):
    if a != b:
        raise TypingError(f"select needs two values of one type, got {a} and {b}")

    def gen(context, builder, sig, args):
        flag = context.cast(builder, args[0], condition, types.boolean)
        flag = builder.trunc(flag, I1) if flag.type != I1 else flag
        return builder.select(flag, args[1], args[2])

    return a(condition, a, a), gen


@intrinsic
def quotient(typingctx, a, b):
    """a // b of non-negative integers, b > 0, without Python's checks."""

    def gen(context, builder, sig, args):
        return builder.udiv(args[0], args[1])

    return types.int64(types.int64, types.int64), gen


@intrinsic
def independent(typingctx):
    """A promise to the CPU's vectoriser; nothing here."""

    def gen(context, builder, sig, args):
        return context.get_dummy_value()

    return types.void(), gen


def _libdevice(name, arity=1):
    """The function `__nv_<name>` of libdevice for float64, `__nv_<name>f` for float32."""

    def typed(kinds):
        if not isinstance(kinds[0], types.Float) or any(k != kinds[0] for k in kinds):
            raise TypingError(f"{name} needs floats of one type, got {kinds}")

        def gen(context, builder, sig, args):
            suffix = "f" if kinds[0].bitwidth == 32 else ""
            return call_function(
                builder, f"__nv_{name}{suffix}", context.get_value_type(sig.return_type), args
            )

        return kinds[0](*kinds), gen

    if arity == 1:

        @intrinsic
        def call(typingctx, x):
            return typed((x,))
    else:

        @intrinsic
        def call(typingctx, x, y):
            return typed((x, y))

    return call


exp, exp2, expm1, log, log2 = map(_libdevice, ("exp", "exp2", "expm1", "log", "log2"))
log10, log1p, sqrt, rsqrt = map(_libdevice, ("log10", "log1p", "sqrt", "rsqrt"))
sin, cos, tan, asin, acos, atan = map(_libdevice, ("sin", "cos", "tan", "asin", "acos", "atan"))
sinh, cosh, tanh, asinh, acosh, atanh = map(_libdevice, ("sinh", "cosh", "tanh", "asinh", "acosh", "atanh"))
erf, erfc, erfinv, normal_cdf, lgamma = map(_libdevice, ("erf", "erfc", "erfinv", "normcdf", "lgamma"))
floor, ceil, trunc, fabs, i0 = map(_libdevice, ("floor", "ceil", "trunc", "fabs", "cyl_bessel_i0"))
power, fmod, atan2 = (_libdevice(name, 2) for name in ("pow", "fmod", "atan2"))
hypot, copysign = (_libdevice(name, 2) for name in ("hypot", "copysign"))
root, round_down, round_up, cut = sqrt, floor, ceil, trunc  # what scalar_base.py calls them


@intrinsic
def pick(typingctx, x, narrow, wide):
    if not isinstance(x, types.Float):
        raise TypingError(f"pick needs a float, got {x}")

    def gen(context, builder, sig, args):
        chosen = args[1] if x.bitwidth == 32 else args[2]
        return context.cast(builder, chosen, types.float64, x)

    return x(x, types.float64, types.float64), gen


# ---- float16, stored as its bits --------------------------------------------------------------------------


@intrinsic
def from_half(typingctx, bits):
    """The float32 of a float16 given as uint16."""
    if bits != types.uint16:
        raise TypingError(f"from_half needs a uint16, got {bits}")

    def gen(context, builder, sig, args):
        kind = ir.FunctionType(ir.FloatType(), [ir.IntType(16)])
        return builder.asm(kind, "cvt.f32.f16 $0, $1;", "=f,h", args, False)

    return types.float32(bits), gen


@intrinsic
def to_half(typingctx, x):
    """The bits of the float16 nearest to a float32, ties to even."""
    if x != types.float32:
        raise TypingError(f"to_half needs a float32, got {x}")

    def gen(context, builder, sig, args):
        kind = ir.FunctionType(ir.IntType(16), [ir.FloatType()])
        return builder.asm(kind, "cvt.rn.f16.f32 $0, $1;", "=h,f", args, False)

    return types.uint16(x), gen


# ---- register tiles ---------------------------------------------------------------------------------------


@literal_intrinsic
def zeros(typingctx, count, dtype):
    result = types.UniTuple(dtype_of(dtype), constant("a register tile", count))

    def gen(context, builder, sig, args):
        zero = ir.Constant(context.get_value_type(result.dtype), 0)
        return context.make_tuple(builder, result, [zero] * result.count)

    return result(count, dtype), gen


@literal_intrinsic
def take(typingctx, p, values, count):
    need_pointer("take", p)
    size, many = len(values), constant("what is taken", count)

    def gen(context, builder, sig, args):
        items = [builder.extract_value(args[1], k) for k in range(size)]
        for k in range(many):
            builder.store(items[k], builder.gep(args[0], [I64(k)]))
        return context.make_tuple(builder, values, items[many:] + items[:many])

    return values(p, values, count), gen


@intrinsic
def fma_outer(typingctx, acc, a, b):
    rows, cols = len(a), len(b)
    if len(acc) != rows * cols or not acc.dtype == a.dtype == b.dtype:
        raise TypingError(f"fma_outer needs len(a) * len(b) accumulators of one dtype, got {acc}, {a}, {b}")

    def gen(context, builder, sig, args):
        name, kind = f"llvm.fma.f{acc.dtype.bitwidth}", context.get_value_type(acc.dtype)
        left = [builder.extract_value(args[1], i) for i in range(rows)]
        right = [builder.extract_value(args[2], j) for j in range(cols)]
        tile = args[0]
        for i in range(rows):
            for j in range(cols):
                at = i * cols + j
                item = call_function(
                    builder, name, kind, [left[i], right[j], builder.extract_value(args[0], at)]
                )
                tile = builder.insert_value(tile, item, at)
        return tile

    return acc(acc, a, b), gen
