"""One-way pipes between processes that carry pickled values, with tensors and arrays as raw bytes beside the
pickle.

A message is a header (sizes, pickle) and its buffers. The receiver makes aligned memory for each buffer and
reads into it, so that a tensor is copied once on each side of the pipe. Shared memory would save one of these
copies; pipes were chosen because nothing can be left behind in /dev/shm when a process is killed, and because
its size limit (64 MiB in many containers) is no limit here.
"""

from __future__ import annotations

import io
import os
import pickle
import struct
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

import numtorch

from ..._tensor import Tensor
from ...storage import allocate

_PIPE_BYTES = 1 << 20
_SET_PIPE_SIZE = 1031  # Linux's F_SETPIPE_SZ


class _Pickler(pickle.Pickler):
    """Tensors go as arrays: contiguous, without history."""

    def reducer_override(self, obj: Any) -> Any:
        if not isinstance(obj, Tensor):
            return NotImplemented
        if obj.requires_grad and not obj.is_leaf:
            raise RuntimeError(
                "DataLoader: Cowardly refusing to serialize non-leaf tensor which requires_grad, since"
                " autograd does not support crossing process boundaries; detach() it in the worker"
            )
        array: Any = np.ascontiguousarray(obj.detach()._numpy())
        return _tensor, (
            type(obj),
            pickle.PickleBuffer(array),
            obj.dtype,
            tuple(obj.shape),
            obj.requires_grad,
        )


def _tensor(kind: type, buffer: Any, dtype: Any, shape: tuple[int, ...], requires_grad: bool) -> Tensor:
    tensor = numtorch.empty(shape, dtype=dtype) if 0 in shape else numtorch.frombuffer(buffer, dtype=dtype).reshape(shape)
    if kind is not Tensor:
        tensor = (
            kind(tensor, requires_grad)
            if issubclass(kind, numtorch.nn.Parameter)
            else tensor.as_subclass(kind)
        )
    return tensor.requires_grad_(requires_grad) if requires_grad else tensor


def widen(connection: Connection) -> None:
    """Give a pipe more room, where the system lets it: fewer switches between the processes."""
    if os.name != "posix" or not hasattr(os, "pipe2"):
        return
    import fcntl

    try:
        fcntl.fcntl(connection.fileno(), _SET_PIPE_SIZE, _PIPE_BYTES)
    except OSError:
        return  # beyond the user's limit: the usual size works as well


def dumps(value: Any) -> list[Any]:
    """A message as a list of byte buffers. Raises what pickling raises."""
    file, buffers = io.BytesIO(), []
    _Pickler(file, 5, buffer_callback=buffers.append).dump(value)
    raw = [b.raw() for b in buffers]
    sizes = struct.pack(f"<q{len(raw)}q", len(raw), *[b.nbytes for b in raw])
    return [sizes + file.getvalue(), *[b for b in raw if b.nbytes]]


def send(connection: Connection, message: list[Any]) -> None:
    """Write a message; BrokenPipeError if nobody reads any more."""
    connection.send_bytes(message[0])
    for buffer in message[1:]:
        _write(connection, memoryview(buffer).cast("B"))


def receive(connection: Connection, wait: Callable[[], None]) -> Any:
    """Read a message. ``wait()`` returns when there is something to read, and raises if there never will be.

    Raises EOFError if the other side is gone.
    """
    wait()
    header = connection.recv_bytes()
    (count,) = struct.unpack_from("<q", header)
    sizes = struct.unpack_from(f"<{count}q", header, 8)
    buffers = []
    for size in sizes:
        view = allocate(size).bytes()
        if size:
            _read(connection, view, wait)
        buffers.append(view)
    return pickle.loads(memoryview(header)[8 + 8 * count :], buffers=buffers)


def _write(connection: Connection, view: memoryview) -> None:
    if os.name != "posix":
        connection.send_bytes(view)
        return
    handle, done = connection.fileno(), 0
    while done < len(view):
        done += os.write(handle, view[done:])


def _read(connection: Connection, view: memoryview, wait: Callable[[], None]) -> None:
    if os.name != "posix":
        wait()
        connection.recv_bytes_into(view)
        return
    handle, done = connection.fileno(), 0
    while done < len(view):
        wait()
        n = os.readv(handle, [view[done:]])
        if n == 0:
            raise EOFError(f"the other process ended after {done} of {len(view)} bytes")
        done += n
