"""Numba intrinsics behind simd.py. Imported only when compiling."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic, models, register_model

from .intrinsics_cpu import _dtype
from .simd import pair_masks
from .target import target

I32 = ir.IntType(32)
_ELEMENTS = {types.float32: ir.FloatType(), types.float64: ir.DoubleType()}


class VecType(types.Type):
    """A SIMD vector of `lanes` elements of the float type `dtype`."""

    def __init__(self, dtype):
        if dtype not in _ELEMENTS:
            raise TypingError(f"vectors hold float32 or float64, not {dtype}")
        self.dtype, self.lanes = dtype, target().vector_bytes * 8 // dtype.bitwidth
        super().__init__(name=f"vec{self.lanes}x{dtype}")

    @property
    def llvm(self):
        """The LLVM vector type."""
        return ir.VectorType(_ELEMENTS[self.dtype], self.lanes)

    @property
    def suffix(self):
        """The part of an LLVM intrinsic's name that says the vector type."""
        return f"v{self.lanes}f{self.dtype.bitwidth}"


@register_model(VecType)
class _VecModel(models.PrimitiveModel):
    def __init__(self, manager, fe_type):
        super().__init__(manager, fe_type, fe_type.llvm)


def _vec_of_pointer(p):
    if not isinstance(p, types.CPointer):
        raise TypingError(f"expected a pointer, got {p}")
    return VecType(p.dtype)


def _splat(builder, value, lanes):
    one = ir.VectorType(value.type, lanes)
    first = builder.insert_element(ir.Constant(one, ir.Undefined), value, I32(0))
    return builder.shuffle_vector(
        first, ir.Constant(one, ir.Undefined), ir.Constant(ir.VectorType(I32, lanes), [0] * lanes)
    )


def _at(builder, p, k, vec):
    return builder.bitcast(builder.gep(p, [k]), vec.llvm.as_pointer())


def _first_lanes(builder, n, lanes):
    """Mask of the lanes below `n` (an int64 that fits into 32 bits)."""
    numbers = ir.Constant(ir.VectorType(I32, lanes), list(range(lanes)))
    return builder.icmp_signed("<", numbers, _splat(builder, builder.trunc(n, I32), lanes))


