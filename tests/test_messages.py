"""Common mistakes: PyTorch's class, and a message that names the op, what was expected and given, and the remedy."""

from __future__ import annotations

import pytest

import numtorch as torch
from numtorch.nn import functional as F
from numtorch.utils.data import DataLoader, TensorDataset


def inplace_on_saved():
    x = torch.ones(2, requires_grad=True)
    y = x.exp()
    y.add_(1)
    y.sum().backward()


def backward_twice():
    x = torch.ones(2, requires_grad=True)
    y = (x * x).sum()
    y.backward()
    y.backward()


def weight_of_another_size():
    torch.nn.Linear(3, 4).load_state_dict({"weight": torch.ones(4, 2), "bias": torch.ones(4)})


# id -> (the mistake, class, what the message must say: the op, expected and actual, the remedy)
MISTAKES = {
    "matmul": (lambda: torch.ones(2, 3) @ torch.ones(2, 3), RuntimeError, ["matmul", "2x3 and 2x3", "b.mT"]),
    "mm of a vector": (lambda: torch.ones(2, 3).mm(torch.ones(3)), RuntimeError, ["mm", "matrix", "1D", "[3]"]),
    "broadcast": (
        lambda: torch.ones(2, 3) + torch.ones(2, 4), RuntimeError, ["add", "(3)", "(4)", "dimension 1", "make the sizes"]),
    "linear, size": (lambda: torch.nn.Linear(3, 4)(torch.ones(2, 5)), RuntimeError, ["linear", "2x5", "3x4", "in_features"]),
    "linear, dtype": (lambda: F.linear(torch.ones(2, 3), torch.ones(4, 3).double()), RuntimeError,
                      ["linear", "input", "weight", "float32", "float64", ".to()"]),
    "embedding, dtype": (lambda: F.embedding(torch.tensor([0.5]), torch.ones(4, 3)), RuntimeError,
                         ["embedding", "int64", "float32", ".long()"]),
    "embedding, range": (lambda: F.embedding(torch.tensor([7]), torch.ones(4, 3)), IndexError,
                         ["embedding", "7", "4 rows", "0..3"]),
    "target, range": (lambda: F.cross_entropy(torch.ones(2, 3), torch.tensor([0, 3])), IndexError,
                      ["cross_entropy", "Target 3 is out of bounds", "3 classes", "0..2"]),
    "target, dtype": (lambda: F.cross_entropy(torch.ones(2, 3), torch.tensor([0, 1], dtype=torch.int32)), RuntimeError,
                      ["cross_entropy", "Long", "Int", "target", ".long()"]),
    "target, batch": (lambda: F.cross_entropy(torch.ones(2, 3), torch.tensor([0, 1, 2])), ValueError,
                      ["cross_entropy", "(2)", "(3)", "each row"]),
    "target of one row": (lambda: F.nll_loss(torch.ones(3), torch.tensor([0, 1, 2])), ValueError,
                          ["nll_loss", "size 1", "size: 3", "(N, C)"]),
    "reshape": (lambda: torch.ones(2, 3).reshape(4, -1), RuntimeError, ["reshape", "[4, -1]", "size 6", "-1 for one"]),
    "view": (lambda: torch.ones(2, 3).t().view(6), RuntimeError, ["view", "size and stride", ".reshape("]),
    "expand": (lambda: torch.ones(2).expand(3), RuntimeError, ["expand", "(3)", "(2)", "only sizes of 1"]),
    "item": (lambda: torch.ones(2, 3).item(), RuntimeError, ["6 elements", "Scalar", "reduce first"]),
    "truth value": (lambda: bool(torch.ones(2)), RuntimeError, ["more than one value", ".any() or .all()"]),
    "in-place on a leaf": (lambda: torch.ones(2, requires_grad=True).add_(1), RuntimeError, ["add_", "leaf", "no_grad()", "clone()"]),
    "in-place, saved": (inplace_on_saved, RuntimeError, ["ExpBackward0", "version 1", "version 0", "clone it first"]),
    "in-place, dtype": (lambda: torch.tensor([1]).add_(0.5), RuntimeError, ["add_", "Float", "Long", ".to()"]),
    "backward twice": (backward_twice, RuntimeError, ["second time", "retain_graph=True"]),
    "grad of integers": (lambda: torch.tensor([1]).requires_grad_(), RuntimeError, ["floating point", "int64", ".float()"]),
    "numpy": (lambda: torch.ones(2, requires_grad=True).numpy(), RuntimeError, ["numpy()", "requires grad", "detach()"]),
    "mean of integers": (lambda: torch.tensor([1, 2]).mean(), RuntimeError, ["mean", "floating point", "Got: Long", ".float()"]),
    "dimension": (lambda: torch.ones(2).sum(dim=3), IndexError, ["sum", "[-1, 0]", "got 3", "1 dimensions"]),
    "dimension of a number": (lambda: torch.tensor(1.0).sum(dim=1), IndexError, ["sum", "[-1, 0]", "got 1"]),
    "cat": (lambda: torch.cat([torch.ones(2, 3), torch.ones(2, 4)]), RuntimeError, ["cat", "size 3", "size 4", "number 1", "pad"]),
    "cat of nothing": (lambda: torch.cat([]), ValueError, ["cat", "non-empty", "empty one", "at least one"]),
    "stack": (lambda: torch.stack([torch.ones(2), torch.ones(3)]), RuntimeError, ["stack", "[2]", "[3]", "entry 1", "cat"]),
    "bits of floats": (lambda: torch.ones(3) & torch.ones(3), NotImplementedError, ["bitwise_and", "Float", "int64 or bool"]),
    "fraction of integers": (lambda: torch.tensor([1]).frac(), NotImplementedError, ["frac", "'Long'", "int64", ".float()"]),
    "division by zero": (lambda: torch.tensor([1]) // 0, RuntimeError, ["floor_divide", "ZeroDivisionError", "zeros first"]),
    "probabilities, dtype": (lambda: F.binary_cross_entropy(torch.ones(2), torch.tensor([0, 1])), RuntimeError,
                             ["binary_cross_entropy", "float32", "int64", ".to()"]),
    "not a tensor": (lambda: F.mse_loss(torch.ones(2), "x"), TypeError, ["mse_loss", "'target'", "str", "numtorch.tensor("]),
    "optimizer of nothing": (lambda: torch.optim.SGD([], lr=0.1), ValueError, ["optimizer", "empty", "at least one"]),
    "optimizer of a tensor": (lambda: torch.optim.SGD(torch.ones(2), lr=0.1), TypeError, ["optimizer", "iterable", "Tensor", "list"]),
    "learning rate": (lambda: torch.optim.SGD([torch.ones(2)], lr=-1), ValueError, ["learning rate", "-1", ">= 0"]),
    "missing keys": (lambda: torch.nn.Linear(3, 4).load_state_dict({"weight": torch.ones(4, 3)}), RuntimeError,
                     ["Linear", "Missing key(s)", '"bias"']),
    "size of a weight": (weight_of_another_size, RuntimeError, ["Linear", "weight", "[4, 2]", "[4, 3]"]),
    "batch size": (lambda: DataLoader(TensorDataset(torch.ones(3)), batch_size=0), ValueError, ["batch_size", "positive", "=0"]),
    "workers": (lambda: DataLoader(TensorDataset(torch.ones(3)), num_workers=-1), ValueError, ["num_workers=0", "-1"]),
    "conv, channels": (lambda: torch.nn.Conv2d(3, 4, 2)(torch.ones(1, 2, 5, 5)), RuntimeError,
                       ["groups=1", "[4, 3, 2, 2]", "[1, 2, 5, 5]", "3 channels", "got 2", "dimension 1"]),
    "conv, transposed": (lambda: torch.nn.ConvTranspose1d(3, 4, 2)(torch.ones(1, 2, 5)), RuntimeError,
                         ["transposed=1", "[3, 4, 2]", "3 channels", "got 2"]),
    "conv, kernel": (lambda: torch.nn.Conv1d(3, 4, 7)(torch.ones(1, 3, 5)), RuntimeError,
                     ["Kernel size: (7)", "input size per channel: (5)", "smaller kernel"]),
    "conv, rank": (lambda: torch.nn.Conv2d(3, 4, 2)(torch.ones(5, 5)), RuntimeError, ["conv2d", "3D", "4D", "[5, 5]", "batch, channels"]),
    "conv, groups": (lambda: F.conv2d(torch.ones(1, 4, 5, 5), torch.ones(4, 3, 2, 2), groups=2), RuntimeError, ["groups=2", "6 channels", "4"]),
    "conv, no groups": (lambda: F.conv2d(torch.ones(1, 4, 5, 5), torch.ones(4, 3, 2, 2), groups=0), RuntimeError, ["groups=0", ">= 1"]),
    "conv, dtype": (lambda: F.conv2d(torch.ones(1, 3, 5, 5).double(), torch.ones(4, 3, 2, 2)), RuntimeError,
                    ["convolution", "float64", "float32", ".to()"]),
    "index": (lambda: torch.ones(3)[3], IndexError, ["index 3", "dimension 0", "size 3"]),
    "index of a tensor": (lambda: torch.ones(3, 4)[:, torch.tensor([0, 4])], IndexError, ["index 4", "dimension 1", "size 4", "-4..3"]),
    "gather": (lambda: torch.ones(2, 3).gather(1, torch.tensor([[0, 3]])), RuntimeError, ["gather", "index 3", "dimension 1", "0..2"]),
    "scatter": (lambda: torch.ones(2, 3).scatter(1, torch.tensor([[0, 3]]), 1.0), RuntimeError, ["scatter", "index 3", "0..2"]),
    "index_select": (lambda: torch.ones(3).index_select(0, torch.tensor([3])), IndexError, ["index_select", "3", "dimension 0", "0..2"]),
    "take": (lambda: torch.ones(3).take(torch.tensor([3])), IndexError, ["index 3", "3 elements", "-3..2"]),
    "value of a mask": (lambda: torch.ones(3).__setitem__(torch.tensor([True, False, True]), torch.ones(3)), RuntimeError,
                        ["[3]", "[2]", "broadcasts"]),
    "index of a string": (lambda: torch.ones(3)["a"], TypeError, ["str", "numbers, slices"]),
    "ragged": (lambda: torch.tensor([[1, 2], [3]]), ValueError, ["length 2 at dim 1", "got 1", "pad"]),
    "TensorDataset": (lambda: TensorDataset(torch.ones(3), torch.ones(2)), AssertionError, ["TensorDataset", "Size mismatch", "3, 2"]),
    "unexpected keys": (lambda: torch.nn.Linear(2, 2).load_state_dict({"weight": torch.ones(2, 2), "bias": torch.ones(2), "x": torch.ones(1)}),
                        RuntimeError, ["Linear", 'Unexpected key(s) in state_dict: "x"']),
    "device": (lambda: torch.ones(2, device="gpu"), RuntimeError, ["gpu", "cpu"]),
    "bmm": (lambda: torch.bmm(torch.ones(2, 3, 4), torch.ones(2, 3, 4)), RuntimeError, ["bmm", "[2, 4]", "[2, 3]"]),
    "one value per channel": (lambda: torch.nn.BatchNorm1d(3)(torch.ones(1, 3)), ValueError,
                              ["more than 1 value per channel", "[1, 3]", "larger batch", "eval()"]),
    "rank of a norm": (lambda: torch.nn.BatchNorm2d(3)(torch.ones(2, 3)), ValueError, ["BatchNorm2d", "4D", "got 2D", "[2, 3]"]),
    "in-place broadcast": (lambda: torch.ones(3).add_(torch.ones(2, 3)), RuntimeError, ["add_", "[3]", "[2, 3]", "out-of-place"]),
    "gradient's shape": (lambda: torch.ones(2, requires_grad=True).exp().backward(torch.ones(3)), RuntimeError,
                         ["grad_output[0]", "[3]", "[2]"]),
    "gradient's type": (lambda: torch.ones(2, requires_grad=True).exp().backward(1.0), TypeError, ["Tensors or None", "float"]),
    "unused": (lambda: torch.autograd.grad(torch.ones(1, requires_grad=True).sum(), torch.ones(1, requires_grad=True)), RuntimeError,
               ["index 0", "not have been used in the graph", "allow_unused=True"]),
    "number for a tensor": (lambda: torch.exp(1), TypeError, ["exp", "'input'", "int", "numtorch.tensor("]),
    "activation of integers": (lambda: F.gelu(torch.tensor([1])), NotImplementedError, ["gelu", "'Long'", "int64", ".float()"]),
    "inverted floats": (lambda: ~torch.ones(2), TypeError, ["~", "float32", "mask"]),
    "number of several": (lambda: float(torch.ones(2)), ValueError, ["only one element", "2", "reduce first"]),
    "negative power": (lambda: torch.tensor([2]) ** -1, RuntimeError, ["pow", "negative integer powers", ".float()"]),
    "narrow": (lambda: torch.ones(5).narrow(0, 3, 3), RuntimeError, ["narrow", "start (3)", "length (3)", "size (5)", "at most 2"]),
    "split": (lambda: torch.ones(5).split([2, 2]), RuntimeError, ["split", "5", "[2, 2]", "sum to 4"]),
    "dropout": (lambda: torch.nn.Dropout(2.0), ValueError, ["dropout", "'p'", "between 0 and 1", "2.0"]),
    "folder": (lambda: torch.save(torch.ones(1), "/nowhere/x.pth"), RuntimeError, ["save", "/nowhere", "does not exist", "makedirs"]),
    "workers kept": (lambda: DataLoader(TensorDataset(torch.ones(3)), persistent_workers=True), ValueError,
                     ["persistent_workers", "num_workers > 0"]),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_message_says_what_and_what_to_do(mistake):
    call, error, says = MISTAKES[mistake]
    with pytest.raises(error) as caught:
        call()
    assert caught.type is error
    message = str(caught.value)
    assert not [part for part in says if part not in message], message


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is an NVIDIA GPU")
def test_a_gpu_that_is_not_there():
    with pytest.raises((AssertionError, RuntimeError), match="device='cpu'"):
        torch.ones(2, device="cuda")
