"""The DataLoader: batches, options and their errors, worker processes and how they end."""

from __future__ import annotations

import gc
import multiprocessing
import os
import random
import signal
import threading
import time

import numpy as np
import pytest

import numtorch
from numtorch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    SequentialSampler,
    Subset,
    TensorDataset,
    get_worker_info,
)

WORKERS = [0, 2]


class Samples(Dataset):
    """Nested samples."""

    def __init__(self, n: int = 11):
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int):
        return numtorch.full((2, 3), float(i)), {"index": i, "array": np.full(2, i), "name": str(i)}


class Stream(IterableDataset):
    """Counts to n, shared out among the workers."""

    def __init__(self, n: int):
        self.n = n

    def __iter__(self):
        info = get_worker_info()
        first, step = (0, 1) if info is None else (info.id, info.num_workers)
        return iter(range(first, self.n, step))


class Do(Dataset):
    """Calls a function with the index."""

    def __init__(self, function, n: int = 8):
        self.function, self.n = function, n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int):
        return self.function(i)


def indices(loader: DataLoader) -> list[int]:
    return [int(i) for _, more in loader for i in more["index"]]


@pytest.fixture(autouse=True)
def no_process_is_left():
    yield
    gc.collect()  # a caught exception holds the frames that it has passed
    deadline = time.monotonic() + 10
    while multiprocessing.active_children() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("workers", WORKERS)
def test_batches(workers: int) -> None:
    batches = list(DataLoader(Samples(), batch_size=4, num_workers=workers))
    assert [x.shape[0] for x, _ in batches] == [4, 4, 3]
    x, more = batches[1]
    assert (
        x.shape == (4, 2, 3) and x[:, 0, 0].tolist() == [4.0, 5.0, 6.0, 7.0] and x.dtype is numtorch.float32
    )
    assert (
        more["index"].tolist() == [4, 5, 6, 7]
        and more["array"].shape == (4, 2)
        and more["name"] == list("4567")
    )
    assert len(list(DataLoader(Samples(), batch_size=4, drop_last=True, num_workers=workers))) == 2


@pytest.mark.parametrize("workers", WORKERS)
def test_single_samples(workers: int) -> None:
    samples = list(DataLoader(Samples(3), batch_size=None, num_workers=workers))
    assert [x.shape for x, _ in samples] == [(2, 3)] * 3 and isinstance(
        samples[0][1]["array"], numtorch.Tensor
    )


@pytest.mark.parametrize("workers", WORKERS)
def test_shuffle_is_decided_by_the_generator(workers: int) -> None:
    orders = []
    for seed in (1, 1, 2):
        g = numtorch.Generator()
        g.manual_seed(seed)
        orders.append(indices(DataLoader(Samples(30), 4, shuffle=True, generator=g, num_workers=workers)))
    assert orders[0] == orders[1] != orders[2] and sorted(orders[2]) == list(range(30))


@pytest.mark.parametrize("workers", WORKERS)
def test_samplers_and_collate(workers: int) -> None:
    loader = DataLoader(range(10), batch_sampler=[[3, 1], [2]], collate_fn=tuple, num_workers=workers)
    assert list(loader) == [(3, 1), (2,)] and len(loader) == 2 and loader.batch_size is None
    assert list(DataLoader(range(10), 2, sampler=[5, 4, 3], collate_fn=list, num_workers=workers)) == [
        [5, 4],
        [3],
    ]


def test_a_tensor_dataset_is_indexed_by_the_batch() -> None:
    x, y = numtorch.arange(20.0).reshape(10, 2), numtorch.arange(10)
    data = TensorDataset(x, y)
    plain = DataLoader(Do(data.__getitem__, 10), 3)
    for quick in (DataLoader(data, 3), DataLoader(Subset(Subset(data, range(10)), list(range(10))), 3)):
        for a, b in zip(quick, plain, strict=True):
            assert type(a) is type(b) and all(
                u.tolist() == v.tolist() and u.dtype is v.dtype for u, v in zip(a, b)
            )
    bad = Subset(data, [0, 99])
    with pytest.raises(IndexError):
        list(DataLoader(bad, 2))


