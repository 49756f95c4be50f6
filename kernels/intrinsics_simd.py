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

I32, I64 = ir.IntType(32), ir.IntType(64)
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


# ---- tiles -----------------------------------------------------------------------------------------------------------


class SpreadType(types.Type):
    """`count` pointers in one variable."""

    def __init__(self, pointer, count):
        self.pointer, self.count = pointer, count
        super().__init__(name=f"spread{count}x{pointer}")


@register_model(SpreadType)
class _SpreadModel(models.PrimitiveModel):
    def __init__(self, manager, fe_type):
        one = manager.lookup(fe_type.pointer).get_value_type()
        super().__init__(manager, fe_type, ir.ArrayType(one, fe_type.count))


class TileType(types.Type):
    """`rows` x `cols` vectors in one variable."""

    def __init__(self, vec, rows, cols):
        self.vec, self.rows, self.cols = vec, rows, cols
        super().__init__(name=f"tile{rows}x{cols}x{vec}")

    @property
    def llvm(self):
        """The LLVM array type: vectors row by row."""
        return ir.ArrayType(self.vec.llvm, self.rows * self.cols)

    def places(self):
        """(number, i, j) of every vector."""
        return [(i * self.cols + j, i, j) for i in range(self.rows) for j in range(self.cols)]


@register_model(TileType)
class _TileModel(models.PrimitiveModel):
    def __init__(self, manager, fe_type):
        super().__init__(manager, fe_type, fe_type.llvm)


def _constants(*values):
    if not all(isinstance(value, types.IntegerLiteral) for value in values):
        raise TypingError(f"the size of a tile must be a compile-time constant, got {values}")
    return [value.literal_value for value in values]


def _split(builder, value):
    return [builder.extract_value(value, i) for i in range(value.type.count)]


def _join(builder, kind, values):
    result = ir.Constant(kind, ir.Undefined)
    for i, value in enumerate(values):
        result = builder.insert_value(result, value, i)
    return result


def _clamped(builder, p, stride, used, count):
    """Pointers `p + min(i, used - 1) * stride`."""
    last, pointers = builder.sub(used, I64(1)), [p]
    for i in range(1, count):
        row = builder.select(builder.icmp_signed("<", I64(i), used), I64(i), last)
        pointers.append(builder.gep(p, [builder.mul(row, stride)]))
    return pointers


@intrinsic(prefer_literal=True)
def spread(typingctx, p, stride, used, count):
    (number,) = _constants(count)
    result = SpreadType(p, number)

    def gen(context, builder, sig, args):
        return _join(builder, context.get_value_type(result), _clamped(builder, *args[:3], number))

    return result(p, types.int64, types.int64, count), gen


@intrinsic(prefer_literal=True)
def spread_at(typingctx, p, table, first, count):
    (number,) = _constants(count)
    result = SpreadType(p, number)

    def gen(context, builder, sig, args):
        p, table, first, _ = args
        numbers = [builder.load(builder.gep(table, [builder.add(first, I64(i))])) for i in range(number)]
        return _join(builder, context.get_value_type(result), [builder.gep(p, [n]) for n in numbers])

    return result(p, types.CPointer(types.int64), types.int64, count), gen


@intrinsic
def shifted(typingctx, pointers, k):
    def gen(context, builder, sig, args):
        moved = [builder.gep(p, [args[1]]) for p in _split(builder, args[0])]
        return _join(builder, args[0].type, moved)

    return pointers(pointers, types.int64), gen


@intrinsic(prefer_literal=True)
def tile_zero(typingctx, dtype, rows, cols):
    tile = TileType(VecType(_dtype(dtype)), *_constants(rows, cols))
    zero = ir.Constant(tile.vec.llvm, [0.0] * tile.vec.lanes)
    return tile(dtype, rows, cols), lambda context, builder, sig, args: _join(
        builder, tile.llvm, [zero] * (tile.rows * tile.cols)
    )


@intrinsic(prefer_literal=True)
def tile_splat(typingctx, p, step, used, rows, cols):
    tile = TileType(_vec_of_pointer(p), *_constants(rows, cols))

    def gen(context, builder, sig, args):
        vs = []
        for at in _clamped(builder, args[0], args[1], args[2], tile.rows):
            vs += [_splat(builder, builder.load(at), tile.vec.lanes)] * tile.cols
        return _join(builder, tile.llvm, vs)

    return tile(p, types.int64, types.int64, rows, cols), gen


