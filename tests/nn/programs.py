"""Short programs on modules: ``record.py`` runs them in PyTorch, ``test_programs.py`` here; the results
must be equal.

Each function takes the framework and returns numbers, texts and errors (class and message).
"""

from __future__ import annotations

import copy
import inspect
import pickle
import sys
import warnings
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np


def names() -> list[str]:
    """The names of all programs."""
    module = sys.modules[__name__]
    return [n for n, f in inspect.getmembers(module, inspect.isfunction) if n.startswith("do_")]


def run(torch: Any, name: str) -> Any:
    """The result of one program, in the form that JSON keeps."""
    return plain(getattr(sys.modules[__name__], name)(torch))


def plain(x: Any) -> Any:
    """Tensors as lists, tuples as lists, class names without the framework's."""
    if hasattr(x, "detach"):
        return x.detach().numpy().tolist()
    if isinstance(x, dict):
        return {str(k): plain(v) for k, v in x.items()}
    if isinstance(x, (list, tuple)):
        return [plain(v) for v in x]
    return x.replace("numtorch", "torch") if isinstance(x, str) else x


def error(function: Callable, *args: Any, **kwargs: Any) -> list[str]:
    """[class, message] of the exception that a call raises."""
    try:
        function(*args, **kwargs)
    except Exception as e:
        return [type(e).__name__, str(e)]
    return ["none", ""]


def error_class(function: Callable, *args: Any, **kwargs: Any) -> str:
    """The class of the exception that a call raises, where messages name internals."""
    return error(function, *args, **kwargs)[0]