@pytest.mark.parametrize("workers", WORKERS)
def test_streams(workers: int) -> None:
    batches = [b.tolist() for b in DataLoader(Stream(11), batch_size=2, num_workers=workers)]
    assert sorted(i for b in batches for i in b) == list(range(11))
    assert sorted(DataLoader(Stream(5), batch_size=None, num_workers=workers)) == [0, 1, 2, 3, 4]
    whole = list(DataLoader(Stream(11), batch_size=2, drop_last=True, num_workers=workers))
    assert all(len(b) == 2 for b in whole) and len(whole) == 5


def test_a_stream_that_is_longer_than_it_says() -> None:
    class Liar(Stream):
        def __len__(self) -> int:
            return 2

    loader = DataLoader(Liar(3))
    assert len(loader) == 2
    with pytest.warns(UserWarning, match="was reported to be 2 .* but 3 samples have been fetched"):
        assert len(list(loader)) == 3


def test_wrong_options() -> None:
    data, stream = Samples(), Stream(3)
    for message, options in [
        ("num_workers option should be non-negative", {"num_workers": -1}),
        ("timeout option should be non-negative", {"timeout": -1}),
        ("prefetch_factor option could only be specified", {"prefetch_factor": 2}),
        ("persistent_workers option needs num_workers > 0", {"persistent_workers": True}),
        ("sampler option is mutually exclusive with shuffle", {"sampler": [0], "shuffle": True}),
        ("batch_sampler option is mutually exclusive", {"batch_sampler": [[0]], "batch_size": 2}),
        ("mutually exclusive with drop_last", {"batch_size": None, "drop_last": True}),
        ("batch_size should be a positive integer", {"batch_size": 0}),
        ("drop_last should be a boolean", {"drop_last": 1}),
        ("can only be used with multi-process loading", {"multiprocessing_context": "spawn"}),
        ("should specify a valid start method", {"multiprocessing_context": "thread", "num_workers": 1}),
    ]:
        with pytest.raises(ValueError, match=message):
            DataLoader(data, **options)
    for name, value in {"shuffle": True, "sampler": [0], "batch_sampler": [[0]]}.items():
        with pytest.raises(ValueError, match=f"IterableDataset: expected unspecified {name} option"):
            DataLoader(stream, **{name: value})
    with pytest.raises(TypeError, match="valid context object"):
        DataLoader(data, multiprocessing_context=3, num_workers=1)
    loader = DataLoader(data)
    with pytest.raises(
        ValueError, match="batch_size attribute should not be set after DataLoader is initialized"
    ):
        loader.batch_size = 3
    with pytest.warns(UserWarning, match="This DataLoader will create 999 worker processes"):
        DataLoader(data, num_workers=999)
    assert isinstance(loader.sampler, SequentialSampler)


# -- workers


def test_workers_have_their_own_seeds_and_know_who_they_are() -> None:
    def draw(i: int):
        info = get_worker_info()
        return (
            info.id,
            info.num_workers,
            info.seed,
            numtorch.rand(()).item(),
            np.random.rand(),
            random.random(),
        )

    def run(seed: int) -> dict:
        numtorch.manual_seed(seed)
        rows = list(DataLoader(Do(draw, 2), batch_size=None, num_workers=2, collate_fn=lambda row: row))
        return {row[0]: row for row in rows}

    first, again, other = run(5), run(5), run(6)
    assert first == again and set(first) == {0, 1} and first[0][1] == 2 and first[1][2] == first[0][2] + 1
    assert all(first[0][k] != first[1][k] and first[0][k] != other[0][k] for k in (2, 3, 4, 5))
    assert get_worker_info() is None


def test_init_function_runs_in_each_worker() -> None:
    def init(worker: int) -> None:
        get_worker_info().dataset.n = 100 + worker

    class N(Samples):
        def __getitem__(self, i: int) -> int:
            return self.n

    loader = DataLoader(N(4), num_workers=2, worker_init_fn=init)
    assert sorted(int(v) for v in loader) == [100, 100, 101, 101]


def test_persistent_workers_stay_and_can_be_interrupted() -> None:
    loader = DataLoader(
        Do(lambda i: (i, os.getpid()), 12), 2, num_workers=2, persistent_workers=True, collate_fn=list
    )
    first = [pair for batch in loader for pair in batch]
    for _ in loader:
        break  # results of this pass are still under way when the next begins
    second = [pair for batch in loader for pair in batch]
    assert [i for i, _ in first] == [i for i, _ in second] == list(range(12))
    assert {p for _, p in first} == {p for _, p in second} and len({p for _, p in first}) == 2


