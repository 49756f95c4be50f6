"""Batch and instance normalisation."""

from __future__ import annotations

import warnings
from typing import Any

import numtorch

from .._tensor import Tensor
from ..from_data import tensor as make_tensor
from . import functional as F
from . import init
from .lazy import LazyModuleMixin
from .module import Module
from .parameter import Parameter, UninitializedBuffer, UninitializedParameter


class _NormBase(Module):
    """Parameters, running statistics and checks that batch and instance normalisation share."""

    _version = 2
    dims: tuple[int, ...]

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ):
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        like = {"device": device, "dtype": dtype}
        for name, wanted in (("weight", affine), ("bias", affine and bias)):
            self.register_parameter(name, Parameter(numtorch.empty(num_features, **like)) if wanted else None)
        if track_running_stats:
            self.register_buffer("running_mean", numtorch.zeros(num_features, **like))
            self.register_buffer("running_var", numtorch.ones(num_features, **like))
            count = make_tensor(0, dtype=numtorch.int64, device=device)
            self.register_buffer("num_batches_tracked", count)
        else:
            for name in ("running_mean", "running_var", "num_batches_tracked"):
                self.register_buffer(name, None)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Set mean 0, variance 1 and count 0."""
        if self.track_running_stats:
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Reset statistics, weights to 1 and biases to 0."""
        self.reset_running_stats()
        if self.affine:
            init.ones_(self.weight)
            if self.bias is not None:
                init.zeros_(self.bias)

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() not in self.dims:
            names = " or ".join(f"{d}D" for d in self.dims)
            raise ValueError(
                f"{type(self).__name__}: expected {names} input (got {input.dim()}D input) of shape {list(input.shape)}; add or flatten"
                " dimensions"
            )

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine},"
            f" bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )

    def _load_from_state_dict(self, state_dict: dict, prefix: str, local_metadata: dict, *lists: Any) -> None:
        version = local_metadata.get("version")
        if (version is None or version < 2) and self.track_running_stats:
            # Written before the count of batches existed.
            key = prefix + "num_batches_tracked"
            if key not in state_dict:
                count = self.num_batches_tracked
                state_dict[key] = count if count is not None else make_tensor(0, dtype=numtorch.int64)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *lists)


class _BatchNorm(_NormBase):
    """Normalises each channel over the batch in training, by its running statistics in evaluation.

    Ioffe, Szegedy, arXiv:1502.03167.
    """

    def forward(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)
        factor = 0.0 if self.momentum is None else self.momentum
        if self.training and self.track_running_stats and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:
                factor = 1.0 / float(self.num_batches_tracked)
        by_batch = self.training or (self.running_mean is None and self.running_var is None)
        use_running = not self.training or self.track_running_stats
        return F.batch_norm(
            input,
            self.running_mean if use_running else None,
            self.running_var if use_running else None,
            self.weight,
            self.bias,
            by_batch,
            factor,
            self.eps,
        )


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of (N, C) or (N, C, L).

    Example:
        >>> import numtorch
        >>> norm = numtorch.nn.BatchNorm1d(3)
        >>> tuple(norm(numtorch.ones(5, 3)).shape), int(norm.num_batches_tracked)
        ((5, 3), 1)
    """

    dims = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of (N, C, H, W)."""

    dims = (4,)


class BatchNorm3d(_BatchNorm):
    """Batch normalisation of (N, C, D, H, W)."""

    dims = (5,)


