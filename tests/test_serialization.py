"""save and load: PyTorch's files both ways, shared memory, nothing executed, clear errors, atomic writes."""

from __future__ import annotations

import fractions
import io
import os
import pathlib
import pickle
import stat
import struct
import warnings
import zipfile
from collections import Counter, OrderedDict

import numpy as np
import pytest

import numtorch
from numtorch import nn
from numtorch.pth.unpickler import Unpickler

FILES = pathlib.Path(__file__).parent / "pth"
DTYPES = ("float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool")


def roundtrip(obj, **options):
    file = io.BytesIO()
    numtorch.save(obj, file)
    file.seek(0)
    return numtorch.load(file, **options)


def check_everything(content: dict) -> None:
    """What tests/pth/record.py has written."""
    assert list(content["model"]) == [
        *("0.weight", "0.bias", "1.weight", "1.bias"),
        *("1.running_mean", "1.running_var", "1.num_batches_tracked"),
    ]
    assert type(content["model"]) is OrderedDict and content["model"]._metadata["1"] == {"version": 2}
    assert content["model"]["0.weight"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert content["view"].tolist() == [2, 4, 6] and content["view"].stride() == (2,)
    assert content["transposed"].tolist() == np.arange(12.0).reshape(3, 4).T.tolist()
    content["base"][4] = 100.0
    assert content["view"].tolist() == [2, 100, 6] and content["transposed"][0, 1].item() == 100.0
    assert content["expanded"].stride() == (0,) and content["expanded"].tolist() == [1, 1, 1]
    for name in DTYPES:
        t = content["dtypes"][name]
        assert t.dtype is getattr(numtorch, name) and t.tolist() == [0, 1, 1]
    assert content["scalar"].shape == () and content["scalar"].item() == 2.5
    assert content["empty"].shape == (0, 3)
    assert type(content["parameter"]) is nn.Parameter and content["parameter"].requires_grad
    assert content["leaf"].requires_grad and content["leaf"].is_leaf and not content["base"].requires_grad
    assert content["plain"] == [
        1,
        -2,
        2**70,
        1.5,
        True,
        None,
        "text",
        b"bytes",
        (1, (2, 3)),
        {"a": {1, 2}},
        1 + 2j,
    ]
    assert content["ordered"] == OrderedDict(b=1, a=2)
    assert content["names"] == [numtorch.float32, numtorch.Size([2, 3])]
    assert content["device"] == numtorch.device("cpu")


@pytest.mark.parametrize("name", ["everything", "legacy"])
def test_reads_pytorchs_files(name: str) -> None:
    check_everything(numtorch.load(FILES / f"{name}.pt"))


def test_writes_what_it_has_read() -> None:
    check_everything(roundtrip(numtorch.load(FILES / "everything.pt")))


def test_the_pickle_is_pytorchs_byte_for_byte() -> None:
    content = numtorch.load(FILES / "everything.pt")
    file = io.BytesIO()
    numtorch.save(content, file)
    ours, theirs = zipfile.ZipFile(file), zipfile.ZipFile(FILES / "everything.pt")
    assert ours.read("archive/data.pkl") == theirs.read("everything/data.pkl")
    names = [n.partition("/")[2] for n in ours.namelist()]
    assert names == [n.partition("/")[2] for n in theirs.namelist()]
    for name in names:
        if not name.startswith(".data"):
            assert ours.read(f"archive/{name}") == theirs.read(f"everything/{name}"), name


def test_records_begin_at_multiples_of_64() -> None:
    file = io.BytesIO()
    numtorch.save([numtorch.ones(n) for n in (1, 5, 1000, 3)], file)
    raw = file.getvalue()
    for info in zipfile.ZipFile(file).infolist():
        name, extra = struct.unpack_from("<HH", raw, info.header_offset + 26)
        assert (info.header_offset + 30 + name + extra) % 64 == 0 and info.compress_type == zipfile.ZIP_STORED


def test_equal_content_gives_equal_files() -> None:
    one, two = io.BytesIO(), io.BytesIO()
    for file in (one, two):
        numtorch.save({"w": numtorch.arange(5)}, file)
    assert one.getvalue() == two.getvalue()


@pytest.mark.oracle
def test_pytorch_reads_our_files(tmp_path: pathlib.Path) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "ours.pth"
    numtorch.save(numtorch.load(FILES / "everything.pt"), path)
    want = torch.load(FILES / "everything.pt")
    for options in ({}, {"mmap": True}, {"weights_only": False}):
        got = torch.load(path, **options)
        for key in ("base", "view", "transposed", "expanded", "scalar", "empty", "parameter", "leaf"):
            assert torch.equal(got[key], want[key]) and got[key].stride() == want[key].stride(), key
            assert type(got[key]) is type(want[key]) and got[key].requires_grad == want[key].requires_grad
        for name in DTYPES:
            assert torch.equal(got["dtypes"][name], want["dtypes"][name])
        assert (
            got["plain"] == want["plain"]
            and got["names"] == want["names"]
            and got["device"] == want["device"]
        )
        assert got["base"].untyped_storage().data_ptr() == got["view"].untyped_storage().data_ptr()
        assert got["model"]._metadata == want["model"]._metadata


@pytest.mark.oracle
def test_modules_exchange_weights_with_pytorch(tmp_path: pathlib.Path) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "weights.pth"
    x = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.BatchNorm1d(5), torch.nn.Linear(5, 2))
    ours = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Linear(5, 2))
    torch.save(theirs.state_dict(), path)
    ours.load_state_dict(numtorch.load(path))
    outputs = [m(t.from_numpy(x)).detach().numpy() for m, t in ((theirs, torch), (ours, numtorch))]
    np.testing.assert_allclose(outputs[1], outputs[0], rtol=1e-5, atol=1e-6)
    numtorch.save(ours.state_dict(), path)
    assert theirs.load_state_dict(torch.load(path)) is not None
    outputs = [m(t.from_numpy(x)).detach().numpy() for m, t in ((theirs, torch), (ours, numtorch))]
    np.testing.assert_allclose(outputs[1], outputs[0], rtol=1e-5, atol=1e-6)


