"""Devices: "cpu" and "cuda[:n]"."""

from __future__ import annotations

from typing import Any


class device:
    """Where a tensor's memory is: ``device("cpu")``, ``device("cuda:0")``, ``device("cuda", 0)``.

    Example:
        >>> import numtorch
        >>> numtorch.device("cuda:1").index
        1
    """

    __slots__ = ("_before", "index", "type")

    def __new__(cls, type: Any = "cpu", index: int | None = None) -> Any:
        if isinstance(type, device):
            return type
        return object.__new__(cls)

    def __init__(self, type: Any = "cpu", index: int | None = None):
        if isinstance(type, device):
            return
        if isinstance(type, int):
            type, index = "cuda", type
        if not isinstance(type, str):
            raise TypeError(f"device(): argument 'type' must be str, not {type.__class__.__name__}")
        name, colon, number = type.partition(":")
        if name not in ("cpu", "cuda") or (colon and not number.isdigit()) or (colon and index is not None):
            raise RuntimeError(
                f"Expected one of cpu, cuda device type at start of device string: {type}; write 'cpu', 'cuda' or 'cuda:0'"
            )
        self.type = name
        self.index = int(number) if colon else index

    def __repr__(self) -> str:
        return f"device(type='{self.type}'" + (f", index={self.index})" if self.index is not None else ")")

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, device) and self.type == other.type and self.index == other.index

    def __hash__(self) -> int:
        return hash((self.type, self.index))

    def __reduce__(self) -> tuple:
        return device, (str(self),)

    def __enter__(self) -> device:
        self._before = default[0]
        default[0] = canonical(self)
        return self

    def __exit__(self, *exc: Any) -> None:
        default[0] = self._before


default = ["cpu"]


def canonical(d: Any) -> str:
    """The name used in layouts ("cpu", "cuda:0") of anything that names a device; None is the default device."""
    if d is None:
        return default[0]
    if d == "cpu":
        return "cpu"
    found = device(d)
    if found.type == "cpu":
        return "cpu"
    from .cuda import current_device, device_count, require

    require()
    if found.index is None:
        return f"cuda:{current_device()}"
    if found.index >= device_count():
        raise RuntimeError(
            f"CUDA error: invalid device ordinal: {found} does not exist; there are {device_count()} GPUs"
        )
    return f"cuda:{found.index}"


def set_default_device(d: Any) -> None:
    """Where tensors are made when no device is named."""
    from ._tensor import replaced

    default[0] = canonical("cpu" if d is None else d)
    replaced[0] += 1  # traces look whether they were recorded so


def get_default_device() -> device:
    """Where tensors are made when no device is named."""
    return device(default[0])
