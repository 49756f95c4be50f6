"""Messages of errors that are raised in more than one place: each says what, expected against actual, what to do."""

from __future__ import annotations

from typing import Any


def saved_version_error(tensor: Any, version: int, node: Any) -> RuntimeError:
    """A tensor saved for a backward has been modified since."""
    la = tensor._layout
    return RuntimeError(
        "one of the variables needed for gradient computation has been modified by an inplace operation:"
        f" [numtorch.{la.dtype.name} {list(la.shape)}], saved by {node.title}, is at version {tensor._storage.version};"
        f" expected version {version} instead. Hint: use the out-of-place form of the operation that changed it, or clone"
        " it first; enable anomaly detection to find the operation that failed to compute its gradient, with"
        " numtorch.autograd.set_detect_anomaly(True)."
    )


def second_backward_error(node: Any) -> RuntimeError:
    """A backward through a graph whose saved tensors are gone."""
    return RuntimeError(
        f"Trying to backward through the graph a second time ({node.title}: its saved tensors have already been freed)."
        " Saved intermediate values of the graph are freed when you call .backward() or autograd.grad(). Specify"
        " retain_graph=True if you need to backward through the graph a second time or if you need to access saved"
        " tensors after calling backward."
    )


def require_floating(op: str, name: str, tensor: Any) -> None:
    """RuntimeError unless a tensor has a floating dtype."""
    if not tensor._layout.dtype.is_floating_point:
        raise RuntimeError(
            f"{op}: argument '{name}' must have a floating point dtype, got {tensor._layout.dtype!r}; convert it with"
            f" .float()"
        )


def require_tensor(op: str, name: str, value: Any) -> None:
    """TypeError unless ``value`` is a tensor."""
    if not hasattr(value, "_layout"):
        raise TypeError(
            f"{op}(): argument '{name}' must be Tensor, not {type(value).__name__}; make one with numtorch.tensor(...)"
        )


def require_same_dtype(op: str, **tensors: Any) -> None:
    """RuntimeError unless all given tensors (None is skipped) have one dtype."""
    first_name, first = None, None
    for name, t in tensors.items():
        if t is None:
            continue
        if first is None:
            first_name, first = name, t
        elif t._layout.dtype is not first._layout.dtype:
            raise RuntimeError(
                f"{op}: expected {first_name} and {name} to have the same dtype, but got: {first._layout.dtype!r} !="
                f" {t._layout.dtype!r}; convert one of them with .to()"
            )


def require_same_device(op: str, **tensors: Any) -> None:
    """RuntimeError unless all given tensors (None is skipped) are on one device."""
    first_name, first = None, None
    for name, t in tensors.items():
        if t is None:
            continue
        if first is None:
            first_name, first = name, t
        elif t._layout.device != first._layout.device:
            raise RuntimeError(
                f"{op}: Expected all tensors to be on the same device, but found at least two devices,"
                f" {first._layout.device} ({first_name}) and {t._layout.device} ({name})! Move one of them with .to()"
            )


TORCH_NAMES = {"float32": "Float", "float64": "Double", "float16": "Half", "bfloat16": "BFloat16", "int64": "Long", "int32": "Int",
               "int16": "Short", "int8": "Char", "uint8": "Byte", "bool": "Bool"}  # fmt: skip


def not_implemented(op: str, d: Any) -> NotImplementedError:
    """The error of an op that has no kernel for a dtype."""
    floating = d.is_floating_point
    half = floating and d.itemsize == 2  # what takes 16 bits alone of the floating dtypes is no op
    others, how = ("int64 or bool", ".long() or .bool()") if floating and not half else ("float32 or float64", ".float()")
    return NotImplementedError(
        f"\"{op}\" not implemented for '{TORCH_NAMES[d.name]}': expected {others}, got {d.name}; convert with {how}"
    )


def no_dtype(op: str, value: Any) -> TypeError:
    """The error of what was given as a dtype and is none."""
    return TypeError(f"{op}(): argument 'dtype' must be numtorch.dtype, not {type(value).__name__}")


WHOLE = frozenset(("uint8", "int8", "int16", "int32", "int64"))
UNREAL = WHOLE | {"bool"}  # what is no floating number
HALVES = frozenset(("float16", "bfloat16"))


def refuse_dtypes(op: str, tensor: Any, names: Any, kind: type = NotImplementedError) -> None:
    """The error of an op that takes no tensors of these dtypes (names), though it could: PyTorch's ``kind``."""
    require_tensor(op, "input", tensor)
    d = tensor._layout.dtype
    if d.name not in names:
        return
    if kind is NotImplementedError:
        raise not_implemented(op, d)
    raise kind(f"{op}(): expected a tensor of another dtype, got {d.name}; convert it with .float()")


def tensors_only(function: Any, module: str | None = None) -> Any:
    """Decorator: TypeError, as PyTorch's, where a parameter annotated as Tensor was given something else.

    Nothing is looked at before the function has failed over an attribute that only tensors have. ``module``: where the new
    function is found, if not where the old one was.
    """
    import functools

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except AttributeError as error:
            wrong = _no_tensor(function, args, kwargs)
            if wrong is None:
                raise
            raise wrong from error

    checked.__module__ = module or function.__module__
    return checked


def _no_tensor(function: Any, args: tuple, kwargs: dict) -> TypeError | None:
    """The error of the first argument that should have been a tensor."""
    import inspect

    from ._tensor import Tensor

    try:
        given = inspect.signature(function).bind(*args, **kwargs).arguments
    except TypeError as error:
        return error
    kinds = {n: str(p.annotation) for n, p in inspect.signature(function).parameters.items()}
    for position, (name, value) in enumerate(given.items(), start=1):
        kind = kinds[name]
        values = value if name in ("tensors", "arrays", "indices") and isinstance(value, (tuple, list)) else (value,)
        if (not kind.startswith("Tensor") and name not in ("tensors", "arrays", "indices")) or (value is None and "None" in kind):
            continue
        for v in values:
            if not isinstance(v, Tensor) and not (name == "indices" and v is None):
                return TypeError(
                    f"{function.__name__}(): argument '{name}' (position {position}) must be Tensor, not {type(v).__name__}; make one"
                    " with numtorch.tensor(...)"
                )
    return None
