"""Run the cases in PyTorch and keep the results: ``python tests/nn/record.py`` (needs torch==2.13.0)."""

from __future__ import annotations

import json
import pathlib
import sys
import warnings
from typing import Any

import torch

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE))

import layers  # noqa: E402
import programs  # noqa: E402


def rounded(x: Any) -> Any:
    """The same with nine digits, in the form that JSON keeps."""
    if isinstance(x, dict):
        return {k: rounded(v) for k, v in x.items()}
    if isinstance(x, (list, tuple)):
        return [rounded(v) for v in x]
    return float(f"{x:.9g}") if isinstance(x, float) else x


def main() -> None:
    """Write recorded_layers.json and recorded_programs.json."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = {layers.label(row): rounded(layers.run(torch, row)) for row in layers.LAYERS}
        evaluated = {
            layers.label(row): rounded(layers.run(torch, row, training=False))
            for row in layers.LAYERS
            if "Norm" in row[0] and "Layer" not in row[0]
        }
        results = {name: rounded(programs.run(torch, name)) for name in programs.names()}
    assert len(found) == len(layers.LAYERS), "two rows have the same label"
    content = {"torch": torch.__version__, "training": found, "evaluation": evaluated}
    (HERE / "recorded_layers.json").write_text(json.dumps(content, separators=(",", ":")) + "\n")
    content = {"torch": torch.__version__, "results": results}
    (HERE / "recorded_programs.json").write_text(json.dumps(content, indent=0) + "\n")


if __name__ == "__main__":
    main()
