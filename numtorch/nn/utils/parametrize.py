"""Parametrizations: a tensor of a module computed from other, trained tensors each time it is read."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numtorch

from ... import settings
from ..._tensor import Tensor
from ...autograd.mode import state as mode
from ...jit.record import NotNow
from ..container import ModuleDict, ModuleList
from ..module import Module
from ..parameter import Parameter

_cache: dict[tuple[int, str], Tensor] = {}


@contextmanager
def cached() -> Iterator[None]:
    """Within the block, a parametrized tensor is computed once, not at each reading."""
    settings.cache_parametrized(1)
    try:
        yield
    finally:
        if not settings.cache_parametrized(-1):
            _cache.clear()


def _register(module: Module, name: str, value: Tensor) -> None:
    if isinstance(value, Parameter):
        module.register_parameter(name, value)
    else:
        module.register_buffer(name, value)


class ParametrizationList(ModuleList):
    """The parametrizations of one tensor, applied in order; ``original`` (or ``original0``, ...) is what is
    trained.
    """

    original: Tensor

    def __init__(self, modules: Any, original: Tensor | Parameter, unsafe: bool = False):
        modules = list(modules)
        if not modules:
            raise ValueError("ParametrizationList requires one or more modules.")
        super().__init__(modules)
        self.unsafe = unsafe
        before_shape, before_dtype = original.shape, original.dtype
        with numtorch.no_grad():
            new: Any = original
            for module in reversed(list(self)):
                if hasattr(module, "right_inverse"):
                    try:
                        new = module.right_inverse(new)
                    except NotImplementedError:
                        continue
        if not isinstance(new, Tensor) and not isinstance(new, (list, tuple)):
            raise ValueError(
                "'right_inverse' must return a Tensor or a Sequence of tensors (list, tuple...). Got"
                f" {type(new).__name__}"
            )
        self.is_tensor = isinstance(new, Tensor)
        self.ntensors = 1 if self.is_tensor else len(new)
        if isinstance(new, Tensor):
            self._keep_original(original, new)
        else:
            self._keep_originals(original, new)
        if not self.unsafe:
            self._check(original, before_shape, before_dtype)

    def _keep_original(self, original: Tensor, new: Tensor) -> None:
        if original.dtype is not new.dtype:
            raise ValueError(
                "When `right_inverse` outputs one tensor, it may not change the dtype.\noriginal.dtype:"
                f" {original.dtype}\nright_inverse(original).dtype: {new.dtype}"
            )
        with numtorch.no_grad():
            original.data = new.data if new is not original else original.data
        _register(self, "original", original)

    def _keep_originals(self, original: Tensor, new: Any) -> None:
        for i, value in enumerate(new):
            if not isinstance(value, Tensor):
                raise ValueError(
                    "'right_inverse' must return a Tensor or a Sequence of tensors (list, tuple...). Got"
                    f" element {i} of the sequence with type {type(value).__name__}."
                )
            kept: Tensor = value.detach()
            if isinstance(original, Parameter):
                kept = Parameter(kept, original.requires_grad and kept.is_floating_point())
            _register(self, f"original{i}", kept)

    def _check(self, original: Tensor, shape: Any, dtype: Any) -> None:
        value = self()
        if not isinstance(value, Tensor):
            raise ValueError(f"A parametrization must return a tensor. Got {type(value).__name__}.")
        if value.dtype is not dtype:
            raise ValueError(
                "Registering a parametrization may not change the dtype of the tensor, unless `unsafe`"
                f" flag is enabled.\nunparametrized dtype: {dtype}\nparametrized dtype: {value.dtype}"
            )
        if value.shape != shape:
            raise ValueError(
                "Registering a parametrization may not change the shape of the tensor, unless `unsafe`"
                f" flag is enabled.\nunparametrized shape: {shape}\nparametrized shape: {value.shape}"
            )

    def right_inverse(self, value: Tensor) -> None:
        """Set the originals so that the parametrized tensor becomes ``value``."""
        with numtorch.no_grad():
            new: Any = value
            for module in reversed(list(self)):
                if not hasattr(module, "right_inverse"):
                    raise RuntimeError(
                        f"parametrization {type(module).__name__} does not implement right_inverse."
                    )
                new = module.right_inverse(new)
            if self.is_tensor:
                if not isinstance(new, Tensor):
                    raise ValueError(f"`right_inverse` should return a tensor. Got {type(new).__name__}")
                if new.dtype is not self.original.dtype:
                    raise ValueError(
                        f"The tensor returned by `right_inverse` has dtype {new.dtype} while `original` has"
                        f" dtype {self.original.dtype}"
                    )
                self.original.data = new.data
                return
            if len(new) != self.ntensors:
                raise ValueError(
                    "'right_inverse' must return a sequence of tensors of length"
                    f" {self.ntensors}. Got a sequence of length {len(new)}."
                )
            for i, tensor in enumerate(new):
                getattr(self, f"original{i}").data = tensor.data

    def forward(self) -> Tensor:
        if self.is_tensor:
            x = self[0](self.original)
        else:
            x = self[0](*(getattr(self, f"original{i}") for i in range(self.ntensors)))
        for k in range(1, len(self)):
            x = self[k](x)
        return x


def _inject_class(module: Module) -> None:
    """Give the module a class of its own, which can carry properties."""
    cls = type(module)

    def refuse_pickle(self: Any) -> None:
        raise RuntimeError(
            "Serialization of parametrized modules is only supported through state_dict(). See: save"
            " module.state_dict() and load it into a module with the same parametrizations."
        )

    def deep_copy(self: Any, memo: dict) -> Any:
        if id(self) in memo:
            return memo[id(self)]
        replica = self.__new__(type(self))
        memo[id(self)] = replica
        replica.__dict__ = copy.deepcopy(self.__dict__, memo)
        return replica

    attributes = {"__getstate__": refuse_pickle, "parametrize_base": cls}
    if not hasattr(cls, "__deepcopy__"):
        attributes["__deepcopy__"] = deep_copy
    module.__class__ = type(f"Parametrized{cls.__name__}", (cls,), attributes)


def _inject_property(module: Module, name: str) -> None:
    def read(self: Any) -> Tensor:
        parametrization = self.parametrizations[name]
        if not settings.cache_parametrized(0):
            return parametrization()
        if mode.recorder is not None:
            raise NotNow("parametrized tensors are kept from call to call")
        key = (id(self), name)
        if key not in _cache:
            _cache[key] = parametrization()
        return _cache[key]

    def write(self: Any, value: Tensor) -> None:
        self.parametrizations[name].right_inverse(value)

    setattr(type(module), name, property(read, write))


def register_parametrization(
    module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False
) -> Module:
    """Compute ``module.<tensor_name>`` through ``parametrization`` from now on; ValueError if there is no
    such tensor.

    Example:
        >>> import numtorch
        >>> from numtorch.nn.utils.parametrize import register_parametrization
        >>> class Symmetric(numtorch.nn.Module):
        ...     def forward(self, x):
        ...         return x.triu() + x.triu(1).t()
        >>> layer = register_parametrization(numtorch.nn.Linear(3, 3), "weight", Symmetric())
        >>> bool((layer.weight == layer.weight.t()).all())
        True
    """
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        if not unsafe:
            _check_addition(module, tensor_name, parametrization)
        module.parametrizations[tensor_name].append(parametrization)
        module.parametrizations[tensor_name].unsafe |= unsafe
        return module
    if tensor_name not in module._buffers and tensor_name not in module._parameters:
        raise ValueError(
            f"Module '{module}' does not have a parameter, a buffer, or a parametrized element with name"
            f" '{tensor_name}'"
        )
    original = getattr(module, tensor_name)
    parametrizations = ParametrizationList([parametrization], original, unsafe=unsafe)
    delattr(module, tensor_name)
    if not is_parametrized(module):
        _inject_class(module)
        module.parametrizations = ModuleDict()
    _inject_property(module, tensor_name)
    module.parametrizations[tensor_name] = parametrizations
    return module


def _check_addition(module: Module, name: str, parametrization: Module) -> None:
    before = getattr(module, name)
    after = parametrization(before)
    if not isinstance(after, Tensor):
        raise ValueError(f"A parametrization must return a tensor. Got {type(after).__name__}.")
    for what in ("dtype", "shape"):
        if getattr(after, what) != getattr(before, what):
            raise ValueError(
                f"Registering a parametrization may not change the {what} of the tensor, unless the"
                f" `unsafe` flag is enabled.\nmodule.{name}.{what}:"
                f" {getattr(before, what)}\nparametrization(module.{name}).{what}: {getattr(after, what)}"
            )


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether a module, or one tensor of it, is parametrized."""
    parametrizations = module._modules.get("parametrizations")
    if not isinstance(parametrizations, ModuleDict):
        return False
    return len(parametrizations) > 0 if tensor_name is None else tensor_name in parametrizations


