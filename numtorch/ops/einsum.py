"""Einstein summation: sums of products named by subscripts, as batched matrix products of two operands at a time."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from .._tensor import Tensor
from ..errors import require_tensor
from . import elementwise as E
from . import reduce as R
from . import view
from .matmul import matmul
from .node_names import called


def _letters(subscripts: Sequence[int]) -> str:
    """The subscripts of the list form as letters."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    out = []
    for s in subscripts:
        if s is Ellipsis:
            out.append("...")
        elif isinstance(s, int) and 0 <= s < len(alphabet):
            out.append(alphabet[s])
        else:
            raise RuntimeError(f"einsum(): expected subscripts within the range [0, 52), but got {s}")
    return "".join(out)


def _from_lists(args: tuple) -> tuple[str, list[Tensor]]:
    """(equation, operands) of the form op1, [0, 1], op2, [1, 2], ..., [0, 2]."""
    operands = list(args[0 : len(args) - len(args) % 2 : 2])
    terms = [_letters(s) for s in args[1::2]]
    equation = ",".join(terms[: len(operands)])
    if len(args) % 2:
        equation += "->" + _letters(args[-1])
    return equation, operands


def _parse(term: str, ndim: int | None, position: int) -> list[str]:
    """The labels of one operand, "..." expanded to the labels ".0", ".1" (from the last dimension)."""
    if term.count(".") not in (0, 3) or ("." in term and "..." not in term):
        raise RuntimeError("einsum(): found '.' for operand that is not part of any ellipsis")
    left, dots, right = term.partition("...")
    for c in left + right:
        if not (c.isalpha() and c.isascii()):
            raise RuntimeError(
                f"einsum(): invalid subscript given at index 0, subscripts must be in [a-zA-Z], got {c!r}"
            )
    if ndim is None:
        return [*left, *(["..."] if dots else []), *right]
    named = len(left) + len(right)
    if named > ndim or (not dots and named != ndim):
        raise RuntimeError(
            f"einsum(): the number of subscripts in the equation ({named}) {'is more than' if named > ndim else 'does not match'}"
            f" the number of dimensions ({ndim}) for operand {position}"
        )
    return [*left, *[f".{k}" for k in range(ndim - named - 1, -1, -1)], *right]


def _unrepeated(x: Tensor, labels: list[str]) -> tuple[Tensor, list[str]]:
    """The diagonals where a label names several dimensions of one operand."""
    for label in [n for n, count in Counter(labels).items() if count > 1]:
        while labels.count(label) > 1:
            i = labels.index(label)
            j = labels.index(label, i + 1)
            m, n = x._layout.shape[i], x._layout.shape[j]
            if m != n:
                raise RuntimeError(f"einsum(): subscript {label} is repeated for operand but the sizes don't match, {n} != {m}")  # fmt: skip
            x = view.diagonal(x, 0, i, j)
            labels = [n for k, n in enumerate(labels) if k not in (i, j)] + [label]
    return x, labels


def _summed(x: Tensor, labels: list[str], keep: set[str]) -> tuple[Tensor, list[str]]:
    """Summed over the labels that nobody else needs."""
    gone = [d for d, n in enumerate(labels) if n not in keep]
    return (R.sum(x, gone), [n for n in labels if n in keep]) if gone else (x, labels)


def _pair(a: Tensor, la: list[str], b: Tensor, lb: list[str], keep: set[str]) -> tuple[Tensor, list[str]]:
    """The product of two operands, summed over shared labels that are not kept."""
    sa, sb = dict(zip(la, a._layout.shape)), dict(zip(lb, b._layout.shape))
    # A summed size that only one side repeats is summed on that side first.
    shared = [n for n in la if n in sb and n not in keep]
    for n in shared:
        if sa[n] != sb[n]:
            if sb[n] == 1:
                a = R.sum(a, la.index(n), True)
            else:
                b = R.sum(b, lb.index(n), True)
    batch = [n for n in la if n in sb and n in keep]
    left, right = [n for n in la if n not in sb], [n for n in lb if n not in sa]
    size = {
        n: max(sa.get(n, 1), sb.get(n, 1)) if 0 not in (sa.get(n, 1), sb.get(n, 1)) else 0 for n in [*la, *lb]
    }
    x = view.permute(a, [la.index(n) for n in batch + left + shared])
    y = view.permute(b, [lb.index(n) for n in batch + shared + right])
    outside = [size[n] for n in batch]
    if not shared and not left and not right:
        return E.mul(x, y), batch
    inside = math.prod(x._layout.shape[len(batch) + len(left) :])
    rows, cols = math.prod(size[n] for n in left), math.prod(size[n] for n in right)
    x = view.reshape(x, x._layout.shape[: len(batch)] + (rows, inside))
    y = view.reshape(y, y._layout.shape[: len(batch)] + (inside, cols))
    result = matmul(x, y) if x.dtype.is_floating_point or shared else E.mul(x, y)
    return view.reshape(result, outside + [size[n] for n in left + right]), batch + left + right


