"""Saved traces: what a file gives back equals what was saved, and a bad file says what is wrong with it."""

from __future__ import annotations

import os
import struct
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import numtorch as torch
from numtorch import jit, nn
from numtorch.jit.file import FORMAT, MAGIC
from numtorch.jit.loaded import OtherPathNeeded


def array(t):
    return t.detach().numpy().copy()


def again(traced, folder):
    """The trace after a round trip through a file."""
    path = folder / "saved.trace"
    traced.save(path)
    return jit.load(path)


def training(seed=0):
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.5), nn.Linear(36, 5)
    )
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    x, y = torch.randn(2, 1, 8, 8), torch.tensor([1, 2])

    def step(x, y):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return net, optimizer, jit.trace(step, (x, y)), x, y


def test_a_training_step_goes_on_in_another_process(tmp_path):
    net, _, step, x, y = training()
    for _ in range(3):
        step(x, y)
    step.save(tmp_path / "step.trace")
    torch.save((x, y), tmp_path / "data.pth")
    want = [step(x, y).item() for _ in range(4)]
    program = (
        "import numtorch as torch\n"
        "step = torch.jit.load('step.trace'); x, y = torch.load('data.pth')\n"
        "print([step(x, y).item() for _ in range(4)])\n"
        "print([p.detach().double().sum().item() for p in step.parameters()])"
    )
    run = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    losses, sums = run.stdout.splitlines()
    assert losses == str(want)  # optimizer state, running statistics and random numbers go on as they would have
    assert sums == str([p.detach().double().sum().item() for p in net.parameters()])


def test_loading_may_leave_the_generator_alone(tmp_path):
    _, _, step, _x, _y = training()
    step.save(tmp_path / "a")
    torch.manual_seed(5)
    state = torch.get_rng_state()
    jit.load(tmp_path / "a", rng=False)
    assert torch.equal(torch.get_rng_state(), state)
    jit.load(tmp_path / "a")
    assert not torch.equal(torch.get_rng_state(), state)


def test_loaded_outputs_and_gradients_equal_the_original(tmp_path):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.LayerNorm(8), nn.Linear(8, 3))
    x = torch.randn(5, 4, requires_grad=True)
    traced = jit.trace(net, (x,))
    loaded = again(traced, tmp_path)
    z = x.detach().clone().requires_grad_()
    for function, given_ in ((net, x), (loaded, z)):
        function(given_).square().sum().backward()
    np.testing.assert_array_equal(array(x.grad), array(z.grad))
    mine = dict(loaded.named_parameters())
    for name, p in net.named_parameters():
        np.testing.assert_array_equal(array(p.grad), array(mine[name].grad))
    with torch.no_grad():
        np.testing.assert_array_equal(array(net(x)), array(loaded(x)))
    assert loaded(x).grad_fn is not None and list(loaded.state_dict()) == list(net.state_dict())


def test_loaded_weights_can_be_changed(tmp_path):
    net, other = nn.Linear(2, 3), nn.Linear(2, 3)
    x = torch.ones(1, 2)
    loaded = again(jit.trace(net, (x,)), tmp_path)
    np.testing.assert_array_equal(array(loaded(x)), array(net(x)))
    loaded.load_state_dict(other.state_dict())
    np.testing.assert_array_equal(array(loaded(x)), array(other(x)))
    dict(loaded.named_parameters())["weight"].data = torch.zeros(3, 2)
    np.testing.assert_array_equal(array(loaded(x)[0]), array(other.bias))


def test_what_was_frozen_is_frozen_when_loaded(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()).eval()
    x, path = torch.randn(2, 16, 16, 16), tmp_path / "frozen.trace"
    frozen = jit.freeze(jit.trace(model, x))
    y = frozen(x)
    frozen.save(path)
    loaded = jit.load(path)
    assert loaded(x).numpy().tobytes() == y.numpy().tobytes()
    assert [op.entry.name for op in loaded.paths()[0].program.ops] == ["convolution+relu (packed)"]
    plain = jit.trace(model, x, passes=["dead"])
    plain.save(path)
    assert jit.load(path)._passes == ["dead"] and not jit.load(path)._frozen


def test_options_are_read_at_each_call(tmp_path):
    p = torch.ones(2, requires_grad=True)
    optimizer = torch.optim.SGD([p], lr=0.5)

    def step(x):
        optimizer.zero_grad()
        (p * x).sum().backward()
        optimizer.step()

    loaded = again(jit.trace(step, (torch.ones(2),)), tmp_path)
    q = loaded.named_tensors()["param0"]
    loaded(torch.ones(2))
    assert array(q).tolist() == [0.5, 0.5] and q.grad.tolist() == [1, 1]
    loaded.options["lr"] = 0.25
    loaded(torch.ones(2))
    assert array(q).tolist() == [0.25, 0.25]


