"""The digits that come with numtorch, and MNIST's files."""

from __future__ import annotations

import gzip
import pathlib

import numpy as np
import pytest

import numtorch
from numtorch.datasets import MNIST, Digits, FashionMNIST, digits, read_idx


def test_digits() -> None:
    images, labels = digits()
    assert images.shape == (1797, 1, 8, 8) and images.dtype is numtorch.float32
    assert labels.shape == (1797,) and labels.dtype is numtorch.int64
    assert images.min().item() == 0.0 and images.max().item() == 1.0
    assert np.bincount(labels.numpy()).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    # Sums of the original file, before the scaling by 1/16.
    assert (images.numpy().astype(np.float64) * 16).sum() == 561718
    assert (images[0, 0, 0].numpy() * 16).tolist() == [0, 0, 5, 13, 9, 1, 0, 0]
    images.zero_()
    assert digits()[0].max().item() == 1.0


def test_digits_as_a_dataset() -> None:
    data = Digits(transform=lambda x: x * 2, target_transform=str)
    image, label = data[5]
    assert len(data) == 1797 and image.max().item() == 2.0 and label == "5" and data.classes[5] == "5"


def test_the_attribution_is_installed() -> None:
    text = (pathlib.Path(numtorch.datasets.__file__).parent / "digits.md").read_text()
    assert "CC BY 4.0" in text and "Alpaydin" in text and "CC BY 4.0" in digits.__doc__


def idx(array: np.ndarray, kind: int = 0x08) -> bytes:
    return bytes([0, 0, kind, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    for part, n in (("train", 5), ("t10k", 3)):
        images = np.arange(n * 28 * 28, dtype=np.uint8).reshape(n, 28, 28)
        (tmp_path / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.arange(n, dtype=np.uint8)))
    return tmp_path


@pytest.mark.parametrize("kind", [MNIST, FashionMNIST])
def test_mnist(kind: type, folder: pathlib.Path) -> None:
    data, test = kind(folder), kind(folder, train=False, transform=lambda x: x.sum())
    assert len(data) == 5 and len(test) == 3 and data.data.dtype is numtorch.uint8 and len(data.classes) == 10
    image, label = data[2]
    assert image.shape == (1, 28, 28) and image.dtype is numtorch.float32 and label == 2
    assert image[0, 0, 3].item() == pytest.approx(((2 * 784 + 3) % 256) / 255)
    assert test[1][0].shape == ()
    batch = next(iter(numtorch.utils.data.DataLoader(data, batch_size=4)))
    assert batch[0].shape == (4, 1, 28, 28) and batch[1].tolist() == [0, 1, 2, 3]


def test_torchvisions_folders(folder: pathlib.Path) -> None:
    raw = folder / "root" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in folder.glob("t*"):
        file.rename(raw / file.name.replace("-idx3", ".idx3"))
    assert len(MNIST(folder / "root", train=False)) == 3


def test_missing_files_say_where_to_get_them(tmp_path: pathlib.Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no file train-images-idx3-ubyte .*download the four files"):
        MNIST(tmp_path)
    with pytest.raises(FileNotFoundError, match="apt install dataset-fashion-mnist"):
        FashionMNIST(tmp_path)
    with pytest.raises(NotImplementedError, match="download=True isn't supported"):
        MNIST(tmp_path, download=True)
    with pytest.raises(ValueError, match="give the folder of the IDX files as root"):
        MNIST()


def test_damaged_files(folder: pathlib.Path) -> None:
    path = folder / "x-idx"
    whole = idx(np.arange(6, dtype=np.uint8).reshape(2, 3))
    for content, message in [
        (whole[:-1], r"should have 18 bytes for shape \(2, 3\) but has 17"),
        (whole + b"x", "should have 18 bytes"),
        (whole[:7], "should have|not an IDX"),
        (b"hello", "not an IDX file"),
        (b"", "not an IDX file"),
    ]:
        path.write_bytes(content)
        with pytest.raises(RuntimeError, match=message):
            read_idx(path)
    packed = folder / "y.gz"
    packed.write_bytes(gzip.compress(whole)[:-9])
    with pytest.raises(RuntimeError, match="damaged gzip file"):
        read_idx(packed)
    (folder / "train-labels-idx1-ubyte").write_bytes(idx(np.arange(4, dtype=np.uint8)))
    with pytest.raises(RuntimeError, match="don't belong together"):
        MNIST(folder)


def test_idx_types(tmp_path: pathlib.Path) -> None:
    values = np.array([[1, -2], [300, 4]])
    for kind, dtype in ((0x0B, ">i2"), (0x0C, ">i4"), (0x0D, ">f4"), (0x0E, ">f8")):
        (tmp_path / "a").write_bytes(idx(values.astype(dtype), kind))
        found = read_idx(tmp_path / "a")
        assert found.tolist() == values.tolist() and found.dtype.isnative
