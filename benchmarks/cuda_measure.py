"""Times one piece of work after another on a GPU, in a process that a broken kernel may take down with it.

``python -m benchmarks.cuda_measure NAME...`` writes a line of JSON for each: what each backend takes, or why it cannot, and how
far numtorch's results are from PyTorch's. `benchmarks/cuda.py` starts it, and starts it anew behind work that ended it.
"""

from __future__ import annotations

import gc
import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from benchmarks.cuda_work import WORK, Item

BROKEN = 3  # exit status: the GPU's context is of no more use


def milliseconds(torch: ModuleType, call: Callable[[], Any], calls: int) -> float:
    """Time of one call on the GPU, `calls` of them given at once."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
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


def arrays(result: Any) -> list[np.ndarray]:
    """The tensors of a result as float32 arrays."""
    if isinstance(result, (tuple, list)):
        return [a for r in result for a in arrays(r)]
    return [] if result is None else [result.detach().cpu().float().numpy()]


def difference(ours: list[np.ndarray], theirs: list[np.ndarray]) -> float:
    """The largest distance between results, as a part of the largest number of each; infinite for a NaN or another shape."""
    if [a.shape for a in ours] != [b.shape for b in theirs]:
        return float("inf")
    worst = 0.0
    for a, b in zip(ours, theirs):
        if b.size:
            apart = float(np.abs(a - b).max()) / max(float(np.abs(b).max()), 1e-30)
            worst = max(worst, apart if apart == apart else float("inf"))
    return worst


def module_of(name: str, modules: dict[str, ModuleType]) -> ModuleType:
    """The module of a backend by its name, such as "torch, CUDA graph"."""
    return modules[name.split()[0].rstrip(",")]


def told(error: BaseException) -> str:
    """An error in a line."""
    return f"{type(error).__name__}: {error}".splitlines()[0][:300]


def prepared(
    item: Item, modules: dict[str, ModuleType], found: dict[str, Any]
) -> tuple[dict[str, Callable[[], Any]], float | None]:
    """The calls of all backends that can do an item, warm, and how far numtorch's results are from PyTorch's."""
    calls: dict[str, Callable[[], Any]] = {}
    results: dict[str, list[np.ndarray]] = {}
    for name, build in item.builders(modules).items():
        try:
            call = build()
            first = [call() for _ in range(item.steps)]
            if "graph" not in name:  # a captured call has changed what it works on before
                results[name] = arrays(first[-1] if item.steps == 1 else first)
            del first
            for _ in range(3):  # compiles, warms the pools
                call()
            module_of(name, modules).cuda.synchronize()
            calls[name] = call
        except Exception as error:
            found[name] = told(error)
    if not {"numtorch", "torch eager"} <= results.keys():
        return calls, None
    apart = difference(results["numtorch"], results["torch eager"])
    if not apart <= item.tolerance:
        found["numtorch"] = f"wrong: {apart:.2g} away from PyTorch's results, {item.tolerance:.2g} would do"
        calls.pop("numtorch", None)
    return calls, apart


def compare(item: Item, modules: dict[str, ModuleType], turns: int, budget: float) -> dict[str, Any]:
    """``ms``: medians in milliseconds by backend, a text where one cannot do it; ``apart``: how far the results are;
    ``notes``: warnings, such as of a trace that runs eagerly.
    """
    found: dict[str, Any] = {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        calls, apart = prepared(item, modules, found)
    notes = sorted({str(w.message).splitlines()[0] for w in caught if "numtorch" in str(w.message)})
    measure = host_milliseconds if item.host else milliseconds
    times: dict[str, list[float]] = {name: [] for name in calls}
    counts = {}
    for name, call in calls.items():
        once = measure(module_of(name, modules), call, 3)
        counts[name] = max(3, min(10_000, int(budget * 1e3 / max(once, 1e-4))))
    for _ in range(turns):
        for name, call in calls.items():
            times[name].append(measure(module_of(name, modules), call, counts[name]))
    return {"ms": found | {n: statistics.median(t) for n, t in times.items()}, "apart": apart, "notes": notes}


def backends() -> dict[str, ModuleType]:
    """numtorch, and PyTorch if it is there and has a GPU: float32 products in float32, the fastest convolution it finds."""
    import numtorch

    modules = {"numtorch": numtorch}
    try:
        import torch
    except ModuleNotFoundError:
        return modules
    if torch.cuda.is_available():
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = True
        modules["torch"] = torch
    return modules


def main(arguments: list[str]) -> int:
    """Measure the named work; BROKEN when an error cannot be got over."""
    turns, budget, *names = arguments
    modules = backends()
    by_name = {item.name: item for item in WORK}
    for name in names:
        try:
            result = compare(by_name[name], modules, int(turns), float(budget))
        except Exception as error:
            result = {"ms": {"all": told(error)}, "apart": None}
        print(json.dumps({"name": name, **result}), flush=True)
        gc.collect()
        try:
            for module in modules.values():
                module.cuda.synchronize()
                module.cuda.empty_cache()
        except Exception:
            return BROKEN  # what this was, the work that met it has told
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
