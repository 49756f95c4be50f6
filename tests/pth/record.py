"""Files written by PyTorch for test_serialization.py: ``python tests/pth/record.py`` (needs
torch==2.13.0)."""

from __future__ import annotations

import pathlib
from collections import OrderedDict

import torch

FOLDER = pathlib.Path(__file__).parent


def content() -> dict:
    """Something of everything that PyTorch's files hold and numtorch has."""
    torch.manual_seed(0)
    base = torch.arange(12.0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    with torch.no_grad():
        for k, p in enumerate(model.parameters()):
            p.copy_(torch.arange(p.numel()).reshape(p.shape) + k)
    names = ("float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool")
    return {
        "model": model.state_dict(),
        "base": base,
        "view": base[2:8:2],
        "transposed": base.view(3, 4).t(),
        "expanded": torch.ones(1).expand(3),
        "dtypes": {name: torch.tensor([0, 1, 1], dtype=getattr(torch, name)) for name in names},
        "scalar": torch.tensor(2.5, dtype=torch.float64),
        "empty": torch.empty(0, 3),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "leaf": torch.ones(2, requires_grad=True),
        "plain": [1, -2, 2**70, 1.5, True, None, "text", b"bytes", (1, (2, 3)), {"a": {1, 2}}, 1 + 2j],
        "ordered": OrderedDict(b=1, a=2),
        "names": [torch.float32, torch.Size([2, 3])],
        "device": torch.device("cpu"),
    }


def main() -> None:
    """Write the files."""
    torch.save(content(), FOLDER / "everything.pt")
    torch.save(content(), FOLDER / "legacy.pt", _use_new_zipfile_serialization=False)
    torch.save({"half": torch.tensor([1.5, -2.0, 3e38]).bfloat16()}, FOLDER / "bfloat16.pt")
    torch.save({"z": torch.ones(2, dtype=torch.complex64)}, FOLDER / "complex.pt")
    torch.save(torch.nn.Linear(1, 1), FOLDER / "module.pt")
    p = torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.Adam([p], lr=0.1)
    p.grad = torch.ones(3)
    optimizer.step()
    torch.save(optimizer.state_dict(), FOLDER / "adam.pt")


if __name__ == "__main__":
    main()
