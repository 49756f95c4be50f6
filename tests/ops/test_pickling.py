"""Functions as values: in modules that are copied, and in what goes to another process."""

from __future__ import annotations

import copy
import pickle

import pytest

import numtorch as torch
from numtorch import nn


@pytest.mark.parametrize("path", "relu square view_copy split_with_sizes_copy matmul special.entr nn.functional.gelu linalg.det".split())
def test_functions_are_pickled_by_name(path):
    function = torch
    for name in path.split("."):
        function = getattr(function, name)
    assert pickle.loads(pickle.dumps(function)) is function
    assert copy.deepcopy(function) is function


def test_a_module_that_holds_a_function():
    layer = nn.TransformerEncoderLayer(4, 2, 8, activation=torch.relu)
    assert pickle.loads(pickle.dumps(layer)).activation is layer.activation is copy.deepcopy(layer).activation


def test_a_function_of_the_user_is_copied_as_itself():
    doubled = torch.elementwise(lambda x: x + x)
    assert copy.deepcopy({"f": doubled})["f"](torch.ones(1)).item() == 2
