"""Arguments drawn at random for public functions and methods, and what comes of them; run as a process of its own.

``python wrong_arguments.py SEED EXAMPLES NAME...`` prints one line of JSON per call; the name that was called last before a
crash is the last one announced. Names: ``add``, ``nn.functional.relu``, ``Tensor.add_``.
"""

from __future__ import annotations

import faulthandler
import importlib
import inspect
import json
import random
import sys
import warnings
from typing import Any

DTYPES = ("float32", "float32", "float64", "int64", "int32", "bool")
# Functions that change the process or make no tensor of their arguments, and those that draw or wait.
LEFT_OUT = set("""save load set_default_dtype set_default_device set_num_threads set_num_interop_threads set_printoptions
    set_rng_state set_grad_enabled manual_seed seed initial_seed get_rng_state fork_rng compile from_dlpack from_file
    use_deterministic_algorithms set_deterministic_debug_mode set_float32_matmul_precision
    elementwise reduction custom_op empty empty_like empty_strided empty_permuted new_empty new_empty_strided resize_ resize_as_ set_ cuda
    backward register_hook register_post_accumulate_grad_hook requires_grad_ data_layout retain_grad share_memory_ pin_memory
    is_pinned record_stream as_subclass detach_ tolist numpy to_dlpack untyped_storage storage data_ptr typename
    pdist""".split())  # fmt: skip
TENSORS = set("""input other self tensor x y weight bias target src source mask index indices end exponent mat mat1 mat2 vec vec1
    vec2 batch1 batch2 tensor1 tensor2 values condition running_mean running_var x1 x2 input1 input2 input3 anchor positive negative
    query key value offsets grid theta boundaries sorted_sequence A B L b input_lengths target_lengths log_probs var logits other1
    q weights test_elements elements tau a v attn_mask support scale""".split())  # fmt: skip
INDEX_LIKE = {"index", "indices", "target", "offsets", "input_lengths", "target_lengths"}
SHAPE_LIKE = set("""size shape sizes dims pad normalized_shape output_size kernel_size stride padding dilation shifts repeats
    split_size_or_sections indices_or_sections reps split_sizes permutation input_size""".split())  # fmt: skip


class Draw:
    """A source of arguments."""

    def __init__(self, seed: Any):
        self.r = random.Random(seed)

    def shape(self) -> list[int]:
        """Few, small dimensions; now and then of size 0."""
        return [self.r.choice((0, 1, 2, 2, 3, 3, 4)) for _ in range(self.r.choice((0, 1, 1, 2, 2, 2, 3, 4)))]

    def array(self, name: str = "") -> dict:
        """What a tensor is made from."""
        dtype = self.r.choice(("int64", "int64", "int32", "float32")) if name in INDEX_LIKE else self.r.choice(DTYPES)
        dtype = "bool" if name in ("mask", "condition") and self.r.random() < 0.7 else dtype
        return {"shape": self.shape(), "dtype": dtype, "seed": self.r.randrange(4), "low": -1 if self.r.random() < 0.2 else 0}

    def value(self, name: str) -> Any:
        """A value for a parameter of this name: mostly of its kind, seldom of another."""
        if self.r.random() < 0.08:
            return self.r.choice((None, "x", [], {"shape": [2], "dtype": "float32", "seed": 0, "low": 0}, -1, 1.5, [1, "a"]))
        if name == "tensors":
            return [self.array() for _ in range(self.r.randrange(4))]
        if name in TENSORS:
            return self.array(name)
        if name in SHAPE_LIKE:
            return self.r.choice((self.r.randint(-1, 4), [self.r.randint(-1, 3) for _ in range(self.r.randrange(4))]))
        if name.startswith(("dim", "axis", "start", "end")):
            return self.r.randint(-4, 4)
        return self.r.choice((0, 1, 2, 3, -1, 0.5, 1.0, True, self.array()))


