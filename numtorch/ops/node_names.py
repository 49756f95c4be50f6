"""What autograd's nodes are called: as PyTorch calls those of the same function, though ours are cut otherwise.

A mean is a sum here, a loss is an elementwise op and a mean, ``linear`` a matrix product with a bias; the name is found when
it is asked for, so that it costs nothing before.
"""

from __future__ import annotations

from typing import Any

from .declare import TABLE, camel

_SAME = {  # ops under another name; the numbers tell PyTorch's overloads apart
    "clone_values": "Clone", "index_select_values": "IndexSelect", "flip_values": "Flip", "addcmul_values": "Addcmul",
    "gather_values": "Gather", "roll_values": "Roll", "vector_norm": "LinalgVectorNorm", "deviation": "Std", "log1p": "Log1P",
    "cross_entropy": "NllLoss", "batch_norm": "NativeBatchNorm", "layer_norm": "NativeLayerNorm",
}  # fmt: skip
_CLAMPS = ("clamp_both", "clamp_min", "clamp_max")
_LOSSES = {
    "squared_error": "MseLoss", "smooth_l1_error": "SmoothL1Loss", "huber_error": "HuberLoss",
    "binary_cross_entropy_term": "BinaryCrossEntropy", "logits_cross_entropy_term": "BinaryCrossEntropyWithLogits",
}  # fmt: skip
# Ops whose results are given another shape before the user sees them.
_RESHAPED = ("batch_norm", "layer_norm", "embedding", "gather_values", "roll_values", "nll_loss")


def named(x: Any, name: str) -> Any:
    """The tensor itself, its node called as PyTorch calls that of the function that made it by several ops."""
    if x._node is not None:
        x._node.alias = name
    return x


def _before(node: Any) -> str:
    """The op of the node that made the first input."""
    edge = node.edges[0] if node.edges else None
    source = edge[0] if type(edge) is tuple else None
    return getattr(getattr(source, "op", None), "name", "")


def of_view(node: Any) -> str:
    """The name of a view's node."""
    op = _before(node) if node.label == "View" else ""
    if op == "index_select_values":
        return "IndexBackward0"
    return f"{_SAME.get(op, camel(op)) if op in _RESHAPED else node.label}Backward0"


def of_op(node: Any) -> str:
    """The name of an op's node.

    Example:
        >>> import numtorch
        >>> numtorch.ones(3, requires_grad=True).mean()
        tensor(1., grad_fn=<MeanBackward0>)
    """
    op = node.op
    given, name = getattr(op, "node_name", None), op.name
    if given or TABLE.get(name) is not op:  # an op of the user's own may have any name
        return given or f"{camel(name)}Backward0"
    if name in _CLAMPS:
        return "ClampBackward1"
    if name == "pow":
        return f"PowBackward{int(node.edges[1] is not None)}"
    if name == "sum":
        return _of_sum(node)
    if name == "matmul":
        return _of_product(node)
    if name == "triangle_values":
        return f"{'Triu' if node.attrs['upper'] else 'Tril'}Backward0"
    if name == "max_pool_values" and len(node.attrs["kernel"]) > 1:
        return f"MaxPool{len(node.attrs['kernel'])}DWithIndicesBackward0"
    if name == "avg_pool":
        return f"AvgPool{len(node.attrs['size'])}DBackward0"
    return f"{_SAME.get(name) or _LOSSES.get(name) or camel(name)}Backward0"


def _of_sum(node: Any) -> str:
    loss = _LOSSES.get(_before(node))
    if loss:
        return f"{loss}Backward0"
    source = node.metas[0]
    some = node.attrs["keepdim"] or source is None or len(node.attrs["dims"]) < source.ndim
    return f"{'Mean' if node.attrs.get('plan') == 'mean_plan' else 'Sum'}Backward{int(some)}"


def _of_product(node: Any) -> str:
    made = node.out_metas[0]
    if made is not None and made.ndim > 2:
        return "BmmBackward0"
    return "MmBackward0" if node.edges[2] is None else "AddmmBackward0"
