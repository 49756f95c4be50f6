"""What can be seen of a traced function, and how it is kept: graph, code, profile, picture, file."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..autograd.mode import set_anomaly, state
from .listing import Graph

if TYPE_CHECKING:
    from .code import Code
    from .profile import Profile


@contextlib.contextmanager
def unwatched(name: str) -> Iterator[None]:
    """While a trace is replayed under a profile: one event, whatever runs inside; anomalies are looked for as ever."""
    watcher = state.anomaly
    with watcher.timed(name, "replay"):
        set_anomaly(watcher.inner)
        try:
            yield
        finally:
            set_anomaly(watcher)


def told(traced: Any, bound: Any, seconds: float) -> None:
    """A line about a new recording where NUMTORCH_DEBUG asks for it."""
    debug = sys.modules.get("numtorch.debug")
    if debug is not None:
        path = bound.path
        kinds = ", ".join(f"{r.layout.dtype.name}{list(r.layout.shape)}" for r in path.inputs)
        ops = len(path.forward) + len(path.backward)
        calls = len(bound.program.ops) + (len(bound.backward.ops) if bound.backward is not None else 0)
        debug.note(
            1, f"trace {traced.__name__}({kinds}): {ops} ops in {calls} kernel calls, {len(path.guards)} values checked,"
            f" recorded in {seconds * 1e3:.0f} ms"
        )  # fmt: skip


class Visible:
    """The part of ``Traced`` that shows what was recorded."""

    __name__: str

    def paths(self) -> list[Any]:
        """Everything recorded so far."""
        raise RuntimeError(f"{type(self).__name__} records nothing")

    def _newest(self) -> Any:
        found = self.paths()
        if not found:
            raise RuntimeError(f"{self.__name__} has recorded nothing yet; call it once with example inputs")
        return found[0]

    @property
    def graph(self) -> Graph:
        """The ops of the newest recording, printable; RuntimeError if nothing was recorded."""
        bound = self._newest()
        return Graph(bound.path, bound, self.__name__)

    @property
    def code(self) -> Code:
        """The newest recording as Python source that can be run; RuntimeError if nothing was recorded."""
        from .code import Code

        return Code(self._newest().path, self.__name__)

    def profile(self, *args: Any, repeat: int = 20, **kwargs: Any) -> Profile:
        """Time, FLOP/s and GB/s of each kernel for these inputs, against what this machine can do; no effect remains."""
        from .profile import profile

        return profile(self, args, kwargs, repeat)

    def save(self, path: Any) -> None:
        """Write everything recorded, with the tensors it uses, to a file that ``numtorch.jit.load`` reads."""
        from .saving import save

        save(self, path)  # type: ignore[arg-type]

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        if not self.paths():
            return {"text/plain": repr(self)}
        return self.graph._repr_mimebundle_(include, exclude)
