"""The file of a saved trace: a header with checksums, a description in JSON, and the memory of the captured tensors.

Nothing in it is executed: the description names ops, which the loading numtorch looks up and plans anew for its processor.
A file is replaced in one step, so that a crash leaves the old one. All numbers are little-endian:

    8 bytes magic, u32 format, u32 zero, u64 length of the description, u64 length of the memory,
    SHA-256 of the description, SHA-256 of the memory, SHA-256 of all before; the description; the memory.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Sequence
from typing import Any

from ..serialization import _replacing

MAGIC = b"\x93NTTRACE"
FORMAT = 1
_HEAD = struct.Struct("<8sIIQQ32s32s")
_HEADER = _HEAD.size + 32


class TraceFileError(RuntimeError):
    """A file that is no trace, is damaged, or was written by a newer numtorch; the message says which."""

    __module__ = "numtorch.jit"


def write(path: Any, description: dict, blocks: Sequence[Any]) -> None:
    """Write a description and blocks of memory to a path, atomically. TypeError if the path is none."""
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"jit.save: expected 'path' to be a path, got {type(path).__name__}")
    text = json.dumps(description, separators=(",", ":"), allow_nan=False).encode()
    digest, length = hashlib.sha256(), 0
    for block in blocks:
        digest.update(block)
        length += len(block)
    head = _HEAD.pack(
        MAGIC, FORMAT, 0, len(text), length, hashlib.sha256(text).digest(), digest.digest()
    )
    with _replacing(os.path.realpath(os.fspath(path))) as file:
        file.write(head + hashlib.sha256(head).digest())
        file.write(text)
        for block in blocks:
            file.write(block)


def read(path: Any) -> tuple[dict, memoryview]:
    """The description and the memory; OSError if the path can't be read, TraceFileError if it holds no sound trace."""
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"jit.load: expected 'path' to be a path, got {type(path).__name__}")
    label = os.fspath(path)
    with open(path, "rb") as file:
        content = memoryview(file.read())
    _check_magic(content, label)
    if len(content) < _HEADER:
        raise TraceFileError(f"jit.load: {label} is truncated: {len(content)} bytes, the header has {_HEADER}")
    head = content[: _HEAD.size]
    _, form, _, text_length, length, text_digest, digest = _HEAD.unpack(head)
    if form > FORMAT:
        raise TraceFileError(
            f"jit.load: {label} has format {form}, but this numtorch reads up to {FORMAT}: it was written by a newer numtorch"
            " (install that one to load it), or it is damaged"
        )
    if hashlib.sha256(head).digest() != bytes(content[_HEAD.size : _HEADER]):
        raise TraceFileError(f"jit.load: {label} is damaged: the header's checksum does not match")
    expected = _HEADER + text_length + length
    if len(content) != expected:
        what = "is truncated" if len(content) < expected else "is damaged"
        raise TraceFileError(f"jit.load: {label} {what}: {len(content)} bytes instead of {expected}")
    text, memory = content[_HEADER : _HEADER + text_length], content[_HEADER + text_length :]
    for part, data, wanted in (("description", text, text_digest), ("memory", memory, digest)):
        if hashlib.sha256(data).digest() != wanted:
            raise TraceFileError(f"jit.load: {label} is damaged: the checksum of its {part} does not match")
    return json.loads(bytes(text)), memory


def _check_magic(content: memoryview, label: str) -> None:
    begin = bytes(content[: len(MAGIC)])
    if begin == MAGIC:
        return
    if MAGIC.startswith(begin):
        raise TraceFileError(f"jit.load: {label} is truncated: it has {len(content)} bytes")
    hint = "; numtorch.load reads it" if begin.startswith(b"PK\x03\x04") else ""
    raise TraceFileError(f"jit.load: {label} is not a saved trace: it begins with {begin!r}{hint}")