def test_an_adam_state_of_pytorch_is_taken_over() -> None:
    p = numtorch.zeros(3, requires_grad=True)
    optimizer = numtorch.optim.Adam([p], lr=0.5)
    optimizer.load_state_dict(numtorch.load(FILES / "adam.pt"))
    assert optimizer.param_groups[0]["lr"] == 0.1 and optimizer.state[p]["step"].item() == 1.0
    assert np.allclose(optimizer.state[p]["exp_avg"].numpy(), 0.1)


def test_tensors_that_share_memory_share_it_again() -> None:
    base = numtorch.zeros(6)
    a, b, same = roundtrip([base, base[2:4], base])
    a[3] = 7.0
    assert b.tolist() == [0.0, 7.0] and same is a


def test_a_view_of_a_strided_array_is_saved_in_full() -> None:
    t = numtorch.from_numpy(np.arange(20.0)[::3])
    assert roundtrip(t).tolist() == [0.0, 3.0, 6.0, 9.0, 12.0, 15.0, 18.0]


def test_one_memory_has_one_dtype() -> None:
    t = numtorch.zeros(4)
    with pytest.raises(RuntimeError, match="view the same data as different types"):
        numtorch.save([t, t.view(numtorch.int32)], io.BytesIO())


def test_nested_containers_and_counters() -> None:
    obj = {"a": [{"b": (numtorch.ones(1), Counter("aab"))}], 3: frozenset({1}), None: ..., "long": "ü" * 300}
    del obj[None]
    back = roundtrip(obj)
    assert back["a"][0]["b"][0].tolist() == [1.0] and back["a"][0]["b"][1] == Counter("aab")
    assert back[3] == frozenset({1}) and back["long"] == "ü" * 300


def test_a_list_that_holds_itself() -> None:
    obj: list = [1]
    obj.append(obj)
    back = roundtrip(obj)
    assert back[1] is back and back[0] == 1


# -- nothing is executed

executed: list[str] = []


class Evil:
    """Runs something when it is unpickled."""

    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


