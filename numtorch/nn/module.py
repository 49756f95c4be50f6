"""Module: the base of every layer and network."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from .._tensor import Tensor, replaced
from ._convert import ConvertMixin
from ._held import Held
from ._hooks import HooksMixin, RemovableHandle, _add
from ._state import StateMixin
from ._tree import TreeMixin
from .parameter import Buffer, Parameter

# Hooks of the process that see every registration; each may return a replacement.
_registration_hooks: dict[str, OrderedDict] = {k: OrderedDict() for k in ("parameter", "buffer", "module")}


def register_module_parameter_registration_hook(hook: Callable) -> RemovableHandle:
    """Call ``hook(module, name, parameter)`` whenever a parameter is registered in any module."""
    return _add(_registration_hooks["parameter"], hook)


def register_module_buffer_registration_hook(hook: Callable) -> RemovableHandle:
    """Call ``hook(module, name, buffer)`` whenever a buffer is registered in any module."""
    return _add(_registration_hooks["buffer"], hook)


def register_module_module_registration_hook(hook: Callable) -> RemovableHandle:
    """Call ``hook(module, name, submodule)`` whenever a submodule is registered in any module."""
    return _add(_registration_hooks["module"], hook)


def _through_hooks(kind: str, module: Module, name: str, value: Any) -> Any:
    for hook in _registration_hooks[kind].values():
        answer = hook(module, name, value)
        if answer is not None:
            value = answer
    return value


def type_name(value: Any) -> str:
    """A class as messages name it: ``numtorch.nn.linear.Linear``, ``list``."""
    cls = type(value)
    if cls is Tensor:
        return value.type()  # torch.FloatTensor
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


def add_indent(text: str, spaces: int) -> str:
    """Indent every line but the first."""
    return text.replace("\n", "\n" + " " * spaces)


_DICTIONARIES = (
    "_parameters", "_buffers", "_modules", "_backward_pre_hooks", "_backward_hooks", "_forward_hooks",
    "_forward_hooks_with_kwargs", "_forward_hooks_always_called", "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs", "_state_dict_hooks", "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks",
)  # fmt: skip


class Module(HooksMixin, StateMixin, ConvertMixin, TreeMixin):
    """Base class of layers and networks: assign parameters and submodules as attributes and define
    ``forward``.

    Example:
        >>> import numtorch
        >>> class Net(numtorch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.hidden = numtorch.nn.Linear(2, 3)
        ...     def forward(self, x):
        ...         return self.hidden(x).relu()
        >>> net = Net()
        >>> tuple(net(numtorch.ones(5, 2)).shape), [name for name, _ in net.named_parameters()]
        ((5, 3), ['hidden.weight', 'hidden.bias'])
    """

    dump_patches: bool = False
    call_super_init: bool = False
    training: bool

    def __init__(self, *args: Any, **kwargs: Any):
        if not self.call_super_init and (args or kwargs):
            given = f"got an unexpected keyword argument '{next(iter(kwargs))}'" if kwargs else (
                f"takes 1 positional argument but {len(args) + 1} were given"
            )  # fmt: skip
            raise TypeError(f"{type(self).__name__}.__init__() {given}")
        state = self.__dict__
        state["training"] = True
        for name in _DICTIONARIES:
            state[name] = OrderedDict() if name.endswith("hooks") or "hooks_" in name else Held()
        state["_non_persistent_buffers_set"] = set()
        state["_is_full_backward_hook"] = None
        if self.call_super_init:
            super().__init__(*args, **kwargs)

    def forward(self, *args: Any) -> Any:
        """What the module computes: every subclass defines it."""
        raise NotImplementedError(
            f'Module [{type(self).__name__}] is missing the required "forward" function'
        )

    # --- Registering -----------------------------------

    def _check_name(self, kind: str, name: Any, own: dict) -> None:
        if not isinstance(name, str):
            raise TypeError(f"{kind} name should be a string. Got {type_name(name)}")
        if "." in name:
            raise KeyError(f'{kind} name can\'t contain ".", got: {name}' if kind == "module" else
                           f'{kind} name can\'t contain "."')  # fmt: skip
        if name == "":
            raise KeyError(f'{kind} name can\'t be empty string ""')
        if hasattr(self, name) and name not in own:
            raise KeyError(f"attribute '{name}' already exists")

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter (None keeps the name free for one); KeyError for a bad name, TypeError for other
        values.
        """
        if "_parameters" not in self.__dict__:
            raise AttributeError("cannot assign parameter before Module.__init__() call")
        self._check_name("parameter", name, self._parameters)
        if param is not None:
            if not isinstance(param, Parameter):
                raise TypeError(
                    f"cannot assign '{type_name(param)}' object to parameter '{name}' (torch.nn.Parameter"
                    " or None required)"
                )
            if param.grad_fn:
                raise ValueError(
                    f"Cannot assign non-leaf Tensor to parameter '{name}'. Model parameters must be created"
                    f" explicitly. To express '{name}' as a function of another Tensor, compute the value"
                    " in the forward() method."
                )
            param = _through_hooks("parameter", self, name, param)
        replaced[0] += 1
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is saved with the module (if ``persistent``) but not trained."""
        if "_buffers" not in self.__dict__:
            raise AttributeError("cannot assign buffer before Module.__init__() call")
        self._check_name("buffer", name, self._buffers)
        if tensor is not None:
            if not isinstance(tensor, Tensor):
                raise TypeError(
                    f"cannot assign '{type_name(tensor)}' object to buffer '{name}' (torch Tensor or None"
                    " required)"
                )
            tensor = _through_hooks("buffer", self, name, tensor)
        replaced[0] += 1
        self._buffers[name] = tensor
        if persistent:
            self._non_persistent_buffers_set.discard(name)
        else:
            self._non_persistent_buffers_set.add(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a submodule under a name; KeyError for a bad name, TypeError if it is no Module."""
        if not isinstance(module, Module) and module is not None:
            raise TypeError(f"{type_name(module)} is not a Module subclass")
        self._check_name("module", name, self._modules)
        replaced[0] += 1
        self._modules[name] = _through_hooks("module", self, name, module)

    def register_module(self, name: str, module: Module | None) -> None:
        """The same as ``add_module``."""
        self.add_module(name, module)

    # --- Attributes -----------------------------------

    def __getattr__(self, name: str) -> Any:
        own = self.__dict__
        for kind in ("_parameters", "_buffers", "_modules"):
            values = own.get(kind)
            if values is not None and name in values:
                return values[name]
        hint = "" if "_modules" in own else "; call super().__init__() first in its __init__"
        raise AttributeError(
            f"'{type(self).__name__}' object has no attribute '{name}'{hint}", name=name, obj=self
        )

    def __setattr__(self, name: str, value: Any) -> None:
        replaced[0] += 1  # traces look again at the modules they recorded
        own = self.__dict__
        parameters = own.get("_parameters")
        if isinstance(value, Parameter):
            if parameters is None:
                raise AttributeError("cannot assign parameters before Module.__init__() call")
            self._forget(name, "_parameters")
            self.register_parameter(name, value)
        elif parameters is not None and name in parameters:
            if value is not None:
                raise TypeError(
                    f"cannot assign '{type_name(value)}' as parameter '{name}' (torch.nn.Parameter or None"
                    " expected)"
                )
            self.register_parameter(name, value)
        elif isinstance(value, Module):
            if own.get("_modules") is None:
                raise AttributeError("cannot assign module before Module.__init__() call")
            self._forget(name, "_modules")
            self._modules[name] = _through_hooks("module", self, name, value)
        elif own.get("_modules") is not None and name in self._modules:
            if value is not None:
                raise TypeError(
                    f"cannot assign '{type_name(value)}' as child module '{name}' (torch.nn.Module or None"
                    " expected)"
                )
            self._modules[name] = _through_hooks("module", self, name, value)
        elif isinstance(value, Tensor) or (own.get("_buffers") is not None and name in self._buffers):
            self._set_tensor(name, value)
        else:
            object.__setattr__(self, name, value)

    def _set_tensor(self, name: str, value: Any) -> None:
        """Assign a plain tensor, a Buffer, or anything to the name of a buffer."""
        buffers = self.__dict__.get("_buffers")
        is_buffer = isinstance(value, Buffer)
        if not is_buffer and (buffers is None or name not in buffers):
            object.__setattr__(self, name, value)
            return
        if buffers is None:
            raise AttributeError("cannot assign buffer before Module.__init__() call")
        if value is not None and not isinstance(value, Tensor):
            raise TypeError(
                f"cannot assign '{type_name(value)}' as buffer '{name}' (torch.nn.Buffer, torch.Tensor or"
                " None expected)"
            )
        if is_buffer:
            self._forget(name, "_buffers")
            self.register_buffer(name, value, value.persistent)  # type: ignore[attr-defined]
        else:
            buffers[name] = _through_hooks("buffer", self, name, value) if value is not None else None

    def _forget(self, name: str, kept: str) -> None:
        """Remove a name from every place but the dictionary ``kept``."""
        self.__dict__.pop(name, None)
        for kind in ("_parameters", "_buffers", "_modules"):
            if kind != kept:
                self.__dict__[kind].pop(name, None)
        if kept != "_buffers":
            self._non_persistent_buffers_set.discard(name)

    def __delattr__(self, name: str) -> None:
        replaced[0] += 1
        for kind in ("_parameters", "_buffers", "_modules"):
            if name in self.__dict__.get(kind, ()):
                del self.__dict__[kind][name]
                self._non_persistent_buffers_set.discard(name)
                return
        super().__delattr__(name)

    def __dir__(self) -> list[str]:
        names = [*dir(type(self)), *self.__dict__, *self._parameters, *self._modules, *self._buffers]
        return sorted(name for name in set(names) if not name[0].isdigit())

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        for name in _DICTIONARIES:
            self.__dict__.setdefault(name, OrderedDict())
        for name in ("_parameters", "_buffers", "_modules"):
            self.__dict__[name] = Held(self.__dict__[name])
        self.__dict__.setdefault("_non_persistent_buffers_set", set())
        self.__dict__.setdefault("_is_full_backward_hook", None)

    # --- Modes -----------------------------------

    def apply(self, fn: Callable[[Module], None]) -> Any:
        """Call ``fn`` on every submodule and then on this module; returns the module."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def train(self, mode: bool = True) -> Any:
        """Set training mode for this module and all below it; ValueError if ``mode`` is no bool."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self) -> Any:
        """Set evaluation mode: the same as ``train(False)``."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        """Let autograd record operations on all parameters, or not; returns the module."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters (or fill them with zeros)."""
        for parameter in self.parameters():
            if set_to_none:
                parameter.grad = None  # whatever it was: a trace of this is right with and without gradients
            elif parameter.grad is not None:
                parameter.grad.detach_()
                parameter.grad.zero_()

    # --- Printing -----------------------------------

    def _get_name(self) -> str:
        return type(self).__name__

    def extra_repr(self) -> str:
        """What stands between the parentheses when the module is printed; override to add to it."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = extra.split("\n") if extra else []
        children = [f"({key}): {add_indent(repr(module), 2)}" for key, module in self._modules.items()]
        if len(lines) == 1 and not children:
            return f"{self._get_name()}({lines[0]})"
        if not lines and not children:
            return f"{self._get_name()}()"
        body = "\n  ".join(itertools.chain(lines, children))
        return f"{self._get_name()}(\n  {body}\n)"

    def _repr_html_(self) -> str | None:
        from ..display import module

        return module(self)

    def _replicate_for_data_parallel(self) -> Any:
        replica = type(self).__new__(type(self))
        replica.__dict__ = self.__dict__.copy()
        for name in ("_parameters", "_buffers", "_modules"):
            replica.__dict__[name] = self.__dict__[name].copy()
        return replica
