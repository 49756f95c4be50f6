"""Named tuples that operations return: as PyTorch prints them, by name and by place, through pickle and traces."""

from __future__ import annotations

import pickle

import pytest

import numtorch as torch

X = torch.tensor([[1.0, 3.0], [2.0, 0.0]])
CASES = {
    "max": lambda: X.max(dim=1), "min": lambda: torch.min(X, 0), "sort": lambda: X.sort(), "topk": lambda: X.topk(1),
    "kthvalue": lambda: X.kthvalue(1), "median": lambda: X.median(0), "nanmedian": lambda: X.nanmedian(0),
    "mode": lambda: X.mode(), "cummax": lambda: X.cummax(0), "cummin": lambda: X.cummin(0), "aminmax": lambda: X.aminmax(),
    "frexp": lambda: torch.frexp(X), "linalg_qr": lambda: torch.linalg.qr(X), "linalg_eigh": lambda: torch.linalg.eigh(X),
    "linalg_svd": lambda: torch.linalg.svd(X), "linalg_slogdet": lambda: torch.linalg.slogdet(X),
}  # fmt: skip


def test_printed_as_in_pytorch():
    text = "torch.return_types.max(\nvalues=tensor([3., 2.]),\nindices=tensor([1, 0]))"
    assert repr(X.max(dim=1)) == text and str(torch.max(X, 1)) == text


@pytest.mark.parametrize("name", CASES)
def test_each_has_its_name(name):
    made = CASES[name]()
    kind = getattr(torch.return_types, name)
    assert type(made) is kind and repr(made).startswith(f"torch.return_types.{name}(\n{kind._fields[0]}=tensor(")
    first, second, *_ = made
    assert first is made[0] and getattr(made, kind._fields[1]) is second
    again = pickle.loads(pickle.dumps(made))
    assert type(again) is kind and torch.equal(again[0], made[0])


def test_traces_return_them(tmp_path):
    traced = torch.jit.trace(lambda x: x.max(dim=1), X)
    assert type(traced(X)) is torch.return_types.max
    traced.save(tmp_path / "max.trace")
    assert repr(torch.jit.load(tmp_path / "max.trace")(X)) == repr(X.max(dim=1))


def test_the_class_of_a_tensor_is_named_as_users_call_it():
    assert str(type(X)) == "<class 'numtorch.Tensor'>" and type(pickle.loads(pickle.dumps(X))) is torch.Tensor


def test_limits_print():
    assert repr(torch.iinfo(torch.int8)) == "iinfo(min=-128, max=127, dtype=int8)"
    assert repr(torch.finfo(torch.float32)) == (
        "finfo(resolution=1e-06, min=-3.40282e+38, max=3.40282e+38, eps=1.19209e-07, smallest_normal=1.17549e-38,"
        " tiny=1.17549e-38, dtype=float32)"
    )