def test_gradients_that_accumulate(tmp_path):
    p = torch.ones(2, requires_grad=True)

    def step(x):
        (p * x).sum().backward()

    traced = jit.trace(step, (torch.ones(2),))
    traced(torch.ones(2))
    traced(torch.ones(2))  # a second path: the gradient is there now
    assert p.grad.tolist() == [2, 2]
    loaded = again(traced, tmp_path)
    q = next(iter(t for t in loaded.function._tensors if t.tensor.requires_grad)).tensor
    assert q.grad.tolist() == [2, 2]
    loaded(torch.ones(2))
    assert q.grad.tolist() == [3, 3] and p.grad.tolist() == [2, 2]
    q.grad = None
    loaded(torch.ones(2))
    assert q.grad.tolist() == [1, 1]


def test_all_paths_are_kept(tmp_path):
    def f(x):
        while float(x.abs().max()) > 1.0:
            x = x / 2
        return x * 3 if x.sum() > 0 else x - 1

    inputs = [torch.ones(2) * s for s in (1.0, 5.0, -1.0, -5.0, 0.0)]
    traced = jit.trace(f, (torch.ones(2),))
    want = [array(traced(x)) for x in inputs]
    loaded = again(traced, tmp_path)
    for _ in range(2):
        for x, w in zip(inputs, want):
            np.testing.assert_array_equal(array(loaded(x)), w)
    with pytest.raises(OtherPathNeeded, match="no saved path goes on"):
        loaded(torch.ones(2) * 1000)


def test_other_shapes_are_refused_with_what_was_saved(tmp_path):
    traced = jit.trace(lambda x: x * 2, (torch.ones(2),))
    traced(torch.ones(3))
    loaded = again(traced, tmp_path)
    assert loaded(torch.ones(3)).tolist() == [2, 2, 2]
    with pytest.raises(OtherPathNeeded, match=r"float32\[4\].*saved for.*float32\[2\]"):
        loaded(torch.ones(4))


def test_structures_aliases_and_changed_inputs(tmp_path):
    def f(a, *, flag, more):
        a.add_(1.0)
        return {"same": a, "row": a[1], "pair": (more[0] + a, None, "text")} if flag else None

    traced = jit.trace(f)
    traced(torch.zeros(2, 2), flag=True, more=[torch.ones(2, 2), 3])
    traced(torch.zeros(2, 2), flag=False, more=[torch.ones(2, 2), 3])
    loaded = again(traced, tmp_path)
    a = torch.zeros(2, 2)
    out = loaded(a, flag=True, more=[torch.ones(2, 2), 3])
    assert out["same"] is a and a.tolist() == [[1, 1], [1, 1]]
    assert out["pair"][0].tolist() == [[2, 2], [2, 2]] and out["pair"][1:] == (None, "text")
    a.mul_(7.0)
    assert out["row"].tolist() == [7, 7]
    assert loaded(a, flag=False, more=[torch.ones(2, 2), 3]) is None and a.tolist() == [[8, 8], [8, 8]]


def test_index_checks_are_kept(tmp_path):
    table = nn.Embedding(5, 2)
    loaded = again(jit.trace(table, (torch.tensor([1, 2]),)), tmp_path)
    np.testing.assert_array_equal(array(loaded(torch.tensor([4, 0]))), array(table(torch.tensor([4, 0]))))
    with pytest.raises(IndexError, match="9"):
        loaded(torch.tensor([1, 9]))


def test_constants_recurrence_and_strided_arguments(tmp_path):
    lstm = nn.LSTM(3, 4)
    scale = np.array([1.0, 2.0, 3.0], np.float32)

    def f(x):
        c = torch.tensor([2.0, 3.0, 4.0])
        c.mul_(torch.from_numpy(scale))
        return lstm(x.transpose(0, 1) * c)[0]

    x = torch.randn(2, 5, 3)
    loaded = again(jit.trace(f, (x,)), tmp_path)
    wide = torch.randn(2, 5, 6)[:, :, ::2]
    np.testing.assert_array_equal(array(loaded(x)), array(f(x)))
    np.testing.assert_array_equal(array(loaded(x)), array(f(x)))
    with pytest.raises(OtherPathNeeded):
        loaded(wide)


def test_a_loaded_trace_can_be_saved_again_and_printed(tmp_path):
    _, _, step, x, y = training()
    first = again(step, tmp_path)
    first(x, y)
    second = again(first, tmp_path)
    assert first(x, y).item() == jit.load(tmp_path / "saved.trace")(x, y).item() or second(x, y) is not None
    text = str(first.graph)
    assert "test_file.py:" in text and "0.weight" in text  # lines are those of the original source


