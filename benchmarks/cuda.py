"""numtorch beside PyTorch on one GPU, in one process and in turns: `make bench-cuda`.

Writes benchmarks/results/cuda.md and cuda.json: absolute times, ratios, the share of the measured copy bandwidth, with the
GPU, the versions and the date. Times are medians over turns of CUDA events around many calls; the launch of an eager op is
host time.
"""

from __future__ import annotations

import argparse
import datetime
import json
import pathlib
import statistics
import sys
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

from benchmarks.cuda_work import WORK, Item

FOLDER = pathlib.Path(__file__).with_name("results")
PEERS = {"eager": "torch eager", "graph": "torch, CUDA graph"}


def milliseconds(torch: ModuleType, call: Callable[[], Any], calls: int) -> float:
    """Time of one call on the GPU, `calls` of them given at once."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(calls):
        call()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / calls


def host_milliseconds(torch: ModuleType, call: Callable[[], Any], calls: int) -> float:
    """Time in which the host gives one call to the GPU."""
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(calls):
        call()
    spent = time.perf_counter() - start
    torch.cuda.synchronize()
    return spent / calls * 1e3


def compare(item: Item, modules: dict[str, ModuleType], turns: int, budget: float) -> dict[str, Any]:
    """Medians in milliseconds by backend; a text where one cannot do it."""
    calls: dict[str, Callable[[], Any]] = {}
    found: dict[str, Any] = {}
    for name, build in item.builders(modules).items():
        try:
            calls[name] = build()
            for _ in range(3):  # compiles, warms the pools
                calls[name]()
            modules[name.split()[0].rstrip(",")].cuda.synchronize()
        except Exception as error:
            calls.pop(name, None)
            found[name] = f"{type(error).__name__}: {error}"
    measure = host_milliseconds if item.host else milliseconds
    times: dict[str, list[float]] = {name: [] for name in calls}
    counts = {}
    for name, call in calls.items():
        once = measure(modules[name.split()[0].rstrip(",")], call, 3)
        counts[name] = max(3, min(10_000, int(budget * 1e3 / max(once, 1e-4))))
    for _ in range(turns):
        for name, call in calls.items():
            times[name].append(measure(modules[name.split()[0].rstrip(",")], call, counts[name]))
    return found | {name: statistics.median(t) for name, t in times.items()}


def row(item: Item, result: dict[str, Any], copy: float) -> str:
    """A line of the table; `copy` is the measured bandwidth of a copy in GB/s."""
    ours = result.get("numtorch")
    peers = {n: v for n, v in result.items() if n != "numtorch" and isinstance(v, float)}
    cells = [f"{v:.4g}" if isinstance(v, float) else "–" for v in (ours, *(result.get(n) for n in PEERS.values()))]
    rate = ""
    if isinstance(ours, float) and item.flops:
        rate = f"{item.flops / ours / 1e9:.1f} TFLOP/s"
    elif isinstance(ours, float) and item.bytes:
        speed = item.bytes / ours / 1e6
        rate = f"{speed:.0f} GB/s" + (f" ({speed / copy:.0%} of copy)" if copy else "")
    best = f"{min(peers.values()) / ours:.2f}x" if peers and isinstance(ours, float) else "–"
    return f"| {item.name} | {' | '.join(cells)} | {rate} | {best} | {item.goal} |"


def report(results: list[tuple[Item, dict[str, Any]]], copy: float, about: dict[str, Any]) -> str:
    """The table as Markdown."""
    head = ["numtorch", *PEERS.values(), "numtorch's rate", "best peer / numtorch", "goal"]
    lines = [", ".join(f"{k} {v}" for k, v in about.items()) + f"; a copy moves {copy:.0f} GB/s. Times in ms.", ""]
    lines += [f"| | {' | '.join(head)} |", "|" + "---|" * (len(head) + 1)]
    lines += [row(item, result, copy) for item, result in results]
    errors = [f"- {i.name}, {n}: {v}" for i, r in results for n, v in r.items() if isinstance(v, str)]
    return "\n".join([*lines, *([""] if errors else []), *errors]) + "\n"


def about(modules: dict[str, ModuleType]) -> dict[str, Any]:
    """The GPU, the driver's and the packages' versions, the date."""
    torch = modules["numtorch"]
    found = {"GPU": torch.cuda.get_device_name(), "date": datetime.date.today().isoformat()}
    for name, module in modules.items():
        found[name] = module.__version__
    if "torch" in modules:
        found["CUDA of torch"] = modules["torch"].version.cuda
    return found


def main(arguments: list[str] | None = None) -> int:
    """Measure and write; 1 without a GPU."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fast", action="store_true", help="fewer sizes, about two minutes")
    parser.add_argument("--only", default="", help="names that contain this")
    parser.add_argument("--out", type=pathlib.Path, default=FOLDER)
    options = parser.parse_args(arguments)
    import numtorch

    if not numtorch.cuda.is_available():
        print("There is no NVIDIA GPU that numtorch can use: nothing was measured.", file=sys.stderr)
        return 1
    modules = {"numtorch": numtorch}
    try:
        import torch

        if torch.cuda.is_available():
            torch.backends.cuda.matmul.allow_tf32 = False
            torch.backends.cudnn.allow_tf32 = False
            modules["torch"] = torch
    except ModuleNotFoundError:
        print("PyTorch is not installed: numtorch is measured alone.", file=sys.stderr)
    results: list[tuple[Item, dict[str, Any]]] = []
    copy = 0.0
    for item in WORK:
        if options.only not in item.name or (options.fast and not item.fast):
            continue
        result = compare(item, modules, 3 if options.fast else 7, 0.05 if options.fast else 0.3)
        if item.name == "copy":
            copy = max((item.bytes / v / 1e6 for v in result.values() if isinstance(v, float)), default=0.0)
        results.append((item, result))
        print(row(item, result, copy), flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    facts = about(modules)
    (options.out / "cuda.md").write_text(report(results, copy, facts))
    record = {"about": facts, "copy GB/s": copy, "ms": {i.name: r for i, r in results}}
    (options.out / "cuda.json").write_text(json.dumps(record, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
