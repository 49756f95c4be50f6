"""One class per backend: how it prepares an inference call, a training step and a single kernel."""

from __future__ import annotations

import importlib.metadata
import os
import pathlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from benchmarks.kernels import KERNELS
from benchmarks.models import WORKLOADS, Workload, fill

Burst = Callable[[int], float]  # runs that many times and returns the last value, as a check
LEARNING_RATES = {"sgd": 0.01, "adam": 1e-3, "adamw": 1e-3}


class Unsupported(Exception):
    """This backend does not do that; the message says why."""


def workload(name: str) -> Workload:
    """The workload of that name."""
    return next(w for w in WORKLOADS if w.name == name)


def version(*packages: str) -> str:
    """`name version` of installed packages."""
    return ", ".join(f"{p} {importlib.metadata.version(p)}" for p in packages)


class TorchLike:
    """numtorch or PyTorch, called eagerly."""

    module_name, packages = "torch", ("torch",)

    def __init__(self, threads: int) -> None:
        self.torch: ModuleType = importlib.import_module(self.module_name)
        self.torch.set_num_threads(threads)
        self.versions = version(*self.packages)

    def model(self, w: Workload) -> Any:
        """The workload's model with the common weights."""
        model = w.build(self.torch)
        shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
        tensors = {name: self.torch.from_numpy(value) for name, value in fill(shapes).items()}
        model.load_state_dict(tensors)
        return model

    def batch(self, w: Workload) -> tuple[Any, Any]:
        x, y = w.batch(np.random.default_rng(1))
        return self.torch.from_numpy(x), self.torch.from_numpy(y)

    def make_step(self, w: Workload) -> Callable[[Any, Any], Any]:
        """zero_grad, forward, loss, backward, update: the whole training step."""
        model, F = self.model(w), self.torch.nn.functional
        kinds = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW"}
        make = getattr(self.torch.optim, kinds[w.optimizer])
        optimizer = make(model.parameters(), lr=LEARNING_RATES[w.optimizer])
        criterion = getattr(F, w.loss)

        def step(x: Any, y: Any) -> Any:
            optimizer.zero_grad()
            output = model(x)
            if w.loss == "cross_entropy":
                output, y = output.reshape(-1, output.shape[-1]), y.reshape(-1)
            loss = criterion(output, y)
            loss.backward()
            optimizer.step()
            return loss

        return step

    def prepare_call(self, model: Any, x: Any) -> Callable[[Any], Any]:
        """What answers an inference request; subclasses trace or compile here."""
        return model

    def prepare_step(self, step: Callable[[Any, Any], Any], x: Any, y: Any) -> Callable[[Any, Any], Any]:
        return step

    def inference(self, w: Workload) -> Burst:
        model, (x, _) = self.model(w).eval(), self.batch(w)
        with self.torch.no_grad():
            call = self.prepare_call(model, x)

        def burst(n: int) -> float:
            with self.torch.no_grad():
                for _ in range(n):
                    y = call(x)
            return float(y.sum())

        return burst

    def training(self, w: Workload) -> Burst:
        x, y = self.batch(w)
        step = self.prepare_step(self.make_step(w), x, y)

        def burst(n: int) -> float:
            for _ in range(n):
                loss = step(x, y)
            return float(loss.detach())

        return burst

    def kernel(self, name: str) -> Burst:
        self.torch.manual_seed(0)
        call = next(k for k in KERNELS if k.name == name).build(self.torch)

        def burst(n: int) -> float:
            for _ in range(n):
                call()
            return 0.0

        return burst


class Torch(TorchLike):
    """PyTorch, eager."""


class TorchTrace(TorchLike):
    """PyTorch's own tracer, frozen: inference only."""

    def prepare_call(self, model: Any, x: Any) -> Callable[[Any], Any]:
        return self.torch.jit.freeze(self.torch.jit.trace(model, x))

    def prepare_step(self, step: Any, x: Any, y: Any) -> Any:
        raise Unsupported("torch.jit.trace records no backward pass")


class TorchCompile(TorchLike):
    """torch.compile of the model, forward and backward; the update stays eager. Needs a C++ compiler."""

    def model(self, w: Workload) -> Any:
        return self.torch.compile(super().model(w))


class NumtorchEager(TorchLike):
    """numtorch, eager."""

    module_name, packages = "numtorch", ("numtorch", "numba", "numpy")


