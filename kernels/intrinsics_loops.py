"""Numba intrinsics behind loops.py: marks and arithmetic of loops, transposing. Imported only when
compiling."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core.errors import TypingError
from numba.extending import intrinsic

# ---- loops whose iterations are independent ----------------------------------------------------------------


class _Distinct(ir.MDValue):
    """A metadata node that LLVM must not merge with equal ones (llvmlite prints no `distinct`)."""

    def descr(self, buf):
        operands = ", ".join(op.get_reference() for op in self.operands)
        buf.append(f"distinct !{{ {operands} }}\n")


def _distinct(module):
    return _Distinct(module, (), name=str(len(module.metadata)))


def _loops(function):
    """(latch, blocks) of every loop lowered so far in `function`: a branch back to a block that dominates
    it."""
    after = {}
    for block in function.blocks:
        targets = block.terminator.operands if block.terminator is not None else ()
        after[block] = [t for t in targets if isinstance(t, ir.Block)]
    entry = next(b for b in function.blocks if b.terminator is not None)  # the first one is closed last
    found = []
    for header in function.blocks:
        inside = _reachable(after, header, None)
        outside = _reachable(after, entry, header)  # what can be reached without passing the header
        body = inside - outside
        latches = [block for block in body if header in after[block]]
        found += [(latch, {b for b in body if latch in _reachable(after, b, header)}) for latch in latches]
    return found


def _reachable(after, start, avoiding):
    """Blocks reachable from `start`, itself included, on ways that do not enter `avoiding` (but may start
    there)."""
    found, pending = {start}, [start]
    while pending:
        for block in after[pending.pop()]:
            if block not in found and block is not avoiding:
                found.add(block)
                pending.append(block)
    return found - ({avoiding} if start is not avoiding else set())


@intrinsic
def independent(typingctx):
    """Mark the innermost loops above: no iteration reads what another one writes.

    LLVM then vectorises them without alias checks, also where an output is an input. The mark is LLVM's
    `llvm.loop.parallel_accesses`: one access group on the loads and stores, named by the branch that closes
    the loop.
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


# ---- transposing -------------------------------------------------------------------------------------------


@intrinsic
def transpose_block(typingctx, target, target_row, source, source_row):
    """A square of 8 x 8 elements (4 x 4 of 8 bytes) through registers: target[i * target_row + j] = source[j
    * ...]."""
    if not (isinstance(target, types.CPointer) and target == source):
        raise TypingError(f"transpose_block needs two pointers of one type, got {target} and {source}")
    side = 4 if target.dtype.bitwidth == 64 else 8

    def gen(context, builder, sig, args):
        target, target_row, source, source_row = args
        element = source.type.pointee
        vector = ir.VectorType(element, side)
        rows = [_vector_at(builder, source, source_row, i, vector) for i in range(side)]
        rows = [builder.load(p, align=element.width // 8) for p in rows]
        step = side // 2
        while step:
            rows = _swap_blocks(builder, rows, step)
            step //= 2
        for i, row in enumerate(rows):
            builder.store(row, _vector_at(builder, target, target_row, i, vector), align=element.width // 8)
        return context.get_dummy_value()

    return types.void(target, types.int64, source, types.int64), gen


def _vector_at(builder, base, row, i, vector):
    place = builder.gep(base, [builder.mul(row, row.type(i))])
    return builder.bitcast(place, vector.as_pointer())


def _swap_blocks(builder, rows, step):
    """Exchange the two off-diagonal blocks of side `step` within each block of twice the side."""
    side = len(rows)
    upper = [k if not k & step else side + k - step for k in range(side)]
    lower = [k + step if not k & step else side + k for k in range(side)]
    masks = [ir.Constant(ir.VectorType(ir.IntType(32), side), mask) for mask in (upper, lower)]
    swapped = list(rows)
    for i in range(side):
        if not i & step:
            a, b = rows[i], rows[i + step]
            swapped[i] = builder.shuffle_vector(a, b, masks[0])
            swapped[i + step] = builder.shuffle_vector(a, b, masks[1])
    return swapped
