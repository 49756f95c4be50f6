"""What was found out before, kept in bounded memory."""

from __future__ import annotations

from typing import Any

MOST = 4096


class Memo(dict):
    """Findings by all that they depend on; begins anew when it has grown large, as under sizes that never come again.

    Example:
        >>> squares = Memo()
        >>> squares.note(3, 9), squares.get(3)
        (9, 9)
    """

    __slots__ = ()

    def note(self, key: Any, finding: Any = True) -> Any:
        """Remember a finding, and return it."""
        if len(self) > MOST:
            self.clear()
        self[key] = finding
        return finding
