"""numtorch beside PyTorch on one GPU, in one process and in turns: `make bench-cuda`.

Writes benchmarks/results/cuda.md, cuda.json and cuda.png after each piece of work: absolute times, ratios, the share of the
measured copy bandwidth, with the GPU, the driver, the versions and the date. Times are medians over turns of CUDA events around
many calls; the launch of an eager op is host time. Results are compared with PyTorch's before anything is timed. Work that
fails, hangs or takes the GPU's context down is reported, and the rest goes on in a new process.
"""

from __future__ import annotations

import argparse
import ctypes
import datetime
import importlib.metadata
import json
import pathlib
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.cuda_measure import BROKEN
from benchmarks.cuda_work import WORK, Item

FOLDER = pathlib.Path(__file__).with_name("results")
PEERS = {"eager": "torch eager", "graph": "torch, CUDA graph"}
PATIENCE = 180.0  # seconds for one piece of work
PACKAGES = ("numtorch", "torch", "numba", "numba-cuda", "cuda-core", "nvidia-nvvm", "nvidia-nvjitlink")
NOTE = "Times in ms; ratios say how many times longer PyTorch takes."


def row(item: Item, result: dict[str, Any], copy: float) -> str:
    """A line of the table; `copy` is the measured bandwidth of a copy in GB/s."""
    ms = result["ms"]
    ours = ms.get("numtorch")
    cells = [f"{v:.4g}" if isinstance(v, float) else "–" for v in (ours, *(ms.get(n) for n in PEERS.values()))]
    rate = ""
    if isinstance(ours, float) and item.flops:
        rate = f"{item.flops / ours / 1e9:.1f} TFLOP/s"
    elif isinstance(ours, float) and item.bytes:
        speed = item.bytes / ours / 1e6
        rate = f"{speed:.0f} GB/s" + (f" ({speed / copy:.0%} of copy)" if copy else "")
    ratios = [f"{r:.2f}x" if r else "–" for r in (ratio(ms, n) for n in PEERS.values())]
    apart = "–" if result["apart"] is None else f"{result['apart']:.1g}"
    return f"| {item.name} | {' | '.join(cells)} | {rate} | {' | '.join(ratios)} | {apart} | {item.goal} |"


def ratio(ms: dict[str, Any], peer: str) -> float:
    """How many times longer a peer takes than numtorch; 0 where one of them was not measured."""
    ours, theirs = ms.get("numtorch"), ms.get(peer)
    return theirs / ours if isinstance(ours, float) and isinstance(theirs, float) else 0.0


def report(results: Sequence[tuple[Item, dict[str, Any]]], about: dict[str, Any]) -> str:
    """The table as Markdown."""
    copy = copy_rate(results)
    head = ["numtorch", *PEERS.values(), "numtorch's rate", "eager", "CUDA graph", "apart", "goal"]
    lines = [", ".join(f"{k} {v}" for k, v in about.items()) + f"; a copy moves {copy:.0f} GB/s. {NOTE}", ""]
    lines += [f"| | {' | '.join(head)} |", "|" + "---|" * (len(head) + 1)]
    lines += [row(item, result, copy) for item, result in results]
    errors = [f"- {text}" for i, r in results for text in remarks(i, r)]
    return "\n".join([*lines, *([""] if errors else []), *errors]) + "\n"


def remarks(item: Item, result: dict[str, Any]) -> list[str]:
    """What failed of a piece of work, and what was warned of."""
    failed = [f"{item.name}, {n}: {v}" for n, v in result["ms"].items() if isinstance(v, str)]
    return failed + [f"{item.name}: {note}" for note in result.get("notes", ())]


def copy_rate(results: Sequence[tuple[Item, dict[str, Any]]]) -> float:
    """GB/s of the fastest copy measured; 0 before it was."""
    found = [i.bytes / v / 1e6 for i, r in results if i.name == "copy" for v in r["ms"].values() if isinstance(v, float)]
    return max(found, default=0.0)


def picture(results: Sequence[tuple[Item, dict[str, Any]]], about: dict[str, Any], place: pathlib.Path) -> bool:
    """Bars of the ratios to both peers; False without matplotlib."""
    try:
        import matplotlib
    except ModuleNotFoundError:
        return False
    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [(i, r) for i, r in results if any(ratio(r["ms"], p) for p in PEERS.values())][::-1]
    figure, axes = pyplot.subplots(figsize=(9, 1 + 0.32 * len(rows)), layout="constrained")
    for k, (peer, colour) in enumerate(zip(PEERS.values(), ("tab:orange", "tab:blue"))):
        places = [n + 0.2 - 0.4 * k for n in range(len(rows))]
        axes.barh(places, [ratio(r["ms"], peer) for _, r in rows], 0.4, color=colour, label=peer)
    axes.set_yticks(range(len(rows)), [i.name for i, _ in rows])
    axes.axvline(1.0, color="black", linewidth=0.8)
    axes.set_xlabel("PyTorch's time / numtorch's")
    axes.set_title(f"{about.get('GPU', '')}, {about.get('date', '')}")
    if rows:
        axes.legend()
    figure.savefig(place, dpi=120)
    pyplot.close(figure)
    return True


