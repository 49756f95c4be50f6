"""Recurrent cells: one step of a recurrent layer."""

from __future__ import annotations

import math
from typing import Any

import numtorch

from .._tensor import Tensor
from . import functional as F
from . import init
from ._recurrent import cell
from .module import Module
from .parameter import Parameter


class RNNCellBase(Module):
    """Parameters ``weight_ih`` (gates * hidden, input), ``weight_hh`` (gates * hidden, hidden),
    ``bias_ih``, ``bias_hh``.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool,
        num_chunks: int,
        device: Any = None,
        dtype: Any = None,
    ):
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        rows = num_chunks * hidden_size
        like = {"device": device, "dtype": dtype}
        self.weight_ih = Parameter(numtorch.empty((rows, input_size), **like))
        self.weight_hh = Parameter(numtorch.empty((rows, hidden_size), **like))
        if bias:
            self.bias_ih = Parameter(numtorch.empty(rows, **like))
            self.bias_hh = Parameter(numtorch.empty(rows, **like))
        else:
            self.register_parameter("bias_ih", None)
            self.register_parameter("bias_hh", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all parameters from U(-k, k), k = 1 / sqrt(hidden_size)."""
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        if self.bias is not True:
            text += f", bias={self.bias}"
        nonlinearity = getattr(self, "nonlinearity", "tanh")
        return text if nonlinearity == "tanh" else text + f", nonlinearity={nonlinearity}"

    def _step(self, mode: str, input: Tensor, states: tuple | None) -> tuple[Tensor, Tensor | None]:
        """(hidden, cell) after one step, with the batch dimension only if the input has it."""
        name = type(self).__name__
        if input.dim() not in (1, 2):
            raise ValueError(f"{name}: Expected input to be 1D or 2D, got {input.dim()}D instead")
        for k, state in enumerate(states or ()):
            if state.dim() not in (1, 2):
                where = f"hx[{k}]" if mode == "LSTM" else "hidden"
                raise ValueError(f"{name}: Expected {where} to be 1D or 2D, got {state.dim()}D instead")
        batched = input.dim() == 2
        x = input if batched else input.unsqueeze(0)
        if states is None:
            zeros = numtorch.zeros((x.size(0), self.hidden_size), dtype=x.dtype, device=x.device)
            states = (zeros, zeros) if mode == "LSTM" else (zeros,)
        elif not batched:
            states = tuple(s.unsqueeze(0) for s in states)
        self._check_sizes(x, states)
        gates = F.linear(x, self.weight_ih, self.bias_ih)
        old = states[1] if mode == "LSTM" else None
        h, c = cell(mode, gates, self.weight_hh, self.bias_hh, states[0], old)
        if batched:
            return h, c
        return h.squeeze(0), None if c is None else c.squeeze(0)

    def _check_sizes(self, x: Tensor, states: tuple) -> None:
        if x.size(1) != self.input_size:
            raise RuntimeError(
                f"input has inconsistent input_size: got {x.size(1)} expected {self.input_size}; give vectors of that size, or make the"
                f" {type(self).__name__} with input_size={x.size(1)}"
            )
        for k, state in enumerate(states):
            if x.size(0) != state.size(0):
                raise RuntimeError(
                    f"Input batch size {x.size(0)} doesn't match hidden{k} batch size {state.size(0)}"
                )
            if state.size(1) != self.hidden_size:
                raise RuntimeError(
                    f"hidden{k} has inconsistent hidden_size: got {state.size(1)}, expected"
                    f" {self.hidden_size}"
                )


class RNNCell(RNNCellBase):
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh), or with relu: (N, input), (N, hidden) -> (N, hidden).

    Example:
        >>> import numtorch
        >>> tuple(numtorch.nn.RNNCell(10, 20)(numtorch.ones(3, 10)).shape)
        (3, 20)
    """

    nonlinearity: str

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: Any = None,
    ):
        super().__init__(input_size, hidden_size, bias, 1, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        if self.nonlinearity not in ("tanh", "relu"):
            raise RuntimeError(f"Unknown nonlinearity: {self.nonlinearity}")
        return self._step(f"RNN_{self.nonlinearity.upper()}", input, None if hx is None else (hx,))[0]


class LSTMCell(RNNCellBase):
    """One step of an LSTM: (N, input), ((N, hidden), (N, hidden)) -> ((N, hidden), (N, hidden)).

    Example:
        >>> import numtorch
        >>> h, c = numtorch.nn.LSTMCell(10, 20)(numtorch.ones(3, 10))
        >>> tuple(h.shape), tuple(c.shape)
        ((3, 20), (3, 20))
    """

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ):
        super().__init__(input_size, hidden_size, bias, 4, device, dtype)

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        return self._step("LSTM", input, hx)  # type: ignore[return-value]


class GRUCell(RNNCellBase):
    """One step of a GRU: (N, input), (N, hidden) -> (N, hidden).

    Example:
        >>> import numtorch
        >>> tuple(numtorch.nn.GRUCell(10, 20)(numtorch.ones(3, 10)).shape)
        (3, 20)
    """

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ):
        super().__init__(input_size, hidden_size, bias, 3, device, dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        return self._step("GRU", input, None if hx is None else (hx,))[0]
