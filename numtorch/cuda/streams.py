"""Streams and events, with PyTorch's names: queues of work on a GPU, and marks in them.

Each thread has a current stream per GPU, at first the GPU's default one; everything is launched, copied and allocated
there. Work on different streams may overlap: `wait_stream`, `wait_event` and `Tensor.record_stream` order it.
"""

from __future__ import annotations

from typing import Any


class Stream:
    """A queue of work on a GPU; ``with torch.cuda.stream(s):`` makes it current.

    ``priority``: negative ones come first. Raises where there is no GPU.
    """

    def __init__(self, device: Any = None, priority: int = 0, *, handle: Any = None):
        self._gpu = _gpu(device)
        self._stream = self._gpu.new_stream(priority) if handle is None else handle

    @property
    def device(self) -> Any:
        """The stream's device."""
        from ..device import device

        return device("cuda", self._gpu.index)

    @property
    def device_index(self) -> int:
        """The number of the stream's device."""
        return self._gpu.index

    @property
    def cuda_stream(self) -> int:
        """The driver's handle, for other libraries."""
        return int(self._stream.handle)

    def synchronize(self) -> None:
        """Wait until all work given to the stream so far is done."""
        self._gpu.synchronize(self._stream)

    def query(self) -> bool:
        """Whether all work given to the stream so far is done."""
        return self.record_event().query()

    def record_event(self, event: Event | None = None) -> Event:
        """Put an event (a new one by default) behind the work so far; returns it."""
        event = Event() if event is None else event
        event.record(self)
        return event

    def wait_event(self, event: Event) -> None:
        """Work given to this stream from now on starts after the event."""
        event.wait(self)

    def wait_stream(self, stream: Stream) -> None:
        """Work given to this stream from now on starts after all work given to ``stream`` so far."""
        self.wait_event(stream.record_event())

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Stream) and self._gpu is other._gpu and self.cuda_stream == other.cuda_stream

    def __hash__(self) -> int:
        return hash((self._gpu.index, self.cuda_stream))

    def __repr__(self) -> str:
        return f"<numtorch.cuda.Stream device={self.device} cuda_stream={self.cuda_stream:#x}>"


class Event:
    """A mark in a stream; ``enable_timing`` for ``elapsed_time``; ``blocking``: waiting for it sleeps."""

    def __init__(self, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False):
        if interprocess:
            raise NotImplementedError("Event: interprocess events are not supported; use events of one process")
        _gpu(None)  # raises where there is none
        self._timing, self._blocking = enable_timing, blocking
        self._event: Any = None
        self._gpu: Any = None

    def record(self, stream: Stream | None = None) -> None:
        """Stand behind all work given so far to a stream (None: the current one)."""
        stream = current_stream() if stream is None else stream
        self._gpu = stream._gpu
        self._event = self._gpu.record(stream._stream, self._timing, self._blocking)

    def wait(self, stream: Stream | None = None) -> None:
        """Work given to a stream (None: the current one) from now on starts after this event; at once if never recorded."""
        stream = current_stream() if stream is None else stream
        if self._event is not None:
            stream._stream.wait(self._event)

    def query(self) -> bool:
        """Whether the work before the event is done; True for one never recorded."""
        return self._event is None or bool(self._event.is_done)

    def synchronize(self) -> None:
        """Wait until the work before the event is done."""
        if self._event is not None:
            self._gpu.checked(self._event.sync)

    def elapsed_time(self, end_event: Event) -> float:
        """Milliseconds from this event to another. Both must be timed, recorded, and done."""
        if not (self._timing and end_event._timing):
            raise ValueError("Both events must be created with argument 'enable_timing=True'.")
        if self._event is None or end_event._event is None:
            raise ValueError("Both events must be recorded before calculating elapsed time.")
        if not (self.query() and end_event.query()):
            raise RuntimeError("Both events must be completed before calculating elapsed time; synchronize() first.")
        return float(end_event._event - self._event)

    def __repr__(self) -> str:
        return f"<numtorch.cuda.Event {'recorded' if self._event is not None else 'never recorded'}>"


class StreamContext:
    """Makes a stream current inside a with block; None changes nothing."""

    def __init__(self, stream: Stream | None):
        self.stream = stream

    def __enter__(self) -> None:
        if self.stream is not None:
            self._before = self.stream._gpu.stream
            self.stream._gpu.use(self.stream._stream)

    def __exit__(self, *exc: Any) -> None:
        if self.stream is not None:
            self.stream._gpu.use(self._before)


def stream(stream: Stream | None) -> StreamContext:
    """Context manager: what is done inside goes to this stream."""
    return StreamContext(stream)


def set_stream(stream: Stream | None) -> None:
    """Make a stream the current one of this thread."""
    if stream is not None:
        stream._gpu.use(stream._stream)


def current_stream(device: Any = None) -> Stream:
    """The stream that this thread's work on a device goes to."""
    gpu = _gpu(device)
    return Stream(gpu, handle=gpu.stream)


def default_stream(device: Any = None) -> Stream:
    """The stream that is current at first."""
    gpu = _gpu(device)
    return Stream(gpu, handle=gpu.first_stream)


def record_stream(tensor: Any, stream: Stream) -> None:
    """Say that a tensor is used on a stream beside its own: its memory is reused only after the work given there so far."""
    from .runtime import owner_of

    block = owner_of(tensor._storage)
    if not tensor.is_cuda or not hasattr(block, "streams"):
        raise RuntimeError("record_stream: expected a CUDA tensor whose memory numtorch allocated")
    block.streams = (*block.streams, stream._stream)


def _gpu(device: Any) -> Any:
    """The GPU of a device, its number, None (the chosen one), or the GPU itself."""
    if hasattr(device, "first_stream"):
        return device
    from . import gpu_of

    return gpu_of(device)


__all__ = ["Event", "Stream", "StreamContext", "current_stream", "default_stream", "record_stream",
           "set_stream", "stream"]  # fmt: skip
