"""Data sets: handwritten digits that come with numtorch, and readers of MNIST's files.

``digits()`` gives the UCI optical digits (CC BY 4.0, see digits.md). ``MNIST`` and ``FashionMNIST`` read IDX
files that are already on this machine; nothing is ever downloaded.
"""

from ..absent import hints as _hints
from .idx import MNIST, FashionMNIST, read_idx
from .uci import Digits, digits

__all__ = ["MNIST", "Digits", "FashionMNIST", "digits", "read_idx"]

__getattr__ = _hints(__name__)
