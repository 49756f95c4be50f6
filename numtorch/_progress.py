"""Progress on standard error: tqdm's bar, or a plain one without tqdm; a few lines where nobody watches."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Progress(Protocol):
    """What a running bar offers."""

    def advance(self, note: str = "") -> None:
        """One more unit is done; `note` is shown behind the bar."""


class _Tqdm:
    """tqdm behind the Progress interface."""

    def __init__(self, bar) -> None:
        self.bar = bar

    def advance(self, note: str = "") -> None:
        if note:
            self.bar.set_postfix_str(note, refresh=False)
        self.bar.update()


class _Plain:
    """Redraws one line on a terminal; elsewhere prints a line at each fifth of the way."""

    def __init__(self, total: int, label: str, unit: str) -> None:
        self.total, self.label, self.unit = total, label, unit
        self.done, self.start, self.drawn, self.note = 0, time.perf_counter(), 0.0, ""
        self.live = sys.stderr.isatty()

    def advance(self, note: str = "") -> None:
        self.done, self.note = self.done + 1, note or self.note
        now = time.perf_counter()
        fifth = self.done * 5 // self.total > (self.done - 1) * 5 // self.total
        if (now - self.drawn > 0.1 if self.live else fifth) or self.done == self.total:
            self.drawn = now
            self.draw(now - self.start)

    def draw(self, seconds: float) -> None:
        filled = self.done * 24 // self.total
        bar = "#" * filled + "." * (24 - filled)
        count = f"{self.done}/{self.total} {self.unit}s"
        text = f"{self.label} [{bar}] {count}, {seconds:.1f} s  {self.note}".rstrip()
        end = "\n" if not self.live or self.done == self.total else ""
        sys.stderr.write(("\r\x1b[K" if self.live else "") + text + end)
        sys.stderr.flush()


@contextmanager
def progress(total: int, label: str, unit: str = "step") -> Iterator[Progress]:
    """A bar of `total` units for a `with` block; call `advance()` after each unit.

    >>> with progress(2, "count") as bar:
    ...     for _ in range(2):
    ...         bar.advance()
    """
    bar = None
    if sys.stderr.isatty():
        try:
            import tqdm
        except ModuleNotFoundError:
            tqdm = None
        if tqdm is not None:
            bar = tqdm.tqdm(total=total, desc=label, unit=f" {unit}", dynamic_ncols=True, leave=True)
    try:
        yield _Tqdm(bar) if bar is not None else _Plain(total, label, unit)
    finally:
        if bar is not None:
            bar.close()
