"""Nodes are called as PyTorch's: what a user sees behind ``grad_fn=`` when a tensor is printed."""

from __future__ import annotations

import pytest

import numtorch

NAMES = {
    "x.sum()": "SumBackward0", "x.sum(0)": "SumBackward1", "x.mean()": "MeanBackward0", "x.mean(1)": "MeanBackward1",
    "x.max()": "MaxBackward1", "x.max(1)[0]": "MaxBackward0", "torch.min(x)": "MinBackward1", "x.amax(1)": "AmaxBackward0",
    "x.max(1, keepdim=True).values": "MaxBackward0", "x @ x": "MmBackward0", "torch.bmm(x[None], x[None])": "BmmBackward0",
    "linear(x)": "AddmmBackward0", "linear(x[None])": "ViewBackward0", "plain(x)": "MmBackward0",
    "F.mse_loss(x, y)": "MseLossBackward0", "F.mse_loss(x, y, reduction='none')": "MseLossBackward0",
    "F.smooth_l1_loss(x, y)": "SmoothL1LossBackward0", "F.huber_loss(x, y)": "HuberLossBackward0",
    "F.l1_loss(x, y)": "MeanBackward0", "F.cross_entropy(x, c)": "NllLossBackward0", "F.nll_loss(x, c)": "NllLossBackward0",
    "F.binary_cross_entropy_with_logits(x, y)": "BinaryCrossEntropyWithLogitsBackward0",
    "F.binary_cross_entropy(x.sigmoid(), y)": "BinaryCrossEntropyBackward0", "x.norm()": "LinalgVectorNormBackward0",
    "x.std()": "StdBackward0", "x.var()": "VarBackward0", "x.clone()": "CloneBackward0", "x.clamp(0, 1)": "ClampBackward1",
    "x.clamp(min=0)": "ClampBackward1", "x ** 2": "PowBackward0", "x ** x": "PowBackward1", "x[c]": "IndexBackward0",
    "x[x > 0]": "IndexBackward0", "x.index_select(0, c)": "IndexSelectBackward0", "x.gather(1, c[:, None])": "GatherBackward0",
    "F.embedding(c, x)": "EmbeddingBackward0", "torch.stack([x, x])": "StackBackward0", "torch.cat([x, x])": "CatBackward0",
    "x[0].dot(x[1])": "DotBackward0", "torch.mv(x, x[0])": "MvBackward0", "torch.addmm(y, x, x)": "AddmmBackward0",
    "x.masked_fill(x > 0, 1.0)": "MaskedFillBackward0", "x.flip(0)": "FlipBackward0", "x.roll(1)": "RollBackward0", "x.triu()": "TriuBackward0", "x.tril()": "TrilBackward0",
    "x.log1p()": "Log1PBackward0", "torch.addcmul(x, x, x)": "AddcmulBackward0", "F.layer_norm(x, (2,))": "NativeLayerNormBackward0",
    "F.batch_norm(x, None, None, training=True)": "NativeBatchNormBackward0",
    "F.max_pool2d(x[None, None], 1)": "MaxPool2DWithIndicesBackward0", "F.avg_pool2d(x[None, None], 1)": "AvgPool2DBackward0",
    "x.view(4)": "ViewBackward0", "x.squeeze()": "SqueezeBackward0", "x + 1": "AddBackward0", "x.relu()": "ReluBackward0",
    "x.softmax(1)": "SoftmaxBackward0", "x.log_softmax(1)": "LogSoftmaxBackward0", "x.T": "PermuteBackward0",
    "x.exp()": "ExpBackward0", "x.square()": "PowBackward0", "F.dropout(x, 0.5, False)": "", "x.unsqueeze(0)": "UnsqueezeBackward0",
    "F.dropout(x, 0.5, True)": "MulBackward0",
    "F.pad(x, (1, 1))": "ConstantPadNdBackward0",
    "F.pad(x[None], (1, 1), mode='reflect')": "ReflectionPad1DBackward0",
    "F.interpolate(x[None, None], scale_factor=2, mode='bilinear')": "UpsampleBilinear2DBackward0",
    "lstm(x[None])[0]": "MkldnnRnnLayerBackward0",
    "gru(x[None])[0]": "StackBackward0",
    "x[None] @ x[None]": "UnsafeViewBackward0",
    "x @ x[0]": "MvBackward0",
    "x % x": "RemainderBackward1",
    "x % 2": "RemainderBackward0",
    "2 - x": "RsubBackward1",
    "x.clamp(y)": "ClampBackward0",
    "x.sort()[0]": "SortBackward0",
    "x.topk(1)[0]": "TopkBackward0",
    "x.sum((0, 1))": "SumBackward1",
    "x.scatter(0, c[None], 1.0)": "ScatterBackward1",
    "x.mul(1).pow_(2)": "PowBackward0",
    "x.mul(1).zero_()": "ZeroBackward0",
    "x.mul(1).copy_(y)": "torch::autograd::CopyBackwards",
    "x.mul(1).index_put_((c,), y)": "IndexPutBackward0",
    "x.mul(1).t_()": "TBackward1",
    "torch.cdist(x, x)": "CdistBackward0",
    "torch.linalg.svd(x)[1]": "LinalgSvdBackward0",
    "F.group_norm(x[None], 1)": "NativeGroupNormBackward0",
    "F.scaled_dot_product_attention(x[None, None], x[None, None], x[None, None])": "ScaledDotProductFlashAttentionForCpuBackward0",
}  # fmt: skip


def name_of(torch, expression: str) -> str:
    F = torch.nn.functional
    x = torch.tensor([[0.25, 0.5], [0.75, 0.125]], requires_grad=True)
    spaces = {"torch": torch, "F": F, "x": x, "y": torch.full((2, 2), 0.5), "c": torch.tensor([0, 1])}
    spaces |= {"linear": torch.nn.Linear(2, 3), "plain": torch.nn.Linear(2, 3, bias=False)}
    spaces |= {"lstm": torch.nn.LSTM(2, 3), "gru": torch.nn.GRU(2, 3)}
    made = eval(expression, spaces)
    return made.grad_fn.name() if made.grad_fn is not None else ""


@pytest.mark.parametrize("expression", NAMES)
def test_name(expression):
    assert name_of(numtorch, expression) == NAMES[expression]


@pytest.mark.oracle
def test_the_names_are_those_of_pytorch():
    torch = pytest.importorskip("torch")
    assert {e: name_of(torch, e) for e in NAMES} == NAMES


def test_an_op_without_derivative_says_so_when_it_is_asked_for_one():
    x = numtorch.tensor([3.0, 4.0], requires_grad=True)
    y = x // 2
    assert repr(y) == "tensor([1., 2.], grad_fn=<NotImplemented>)"
    with pytest.raises(RuntimeError, match="derivative for aten::floor_divide is not implemented"):
        y.sum().backward()
    x.div(2, rounding_mode="floor").sum().backward()
    assert x.grad.tolist() == [0.0, 0.0]


def test_a_function_that_gives_its_argument_back_leaves_its_node_alone():
    x = numtorch.ones(2, requires_grad=True).exp()
    assert numtorch.nn.functional.pad(x, (0, 0)).grad_fn.name() == "ConstantPadNdBackward0"
    assert numtorch.nn.functional.dropout(x, 0.0) is x
    assert x.grad_fn.name() == "ExpBackward0"


def test_an_op_of_the_user_keeps_its_own_name():
    @numtorch.elementwise
    def sum(x):
        return x * 2.0

    assert sum(numtorch.ones(2, requires_grad=True)).grad_fn.name() == "SumBackward0"
