"""The numba intrinsics of the tensor cores: words of 32 bits that hold k's of an operand, and the products of them.

A word is one float32 rounded to tf32, or two numbers of 16 bits: float16, stored as uint16, or bfloat16, stored as int16.
Fragments are those of `mma.sync.m16n8k8` (tf32) and `m16n8k16` (f16, bf16), which are the same in words: NVIDIA, PTX ISA, "Warp-level matrix instructions".
"""

from __future__ import annotations

from llvmlite import ir
from numba.cuda import types
from numba.cuda.core.errors import TypingError
from numba.cuda.extending import intrinsic

from .intrinsics import I32, I64, SHARED, VOID, constant, dtype_of, literal_intrinsic, need_pointer

F32, I16 = ir.FloatType(), ir.IntType(16)
_WORD = types.uint32
_MMA = {
    types.float32: "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32",
    types.uint16: "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32",
    types.int16: "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32",
}


def _need(name, dtype):
    if dtype not in _MMA:
        raise TypingError(f"{name} is for float32, float16 (uint16) and bfloat16 (int16), got {dtype}")


def _rounded(builder, value):
    """The tf32 number nearest to a float32, as a word."""
    kind = ir.FunctionType(I32, [F32])
    return builder.asm(kind, "cvt.rna.tf32.f32 $0, $1;", "=r,f", [value], False)


def _paired(builder, low, high):
    """Two numbers of 16 bits as a word."""
    return builder.or_(builder.zext(low, I32), builder.shl(builder.zext(high, I32), I32(16)))


@literal_intrinsic
def per_word(typingctx, dtype):
    size = 32 // dtype_of(dtype).bitwidth

    def gen(context, builder, sig, args):
        return I32(size)

    return types.int32(dtype), gen


# ---- copies from global to shared memory that run while the thread goes on


def _shared_address(builder, p, place):
    """The 32-bit address of element `place` of a shared buffer."""
    where = builder.gep(p, [place])
    return builder.ptrtoint(builder.addrspacecast(where, ir.PointerType(where.type.pointee, SHARED), "shared"), I32)


def _copy(builder, room, place, source, text, constraints, count):
    kind = ir.FunctionType(VOID, [I32, I64, count.type])
    words = [_shared_address(builder, room, place), builder.ptrtoint(source, I64), count]
    builder.asm(kind, text, f"r,l,{constraints},~{{memory}}", words, True)


@intrinsic
def copy16(typingctx, room, place, p, i, count):
    need_pointer("copy16", room)
    need_pointer("copy16", p)

    def gen(context, builder, sig, args):
        place, at, count = (context.cast(builder, args[k], sig.args[k], types.int64) for k in (1, 3, 4))
        text = "cp.async.cg.shared.global [$0], [$1], 16, $2;"  # the bytes beyond a count become 0
        _copy(builder, args[0], place, builder.gep(args[2], [at]), text, "r", builder.trunc(count, I32))
        return context.get_dummy_value()

    return types.void(room, place, p, i, count), gen


@intrinsic
def copy_word(typingctx, room, place, p, i, step, count):
    need_pointer("copy_word", room)
    need_pointer("copy_word", p)
    _need("copy_word", p.dtype)

    def gen(context, builder, sig, args):
        place, at, step, count = (context.cast(builder, args[k], sig.args[k], types.int64) for k in (1, 3, 4, 5))
        if p.dtype == types.float32:
            text = (  # a copy with a count takes more instructions
                "{ .reg .pred here; setp.gt.s32 here, $2, 0; @here cp.async.ca.shared.global [$0], [$1], 4; "
                "@!here st.shared.u32 [$0], 0; }"
            )
            _copy(builder, args[0], place, builder.gep(args[2], [at]), text, "r", builder.trunc(count, I32))
            return context.get_dummy_value()
        halves = []
        for k in range(2):
            here = builder.icmp_signed(">", count, I64(k))
            where = builder.select(here, builder.add(at, builder.mul(step, I64(k))), I64(0))
            halves.append(builder.select(here, builder.load(builder.gep(args[2], [where])), I16(0)))
        builder.store(_paired(builder, *halves), builder.gep(args[0], [place]))
        return context.get_dummy_value()

    return types.void(room, place, p, i, step, count), gen


@intrinsic
def commit(typingctx):
    def gen(context, builder, sig, args):
        builder.asm(ir.FunctionType(VOID, []), "cp.async.commit_group;", "~{memory}", [], True)
        return context.get_dummy_value()

    return types.void(), gen


@literal_intrinsic
def wait_copies(typingctx, groups):
    text = f"cp.async.wait_group {constant('a number of groups', groups)};"

    def gen(context, builder, sig, args):
        builder.asm(ir.FunctionType(VOID, []), text, "~{memory}", [], True)
        return context.get_dummy_value()

    return types.void(groups), gen


# ---- from shared memory to fragments


def _matrices(name, turned):
    text = f"ldmatrix.sync.aligned.m8n8.x4{turned}.shared.b16 {{$0,$1,$2,$3}}, [$4];"

    @intrinsic
    def read(typingctx, room, place):
        need_pointer(name, room)
        result = types.UniTuple(_WORD, 4)

        def gen(context, builder, sig, args):
            place = context.cast(builder, args[1], sig.args[1], types.int64)
            kind = ir.FunctionType(ir.LiteralStructType([I32] * 4), [I32])
            code = ir.InlineAsm(kind, text, "=r,=r,=r,=r,r,~{memory}", side_effect=True)
            made = builder.call(code, [_shared_address(builder, args[0], place)], attrs=("convergent",))
            return context.make_tuple(builder, result, [builder.extract_value(made, k) for k in range(4)])

        return result(room, place), gen

    return read


matrices, matrices_turned = _matrices("matrices", ""), _matrices("matrices_turned", ".trans")


@literal_intrinsic
def rounded(typingctx, words, dtype):
    stored = dtype_of(dtype)
    _need("rounded", stored)

    def gen(context, builder, sig, args):
        if stored != types.float32:
            return args[0]
        items = [builder.bitcast(builder.extract_value(args[0], k), F32) for k in range(len(words))]
        return context.make_tuple(builder, words, [_rounded(builder, v) for v in items])

    return words(words, dtype), gen


@intrinsic
def as_float(typingctx, x):
    _need("as_float", x)

    def gen(context, builder, sig, args):
        if x == types.float32:
            return args[0]
        if x == types.int16:  # a bfloat16 is the upper half of a float32
            return builder.bitcast(builder.shl(builder.zext(args[0], I32), I32(16)), F32)
        return builder.asm(ir.FunctionType(F32, [I16]), "cvt.f32.f16 $0, $1;", "=f,h", args, False)

    return types.float32(x), gen


@literal_intrinsic
def as_stored(typingctx, x, dtype):
    result = dtype_of(dtype)
    _need("as_stored", result)

    def gen(context, builder, sig, args):
        if result == types.float32:
            return args[0]
        text = f"cvt.rn.{'bf16' if result == types.int16 else 'f16'}.f32 $0, $1;"
        return builder.asm(ir.FunctionType(I16, [F32]), text, "=h,f", args[:1], False)

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
