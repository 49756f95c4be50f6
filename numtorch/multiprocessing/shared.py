"""Blocks of memory that several processes see: files without a name, so that nothing is left behind however they end.

On Linux a block is a memfd, elsewhere a POSIX shared memory object whose name is removed at once. The descriptor is what
travels; the system frees the memory when the last process has closed it. A process that gets the same block twice has one
Storage for it, found by the file's number.
"""

from __future__ import annotations

import ctypes
import errno
import gc
import mmap
import os
import secrets
import sys
import threading
import weakref
from typing import Any

from .._tensor import Tensor, replaced
from ..storage import Storage

_known: weakref.WeakValueDictionary[tuple[int, int], Storage] = weakref.WeakValueDictionary()
_lock = threading.Lock()
_FEW = 3  # references to the memory of a tensor that shares it with no other: its own, a local name, a call's argument


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()  # another thread may have held it


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Shared:
    """A mapped block; unmapped and closed when nothing looks at it any more."""

    __slots__ = ("_unmap", "fd", "nbytes", "ptr")

    def __init__(self, fd: int, nbytes: int):
        libc = _libc()
        self._unmap, self.fd, self.nbytes = libc.munmap, fd, nbytes
        self.ptr = libc.mmap(None, nbytes, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED, fd, 0)
        if self.ptr == ctypes.c_void_p(-1).value:
            code = ctypes.get_errno()
            self.ptr = None
            raise OSError(code, f"share_memory_: mapping {nbytes} bytes failed: {os.strerror(code)}")

    def __del__(self, close: Any = os.close) -> None:
        if self.ptr is not None:
            self._unmap(self.ptr, self.nbytes)
        close(self.fd)


def _libc() -> Any:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int64)
    libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    return libc


def _file(nbytes: int) -> int:
    """The descriptor of a new nameless file of that size in memory."""
    try:
        if sys.platform == "linux":
            fd = os.memfd_create("numtorch", os.MFD_CLOEXEC)
        elif os.name == "posix":
            import _posixshmem  # what multiprocessing.shared_memory stands on

            name = f"/nt{secrets.token_hex(8)}"
            fd = _posixshmem.shm_open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode=0o600)
            _posixshmem.shm_unlink(name)
        else:
            raise NotImplementedError(
                "share_memory_: numtorch shares memory between processes on POSIX systems only; send arrays instead"
            )
    except OSError as error:
        if error.errno == errno.EMFILE:
            error.add_note("Each shared storage holds a file open: raise the limit with `ulimit -n`.")
        raise
    try:
        os.ftruncate(fd, nbytes)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _key(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def shared_of(storage: Storage) -> Shared | None:
    """The shared block under a storage, or None."""
    block = storage._block
    return block[1] if type(block) is tuple and type(block[1]) is Shared else None


def is_shared(tensor: Tensor) -> bool:
    """Whether other processes can see a tensor's memory."""
    return shared_of(tensor._storage) is not None


def share_memory_(tensor: Tensor) -> Tensor:
    """Move a tensor's memory, and with it all tensors that look at it, to where other processes can see it.

    NumPy arrays made of the tensor before keep the memory that was.

    Example:
        >>> import numtorch
        >>> x = numtorch.ones(2).share_memory_()
        >>> x.is_shared(), x.tolist()
        (True, [1.0, 1.0])
    """
    if tensor.device.type != "cpu":
        return tensor
    old = tensor._storage
    if old.nbytes == 0 or shared_of(old) is not None:
        return tensor
    new = make(old.nbytes)
    ctypes.memmove(new.ptr, old.ptr, old.nbytes)
    new.version = old.version
    tensor._storage = new
    if sys.getrefcount(old) >= _FEW:  # somebody else looks at it
        for t in gc.get_referrers(old):
            if isinstance(t, Tensor) and t._storage is old:
                t._storage = new
    replaced[0] += 1  # traces look again at the memory they captured
    return tensor


def make(nbytes: int) -> Storage:
    """New shared memory, zeros."""
    return _storage(_file(nbytes), nbytes)


def _storage(fd: int, nbytes: int) -> Storage:
    block = Shared(fd, nbytes)
    storage = Storage.external(block.ptr, nbytes, block)
    _known[_key(fd)] = storage
    return storage


def opened(fd: int, nbytes: int) -> Storage:
    """The storage of a descriptor that came from another process; the one there is, if it came before."""
    with _lock:
        storage = _known.get(_key(fd))
        if storage is None:
            return _storage(fd, nbytes)
    block = shared_of(storage)
    if block is not None and block.fd != fd:
        os.close(fd)
    return storage
