"""``torch.hub`` without the network: state dicts that lie where PyTorch's hub keeps its downloads."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from .absent import hints as _hints

__all__ = ["get_dir", "load_state_dict_from_url", "set_dir"]

_chosen: list[str] = []


def _get_torch_home() -> str:
    """PyTorch's folder for what it caches: ``$TORCH_HOME``, else ``torch`` in ``$XDG_CACHE_HOME``, else ``~/.cache/torch``."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return os.path.expanduser(os.environ.get("TORCH_HOME", os.path.join(cache, "torch")))


def get_dir() -> str:
    """The hub's folder; files of weights are in ``checkpoints`` there.

    Example:
        >>> import numtorch
        >>> numtorch.hub.get_dir().endswith("hub")
        True
    """
    return _chosen[-1] if _chosen else os.path.join(_get_torch_home(), "hub")


def set_dir(d: str | os.PathLike) -> None:
    """Keep the hub's files in another folder."""
    _chosen[:] = [os.path.expanduser(d)]


def load_state_dict_from_url(
    url: str,
    model_dir: str | None = None,
    map_location: Any = None,
    progress: bool = True,
    check_hash: bool = False,
    file_name: str | None = None,
    weights_only: bool = False,
) -> dict[str, Any]:
    """The state dict that PyTorch would download from ``url``, if its file is in ``model_dir`` (``<hub>/checkpoints``) already.

    numtorch downloads nothing: RuntimeError says where the file belongs.
    """
    path = Path(model_dir or os.path.join(get_dir(), "checkpoints")) / (file_name or os.path.basename(urlparse(url).path))
    if not path.is_file():
        raise RuntimeError(
            f"load_state_dict_from_url: numtorch loads nothing from the network and there is no {path}; download {url} to that place"
        )
    from .serialization import load

    return load(path, map_location=map_location, weights_only=weights_only)


load_url: Callable[..., dict[str, Any]] = load_state_dict_from_url  # its name in torch.utils.model_zoo

__getattr__ = _hints(__name__)