class Numtorch(NumtorchEager):
    """numtorch, replayed; inference with frozen weights."""

    def prepare_call(self, model: Any, x: Any) -> Callable[[Any], Any]:
        return self.torch.jit.freeze(self.torch.jit.trace(model, x))

    def prepare_step(self, step: Any, x: Any, y: Any) -> Any:
        return self.torch.jit.trace(step, (x, y))


class Jax:
    """jax.jit of the whole call or step; a step donates its weights."""

    def __init__(self, threads: int) -> None:
        os.environ["XLA_FLAGS"] = f"--xla_cpu_multi_thread_eigen=true intra_op_parallelism_threads={threads}"
        os.environ["JAX_PLATFORMS"] = "cpu"
        import jax

        from benchmarks import jax_models

        self.jax, self.models, self.versions = jax, jax_models, version("jax", "jaxlib")
        jax.config.update("jax_default_matmul_precision", "highest")

    def weights(self, w: Workload) -> dict[str, Any]:
        """The common weights, by the names and shapes of numtorch's model."""
        state = w.build(importlib.import_module("numtorch")).state_dict()
        filled = fill({name: tuple(value.shape) for name, value in state.items()})
        return {name: self.jax.numpy.asarray(value) for name, value in filled.items()}

    def inference(self, w: Workload) -> Burst:
        forward = self.jax.jit(self.models.FORWARD[w.name.split()[0].rstrip(",")])
        weights, x = self.weights(w), self.jax.numpy.asarray(w.batch(np.random.default_rng(1))[0])

        def burst(n: int) -> float:
            for _ in range(n):
                y = forward(weights, x).block_until_ready()
            return float(y.sum())

        return burst

    def training(self, w: Workload) -> Burst:
        """Steps follow each other without waiting; only the last of a burst is waited for."""
        step = self.models.training_step(w.name.split()[0].rstrip(","), w.loss, w.optimizer)
        weights, buffers = self.weights(w), ("running_mean", "running_var", "tracked")
        fixed = {k: v for k, v in weights.items() if k.endswith(buffers)}
        trained = {k: v for k, v in weights.items() if k not in fixed}
        zeros = self.jax.numpy.zeros_like
        moments = {} if w.optimizer == "sgd" else {k: (zeros(v), zeros(v)) for k, v in trained.items()}
        x, y = map(self.jax.numpy.asarray, w.batch(np.random.default_rng(1)))
        state = [trained, fixed, moments, 1.0]

        def burst(n: int) -> float:
            for _ in range(n):
                *state[:], loss = step(*state, x, y)
            return float(loss)

        return burst

    def kernel(self, name: str) -> Burst:
        raise Unsupported("single kernels are compared with PyTorch")


class OnnxRuntime:
    """ONNX Runtime on the model exported by PyTorch: inference only."""

    def __init__(self, threads: int) -> None:
        import onnxruntime

        self.onnxruntime, self.versions = onnxruntime, version("onnxruntime")
        self.options = onnxruntime.SessionOptions()
        self.options.intra_op_num_threads = threads
        self.options.log_severity_level = 3
        self.folder = pathlib.Path(os.environ["NUMTORCH_BENCH_ONNX"])

    def inference(self, w: Workload) -> Burst:
        path = self.folder / f"{w.name}.onnx"
        if not path.is_file():
            raise Unsupported("PyTorch did not export this model")
        session = self.onnxruntime.InferenceSession(path, self.options, providers=["CPUExecutionProvider"])
        feed = {session.get_inputs()[0].name: w.batch(np.random.default_rng(1))[0]}

        def burst(n: int) -> float:
            for _ in range(n):
                y = session.run(None, feed)
            return float(y[0].sum())

        return burst

    def training(self, w: Workload) -> Burst:
        raise Unsupported("inference only")

    def kernel(self, name: str) -> Burst:
        raise Unsupported("single kernels are compared with PyTorch")


BACKENDS: dict[str, Callable[[int], Any]] = {
    "numtorch": Numtorch,
    "numtorch eager": NumtorchEager,
    "torch": Torch,
    "torch.jit.trace": TorchTrace,
    "torch.compile": TorchCompile,
    "jax": Jax,
    "onnxruntime": OnnxRuntime,
}