def spring(trap: str) -> str:
    """What must not run."""
    executed.append(trap)
    return trap


class Point:
    """A user's class."""

    def __init__(self, x, y):
        self.x, self.y = x, y

    def __eq__(self, other):
        return vars(self) == vars(other)


TRAPS = [
    (Evil(spring, ("called",)), "spring"),
    (Evil(os.system, ("exit 1",)), "system"),
    (Evil(eval, ("spring('eval')",)), "eval"),
    (Evil(getattr, ("text", "upper")), "getattr"),
    (Evil(__import__, ("os",)), "__import__"),
    (Point(1, 2), "Point"),
    (nn.BatchNorm1d(1), "BatchNorm1d"),
    (np.float64(3.0), "scalar"),
    (spring, "spring"),
    (Evil(bytearray, (10**12,)), "bytearray"),
]


@pytest.mark.parametrize("obj, named", TRAPS, ids=[t[1] for t in TRAPS])
def test_nothing_in_a_file_is_executed(obj, named: str) -> None:
    file = io.BytesIO()
    numtorch.save({"x": obj}, file)
    file.seek(0)
    with pytest.raises(pickle.UnpicklingError, match=named):
        numtorch.load(file)
    assert not executed


def test_whole_objects_load_only_when_trusted() -> None:
    model = roundtrip(nn.BatchNorm1d(3), weights_only=False)
    assert isinstance(model, nn.BatchNorm1d) and model.weight.shape == (3,)
    assert roundtrip(Point(1, numtorch.ones(1)), weights_only=False).x == 1


def test_classes_that_a_user_declares_safe() -> None:
    assert numtorch.serialization.get_safe_globals() == []
    with numtorch.serialization.safe_globals([Point, fractions.Fraction]):
        assert roundtrip(Point(1, [2])) == Point(1, [2]) and roundtrip(
            fractions.Fraction(1, 3)
        ) == fractions.Fraction(1, 3)
    with pytest.raises(pickle.UnpicklingError, match="Unsupported global: GLOBAL"):
        roundtrip(Point(1, 2))
    with pytest.raises(ValueError, match="expected a callable"):
        numtorch.serialization.add_safe_globals([(Point, 3)])


def unpickle(data: bytes):
    from numtorch.pth.names import ALLOWED

    return Unpickler(io.BytesIO(data), ALLOWED, {}, lambda pid: pytest.fail("asked for a storage")).load()


@pytest.mark.parametrize("data, message", [
    (b"cposix\nsystem\n(X\x02\x00\x00\x00lstR.", "posix.system"),
    (b"c__builtin__\neval\n.", "builtins.eval"),
    (b"ccollections\nOrderedDict\n)R}X\x01\x00\x00\x00aK\x01sb.", None),
    (b"ctorch._utils\n_rebuild_tensor_v2\n}X\x01\x00\x00\x00aK\x01sb.", "sets attributes of a Constructor"),
    (b"]}X\x01\x00\x00\x00aK\x01sb.", "sets attributes of a list"),
    (b"K\x01)R.", "calls 1, which is not an allowed function"),
    (b"i__main__\nX\n.", "instruction b'i' is not accepted"),
    (b"h\x05.", "damaged"),
    (b"t.", "no mark"),
    (b"R.", "damaged"),
    (b"K\x01K\x02a.", "puts items into a int"),
    (b"}]K\x01s.", "damaged"),  # a list is no key
    (b"X\x01\x00\x00\x00aQ.", "doesn't name a storage"),
    (b"ctorch\nSize\n(J\xff\xff\xff\xfftt\x85R.", None),
])  # fmt: skip
def test_hostile_pickles(data: bytes, message: str | None) -> None:
    if message is None:
        try:
            unpickle(data)
        except pickle.UnpicklingError as error:
            assert "damaged" in str(error) or "Size" in str(error)
        return
    with pytest.raises(pickle.UnpicklingError, match=message):
        unpickle(data)


