"""The numba intrinsics behind gpu.py and, for CUDA, behind memory.py and loops.py. Imported only when
compiling.

The only file that speaks LLVM IR or PTX for the GPU: moving to another compiler means rewriting this file.
"""

from __future__ import annotations

import itertools

import numba.cuda  # noqa: F401 - lets numba-cuda take its place before the imports below
from llvmlite import ir
from numba.cuda import cgutils, nvvmutils, types
from numba.cuda.core.errors import TypingError
from numba.cuda.extending import _intrinsic, intrinsic

I1, I32, I64, VOID = ir.IntType(1), ir.IntType(32), ir.IntType(64), ir.VoidType()
SHARED = 3  # address space
_VECTOR_BYTES = 16
_unique = itertools.count()
literal_intrinsic = _intrinsic(prefer_literal=True, target="cuda")  # the public one takes no options


def dtype_of(kind):
    """The scalar type behind a dtype argument such as T."""
    if isinstance(kind, types.NumberClass):
        return kind.instance_type
    if isinstance(kind, types.DType):
        return kind.dtype
    raise TypingError(f"expected a dtype such as T, got {kind}")


def call_function(builder, name, result, args):
    kind = ir.FunctionType(result, [a.type for a in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)


def _element(context, builder, sig, args):
    """Address of element args[1] of the pointer args[0]."""
    return builder.gep(args[0], [context.cast(builder, args[1], sig.args[1], types.int64)])


def need_pointer(name, p):
    if not isinstance(p, types.CPointer):
        raise TypingError(f"{name} needs a pointer, got {p}")


# ---- where am I -------------------------------------------------------------------------------------------


def _register(name):
    @intrinsic
    def read(typingctx):
        def gen(context, builder, sig, args):
            return nvvmutils.call_sreg(builder, name)

        return types.int32(), gen

    return read


thread, threads = _register("tid.x"), _register("ntid.x")
block, block_y, block_z = _register("ctaid.x"), _register("ctaid.y"), _register("ctaid.z")
blocks = _register("nctaid.x")


# ---- waiting ----------------------------------------------------------------------------------------------


@intrinsic
def barrier(typingctx):
    def gen(context, builder, sig, args):
        call_function(builder, "llvm.nvvm.barrier0", VOID, [])
        return context.get_dummy_value()

    return types.void(), gen


@intrinsic
def warp_barrier(typingctx):
    def gen(context, builder, sig, args):
        call_function(builder, "llvm.nvvm.bar.warp.sync", VOID, [I32(0xFFFFFFFF)])
        return context.get_dummy_value()

    return types.void(), gen


# ---- the warp ---------------------------------------------------------------------------------------------


def _words(builder, value, bits):
    """`value` as one or two 32-bit integers."""
    if bits < 32:
        return [builder.zext(value, I32)]
    if bits == 32:
        return [builder.bitcast(value, I32)]
    wide = builder.bitcast(value, I64)
    return [builder.trunc(wide, I32), builder.trunc(builder.lshr(wide, I64(32)), I32)]


def _value(builder, words, kind):
    if isinstance(kind, ir.IntType) and kind.width < 32:
        return builder.trunc(words[0], kind)
    if len(words) == 1:
        return builder.bitcast(words[0], kind)
    high = builder.shl(builder.zext(words[1], I64), I64(32))
    return builder.bitcast(builder.or_(high, builder.zext(words[0], I64)), kind)


def _shuffle(name, mode, clamp):
    @intrinsic
    def exchange(typingctx, value, other):
        bits = getattr(value, "bitwidth", 0)
        if bits not in (8, 16, 32, 64):
            raise TypingError(f"{name} moves numbers, got {value}")

        def gen(context, builder, sig, args):
            other = context.cast(builder, args[1], sig.args[1], types.int32)
            pair = ir.LiteralStructType([I32, I1])
            moved = []
            for word in _words(builder, args[0], bits):
                full = [I32(0xFFFFFFFF), I32(mode), word, other, I32(clamp)]
                moved.append(
                    builder.extract_value(call_function(builder, "llvm.nvvm.shfl.sync.i32", pair, full), 0)
                )
            return _value(builder, moved, context.get_value_type(sig.return_type))

        return value(value, other), gen

    return exchange


shuffle, shuffle_xor = _shuffle("shuffle", 0, 31), _shuffle("shuffle_xor", 3, 31)
shuffle_up, shuffle_down = _shuffle("shuffle_up", 1, 0), _shuffle("shuffle_down", 2, 31)


@intrinsic
def ballot(typingctx, condition):
    def gen(context, builder, sig, args):
        flag = context.cast(builder, args[0], sig.args[0], types.boolean)
        flag = builder.trunc(flag, I1) if flag.type != I1 else flag
        return call_function(builder, "llvm.nvvm.vote.ballot.sync", I32, [I32(0xFFFFFFFF), flag])

    return types.uint32(condition), gen


@intrinsic
def first_bit(typingctx, mask):
    def gen(context, builder, sig, args):
        return builder.cttz(context.cast(builder, args[0], sig.args[0], types.uint32), I1(1))

    return types.int32(mask), gen


@intrinsic
def count_bits(typingctx, mask):
    def gen(context, builder, sig, args):
        return builder.ctpop(context.cast(builder, args[0], sig.args[0], types.uint32))

    return types.int32(mask), gen


# ---- memory -----------------------------------------------------------------------------------------------


def constant(name, count):
    if not isinstance(count, types.IntegerLiteral):
        raise TypingError(f"the size of {name} must be a compile-time constant")
    return count.literal_value


@literal_intrinsic
def shared(typingctx, count, dtype):
    result, size = types.CPointer(dtype_of(dtype)), constant("a shared buffer", count)

    def gen(context, builder, sig, args):
        kind = ir.ArrayType(context.get_data_type(result.dtype), size)
        room = cgutils.add_global_variable(builder.module, kind, f"shared_{next(_unique)}", SHARED)
        room.align, room.initializer = _VECTOR_BYTES, ir.Constant(kind, ir.Undefined)
        generic = builder.addrspacecast(room, ir.PointerType(kind), "generic")
        return builder.bitcast(generic, context.get_value_type(result))

    return result(count, dtype), gen


@literal_intrinsic
def stack(typingctx, count, dtype):
    result, size = types.CPointer(dtype_of(dtype)), constant("a stack buffer", count)

    def gen(context, builder, sig, args):
        kind = ir.ArrayType(context.get_data_type(result.dtype), size)
        return builder.bitcast(cgutils.alloca_once(builder, kind), context.get_value_type(result))

    return result(count, dtype), gen


@intrinsic
def load4(typingctx, p, i):
    need_pointer("load4", p)
    result = types.UniTuple(p.dtype, 4)

    def gen(context, builder, sig, args):
        vector = ir.VectorType(context.get_data_type(p.dtype), 4)
        where = builder.bitcast(_element(context, builder, sig, args), vector.as_pointer())
        loaded = builder.load(where, align=_vector_align(p))
        return context.make_tuple(
            builder, result, [builder.extract_element(loaded, I32(k)) for k in range(4)]
        )

    return result(p, i), gen


@intrinsic
def store4(typingctx, p, i, a, b, c, d):
    need_pointer("store4", p)

    def gen(context, builder, sig, args):
        vector = ir.VectorType(context.get_data_type(p.dtype), 4)
        value = ir.Constant(vector, ir.Undefined)
        for k in range(4):
            item = context.cast(builder, args[2 + k], sig.args[2 + k], p.dtype)
            value = builder.insert_element(value, item, I32(k))
        where = builder.bitcast(_element(context, builder, sig, args), vector.as_pointer())
        builder.store(value, where, align=_vector_align(p))
        return context.get_dummy_value()

    return types.void(p, i, a, b, c, d), gen


def _vector_align(p):
    return min(_VECTOR_BYTES, 4 * p.dtype.bitwidth // 8)


@intrinsic
def is_aligned(typingctx, p):
    need_pointer("is_aligned", p)

    def gen(context, builder, sig, args):
        low = builder.and_(builder.ptrtoint(args[0], I64), I64(_VECTOR_BYTES - 1))
        return builder.icmp_unsigned("==", low, I64(0))

    return types.boolean(p), gen


def _atomic(operation):
    @intrinsic
    def update(typingctx, p, i, value):
        need_pointer("an atomic operation", p)

        def gen(context, builder, sig, args):
            item = context.cast(builder, args[2], sig.args[2], p.dtype)
            is_float = isinstance(p.dtype, types.Float)
            name = "f" + operation if is_float else operation
            return builder.atomic_rmw(name, _element(context, builder, sig, args), item, "monotonic")

        return p.dtype(p, i, value), gen

    return update


atomic_add, atomic_max = _atomic("add"), _atomic("max")


@intrinsic
def offset(typingctx, p, k):
    need_pointer("offset", p)

    def gen(context, builder, sig, args):
        return _element(context, builder, sig, args)

    return p(p, k), gen


@intrinsic
def pointer(typingctx, address, dtype):
    result = types.CPointer(dtype_of(dtype))

    def gen(context, builder, sig, args):
        return builder.inttoptr(args[0], context.get_value_type(result))

    return result(types.int64, dtype), gen


@intrinsic
def address_of(typingctx, p):
    need_pointer("address_of", p)

    def gen(context, builder, sig, args):
        return builder.ptrtoint(args[0], I64)

    return types.int64(p), gen
