"""Run notebooks from top to bottom and keep their output: ``make notebooks``, or ``python notebooks/run.py notebooks/02*.ipynb``.

What differs from run to run for no good reason is left out (times of execution, the state of widgets); progress bars, which a
reader without the program behind them would see as an error, are kept as the text of their last state.
"""

from __future__ import annotations

import html
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

WIDGET = "application/vnd.jupyter.widget-view+json"
STATE = "application/vnd.jupyter.widget-state+json"


def bar_text(model: str, state: dict[str, Any]) -> str:
    """The last state of tqdm's bar: description, blocks, counts."""
    left, bar, right = (state[child.removeprefix("IPY_MODEL_")]["state"] for child in state[model]["state"]["children"])
    blocks = round(10 * bar["value"] / bar["max"])
    return html.unescape(f"{left['value']}|{'█' * blocks}{' ' * (10 - blocks)}|{right['value']}").replace("\u2007", " ")


def clean(notebook: Any) -> None:
    """Leave out what is of no use to a reader."""
    widgets = notebook.metadata.pop("widgets", {})
    state = widgets.get(STATE, {}).get("state", {})
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            view = output.get("data", {}).pop(WIDGET, None)
            if view is not None:
                output["data"] = {"text/plain": bar_text(view["model_id"], state)}


def run(path: Path) -> None:
    """Execute one notebook in its folder; an error in a cell raises, and the file stays as it was."""
    notebook = nbformat.read(path, as_version=4)
    start = time.perf_counter()
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}}).execute()
    clean(notebook)
    nbformat.write(notebook, path)
    print(f"{path.name}: {time.perf_counter() - start:.1f} s, {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    for name in sys.argv[1:] or sorted(map(str, Path(__file__).parent.glob("*.ipynb"))):
        run(Path(name))
