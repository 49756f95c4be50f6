"""MNIST and FashionMNIST from IDX files, plain or compressed with gzip."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

import numtorch

from .._tensor import Tensor
from ..utils.data import Dataset

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: str | os.PathLike) -> np.ndarray:
    """The array in an IDX file (``.gz`` too), in this machine's byte order.

    Raises RuntimeError if the file is none, or holds more or fewer bytes than its header says.
    """
    path = Path(path)
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise RuntimeError(f"read_idx: {path} is a damaged gzip file ({error}); copy it anew") from error
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _TYPES:
        raise RuntimeError(
            f"read_idx: {path} is not an IDX file: it begins with {data[:4]!r}, expected two zero bytes, a"
            " type and the number of dimensions"
        )
    kind, ndim = np.dtype(_TYPES[data[2]]), data[3]
    start = 4 + 4 * ndim
    shape = tuple(int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(ndim))
    wanted = start + int(np.prod(shape, dtype=np.int64)) * kind.itemsize
    if len(data) != wanted:
        raise RuntimeError(
            f"read_idx: {path} should have {wanted} bytes for shape {shape} but has {len(data)}; copy it anew"
        )
    return np.frombuffer(data, kind, offset=start).reshape(shape).astype(kind.newbyteorder("="))


class MNIST(Dataset):
    """The MNIST digits as a map-style dataset of (image float32 (1, 28, 28) from 0 to 1, label int) pairs.

    Args:
        root: the folder with ``train-images-idx3-ubyte`` and the other three files, with or without ``.gz``;
            also looked for in ``root/MNIST/raw`` and ``root/raw``.
        train: the 60,000 training images, or the 10,000 test images.
        transform, target_transform: applied to an image, and to a label.
        download: must be False (NotImplementedError otherwise): nothing is downloaded.

    Attributes: ``data`` (all images, uint8 (N, 28, 28)), ``targets`` (all labels, int64), ``classes``.

    Raises:
        FileNotFoundError: no files there; the message says where to get them.
        RuntimeError: a file is damaged, or images and labels don't belong together.
    """

    classes: ClassVar[tuple[str, ...]] = tuple("0123456789")
    _default_root: str | None = None
    _source = "download the four files from https://ossci-datasets.s3.amazonaws.com/mnist/ into that folder"

    def __init__(
        self,
        root: str | os.PathLike | None = None,
        train: bool = True,
        transform: Callable | None = None,
        target_transform: Callable | None = None,
        download: bool = False,
    ):
        name = type(self).__name__
        if download:
            raise NotImplementedError(
                f"{name}: download=True isn't supported; {self._source}, and give it as root"
            )
        root = root if root is not None else self._default_root
        if root is None:
            raise ValueError(f"{name}: give the folder of the IDX files as root; {self._source}")
        self.root, self.train = root, train
        self.transform, self.target_transform = transform, target_transform
        part = "train" if train else "t10k"
        images = read_idx(self._find(f"{part}-images", "idx3-ubyte"))
        labels = read_idx(self._find(f"{part}-labels", "idx1-ubyte"))
        if images.ndim != 3 or labels.shape != images.shape[:1] or images.dtype != np.uint8:
            raise RuntimeError(
                f"{name}: {images.dtype} images of shape {images.shape} and labels of shape {labels.shape}"
                f" in {root} don't belong together; expected uint8 (N, height, width) and (N,)"
            )
        self.data: Tensor = numtorch.from_numpy(images)
        self.targets: Tensor = numtorch.from_numpy(labels.astype(np.int64))

    def _find(self, stem: str, kind: str) -> Path:
        folders = [Path(self.root) / f for f in (".", f"{type(self).__name__}/raw", "raw")]
        for folder in folders:
            for name in (f"{stem}-{kind}", f"{stem}.{kind}"):
                for path in (folder / name, folder / f"{name}.gz"):
                    if path.is_file():
                        return path
        raise FileNotFoundError(
            f"{type(self).__name__}: no file {stem}-{kind} or {stem}-{kind}.gz in {folders[0]} (or in"
            f" {type(self).__name__}/raw or raw below it); {self._source}"
        )

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image, label = self.data[index].unsqueeze(0).float() / 255, int(self.targets[index])
        if self.transform is not None:
            image = self.transform(image)
        if self.target_transform is not None:
            label = self.target_transform(label)
        return image, label


class FashionMNIST(MNIST):
    """Pictures of clothes in MNIST's format: Xiao, Rasul and Vollgraf, "Fashion-MNIST", 2017; see ``MNIST``.

    By default ``root`` is where Debian's package dataset-fashion-mnist puts the files.
    """

    classes: ClassVar[tuple[str, ...]] = (
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
        "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    )  # fmt: skip
    _default_root = "/usr/share/datasets/fashion-mnist"
    _source = (
        "`apt install dataset-fashion-mnist` puts the files into /usr/share/datasets/fashion-mnist, or take"
        " them from https://github.com/zalandoresearch/fashion-mnist (data/fashion)"
    )
