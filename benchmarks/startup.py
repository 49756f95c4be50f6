"""What a user's first script costs: a new process, import, one training step of LeNet on 64 images."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time

SCRIPT = """
import {module} as torch
nn, F = torch.nn, torch.nn.functional
body = [nn.Conv2d(1, 10, 5), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(10, 20, 5), nn.MaxPool2d(2), nn.ReLU()]
net = nn.Sequential(*body, nn.Flatten(), nn.Linear(320, 50), nn.ReLU(), nn.Linear(50, 10))
optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
loss = F.cross_entropy(net(torch.randn(64, 1, 28, 28)), torch.randint(0, 10, (64,)))
optimizer.zero_grad()
loss.backward()
optimizer.step()
"""


def script_seconds(module: str, body: str = SCRIPT, cache: str | None = None) -> float:
    """Wall time of one new process; `cache` is a kernel cache folder other than the user's."""
    environment = dict(os.environ, **({"NUMTORCH_CACHE_DIR": cache} if cache else {}))
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # as for users: modules are compiled to bytecode once
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", body.format(module=module)], check=True, env=environment)
    return time.perf_counter() - start


def measure(rounds: int, with_torch: bool) -> dict[str, float]:
    """Median seconds by label; cold is measured once, in an empty kernel cache that is then the warm one."""
    with tempfile.TemporaryDirectory() as cache:
        for module in ("numtorch", *(["torch"] if with_torch else [])):
            script_seconds(module, "import {module}", cache)  # writes the bytecode
        result = {"first script, no kernel cached": script_seconds("numtorch", cache=cache)}
        times: dict[str, list[float]] = {}
        for _ in range(rounds):
            bodies = {"first script, kernels cached": SCRIPT, "import only": "import {module}"}
            for label, body in bodies.items():
                times.setdefault(label, []).append(script_seconds("numtorch", body, cache))
                if with_torch:
                    times.setdefault(f"{label}, torch", []).append(script_seconds("torch", body))
    return result | {label: statistics.median(values) for label, values in times.items()}
