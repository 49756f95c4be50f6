"""What the tests of several passes share."""

import pytest

import numtorch as torch


@pytest.fixture
def two_threads():
    """Two threads, and random numbers from the start."""
    torch.manual_seed(0)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)
