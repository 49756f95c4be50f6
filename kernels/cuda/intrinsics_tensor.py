"""The numba intrinsics of the tensor cores: words of 32 bits that hold k's of an operand, and the products of them.

A word is one float32 rounded to tf32, or two float16. Fragments are those of `mma.sync.m16n8k8` (tf32) and `m16n8k16`
(f16), which are the same in words: NVIDIA, PTX ISA, "Warp-level matrix instructions".
"""

from __future__ import annotations

from llvmlite import ir
from numba.cuda import types
from numba.cuda.core.errors import TypingError
from numba.cuda.extending import intrinsic

from .intrinsics import I32, dtype_of, literal_intrinsic, need_pointer

F32, I16 = ir.FloatType(), ir.IntType(16)
_WORD = types.uint32
_MMA = {
    types.float32: "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32",
    types.uint16: "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32",
}


def _need(name, dtype):
    if dtype not in _MMA:
        raise TypingError(f"{name} is for float32 and for float16 (uint16), got {dtype}")


def _rounded(builder, value):
    """The tf32 number nearest to a float32, as a word."""
    kind = ir.FunctionType(I32, [F32])
    return builder.asm(kind, "cvt.rna.tf32.f32 $0, $1;", "=r,f", [value], False)


def _paired(builder, low, high):
    """Two float16 as a word."""
    return builder.or_(builder.zext(low, I32), builder.shl(builder.zext(high, I32), I32(16)))


def _vector(context, builder, p, place, kind, count, align):
    """`count` elements of type `kind` from element `place` of `p`, in one access."""
    vector = ir.VectorType(kind, count)
    where = builder.bitcast(builder.gep(p, [place]), vector.as_pointer())
    loaded = builder.load(where, align=align)
    return [builder.extract_element(loaded, I32(k)) for k in range(count)]


@literal_intrinsic
def per_word(typingctx, dtype):
    size = 32 // dtype_of(dtype).bitwidth

    def gen(context, builder, sig, args):
        return I32(size)

    return types.int32(dtype), gen


@intrinsic
def word(typingctx, first, second):
    _need("word", first)

    def gen(context, builder, sig, args):
        return _rounded(builder, args[0]) if first == types.float32 else _paired(builder, args[0], args[1])

    return _WORD(first, first), gen


@intrinsic
def words_along(typingctx, p, i):
    need_pointer("words_along", p)
    _need("words_along", p.dtype)
    result = types.UniTuple(_WORD, 4)

    def gen(context, builder, sig, args):
        place = context.cast(builder, args[1], sig.args[1], types.int64)
        if p.dtype == types.float32:
            items = [_rounded(builder, v) for v in _vector(context, builder, args[0], place, F32, 4, 16)]
        else:
            items = _vector(context, builder, args[0], place, I32, 4, 16)
        return context.make_tuple(builder, result, items)

    return result(p, i), gen


@intrinsic
def words_across(typingctx, p, i, step):
    need_pointer("words_across", p)
    _need("words_across", p.dtype)
    result = types.UniTuple(_WORD, 4)

    def gen(context, builder, sig, args):
        place = context.cast(builder, args[1], sig.args[1], types.int64)
        if p.dtype == types.float32:
            items = [_rounded(builder, v) for v in _vector(context, builder, args[0], place, F32, 4, 16)]
        else:
            after = builder.add(place, context.cast(builder, args[2], sig.args[2], types.int64))
            first, second = (_vector(context, builder, args[0], at, I16, 4, 8) for at in (place, after))
            items = [_paired(builder, low, high) for low, high in zip(first, second)]
        return context.make_tuple(builder, result, items)

    return result(p, i, step), gen


@intrinsic
def as_float(typingctx, x):
    _need("as_float", x)

    def gen(context, builder, sig, args):
        if x == types.float32:
            return args[0]
        return builder.asm(ir.FunctionType(F32, [I16]), "cvt.f32.f16 $0, $1;", "=f,h", args, False)

    return types.float32(x), gen


@literal_intrinsic
def as_stored(typingctx, x, dtype):
    result = dtype_of(dtype)
    _need("as_stored", result)

    def gen(context, builder, sig, args):
        if result == types.float32:
            return args[0]
        return builder.asm(ir.FunctionType(I16, [F32]), "cvt.rn.f16.f32 $0, $1;", "=h,f", args[:1], False)

    return result(types.float32, dtype), gen


@literal_intrinsic
def mma(typingctx, acc, a, b, dtype):
    rows, cols, stored = len(a) // 4, len(b) // 2, dtype_of(dtype)
    _need("mma", stored)
    if len(acc) != rows * cols * 4 or acc.dtype != types.float32 or not a.dtype == b.dtype == _WORD:
        raise TypingError(f"mma needs 4 float32 for each 4 words of a and 2 of b, got {acc}, {a}, {b}")
    text = f"{_MMA[stored]} {{$0,$1,$2,$3}}, {{$4,$5,$6,$7}}, {{$8,$9}}, {{$0,$1,$2,$3}};"

    def gen(context, builder, sig, args):
        left, right = ([builder.extract_value(t, k) for k in range(len(s))] for t, s in zip(args[1:3], (a, b)))
        quad = ir.LiteralStructType([F32] * 4)
        kind = ir.FunctionType(quad, [I32] * 6 + [F32] * 4)
        code = ir.InlineAsm(kind, text, "=f,=f,=f,=f,r,r,r,r,r,r,0,1,2,3", side_effect=True)
        tile = args[0]
        for i in range(rows):
            for j in range(cols):
                at = (i * cols + j) * 4
                sums = [builder.extract_value(args[0], at + e) for e in range(4)]
                words = [*left[4 * i : 4 * i + 4], *right[2 * j : 2 * j + 2], *sums]
                made = builder.call(code, words, attrs=("convergent",))
                for e in range(4):
                    tile = builder.insert_value(tile, builder.extract_value(made, e), at + e)
        return tile

    return acc(acc, a, b, dtype), gen
