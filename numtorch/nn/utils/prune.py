"""Pruning: some elements of a parameter are held at zero by a mask.

``name`` becomes ``name_orig`` (the parameter that is trained) times the buffer ``name_mask``, multiplied before each forward
pass; ``remove`` makes the product the parameter. State dicts are those of PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ... import ones_like, rand_like, randperm, topk, zeros_like
from ..._tensor import Tensor
from ...absent import hints as _hints
from ...ops.joining import cat
from ..module import Module
from .convert_parameters import parameters_to_vector

__all__ = ["BasePruningMethod", "CustomFromMask", "Identity", "L1Unstructured", "LnStructured", "PruningContainer", "RandomStructured",
           "RandomUnstructured", "custom_from_mask", "global_unstructured", "identity", "is_pruned", "l1_unstructured", "ln_structured",
           "random_structured", "random_unstructured", "remove"]  # fmt: skip


class BasePruningMethod:
    """Base of pruning methods: write ``compute_mask(t, default_mask)``; ``PRUNING_TYPE`` says what it selects."""

    PRUNING_TYPE = "unstructured"
    _tensor_name: str
    _before: Any = None  # the handle of the hook

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask (1 keeps, 0 prunes) from the tensor that decides and the mask there was."""
        raise NotImplementedError(f"{type(self).__name__} must define compute_mask(t, default_mask)")

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self._tensor_name, self.apply_mask(module))

    def apply_mask(self, module: Module) -> Tensor:
        """The product of the mask and the original parameter."""
        mask = getattr(module, f"{self._tensor_name}_mask")
        return mask.to(dtype=getattr(module, f"{self._tensor_name}_orig").dtype) * getattr(module, f"{self._tensor_name}_orig")

    @classmethod
    def apply(cls, module: Module, name: str, *args: Any, importance_scores: Tensor | None = None, **kwargs: Any) -> Any:
        """Prune ``module.name``, on top of what is pruned already. ValueError for scores of another shape."""
        old = _method_of(module, name)
        method = cls(*args, **kwargs)
        original = getattr(module, name)
        if importance_scores is not None and importance_scores.shape != original.shape:
            raise ValueError(
                f"importance_scores should have the same shape as parameter {name} of {module}: expected {tuple(original.shape)},"
                f" got {tuple(importance_scores.shape)}"
            )
        scores = original if importance_scores is None else importance_scores
        default = getattr(module, f"{name}_mask") if old is not None else ones_like(original)
        if old is None:
            del module._parameters[name]
            module.register_parameter(f"{name}_orig", original)
        else:
            old._before.remove()
            default = default.detach().clone()
            method = _joined(old, method, name)
        method._tensor_name = name
        mask = method.compute_mask(scores.detach(), default)
        module.register_buffer(f"{name}_mask", mask)
        setattr(module, name, method.apply_mask(module))
        method._before = module.register_forward_pre_hook(method)
        return method

    def prune(self, t: Tensor, default_mask: Tensor | None = None, importance_scores: Tensor | None = None) -> Tensor:
        """A pruned copy of a tensor."""
        scores = t if importance_scores is None else importance_scores
        return t * self.compute_mask(scores, ones_like(t) if default_mask is None else default_mask)

    def remove(self, module: Module) -> None:
        """Make what is pruned the parameter."""
        name = self._tensor_name
        values = self.apply_mask(module).detach()
        original = module._parameters.pop(f"{name}_orig")
        assert original is not None
        original.data = values
        module._buffers.pop(f"{name}_mask")
        if hasattr(module, name):
            delattr(module, name)
        module.register_parameter(name, original)