class SyncBatchNorm(_BatchNorm):
    """Batch normalisation; in one process it is the same as ``BatchNorm``, for any number of dimensions >=
    2.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        process_group: Any = None,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ):
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)
        self.process_group = process_group

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(
                f"{type(self).__name__}: expected at least 2D input (got {input.dim()}D input); add a batch dimension with unsqueeze(0)"
            )

    @classmethod
    def convert_sync_batchnorm(cls, module: Module, process_group: Any = None) -> Module:
        """The module itself: a single process has nobody to synchronise with."""
        return module


class _InstanceNorm(_NormBase):
    """Normalises each channel of each sample. Ulyanov et al., arXiv:1607.08022."""

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ):
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, local_metadata: dict, *lists: Any) -> None:
        if local_metadata.get("version") is None and not self.track_running_stats:
            kept = [n for n in ("running_mean", "running_var") if prefix + n in state_dict]
            if kept:
                names = " and ".join(f'"{prefix + n}"' for n in kept)
                lists[-1].append(
                    f"Unexpected running stats buffer(s) {names} for {type(self).__name__} with"
                    " track_running_stats=False. If state_dict is a checkpoint saved before 0.4.0, this"
                    " may be expected because InstanceNorm did not track running stats by default since"
                    " 0.4.0. Please remove these keys from state_dict."
                )
                for name in kept:
                    state_dict.pop(prefix + name)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *lists)

    def forward(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)
        without_batch = min(self.dims)
        channels = input.dim() - without_batch
        if input.size(channels) != self.num_features:
            if not self.affine:
                warnings.warn(
                    f"input's size at dim={channels} does not match num_features. You can silence this"
                    " warning by not passing in num_features, which is not used because affine=False",
                    stacklevel=2,
                )
            else:
                raise ValueError(
                    f"expected input's size at dim={channels} to match num_features ({self.num_features}),"
                    f" but got: {input.size(channels)}."
                )
        if input.dim() == without_batch:
            return self._normalise(input.unsqueeze(0)).squeeze(0)
        return self._normalise(input)

    def _normalise(self, input: Tensor) -> Tensor:
        use_input = self.training or not self.track_running_stats
        momentum = self.momentum if self.momentum is not None else 0.0
        statistics = (self.running_mean, self.running_var)
        return F.instance_norm(input, *statistics, self.weight, self.bias, use_input, momentum, self.eps)


class InstanceNorm1d(_InstanceNorm):
    """Instance normalisation of (N, C, L) or (C, L)."""

    dims = (2, 3)


class InstanceNorm2d(_InstanceNorm):
    """Instance normalisation of (N, C, H, W) or (C, H, W)."""

    dims = (3, 4)


class InstanceNorm3d(_InstanceNorm):
    """Instance normalisation of (N, C, D, H, W) or (C, D, H, W)."""

    dims = (4, 5)


class _LazyNormBase(LazyModuleMixin):
    """A normalisation that learns ``num_features`` from its first input."""

    weight: Any
    bias: Any
    dims: tuple[int, ...]
    default_affine: bool

    def __init__(
        self,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ):
        super().__init__(0, eps, momentum, False, False, device, dtype)
        self.affine = affine
        self.track_running_stats = track_running_stats
        like = {"device": device, "dtype": dtype}
        if affine:
            self.weight = UninitializedParameter(**like)
            if bias:
                self.bias = UninitializedParameter(**like)
        if track_running_stats:
            self.running_mean = UninitializedBuffer(**like)
            self.running_var = UninitializedBuffer(**like)
            self.num_batches_tracked = make_tensor(0, dtype=numtorch.int64, device=device)

    def reset_parameters(self) -> None:
        if not self.has_uninitialized_params() and self.num_features != 0:  # type: ignore[has-type]
            super().reset_parameters()  # type: ignore[misc]

    def initialize_parameters(self, input: Tensor) -> None:
        """Take ``num_features`` from the input and allocate parameters and buffers."""
        if not self.has_uninitialized_params():
            return
        batched = isinstance(self, _BatchNorm) or input.dim() == max(self.dims)
        self.num_features = input.shape[1 if batched else 0]
        if self.affine:
            self.weight.materialize((self.num_features,))
            if self.bias is not None:
                self.bias.materialize((self.num_features,))
        if self.track_running_stats:
            self.running_mean.materialize((self.num_features,))
            self.running_var.materialize((self.num_features,))
        self.reset_parameters()


class LazyBatchNorm1d(_LazyNormBase, BatchNorm1d):
    """A BatchNorm1d that learns ``num_features`` from its first input."""

    cls_to_become = BatchNorm1d


class LazyBatchNorm2d(_LazyNormBase, BatchNorm2d):
    """A BatchNorm2d that learns ``num_features`` from its first input."""

    cls_to_become = BatchNorm2d


class LazyBatchNorm3d(_LazyNormBase, BatchNorm3d):
    """A BatchNorm3d that learns ``num_features`` from its first input."""

    cls_to_become = BatchNorm3d


class LazyInstanceNorm1d(_LazyNormBase, InstanceNorm1d):
    """An InstanceNorm1d that learns ``num_features`` from its first input."""

    cls_to_become = InstanceNorm1d


class LazyInstanceNorm2d(_LazyNormBase, InstanceNorm2d):
    """An InstanceNorm2d that learns ``num_features`` from its first input."""

    cls_to_become = InstanceNorm2d


class LazyInstanceNorm3d(_LazyNormBase, InstanceNorm3d):
    """An InstanceNorm3d that learns ``num_features`` from its first input."""

    cls_to_become = InstanceNorm3d
