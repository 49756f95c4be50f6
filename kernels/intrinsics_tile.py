"""Numba intrinsics behind the tiles of simd.py. Imported only when compiling."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core.errors import TypingError
from numba.extending import intrinsic, models, register_model

from .intrinsics_cpu import _dtype
from .intrinsics_simd import (
    I32,
    VecType,
    _at,
    _first_lanes,
    _fma,
    _load,
    _loadn,
    _splat,
    _summable,
    _sums,
    _vec_of_pointer,
)

I64 = ir.IntType(64)


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
