"""``NUMTORCH_DEBUG``: what each level tells."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import numtorch

PROGRAM = """
import numtorch as torch
traced = torch.jit.trace(lambda x: (x * 2).exp(), torch.ones(3))
traced(torch.ones(3))
torch.log(torch.tensor([-1.0]))
print("end")
"""


def run(level, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(PROGRAM)
    environment = {**os.environ, "NUMTORCH_DEBUG": level}
    return subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=False)


def test_level_1_tells_of_traces(tmp_path):
    found = run("1", tmp_path)
    assert found.stdout == "end\n" and "trace <lambda>(float32[3]): 2 ops in 1 kernel calls" in found.stderr


def test_level_2_finds_anomalies(tmp_path):
    found = run("2", tmp_path)
    assert found.returncode == 1 and "AnomalyError: Op 'log'" in found.stderr and "script.py\", line 5" in found.stderr


def test_level_3_tells_every_op(tmp_path):
    found = run("3", tmp_path)
    assert "numtorch: mul([3], 2) -> float32[3]  # script.py:3" in found.stderr and "AnomalyError" in found.stderr


@pytest.mark.parametrize("level", ["4", "yes"])
def test_other_levels_are_refused(level, tmp_path):
    found = run(level, tmp_path)
    assert found.returncode == 1 and "expected 0, 1, 2 or 3" in found.stderr


def test_the_level_can_be_changed(capsys):
    try:
        numtorch.debug.set_level(1)
        numtorch.jit.trace(lambda x: x + 1, numtorch.ones(2))
        assert "1 ops in 1 kernel calls" in capsys.readouterr().err
        numtorch.debug.set_level(2)
        with pytest.raises(numtorch.autograd.AnomalyError):
            numtorch.sqrt(numtorch.tensor([-1.0]))
    finally:
        numtorch.debug.set_level(0)
    assert not numtorch.is_anomaly_enabled() and numtorch.debug.level() == 0