@intrinsic(prefer_literal=True)
def tile_load(typingctx, cols, stride, rows):
    tile = TileType(_vec_of_pointer(cols.pointer), *_constants(rows), cols.count)

    def gen(context, builder, sig, args):
        at, vec = _split(builder, args[0]), tile.vec
        vs = [_load(builder, at[j], builder.mul(args[1], I64(i)), vec) for _, i, j in tile.places()]
        return _join(builder, tile.llvm, vs)

    return tile(cols, types.int64, rows), gen


def _turned(builder, vs, vec):
    """Transpose a square of vectors: exchange blocks of half the size, then quarters, and so on."""
    size = vec.lanes // 2
    while size:
        low = [lane + (vec.lanes - size if lane & size else 0) for lane in range(vec.lanes)]
        masks = [ir.Constant(ir.VectorType(I32, vec.lanes), [lane + by for lane in low]) for by in (0, size)]
        for i in range(vec.lanes):
            if not i & size:
                pair = vs[i], vs[i + size]
                vs[i], vs[i + size] = (builder.shuffle_vector(*pair, mask) for mask in masks)
        size //= 2
    return vs


@intrinsic
def tile_turned(typingctx, rows, k, n):
    vec = _vec_of_pointer(rows.pointer)
    tile = TileType(vec, vec.lanes, 1)
    if rows.count != vec.lanes:
        raise TypingError(f"tile_turned needs {vec.lanes} pointers, got {rows.count}")

    def gen(context, builder, sig, args):
        mask = _first_lanes(builder, args[2], vec.lanes)
        vs = [_loadn(builder, p, args[1], mask, vec) for p in _split(builder, args[0])]
        return _join(builder, tile.llvm, _turned(builder, vs, vec))

    return tile(rows, types.int64, types.int64), gen


@intrinsic
def tile_store(typingctx, cols, stride, tile):
    def gen(context, builder, sig, args):
        vec, at, vs = tile.vec, _split(builder, args[0]), _split(builder, args[2])
        for n, i, j in tile.places():
            to = _at(builder, at[j], builder.mul(args[1], I64(i)), vec)
            builder.store(vs[n], to, align=vec.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(cols, types.int64, tile), gen


@intrinsic
def tile_max(typingctx, tile, low):
    def gen(context, builder, sig, args):
        low = _splat(builder, args[1], tile.vec.lanes)
        vs = _split(builder, args[0])
        return _join(builder, tile.llvm, [builder.select(builder.fcmp_ordered("<", v, low), low, v) for v in vs])

    return tile(tile, tile.vec.dtype), gen


@intrinsic
def tile_fma(typingctx, tile, a, ka, b, kb):
    def gen(context, builder, sig, args):
        vec, acc = tile.vec, _split(builder, args[0])
        vs = [_load(builder, p, args[4], vec) for p in _split(builder, args[3])]
        for i, p in enumerate(_split(builder, args[1])):
            x = _splat(builder, builder.load(builder.gep(p, [args[2]])), vec.lanes)
            for j in range(tile.cols):
                acc[i * tile.cols + j] = _fma(builder, vec, x, vs[j], acc[i * tile.cols + j])
        return _join(builder, tile.llvm, acc)

    return tile(tile, a, types.int64, b, types.int64), gen


def _dot(builder, tile, acc, a, b):
    acc = _split(builder, acc)
    for n, i, j in tile.places():
        acc[n] = _fma(builder, tile.vec, a[i], b[j], acc[n])
    return _join(builder, tile.llvm, acc)


@intrinsic
def tile_dot(typingctx, tile, a, b, k):
    def gen(context, builder, sig, args):
        left, right = ([_load(builder, p, args[3], tile.vec) for p in _split(builder, args[i])] for i in (1, 2))
        return _dot(builder, tile, args[0], left, right)

    return tile(tile, a, b, types.int64), gen


@intrinsic
def tile_dotn(typingctx, tile, a, b, k, n):
    def gen(context, builder, sig, args):
        mask = _first_lanes(builder, args[4], tile.vec.lanes)
        sides = (_split(builder, args[1]), _split(builder, args[2]))
        left, right = ([_loadn(builder, p, args[3], mask, tile.vec) for p in side] for side in sides)
        return _dot(builder, tile, args[0], left, right)

    return tile(tile, a, b, types.int64, types.int64), gen


@intrinsic
def tile_sums(typingctx, p, tile):
    vec = tile.vec
    _summable(vec, tile.cols)

    def gen(context, builder, sig, args):
        vs = _split(builder, args[1])
        for i in range(tile.rows):
            sums = _sums(builder, vs[i * tile.cols : (i + 1) * tile.cols], vec)
            builder.store(sums, _at(builder, args[0], I64(i * vec.lanes), vec), align=vec.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(p, tile), gen
