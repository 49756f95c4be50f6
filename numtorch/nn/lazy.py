"""Lazy modules: layers that learn the sizes of their parameters from their first input."""

from __future__ import annotations

from typing import Any

from ._hooks import RemovableHandle
from .parameter import is_lazy


class LazyModuleMixin:
    """Makes a module initialise its parameters at its first call, and then become ``cls_to_become``.

    A subclass creates ``UninitializedParameter``s and defines ``initialize_parameters(*input)``.
    """

    cls_to_become: type | None = None
    _initialize_hook: RemovableHandle
    _load_hook: RemovableHandle

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._load_hook = self._register_load_state_dict_pre_hook(self._lazy_load_hook)  # type: ignore[attr-defined]
        self._initialize_hook = self.register_forward_pre_hook(self._infer_parameters, with_kwargs=True)  # type: ignore[attr-defined]

    def _save_to_state_dict(self, destination: dict, prefix: str, keep_vars: bool) -> None:
        # Unlike the base, an uninitialised parameter is stored as it is: detach() would need its shape.
        for name, parameter in self._parameters.items():  # type: ignore[attr-defined]
            if parameter is not None:
                destination[prefix + name] = (
                    parameter if keep_vars or is_lazy(parameter) else parameter.detach()
                )
        for name, buffer in self._buffers.items():  # type: ignore[attr-defined]
            if buffer is not None and name not in self._non_persistent_buffers_set:  # type: ignore[attr-defined]
                destination[prefix + name] = buffer if keep_vars or is_lazy(buffer) else buffer.detach()

    def _lazy_load_hook(self, state_dict: dict, prefix: str, *unused: Any) -> None:
        """Give uninitialised parameters the shape of the values that will be loaded into them."""
        members = {**self._parameters, **self._buffers}  # type: ignore[attr-defined]
        for name, parameter in members.items():
            key = prefix + name
            if key in state_dict and parameter is not None and is_lazy(parameter):
                value = state_dict[key]
                if not is_lazy(value):
                    parameter.materialize(value.shape)

    def initialize_parameters(self, *args: Any, **kwargs: Any) -> None:
        """Give the parameters their shapes from the first input: every lazy module defines it."""
        raise NotImplementedError(f"initialize_parameters is not implemented for {type(self).__name__}")

    def has_uninitialized_params(self) -> bool:
        """Whether a parameter or buffer still waits for its shape."""
        members = [*self._parameters.values(), *self._buffers.values()]  # type: ignore[attr-defined]
        return any(is_lazy(m) for m in members)

    def _infer_parameters(self, module: Any, args: tuple, kwargs: dict | None = None) -> None:
        module.initialize_parameters(*args, **(kwargs or {}))
        if module.has_uninitialized_params():
            raise RuntimeError(
                f"module {self._get_name()} has not been fully initialized"  # type: ignore[attr-defined]
            )
        module._initialize_hook.remove()
        module._load_hook.remove()
        del module._initialize_hook, module._load_hook
        if module.cls_to_become is not None:
            module.__class__ = module.cls_to_become