@pytest.mark.parametrize("geometry", [
    (0, (7,), (1,)), (1, (6,), (1,)), (0, (2, 4), (3, 1)), (-1, (2,), (1,)), (0, (-2,), (1,)),
    (0, (2,), (-1,)), (0, (2,), ()), (2**62, (1,), (1,)), (0, (2**40, 2**40), (2**40, 1)),
])  # fmt: skip
def test_tensors_stay_inside_their_memory(geometry: tuple) -> None:
    from numtorch.pth.names import LoadedStorage, make_tensor
    from numtorch.storage import allocate

    memory = LoadedStorage(allocate(24), numtorch.float32)
    with pytest.raises(pickle.UnpicklingError, match=r"reaches past|must be counts"):
        make_tensor(memory, *geometry)
    assert make_tensor(memory, 0, (6,), (1,)).shape == (6,)


# -- damaged and foreign files


def test_every_truncation_is_noticed() -> None:
    whole = (FILES / "adam.pt").read_bytes()
    for n in range(0, len(whole) - 1, 97):
        with pytest.raises((RuntimeError, EOFError, pickle.UnpicklingError), match="load:"):
            numtorch.load(io.BytesIO(whole[:n]))


def test_every_truncation_of_a_legacy_file_is_noticed() -> None:
    whole = (FILES / "legacy.pt").read_bytes()
    for n in range(0, len(whole) - 1, 61):
        with pytest.raises((EOFError, pickle.UnpicklingError), match="load:"):
            numtorch.load(io.BytesIO(whole[:n]))


def test_flipped_bits_never_crash() -> None:
    whole = (FILES / "adam.pt").read_bytes()
    errors = 0
    for n in range(0, len(whole), 13):
        damaged = bytearray(whole)
        damaged[n] ^= 0x55
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                numtorch.load(io.BytesIO(damaged))
        except (RuntimeError, EOFError, pickle.UnpicklingError):
            errors += 1
    assert errors > 20


def test_a_changed_storage_fails_its_checksum() -> None:
    file = io.BytesIO()
    numtorch.save(numtorch.full((64,), 3.0), file)
    raw = bytearray(file.getvalue())
    at = raw.find(struct.pack("<f", 3.0) * 4)
    raw[at] ^= 1
    with pytest.raises(RuntimeError, match=r"storage 0 can't be read \(Bad CRC-32"):
        numtorch.load(io.BytesIO(raw))