class PruningContainer(BasePruningMethod):
    """Several methods one after the other: each prunes of what those before have left."""

    PRUNING_TYPE = "mixed"

    def __init__(self, *methods: BasePruningMethod):
        self._pruning_methods = list(methods)
        self._tensor_name = methods[0]._tensor_name if methods else ""

    def add_pruning_method(self, method: BasePruningMethod) -> None:
        """One more method."""
        self._pruning_methods.append(method)

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        method = self._pruning_methods[-1]
        mask = default_mask.clone()
        if method.PRUNING_TYPE == "unstructured":
            chosen = mask == 1
            mask[chosen] = method.compute_mask(t[chosen], ones_like(mask[chosen])).to(mask.dtype)
            return mask
        if method.PRUNING_TYPE == "global":
            return method.compute_mask(t, mask)
        dim = method.dim if method.dim >= 0 else method.dim + t.dim()  # type: ignore[attr-defined]
        left = mask.sum([d for d in range(t.dim()) if d != dim]) != 0
        places = left.nonzero().flatten()
        part = method.compute_mask(t.index_select(dim, places), mask.index_select(dim, places))
        return mask.index_copy(dim, places, part.to(mask.dtype))

    def __len__(self) -> int:
        return len(self._pruning_methods)

    def __iter__(self) -> Any:
        return iter(self._pruning_methods)

    def __getitem__(self, i: int) -> BasePruningMethod:
        return self._pruning_methods[i]


def _method_of(module: Module, name: str) -> BasePruningMethod | None:
    """The method that prunes a parameter."""
    found = [h for h in module._forward_pre_hooks.values() if isinstance(h, BasePruningMethod) and h._tensor_name == name]
    return found[0] if found else None


def _joined(old: BasePruningMethod, method: BasePruningMethod, name: str) -> PruningContainer:
    container = old if isinstance(old, PruningContainer) else PruningContainer(old)
    method._tensor_name = name
    container.add_pruning_method(method)
    return container


def _count(amount: float, size: int) -> int:
    """How many of ``size`` elements: a share of them, or the number itself."""
    if isinstance(amount, bool) or not isinstance(amount, (int, float)):
        raise TypeError(f"Invalid type for amount: {amount}. Must be int or float.")
    if (isinstance(amount, int) and amount < 0) or (isinstance(amount, float) and not 0.0 <= amount <= 1.0):
        raise ValueError(f"amount={amount} should either be a float in the range [0, 1] or a non-negative integer")
    if isinstance(amount, float):
        return round(amount * size)
    if amount > size:
        raise ValueError(f"amount={amount} should be smaller than the number of parameters to prune={size}")
    return amount


class Identity(BasePruningMethod):
    """Prunes nothing, but makes the mask."""

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        return default_mask


class _Unstructured(BasePruningMethod):
    """Prunes single elements."""

    def __init__(self, amount: float):
        _count(amount, 1 << 62)
        self.amount = amount

    def _chosen(self, t: Tensor, count: int) -> Tensor:
        """The places, in the flattened tensor, of the elements that are pruned."""
        raise NotImplementedError(f"{type(self).__name__} must say which elements are pruned")

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        count = _count(self.amount, t.numel())
        mask = default_mask.clone()
        if count:
            mask.view(-1)[self._chosen(t, count)] = 0
        return mask


class RandomUnstructured(_Unstructured):
    """Prunes ``amount`` elements (a share or a number) at random."""

    def _chosen(self, t: Tensor, count: int) -> Tensor:
        return topk(rand_like(t.float()).view(-1), count)[1]


class L1Unstructured(_Unstructured):
    """Prunes the ``amount`` elements of the least absolute value."""

    def _chosen(self, t: Tensor, count: int) -> Tensor:
        return topk(t.abs().reshape(-1), count, largest=False)[1]


class _Structured(BasePruningMethod):
    """Prunes whole channels along ``dim``."""

    PRUNING_TYPE = "structured"

    def __init__(self, amount: float, dim: int = -1):
        _count(amount, 1 << 62)
        self.amount, self.dim = amount, dim

    def _order(self, t: Tensor, count: int) -> Tensor:
        """The channels that are pruned."""
        raise NotImplementedError(f"{type(self).__name__} must say which channels are pruned")

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        if t.dim() <= 1:
            raise ValueError(
                "Structured pruning can only be applied to a multidimensional tensor. Found tensor of shape"
                f" {t.shape} with {t.dim()} dims"
            )
        if not -t.dim() <= self.dim < t.dim():
            raise IndexError(f"Invalid index {self.dim} for tensor of size {t.shape}")
        count = _count(self.amount, t.shape[self.dim])
        if not count:
            return default_mask
        kept = zeros_like(default_mask[tuple([slice(None) if d == self.dim % t.dim() else 0 for d in range(t.dim())])]) + 1
        kept[self._order(t, count)] = 0
        shape = [1] * t.dim()
        shape[self.dim] = -1
        return default_mask * kept.view(shape)


