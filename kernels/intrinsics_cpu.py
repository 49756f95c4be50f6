"""Numba intrinsics behind memory.py: raw memory, stack buffers, atomics. Imported only when compiling."""

from __future__ import annotations

import platform
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic

I64 = ir.IntType(64)
_INTEL = platform.machine().lower() in ("x86_64", "amd64", "i386", "i686")


def _dtype(kind):
    """The scalar type behind a dtype argument such as T."""
    if isinstance(kind, (types.NumberClass, types.DType)):
        return kind.instance_type if isinstance(kind, types.NumberClass) else kind.dtype
    raise TypingError(f"expected a dtype such as T, got {kind}")


def _word(builder, address, index=None):
    p = builder.inttoptr(address, I64.as_pointer())
    return p if index is None else builder.gep(p, [index])


# ---- words of argument blocks ------------------------------------------------------------------------------


@intrinsic
def ldi(typingctx, address, index):
    def gen(context, builder, sig, args):
        return builder.load(_word(builder, *args))

    return types.int64(types.int64, types.int64), gen


@intrinsic
def sti(typingctx, address, index, value):
    def gen(context, builder, sig, args):
        builder.store(args[2], _word(builder, args[0], args[1]))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), gen


@intrinsic
def ldf(typingctx, address, index):
    def gen(context, builder, sig, args):
        return builder.bitcast(builder.load(_word(builder, *args)), ir.DoubleType())

    return types.float64(types.int64, types.int64), gen


# ---- pointers ----------------------------------------------------------------------------------------------


@intrinsic
def pointer(typingctx, address, dtype):
    result = types.CPointer(_dtype(dtype))

    def gen(context, builder, sig, args):
        return builder.inttoptr(args[0], context.get_value_type(result))

    return result(types.int64, dtype), gen


@intrinsic
def address_of(typingctx, p):
    if not isinstance(p, types.CPointer):
        raise TypingError(f"address_of needs a pointer, got {p}")

    def gen(context, builder, sig, args):
        return builder.ptrtoint(args[0], I64)

    return types.int64(p), gen


@intrinsic
def offset(typingctx, p, k):
    if not isinstance(p, types.CPointer) or not isinstance(k, types.Integer):
        raise TypingError(f"offset needs a pointer and an integer, got {p} and {k}")

    def gen(context, builder, sig, args):
        return builder.gep(args[0], [args[1]])

    return p(p, types.int64), gen


@intrinsic(prefer_literal=True)
def stack(typingctx, count, dtype):
    if not isinstance(count, types.IntegerLiteral):
        raise TypingError("the size of a stack buffer must be a compile-time constant")
    result = types.CPointer(_dtype(dtype))

    def gen(context, builder, sig, args):
        # In the entry block, so that a buffer inside a loop is allocated once.
        with builder.goto_entry_block():
            room = builder.alloca(context.get_data_type(result.dtype), size=I64(count.literal_value))
        room.align = 64
        return room

    return result(count, dtype), gen


@intrinsic
def copy(typingctx, dst, src, count):
    if not (isinstance(dst, types.CPointer) and dst == src):
        raise TypingError(f"copy needs two pointers of one type, got {dst} and {src}")

    def gen(context, builder, sig, args):
        width = context.get_abi_sizeof(context.get_data_type(dst.dtype))
        bytep = ir.IntType(8).as_pointer()
        target, source = (builder.bitcast(p, bytep) for p in args[:2])
        cgutils.raw_memmove(builder, target, source, args[2], width)
        return context.get_dummy_value()

    return types.void(dst, src, types.int64), gen


@intrinsic
def prefetch(typingctx, p):
    def gen(context, builder, sig, args):
        i32, bytep = ir.IntType(32), ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [bytep, i32, i32, i32])
        fn = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(fn, [builder.bitcast(args[0], bytep), i32(0), i32(3), i32(1)])
        return context.get_dummy_value()

    return types.void(p), gen


# ---- scalars -----------------------------------------------------------------------------------------------


@intrinsic
def fma(typingctx, a, b, c):
    if not (isinstance(a, types.Float) and a == b == c):
        raise TypingError(f"fma needs three floats of one type, got {a}, {b}, {c}")

    def gen(context, builder, sig, args):
        # fmuladd and not fma: without FMA hardware the latter becomes a library call.
        kind = ir.FunctionType(args[0].type, [args[0].type] * 3)
        return builder.call(builder.module.declare_intrinsic("llvm.fmuladd", [args[0].type], kind), args)

    return a(a, a, a), gen