def _load(builder, p, k, vec):
    return builder.load(_at(builder, p, k, vec), align=vec.dtype.bitwidth // 8)


def _loadn(builder, p, k, mask, vec):
    at = _at(builder, p, k, vec)
    kind = ir.FunctionType(vec.llvm, [at.type, I32, mask.type, vec.llvm])
    fn = cgutils.get_or_insert_function(builder.module, kind, f"llvm.masked.load.{vec.suffix}.p0")
    return builder.call(fn, [at, I32(vec.dtype.bitwidth // 8), mask, ir.Constant(vec.llvm, [0.0] * vec.lanes)])


def _fma(builder, vec, a, b, c):
    # fmuladd and not fma: without FMA hardware the latter becomes a library call.
    kind = ir.FunctionType(vec.llvm, [vec.llvm] * 3)
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.{vec.suffix}"), [a, b, c])


# ---- constants, loads, stores ----------------------------------------------------------------------------------------


@intrinsic
def vzero(typingctx, dtype):
    vec = VecType(_dtype(dtype))
    return vec(dtype), lambda context, builder, sig, args: ir.Constant(vec.llvm, [0.0] * vec.lanes)


@intrinsic
def vsplat(typingctx, x):
    vec = VecType(x)
    return vec(x), lambda context, builder, sig, args: _splat(builder, args[0], vec.lanes)


@intrinsic
def vload(typingctx, p, k):
    vec = _vec_of_pointer(p)

    return vec(p, types.int64), lambda context, builder, sig, args: _load(builder, *args, vec)


@intrinsic
def vstore(typingctx, p, k, v):
    vec = _vec_of_pointer(p)

    def gen(context, builder, sig, args):
        builder.store(args[2], _at(builder, *args[:2], vec), align=vec.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(p, types.int64, vec), gen


@intrinsic
def vloadn(typingctx, p, k, n):
    vec = _vec_of_pointer(p)

    def gen(context, builder, sig, args):
        return _loadn(builder, *args[:2], _first_lanes(builder, args[2], vec.lanes), vec)

    return vec(p, types.int64, types.int64), gen


@intrinsic
def vevens(typingctx, p, k, n):
    vec = _vec_of_pointer(p)

    def gen(context, builder, sig, args):
        p, k, n = args
        one, lanes = ir.IntType(64)(1), ir.IntType(64)(vec.lanes)
        reach = builder.sub(builder.add(n, n), one)
        low = _loadn(builder, p, k, _first_lanes(builder, reach, vec.lanes), vec)
        rest = _first_lanes(builder, builder.sub(reach, lanes), vec.lanes)
        high = _loadn(builder, p, builder.add(k, lanes), rest, vec)
        mask = ir.Constant(ir.VectorType(I32, vec.lanes), [2 * lane for lane in range(vec.lanes)])
        return builder.shuffle_vector(low, high, mask)

    return vec(p, types.int64, types.int64), gen


@intrinsic
def vstoren(typingctx, p, k, v, n):
    vec = _vec_of_pointer(p)

    def gen(context, builder, sig, args):
        at, mask = _at(builder, *args[:2], vec), _first_lanes(builder, args[3], vec.lanes)
        kind = ir.FunctionType(ir.VoidType(), [vec.llvm, at.type, I32, mask.type])
        fn = cgutils.get_or_insert_function(builder.module, kind, f"llvm.masked.store.{vec.suffix}.p0")
        builder.call(fn, [args[2], at, I32(vec.dtype.bitwidth // 8), mask])
        return context.get_dummy_value()

    return types.void(p, types.int64, vec, types.int64), gen


# ---- arithmetic ------------------------------------------------------------------------------------------------------


def _same(*vs):
    if not isinstance(vs[0], VecType) or any(v != vs[0] for v in vs):
        raise TypingError(f"expected vectors of one type, got {vs}")
    return vs[0]


@intrinsic
def vfma(typingctx, a, b, c):
    vec = _same(a, b, c)

    return vec(vec, vec, vec), lambda context, builder, sig, args: _fma(builder, vec, *args)


@intrinsic
def vadd(typingctx, a, b):
    vec = _same(a, b)
    return vec(vec, vec), lambda context, builder, sig, args: builder.fadd(*args)


@intrinsic
def vsub(typingctx, a, b):
    vec = _same(a, b)
    return vec(vec, vec), lambda context, builder, sig, args: builder.fsub(*args)


def _chosen(place):
    """The intrinsic whose lane i is element `place(i, lanes)` of two vectors, one behind the other."""

    @intrinsic
    def chosen(typingctx, a, b):
        vec = _same(a, b)

        def gen(context, builder, sig, args):
            lanes = [place(i, vec.lanes) for i in range(vec.lanes)]
            return builder.shuffle_vector(*args, ir.Constant(ir.VectorType(I32, vec.lanes), lanes))

        return vec(vec, vec), gen

    return chosen


vpairs = _chosen(lambda i, lanes: i // 2 + i % 2 * lanes)
vpairs_high = _chosen(lambda i, lanes: lanes // 2 + i // 2 + i % 2 * lanes)
vfirsts = _chosen(lambda i, lanes: 2 * i)
vseconds = _chosen(lambda i, lanes: 2 * i + 1)


@intrinsic
def vmul(typingctx, a, b):
    vec = _same(a, b)
    return vec(vec, vec), lambda context, builder, sig, args: builder.fmul(*args)


@intrinsic
def vmaxn(typingctx, v, low):
    vec = _same(v, low)

    def gen(context, builder, sig, args):
        return builder.select(builder.fcmp_ordered("<", *args), args[1], args[0])

    return vec(vec, vec), gen


@intrinsic
def vsum(typingctx, v):
    vec = _same(v)

    def gen(context, builder, sig, args):
        v, lanes = args[0], vec.lanes
        undefined = ir.Constant(vec.llvm, ir.Undefined)
        while lanes > 1:
            lanes //= 2
            mask = ir.Constant(ir.VectorType(I32, vec.lanes), [lanes + i % lanes for i in range(vec.lanes)])
            v = builder.fadd(v, builder.shuffle_vector(v, undefined, mask))
        return builder.extract_element(v, I32(0))

    return vec.dtype(vec), gen


def _sums(builder, rows, vec):
    """The vector whose first lanes are the sums of the vectors `rows`; see simd.pair_masks."""
    count = len(rows)

    def constant(mask):
        return ir.Constant(ir.VectorType(I32, vec.lanes), mask)

    while len(rows) > 1:
        low, high = (constant(mask) for mask in pair_masks(vec.lanes, count // len(rows)))
        pairs = list(zip(rows[::2], rows[1::2]))
        rows = [builder.fadd(builder.shuffle_vector(a, b, low), builder.shuffle_vector(a, b, high)) for a, b in pairs]
    v, lanes = rows[0], vec.lanes
    while lanes > count:
        lanes //= 2
        mask = constant([(lane + lanes) % vec.lanes for lane in range(vec.lanes)])
        v = builder.fadd(v, builder.shuffle_vector(v, ir.Constant(vec.llvm, ir.Undefined), mask))
    return v


def _summable(vec, count):
    if count & (count - 1) or count > vec.lanes:
        raise TypingError(f"sums need a power of two of at most {vec.lanes} vectors, got {count}")


@intrinsic
def vsumall(typingctx, *vs):
    vec = _same(*vs)
    _summable(vec, len(vs))

    def gen(context, builder, sig, args):
        return _sums(builder, cgutils.unpack_tuple(builder, args[0]), vec)

    return vec(types.StarArgTuple(vs)), gen