class RandomStructured(_Structured):
    """Prunes ``amount`` channels along ``dim`` at random."""

    def _order(self, t: Tensor, count: int) -> Tensor:
        return randperm(t.shape[self.dim])[:count]


class LnStructured(_Structured):
    """Prunes the ``amount`` channels along ``dim`` whose norm of order ``n`` is least."""

    def __init__(self, amount: float, n: Any, dim: int = -1):
        super().__init__(amount, dim)
        self.n = n

    def _order(self, t: Tensor, count: int) -> Tensor:
        others = [d for d in range(t.dim()) if d != self.dim % t.dim()]
        return topk(t.norm(self.n, others), count, largest=False)[1]


class CustomFromMask(BasePruningMethod):
    """Prunes by a given mask."""

    PRUNING_TYPE = "global"

    def __init__(self, mask: Tensor):
        self.mask = mask

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        return default_mask * self.mask.to(dtype=default_mask.dtype)


def identity(module: Module, name: str) -> Module:
    """Give a parameter a mask of ones."""
    Identity.apply(module, name)
    return module


def random_unstructured(module: Module, name: str, amount: float) -> Module:
    """Prune ``amount`` elements of a parameter, a share or a number, at random."""
    RandomUnstructured.apply(module, name, amount)
    return module


def l1_unstructured(module: Module, name: str, amount: float, importance_scores: Tensor | None = None) -> Module:
    """Prune the elements of the least absolute value (or importance).

    Example:
        >>> import numtorch
        >>> layer = l1_unstructured(numtorch.nn.Linear(4, 2), "weight", 0.5)
        >>> int(layer.weight_mask.sum())
        4
    """
    L1Unstructured.apply(module, name, amount, importance_scores=importance_scores)
    return module


def random_structured(module: Module, name: str, amount: float, dim: int) -> Module:
    """Prune channels along ``dim`` at random."""
    RandomStructured.apply(module, name, amount, dim)
    return module


def ln_structured(module: Module, name: str, amount: float, n: Any, dim: int, importance_scores: Tensor | None = None) -> Module:
    """Prune the channels along ``dim`` with the least norm of order ``n``."""
    LnStructured.apply(module, name, amount, n, dim, importance_scores=importance_scores)
    return module


def custom_from_mask(module: Module, name: str, mask: Tensor) -> Module:
    """Prune a parameter by a mask."""
    CustomFromMask.apply(module, name, mask)
    return module


def global_unstructured(parameters: Iterable[tuple[Module, str]], pruning_method: Callable, importance_scores: Any = None,
                        **kwargs: Any) -> None:  # fmt: skip
    """Prune parameters (pairs of module and name) together: the least elements of all of them."""
    pairs: Sequence[tuple[Module, str]] = list(parameters)
    if not isinstance(pruning_method, type) or pruning_method.PRUNING_TYPE != "unstructured":  # type: ignore[attr-defined]
        raise TypeError('Only "unstructured" PRUNING_TYPE supported for the `pruning_method`.')
    scores = importance_scores or {}
    values = parameters_to_vector([scores.get((m, n), getattr(m, n)).detach() for m, n in pairs])
    default = cat([getattr(m, f"{n}_mask", ones_like(getattr(m, n))).detach().reshape(-1) for m, n in pairs])
    container = PruningContainer()
    container.add_pruning_method(pruning_method(**kwargs))
    mask, start = container.compute_mask(values, default), 0
    for m, n in pairs:
        t = getattr(m, n)
        custom_from_mask(m, n, mask[start : start + t.numel()].view_as(t))
        start += t.numel()


def remove(module: Module, name: str) -> Module:
    """Make the pruned parameter an ordinary one. ValueError if it is not pruned."""
    method = _method_of(module, name)
    if method is None:
        raise ValueError(f"Parameter '{name}' of module {module} has to be pruned before pruning can be removed")
    method._before.remove()
    method.remove(module)
    return module


def is_pruned(module: Module) -> bool:
    """Whether a parameter in the module, or in one inside of it, is pruned."""
    return any(isinstance(h, BasePruningMethod) for m in module.modules() for h in m._forward_pre_hooks.values())


__getattr__ = _hints(__name__)