def _sizes(operands: list[Tensor], labels: list[list[str]]) -> dict[str, int]:
    """The size of every label; RuntimeError where operands disagree."""
    found: dict[str, int] = {}
    for i, (x, names) in enumerate(zip(operands, labels)):
        for d, (name, n) in enumerate(zip(names, x._layout.shape)):
            have = found.get(name, 1)
            if have not in (1, n) and n != 1:
                raise RuntimeError(
                    f"einsum(): subscript {name} has size {n} for operand {i} which does not broadcast with previously seen"
                    f" size {have} (dimension {d})"
                )
            found[name] = n if have == 1 else have
    return found


def _output(given: str | None, labels: list[list[str]]) -> list[str]:
    """The labels of the result: as given, or those that occur once in alphabetical order after the ellipsis."""
    dots = sorted({n for names in labels for n in names if n[0] == "."}, key=lambda n: -int(n[1:]))
    if given is None:
        count = Counter(n for names in labels for n in names if n[0] != ".")
        return dots + sorted(n for n, k in count.items() if k == 1)
    out: list[str] = []
    for n in _parse(given, None, -1):
        out += dots if n == "..." else [n]
    known = {n for names in labels for n in names}
    for n in out:
        if out.count(n) > 1:
            raise RuntimeError(f"einsum(): output subscript {n} appears more than once in the output")
        if n not in known:
            raise RuntimeError(f"einsum(): output subscript {n} does not appear in the equation for any input operand")  # fmt: skip
    return out


@called("ViewBackward0")
def einsum(*args: Any) -> Tensor:
    """Sums of products named by subscripts: ``einsum("ij,jk->ik", a, b)``, or ``einsum(a, [0, 1], b, [1, 2], [0, 2])``.

    Letters name dimensions; those missing after ``->`` are summed, ``...`` stands for any that broadcast. RuntimeError
    where subscripts and dimensions don't fit.

    Example:
        >>> import numtorch
        >>> numtorch.einsum("ii->", numtorch.ones(3, 3))
        tensor(3.)
    """
    if len(args) < 2:
        raise ValueError("einsum(): must specify the equation string and at least one operand, or at least one operand and its subscripts list")  # fmt: skip
    if isinstance(args[0], str):
        equation, operands = args[0], list(args[1:])
        if len(operands) == 1 and isinstance(operands[0], (tuple, list)):
            operands = list(operands[0])
    else:
        equation, operands = _from_lists(args)
    for i, x in enumerate(operands):
        require_tensor("einsum", f"operands[{i}]", x)
    given, arrow, target = equation.replace(" ", "").partition("->")
    terms = given.split(",")
    if len(terms) != len(operands):
        problem = "fewer" if len(terms) > len(operands) else "more"
        raise RuntimeError(f"einsum(): {problem} operands were provided than specified in the equation")
    pairs = [_unrepeated(x, _parse(t, x.ndim, i)) for i, (t, x) in enumerate(zip(terms, operands))]
    labels = [names for _, names in pairs]
    sizes = _sizes([x for x, _ in pairs], labels)
    out = _output(target if arrow else None, labels)
    result, names = pairs[0]
    for i in range(len(pairs)):
        later = {n for _, more in pairs[i + 1 :] for n in more} | set(out)
        if i:
            operand, own = _summed(pairs[i][0], pairs[i][1], later | set(names))
            result, names = _pair(result, names, operand, own, later)
        result, names = _summed(result, names, later)
    result = view.permute(result, [names.index(n) for n in out])
    return view.expand(result, [sizes[n] for n in out])
