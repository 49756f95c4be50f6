"""What was measured, as Markdown and as a picture."""

from __future__ import annotations

import pathlib
import platform
import statistics
from typing import Any

# mode -> workload -> backend -> {"us": [times]}, {"error": text} or {"unsupported": text}
Results = dict[str, dict[str, dict[str, dict[str, Any]]]]


def median(entry: dict[str, Any] | None) -> float | None:
    """Median time in microseconds, or None where nothing was measured."""
    return statistics.median(entry["us"]) if entry and "us" in entry else None


def machine() -> dict[str, Any]:
    """The CPU's name, the cores this process may use, and the system."""
    import os

    cpu = platform.processor() or platform.machine()
    info = pathlib.Path("/proc/cpuinfo")
    if info.is_file():
        names = [
            line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line
        ]
        cpu = names[0] if names else cpu
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "cpu": cpu,
        "cores": cores,
        "system": platform.system(),
        "python": platform.python_version(),
        "load": load,
    }


def number(us: float | None) -> str:
    """Three significant digits; a dash where nothing was measured."""
    if us is None:
        return "–"
    return f"{us:,.0f}" if us >= 100 else f"{us:.3g}"


def ratio(row: dict[str, dict[str, Any]], ours: str) -> tuple[str, float] | None:
    """The fastest peer (what is not numtorch) and how many times longer it takes than `ours`."""
    mine = median(row.get(ours))
    peers = {name: us for name, e in row.items() if not name.startswith("numtorch") and (us := median(e))}
    if mine is None or not peers:
        return None
    best = min(peers, key=lambda name: peers[name])
    return best, peers[best] / mine


def table(
    rows: dict[str, dict[str, dict[str, Any]]], backends: list[str], ours: str, more: dict[str, list[str]] | None = None
) -> list[str]:
    """A Markdown table: a row for each workload, a column for each backend, ratios, then the columns `more` (title: cells)."""
    more = more or {}
    head = ["", *backends, "best peer / numtorch", *more]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for i, (name, row) in enumerate(rows.items()):
        found = ratio(row, ours)
        last = f"{found[1]:.2f} ({found[0]})" if found else "–"
        cells = [name, *(number(median(row.get(b))) for b in backends), last, *(column[i] for column in more.values())]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def kernel_columns(rows: dict[str, dict[str, dict[str, Any]]], ours: str) -> dict[str, list[str]]:
    """The goal of each kernel, and the GFLOP/s or GB/s that ours reaches."""
    from benchmarks.kernels import KERNELS

    known = {kernel.name: kernel for kernel in KERNELS}
    goals, rates = [], []
    for name, row in rows.items():
        kernel, us = known[name], median(row.get(ours))
        work, unit = (kernel.flops, "GFLOP/s") if kernel.flops else (kernel.bytes, "GB/s")
        goals.append(f"{kernel.goal:g}")
        rates.append(f"{number(work / us / 1e3)} {unit}" if us and work else "–")
    return {"goal": goals, "numtorch reaches": rates}


def markdown(results: Results, startup: dict[str, float], facts: dict[str, Any]) -> str:
    """The whole report."""
    where = facts["machine"]
    lines = [
        f"Medians in microseconds, {facts['threads']} threads, {where['cores']} cores of {where['cpu']}, "
        f"Python {where['python']}; {'; '.join(dict.fromkeys(facts['versions'].values()))}.",
        f"Each backend has a process of its own; they take turns. Load average before: {where['load']}.",
    ]
    titles = {"inference": "Inference", "training": "Training step", "kernel": "Single operations, eager"}
    for mode, rows in results.items():
        backends = [b for b in facts["versions"] if any("us" in row.get(b, {}) for row in rows.values())]
        ours = "numtorch eager" if mode == "kernel" else "numtorch"
        more = kernel_columns(rows, ours) if mode == "kernel" else {}
        lines += ["", f"### {titles[mode]}", "", *table(rows, backends, ours, more)]
        failed = {
            f"{b}, {name}: {e['error']}" for name, row in rows.items() for b, e in row.items() if "error" in e
        }
        lines += ["", *(f"- {text}" for text in sorted(failed))] if failed else []
    if startup:
        lines += ["", "### Start", "", "| | seconds |", "|---|---|"]
        lines += [f"| {label} | {seconds:.2f} |" for label, seconds in startup.items()]
    return "\n".join(lines) + "\n"


def picture(results: Results, facts: dict[str, Any], path: pathlib.Path) -> bool:
    """Bars of every backend's time relative to numtorch's; False where matplotlib is not installed."""
    try:
        import matplotlib
    except ModuleNotFoundError:
        return False
    matplotlib.use("Agg")
    from matplotlib import pyplot

    modes = [mode for mode in ("inference", "training", "kernel") if results.get(mode)]
    height = max(2.5, 0.42 * max(len(results[mode]) for mode in modes) + 1.2)
    figure, axes = pyplot.subplots(
        1, len(modes), figsize=(6 * len(modes), height), layout="constrained", squeeze=False
    )
    for panel, mode in zip(axes[0], modes):
        panel_bars(panel, results[mode], "numtorch eager" if mode == "kernel" else "numtorch")
        panel.set_title(
            {"inference": "Inference", "training": "Training step"}.get(mode, "Single operations")
        )
    figure.suptitle(
        f"Time relative to numtorch (1 = equal, right = slower), {facts['machine']['cpu']}", fontsize=10
    )
    figure.savefig(path, dpi=100)
    pyplot.close(figure)
    return True


COLORS = {
    "numtorch eager": "tab:orange", "torch": "tab:red", "torch.jit.trace": "tab:purple", "torch.compile": "tab:brown",
    "jax": "tab:blue", "onnxruntime": "tab:green",
}  # fmt: skip


def panel_bars(panel: Any, rows: dict[str, dict[str, dict[str, Any]]], ours: str) -> None:
    """One dot for each peer and workload on a logarithmic axis, a line at 1."""
    names = [name for name, row in rows.items() if median(row.get(ours))]
    if not names:
        panel.text(0.5, 0.5, "not measured", ha="center")
        return
    backends = sorted({b for name in names for b in rows[name] if b != ours and median(rows[name].get(b))})
    for backend in backends:
        points = [(median(rows[n].get(backend)), median(rows[n][ours]), i) for i, n in enumerate(names)]
        known = [(peer / mine, i) for peer, mine, i in points if peer and mine]
        panel.scatter([x for x, _ in known], [i for _, i in known], label=backend, s=36, zorder=3, color=COLORS.get(backend))
    panel.axvline(1, color="black", linewidth=1)
    panel.set(xscale="log", yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.5, -0.5))
    panel.grid(axis="x", which="both", alpha=0.25)
    panel.legend(fontsize=8)
