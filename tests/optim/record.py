"""Run the cases in PyTorch and keep the results: ``python tests/optim/record.py`` writes recorded.json (needs
torch==2.13.0)."""

from __future__ import annotations

import json
import pathlib
import warnings
from typing import Any

import cases
import torch

TARGET = pathlib.Path(__file__).with_name("recorded.json")


def rounded(x: Any) -> Any:
    """Nested lists with twelve digits: more than any comparison needs."""
    return [rounded(y) for y in x] if isinstance(x, list) else float(f"{x:.12g}")


def main() -> None:
    """Write the file."""
    runs = [cases.run(torch, name, options, "float64") for name, options in cases.OPTIMIZERS]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        schedules = [cases.schedule_run(torch, name, options) for name, options in cases.SCHEDULES]
        composed = [cases.schedule_run(torch, name, {}) for name in cases.COMPOSED]
    flat = [[[p.reshape(-1).tolist() for p in step] for step in run] for run in runs]
    content = {
        "torch": torch.__version__,
        "optimizers": rounded(flat),
        "schedules": rounded(schedules + composed),
    }
    TARGET.write_text(json.dumps(content, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