def warned(function: Callable, *args: Any, **kwargs: Any) -> list[str]:
    """[class, message] of the first warning of a call."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        function(*args, **kwargs)
    return [found[0].category.__name__, str(found[0].message)] if found else ["none", ""]


def filled(layer: Any) -> Any:
    """The layer with simple parameter values."""
    for k, p in enumerate(layer.parameters()):
        n = p.numel()
        p.data.copy_(type(p.data)(np.sin(np.arange(n) + k).astype(np.float32)).reshape(p.shape))
    return layer


def small_net(torch: Any) -> Any:
    nn = torch.nn

    class Net(nn.Module):
        def __init__(self):
            super(Net, self).__init__()  # noqa: UP008 - the form that old programs use
            self.first = nn.Linear(2, 3)
            self.rest = nn.Sequential(nn.ReLU(), nn.Linear(3, 1, bias=False))
            self.register_buffer("scale", torch.ones(1))
            self.register_buffer("hidden", torch.zeros(2), persistent=False)
            self.loose = nn.Parameter(torch.zeros(2, 2))

        def forward(self, x):
            return self.rest(self.first(x)) * self.scale

    return Net()


# --- module ------------------------------------------------------------------


def do_walk(torch):
    net = small_net(torch)
    return {
        "parameters": [n for n, _ in net.named_parameters()],
        "flat": [n for n, _ in net.named_parameters(recurse=False)],
        "prefixed": [n for n, _ in net.named_parameters(prefix="net")],
        "buffers": [n for n, _ in net.named_buffers()],
        "modules": [n for n, _ in net.named_modules()],
        "children": [n for n, _ in net.named_children()],
        "state": list(net.state_dict()),
        "text": repr(net),
        "counts": [len(list(net.parameters())), len(list(net.modules())), len(list(net.children()))],
        "applied": applied(net),
    }


def applied(net):
    seen = []
    net.apply(lambda m: seen.append(type(m).__name__))
    return seen


def do_shared_parameters(torch):
    nn = torch.nn
    net = nn.Module()
    net.a, net.b = nn.Linear(2, 2), nn.Linear(2, 2)
    net.b.weight = net.a.weight
    net.c = net.a
    return {
        "once": [n for n, _ in net.named_parameters()],
        "all": [n for n, _ in net.named_parameters(remove_duplicate=False)],
        "modules": [n for n, _ in net.named_modules()],
        "state": list(net.state_dict()),
    }


def do_assignment(torch):
    nn = torch.nn
    net = small_net(torch)
    found = {
        "parameter": error(setattr, net, "loose", torch.zeros(1))[0],
        "module": error(setattr, net, "first", 3)[0],
        "buffer": error(setattr, net, "scale", 3)[0],
        "missing": error(getattr, net, "nothing"),
        "none": (setattr(net, "loose", None), [n for n, _ in net.named_parameters()])[1],
    }
    net.scale = torch.full((1,), 2.0)
    found["new buffer"] = net.state_dict()["scale"]
    net.first = nn.Identity()
    del net.rest
    found["after"] = [repr(net), list(net.state_dict()), hasattr(net, "rest")]
    net.scale = nn.Parameter(torch.ones(1))
    found["now a parameter"] = [n for n, _ in net.named_parameters()] + [n for n, _ in net.named_buffers()]
    return found


def do_registration_errors(torch):
    nn = torch.nn
    net = small_net(torch)
    p = nn.Parameter(torch.zeros(1))
    return {
        "dot": error(net.register_parameter, "a.b", p),
        "empty": error(net.register_buffer, "", torch.zeros(1)),
        "taken": error(net.add_module, "forward", nn.ReLU()),
        "no module": error_class(net.add_module, "x", 3),
        "no parameter": error_class(net.register_parameter, "x", torch.zeros(1)),
        "not a leaf": error(net.register_parameter, "x", p * 2)[0],
        "no name": error_class(net.register_buffer, 3, torch.zeros(1)),
        "dotted module": error(net.add_module, "a.b", nn.ReLU()),
    }


def do_forgotten_init(torch):
    nn = torch.nn

    class Forgot(nn.Module):
        def __init__(self, value):
            self.value = value

    return [
        error(Forgot, nn.Linear(1, 1)),
        error(Forgot, nn.Parameter(torch.zeros(1))),
        error_class(Forgot, 3),
        error_class(Forgot(3), torch.zeros(1)),
        error_class(lambda: list(Forgot(3).parameters())),
    ]


def do_missing_forward(torch):
    class Empty(torch.nn.Module):
        pass

    return [error(Empty(), 1), error_class(torch.nn.Module, 3), error_class(torch.nn.Linear, 1)]


def do_modes(torch):
    net = small_net(torch)
    net.eval()
    modes = [net.training, net.rest[0].training]
    net.rest.train()
    modes += [net.training, net.rest[0].training]
    return [modes, error(net.train, "yes"), net.train() is net]


def do_get_by_path(torch):
    net = small_net(torch)
    return [
        repr(net.get_submodule("rest.1")),
        list(net.get_parameter("first.bias").shape),
        net.get_buffer("scale"),
        error(net.get_submodule, "rest.7"),
        error(net.get_submodule, "loose"),
        error(net.get_parameter, "scale"),
        error(net.get_buffer, "loose"),
        net.get_submodule("") is net,
    ]


def do_conversion(torch):
    net = filled(small_net(torch))
    before = [id(p) for p in net.parameters()]
    net(torch.ones(1, 2)).backward()
    net.double()
    found = [str(p.dtype) for p in net.parameters()] + [str(p.grad.dtype) for p in net.first.parameters()]
    same = before == [id(p) for p in net.parameters()]
    net.counter = torch.nn.Buffer(torch.zeros(1, dtype=torch.int64))
    net.to(torch.float32)
    found += [str(net.counter.dtype), str(net.scale.dtype)]
    return [found, same, error(net.to, torch.int64), net.to("cpu") is net]


def do_zero_grad(torch):
    net = filled(small_net(torch))
    net(torch.ones(1, 2)).backward()
    net.zero_grad(set_to_none=False)
    kept = [p.grad is not None and p.grad.abs().sum().item() for p in net.parameters()]
    net.zero_grad()
    net.requires_grad_(False)
    return [kept, [p.grad is None for p in net.parameters()], net(torch.ones(1, 2)).requires_grad]


def do_copies(torch):
    net = filled(small_net(torch))
    net.first.weight.requires_grad_(False)
    x = torch.ones(1, 2)
    other = copy.deepcopy(net)
    other.loose.data.fill_(7.0)
    linear = pickle.loads(pickle.dumps(filled(torch.nn.Linear(2, 2))))
    return [
        net(x),
        other(x),
        net.loose,
        other.first.weight.requires_grad,
        type(other.loose).__name__,
        linear.weight,
        [n for n, _ in linear.named_parameters()],
        linear.training,
    ]


def do_parameter(torch):
    nn = torch.nn
    data = torch.zeros(2)
    p = nn.Parameter(data)
    data.fill_(3.0)
    return [
        repr(p),
        p,
        isinstance(p, torch.Tensor),
        type(p * 2).__name__,
        nn.Parameter(torch.zeros(1), requires_grad=False).requires_grad,
        error_class(nn.Parameter, torch.zeros(1, dtype=torch.int64)),
        p.is_leaf,
        isinstance(copy.deepcopy(p), nn.Parameter),
        isinstance(pickle.loads(pickle.dumps(p)), nn.Parameter),
        list(nn.Parameter().shape),
    ]


def do_buffers(torch):
    nn = torch.nn
    net = nn.Module()
    net.kept = nn.Buffer(torch.ones(1))
    net.dropped = nn.Buffer(torch.ones(1), persistent=False)
    net.register_buffer("none", None)
    names = [n for n, _ in net.named_buffers()]
    return [names, list(net.state_dict()), isinstance(net.kept, nn.Buffer), repr(net.none)]


# --- state -------------------------------------------------------------------


def do_load(torch):
    a, b = filled(small_net(torch)), small_net(torch)
    answer = b.load_state_dict(a.state_dict())
    x = torch.ones(1, 2)
    return [repr(answer), answer.missing_keys, a(x), b(x), b.first.weight.requires_grad]


def do_load_errors(torch):
    net = small_net(torch)
    state = net.state_dict()
    state["extra"] = torch.zeros(1)
    del state["loose"], state["rest.1.weight"]
    mismatched = net.state_dict()
    mismatched["first.weight"] = torch.zeros(5, 2)
    loose = net.load_state_dict(state, strict=False)
    wrong = net.state_dict()
    wrong["loose"] = 3
    return [
        error(net.load_state_dict, state),
        [loose.missing_keys, loose.unexpected_keys],
        error(net.load_state_dict, mismatched),
        error_class(net.load_state_dict, mismatched, strict=False),
        error_class(net.load_state_dict, [1]),
        error_class(net.load_state_dict, wrong),
    ]


def do_load_assign(torch):
    net = small_net(torch)
    state = {k: v.clone() for k, v in filled(small_net(torch)).state_dict().items()}
    net.load_state_dict(state, assign=True)
    net2 = small_net(torch)
    net2.first.weight.requires_grad_(False)
    net2.load_state_dict({k: v.double() for k, v in state.items()}, assign=True)
    return [
        net.first.weight.data_ptr() == state["first.weight"].data_ptr(),
        type(net.first.weight).__name__,
        net2.first.weight.requires_grad,
        str(net2.first.weight.dtype),
    ]


def do_state_is_shared(torch):
    net = filled(torch.nn.Linear(1, 1))
    state = net.state_dict()
    state["weight"].fill_(5.0)
    kept = net.state_dict(keep_vars=True)
    return [net.weight, kept["weight"] is net.weight, state["weight"].requires_grad, state._metadata]


def do_state_hooks(torch):
    nn = torch.nn
    calls = []
    net = nn.Sequential(nn.Linear(1, 1), nn.ReLU())
    net[0].register_state_dict_pre_hook(lambda m, prefix, keep: calls.append(["pre", prefix, keep]))

    def post(m, state, prefix, meta):
        state[prefix + "added"] = torch.ones(1)

    net[0].register_state_dict_post_hook(post)
    net[0].register_load_state_dict_pre_hook(
        lambda m, state, prefix, meta, strict, missing, unexpected, errors: calls.append(
            [prefix, strict, sorted(state)]
        )
    )
    net.register_load_state_dict_post_hook(lambda m, keys: keys.missing_keys.clear())
    state = net.state_dict()
    names = list(state)
    answer = error(net.load_state_dict, state)
    net[0].bias = None
    return [names, calls, answer]


def do_extra_state(torch):
    class Extra(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.count = 0

        def get_extra_state(self):
            return self.count

        def set_extra_state(self, state):
            self.count = state

    a, b = Extra(), Extra()
    a.count = 5
    b.load_state_dict(a.state_dict())
    plain_module = torch.nn.Module()
    return [
        dict(a.state_dict()),
        b.count,
        error(b.load_state_dict, {}),
        error(plain_module.load_state_dict, {"_extra_state": 1}),
    ]


# --- hooks -------------------------------------------------------------------


def do_forward_hooks(torch):
    layer = filled(torch.nn.Linear(2, 2))
    calls = []

    def pre(module, args):
        calls.append("pre")
        return (args[0] * 2,)

    def post(module, args, output):
        calls.append(["post", len(args)])
        return output + 1

    x = torch.ones(1, 2)
    plain_result = layer(x)
    one, two = layer.register_forward_pre_hook(pre), layer.register_forward_hook(post)
    hooked = layer(x)
    one.remove()
    after = layer(x)
    two.remove()
    with layer.register_forward_hook(lambda m, a, o: o * 0):
        zero = layer(x)
    return [plain_result, hooked, after, zero, layer(x), calls]


def do_hooks_with_kwargs(torch):
    class Scale(torch.nn.Module):
        def forward(self, x, *, by=1.0):
            return x * by

    layer = Scale()
    seen = []
    layer.register_forward_pre_hook(lambda m, a, k: (a, {"by": k["by"] + 1}), with_kwargs=True)
    layer.register_forward_hook(lambda m, a, k, o: seen.append(k), with_kwargs=True)
    layer.register_forward_hook(lambda m, a, o: seen.append("first"), prepend=True)
    result = layer(torch.ones(1), by=2.0)
    layer.register_forward_pre_hook(lambda m, a, k: 3, with_kwargs=True)
    return [result, seen, error_class(layer, torch.ones(1), by=1.0)]


def do_always_called_hooks(torch):
    class Fails(torch.nn.Module):
        def forward(self, x):
            raise ValueError("no")

    layer, calls = Fails(), []
    layer.register_forward_hook(lambda m, a, o: calls.append(o is None), always_call=True)
    layer.register_forward_hook(lambda m, a, o: calls.append("not called"))
    return [error(layer, 1), calls]


def do_backward_hooks(torch):
    layer = filled(torch.nn.Linear(2, 2))
    calls = []

    def pre(module, grad_output):
        calls.append(["pre", len(grad_output)])
        return (grad_output[0] * 2,)

    def hook(module, grad_input, grad_output):
        calls.append(["hook", plain(grad_input[0]), plain(grad_output[0])])
        return (grad_input[0] * 10,)

    layer.register_full_backward_pre_hook(pre)
    layer.register_full_backward_hook(hook)
    x = torch.ones(1, 2, requires_grad=True)
    layer(x).sum().backward()
    grads = [x.grad, layer.weight.grad]
    layer.zero_grad()
    error_inside = error_class(layer.register_backward_hook, hook)
    return [grads, calls, error_inside]


def do_backward_hook_without_input_gradient(torch):
    layer = filled(torch.nn.Linear(2, 2))
    calls = []
    layer.register_full_backward_hook(lambda m, gi, go: calls.append([gi[0] is None, plain(go[0])]))
    layer(torch.ones(1, 2)).sum().backward()
    return [calls, layer.bias.grad]


# --- containers --------------------------------------------------------------


def do_sequential(torch):
    nn = torch.nn
    net = nn.Sequential(OrderedDict([("a", nn.Linear(1, 2)), ("b", nn.ReLU())]))
    plain_net = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1))
    plain_net[1] = nn.Tanh()
    del plain_net[0]
    longer = plain_net + nn.Sequential(nn.Identity())
    longer.append(nn.Sigmoid()).insert(0, nn.Flatten()).extend([nn.GELU()])
    popped = longer.pop(1)
    return [
        repr(net),
        repr(net[:1]),
        repr(net.a),
        repr(net[-1]),
        error(lambda: net[5]),
        repr(plain_net),
        repr(longer),
        repr(popped),
        len(longer),
        [type(m).__name__ for m in longer],
        repr(nn.Sequential(nn.ReLU()) * 2),
        error_class(lambda: net + 3),
        error_class(lambda: net * 0),
        list(plain_net.state_dict()),
        repr(nn.Sequential()),
    ]


def do_module_list(torch):
    nn = torch.nn
    items = nn.ModuleList([nn.Linear(1, 1), nn.Linear(1, 1), nn.ReLU()])
    text = repr(items)
    items.append(nn.Tanh())
    items.insert(1, nn.GELU())
    items += [nn.Identity()]
    del items[0]
    items[0] = nn.SELU()
    return [
        text,
        repr(items),
        repr(items[1:3]),
        len(items),
        repr(items[-1]),
        error(lambda: items[9]),
        list(items.state_dict()),
        error_class(items.extend, 3),
        repr(items.pop(-1)),
        repr(items + [nn.ELU()]),
        error_class(items, 1),
    ]


def do_module_dict(torch):
    nn = torch.nn
    items = nn.ModuleDict({"conv": nn.Linear(1, 1), "pool": nn.ReLU()})
    items.update([["act", nn.Tanh()]])
    items["last"] = nn.GELU()
    popped = items.pop("pool")
    return [
        repr(items),
        list(items),
        list(items.keys()),
        "act" in items,
        len(items),
        repr(popped),
        list(items.state_dict()),
        error_class(lambda: items["none"]),
        error_class(items.update, 3),
        error_class(items.update, [[1]]),
        [k for k, _ in items.items()],
        [type(v).__name__ for v in items.values()],
        items.clear(),
        len(items),
    ]


def do_parameter_list(torch):
    nn = torch.nn
    items = nn.ParameterList([torch.zeros(2), nn.Parameter(torch.ones(1))])
    items.append(torch.full((1,), 2.0))
    items[0] = torch.ones(3)
    items += [torch.zeros(1)]
    return [
        len(items),
        [type(p).__name__ for p in items],
        list(items.state_dict()),
        items[-2],
        len(items[1:]),
        error_class(items.extend, torch.zeros(2)),
        error_class(items),
        error(lambda: items[7]),
        [n for n, _ in items.named_parameters()],
    ]


def do_parameter_dict(torch):
    nn = torch.nn
    items = nn.ParameterDict({"b": torch.zeros(2), "a": torch.ones(1)})
    items["c"] = nn.Parameter(torch.zeros(1))
    other = items | nn.ParameterDict({"d": torch.zeros(1)})
    popped = items.pop("b")
    return [
        list(items),
        list(other),
        popped,
        len(items),
        "c" in items,
        items.get("z", 3),
        list(items.state_dict()),
        error_class(lambda: items["z"]),
        error_class(items, 1),
        items.setdefault("e", torch.ones(1)),
        list(reversed(items)),
        items.popitem()[0],
        error_class(items.__setitem__, 3, torch.zeros(1)),
    ]


# --- lazy modules ------------------------------------------------------------


def do_lazy(torch):
    nn = torch.nn
    layer = nn.LazyLinear(3)
    before = [
        repr(layer),
        error(lambda: layer.weight.shape)[0],
        layer.has_uninitialized_params(),
        repr(layer.weight),
    ]
    layer(torch.ones(2, 4))
    conv = nn.LazyConv2d(4, 3, padding=1)
    conv(torch.ones(1, 2, 5, 5))
    norm = nn.LazyBatchNorm1d()
    norm(torch.ones(4, 3))
    loaded = nn.LazyLinear(3)
    loaded.load_state_dict(filled(nn.Linear(4, 3)).state_dict())
    return [
        before,
        repr(layer),
        type(layer).__name__,
        list(layer.weight.shape),
        repr(conv),
        repr(norm),
        loaded(torch.ones(1, 4)),
        error_class(nn.LazyConv1d(2, 3), torch.ones(2, 2, 2, 2, 2)),
        list(nn.LazyConvTranspose2d(2, 3).state_dict()),
    ]


# --- recurrent ---------------------------------------------------------------


def lstm(torch, **options):
    return filled(torch.nn.LSTM(2, 3, **options))


def ramp(torch, *shape):
    n = int(np.prod(shape))
    return torch.tensor(np.cos(np.arange(n) * 0.7).astype(np.float32)).reshape(shape)


def do_packed_sequences(torch):
    rnn = torch.nn.utils.rnn
    x = ramp(torch, 4, 3, 2).requires_grad_(True)
    packed = rnn.pack_padded_sequence(x, [4, 1, 3], enforce_sorted=False)
    found = [packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices, packed.data]
    for options in ({}, {"bidirectional": True, "num_layers": 2}):
        out, (h, c) = lstm(torch, **options)(packed)
        padded, lengths = rnn.pad_packed_sequence(out)
        found += [padded, lengths, h, c]
        x.grad = None
        padded.sum().backward(retain_graph=True)
        found.append(x.grad.clone())
    gru = filled(torch.nn.GRU(2, 3, bidirectional=True))
    out, h = gru(rnn.pack_padded_sequence(x.detach(), [4, 2, 2]))
    return [*found, out.data, h]


def do_padding_of_sequences(torch):
    rnn = torch.nn.utils.rnn
    parts = [torch.ones(3), torch.ones(1), torch.ones(2)]
    packed = rnn.pack_sequence(parts, enforce_sorted=False)
    return [
        rnn.pad_sequence(parts),
        rnn.pad_sequence(parts, batch_first=True, padding_value=7.0, padding_side="left"),
        packed.data,
        packed.batch_sizes,
        rnn.unpack_sequence(packed),
        rnn.unpad_sequence(rnn.pad_sequence(parts), torch.tensor([3, 1, 2])),
        rnn.pad_packed_sequence(packed, total_length=5)[0],
        error_class(rnn.pad_packed_sequence, packed, total_length=1),
        error_class(rnn.pack_padded_sequence, torch.ones(3, 2), [1, 3]),
        error_class(rnn.pack_padded_sequence, torch.ones(3, 2), [3, 0]),
        error_class(rnn.pack_padded_sequence, torch.ones(3, 2), [3]),
        packed.double().data.dtype == torch.float64,
    ]


def do_recurrent_errors(torch):
    nn = torch.nn
    layer = nn.LSTM(2, 3)
    x = torch.ones(4, 5, 2)
    return [
        error(layer, torch.ones(2)),
        error(layer, torch.ones(4, 5, 3)),
        error(layer, x, (torch.zeros(1, 4, 3), torch.zeros(1, 5, 3))),
        error(layer, x, (torch.zeros(1, 5), torch.zeros(1, 5))),
        error(nn.GRU(2, 3), x, torch.zeros(1, 5, 4)),
        error(nn.GRU(2, 3), torch.ones(4, 2), torch.zeros(1, 1, 3)),
        error(nn.RNN, 2, 3, nonlinearity="x"),
        error_class(nn.LSTM, 2, 0),
        error_class(nn.LSTM, 2, 3, dropout=2),
        error(nn.LSTM, 2, 3, proj_size=3),
        error(nn.GRU, 2, 3, proj_size=1),
        error_class(nn.LSTM(2, 3), x.double()),
        error(nn.LSTMCell(2, 3), torch.ones(1, 2, 2)),
        warned(nn.LSTM, 2, 3, dropout=0.5),
    ]


def do_recurrent_state(torch):
    layer = lstm(torch, num_layers=2, bidirectional=True, proj_size=2)
    return [
        list(layer.state_dict()),
        [list(p.shape) for p in layer.parameters()],
        len(layer.all_weights),
        repr(layer),
    ]


# --- attention and transformers ----------------------------------------------


def do_attention_masks(torch):
    nn = torch.nn
    layer = filled(nn.MultiheadAttention(4, 2, batch_first=True))
    x = ramp(torch, 2, 3, 4)
    causal = torch.tensor([[False, True, True], [False, False, True], [False, False, False]])
    padding = torch.tensor([[False, False, True], [False, False, False]])
    added = nn.Transformer.generate_square_subsequent_mask(3)
    return [
        layer(x, x, x, attn_mask=causal),
        layer(x, x, x, key_padding_mask=padding),
        layer(x, x, x, attn_mask=causal, key_padding_mask=padding, average_attn_weights=False),
        layer(x, x, x, need_weights=False, attn_mask=added, is_causal=True)[0],
        layer(x[0], x[0], x[0], attn_mask=causal),
        added.exp(),
        error_class(layer, x, x, x, attn_mask=torch.zeros(2, 2)),
        error_class(layer, x, x, x, attn_mask=torch.zeros(3, 3, dtype=torch.int64)),
        error_class(nn.MultiheadAttention, 5, 2),
        error_class(layer, torch.ones(2, 3, 6), x, x),
    ]


def do_scaled_dot_product(torch):
    sdpa = torch.nn.functional.scaled_dot_product_attention
    q, k, v = ramp(torch, 2, 4, 3, 4), ramp(torch, 2, 4, 5, 4) + 0.1, ramp(torch, 2, 4, 5, 2) - 0.2
    few_k, few_v = k[:, :2], v[:, :2]
    mask = torch.tensor([[True, False, True, True, False]] * 3)
    return [
        sdpa(q, k, v),
        sdpa(q, k, v, is_causal=True),
        sdpa(q, k, v, attn_mask=mask),
        sdpa(q, k, v, attn_mask=ramp(torch, 3, 5), scale=0.3),
        sdpa(q, few_k, few_v, enable_gqa=True),
        error_class(sdpa, q, k, v, attn_mask=mask, is_causal=True),
        error_class(sdpa, q[0, 0, 0], k, v),
        error_class(sdpa, q, k, v.double()),
    ]


def do_transformer(torch):
    nn = torch.nn
    layer = nn.TransformerEncoderLayer(4, 2, 6, 0.0, batch_first=True)
    encoder = filled(nn.TransformerEncoder(layer, 2, nn.LayerNorm(4)))
    x = ramp(torch, 2, 3, 4)
    mask = nn.Transformer.generate_square_subsequent_mask(3)
    padding = torch.tensor([[False, False, True], [False, False, False]])
    decoder = filled(nn.TransformerDecoder(nn.TransformerDecoderLayer(4, 2, 6, 0.0, batch_first=True), 2))
    model = nn.Transformer(4, 2, 1, 1, 6)
    encoder.train()
    return [
        encoder(x),
        encoder(x, mask=mask, is_causal=True),
        encoder(x, mask=mask),
        encoder(x, src_key_padding_mask=padding),
        decoder(x, x + 0.5, tgt_mask=mask, memory_key_padding_mask=padding),
        list(encoder.state_dict()),
        repr(encoder),
        list(decoder.state_dict()),
        error(model, torch.ones(3, 2, 4), torch.ones(3, 1, 4)),
        error(model, torch.ones(3, 2, 5), torch.ones(3, 2, 5)),
    ]


# --- utilities ---------------------------------------------------------------


def do_clipping(torch):
    utils = torch.nn.utils

    def fresh():
        a, b = torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(2))
        a.grad, b.grad = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0])
        return [a, b, torch.nn.Parameter(torch.zeros(1))]

    found = []
    for kind in (2.0, 1.0, float("inf")):
        params = fresh()
        found.append([utils.clip_grad_norm_(params, 1.0, norm_type=kind), params[0].grad, params[1].grad])
    params = fresh()
    utils.clip_grad_value_(params, 2.5)
    found.append([params[0].grad, params[1].grad])
    params[0].grad[0] = float("nan")
    found.append(error_class(utils.clip_grad_norm_, params, 1.0, error_if_nonfinite=True))
    found.append(utils.get_total_norm([torch.ones(4), torch.ones(5)]))
    found.append(utils.clip_grad_norm_([torch.nn.Parameter(torch.ones(1))], 1.0))
    return found


def do_vectors(torch):
    utils = torch.nn.utils
    layer = filled(torch.nn.Linear(2, 1))
    vector = utils.parameters_to_vector(layer.parameters())
    utils.vector_to_parameters(torch.arange(3.0), layer.parameters())
    return [
        vector,
        layer.weight,
        layer.bias,
        error_class(utils.vector_to_parameters, [1.0], layer.parameters()),
    ]


def do_fusion(torch):
    nn = torch.nn
    conv, norm = filled(nn.Conv2d(2, 3, 2)).eval(), filled(nn.BatchNorm2d(3)).eval()
    norm.running_mean.copy_(torch.tensor([0.1, 0.2, 0.3]))
    fused = nn.utils.fuse_conv_bn_eval(conv, norm)
    x = ramp(torch, 1, 2, 3, 3)
    close = (fused(x) - norm(conv(x))).abs().max().item() < 1e-5
    linear, flat = filled(nn.Linear(2, 3)).eval(), filled(nn.BatchNorm1d(3)).eval()
    fused_linear = nn.utils.fuse_linear_bn_eval(linear, flat)
    return [
        close,
        fused_linear(torch.ones(1, 2)),
        error_class(nn.utils.fuse_conv_bn_eval, conv.train(), norm),
    ]


def do_parametrize(torch):
    nn, parametrize = torch.nn, torch.nn.utils.parametrize

    class Symmetric(nn.Module):
        def forward(self, x):
            return x.triu() + x.triu(1).transpose(-1, -2)

    class Double(nn.Module):
        def forward(self, x):
            return x * 2

        def right_inverse(self, x):
            return x / 2

    layer = filled(nn.Linear(3, 3))
    parametrize.register_parametrization(layer, "weight", Symmetric())
    one = layer.weight.detach().clone()
    parametrize.register_parametrization(layer, "weight", Double())
    found = [
        one,
        layer.weight,
        list(layer.state_dict()),
        type(layer).__name__,
        parametrize.is_parametrized(layer),
    ]
    with parametrize.cached():
        found.append(layer.weight is layer.weight)
    layer(torch.ones(1, 3)).sum().backward()
    found.append(layer.parametrizations.weight.original.grad)
    parametrize.remove_parametrizations(layer, "weight")
    found += [layer.weight, type(layer).__name__, [n for n, _ in layer.named_parameters()]]
    other = filled(nn.Linear(2, 2))
    parametrize.register_parametrization(other, "weight", Double())
    other.weight = torch.full((2, 2), 4.0)
    found += [other.weight, other.parametrizations.weight.original]
    found.append(error_class(parametrize.register_parametrization, other, "nothing", Double()))
    found.append(error_class(parametrize.remove_parametrizations, other, "bias"))
    return found


def do_weight_norm(torch):
    nn = torch.nn
    new = nn.utils.parametrizations.weight_norm(filled(nn.Linear(2, 3)))
    x = ramp(torch, 2, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        old = nn.utils.weight_norm(filled(nn.Linear(2, 3)), dim=1)
        names = list(old.state_dict())
        y = old(x)
        y.sum().backward()
        grads = [old.weight_g.grad, old.weight_v.grad]
        nn.utils.remove_weight_norm(old)
    out = new(x)
    out.sum().backward()
    originals = new.parametrizations.weight
    return [
        out,
        list(new.state_dict()),
        originals.original0.grad,
        originals.original1.grad,
        y,
        names,
        grads,
        list(old.state_dict()),
        old(x),
        error_class(nn.utils.remove_weight_norm, old),
    ]


def do_spectral_norm(torch):
    nn = torch.nn
    layer = nn.utils.parametrizations.spectral_norm(filled(nn.Linear(4, 3)), n_power_iterations=30)
    weight = layer.weight.detach().numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        old = nn.utils.spectral_norm(filled(nn.Linear(4, 3)), n_power_iterations=30)
    old(torch.ones(1, 4))
    largest = float(np.linalg.svd(weight)[1][0])
    return [
        round(largest, 3),
        list(layer.state_dict()),
        list(old.state_dict()),
        round(float(np.linalg.svd(old.weight.detach().numpy())[1][0]), 3),
        list(nn.utils.remove_spectral_norm(old).state_dict()),
    ]


def do_functional_call(torch):
    from importlib import import_module

    call = import_module(f"{torch.__name__}.nn.utils.stateless").functional_call
    layer = filled(torch.nn.Linear(2, 1))
    w = torch.ones(1, 2, requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        y = call(layer, {"weight": w}, (torch.tensor([[1.0, 2.0]]),))
    y.sum().backward()
    return [y, w.grad, layer.weight]


# --- initialisation ----------------------------------------------------------


def do_gains(torch):
    init = torch.nn.init
    kinds = ["linear", "conv2d", "sigmoid", "tanh", "relu", "leaky_relu", "selu"]
    return [
        [init.calculate_gain(k) for k in kinds],
        init.calculate_gain("leaky_relu", 0.3),
        error(init.calculate_gain, "x"),
        error(init.calculate_gain, "leaky_relu", "x"),
    ]


def do_fixed_init(torch):
    init = torch.nn.init
    return [
        init.eye_(torch.empty(2, 3)),
        init.dirac_(torch.empty(4, 2, 3)),
        init.dirac_(torch.empty(4, 2, 2, 2), groups=2),
        init.constant_(torch.empty(2), 0.3),
        init.ones_(torch.empty(1)),
        init.zeros_(torch.empty(1)),
        error(init.eye_, torch.empty(2)),
        error(init.dirac_, torch.empty(2)),
        error(init.xavier_uniform_, torch.empty(2)),
        error(init.kaiming_uniform_, torch.empty(2, 2), mode="x"),
        error(init.sparse_, torch.empty(2), 0.1),
        warned(init.kaiming_uniform_, torch.empty(0, 2)),
        warned(init.constant, torch.empty(1), 1.0),
    ]


# --- functional --------------------------------------------------------------


def do_one_hot(torch):
    one_hot = torch.nn.functional.one_hot
    x = torch.tensor([[0, 2], [1, 1]])
    return [
        one_hot(x),
        one_hot(x, 5),
        error(one_hot, x, 2),
        error(one_hot, torch.tensor([-1])),
        error_class(one_hot, torch.tensor([1.0])),
        list(one_hot(torch.empty(0, dtype=torch.int64), 3).shape),
    ]


def do_interpolate(torch):
    f = torch.nn.functional.interpolate
    x = ramp(torch, 1, 1, 4, 5)
    line = ramp(torch, 1, 2, 5)
    found = [f(line, size=8), f(line, scale_factor=1.6, mode="linear"), f(line, size=3, mode="nearest-exact")]
    found += [f(line, size=3, mode="area"), f(line, size=1, mode="linear", align_corners=True)]
    for mode in ("bilinear", "bicubic"):
        found += [f(x, size=(2, 3), mode=mode, antialias=True), f(x, scale_factor=0.7, mode=mode)]
        found.append(f(x, scale_factor=1.7, mode=mode, recompute_scale_factor=True))
        found.append(f(x, size=(9, 9), mode=mode, align_corners=True))
    return [
        *found,
        error(f, x),
        error(f, x, size=3, scale_factor=2),
        error_class(f, x, size=3, mode="linear"),
        error(f, x, size=3, align_corners=True),
        error_class(f, x, size=(1, 2, 3)),
        error_class(f, x, size=2, mode="z"),
    ]


def do_grid_sample(torch):
    F = torch.nn.functional
    x = ramp(torch, 1, 2, 4, 5).requires_grad_(True)
    theta = torch.tensor([[[1.1, 0.3, -0.2], [-0.2, 0.8, 0.4]]])
    found = []
    for align in (True, False):
        grid = F.affine_grid(theta, [1, 2, 3, 4], align_corners=align).requires_grad_(True)
        found.append(grid)
        for mode in ("bilinear", "nearest", "bicubic"):
            for padding in ("zeros", "border", "reflection"):
                y = F.grid_sample(x, grid, mode, padding, align_corners=align)
                gx, gg = torch.autograd.grad(y.sum(), (x, grid), retain_graph=True, allow_unused=True)
                found += [y, gx] if mode == "nearest" else [y, gx, gg]
    volume = F.affine_grid(torch.eye(3, 4).unsqueeze(0) * 0.8, [1, 1, 2, 2, 2], align_corners=False)
    found.append(F.grid_sample(ramp(torch, 1, 1, 3, 3, 3), volume, align_corners=False))
    return [*found, error_class(F.grid_sample, x, grid, "x"), error_class(F.grid_sample, x, grid[..., :1])]


def do_pad(torch):
    pad = torch.nn.functional.pad
    x = torch.arange(6.0).reshape(1, 2, 3)
    return [
        pad(x, (1, 1)),
        pad(x, (1, 0, 0, 1), value=9.0),
        pad(x, (-1, 2)),
        pad(x, (2, 1), mode="reflect"),
        pad(x, (1, 3), mode="replicate"),
        pad(x, (2, 2), mode="circular"),
        pad(x, (0, 0)),
        error_class(pad, x, (1,)),
        error_class(pad, x, (3, 0), mode="reflect"),
        error_class(pad, x, (1, 1), mode="x"),
        error_class(pad, x, (1,) * 8),
        error_class(pad, x, (-2, -2)),
    ]


def do_distances(torch):
    F = torch.nn.functional
    a, b = ramp(torch, 3, 4), ramp(torch, 3, 4) * 0.5 + 0.2
    return [
        F.cosine_similarity(a, b),
        F.cosine_similarity(a, b[:1], dim=0),
        F.pairwise_distance(a, b),
        F.pdist(a, 1.0),
        F.normalize(a),
        F.normalize(a, p=1, dim=0),
        F.triplet_margin_loss(a, b, a + 1),
        error_class(F.pdist, a[0]),
        error(F.triplet_margin_loss, a, b, a, margin=-1.0),
    ]


def do_loss_errors(torch):
    F = torch.nn.functional
    x, t = torch.zeros(3, 4), torch.tensor([0, 1, 2])
    return [
        error(F.cross_entropy, x, t[:2])[0],
        error_class(F.cross_entropy, x, t + 9),
        error(F.cross_entropy, x, t, label_smoothing=2.0)[0],
        error_class(F.cross_entropy, x, torch.zeros(3, 4, dtype=torch.int64)),
        error_class(F.nll_loss, x, t.float()),
        error_class(F.mse_loss, torch.zeros(3), torch.zeros(2)),
        warned(F.mse_loss, torch.zeros(3), torch.zeros(1)),
        error_class(F.binary_cross_entropy, x + 2, x),
        error_class(F.binary_cross_entropy, x, x[:2]),
        error_class(F.binary_cross_entropy_with_logits, x, x[:2]),
        error(F.mse_loss, x, x, reduction="x"),
        error(F.multi_margin_loss, x, t, p=3),
        error_class(F.huber_loss, x, x, delta=-1.0),
        error(F.smooth_l1_loss, x, x, beta=-1.0)[0],
        warned(torch.nn.MSELoss, size_average=False),
        error_class(F.ctc_loss, torch.zeros(3, 1, 2), torch.tensor([[1]]), [9], [1]),
        warned(F.kl_div, x, x),
        error_class(F.cross_entropy, x, t, weight=torch.ones(3)),
    ]


def do_shape_errors(torch):
    nn = torch.nn
    image = torch.ones(1, 3, 5, 5)
    return [
        error_class(nn.Linear(3, 2), torch.ones(2, 4)),
        error(nn.Conv2d(4, 2, 3), image),
        error(nn.Conv2d(3, 2, 7), image),
        error(nn.Conv2d(3, 2, 3), torch.ones(3)),
        error(nn.Conv2d, 3, 4, 3, groups=2),
        error_class(nn.Conv2d, 3, 4, 3, padding="x"),
        error(nn.Conv2d, 4, 4, 3, padding="same", stride=2),
        error_class(nn.Conv2d, 3, 4, 3, padding_mode="x"),
        error(nn.BatchNorm2d(3), torch.ones(2, 3)),
        error(nn.BatchNorm1d(3), torch.ones(1, 3))[0],
        error_class(nn.BatchNorm1d(3), torch.ones(2, 4)),
        error_class(nn.LayerNorm(3), torch.ones(2, 4)),
        error(nn.GroupNorm, 2, 3),
        error_class(nn.MaxPool2d(2), torch.ones(2, 2)),
        error_class(nn.MaxPool2d(7), image),
        error_class(nn.MaxPool2d(2, padding=2), image),
        error_class(nn.Embedding(3, 2), torch.tensor([3])),
        error_class(nn.Embedding, 3, 2, padding_idx=3),
        error(nn.Dropout, 2.0),
        error_class(nn.PReLU(2), torch.ones(1, 3)),
        error_class(nn.GLU(), torch.ones(3)),
        error_class(nn.PixelShuffle(2), image),
        error(nn.Hardtanh, 1.0, -1.0),
        error_class(nn.Flatten(3), torch.ones(2, 2)),
        error(nn.Unflatten, 1, 3),
        error(nn.InstanceNorm2d(3), torch.ones(2, 3)),
        error(nn.ConvTranspose2d, 3, 2, 3, padding_mode="reflect"),
        error_class(nn.Conv2d(3, 2, 3), image.double()),
        error_class(nn.FractionalMaxPool2d, 2),
        error_class(nn.AdaptiveAvgPool2d((2, 2)), torch.ones(2)),
        error(nn.Softmax2d(), torch.ones(2)),
        warned(nn.Softmax(), torch.ones(2)),
        error_class(nn.Bilinear(2, 3, 1), image, image),
    ]


def do_inplace(torch):
    F = torch.nn.functional
    found = []
    for name in (
        "relu",
        "elu",
        "selu",
        "celu",
        "leaky_relu",
        "silu",
        "mish",
        "hardtanh",
        "hardswish",
        "hardsigmoid",
    ):
        leaf = ramp(torch, 5).requires_grad_(True)
        x = leaf * 2
        y = getattr(F, name)(x, inplace=True)
        y.sum().backward()
        found.append([name, y is x, x, leaf.grad])
    x = ramp(torch, 4)
    F.threshold_(x, 0.1, 3.0)
    return [*found, x, error_class(F.relu, torch.ones(1, requires_grad=True), inplace=True)]


def do_embedding_bag(torch):
    F = torch.nn.functional
    w = ramp(torch, 5, 2).requires_grad_(True)
    x, offsets = torch.tensor([0, 1, 4, 4, 2]), torch.tensor([0, 2, 2])
    found = []
    for mode in ("sum", "mean", "max"):
        y = F.embedding_bag(x, w, offsets, mode=mode)
        (g,) = torch.autograd.grad(y.sum(), w)
        found += [y, g]
    last = torch.tensor([0, 2, 5])
    found.append(F.embedding_bag(x, w, last, mode="sum", include_last_offset=True))
    found.append(F.embedding_bag(x, w, offsets, mode="sum", per_sample_weights=torch.arange(5.0)))
    found.append(error_class(F.embedding_bag, x, w))
    found.append(error_class(F.embedding_bag, x, w, offsets, mode="x"))
    return found


def do_data_parallel(torch):
    net = torch.nn.DataParallel(filled(torch.nn.Linear(2, 1)))
    return [net(torch.ones(1, 2)), list(net.state_dict()), repr(net)]


def do_adaptive_softmax(torch):
    layer = filled(torch.nn.AdaptiveLogSoftmaxWithLoss(4, 10, [3, 6], div_value=2.0))
    x, t = ramp(torch, 5, 4), torch.tensor([0, 3, 9, 5, 7])
    output, loss = layer(x, t)
    return [
        output,
        loss,
        layer.log_prob(x).exp().sum(1),
        layer.predict(x),
        list(layer.state_dict()),
        repr(layer),
        error_class(layer, x, t + 5),
        error_class(torch.nn.AdaptiveLogSoftmaxWithLoss, 4, 10, [6, 3]),
    ]
