"""Names that an object file leaves to the linker; a missing one would abort the process."""

from __future__ import annotations

import struct

_SYMBOL_TABLE = 2
_UNDEFINED = 0


def undefined_symbols(blob: bytes) -> set[str] | None:
    """Undefined symbols of a 64-bit ELF object file; None for another format (macOS, Windows)."""
    if blob[:5] != b"\x7fELF\x02":
        return None
    order = "<" if blob[5] == 1 else ">"
    (table,) = struct.unpack_from(f"{order}Q", blob, 40)
    size, count = struct.unpack_from(f"{order}HH", blob, 58)
    sections = [struct.unpack_from(f"{order}IIQQQQIIQQ", blob, table + size * i) for i in range(count)]
    names: set[str] = set()
    for _, kind, _, _, offset, length, link, _, _, _ in sections:
        if kind == _SYMBOL_TABLE:
            strings = sections[link][4]
            for at in range(offset, offset + length, 24):
                name, _, _, section = struct.unpack_from(f"{order}IBBH", blob, at)
                if section == _UNDEFINED and name:
                    end = blob.index(b"\0", strings + name)
                    names.add(blob[strings + name : end].decode())
    return names
