"""The named tuples that operations return, printed as PyTorch prints them: ``numtorch.return_types.max`` and its kin."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

__all__ = [
    "aminmax", "cummax", "cummin", "frexp", "histogram", "histogramdd", "kthvalue", "linalg_cholesky_ex", "linalg_eigh", "linalg_inv_ex", "linalg_lstsq",
    "linalg_qr", "linalg_slogdet", "linalg_solve_ex", "linalg_svd", "max", "median", "min", "mode", "nanmedian", "sort",
    "topk",
]  # fmt: skip


def _shown(self: Any) -> str:
    return f"torch.return_types.{type(self).__name__}(\n" + ",\n".join(f"{k}={getattr(self, k)!r}" for k in self._fields) + ")"


def structure(name: str, *fields: str) -> Any:
    """A named tuple of this module.

    Example:
        >>> from numtorch.return_types import structure
        >>> structure("max", "values", "indices")(3, 0)
        torch.return_types.max(
        values=3,
        indices=0)
    """
    kind = namedtuple(name, fields, module=__name__)  # type: ignore[misc]
    kind.__repr__ = _shown  # type: ignore[method-assign]
    return kind


def _places(name: str) -> Any:
    return structure(name, "values", "indices")


max, min, median, nanmedian, mode = (_places(n) for n in ("max", "min", "median", "nanmedian", "mode"))
sort, topk, kthvalue, cummax, cummin = (_places(n) for n in ("sort", "topk", "kthvalue", "cummax", "cummin"))
aminmax = structure("aminmax", "min", "max")
frexp = structure("frexp", "mantissa", "exponent")
histogram, histogramdd = (structure(n, "hist", "bin_edges") for n in ("histogram", "histogramdd"))
linalg_qr = structure("linalg_qr", "Q", "R")
linalg_eigh = structure("linalg_eigh", "eigenvalues", "eigenvectors")
linalg_svd = structure("linalg_svd", "U", "S", "Vh")
linalg_slogdet = structure("linalg_slogdet", "sign", "logabsdet")
linalg_lstsq = structure("linalg_lstsq", "solution", "residuals", "rank", "singular_values")
linalg_inv_ex = structure("linalg_inv_ex", "inverse", "info")
linalg_cholesky_ex = structure("linalg_cholesky_ex", "L", "info")
linalg_solve_ex = structure("linalg_solve_ex", "result", "info")


def of(name: str) -> Any:
    """The named tuple of the function with this name.

    Example:
        >>> from numtorch import return_types
        >>> return_types.of("max") is return_types.max
        True
    """
    return globals()[name]