def test_streams_with_persistent_workers() -> None:
    loader = DataLoader(Stream(7), 2, num_workers=2, persistent_workers=True)
    for _ in range(3):
        assert sorted(i for b in loader for i in b.tolist()) == list(range(7))


def test_order_of_arrival() -> None:
    def slow_first(i: int) -> int:
        time.sleep(0.3 if i == 0 else 0)
        return i

    found = list(DataLoader(Do(slow_first, 6), batch_size=None, num_workers=2, in_order=False))
    assert sorted(found) == list(range(6)) and found[0] != 0
    assert list(DataLoader(Do(slow_first, 6), batch_size=None, num_workers=2)) == list(range(6))


def test_loading_is_ahead_by_the_prefetch_factor(tmp_path) -> None:
    def note(i: int) -> int:
        (tmp_path / str(i)).touch()
        return i

    iterator = iter(DataLoader(Do(note, 20), batch_size=None, num_workers=2, prefetch_factor=3))
    deadline = time.monotonic() + 10
    while len(os.listdir(tmp_path)) < 6 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert sorted(os.listdir(tmp_path), key=int) == [str(i) for i in range(6)]
    assert next(iterator) == 0


def test_big_and_empty_and_strided_tensors_arrive() -> None:
    def make(i: int):
        big = numtorch.arange(300_000.0)
        return (
            big,
            big[::3],
            numtorch.empty(0, 3),
            numtorch.tensor(True),
            np.arange(3)[::-1],
            big.reshape(2, -1).t(),
        )

    for big, strided, empty, flag, array, turned in DataLoader(Do(make, 4), batch_size=None, num_workers=2):
        assert big[-1].item() == 299_999.0 and strided[1].item() == 3.0 and strided.shape == (100_000,)
        assert empty.shape == (0, 3) and flag.dtype is numtorch.bool and flag.item() is True
        assert array.tolist() == [2, 1, 0] and turned[1, 1].item() == 150_001.0
        big += 1  # its memory is its own, and writable


def test_parameters_keep_their_kind_and_graphs_cannot_travel() -> None:
    loader = DataLoader(
        Do(lambda i: numtorch.nn.Parameter(numtorch.ones(2)), 1), batch_size=None, num_workers=1
    )
    (p,) = loader
    assert type(p) is numtorch.nn.Parameter and p.requires_grad
    loader = DataLoader(
        Do(lambda i: numtorch.ones(2, requires_grad=True) * 2, 1), batch_size=None, num_workers=1
    )
    with pytest.raises(RuntimeError, match="Cowardly refusing to serialize non-leaf tensor"):
        list(loader)


class Odd(Exception):
    """Can't be made from a message."""

    def __init__(self, a, b):
        super().__init__(a, b)


@pytest.mark.parametrize("error, kind", [
    (ValueError("bad sample"), ValueError), (KeyError("key"), KeyError), (Odd(1, 2), RuntimeError),
    (StopIteration(), StopIteration),
])  # fmt: skip
def test_errors_come_back_with_the_workers_traceback(error: Exception, kind: type) -> None:
    def fail(i: int) -> int:
        if i == 3:
            raise error
        return i

    iterator = iter(DataLoader(Do(fail, 8), 2, num_workers=2))
    assert next(iterator).tolist() == [0, 1]
    with pytest.raises(kind) as caught:
        next(iterator)
    text = str(caught.value)
    assert f"Caught {type(error).__name__} in DataLoader worker process 1.\nOriginal Traceback" in text
    assert "in fail" in text and "raise error" in text
    assert next(iterator).tolist() == [4, 5]  # the others go on


def test_errors_of_the_init_function_and_of_pickling() -> None:
    def init(worker: int) -> None:
        raise OSError("no data here")

    with pytest.raises(OSError, match="no data here"):
        next(iter(DataLoader(Samples(), num_workers=1, worker_init_fn=init)))

    class Local(Exception):
        """Can't be pickled."""

    def fail(i: int) -> None:
        raise Local("deep inside")

    with pytest.raises(RuntimeError, match="Caught Local in DataLoader worker process 0") as caught:
        list(DataLoader(Do(fail), num_workers=1))
    assert "deep inside" in str(caught.value)
    with pytest.raises((AttributeError, RuntimeError), match="pickle"):
        list(DataLoader(Do(lambda i: lambda: i), batch_size=None, num_workers=1))


