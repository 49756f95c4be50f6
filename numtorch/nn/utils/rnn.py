"""Sequences of different lengths: packed into rows, padded, and back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numtorch

from ..._tensor import Tensor
from ...absent import hints as _hints
from ...from_data import tensor as make_tensor


class _PackedFields(NamedTuple):
    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None
    unsorted_indices: Tensor | None


class PackedSequence(_PackedFields):
    """Rows of sequences, step by step: ``batch_sizes[t]`` rows of ``data`` belong to step t. Made by
    ``pack_*``.

    ``sorted_indices`` says which sequence of the batch each column is, longest first; ``unsorted_indices``
    undoes it.
    """

    def __new__(
        cls,
        data: Tensor,
        batch_sizes: Tensor | None = None,
        sorted_indices: Tensor | None = None,
        unsorted_indices: Tensor | None = None,
    ) -> PackedSequence:
        if batch_sizes is None:
            if not (isinstance(data, (list, tuple)) and len(data) == 2):
                raise AssertionError("PackedSequence: give data and batch_sizes, or a pair of them")
            data, batch_sizes = data
        elif batch_sizes.device.type != "cpu":
            raise ValueError(
                "batch_sizes should always be on CPU. Instances of PackedSequence should never be created"
                " manually. They should be instantiated by functions like pack_sequence and"
                " pack_padded_sequences in nn.utils.rnn."
            )
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def __getnewargs__(self) -> tuple:
        return tuple(self)

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """The same with its data (and indices, if the device changes) converted."""
        data = self.data.to(*args, **kwargs)
        if data is self.data:
            return self
        where = {"device": data.device}
        indices = [None if i is None else i.to(**where) for i in (self.sorted_indices, self.unsorted_indices)]
        return type(self)(data, self.batch_sizes, *indices)

    def pin_memory(self) -> PackedSequence:
        """The same in page-locked memory."""
        indices = [None if t is None else t.pin_memory() for t in (self.sorted_indices, self.unsorted_indices)]
        return type(self)(self.data.pin_memory(), self.batch_sizes, *indices)

    def cuda(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """The same on the GPU."""
        return self.to("cuda", *args, **kwargs)

    def cpu(self) -> PackedSequence:
        """The same on the CPU."""
        return self.to("cpu")

    def double(self) -> PackedSequence:
        """The same with float64 data."""
        return self.to(dtype=numtorch.float64)

    def float(self) -> PackedSequence:
        """The same with float32 data."""
        return self.to(dtype=numtorch.float32)

    def half(self) -> PackedSequence:
        """The same with float16 data."""
        return self.to(dtype=numtorch.float16)

    def long(self) -> PackedSequence:
        """The same with int64 data."""
        return self.to(dtype=numtorch.int64)

    def int(self) -> PackedSequence:
        """The same with int32 data."""
        return self.to(dtype=numtorch.int32)

    def short(self) -> PackedSequence:
        """The same with int16 data."""
        return self.to(dtype=numtorch.int16)

    def char(self) -> PackedSequence:
        """The same with int8 data."""
        return self.to(dtype=numtorch.int8)

    def byte(self) -> PackedSequence:
        """The same with uint8 data."""
        return self.to(dtype=numtorch.uint8)

    @property
    def is_cuda(self) -> bool:
        """Whether the data is on the GPU."""
        return self.data.is_cuda

    def is_pinned(self) -> bool:
        """Whether the data is in page-locked memory."""
        return self.data.is_pinned()


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """The permutation that undoes one."""
    if permutation is None:
        return None
    places = numtorch.arange(permutation.numel(), device=permutation.device)
    return numtorch.empty_like(permutation).scatter_(0, permutation, places)


def _as_lengths(lengths: Any) -> list[int]:
    values = lengths.tolist() if isinstance(lengths, Tensor) else list(lengths)
    return [int(n) for n in values]


def pack_padded_sequence(
    input: Tensor, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Pack a padded batch (T, N, *), or (N, T, *) with ``batch_first``; lengths are given for each sequence.

    Raises RuntimeError for lengths that are not positive, not as many as the batch, or (if
    ``enforce_sorted``) not
    sorted from long to short.

    Example:
        >>> import numtorch
        >>> from numtorch.nn.utils.rnn import pack_padded_sequence
        >>> padded = numtorch.tensor([[1, 2, 3], [4, 0, 0]])
        >>> packed = pack_padded_sequence(padded, [3, 1], batch_first=True)
        >>> packed.data.tolist(), packed.batch_sizes.tolist()
        ([1, 4, 2, 3], [2, 1, 1])
    """
    counts = _as_lengths(lengths)
    order = None
    if not enforce_sorted:
        positions = sorted(range(len(counts)), key=lambda k: -counts[k])
        counts = [counts[k] for k in positions]
        order = make_tensor(positions, dtype=numtorch.int64, device=input.device)
        input = input.index_select(0 if batch_first else 1, order)
    x = input.transpose(0, 1) if batch_first else input
    _check_lengths(x, counts)
    sizes = [sum(1 for n in counts if n > t) for t in range(counts[0])]
    steps, n = x.shape[:2]
    rows = [t * n + k for t in range(counts[0]) for k in range(sizes[t])]
    index = make_tensor(rows, dtype=numtorch.int64, device=x.device)
    data = x.reshape(steps * n, *x.shape[2:]).index_select(0, index)
    return PackedSequence(data, make_tensor(sizes, dtype=numtorch.int64), order)