def about() -> dict[str, Any]:
    """The GPU, the driver's and the packages' versions, the date."""
    import numtorch

    found: dict[str, Any] = {"GPU": numtorch.cuda.get_device_name(), "date": datetime.date.today().isoformat()}
    version = pathlib.Path("/proc/driver/nvidia/version")
    if version.is_file():
        number_of = re.search(r"\s(\d+\.[\d.]+)\s", version.read_text())
        found["driver"] = number_of.group(1) if number_of else "?"
    try:
        number = ctypes.c_int()
        if ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(number)) == 0:
            found["CUDA of the driver"] = f"{number.value // 1000}.{number.value % 1000 // 10}"
    except OSError:
        found["CUDA of the driver"] = "?"
    found["Python"] = ".".join(map(str, sys.version_info[:3]))
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "none"
    return found


def measured(items: Sequence[Item], command: Sequence[str], patience: float = PATIENCE) -> Iterator[tuple[Item, dict[str, Any]]]:
    """What processes of `command` NAME... say of each item, one process as long as it lives."""
    left = list(items)
    while left:
        with subprocess.Popen([*command, *[i.name for i in left]], stdout=subprocess.PIPE, text=True) as process:
            lines: queue.Queue[str] = queue.Queue()
            threading.Thread(target=_listen, args=(process.stdout, lines), daemon=True).start()
            try:
                while left:
                    result = _next(process, lines, patience)
                    if result is None:
                        break
                    yield left.pop(0), result
                    if result["ms"].get("all", "").startswith("ended"):
                        break
            finally:
                process.kill()  # one that hangs, and one whose answers nobody waits for any more


def _next(process: Any, lines: queue.Queue[str], patience: float) -> dict[str, Any] | None:
    """The next answer of a process; why it ended where it does not answer; None where it wants to begin anew."""
    try:
        line = lines.get(timeout=patience)
    except queue.Empty:
        return _failed(f"ended: no answer in {patience:.0f} s")
    if line:
        return json.loads(line)
    return None if process.wait() == BROKEN else _failed(f"ended: the process left with status {process.returncode}")


def _listen(stream: Any, lines: queue.Queue[str]) -> None:
    """Put the lines of a process's results into a queue, and an empty one behind the last; others go to stderr."""
    for line in stream:
        if line.startswith('{"name"'):
            lines.put(line)
        else:
            sys.stderr.write(line)
    lines.put("")


def _failed(reason: str) -> dict[str, Any]:
    return {"ms": {"all": reason}, "apart": None}


def main(arguments: list[str] | None = None) -> int:
    """Measure and write; 1 without a GPU."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fast", action="store_true", help="fewer sizes, about two minutes")
    parser.add_argument("--only", default="", help="names that contain this")
    parser.add_argument("--minutes", type=float, default=60.0, help="begin nothing new after so long")
    parser.add_argument("--out", type=pathlib.Path, default=FOLDER)
    options = parser.parse_args(arguments)
    import numtorch

    if not numtorch.cuda.is_available():
        print("There is no NVIDIA GPU that numtorch can use: nothing was measured.", file=sys.stderr)
        return 1
    items = [i for i in WORK if options.only in i.name and (i.fast or not options.fast)]
    how = ["3", "0.05"] if options.fast else ["7", "0.2"]
    facts, results, start = about(), [], time.monotonic()
    print(", ".join(f"{k} {v}" for k, v in facts.items()), flush=True)
    for item, result in measured(items, [sys.executable, "-m", "benchmarks.cuda_measure", *how]):
        results.append((item, result))
        print(row(item, result, copy_rate(results)), flush=True)
        for text in remarks(item, result):
            print(f"    {text}", flush=True)
        write(results, facts, options.out)
        if time.monotonic() - start > options.minutes * 60:
            print(f"stopped after {options.minutes:g} minutes: {len(items) - len(results)} left", file=sys.stderr)
            break
    if not picture(results, facts, options.out / "cuda.png"):
        print("matplotlib is not installed: no picture", file=sys.stderr)
    return 0


def write(results: Sequence[tuple[Item, dict[str, Any]]], facts: dict[str, Any], folder: pathlib.Path) -> None:
    """What is known so far, as a table and as numbers."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cuda.md").write_text(report(results, facts))
    record = {"about": facts, "copy GB/s": copy_rate(results), "results": {i.name: r for i, r in results}}
    (folder / "cuda.json").write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    sys.exit(main())
