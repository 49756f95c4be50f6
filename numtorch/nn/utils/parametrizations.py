"""Ready-made parametrizations: weight, spectral and orthogonal normalisation."""

from __future__ import annotations

from typing import Any

import numtorch

from ..._tensor import Tensor
from .. import functional as F
from ..module import Module
from . import parametrize


def norm_except_dim(v: Tensor, dim: int) -> Tensor:
    """The 2-norm over all dimensions but one (all of them for -1), broadcastable to ``v``."""
    if dim == -1:
        return v.norm(2)
    dims = tuple(d for d in range(v.dim()) if d != dim % v.dim())
    return v.norm(2, dims, keepdim=True) if dims else v.abs()


class _WeightNorm(Module):
    """v scaled to the norm g, along every slice of ``dim``."""

    def __init__(self, dim: int | None = 0):
        super().__init__()
        self.dim = -1 if dim is None else dim

    def forward(self, weight_g: Tensor, weight_v: Tensor) -> Tensor:
        return weight_v * (weight_g / norm_except_dim(weight_v, self.dim))

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return norm_except_dim(weight, self.dim), weight


def weight_norm(module: Module, name: str = "weight", dim: int = 0) -> Module:
    """Train direction and length of a weight apart. Salimans, Kingma, arXiv:1602.07868.

    Example:
        >>> import numtorch
        >>> layer = numtorch.nn.utils.parametrizations.weight_norm(numtorch.nn.Linear(20, 40))
        >>> tuple(layer.parametrizations.weight.original0.shape)
        (40, 1)
    """
    parametrize.register_parametrization(module, name, _WeightNorm(dim), unsafe=True)

    def rename(state_dict: dict, prefix: str, *unused: Any) -> None:
        g, v = f"{prefix}{name}_g", f"{prefix}{name}_v"
        if g in state_dict and v in state_dict:  # written by the older weight_norm
            state_dict[f"{prefix}parametrizations.{name}.original0"] = state_dict.pop(g)
            state_dict[f"{prefix}parametrizations.{name}.original1"] = state_dict.pop(v)

    module._register_load_state_dict_pre_hook(rename)
    return module


class _SpectralNorm(Module):
    """The weight divided by its largest singular value, found by power iteration in training."""

    def __init__(self, weight: Tensor, n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12):
        super().__init__()
        ndim = weight.dim()
        if not -ndim <= dim < ndim:
            raise IndexError(
                f"Dimension out of range (expected to be in range of [-{ndim}, {ndim - 1}] but got {dim})"
            )
        if n_power_iterations <= 0:
            raise ValueError(
                f"Expected n_power_iterations to be positive, but got n_power_iterations={n_power_iterations}"
            )
        self.dim = dim if dim >= 0 else dim + ndim
        self.eps = eps
        if ndim > 1:
            self.n_power_iterations = n_power_iterations
            matrix = self._matrix(weight.detach())
            rows, columns = matrix.shape
            u = numtorch.empty(rows, dtype=weight.dtype, device=weight.device).normal_(0, 1)
            v = numtorch.empty(columns, dtype=weight.dtype, device=weight.device).normal_(0, 1)
            self.register_buffer("_u", F.normalize(u, dim=0, eps=eps))
            self.register_buffer("_v", F.normalize(v, dim=0, eps=eps))
            self._iterate(matrix, 15)

    def _matrix(self, weight: Tensor) -> Tensor:
        if self.dim != 0:
            weight = weight.permute(self.dim, *(d for d in range(weight.dim()) if d != self.dim))
        return weight.flatten(1)

    @numtorch.no_grad()
    def _iterate(self, matrix: Tensor, times: int) -> None:
        for _ in range(times):
            self._u.copy_(F.normalize(matrix @ self._v, dim=0, eps=self.eps))  # in place: a trace repeats that
            self._v.copy_(F.normalize(matrix.t() @ self._u, dim=0, eps=self.eps))

    def forward(self, weight: Tensor) -> Tensor:
        if weight.dim() == 1:
            return F.normalize(weight, dim=0, eps=self.eps)
        matrix = self._matrix(weight)
        if self.training:
            self._iterate(matrix.detach(), self.n_power_iterations)
        # Clones, because the next iteration changes the buffers before this graph may be walked.
        u, v = self._u.clone(), self._v.clone()
        return weight / numtorch.dot(u, matrix @ v)

    def right_inverse(self, value: Tensor) -> Tensor:
        return value


def spectral_norm(
    module: Module,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
) -> Module:
    """Divide a weight by its largest singular value. Miyato et al., arXiv:1802.05957."""
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    if dim is None:
        dim = 1 if type(module).__name__.startswith("ConvTranspose") else 0
    rule = _SpectralNorm(weight, n_power_iterations, dim, eps)
    return parametrize.register_parametrization(module, name, rule)


