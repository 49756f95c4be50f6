"""The process of one backend: prepares and times what its parent asks for, one JSON line at a time.

{"do": "prepare", "mode": "inference" (or another), "name": ...} -> {"check": ..., "seconds": ...}
{"do": "measure", "seconds": ...} -> {"us": [mean time of a call in each burst]}
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
import warnings
from typing import Any

BURST_SECONDS = 0.002  # long enough for the clock, short enough to fall between interruptions
WARM_SECONDS = 0.1
CHECK_STEPS = 3


class Worker:
    """Answers requests for one backend."""

    def __init__(self, backend: Any) -> None:
        self.backend = backend
        self.burst: Any = None
        self.calls = 1

    def prepare(self, mode: str, name: str) -> dict[str, Any]:
        """Build, run a few calls as a check, and find how many calls make a burst."""
        from benchmarks.backends import Unsupported, workload

        self.burst = None
        start = time.perf_counter()
        try:
            subject = name if mode == "kernel" else workload(name)
            self.burst = getattr(self.backend, mode)(subject)
            check = self.burst(CHECK_STEPS if mode == "training" else 1)
        except Unsupported as reason:
            return {"unsupported": str(reason)}
        seconds = time.perf_counter() - start
        self.calibrate()
        return {"check": check, "seconds": seconds}

    def seconds_of(self, calls: int) -> float:
        """The shortest of three bursts."""
        times = []
        for _ in range(3):
            start = time.perf_counter()
            self.burst(calls)
            times.append(time.perf_counter() - start)
        return min(times)

    def calibrate(self) -> None:
        """How many calls make a burst, found when the first calls are over: they compile, trace and choose."""
        end = time.perf_counter() + WARM_SECONDS
        while time.perf_counter() < end:
            self.burst(1)
        self.calls = 1
        while (taken := self.seconds_of(self.calls)) < BURST_SECONDS:
            growth = min(10.0, 1.2 * BURST_SECONDS / max(taken, 1e-7))
            self.calls = max(self.calls + 1, int(self.calls * growth))

    def measure(self, seconds: float) -> dict[str, list[float]]:
        """Bursts for that long (one warm-up burst, then at least three)."""
        self.burst(self.calls)
        times: list[float] = []
        end = time.perf_counter() + seconds
        while len(times) < 3 or time.perf_counter() < end:
            start = time.perf_counter()
            self.burst(self.calls)
            times.append((time.perf_counter() - start) / self.calls * 1e6)
        return {"us": times}

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """One request; an exception becomes an answer, so that the other backends go on."""
        try:
            if request["do"] == "prepare":
                return self.prepare(request["mode"], request["name"])
            return self.measure(request["seconds"])
        except Exception as error:
            traceback.print_exc()
            return {"error": f"{type(error).__name__}: {error}"}


def main() -> None:
    """`python -m benchmarks.worker BACKEND THREADS`: talk JSON on the original standard output."""
    name, threads = sys.argv[1], int(sys.argv[2])
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints goes to standard error
    warnings.simplefilter("ignore")
    try:
        from benchmarks.backends import BACKENDS

        worker = Worker(BACKENDS[name](threads))
        hello = {"versions": worker.backend.versions}
    except Exception as error:
        worker, hello = None, {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(hello), file=out, flush=True)
    for line in sys.stdin if worker else ():
        print(json.dumps(worker.answer(json.loads(line))), file=out, flush=True)


if __name__ == "__main__":
    main()
