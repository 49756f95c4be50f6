"""What autograd's nodes are called: as PyTorch calls those of the same function, though ours are cut otherwise.

A mean is a sum here, a loss is an elementwise op and a mean, ``linear`` a matrix product with a bias; the name is found when
it is asked for, so that it costs nothing before.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ..autograd.engine import next_seq
from .declare import TABLE, camel

_SAME = {  # ops under another name; the numbers tell PyTorch's overloads apart
    "clone_values": "Clone", "index_select_values": "IndexSelect", "flip_values": "Flip", "addcmul_values": "Addcmul",
    "gather_values": "Gather", "roll_values": "Roll", "vector_norm": "LinalgVectorNorm", "deviation": "Std", "log1p": "Log1P",
    "cross_entropy": "NllLoss", "batch_norm": "NativeBatchNorm", "layer_norm": "NativeLayerNorm", "addcdiv_values": "Addcdiv",
    "deg2rad": "Deg2Rad", "rad2deg": "Rad2Deg", "frexp_values": "Frexp", "nextafter_values": "Nextafter",
    "nan_to_num_values": "NanToNum", "lu_factor": "LinalgLuFactorEx", "det": "LinalgDet", "slogdet": "LinalgSlogdet",
    "inv": "LinalgInvEx", "solve": "LinalgSolveEx", "eigh_values": "LinalgEigh", "svd_values": "LinalgSvd",
    "qr_values": "LinalgQr", "pinv": "LinalgPinv", "solve_triangular": "LinalgSolveTriangular", "cholesky": "LinalgCholeskyEx",
    "convolution_input": "Convolution", "i0e": "SpecialI0E", "i1": "SpecialI1", "i1e": "SpecialI1E",
    "xlog1py": "SpecialXlog1Py", "entr": "SpecialEntr", "ndtri": "SpecialNdtri", "log_ndtr": "SpecialLogNdtr",
    "erfcx": "SpecialErfcx", "gate": "Glu", "prelu": "PreluKernel", "selu": "Elu", "logsigmoid": "LogSigmoid",
    "gelu_tanh": "Gelu", "absolute_error": "Abs", "softsign": "Div", "tanhshrink": "Sub", "margin_ranking_term": "ClampMin",
    "trigamma": "Polygamma", "kl_div_log_term": "Mul", "kl_div_term": "Sub", "scatter_add_values": "ScatterAdd", "index_add_values": "IndexAdd",
    "dropout": "Mul", "embedding_bag_values": "EmbeddingBag",
}  # fmt: skip
_BY_DIMENSIONS = ("adaptive_avg_pool", "adaptive_max_pool_values")
_LOSSES = {
    "squared_error": "MseLoss", "smooth_l1_error": "SmoothL1Loss", "huber_error": "HuberLoss",
    "binary_cross_entropy_term": "BinaryCrossEntropy", "logits_cross_entropy_term": "BinaryCrossEntropyWithLogits",
}  # fmt: skip
_OVERLOADED = {  # a number at the end of the name tells whether the last operand has a gradient
    "pow": "Pow", "remainder": "Remainder", "fmod": "Fmod", "lerp": "Lerp", "clamp_min": "ClampMin", "clamp_max": "ClampMax",
}  # fmt: skip
# Ops whose results are given another shape before the user sees them.
_RESHAPED = ("batch_norm", "layer_norm", "embedding", "gather_values", "roll_values", "nll_loss", "cross_entropy")


def named(x: Any, name: str) -> Any:
    """The tensor itself, its node called as PyTorch calls that of the function that made it by several ops."""
    if x._node is not None:
        _call(x._node, name)
    return x


def overwritten(x: Any, name: str) -> Any:
    """A tensor that an op has changed in place, its node called as that of the op (its base has it if it is a view)."""
    return named(x, name) if x._base is None else x


def _call(node: Any, name: str) -> None:
    node.alias = name
    if "title" in vars(node):  # that of a Function
        node.title = name


def called(name: str) -> Callable:
    """Decorator: the results of a function written in ops have one node's name, if the function made their nodes."""

    def decorate(function: Callable) -> Callable:
        @functools.wraps(function)
        def made(*args: Any, **kwargs: Any) -> Any:
            before = next_seq()
            result = function(*args, **kwargs)
            for t in result if isinstance(result, tuple) else (result,):
                node = getattr(t, "_node", None)
                if node is not None and node.seq > before:
                    _call(node, name)
            return result

        return made

    return decorate


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
    if op in _RESHAPED:
        return f"{_SAME.get(op, camel(op))}Backward0"
    return node.label if "Backward" in node.label else f"{node.label}Backward0"


def in_place_view(name: str, named: bool) -> str:
    """The name of the node of a view that took the tensor's place; ``named``: the dimension was given."""
    number = (4 if named else 3) if name == "squeeze" else 1
    return f"{camel(name)}Backward{number}"


def product_name(a: int, b: int) -> str:
    """The name of the node of ``matmul`` of tensors of so many dimensions ("": as the op's)."""
    if a > 2 or b > 2:
        return "SqueezeBackward1" if 1 in (a, b) and b > 2 else "UnsafeViewBackward0"
    return {(2, 1): "MvBackward0", (1, 2): "SqueezeBackward4", (1, 1): "DotBackward0"}.get((a, b), "")


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
    if name in _OVERLOADED:
        return f"{_OVERLOADED[name]}Backward{int(_last_is_tensor(node))}"
    if name == "sum":
        return _of_sum(node)
    if name == "matmul":
        return _of_product(node)
    if name == "triangle_values":
        return f"{'Triu' if node.attrs['upper'] else 'Tril'}Backward0"
    if name in _BY_DIMENSIONS:
        return f"{camel(name.removesuffix('_values'))}{node.out_metas[0].ndim - 2}DBackward0"
    if name == "max_pool_values" and len(node.attrs["kernel"]) > 1:
        return f"MaxPool{len(node.attrs['kernel'])}DWithIndicesBackward0"
    if name == "avg_pool":
        return f"AvgPool{len(node.attrs['size'])}DBackward0"
    return f"{_SAME.get(name) or _LOSSES.get(name) or camel(name)}Backward0"


def _last_is_tensor(node: Any) -> bool:
    """Whether the last operand was a tensor, not a number."""
    spec = getattr(node, "spec", None)  # of the short way
    return node.last_is_tensor if spec is None else len(node.edges) - 1 in spec.way.tensors


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
