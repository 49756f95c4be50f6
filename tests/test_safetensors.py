"""safetensors files: all dtypes, tied weights, what is refused; to PyTorch and back."""

from __future__ import annotations

import json
import struct
import sys

import pytest

import numtorch
from numtorch import nn
from numtorch import safetensors as st

pytest.importorskip("safetensors")
DTYPES = "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool".split()


def everything():
    found = {d: numtorch.arange(6).reshape(2, 3).to(getattr(numtorch, d)) for d in DTYPES}
    return {**found, "scalar": numtorch.tensor(2.5), "empty": numtorch.empty(0, 3)}


def check_same(ours, theirs):
    assert set(ours) == set(theirs)
    for name, t in ours.items():
        assert str(t.dtype).partition(".")[2] == str(theirs[name].dtype).partition(".")[2]
        assert t.tolist() == theirs[name].tolist()


def test_there_and_back(tmp_path):
    path = tmp_path / "x.safetensors"
    st.save_file(everything(), path, metadata={"made": "here"})
    check_same(st.load_file(path), everything())
    check_same(st.load(st.save(everything())), everything())
    loaded = st.load_file(path)["float32"]
    loaded += 1  # memory of its own, which may be written


def test_bfloat16_in_the_format():
    header = json.dumps({"w": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    content = struct.pack("<Q", len(header)) + header + struct.pack("<2H", 0x3FC0, 0xC000)
    read = st.load(content)
    assert read["w"].dtype is numtorch.bfloat16 and read["w"].tolist() == [1.5, -2.0]
    assert st.save(read) == content


def test_a_library_that_takes_bytes(monkeypatch):
    import safetensors

    def serialize(entries, metadata=None):  # as before version 0.8
        return repr(sorted((name, e["dtype"], tuple(e["shape"]), e["data"]) for name, e in entries.items())).encode()

    monkeypatch.delattr(safetensors, "TensorSpec", raising=False)
    monkeypatch.setattr(safetensors, "serialize", serialize)
    written = st.save({"b": numtorch.tensor([1.5], dtype=numtorch.bfloat16), "a": numtorch.tensor(True)})
    assert eval(written) == [("a", "bool", (), b"\x01"), ("b", "bfloat16", (1,), b"\xc0\x3f")]


def test_a_model_with_tied_weights(tmp_path):
    net, other = (nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False), nn.BatchNorm1d(3)) for _ in range(2))
    for model in (net, other):
        model[1].weight = model[0].weight
    path = tmp_path / "m.safetensors"
    st.save_model(net, path)
    assert "1.weight" not in st.load_file(path)
    assert st.load_model(other, path) == ([], [])
    check_same(other.state_dict(), net.state_dict())
    with pytest.raises(RuntimeError, match=r"missing keys \['weight'\], unexpected keys \['0.weight'"):
        st.load_model(nn.Linear(3, 3, bias=False), path)
    assert st.load_model(nn.Linear(3, 3, bias=False), path, strict=False)[0] == ["weight"]


@pytest.mark.parametrize(("tensors", "kind", "message"), [
    ([1], ValueError, "Expected a dict of"),
    ({"a": 1}, ValueError, "Key `a` is invalid, expected numtorch.Tensor"),
    ({"a": numtorch.ones(2, 3).t()}, ValueError, "non contiguous tensor: `a`"),
    (dict.fromkeys("ab", numtorch.ones(2)), RuntimeError, "share memory.*'a', 'b'.*save_model"),
])  # fmt: skip
def test_what_is_refused(tensors, kind, message):
    with pytest.raises(kind, match=message):
        st.save(tensors)


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "numtorch\[safetensors\]"'):
        st.load(b"")


def test_load_says_what_reads_it(tmp_path):
    path = tmp_path / "x.safetensors"
    st.save_file(everything(), path)
    with pytest.raises(Exception, match=r"numtorch.safetensors.load_file"):
        numtorch.load(path)


@pytest.mark.oracle
def test_both_ways_with_pytorch(tmp_path):
    import torch
    from safetensors import torch as theirs

    path = tmp_path / "x.safetensors"
    st.save_file(everything(), path)
    check_same(everything(), theirs.load_file(path))
    theirs.save_file({d: torch.arange(6).reshape(2, 3).to(getattr(torch, d)) for d in DTYPES}, path)
    check_same({k: v for k, v in everything().items() if k in DTYPES}, st.load_file(path))
    theirs.save_model(torch.nn.Linear(3, 2), path)
    assert st.load_model(nn.Linear(3, 2), path) == ([], [])
