"""What an op does on a GPU, noted while it is planned: launches, each with whose memory it was given.

If that is all the op does, ``DeviceSteps`` repeats it for other operands of the same layouts. Whatever an op gives to the
GPU passes ``runtime.py``, copies of operands that are not contiguous and the zeros of a result included.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..dtype import dtype
from ..ops import constant
from ..shape import Layout
from ..storage import Storage
from .ways import DeviceSteps

_PLAIN = (int, float, str, dtype, Layout, type(None))


class Notes:
    """The launches of one call, and the memory made for it. `only_launches`: nothing else was done."""

    __slots__ = ("given", "gpu", "launches", "memory", "only_launches")

    def __init__(self, gpu: Any):
        self.gpu, self.only_launches = gpu, True
        self.memory: list[Storage] = []  # all that was allocated, kept until the end so that no address occurs twice
        self.launches: list[tuple[Any, list[Any], list[int], tuple]] = []
        self.given: tuple[Sequence[Any], bool] | None = None

    def launch(self, made: Any, pointers: Sequence[Any], addresses: Sequence[int], numbers: Sequence[Any] = ()) -> None:
        """A prepared launch was started with the addresses of these tensors, of memory, or 0."""
        storages = [p if type(p) in (int, Storage) else p._storage for p in pointers]
        self.launches.append((made, storages, list(addresses), tuple(numbers)))

    def finish(self, outputs: Sequence[Any], launches: Any, single: bool) -> None:
        """The op's outputs."""
        self.given = outputs, single

    def steps(self, inputs: Sequence[Any], attrs: dict) -> DeviceSteps | None:
        """What can be repeated with other inputs of the same layouts; None if this call does not tell."""
        if self.given is None or not self.only_launches or not all(_is_plain(v) for v in attrs.values()):
            return None
        outputs, single = self.given
        tensors = [*outputs, *inputs]
        if len({t._layout.device for t in tensors if t is not None}) != 1:
            return None
        own = {id(t._storage) for t in tensors if t is not None}
        working = [s for s in self.memory if id(s) not in own]
        tables = _others(self.launches, own, working)
        if not all(constant.is_memory_of_table(s) for s in tables):
            return None
        made = DeviceSteps(
            self.gpu, [t._layout for t in outputs], single, [s.nbytes for s in working], [0, *[s.ptr for s in tables]]
        )
        made.keep = tables
        rest = len(tensors) + len(working)
        numbers = {id(s): len(tensors) + i for i, s in enumerate(working)}
        numbers |= {id(s): rest + 1 + i for i, s in enumerate(tables)}
        for ready, storages, addresses, last in self.launches:
            places = [_place(s, a, tensors, numbers, rest) for s, a in zip(storages, addresses)]
            if None in places:
                return None
            starts = tuple([start for _, start in places])  # type: ignore[misc]
            made.launches.append((ready, tuple([p for p, _ in places]), starts if any(starts) else (), last))  # type: ignore[misc]
        return made


def _is_plain(value: Any) -> bool:
    """Whether equal attributes mean the same, now and later."""
    return all(_is_plain(v) for v in value) if isinstance(value, tuple) else isinstance(value, _PLAIN)


def _others(launches: Sequence[Any], own: set[int], working: Sequence[Storage]) -> list[Storage]:
    """The memory that launches read and that is neither an operand's nor made for them."""
    known = own | {id(s) for s in working}
    found = {id(s): s for _, storages, _, _ in launches for s in storages if type(s) is not int and id(s) not in known}
    return list(found.values())


def _place(storage: Any, address: int, tensors: Sequence[Any], numbers: dict[int, int], none: int) -> tuple[int, int] | None:
    """(number of the memory, bytes from its start) of an address; None if it may be of one operand or another."""
    if type(storage) is int:
        return None if storage else (none, 0)
    number = numbers.get(id(storage))
    if number is not None:
        return number, address - storage.ptr
    same = [(i, address - t._address()) for i, t in enumerate(tensors) if t is not None and t._storage is storage]
    if len(same) > 1:  # parts of one tensor are told apart by where they start
        same = [(i, start) for i, start in same if start == 0]
    return same[0] if len(same) == 1 else None