def public(package: str) -> list[str]:
    """Names of functions, of nn.functional's functions and of Tensor's methods."""
    module = importlib.import_module(package)
    functional = importlib.import_module(f"{package}.nn.functional")
    names = [n for n in dir(module) if _is_op(getattr(module, n, None)) and not n.startswith("_") and n not in LEFT_OUT]
    names += [f"nn.functional.{n}" for n in dir(functional) if not n.startswith("_") and n not in LEFT_OUT
              and _is_op(getattr(functional, n)) and n not in names]  # fmt: skip
    return names + [f"Tensor.{n}" for n in dir(module.Tensor) if not n.startswith("_") and n not in LEFT_OUT
                    and callable(getattr(module.Tensor, n)) and n not in names]  # fmt: skip


def _is_op(f: Any) -> bool:
    if inspect.isclass(f) or inspect.ismodule(f) or not callable(f):
        return False
    return any(p in TENSORS or p == "tensors" for p in parameters(f))


def parameters(f: Any) -> dict[str, inspect.Parameter]:
    """The parameters by name; of an elementwise op its body's."""
    if hasattr(f, "params") and hasattr(f, "body"):
        kinds = inspect.Parameter
        return {n: kinds(n, kinds.POSITIONAL_OR_KEYWORD, default=f.defaults.get(n, kinds.empty)) for n in f.params}
    try:
        return dict(inspect.signature(f).parameters)
    except (TypeError, ValueError):
        return {}


def arguments(f: Any, draw: Draw, method: bool) -> tuple[list, dict]:
    """Positional and keyword arguments for a function."""
    given: list[Any] = []
    named: dict[str, Any] = {}
    for i, (name, p) in enumerate(parameters(f).items()):
        if name in ("out", "generator", "device", "dtype", "layout", "requires_grad", "memory_format", "pin_memory", "names"):
            if name in ("dtype", "device") and p.default is not p.empty and draw.r.random() < 0.05:
                named[name] = "gpu"
        elif i == 0 and method:
            given.append(draw.array())
        elif p.kind is p.VAR_POSITIONAL:
            given += [draw.value(name) for _ in range(draw.r.randrange(3))]
        elif p.kind is p.VAR_KEYWORD:
            continue
        elif p.default is p.empty and p.kind is not p.KEYWORD_ONLY:
            given.append(draw.value(name))
        elif draw.r.random() < 0.3 and not isinstance(p.default, bool):
            named[name] = draw.value(name)
    return given, named


def find(module: Any, name: str) -> Any:
    """A function by its dotted name."""
    for part in name.split("."):
        module = getattr(module, part)
    return module


def realise(module: Any, value: Any) -> Any:
    """Tensors for their descriptions."""
    import numpy as np

    if isinstance(value, dict):
        high = 2 if value["dtype"] == "bool" else 4
        array = np.random.default_rng(value["seed"]).integers(value["low"], high, value["shape"]).astype(value["dtype"])
        return module.tensor(array)
    return [realise(module, v) for v in value] if isinstance(value, list) else value


def outcome(module: Any, name: str, given: list, named: dict) -> tuple[str, str]:
    """("ok", shape and dtype) or (class of the exception, its message)."""
    args = [realise(module, v) for v in given]
    kwargs = {k: realise(module, v) for k, v in named.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            result = find(module, name)(*args, **kwargs)
        except Exception as error:
            return type(error).__name__, str(error)
    result = result[0] if isinstance(result, (tuple, list)) and result else result
    if not hasattr(result, "shape"):
        return "ok", type(result).__name__
    return "ok", f"{list(result.shape)} {str(result.dtype).split('.')[-1]}"


def main(package: str, seed: str, examples: str, *names: str) -> None:
    """Call each function with arguments of a seed and report."""
    faulthandler.enable()
    ours, module = importlib.import_module("numtorch"), importlib.import_module(package)
    for name in names:
        for k in range(int(examples)):
            draw = Draw(f"{seed} {name} {k}")
            given, named = arguments(find(ours, name), draw, name.startswith("Tensor."))
            print(json.dumps({"name": name, "given": given, "named": named}), flush=True)
            print(json.dumps(outcome(module, name, given, named)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
