"""Embedding look-ups and one-hot vectors."""

from __future__ import annotations

import numtorch

from ... import ops
from ..._tensor import Tensor
from ...autograd.mode import state
from ...errors import UNREAL, refuse_dtypes, require_tensor, tensors_only
from ...from_data import tensor as make_tensor
from ...ops.index import check_range
from ...ops.node_names import called


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """int64 zeros of shape (*, num_classes) with a 1 at each index; -1 takes the largest index + 1.

    Example:
        >>> import numtorch
        >>> numtorch.nn.functional.one_hot(numtorch.tensor([0, 2])).tolist()
        [[1, 0, 0], [0, 0, 1]]
    """
    require_tensor("one_hot", "tensor", tensor)
    if tensor.dtype is not numtorch.int64:
        raise RuntimeError(
            f"one_hot is only applicable to index tensor of type LongTensor, got {tensor.dtype}; convert"
            " with .long()"
        )
    if tensor.numel() == 0:
        if num_classes <= 0:
            raise RuntimeError("Can not infer total number of classes from empty tensor.")
        return numtorch.zeros((*tensor.shape, num_classes), dtype=numtorch.int64, device=tensor.device)
    if state.recorder is not None and num_classes > 0:  # a trace checks the values at each replay
        check_range(tensor, 0, num_classes - 1, lambda value: _wrong_class(value, num_classes))
        return _compare_with_classes(tensor, num_classes)
    if int(tensor.min()) < 0:
        raise _wrong_class(-1, num_classes)
    largest = int(tensor.max())
    if num_classes == -1:
        num_classes = largest + 1
    elif num_classes < 1:
        raise RuntimeError("num_classes should be positive")
    elif largest >= num_classes:
        raise _wrong_class(largest, num_classes)
    return _compare_with_classes(tensor, num_classes)


def _compare_with_classes(tensor: Tensor, num_classes: int) -> Tensor:
    classes = numtorch.arange(num_classes, device=tensor.device)
    return (tensor.unsqueeze(-1) == classes).to(numtorch.int64)


def _wrap_padding(name: str, padding_idx: int | None, rows: int) -> int:
    """The padding row counted from the front, or -1 for none."""
    if padding_idx is None:
        return -1
    if not -rows <= padding_idx < rows:
        raise AssertionError("Padding_idx must be within num_embeddings")
    return padding_idx + rows if padding_idx < 0 else padding_idx


def _dense_only(name: str, sparse: bool, weight: Tensor) -> None:
    if sparse and weight.requires_grad and numtorch.is_grad_enabled():
        raise NotImplementedError(
            f"{name}: sparse=True needs sparse gradients, which numtorch does not have; use sparse=False"
        )


