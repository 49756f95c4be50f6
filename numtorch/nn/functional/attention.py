"""Attention: the scaled dot product and the multi-head layer around it. Vaswani et al., arXiv:1706.03762."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numtorch

from ..._tensor import Tensor
from ...backends.cuda import fused_permitted
from ...errors import require_tensor, tensors_only
from ...ops.attention import attention, fits, later
from ...ops.node_names import named
from ...shape import wrap_dim
from .activation import softmax
from .dropout import dropout
from .linear import linear
from .padding import pad

FLASH = "ScaledDotProductFlashAttentionForCpuBackward0"  # PyTorch's node where it computes attention as one op
SINGLE, ALONE = "UnsafeViewBackward0", "MmBackward0"  # and that of its last product elsewhere: of batches, of matrices


@tensors_only
def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(query @ key.T * scale + mask) @ value: (*, L, E), (*, S, E), (*, S, V) -> (*, L, V).

    A bool mask marks what takes part; a row without any gives zeros. ``is_causal`` lets place i see places
    up to i.

    Example:
        >>> import numtorch
        >>> q = k = v = numtorch.ones(2, 4, 8)
        >>> tuple(numtorch.nn.functional.scaled_dot_product_attention(q, k, v).shape)
        (2, 4, 8)
    """
    fused = _is_fused(query, key, value, attn_mask, dropout_p)
    _check_attention(query, key, value, attn_mask, is_causal and not fused)
    if not 0.0 <= dropout_p <= 1.0:
        raise RuntimeError(f"scaled_dot_product_attention: dropout probability has to be between 0 and 1, but got {dropout_p}")
    if enable_gqa:
        wrap_dim(-3, query.dim(), "scaled_dot_product_attention with enable_gqa")
        key = _repeat_heads(query, key, "key")
        value = _repeat_heads(query, value, "value")
    scale = 1.0 / math.sqrt(query.size(-1)) if scale is None and query.size(-1) else scale or 0.0
    two_masks = is_causal and attn_mask is not None
    if dropout_p <= 0.0 and not two_masks and fused_permitted() and fits(query, key, value, attn_mask):
        result = attention(query, key, value, attn_mask, causal=is_causal, scale=float(scale))[0]
        return result if query.is_cuda else named(result, FLASH if fused else ALONE if query.dim() == 2 else SINGLE)
    scores = numtorch.matmul(query * scale, key.transpose(-2, -1))
    blocked = ~attn_mask if attn_mask is not None and attn_mask.dtype is numtorch.bool else None
    if attn_mask is not None and blocked is None:
        scores = scores + attn_mask
    if is_causal:
        ahead = later(query.size(-2), key.size(-2), query.device)
        blocked = ahead if blocked is None else blocked | ahead
    if blocked is not None:
        scores = scores.masked_fill(blocked, -math.inf)
    weights = softmax(scores, -1)
    if blocked is not None and attn_mask is not None:
        weights = weights.masked_fill(blocked.all(-1, keepdim=True), 0.0)
    if dropout_p > 0.0:
        weights = dropout(weights, dropout_p)
    result = numtorch.matmul(weights, value)
    return named(result, FLASH) if fused else result


def _is_fused(query: Any, key: Any, value: Any, mask: Any, dropout_p: float) -> bool:
    """Whether PyTorch computes this as one op, which takes a mask and ``is_causal`` together."""
    if not all(isinstance(t, Tensor) and t.dim() == 4 and t.size(-1) == query.size(-1) for t in (query, key, value)):
        return False
    if key.size(1) != value.size(1):
        return False
    return dropout_p <= 0.0 and (mask is None or (mask.dim() in (2, 4) and not mask.requires_grad))