@intrinsic
def roundeven(typingctx, x):
    if not isinstance(x, types.Float):
        raise TypingError(f"roundeven needs a float, got {x}")

    def gen(context, builder, sig, args):
        kind = ir.FunctionType(args[0].type, [args[0].type])
        return builder.call(builder.module.declare_intrinsic("llvm.roundeven", [args[0].type], kind), args)

    return x(x), gen


@intrinsic
def bitcast(typingctx, x, dtype):
    result = _dtype(dtype)
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
        return builder.select(context.cast(builder, args[0], condition, types.boolean), args[1], args[2])

    return a(condition, a, a), gen


# ---- atomics on int64 words, all sequentially consistent ---------------------------------------------------


@intrinsic
def atomic_load(typingctx, address):
    def gen(context, builder, sig, args):
        return builder.load_atomic(_word(builder, args[0]), "seq_cst", 8)

    return types.int64(types.int64), gen


@intrinsic
def atomic_store(typingctx, address, value):
    def gen(context, builder, sig, args):
        builder.store_atomic(args[1], _word(builder, args[0]), "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), gen


def _read_modify_write(operation):
    @intrinsic
    def rmw(typingctx, address, value):
        def gen(context, builder, sig, args):
            return builder.atomic_rmw(operation, _word(builder, args[0]), args[1], "seq_cst")

        return types.int64(types.int64, types.int64), gen

    return rmw


atomic_add = _read_modify_write("add")
atomic_or = _read_modify_write("or")
atomic_exchange = _read_modify_write("xchg")


@intrinsic
def atomic_swap_if(typingctx, address, expected, value):
    def gen(context, builder, sig, args):
        done = builder.cmpxchg(_word(builder, args[0]), args[1], args[2], "seq_cst", "seq_cst")
        return builder.zext(builder.extract_value(done, 1), I64)

    return types.int64(types.int64, types.int64, types.int64), gen


@intrinsic
def pause(typingctx):
    def gen(context, builder, sig, args):
        if _INTEL:
            kind = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.sse2.pause"), [])
        elif platform.machine().lower() in ("arm64", "aarch64"):
            kind = ir.FunctionType(ir.VoidType(), [ir.IntType(32)])
            builder.call(
                cgutils.get_or_insert_function(builder.module, kind, "llvm.aarch64.hint"), [ir.IntType(32)(1)]
            )
        return context.get_dummy_value()

    return types.void(), gen


# ---- calls by address --------------------------------------------------------------------------------------


@intrinsic
def call_kernel(typingctx, fn, block, chunk, nchunks):
    def gen(context, builder, sig, args):
        kind = ir.FunctionType(ir.VoidType(), [I64] * 3)
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), args[1:])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), gen


def _int64s(words) -> Any:
    return types.StarArgTuple.from_types([types.int64] * len(words))


@intrinsic
def call(typingctx, fn, *words):
    """int64 f(int64...) at the address `fn`."""

    def gen(context, builder, sig, args):
        words = cgutils.unpack_tuple(builder, args[1])
        kind = ir.FunctionType(I64, [I64] * len(words))
        return builder.call(builder.inttoptr(args[0], kind.as_pointer()), words)

    return types.int64(types.int64, _int64s(words)), gen


@intrinsic
def call_variadic(typingctx, fn, first, *words):
    """int64 f(int64, ...) at the address `fn`, a C function with variable arguments such as syscall."""

    def gen(context, builder, sig, args):
        words = cgutils.unpack_tuple(builder, args[2])
        kind = ir.FunctionType(I64, [I64], var_arg=True)
        return builder.call(builder.inttoptr(args[0], kind.as_pointer()), [args[1], *words])

    return types.int64(types.int64, types.int64, _int64s(words)), gen


@intrinsic
def call_float(typingctx, fn, word):
    """The bits of double f(int64) at the address `fn`."""

    def gen(context, builder, sig, args):
        kind = ir.FunctionType(ir.DoubleType(), [I64])
        return builder.bitcast(builder.call(builder.inttoptr(args[0], kind.as_pointer()), [args[1]]), I64)

    return types.int64(types.int64, types.int64), gen
