"""Recurrent layers: RNN, LSTM and GRU."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numtorch

from .._tensor import Tensor
from ..autograd.mode import state as mode
from . import functional as F
from . import init
from ._recurrent import GATES, scan, steps
from .module import Module
from .parameter import Parameter
from .utils.rnn import PackedSequence


class RNNBase(Module):
    """Layers, directions and parameters that all recurrent networks share.

    Parameters of layer k: ``weight_ih_lk`` (gates * hidden, input), ``weight_hh_lk``, ``bias_ih_lk``,
    ``bias_hh_lk`` and,
    with ``proj_size``, ``weight_hr_lk``; those of the other direction end in ``_reverse``.
    """

    mode: str

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ):
        super().__init__()
        self.mode = mode
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        self._check_arguments(dropout)
        self._flat_weights_names: list[str] = []
        self._all_weights: list[list[str]] = []
        for layer in range(num_layers):
            for direction in range(2 if bidirectional else 1):
                self._add_parameters(layer, direction, {"device": device, "dtype": dtype})
        self.reset_parameters()

    def _check_arguments(self, dropout: Any) -> None:
        if not isinstance(dropout, (int, float)) or isinstance(dropout, bool) or not 0 <= dropout <= 1:
            raise ValueError(
                "dropout should be a number in range [0, 1] representing the probability of an element"
                " being zeroed"
            )
        if dropout > 0 and self.num_layers == 1:
            warnings.warn(
                "dropout option adds dropout after all but last recurrent layer, so non-zero dropout"
                f" expects num_layers greater than 1, but got dropout={dropout} and"
                f" num_layers={self.num_layers}",
                stacklevel=4,
            )
        for name in ("bias", "batch_first"):
            if not isinstance(value := getattr(self, name), bool):
                raise TypeError(f"{name} should be of type bool, got: {type(value).__name__}; give True or False")
        if isinstance(self.input_size, int) and self.input_size <= 0:
            raise ValueError(f"input_size must be greater than zero, got {self.input_size}; give the number of features of a step")
        if not isinstance(self.hidden_size, int):
            raise TypeError(f"hidden_size should be of type int, got: {type(self.hidden_size).__name__}")
        if self.hidden_size <= 0:
            raise ValueError("hidden_size must be greater than zero")
        if self.num_layers <= 0:
            raise ValueError("num_layers must be greater than zero")
        if self.proj_size < 0:
            raise ValueError("proj_size should be a positive integer or zero to disable projections")
        if self.proj_size >= self.hidden_size:
            raise ValueError("proj_size has to be smaller than hidden_size")

    def _add_parameters(self, layer: int, direction: int, like: dict) -> None:
        rows = GATES[self.mode] * self.hidden_size
        out = self.proj_size or self.hidden_size
        columns = self.input_size if layer == 0 else out * (2 if self.bidirectional else 1)
        shapes = {"weight_ih": (rows, columns), "weight_hh": (rows, out)}
        if self.bias:
            shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}  # type: ignore[dict-item]
        if self.proj_size:
            shapes["weight_hr"] = (self.proj_size, self.hidden_size)
        suffix = f"_l{layer}" + ("_reverse" if direction else "")
        names = [name + suffix for name in shapes]
        for name, shape in zip(names, shapes.values()):
            setattr(self, name, Parameter(numtorch.empty(shape, **like)))
        self._flat_weights_names += names
        self._all_weights.append(names)

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """The parameters of each layer and direction."""
        return [[getattr(self, name) for name in names] for names in self._all_weights]

    @property
    def _flat_weights(self) -> list[Parameter]:
        return [getattr(self, name) for name in self._flat_weights_names]

    def flatten_parameters(self) -> None:
        """Nothing to do: the layout that cuDNN wants is not used here."""

    def reset_parameters(self) -> None:
        """Draw all parameters from U(-k, k), k = 1 / sqrt(hidden_size)."""
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    # --- Checking ------------------------------------------------------------

    def check_input(self, input: Tensor, batch_sizes: Tensor | None) -> None:
        """RuntimeError for a wrong number of dimensions or of features, ValueError for a wrong dtype."""
        own = self._flat_weights[0]
        if input.dtype is not own.dtype and mode.autocast is None:
            raise ValueError(
                f"RNN input dtype ({input.dtype}) does not match weight dtype ({own.dtype}). Convert input:"
                " input.to(weight.dtype), or convert model: model.to(input.dtype)"
            )
        expected = 2 if batch_sizes is not None else 3
        if input.dim() != expected:
            raise RuntimeError(f"input must have {expected} dimensions, got {input.dim()}")
        if self.input_size != input.size(-1):
            raise RuntimeError(
                f"input.size(-1) must be equal to input_size. Expected {self.input_size}, got"
                f" {input.size(-1)}"
            )
        if 0 in input.shape[:-1] and batch_sizes is None and input.size(0) == 0:
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN")

    def _check_state(self, state: Tensor, n: int, size: int, message: str) -> None:
        shape = (self.num_layers * (2 if self.bidirectional else 1), n, size)
        if tuple(state.shape) != shape:
            raise RuntimeError(f"{message} {shape}, got {list(state.shape)}")

    def check_forward_args(self, input: Tensor, hidden: Any, batch_sizes: Tensor | None) -> None:
        """Raise unless input and initial states fit the layer."""
        self.check_input(input, batch_sizes)
        n = int(batch_sizes[0]) if batch_sizes is not None else input.size(0 if self.batch_first else 1)
        out = self.proj_size or self.hidden_size
        if self.mode == "LSTM":
            self._check_state(hidden[0], n, out, "Expected hidden[0] size")
            self._check_state(hidden[1], n, self.hidden_size, "Expected hidden[1] size")
        else:
            self._check_state(hidden[0], n, out, "Expected hidden size")

    def permute_hidden(self, hx: Any, permutation: Tensor | None) -> Any:
        """Initial or final states with their batch reordered."""
        if permutation is None:
            return hx
        if isinstance(hx, tuple):
            return tuple(h.index_select(1, permutation) for h in hx)
        return hx.index_select(1, permutation)

    # --- Running -------------------------------------------------------------

    def forward(self, input: Any, hx: Any = None) -> Any:
        """All outputs, and the last states of every layer and direction."""
        if isinstance(input, PackedSequence):
            data, batch_sizes, order, inverse = input
            hidden = self._initial(data, hx, int(batch_sizes[0]), order)
            self.check_forward_args(data, hidden, batch_sizes)
            sizes = [int(n) for n in batch_sizes.tolist()]
            output, last = self._run(data, hidden, sizes)
            return PackedSequence(output, batch_sizes, order, inverse), self._final(last, inverse)
        if input.dim() not in (2, 3):
            raise ValueError(f"{self._name()}: Expected input to be 2D or 3D, got {input.dim()}D instead")
        batched = input.dim() == 3
        self._check_state_dims(hx, batched)
        batch_dim = 0 if self.batch_first else 1
        if not batched:
            input = input.unsqueeze(batch_dim)
            if hx is not None:
                hx = tuple(h.unsqueeze(1) for h in hx) if isinstance(hx, tuple) else hx.unsqueeze(1)
        hidden = self._initial(input, hx, input.size(batch_dim), None)
        self.check_forward_args(input, hidden, None)
        x = input.transpose(0, 1) if self.batch_first else input
        output, last = self._run(x, hidden, None)
        output = output.transpose(0, 1) if self.batch_first else output
        if not batched:
            output, last = output.squeeze(batch_dim), [h.squeeze(1) for h in last]
        return output, self._final(last, None)

    def _name(self) -> str:
        return "RNN" if self.mode.startswith("RNN") else self.mode

    def _check_state_dims(self, hx: Any, batched: bool) -> None:
        if hx is None:
            return
        kind, dims = ("batched", 3) if batched else ("unbatched", 2)
        if self.mode == "LSTM":
            if hx[0].dim() != dims or hx[1].dim() != dims:
                raise RuntimeError(
                    f"For {kind} {dims}-D input, hx and cx should also be {dims}-D but got"
                    f" ({hx[0].dim()}-D, {hx[1].dim()}-D) tensors"
                )
        elif hx.dim() != dims:
            raise RuntimeError(
                f"For {kind} {dims}-D input, hx should also be {dims}-D but got {hx.dim()}-D tensor"
            )

    def _initial(self, like: Tensor, hx: Any, n: int, order: Tensor | None) -> tuple[Tensor, ...]:
        """The initial states as a tuple; zeros where none are given."""
        if hx is not None:
            hx = self.permute_hidden(hx, order)
            return tuple(hx) if self.mode == "LSTM" else (hx,)
        layers = self.num_layers * (2 if self.bidirectional else 1)
        sizes = [self.proj_size or self.hidden_size] + [self.hidden_size] * (self.mode == "LSTM")
        return tuple(numtorch.zeros((layers, n, s), dtype=like.dtype, device=like.device) for s in sizes)

    def _final(self, last: list[Tensor], inverse: Tensor | None) -> Any:
        states = self.permute_hidden(tuple(last), inverse)
        return states if self.mode == "LSTM" else states[0]

    def _run(
        self, x: Tensor, hidden: tuple[Tensor, ...], sizes: list[int] | None
    ) -> tuple[Tensor, list[Tensor]]:
        """All layers over (T, N, F), or over packed rows with ``sizes``; the last states stacked by layer."""
        directions = 2 if self.bidirectional else 1
        last: list[list[Tensor]] = [[] for _ in hidden]
        for layer in range(self.num_layers):
            outputs = []
            for direction in range(directions):
                k = layer * directions + direction
                y, *states = self._run_layer(x, k, direction == 1, [h[k] for h in hidden], sizes)
                outputs.append(y)
                for found, state in zip(last, states):
                    found.append(state)  # type: ignore[arg-type]
            x = outputs[0] if directions == 1 else numtorch.cat(outputs, -1)
            if self.dropout and layer < self.num_layers - 1:
                x = F.dropout(x, self.dropout, self.training)
        return x, [numtorch.stack(states) for states in last]

    def _run_layer(
        self, x: Tensor, k: int, reverse: bool, states: list[Tensor], sizes: list[int] | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        given = self.all_weights[k]
        if mode.autocast is not None:
            x, *states = mode.autocast("recurrent", [x, *states])
            given = mode.autocast("recurrent", given)
        weights = dict(zip(("w_ih", "w_hh", "b_ih", "b_hh"), given))
        projection = given[-1] if self.proj_size else None
        bias, state_bias = (weights["b_ih"], weights["b_hh"]) if self.bias else (None, None)
        if bias is not None and self.mode != "GRU":
            # One bias is enough where gates of input and state are simply added; GRU multiplies one of them
            # first.
            bias, state_bias = bias + state_bias, None
        h, c = states[0], states[1] if len(states) > 1 else None
        if sizes is None and projection is None:
            return scan(self.mode, reverse, x, weights["w_ih"], weights["w_hh"], bias, state_bias, h, c)
        gates = F.linear(x, weights["w_ih"], bias)
        rows = gates if sizes is not None else gates.reshape(-1, gates.shape[2])
        counts = sizes if sizes is not None else [x.shape[1]] * x.shape[0]
        y, h, c = steps(self.mode, reverse, rows, counts, weights["w_hh"], state_bias, projection, h, c)
        return (y if sizes is not None else y.reshape(*x.shape[:2], -1)), h, c

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        if self.proj_size != 0:
            text += f", proj_size={self.proj_size}"
        if self.num_layers != 1:
            text += f", num_layers={self.num_layers}"
        if self.bias is not True:
            text += f", bias={self.bias}"
        if self.batch_first is not False:
            text += f", batch_first={self.batch_first}"
        if self.dropout != 0:
            text += f", dropout={self.dropout}"
        if self.bidirectional is not False:
            text += f", bidirectional={self.bidirectional}"
        return text


class RNN(RNNBase):
    """h_t = tanh(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh), or with relu: (T, N, input) -> (T, N, hidden),
    (layers, N, hidden).

    Example:
        >>> import numtorch
        >>> rnn = numtorch.nn.RNN(10, 20, num_layers=2)
        >>> output, h = rnn(numtorch.ones(5, 3, 10))
        >>> tuple(output.shape), tuple(h.shape)
        ((5, 3, 20), (2, 3, 20))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ):
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'.")
        super().__init__(
            f"RNN_{nonlinearity.upper()}",
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            device=device,
            dtype=dtype,
        )
        self.nonlinearity = nonlinearity


class LSTM(RNNBase):
    """Long short-term memory: (T, N, input) -> (T, N, hidden), (h, c). Hochreiter, Schmidhuber, 1997.

    Example:
        >>> import numtorch
        >>> lstm = numtorch.nn.LSTM(10, 20, batch_first=True, bidirectional=True)
        >>> output, (h, c) = lstm(numtorch.ones(3, 5, 10))
        >>> tuple(output.shape), tuple(h.shape)
        ((3, 5, 40), (2, 3, 20))
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__("LSTM", *args, **kwargs)


class GRU(RNNBase):
    """Gated recurrent units: (T, N, input) -> (T, N, hidden), (layers, N, hidden). Cho et al.,
    arXiv:1406.1078.

    Example:
        >>> import numtorch
        >>> output, h = numtorch.nn.GRU(10, 20)(numtorch.ones(5, 3, 10))
        >>> tuple(output.shape), tuple(h.shape)
        ((5, 3, 20), (1, 3, 20))
    """

    def __init__(self, *args: Any, **kwargs: Any):
        if "proj_size" in kwargs:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        super().__init__("GRU", *args, **kwargs)