@pytest.mark.parametrize("when", ["before", "while sending"])
def test_a_killed_worker_is_an_error_and_never_a_hang(when: str) -> None:
    def die(i: int):
        if i == 5 and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        if i == 5:
            threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGKILL)).start()
        return numtorch.zeros(3_000_000)  # far more than a pipe holds

    start = time.monotonic()
    iterator = iter(DataLoader(Do(die, 20), batch_size=None, num_workers=2, prefetch_factor=1))
    for _ in range(4):
        next(iterator)
    time.sleep(0.6)  # the one that sends is killed in the middle
    with pytest.raises(
        RuntimeError, match=r"DataLoader worker \(pid\(s\) \d+\) exited unexpectedly \(killed by signal 9\)"
    ):
        list(iterator)
    assert time.monotonic() - start < 8


def test_a_worker_that_exits_is_an_error() -> None:
    with pytest.raises(RuntimeError, match=r"exited unexpectedly \(exit code 3\)"):
        list(DataLoader(Do(lambda i: os._exit(3)), num_workers=2))


def test_persistent_workers_are_replaced_after_a_death(tmp_path) -> None:
    def die_once(i: int) -> int:
        if i == 3 and not (tmp_path / "died").exists():
            (tmp_path / "died").touch()
            os._exit(1)
        return i

    loader = DataLoader(Do(die_once, 6), batch_size=None, num_workers=2, persistent_workers=True)
    with pytest.raises(RuntimeError, match="exited unexpectedly"):
        list(loader)
    assert list(loader) == list(range(6))


def test_timeout() -> None:
    start = time.monotonic()
    with pytest.raises(RuntimeError, match=r"DataLoader timed out after 0\.3 seconds"):
        list(DataLoader(Do(lambda i: time.sleep(60)), num_workers=1, timeout=0.3))
    assert time.monotonic() - start < 8


def test_an_abandoned_iterator_ends_its_workers() -> None:
    iterator = iter(DataLoader(Do(lambda i: numtorch.zeros(1_000_000), 50), batch_size=None, num_workers=2))
    pids = [w.process.pid for w in iterator._workers]
    next(iterator)
    start = time.monotonic()
    del iterator
    assert time.monotonic() - start < 4
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_workers_after_this_process_has_used_threads() -> None:
    a = numtorch.rand(400, 400)
    before = (a @ a).sum().item()
    stop = threading.Event()
    busy = threading.Thread(target=lambda: [(a @ a) for _ in iter(lambda: stop.is_set(), True)])
    busy.start()
    try:
        loader = DataLoader(Do(lambda i: (a @ a).sum(), 6), batch_size=None, num_workers=2)
        for _ in range(3):
            assert all(abs(v.item() - before) <= 1e-4 * abs(before) for v in loader)
    finally:
        stop.set()
        busy.join()


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_other_start_methods(method: str) -> None:
    loader = DataLoader(range(5), num_workers=1, multiprocessing_context=method)
    assert [int(i) for i in loader] == [0, 1, 2, 3, 4]
    with pytest.raises((AttributeError, TypeError, Exception), match="pickle") as caught:
        list(DataLoader(Do(lambda i: i), num_workers=1, multiprocessing_context=method))
    assert any("define them at the top of a module" in note for note in caught.value.__notes__)


def test_workers_end_when_the_main_process_is_killed(tmp_path) -> None:
    pid = os.fork()
    if pid == 0:
        iterator = iter(
            DataLoader(Do(lambda i: numtorch.zeros(1_000_000), 99), batch_size=None, num_workers=2)
        )
        next(iterator)
        (tmp_path / "pids.part").write_text(" ".join(str(w.process.pid) for w in iterator._workers))
        os.rename(tmp_path / "pids.part", tmp_path / "pids")
        time.sleep(60)
        os._exit(0)
    deadline = time.monotonic() + 20
    while not (tmp_path / "pids").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    alive = [int(p) for p in (tmp_path / "pids").read_text().split()]
    while alive and time.monotonic() < deadline:
        alive = [p for p in alive if os.path.exists(f"/proc/{p}") and "State:\tZ" not in _status(p)]
        time.sleep(0.02)
    assert not alive


def _status(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/status") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError):
        return "State:\tZ"


def test_pinning_without_a_gpu_warns() -> None:
    if numtorch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.warns(UserWarning, match="no accelerator is found"):
        assert len(list(DataLoader(Samples(2), pin_memory=True))) == 2
