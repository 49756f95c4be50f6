"""The real host path (cuda.core, cubins, launches, copies) against a stub driver: no results, but every call is made."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.cuda_compile,
    pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is absent: it builds the stub driver"),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the stub driver is a Linux library"),
]
SOURCE = pathlib.Path(__file__).with_name("stub_libcuda.c")

WORK = """
import ctypes, gc, json, sys
import numpy as np
import numtorch as torch
from numtorch.cuda import runtime

def launches():
    return ctypes.CDLL("libcuda.so.1").stub_launches()

x = torch.arange(6.0).reshape(2, 3)
y = x.cuda()
answers = {
    "available": torch.cuda.is_available(), "count": torch.cuda.device_count(), "name": torch.cuda.get_device_name(),
    "capability": torch.cuda.get_device_capability(), "device": str(y.device), "values": y.cpu().tolist(),
    "part": y[1].cpu().tolist(), "held": torch.cuda.memory_allocated(),
}
before = launches()
z = y * 2.5
w = torch.nn.functional.dropout(y, 0.5)
m = y @ y.t()
b = (y > 1).long()
answers["launches"] = launches() - before
gpu = runtime.gpu("cuda:0")
answers["converters"] = {k[0].name: [c.__name__ for c in v[1]] for k, v in gpu._kernels.items()}
del z, w, m, b, y
gc.collect()  # the compiler's exceptions hold frames of a cold run
torch.cuda.synchronize()
answers["left"], answers["peak"] = torch.cuda.memory_allocated(), torch.cuda.max_memory_allocated()
torch.cuda.empty_cache()
try:
    torch.zeros(1 << 22, device="cuda")
except RuntimeError as error:
    answers["out of memory"] = [type(error).__name__, str(error)]
side, start, end = torch.cuda.Stream(priority=-1), *(torch.cuda.Event(enable_timing=True) for _ in range(2))
with torch.cuda.stream(side):
    start.record()
    part = torch.ones(8, device="cuda")
    end.record()
part.record_stream(torch.cuda.current_stream())
torch.cuda.current_stream().wait_stream(side)
end.synchronize()
torch.cuda.synchronize()
pinned = x.pin_memory()
y = pinned.cuda(non_blocking=True)
back = torch.from_dlpack(y)
answers["streams"] = [start.elapsed_time(end), side.query(), pinned.is_pinned(), y.cpu().tolist(), back.data_ptr() == y.data_ptr()]
y.__dlpack__(stream=1)
answers["waited"] = ctypes.CDLL("libcuda.so.1").stub_waited()
y.__dlpack__(stream=-1)
bits = y.to(torch.bfloat16)
again = torch.from_dlpack(bits)
answers["bfloat16"] = [str(again.dtype), again.data_ptr() == bits.data_ptr()]
answers["array"] = torch.as_tensor(type("A", (), {"__cuda_array_interface__": y.__cuda_array_interface__})()).data_ptr() == y.data_ptr()
torch.cuda.reset_peak_memory_stats()
properties = torch.cuda.get_device_properties()
answers["properties"] = [properties.multi_processor_count, properties.major, torch.cuda.memory_reserved(), torch.cuda.memory_stats() != {}]
g = torch.Generator("cuda").manual_seed(3)
answers["seed"] = g.initial_seed()
def graph_launches():
    return ctypes.CDLL("libcuda.so.1").stub_graph_launches()

w = torch.ones(2, 3, device="cuda")
traced = torch.jit.trace(lambda t: w.add_((t * 2 + 1).relu()), y, check_trace=False)
traced(y)
before = [graph_launches(), launches()]
traced(y)
traced(torch.ones(2, 3).cuda())
answers["graph"] = [graph_launches() - before[0], launches() - before[1], traced.paths()[0].program.without_graph]
def elsewhere():
    part = torch.ones(4, device="cuda") * 2.5
    answers["thread"] = [part.cpu().tolist() != [], traced(torch.ones(2, 3).cuda()).shape == (2, 3)]

import threading
other = threading.Thread(target=elsewhere)
other.start()
other.join()
answers["heavy"] = "numba" in sys.modules
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment in which the stub is the driver, with a kernel cache of its own."""
    folder = tmp_path_factory.mktemp("stub")
    library = folder / "libcuda.so.1"
    command = [
        "gcc",
        "-O1",
        "-w",
        "-shared",
        "-fPIC",
        "-Wl,-soname,libcuda.so.1",
        "-o",
        library,
        SOURCE,
        "-ldl",
    ]
    subprocess.run(command, check=True)
    return {
        **os.environ, "LD_LIBRARY_PATH": str(folder), "STUB_CUDA_MEMORY": "4194304", "NUMTORCH_CUDA_SYNC": "1",
        "NUMTORCH_CACHE_DIR": str(folder / "cache"),
    }  # fmt: skip


def run(environment: dict[str, str]) -> dict:
    done = subprocess.run([sys.executable, "-c", WORK], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_host_path(environment: dict[str, str]) -> None:
    cold = run(environment)
    assert cold["available"] and cold["count"] == 1 and cold["device"] == "cuda:0"
    assert cold["capability"] == [9, 0] and cold["name"].startswith("stub")
    assert cold["values"] == [[0, 1, 2], [3, 4, 5]] and cold["part"] == [3, 4, 5]
    assert cold["held"] == 24 and cold["left"] == 16 and cold["peak"] > 24
    # What is left is the state of the random numbers.
    assert cold["launches"] >= 6  # multiply; dropout, advance; product; compare, cast
    name, message = cold["out of memory"]
    assert name == "OutOfMemoryError" and "Tried to allocate 16.00 MiB" in message
    assert cold["streams"] == [1.0, True, True, [[0, 1, 2], [3, 4, 5]], True] and cold["array"]
    assert cold["waited"] == 1, "the consumer's stream waits for what was launched here"
    assert cold["bfloat16"] == ["numtorch.bfloat16", True]
    assert cold["properties"][0] == 132 and cold["properties"][3] and cold["seed"] == 3
    assert cold["graph"] == [2, 0, ""], "a replay is one launch of a graph"
    assert cold["thread"] == [True, True], "the device is current in every thread that uses it"
    widths = cold["converters"]
    assert widths["mul_run"] == ["int", "int", "int", "float32"], "Python's integers are 64 bits wide to the driver"
    assert widths["dropout"] == ["int"] * 6 + ["float", "float32"]
    warm = run(environment)
    assert not warm["heavy"], "with all cubins in the cache numba is not imported"
    assert warm["converters"] == widths