def _check_lengths(x: Tensor, counts: list[int]) -> None:
    if x.numel() == 0:
        raise RuntimeError("Cannot pack empty tensors.")
    if len(counts) != x.shape[1]:
        raise RuntimeError(
            f"Expected `len(lengths)` to be equal to batch_size, but got {len(counts)}"
            f" (batch_size={x.shape[1]})"
        )
    if min(counts) <= 0:
        raise RuntimeError(
            "Length of all samples has to be greater than 0, but found an element in 'lengths' that is <= 0"
        )
    if counts != sorted(counts, reverse=True):
        raise RuntimeError(
            "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. You can pass"
            " `enforce_sorted=False` to pack_padded_sequence and/or pack_sequence to sidestep this"
            " requirement if you do not need ONNX exportability."
        )
    if counts[0] > x.shape[0]:
        raise RuntimeError(
            f"Expected the longest length ({counts[0]}) to be at most the padded size ({x.shape[0]})"
        )


def pad_packed_sequence(
    sequence: PackedSequence,
    batch_first: bool = False,
    padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[Tensor, Tensor]:
    """The padded batch (T, N, *) and the lengths, in the order before packing.

    Raises ValueError if ``total_length`` is less than the longest sequence.
    """
    sizes = [int(n) for n in sequence.batch_sizes.tolist()]
    steps, n = len(sizes), sizes[0]
    if total_length is not None:
        if total_length < steps:
            raise ValueError(
                "Expected total_length to be at least the length of the longest sequence in input, but got"
                f" total_length={total_length} and max sequence length being {steps}"
            )
        steps = total_length
    data = sequence.data
    rows = [t * n + k for t, size in enumerate(sizes) for k in range(size)]
    index = make_tensor(rows, dtype=numtorch.int64, device=data.device)
    shape = (steps * n, *data.shape[1:])
    padded = numtorch.full(shape, padding_value, dtype=data.dtype, device=data.device)
    padded = padded.index_copy(0, index, data).reshape(steps, n, *data.shape[1:])
    lengths = make_tensor([sum(1 for s in sizes if s > k) for k in range(n)], dtype=numtorch.int64)
    if sequence.unsorted_indices is not None:
        padded = padded.index_select(1, sequence.unsorted_indices)
        lengths = lengths[sequence.unsorted_indices.cpu()]
    return (padded.transpose(0, 1) if batch_first else padded), lengths


def pad_sequence(
    sequences: Any, batch_first: bool = False, padding_value: float = 0.0, padding_side: str = "right"
) -> Tensor:
    """Sequences of shape (L, *) as one padded batch (T, N, *), or (N, T, *) with ``batch_first``.

    Example:
        >>> import numtorch
        >>> from numtorch.nn.utils.rnn import pad_sequence
        >>> pad_sequence([numtorch.ones(2), numtorch.ones(3)], batch_first=True).tolist()
        [[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]]
    """
    if not isinstance(sequences, Iterable):
        raise RuntimeError(
            f"pad_sequence: Expected iterable for input sequences, but got arg of type: {type(sequences)}"
        )
    if padding_side not in ("left", "right"):
        raise RuntimeError(f"Expected padding_side to be one of left or right, but got {padding_side}.")
    sequences = tuple(sequences)
    if not sequences:
        raise RuntimeError("pad_sequence: received an empty list of sequences; give at least one tensor")
    longest = max(s.size(0) for s in sequences)
    padded = []
    for s in sequences:
        missing = longest - s.size(0)
        if missing:
            fill = numtorch.full((missing, *s.shape[1:]), padding_value, dtype=s.dtype, device=s.device)
            s = numtorch.cat([s, fill] if padding_side == "right" else [fill, s])
        padded.append(s)
    return numtorch.stack(padded, 0 if batch_first else 1)


def unpad_sequence(padded_sequences: Tensor, lengths: Any, batch_first: bool = False) -> list[Tensor]:
    """The sequences of a padded batch, without the padding."""
    x = padded_sequences if batch_first else padded_sequences.transpose(0, 1)
    return [row[:n] for row, n in zip(x, _as_lengths(lengths))]


def pack_sequence(sequences: Sequence[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Pack sequences of shape (L, *)."""
    lengths = [s.size(0) for s in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The sequences that were packed."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)

__getattr__ = _hints(__name__)
