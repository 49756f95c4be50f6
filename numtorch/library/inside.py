"""``inspect``: the kernels behind a call, as Python source, LLVM and machine code."""

from __future__ import annotations

import inspect as python
import re
from collections.abc import Callable, Iterator
from typing import Any


class KernelView:
    """One kernel of a call: ``name``, the ``ops`` that it computes, ``dtypes``, ``source``, ``llvm``, ``assembly``."""

    def __init__(self, kernel: Any, env: dict[str, Any], ops: str):
        self.kernel, self.dtypes, self.ops = kernel, dict(env), ops
        self.name = kernel.name
        self._texts: tuple[str, str] | None = None

    @property
    def source(self) -> str:
        """The kernel as Python."""
        return python.getsource(self.kernel.py)

    def _compiled(self) -> tuple[str, str]:
        if self._texts is None:
            from ..kernels.compile_cpu import inspect_kernel
            from ..kernels.jit import complete

            self._texts = inspect_kernel(self.kernel, complete(self.dtypes))
        return self._texts

    @property
    def llvm(self) -> str:
        """Optimised LLVM; compiled when first asked for."""
        return self._compiled()[0]

    @property
    def assembly(self) -> str:
        """Assembly for this CPU."""
        return self._compiled()[1]

    def loop(self) -> str:
        """The instructions of the innermost loop that works on most vector registers: where the time goes."""
        best: list[str] = []
        for lines in _loops(self.assembly):
            if sum("mm" in line for line in lines) > sum("mm" in line for line in best):
                best = lines
        return "\n".join(best)

    def __repr__(self) -> str:
        kinds = ", ".join(f"{k}={v}" for k, v in self.dtypes.items())
        return f"<kernel {self.name} ({kinds}) for {self.ops}>"


def _loops(assembly: str) -> Iterator[list[str]]:
    """Runs of instructions from a label to the first jump back to it."""
    lines = [line for line in assembly.splitlines() if line.strip() and not re.match(r"\s*(\.|#)(?!L)", line)]
    places = {line.partition(":")[0].strip(): i for i, line in enumerate(lines) if re.match(r"\.?L\w+:", line)}
    for i, line in enumerate(lines):
        jump = re.match(r"\s+(?:j\w+|b\.?\w*|cbn?z|tbn?z)\s+.*?(\.?L\w+)\s*$", line)
        if jump and places.get(jump.group(1), i) < i:
            start = places[jump.group(1)]
            body = lines[start:i + 1]
            if not any(re.match(r"\.?L\w+:", inner) for inner in body[1:]):
                yield body


def inspect(function: Callable, *args: Any, **kwargs: Any) -> list[KernelView]:
    """The CPU kernels that ``function(*args)`` runs, in order, after fusion; nothing is changed by looking.

    Example:
        >>> (kernel,) = torch.library.inspect(lambda x: (x * 2).relu(), torch.ones(8))
        >>> "def mul_relu" in kernel.source and "x float>" in kernel.llvm
        True
    """
    from ..jit import trace
    from ..ops.launch import twin

    traced = trace(function, args, example_kwarg_inputs=kwargs, check_trace=False)
    found: list[KernelView] = []
    for bound in traced.paths()[:1]:
        entries = dict.fromkeys(op.entry for op in bound.program.ops)
        for entry in entries:
            if entry.plan is not None:
                made = entry.plan.program.kernel(entry.plan.layout_kind)
                found.append(KernelView(made.kernel, made.env, entry.name))
            for launch in entry.launches or ():
                kernel = twin("cpu", *launch.kernel) if type(launch.kernel) is tuple else launch.kernel
                if hasattr(kernel, "py"):
                    found.append(KernelView(kernel, launch.env, entry.name))
    return found