@pytest.mark.parametrize("head, guess", [
    (b"", "is empty"), (b"hello world", "something else"), (b"\x93NUMPY\x01\x00", "numpy.load"),
    (b"<!DOCTYPE html>", "error page"), (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
    (pickle.dumps([1]), "plain pickle"), (b"\x10\0\0\0\0\0\0\0{\"a\":", "safetensors"),
])  # fmt: skip
def test_foreign_files(head: bytes, guess: str, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(head)
    with pytest.raises(EOFError if not head else pickle.UnpicklingError, match=guess):
        numtorch.load(path)


def test_other_zip_files() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as z:
        z.writestr("notes.txt", "text")
    file.seek(0)
    with pytest.raises(RuntimeError, match=r"holds no data\.pkl, but notes\.txt"):
        numtorch.load(file)
    with zipfile.ZipFile(file, "w") as z:
        z.writestr("net/data.pkl", "")
        z.writestr("net/constants.pkl", "")
    file.seek(0)
    with pytest.raises(RuntimeError, match="TorchScript"):
        numtorch.load(file)


def test_big_endian_files() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(FILES / "everything.pt") as source, zipfile.ZipFile(file, "w") as target:
        sizes = {"data/0": 4}  # the model's first weight
        for name in source.namelist():
            data = source.read(name)
            short = name.removeprefix("everything/")
            if short == "byteorder":
                data = b"big"
            elif short in sizes:
                data = np.frombuffer(data, np.uint32).byteswap().tobytes()
            target.writestr(name, data)
    file.seek(0)
    content = numtorch.load(file)
    assert content["model"]["0.weight"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert content["view"].tolist() != [2, 4, 6]  # this one was not swapped above


def test_bfloat16_as_pytorch_wrote_it() -> None:
    t = numtorch.load(FILES / "bfloat16.pt")["half"]
    assert t.dtype is numtorch.bfloat16 and t.tolist() == [1.5, -2.0, numtorch.tensor(3e38).bfloat16().item()]


def test_what_numtorch_lacks_is_named() -> None:
    with pytest.raises(pickle.UnpicklingError, match="complex64 tensors, which numtorch doesn't have"):
        numtorch.load(FILES / "complex.pt")
    with pytest.raises(
        pickle.UnpicklingError, match=r"GLOBAL torch.nn.modules.linear.Linear was not an allowed"
    ):
        numtorch.load(FILES / "module.pt")
    with pytest.raises(pickle.UnpicklingError, match=r"only PyTorch can rebuild"):
        numtorch.load(FILES / "module.pt", weights_only=False)


# -- places


def test_map_location() -> None:
    asked = []

    def place(storage, location):
        asked.append(location)

    for location in (None, "cpu", numtorch.device("cpu"), {"cpu": "cpu"}, place):
        assert roundtrip(numtorch.ones(2), map_location=location).device.type == "cpu"
    assert asked == ["cpu"]
    with pytest.raises(RuntimeError, match="Expected one of cpu, cuda"):
        roundtrip(3, map_location="nowhere")


def test_tensors_of_a_gpu_that_is_not_here() -> None:
    if numtorch.cuda.is_available():
        pytest.skip("there is a GPU")
    file = io.BytesIO()
    numtorch.save(numtorch.ones(2), file)
    moved = io.BytesIO()
    with zipfile.ZipFile(file) as source, zipfile.ZipFile(moved, "w") as target:
        for name in source.namelist():
            target.writestr(
                name, source.read(name).replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0")
            )
    with pytest.raises(RuntimeError, match="Attempting to deserialize object on a CUDA device"):
        numtorch.load(io.BytesIO(moved.getvalue()))
    for location in ("cpu", {"cuda:0": "cpu"}, lambda storage, location: storage):
        assert numtorch.load(io.BytesIO(moved.getvalue()), map_location=location).tolist() == [1.0, 1.0]


# -- paths


def test_a_failing_save_leaves_the_old_file(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "model.pth"
    numtorch.save({"w": 1}, path)
    before = path.read_bytes()
    with pytest.raises(Exception, match="pickle"):
        numtorch.save({"w": lambda: 1}, path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["model.pth"]


def test_a_full_disk_leaves_the_old_file(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.pth"
    numtorch.save(1, path)

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        numtorch.save(2, path)
    assert numtorch.load(path) == 1 and os.listdir(tmp_path) == ["model.pth"]


@pytest.mark.skipif(os.name != "posix", reason="permissions and links of POSIX")
def test_permissions_and_links_are_kept(tmp_path: pathlib.Path) -> None:
    path, link = tmp_path / "model.pth", tmp_path / "latest.pth"
    old = os.umask(0o027)
    try:
        numtorch.save(1, path)
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    path.chmod(0o600)
    link.symlink_to("model.pth")
    numtorch.save(2, link)
    assert link.is_symlink() and numtorch.load(path) == 2 and stat.S_IMODE(path.stat().st_mode) == 0o600


def test_files_that_only_write() -> None:
    parts = []

    class Sink:
        def write(self, data) -> int:
            parts.append(bytes(data))
            return len(parts[-1])

    numtorch.save(numtorch.arange(3), Sink())
    assert numtorch.load(io.BytesIO(b"".join(parts))).tolist() == [0, 1, 2]


def test_a_file_that_begins_elsewhere() -> None:
    file = io.BytesIO()
    file.write(b"header")
    numtorch.save(numtorch.arange(3), file)
    file.seek(6)
    assert numtorch.load(file).tolist() == [0, 1, 2]


def test_wrong_arguments() -> None:
    with pytest.raises(AttributeError, match="expected 'f' to be string, path"):
        numtorch.save(1, 3)
    with pytest.raises(TypeError, match="expected 'f' to be a path or a file"):
        numtorch.load(3)
    with pytest.raises(FileNotFoundError):
        numtorch.load("no such file.pth")
    with pytest.raises(NotImplementedError, match="zip format"):
        numtorch.save(1, io.BytesIO(), _use_new_zipfile_serialization=False)