class _Orthogonal(Module):
    """A matrix with orthonormal rows or columns, made by Householder reflections, matrix exponential or
    Cayley map.
    """

    base: Tensor | None

    def __init__(self, weight: Tensor, orthogonal_map: str, use_trivialization: bool):
        super().__init__()
        self.map = orthogonal_map
        if use_trivialization:
            self.register_buffer("base", None)
        self.trivialization = use_trivialization
        self.shape = weight.shape

    def forward(self, x: Tensor) -> Tensor:
        wide = x.size(-2) < x.size(-1)
        if wide:
            x = x.mT
        q = self._reflected(x) if self.map == "householder" else self._turned(x)
        if self.trivialization and self.base is not None:
            q = self.base @ q
        return q.mT if wide else q

    def _reflected(self, x: Tensor) -> Tensor:
        """The product of Householder reflections below the diagonal, times the signs on it, which have no gradient."""
        below = x.tril(-1)
        tau = 2.0 / (1.0 + (below * below).sum(-2))
        return numtorch.linalg.householder_product(below, tau) * x.diagonal(dim1=-2, dim2=-1).int().unsqueeze(-2)

    def _turned(self, x: Tensor) -> Tensor:
        """The matrix exponential, or Cayley's map, of a skew-symmetric matrix."""
        n, k = x.size(-2), x.size(-1)
        square = x.tril() if n == k else numtorch.cat([x.tril(), x.new_zeros(*x.shape[:-1], n - k)], -1)
        skew = square - square.mT
        if self.map == "matrix_exp":
            return numtorch.linalg.matrix_exp(skew)[..., :k]
        eye = numtorch.eye(n, dtype=x.dtype, device=x.device)
        return numtorch.linalg.solve(eye - 0.5 * skew, eye + 0.5 * skew)[..., :k]

    @numtorch.no_grad()
    def right_inverse(self, q: Tensor) -> Tensor:
        if tuple(q.shape) != tuple(self.shape):
            raise ValueError(
                f"Expected a matrix or batch of matrices of shape {self.shape}. Got a tensor of shape"
                f" {q.shape}."
            )
        if not self.trivialization and self.map != "householder":
            raise NotImplementedError(
                "It is not possible to assign to the matrix exponential or the Cayley parametrizations when"
                " use_trivialization=False."
            )
        wide = q.size(-2) < q.size(-1)
        tall = q.mT if wide else q
        n, k = tall.shape[-2:]
        if not self.trivialization:
            factors, tau = numtorch.geqrf(tall)
            signs = factors.diagonal(dim1=-2, dim2=-1).sign()
            signs = numtorch.where(tau == 0.0, -signs, signs)
            factors = _with_diagonal(factors, signs)
            return factors.mT if wide else factors
        full = tall if n == k else numtorch.cat([tall, tall.new_empty((*tall.shape[:-1], n - k)).normal_()], -1)
        eye = numtorch.eye(n, dtype=q.dtype, device=q.device)
        if n == k and bool(((full.mT @ full - eye).abs() < 10 * n * numtorch.finfo(q.dtype).eps).all()):
            self.base = full.clone()
        else:
            orthogonal, r = numtorch.linalg.qr(full)
            self.base = orthogonal * r.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)
        return _with_diagonal(numtorch.zeros_like(q), -1.0)  # the map of this is the identity


def _with_diagonal(x: Tensor, values: Any) -> Tensor:
    """A copy with another diagonal."""
    changed = x.clone()
    changed.diagonal(dim1=-2, dim2=-1).copy_(values if isinstance(values, Tensor) else numtorch.full((), values, dtype=x.dtype))
    return changed


def orthogonal(
    module: Module,
    name: str = "weight",
    orthogonal_map: str | None = None,
    *,
    use_trivialization: bool = True,
) -> Module:
    """Keep a matrix (or batch of them) orthogonal or semi-orthogonal; ``orthogonal_map``: matrix_exp (of square ones the
    default), cayley or householder (of others the default).
    """
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    if weight.dim() < 2:
        raise ValueError(
            f"Expected a matrix or batch of matrices. Got a tensor of {weight.dim()} dimensions."
        )
    if orthogonal_map is None:
        orthogonal_map = "matrix_exp" if weight.shape[-2] == weight.shape[-1] else "householder"
    if orthogonal_map not in ("matrix_exp", "cayley", "householder"):
        raise ValueError(
            f'orthogonal_map has to be one of "matrix_exp", "cayley", "householder". Got: {orthogonal_map}'
        )
    rule = _Orthogonal(weight, orthogonal_map, use_trivialization)
    return parametrize.register_parametrization(module, name, rule, unsafe=True)
