"""Calling a module with other tensors in place of its parameters and buffers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..._tensor import Tensor
from ..module import Module


@contextmanager
def _replaced(module: Module, values: dict[str, Tensor]) -> Iterator[None]:
    """Within the block, the named parameters and buffers are the given tensors."""
    before: list[tuple[dict, str, Any]] = []
    try:
        for path, value in values.items():
            owner_path, _, name = path.rpartition(".")
            owner = module.get_submodule(owner_path)
            for members in (owner._parameters, owner._buffers):
                if name in members:
                    before.append((members, name, members[name]))
                    members[name] = value
                    break
            else:
                raise KeyError(
                    f"functional_call: {type(module).__name__} has no parameter or buffer '{path}'"
                )
        yield
    finally:
        for members, name, value in reversed(before):
            members[name] = value


def functional_call(
    module: Module,
    parameter_and_buffer_dicts: Any,
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """Call a module with the given tensors in place of those of these names; gradients reach the given
    tensors.

    Example:
        >>> import numtorch
        >>> layer = numtorch.nn.Linear(2, 1, bias=False)
        >>> w = numtorch.ones(1, 2)
        >>> numtorch.nn.utils.stateless.functional_call(layer, {"weight": w}, (numtorch.ones(2),))
        tensor([2.])
    """
    given = parameter_and_buffer_dicts
    values = dict(given) if isinstance(given, dict) else {k: v for d in given for k, v in d.items()}
    if tie_weights:
        values = {**_tied(module, values), **values}
    if strict:
        own = {n for n, _ in module.named_parameters()} | {n for n, _ in module.named_buffers()}
        missing, unexpected = sorted(own - set(values)), sorted(set(values) - own)
        if missing or unexpected:
            raise RuntimeError(
                f"functional_call: strict=True needs all names; missing {missing}, unexpected {unexpected}"
            )
    args = () if args is None else args if isinstance(args, tuple) else (args,)
    with _replaced(module, values):
        return module(*args, **(kwargs or {}))


def _tied(module: Module, values: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same replacement for other names of a parameter that is replaced."""
    names: dict[int, list[str]] = {}
    for name, p in (
        *module.named_parameters(remove_duplicate=False),
        *module.named_buffers(remove_duplicate=False),
    ):
        names.setdefault(id(p), []).append(name)
    tied = {}
    for group in names.values():
        found = [n for n in group if n in values]
        if found:
            tied.update((n, values[found[0]]) for n in group)
    return tied
