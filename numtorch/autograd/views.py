"""Views and in-place changes: which views may be written, and what a view learns when its base starts to require grad."""

from __future__ import annotations

import weakref
from typing import Any

from .mode import state

# How a view was made, where writing into it could not be recorded.
NO_GRAD, INFERENCE, SEVERAL, CUSTOM = 1, 2, 3, 4

_WHY = {
    NO_GRAD: " Given that this use case is ambiguous and error-prone, it is forbidden. You can clarify your code by moving both"
    " the view and the inplace either both inside the no_grad block (if you don't want the inplace to be tracked) or both outside"
    " (if you want the inplace to be tracked).",
    INFERENCE: " Given that this use case is ambiguous and error-prone, it is forbidden. You can clarify your code by moving both"
    " the view and the inplace either both inside the inference_mode block (if you don't want the inplace to be tracked) or both"
    " outside (if you want the inplace to be tracked).",
    SEVERAL: " This view is the output of a function that returns multiple views. Such functions do not allow the output views to"
    " be modified inplace. You should replace the inplace operation by an out-of-place one.",
    CUSTOM: " This view was created inside a custom Function (or because an input was returned as-is) and the autograd logic to"
    " handle view+inplace would override the custom backward associated with the custom Function, leading to incorrect gradients."
    " This behavior is forbidden. You can fix this by cloning the output of the custom Function.",
}  # fmt: skip


def forbidden(view: Any, op: str | None = None) -> RuntimeError:
    """The error of a view that can't take part in an in-place change (``op``: it is written itself, else its base was)."""
    made = view._made
    what = f"is being modified inplace (by {op}_)" if op else "its base or another view of its base has been modified inplace"
    node = view._node
    if node is not None:
        name = node.title.removesuffix("0").removesuffix("Backward")
        start = f"Output {view._nr} of {name} is a view and {what}."
    elif made == INFERENCE:
        start = f"A view was created in inference mode and {what} in normal mode."
    else:
        start = f"A view was created in no_grad mode and {what} with grad mode enabled."
    return RuntimeError(start + _WHY[made])


def inference_write_error(op: str) -> RuntimeError:
    """An inference tensor is changed outside of inference mode."""
    return RuntimeError(
        f"{op}_: Inplace update to inference tensor outside InferenceMode is not allowed. You can make a clone to get a normal"
        " tensor before doing inplace update."
    )


def inference_save_error() -> RuntimeError:
    """An inference tensor is needed by a backward."""
    return RuntimeError(
        "Inference tensors cannot be saved for backward. Please do not use Tensors created in inference mode in computation"
        " tracked by autograd. To work around this, you can make a clone to get a normal tensor and use it in autograd, or use"
        " `numtorch.no_grad()` instead of `numtorch.inference_mode()`."
    )


def made_how(view: Any) -> None:
    """Note that a view of a tensor that requires grad was made while gradients were off."""
    if not view._made:
        view._made = INFERENCE if state.inference else NO_GRAD
    view._rg = view._lent = True


def know(base: Any, view: Any) -> None:
    """Remember a view of a tensor that does not require grad, for the moment when it does."""
    views = base._views
    if views is None:
        base._views = [weakref.ref(view)]
        return
    views.append(weakref.ref(view))
    n = len(views)
    if n >= 64 and n & (n - 1) == 0:  # dead ones go whenever the list has doubled
        views[:] = [r for r in views if r() is not None]


def lend(base: Any) -> None:
    """Views made before their base's ``requires_grad`` was set require grad as well, but no gradient flows through them."""
    for reference in base._views:
        view = reference()
        if view is not None and view._node is None and (view._lent or not view._rg):
            view._rg = view._lent = base._rg


def follow(base: Any) -> None:
    """Views made before an in-place change gave their base a history take their history from it."""
    for reference in base._views:
        view = reference()
        if view is not None:
            view._rg, view._lent = True, False
    base._views = None