def _check_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, is_causal: bool) -> None:
    for name, t in (("query", query), ("key", key), ("value", value)):
        require_tensor("scaled_dot_product_attention", name, t)
        if t.dim() < 2:
            raise RuntimeError(
                "Expected query, key, and value to all be at least 2 dimensional, but got"
                f" query.dim: {query.dim()}, key.dim: {key.dim()} and value.dim: {value.dim()} instead."
            )
    if not query.dtype is key.dtype is value.dtype:
        raise RuntimeError(
            "Expected query, key, and value to have the same dtype, but got query.dtype:"
            f" {query.dtype} key.dtype: {key.dtype} and value.dtype: {value.dtype} instead."
        )
    if mask is not None:
        if is_causal:
            raise RuntimeError(
                "_scaled_dot_product_attention: Explicit attn_mask should not be set when is_causal=True"
            )
        if mask.dtype is not numtorch.bool and mask.dtype is not query.dtype:
            raise RuntimeError(
                "Expected attn_mask dtype to be bool or float or to match query dtype, but got"
                f" attn_mask.dtype: {mask.dtype} and  query.dtype: {query.dtype} instead."
            )


def _repeat_heads(query: Tensor, t: Tensor, name: str) -> Tensor:
    heads, mine = query.size(-3), t.size(-3)
    if mine == 0 or heads % mine:
        raise RuntimeError(
            f"Number of heads in key and value must divide the number of heads in query, but {name} has"
            f" {mine} and query has {heads}"
        )
    if heads == mine:
        return t
    *batch, length, size = t.shape[:-3] + t.shape[-2:]
    spread = t.unsqueeze(-3).expand(*batch, mine, heads // mine, length, size)
    return spread.reshape(*batch, heads, length, size)


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def _check_shapes(query: Tensor, key: Tensor, value: Tensor, padding: Any, mask: Any, heads: int) -> bool:
    """Whether there is a batch dimension; AssertionError as PyTorch for shapes that don't fit."""
    dims = query.dim()
    _check(
        dims in (2, 3),
        f"query should be unbatched 2D or batched 3D tensor but received {dims}-D query tensor",
    )
    kind = "batched" if dims == 3 else "unbatched"
    _check(
        key.dim() == dims and value.dim() == dims,
        f"For {kind} ({dims}-D) `query`, expected `key` and `value` to be {dims}-D but found {key.dim()}-D"
        f" and {value.dim()}-D tensors respectively",
    )
    if padding is not None:
        _check(
            padding.dim() == dims - 1,
            f"For {kind} ({dims}-D) `query`, expected `key_padding_mask` to be `None` or {dims - 1}-D but"
            f" found {padding.dim()}-D tensor instead",
        )
    if mask is not None:
        _check(
            mask.dim() in (2, 3),
            f"For {kind} ({dims}-D) `query`, expected `attn_mask` to be `None`, 2-D or 3-D but found"
            f" {mask.dim()}-D tensor instead",
        )
        if mask.dim() == 3 and dims == 2:
            shape = (heads, query.shape[0], key.shape[0])
            _check(
                tuple(mask.shape) == shape,
                f"Expected `attn_mask` shape to be {shape} but got {tuple(mask.shape)}",
            )
    return dims == 3


def canonical_mask(
    mask: Tensor | None, name: str, other: Any, other_name: str, dtype: Any, check_other: bool = True
) -> Tensor | None:
    """A mask to be added to scores: bool masks become -inf where true. AssertionError for an integer mask."""
    if mask is None:
        return None
    is_bool = mask.dtype is numtorch.bool
    if not is_bool and not mask.is_floating_point():
        raise AssertionError(f"only bool and floating types of {name} are supported")
    if check_other and other is not None and mask.dtype is not other:
        warnings.warn(
            f"Support for mismatched {name} and {other_name} is deprecated. Use same type for both instead.",
            stacklevel=3,
        )
    if not is_bool:
        return mask
    return numtorch.zeros_like(mask, dtype=dtype).masked_fill_(mask, -math.inf)


def _project(
    query: Tensor, key: Tensor, value: Tensor, weight: Tensor | None, bias: Tensor | None, each: tuple | None
) -> tuple[Tensor, ...]:
    """The three input projections, by one weight in as few products as the inputs allow, or by a weight
    each.
    """
    biases = (None,) * 3 if bias is None else bias.chunk(3)
    if each is not None:
        for name, w in zip("qkv", each):
            _check(w is not None, f"use_separate_proj_weight is True but {name}_proj_weight is None")
        return tuple(linear(x, w, b) for x, w, b in zip((query, key, value), each, biases))
    if weight is None:
        raise AssertionError("use_separate_proj_weight is False but in_proj_weight is None")
    if key is value and query is key:
        return numtorch.chunk(linear(query, weight, bias), 3, -1)
    if key is value:
        e = query.size(-1)
        w_q, w_kv = weight.split([e, 2 * e])
        b_q, b_kv = (None, None) if bias is None else bias.split([e, 2 * e])
        return linear(query, w_q, b_q), *numtorch.chunk(linear(key, w_kv, b_kv), 2, -1)
    return tuple(linear(x, w, b) for x, w, b in zip((query, key, value), weight.chunk(3), biases))


def _merge_masks(
    mask: Tensor | None, padding: Tensor | None, batch: int, heads: int, target: int, source: int
) -> Tensor | None:
    """Attention mask and key padding as one mask to add, for scores of shape (batch * heads, target,
    source).
    """
    if mask is not None:
        if mask.dim() == 2:
            correct = (target, source)
            if tuple(mask.shape) != correct:
                raise RuntimeError(f"The shape of the 2D attn_mask is {mask.shape}, but should be {correct}.")
            mask = mask.unsqueeze(0)
        elif tuple(mask.shape) != (batch * heads, target, source):
            correct3 = (batch * heads, target, source)
            raise RuntimeError(f"The shape of the 3D attn_mask is {mask.shape}, but should be {correct3}.")
    if padding is None:
        return mask
    _check(
        tuple(padding.shape) == (batch, source),
        f"expecting key_padding_mask shape of {(batch, source)}, but got {tuple(padding.shape)}",
    )
    spread = padding.reshape(batch, 1, 1, source).expand(-1, heads, -1, -1).reshape(batch * heads, 1, source)
    return spread if mask is None else mask + spread


@tensors_only
def multi_head_attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """What ``nn.MultiheadAttention`` computes, sequence first: (L, N, E), (S, N, E), (S, N, E) -> (L, N,
    E), weights.
    """
    batched = _check_shapes(query, key, value, key_padding_mask, attn_mask, num_heads)
    if not batched:
        query, key, value, key_padding_mask = _with_batch(query, key, value, key_padding_mask)
    _check_sizes(query, key, value, embed_dim_to_check, num_heads, use_separate_proj_weight)
    padding, mask, causal = _prepare_masks(query, key_padding_mask, attn_mask, is_causal, need_weights)
    each = (q_proj_weight, k_proj_weight, v_proj_weight) if use_separate_proj_weight else None
    q, k, v = _project(query, key, value, in_proj_weight, in_proj_bias, each)
    extra = ((bias_k, bias_v), (static_k, static_v), add_zero_attn)
    q, k, v, mask, padding = _to_heads(q, k, v, mask, padding, num_heads, *extra)
    length, batch = query.shape[:2]
    mask = _merge_masks(mask, padding, batch, num_heads, length, k.size(1))
    output, weights = _attend(q, k, v, mask, causal, need_weights, dropout_p if training else 0.0)
    output = linear(output.transpose(0, 1).reshape(length * batch, -1), out_proj_weight, out_proj_bias)
    output = output.reshape(length, batch, -1)
    if weights is not None:
        weights = weights.reshape(batch, num_heads, length, -1)
        weights = weights.mean(1) if average_attn_weights else weights
    if batched:
        return output, weights
    return output.squeeze(1), None if weights is None else weights.squeeze(0)


def _with_batch(query: Tensor, key: Tensor, value: Tensor, padding: Tensor | None) -> tuple:
    """Inputs with a batch dimension added; equal tensors stay equal objects."""
    q = query.unsqueeze(1)
    k = q if key is query else key.unsqueeze(1)
    v = k if value is key else value.unsqueeze(1)
    return q, k, v, None if padding is None else padding.unsqueeze(0)


def _prepare_masks(
    query: Tensor, padding: Tensor | None, mask: Tensor | None, is_causal: bool, need_weights: bool
) -> tuple[Tensor | None, Tensor | None, bool]:
    """(key padding to add, mask to add, whether the causal mask may be left to the kernel)."""
    padding_kind = None if padding is None else padding.dtype
    mask_kind = None if mask is None else mask.dtype
    if is_causal and mask is None:
        raise RuntimeError(
            "Need attn_mask if specifying the is_causal hint. You may use the Transformer module method"
            " `generate_square_subsequent_mask` to create this mask."
        )
    key_padding = canonical_mask(padding, "key_padding_mask", mask_kind, "attn_mask", query.dtype)
    if is_causal and padding is None and not need_weights:
        return key_padding, None, True
    added = canonical_mask(mask, "attn_mask", padding_kind, "key_padding_mask", query.dtype, False)
    return key_padding, added, False


def _check_sizes(
    query: Tensor, key: Tensor, value: Tensor, expected: int, heads: int, separate: bool
) -> None:
    embed = query.size(-1)
    _check(embed == expected, f"was expecting embedding dimension of {expected}, but got {embed} in the query's last dimension")
    _check(embed // heads * heads == embed, f"embed_dim {embed} not divisible by num_heads {heads}")
    if separate:
        _check(
            key.shape[:2] == value.shape[:2],
            f"key's sequence and batch dims {tuple(key.shape[:2])} do not match value's"
            f" {tuple(value.shape[:2])}",
        )
    else:
        _check(key.shape == value.shape, f"key shape {key.shape} does not match value shape {value.shape}")


def _to_heads(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    padding: Tensor | None,
    heads: int,
    bias: tuple[Tensor | None, Tensor | None],
    static: tuple[Tensor | None, Tensor | None],
    add_zero: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
    """Projections as (batch * heads, sequence, head size), with the extra keys that bias and zero attention
    add.
    """
    batch, embed = q.size(1), q.size(2)
    size = embed // heads
    if bias[0] is not None and bias[1] is not None:
        _check(static[0] is None, "bias cannot be added to static key.")
        _check(static[1] is None, "bias cannot be added to static value.")
        k = numtorch.cat([k, bias[0].repeat(1, batch, 1)])
        v = numtorch.cat([v, bias[1].repeat(1, batch, 1)])
        mask = None if mask is None else pad(mask, (0, 1))
        padding = None if padding is None else pad(padding, (0, 1))
    q = q.reshape(q.size(0), batch * heads, size).transpose(0, 1)
    k = k.reshape(k.size(0), batch * heads, size).transpose(0, 1) if static[0] is None else static[0]
    v = v.reshape(v.size(0), batch * heads, size).transpose(0, 1) if static[1] is None else static[1]
    for name, t in (("static_k", static[0]), ("static_v", static[1])):
        if t is not None:
            _check(
                t.size(0) == batch * heads,
                f"expecting {name}.size(0) of {batch * heads}, but got {t.size(0)}",
            )
            _check(t.size(2) == size, f"expecting {name}.size(2) of {size}, but got {t.size(2)}")
    if add_zero:
        zeros = numtorch.zeros((batch * heads, 1, size), dtype=k.dtype, device=k.device)
        k, v = numtorch.cat([k, zeros], 1), numtorch.cat([v, zeros], 1)
        mask = None if mask is None else pad(mask, (0, 1))
        padding = None if padding is None else pad(padding, (0, 1))
    return q, k, v, mask, padding


def _attend(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool, need_weights: bool, rate: float
) -> tuple[Tensor, Tensor | None]:
    """(batch * heads, L, size) outputs, and the weights if they are needed."""
    if not need_weights:
        return scaled_dot_product_attention(q, k, v, mask, rate, causal), None
    scaled = q * math.sqrt(1.0 / q.size(-1))
    scores = numtorch.bmm(scaled, k.transpose(-2, -1))
    if mask is not None:
        scores = scores + mask
    weights = softmax(scores, -1)
    if rate > 0.0:
        weights = dropout(weights, rate)
    return numtorch.bmm(weights, v), weights