def remove_parametrizations(module: Module, tensor_name: str, leave_parametrized: bool = True) -> Module:
    """Make a parametrized tensor an ordinary one: with its present value, or with the original's."""
    if not is_parametrized(module, tensor_name):
        raise ValueError(f"Module {module} does not have a parametrization on {tensor_name}")
    parametrization = module.parametrizations[tensor_name]
    if parametrization.is_tensor:
        original = parametrization.original
        if leave_parametrized:
            with numtorch.no_grad():
                value = getattr(module, tensor_name)
            with numtorch.no_grad():
                original.data = value.detach().clone() if value is not original else original.data
    elif leave_parametrized:
        value = getattr(module, tensor_name)
        original = Parameter(value.detach()) if value.requires_grad else value.detach()
    else:
        raise ValueError(
            "Cannot leave unparametrized (`leave_parametrized=False`) a tensor that is parametrized in"
            " terms of a sequence of tensors."
        )
    delattr(type(module), tensor_name)
    del module.parametrizations[tensor_name]
    _register(module, tensor_name, original)
    if not is_parametrized(module):
        delattr(module, "parametrizations")
        module.__class__ = type(module).__bases__[0]
    return module


def type_before_parametrizations(module: Module) -> type:
    """The class of a module before it was parametrized."""
    return type(module).__bases__[0] if is_parametrized(module) else type(module)


def transfer_parametrizations_and_params(
    from_module: Module, to_module: Module, tensor_name: str | None = None
) -> Module:
    """Parametrize ``to_module`` as ``from_module`` is, with the same values."""
    if not is_parametrized(from_module):
        return to_module
    names = [tensor_name] if tensor_name is not None else list(from_module.parametrizations)
    for name in names:
        if not hasattr(to_module, name):
            setattr(to_module, name, Parameter(getattr(from_module, name).detach().clone()))
        for parametrization in from_module.parametrizations[name]:
            register_parametrization(to_module, name, copy.deepcopy(parametrization))
        source, target = from_module.parametrizations[name], to_module.parametrizations[name]
        if source.is_tensor:
            target.original = Parameter(source.original.detach().clone(), source.original.requires_grad)
        else:
            for i in range(source.ntensors):
                value = getattr(source, f"original{i}")
                setattr(target, f"original{i}", Parameter(value.detach().clone(), value.requires_grad))
    return to_module
