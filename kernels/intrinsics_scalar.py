"""Numba intrinsics behind scalar.py and the generated loops of codegen.py. Imported only when compiling."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

# ---- loops whose iterations are independent --------------------------------------------------------------------------


class _Distinct(ir.MDValue):
    """A metadata node that LLVM must not merge with equal ones (llvmlite prints no `distinct`)."""

    def descr(self, buf):
        operands = ", ".join(op.get_reference() for op in self.operands)
        buf.append(f"distinct !{{ {operands} }}\n")


def _distinct(module):
    return _Distinct(module, (), name=str(len(module.metadata)))


def _natural_loop(header, latch, before):
    """The blocks of the loop that `latch` closes: those that reach it without passing `header`."""
    found, pending = {header, latch}, [latch]
    while pending:
        block = pending.pop()
        if block is not header:
            for previous in before.get(block, ()):
                if previous not in found:
                    found.add(previous)
                    pending.append(previous)
    return found


def _loops(function):
    """(latch, blocks) of every loop lowered so far in `function`. Blocks stand in the order of the source."""
    place = {block: k for k, block in enumerate(function.blocks)}
    before, closing = {}, []
    for block in function.blocks:
        if block.terminator is None:
            continue
        for target in block.terminator.operands:
            if isinstance(target, ir.Block):
                before.setdefault(target, []).append(block)
                if place[target] <= place[block]:
                    closing.append((block, target))
    return [(latch, _natural_loop(header, latch, before)) for latch, header in closing]


@intrinsic
def independent(typingctx):
    """Mark the innermost loops above: no iteration reads what another one writes.

    LLVM then vectorises them without alias checks, also where an output is an input. The mark is LLVM's
    `llvm.loop.parallel_accesses`: one access group on the loads and stores, named by the branch that closes the loop.
    """

    def gen(context, builder, sig, args):
        module, loops = builder.module, _loops(builder.function)
        group = _distinct(module)
        accesses = module.add_metadata([ir.MetaDataString(module, "llvm.loop.parallel_accesses"), group])
        for latch, blocks in loops:
            if any(other is not latch and other in blocks for other, _ in loops):
                continue
            node = _distinct(module)
            node.operands = (node, accesses)
            latch.terminator.set_metadata("llvm.loop", node)
            for block in blocks:
                for instruction in block.instructions:
                    if isinstance(instruction, (ir.LoadInstr, ir.StoreInstr)):
                        instruction.set_metadata("llvm.access.group", group)
        return context.get_dummy_value()

    return types.void(), gen


@intrinsic
def quotient(typingctx, a, b):
    """a // b of non-negative int64, b > 0, without Python's checks."""

    def gen(context, builder, sig, args):
        return builder.udiv(args[0], args[1])

    return types.int64(types.int64, types.int64), gen


@intrinsic
def start(typingctx, n, chunk, nchunks):
    def gen(context, builder, sig, args):
        n, chunk, nchunks = args
        blocks = builder.lshr(builder.add(n, n.type(511)), n.type(9))
        first = builder.shl(builder.udiv(builder.mul(blocks, chunk), nchunks), n.type(9))
        return builder.select(builder.icmp_signed("<", first, n), first, n)

    return types.int64(types.int64, types.int64, types.int64), gen
