"""The command line: start the backends, let them take turns, write the report."""

from __future__ import annotations

import argparse
import contextlib
import fnmatch
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import Any

from benchmarks import report, startup
from benchmarks.kernels import KERNELS
from benchmarks.models import WORKLOADS

NAMES = ["numtorch", "numtorch eager", "torch", "torch.jit.trace", "torch.compile", "jax", "onnxruntime"]
OPTIONAL = {"torch.compile"}  # slow to prepare: only when named
PAUSE = 0.25  # seconds before a turn: the threads of the one before spin for up to 0.2 s (OpenMP) and would hold a core


class Backend:
    """A worker process and the pipe to it."""

    def __init__(self, name: str, threads: int, onnx: str) -> None:
        settings = {variable: str(threads) for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        environment = {**os.environ, **settings, "NUMTORCH_BENCH_ONNX": onnx}
        command = [sys.executable, "-m", "benchmarks.worker", name, str(threads)]
        self.name = name
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.hello = self.read()

    def read(self) -> dict[str, Any]:
        """The next answer; a worker that died answers with an error."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        return json.loads(line) if line else {"error": f"the worker ended with status {self.process.wait()}"}

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send one request and wait for its answer."""
        assert self.process.stdin
        with contextlib.suppress(BrokenPipeError):  # the answer then says that the worker ended
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        return self.read()

    def close(self) -> None:
        """End the worker."""
        assert self.process.stdin
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()


def compare(
    backends: list[Backend], mode: str, name: str, rounds: int, seconds: float
) -> dict[str, dict[str, Any]]:
    """Times of one workload: prepare everywhere, then measure in turns."""
    row = {b.name: b.ask(do="prepare", mode=mode, name=name) for b in backends}
    reference = row.get("torch", {}).get("check")
    for entry in row.values():
        check = entry.get("check")
        if (
            check is not None
            and reference is not None
            and abs(check - reference) > 1e-2 * max(1.0, abs(reference))
        ):
            entry["error"] = f"computes {check:.6g}, PyTorch {reference:.6g}"
    running = [b for b in backends if "check" in row[b.name] and "error" not in row[b.name]]
    for turn in range(rounds):
        for backend in running[turn % len(running) :] + running[: turn % len(running)]:
            time.sleep(PAUSE)
            answer = backend.ask(do="measure", seconds=seconds)
            row[backend.name].setdefault("us", []).extend(answer.get("us", []))
            if "error" in answer:
                row[backend.name]["error"] = answer["error"]
    return row


def parse_arguments() -> argparse.Namespace:
    """The choices."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--fast", action="store_true", help="fewer workloads, shorter turns: about two minutes"
    )
    parser.add_argument("--only", default="*", metavar="GLOB", help="only workloads whose name matches")
    parser.add_argument("--mode", action="append", choices=["inference", "training", "kernel", "startup"])
    parser.add_argument("--backend", action="append", choices=NAMES, help="may be repeated")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, help="turns of each backend (default 5, fast 2)")
    parser.add_argument("--seconds", type=float, help="length of a turn (default 0.3, fast 0.15)")
    parser.add_argument(
        "--out", type=pathlib.Path, default=pathlib.Path("build/benchmarks"), metavar="FOLDER"
    )
    parser.add_argument(
        "--keep", action="store_true", help="keep what an earlier run wrote to the folder and this one does not measure"
    )
    return parser.parse_args()


def merged(old: dict[str, Any], results: report.Results, start: dict[str, float], facts: dict[str, Any]) -> None:
    """Add the rows, start times and versions of an earlier run's document that this run has not measured."""
    for mode in {**old["results"], **results}:
        results[mode] = {**old["results"].get(mode, {}), **results.pop(mode, {})}
    for name, seconds in old["startup"].items():
        start.setdefault(name, seconds)
    facts["versions"] = {**old["facts"]["versions"], **facts["versions"]}


def chosen(arguments: argparse.Namespace) -> list[tuple[str, str]]:
    """(mode, name) of everything to measure."""
    modes = arguments.mode or ["inference", "training", "kernel"]
    pairs = [(mode, w) for mode in ("inference", "training") if mode in modes for w in WORKLOADS]
    pairs += [("kernel", k) for k in KERNELS if "kernel" in modes]
    pattern = arguments.only
    return [
        (m, w.name) for m, w in pairs if fnmatch.fnmatch(w.name, pattern) and (w.fast or not arguments.fast)
    ]


def export_onnx(names: list[str], folder: str) -> None:
    """Have PyTorch write the models for ONNX Runtime, in a process of its own."""
    subprocess.run([sys.executable, "-m", "benchmarks.export", folder, *names], check=False)


def run(arguments: argparse.Namespace) -> tuple[report.Results, dict[str, Any]]:
    """Measure everything that was chosen, printing each row as it is done."""
    rounds = arguments.rounds or (2 if arguments.fast else 5)
    seconds = arguments.seconds or (0.15 if arguments.fast else 0.3)
    todo = chosen(arguments)
    facts: dict[str, Any] = {"machine": report.machine(), "threads": arguments.threads, "versions": {}}
    results: report.Results = {}
    with tempfile.TemporaryDirectory() as onnx, contextlib.ExitStack() as stack:
        wanted = arguments.backend or [name for name in NAMES if name not in OPTIONAL]
        if "onnxruntime" in wanted and any(mode == "inference" for mode, _ in todo):
            export_onnx([name for mode, name in todo if mode == "inference"], onnx)
        backends = []
        for name in wanted if todo else ():
            backend = Backend(name, arguments.threads, onnx)
            stack.callback(backend.close)
            if "error" in backend.hello:
                print(f"{name} is left out: {backend.hello['error']}")
                continue
            facts["versions"][name] = backend.hello["versions"]
            backends.append(backend)
        for mode, name in todo:
            usable = [b for b in backends if mode != "kernel" or b.name in ("numtorch eager", "torch")]
            row = compare(usable, mode, name, rounds, seconds)
            results.setdefault(mode, {})[name] = row
            shown = ", ".join(f"{b} {report.number(report.median(e))}" for b, e in row.items() if "us" in e)
            print(f"{mode:9} {name}: {shown} us", flush=True)
    return results, facts


def main() -> None:
    """Measure, print the tables, write results.json, results.md and benchmarks.png."""
    arguments = parse_arguments()
    results, facts = run(arguments)
    start: dict[str, float] = {}
    if not arguments.mode or "startup" in arguments.mode:
        start = startup.measure(1 if arguments.fast else 3, with_torch="torch" in facts["versions"])
    earlier = arguments.out / "results.json"
    if arguments.keep and earlier.is_file():
        merged(json.loads(earlier.read_text()), results, start, facts)
    text = report.markdown(results, start, facts)
    print("\n" + text)
    arguments.out.mkdir(parents=True, exist_ok=True)
    document = {"facts": facts, "startup": start, "results": results}
    (arguments.out / "results.json").write_text(json.dumps(document, indent=1) + "\n")
    (arguments.out / "results.md").write_text(text)
    drawn = bool(results) and report.picture(results, facts, arguments.out / "benchmarks.png")
    print(f"written to {arguments.out}" + ("" if drawn else ", without a picture"))


if __name__ == "__main__":
    main()
