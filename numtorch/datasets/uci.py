"""The UCI optical digits, which are part of the package."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from typing import Any

import numpy as np

import numtorch

from .._tensor import Tensor
from ..utils.data import Dataset


def digits() -> tuple[Tensor, Tensor]:
    """1,797 handwritten digits: images float32 (1797, 1, 8, 8) from 0 to 1, and labels int64 (1797,) from 0
    to 9.

    E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository,
    1998, https://doi.org/10.24432/C50P49; licensed under CC BY 4.0. Each call returns new tensors.

    Example:
        >>> import numtorch
        >>> images, labels = numtorch.datasets.digits()
        >>> tuple(images.shape), labels[:5].tolist()
        ((1797, 1, 8, 8), [0, 1, 2, 3, 4])
    """
    with (
        resources.as_file(resources.files("numtorch.datasets") / "digits.npz") as path,
        np.load(path) as file,
    ):
        images, labels = file["images"], file["labels"]
    scaled = images.astype(np.float32).reshape(-1, 1, 8, 8) / np.float32(16)
    return numtorch.from_numpy(scaled), numtorch.from_numpy(labels.astype(np.int64))


class Digits(Dataset):
    """The UCI optical digits as a map-style dataset of (image float32 (1, 8, 8), label int) pairs.

    Args:
        transform, target_transform: applied to an image, and to a label.

    Attributes: ``data`` (all images), ``targets`` (all labels), ``classes``.

    Example:
        >>> import numtorch
        >>> image, label = numtorch.datasets.Digits()[3]
        >>> tuple(image.shape), label
        ((1, 8, 8), 3)
    """

    classes = tuple("0123456789")

    def __init__(self, transform: Callable | None = None, target_transform: Callable | None = None):
        self.data, self.targets = digits()
        self.transform, self.target_transform = transform, target_transform

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image, label = self.data[index], int(self.targets[index])
        if self.transform is not None:
            image = self.transform(image)
        if self.target_transform is not None:
            label = self.target_transform(label)
        return image, label