def _renorm_rows(weight: Tensor, indices: Tensor, max_norm: float, norm_type: float) -> None:
    """Scale the rows in use whose norm exceeds ``max_norm`` down to it, in place."""
    with numtorch.no_grad():
        used = numtorch.unique(indices)
        rows = weight[used]
        norms = rows.norm(norm_type, 1, keepdim=True)
        scale = numtorch.where(norms > max_norm, max_norm / (norms + 1e-7), 1.0)
        weight.index_copy_(0, used, rows * scale)


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Rows of ``weight`` by index: (*), (rows, features) -> (*, features); IndexError for an index out of
    range.

    ``padding_idx`` gets no gradient; ``max_norm`` renormalises the rows used, in place;
    ``scale_grad_by_freq`` divides
    a row's gradient by how often it occurs.

    Example:
        >>> import numtorch
        >>> table = numtorch.tensor([[0.0, 0.0], [1.0, 2.0]])
        >>> numtorch.nn.functional.embedding(numtorch.tensor([1, 0, 1]), table).tolist()
        [[1.0, 2.0], [0.0, 0.0], [1.0, 2.0]]
    """
    require_tensor("embedding", "input", input)
    require_tensor("embedding", "weight", weight)
    _dense_only("embedding", sparse, weight)
    if weight.dim() != 2:
        raise RuntimeError(f"embedding(): 'weight' must be 2-D (rows, features), got {weight.dim()} dimensions; reshape it")
    padding = _wrap_padding("embedding", padding_idx, weight.size(0))
    if max_norm is not None:
        _renorm_rows(weight, input.reshape(-1), max_norm, norm_type)
    return ops.embedding(weight, input, padding, scale_grad_by_freq)


@called("EmbeddingBagBackward0")
@tensors_only
def embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """Sum, mean or maximum of embeddings: bags are the rows of a 2D input, or start at ``offsets`` of a 1D
    one.
    """
    if weight.dtype is numtorch.int64 and input.is_floating_point():
        raise ValueError(
            "Argument order of nn.functional.embedding_bag was changed. Usage `embedding_bag(weight, input,"
            " ...)` is deprecated, and should now be `embedding_bag(input, weight, ...)`."
        )
    _dense_only("embedding_bag", sparse, weight)
    refuse_dtypes("embedding_bag", weight, UNREAL, RuntimeError)
    _check_bag(input, offsets, mode, per_sample_weights, scale_grad_by_freq)
    if per_sample_weights is not None and per_sample_weights.shape != input.shape:
        raise ValueError(
            f"embedding_bag: If per_sample_weights ({per_sample_weights.shape}) is not None, then it must"
            f" have the same shape as the input ({input.shape})"
        )
    bags, n_bags = _bag_of_each(input, offsets, include_last_offset)
    flat = input.reshape(-1)
    padding = _wrap_padding("embedding_bag", padding_idx, weight.size(0))
    if max_norm is not None:
        _renorm_rows(weight, flat, max_norm, norm_type)
    rows = ops.embedding(weight, flat, padding, scale_grad_by_freq)
    kept = None if padding < 0 else flat != padding
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.reshape(-1, 1)
    if mode == "max":
        return _bag_max(rows, bags, n_bags, kept)
    if kept is not None:
        rows = rows.masked_fill(~kept.unsqueeze(1), 0.0)
    total = numtorch.zeros((n_bags, weight.size(1)), dtype=rows.dtype, device=rows.device)
    total = total.index_add(0, bags, rows)
    if mode == "sum":
        return total
    ones = numtorch.ones_like(bags) if kept is None else kept.to(numtorch.int64)
    count = numtorch.zeros(n_bags, dtype=numtorch.int64, device=rows.device).index_add(0, bags, ones)
    return total / count.clamp(min=1).to(total.dtype).unsqueeze(1)


def _check_bag(
    input: Tensor, offsets: Tensor | None, mode: str, weights: Tensor | None, by_freq: bool
) -> None:
    if mode not in ("sum", "mean", "max"):
        raise ValueError("mode has to be one of sum, mean or max")
    if input.dim() == 2:
        if offsets is not None:
            raise ValueError(
                "if input is 2D, then offsets has to be None, as input is treated is a mini-batch of fixed"
                f" length sequences. However, found offsets of type {type(offsets)}"
            )
    elif input.dim() == 1:
        if offsets is None:
            raise ValueError("offsets has to be a 1D Tensor but got None")
        if offsets.dim() != 1:
            raise ValueError("offsets has to be a 1D Tensor")
    else:
        raise ValueError(f"input has to be 1D or 2D Tensor, but got Tensor of dimension {input.dim()}")
    if weights is not None and mode != "sum":
        raise NotImplementedError(
            "embedding_bag: per_sample_weights was not None. per_sample_weights is only supported for"
            f" mode='sum' (got mode='{mode}'). Please open a feature request on GitHub."
        )
    if mode == "max" and by_freq:
        raise ValueError("max mode does not support scaling the gradient by the frequency")


def _bag_of_each(input: Tensor, offsets: Tensor | None, include_last: bool) -> tuple[Tensor, int]:
    """The bag number of each flat input element, and the number of bags."""
    n = input.numel()
    if offsets is None:
        bags, length = input.shape
        numbers = numtorch.arange(bags, device=input.device)
        return numbers.unsqueeze(1).expand(bags, length).reshape(-1), bags
    starts = [int(o) for o in offsets.tolist()]
    if include_last:
        if not starts:
            raise ValueError("include_last_offset: number of offset should be at least 1")
        starts = starts[:-1]
    if starts and starts[0] != 0:
        raise RuntimeError(
            "offsets[0] has to be 0, i.e., the first sequence in the mini-batch has to start from position"
            f" 0. However, got {starts[0]}"
        )
    if starts and starts[-1] > n:
        raise RuntimeError(
            f"offsets[-1] can not be greater than input's length ({n}), but got offsets[-1] of {starts[-1]}"
        )
    first = offsets[1 : len(starts)]
    marks = numtorch.zeros(n + 1, dtype=numtorch.int64, device=input.device)
    marks = marks.index_add(0, first, numtorch.ones_like(first))
    return marks[:n].cumsum(0), len(starts)


def _bag_max(rows: Tensor, bags: Tensor, n_bags: int, kept: Tensor | None) -> Tensor:
    """The maximum of each bag, with the gradient to the first row that attains it; zeros for empty bags."""
    members: list[list[int]] = [[] for _ in range(n_bags)]
    keep = [True] * rows.size(0) if kept is None else kept.tolist()
    for i, bag in enumerate(bags.tolist()):
        if keep[i]:
            members[bag].append(i)
    zero = numtorch.zeros(rows.size(1), dtype=rows.dtype, device=rows.device)
    results = []
    for member in members:
        if member:
            index = make_tensor(member, dtype=numtorch.int64, device=rows.device)
            results.append(rows.index_select(0, index).max(0)[0])
        else:
            results.append(zero)
    return numtorch.stack(results) if results else rows.new_zeros((0, rows.size(1)))


def _wrong_class(value: int, num_classes: int) -> Exception:
    if value < 0:
        return RuntimeError("Class values must be non-negative.")
    return RuntimeError(f"Class values must be smaller than num_classes: {value} >= {num_classes}")
