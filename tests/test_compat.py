"""numtorch under the name torch, in processes of their own."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset
from torch.optim.lr_scheduler import StepLR
import torch.optim as optim, sys

assert "--flag" in sys.argv
model = nn.Linear(3, 1)
optimizer = optim.SGD(model.parameters(), lr=0.1)
scheduler = StepLR(optimizer, 1)
for x, y in DataLoader(TensorDataset(torch.rand(8, 3), torch.rand(8, 1)), batch_size=4):
    optimizer.zero_grad()
    F.mse_loss(model(x), y).backward()
    optimizer.step()
scheduler.step()
import numtorch, numtorch.nn
print(torch is numtorch, nn is numtorch.nn, nn.__spec__.name, isinstance(model, torch.nn.Module))
"""


def run(*arguments: str, cwd: object = None) -> str:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_program_without_an_edit(tmp_path):
    (tmp_path / "train.py").write_text(PROGRAM)
    assert run("-m", "numtorch.compat", str(tmp_path / "train.py"), "--flag", cwd=tmp_path) == "True True numtorch.nn True"


def test_install_and_uninstall():
    found = run("-c", "import numtorch.compat as c, sys; c.install(); c.install(); import torch.nn; c.uninstall();"
                "print([m for m in sys.modules if m.startswith('torch')], sum(type(f).__name__ == 'Finder' for f in sys.meta_path))")
    assert found == "[] 0"


def test_what_numtorch_lacks_is_named():
    found = run("-c", "import numtorch.compat as c; c.install()\ntry:\n    import torch.nothing\nexcept ModuleNotFoundError as e: print(e)")
    assert found == "No module named 'torch.nothing': numtorch, which stands for torch here, has no numtorch.nothing"


def test_pytorch_already_imported():
    code = "import sys, types; sys.modules['torch'] = types.ModuleType('torch'); import numtorch.compat as c\n"
    found = run("-c", code + "try:\n    c.install()\nexcept RuntimeError as e: print(e)\nc.install(force=True)\nimport torch, numtorch; print(torch is numtorch)")
    assert "already imported" in found and found.endswith("True")


@pytest.mark.parametrize("arguments", [("-m", "numtorch.compat")])
def test_usage(arguments):
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "usage: python -m numtorch.compat program.py" in done.stderr
