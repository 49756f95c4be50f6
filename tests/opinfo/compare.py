"""Call PyTorch and numtorch alike and say how the results differ."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from opinfo.carry import DTYPES, Carrier, Skip, carried, tensors

import numtorch

# Layouts, dtypes and rules are compared here, not the last digits, which the conformance programs compare.
TOLERANCE = {"float16": 2e-2, "bfloat16": 4e-2, "float32": 2e-3, "float64": 1e-6}


class Answer:
    """What a call gives: a result, or an exception; and whether it warned."""

    def __init__(self, call: Callable[[], Any]):
        self.error: Exception | None = None
        self.result: Any = None
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                self.result = call()
            except Skip:
                raise
            except Exception as error:
                self.error = error
        self.resized = any("was resized" in str(w.message) for w in caught)

    @property
    def kind(self) -> str:
        return type(self.error).__name__ if self.error is not None else "ok"


def array(t: Any) -> np.ndarray:
    t = t.detach().float() if t.dtype in (torch.bfloat16, numtorch.bfloat16) else t.detach()
    return t.clone().numpy(force=True) if isinstance(t, torch.Tensor) else np.asarray(t.numpy())


def answers(theirs: Answer, ours: Answer, values: bool = True) -> str | None:
    """How two answers differ, in a line; None if they agree."""
    if theirs.kind != ours.kind:
        said = f"{theirs.kind} ({str(theirs.error or '').splitlines()[:1]}) in PyTorch"
        return f"class: {said}; numtorch: {ours.kind} ({str(ours.error or '').splitlines()[:1]})"
    return None if theirs.error is not None else results(theirs.result, ours.result, values)


def results(want: Any, have: Any, values: bool = True, path: str = "output") -> str | None:
    """How two results differ."""
    if isinstance(want, torch.Tensor):
        return pair(want, have, values, path)
    if isinstance(want, (tuple, list)):
        if not isinstance(have, (tuple, list)) or len(have) != len(want):
            return f"structure: {path} is {type(have).__name__} of {len(have) if hasattr(have, '__len__') else '?'}, not of {len(want)}"
        return next(filter(None, (results(w, h, values, f"{path}[{i}]") for i, (w, h) in enumerate(zip(want, have)))), None)
    if isinstance(want, dict):
        return next(filter(None, (results(want[k], have[k], values, f"{path}[{k}]") for k in want)), None)
    if isinstance(want, (bool, int, float, complex)):
        same = type(have) is type(want) and (not values or np.isclose(have, want, 1e-4, 1e-6, equal_nan=True))
        return None if same else f"value: {path} is {have!r}, not {want!r}"
    return None


def pair(want: torch.Tensor, have: Any, values: bool, path: str) -> str | None:
    """How two tensors differ."""
    if not isinstance(have, numtorch.Tensor):
        return f"structure: {path} is {type(have).__name__}, not a tensor"
    if want.dtype not in DTYPES:
        raise Skip(f"result of {want.dtype}")
    if have.dtype is not DTYPES[want.dtype]:
        return f"dtype: {path} is {have.dtype}, not {want.dtype}"
    if tuple(have.shape) != tuple(want.shape):
        return f"shape: {path} is {tuple(have.shape)}, not {tuple(want.shape)}"
    if not values:
        return None
    w, h = array(want), array(have)
    limit = TOLERANCE.get(have.dtype.name, 0)
    if limit:
        with np.errstate(all="ignore"):
            w, h = w.astype(np.float64), h.astype(np.float64)
            spread = np.abs(w[np.isfinite(w)]).max(initial=0) if limit < 1e-2 else 1
            bad = ~np.isclose(h, w, limit, limit * max(1e-2, min(spread, 1)), equal_nan=True)
    else:
        bad = w != h
    if not bad.any():
        return None
    at = tuple(int(i) for i in np.argwhere(bad)[0])
    return f"value: {path} differs in {int(bad.sum())} of {bad.size}, at {at}: {h[at]}, not {w[at]}"


def cotangents(outs: list[torch.Tensor], seed: int) -> list[torch.Tensor]:
    """Random numbers in the outputs' shapes and dtypes."""
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(o.shape, generator=g, dtype=torch.float64).to(o.dtype) for o in outs]


def gradients(theirs: Any, ours: Any, carrier: Carrier) -> str | None:
    """How the gradients of all tensors of a call differ."""
    outs, mine = tensors(theirs, torch.Tensor), tensors(ours, numtorch.Tensor)
    chosen = [(a, b) for a, b in zip(outs, mine) if a.requires_grad]
    leaves = [p for p in carrier.pairs.values() if p[0].requires_grad]
    if not chosen or not leaves:
        return None
    if missing := [k for k, (_, b) in enumerate(chosen) if not b.requires_grad]:
        return f"gradient: output {missing[0]} does not require grad"
    seeds = cotangents([a for a, _ in chosen], 1)
    want = Answer(lambda: torch.autograd.grad([a for a, _ in chosen], [a for a, _ in leaves], seeds, allow_unused=True))
    if want.error is not None:
        return None
    given = [carried(s) for s in seeds]
    have = Answer(lambda: numtorch.autograd.grad([b for _, b in chosen], [b for _, b in leaves], given, allow_unused=True))
    if have.error is not None:
        return f"gradient: {have.kind}: {have.error}"
    return compare_gradients(want.result, have.result)


def compare_gradients(want: Any, have: Any, path: str = "gradient") -> str | None:
    """Gradients differ; None and zeros are the same."""
    for k, (w, h) in enumerate(zip(want, have)):
        if w is None or h is None:
            other = h if w is None else w
            if other is not None and np.abs(array(other)).max(initial=0) > 1e-9:
                return f"gradient: {path} {k} is {'not ' if w is None else ''}None"
        elif found := pair(w, h, True, f"{path} {k}"):
            return f"gradient: {found}"
    return None