def test_second_derivatives_are_refused(tmp_path):
    loaded = again(jit.trace(lambda x: (x * x * x).sum(), (torch.ones(2, requires_grad=True),)), tmp_path)
    x = torch.ones(2, requires_grad=True)
    (g,) = torch.autograd.grad(loaded(x), x)
    assert g.tolist() == [3, 3]
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(loaded(x), x, create_graph=True)


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adadelta", "NAdam", "RAdam", "Adamax", "ASGD", "Rprop"])
def test_every_optimizer_goes_on(name, tmp_path):
    torch.manual_seed(0)
    net = nn.Linear(3, 2)
    optimizer = getattr(torch.optim, name)(net.parameters(), lr=0.1)
    x = torch.randn(4, 3)

    def step(x):
        optimizer.zero_grad()
        loss = net(x).square().sum()
        loss.backward()
        optimizer.step()
        return loss

    traced = jit.trace(step, (x,))
    traced(x)
    loaded = again(traced, tmp_path)
    assert [loaded(x).item() for _ in range(3)] == [traced(x).item() for _ in range(3)]
    for (_, p), q in zip(loaded.named_parameters(), net.parameters()):
        np.testing.assert_array_equal(array(p), array(q))


# -- what can't be saved


def test_nothing_recorded_and_foreign_values(tmp_path):
    with pytest.raises(TypeError, match="recorded nothing"):
        jit.trace(lambda x: x).save(tmp_path / "a")
    traced = jit.trace(lambda x, y: x * 2)
    traced(torch.ones(2), object())
    with pytest.raises(TypeError, match="object"):
        traced.save(tmp_path / "a")
    with pytest.raises(TypeError, match="expected a traced function"):
        jit.save(lambda x: x, tmp_path / "a")
    with pytest.raises(TypeError, match="path"):
        jit.trace(lambda x: x * 2, torch.ones(2)).save(3)
    assert os.listdir(tmp_path) == []


# -- bad files


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    path = tmp_path_factory.mktemp("sound") / "a.trace"
    w = torch.arange(3.0)
    jit.trace(lambda x: (x * w).sum(), (torch.ones(3),)).save(path)
    return path.read_bytes()


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_every_damaged_byte_is_noticed(sound, tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "damaged.trace"
    content = bytearray(sound)
    kind = data.draw(st.sampled_from(["flip", "cut", "add", "swap"]))
    at = data.draw(st.integers(0, len(content) - 1))
    if kind == "flip":
        content[at] ^= data.draw(st.integers(1, 255))
    elif kind == "cut":
        del content[at:]
    elif kind == "add":
        content += bytes([at % 256])
    else:
        content[at:] = content[at:][::-1]
    if content == sound:
        return
    path.write_bytes(bytes(content))
    with pytest.raises(jit.TraceFileError, match="truncated|damaged|not a saved trace|newer"):
        jit.load(path)


def test_what_a_bad_file_is(tmp_path, sound):
    path = tmp_path / "a"
    for content, message in [
        (b"", "truncated"),
        (sound[:50], "truncated: 50 bytes"),
        (sound[:-1], "truncated"),
        (sound + b"x", "damaged"),
        (b"GIF89a" + sound, "not a saved trace"),
        (MAGIC + struct.pack("<I", FORMAT + 1) + sound[12:], f"format {FORMAT + 1}.*newer"),
    ]:
        path.write_bytes(content)
        with pytest.raises(jit.TraceFileError, match=message):
            jit.load(path)
    torch.save({"w": torch.ones(2)}, path)
    with pytest.raises(jit.TraceFileError, match=r"numtorch\.load reads it"):
        jit.load(path)
    with pytest.raises(FileNotFoundError):
        jit.load(tmp_path / "absent")


def test_an_op_that_is_not_here_is_named(tmp_path, monkeypatch):
    from numtorch.ops.declare import TABLE

    path = tmp_path / "a"
    jit.trace(lambda x: torch.erf(x), (torch.ones(3),)).save(path)
    monkeypatch.delitem(TABLE, "erf")
    with pytest.raises(jit.TraceFileError, match="no op 'erf'"):
        jit.load(path)


def test_a_crash_while_writing_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a"
    traced = jit.trace(lambda x: x + 1, (torch.ones(3),))
    traced.save(path)
    before = path.read_bytes()
    monkeypatch.setattr(os, "replace", lambda *a: (_ for _ in ()).throw(OSError("disk")))
    with pytest.raises(OSError, match="disk"):
        traced.save(path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["a"]
