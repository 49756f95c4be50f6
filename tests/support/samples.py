"""One small call of every public function, for write.py: values by a parameter's name, and the calls that differ.

A value is text, evaluated with ``x`` and its like made anew for every dtype (see ``Names``).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import numtorch as torch

SQUARE = [[0.6, 0.2, 0.1], [0.2, 0.7, 0.3], [0.1, 0.3, 0.8]]


class Names(dict):
    """What a sample's text may name; ``x`` is a symmetric positive definite matrix of the dtype, ``v`` a vector, and so on."""

    def __init__(self, dtype: Any):
        super().__init__(torch=torch, F=torch.nn.functional, dtype=dtype)
        self.leaves: list[Any] = []
        self.dtype = dtype

    def made(self, *shape: int) -> Any:
        """A tensor of the dtype that requires grad if it can."""
        flat = [SQUARE[i // 3 % 3][i % 3] for i in range(math.prod(shape))]
        values = flat if self.dtype.is_floating_point else [round(9 * f) % 3 for f in flat]
        stored = self.dtype.stored(values).reshape(shape)
        bits = self.dtype is torch.bfloat16  # NumPy has none
        t = torch.from_numpy(stored.view(np.int16)).view(self.dtype) if bits else torch.from_numpy(stored)  # no op that would be noted
        if self.dtype.is_floating_point:
            t.requires_grad_()
            self.leaves.append(t)
        return t

    def __missing__(self, name: str) -> Any:
        shapes = {"x": (3, 3), "y": (3, 3), "v": (3,), "s": (), "b": (2, 3, 3), "pic": (1, 2, 4, 4), "vol": (1, 1, 4, 4, 4), "seq": (2, 2, 6)}
        if name in shapes:
            return self.made(*shapes[name])
        if name == "fresh":
            return self.made
        if name == "i":
            return torch.tensor([[0, 1, 2], [2, 1, 0], [1, 1, 2]])
        if name == "i1":
            return torch.tensor([0, 2, 1])
        if name == "mask":
            return torch.tensor([[True, False, True], [False, True, True], [True, True, False]])
        raise KeyError(name)


BY_NAME = {
    "input": "x", "other": "y", "A": "x", "B": "y", "a": "x", "b": "y", "x": "x", "y": "y", "M": "5", "tensors": "[x, y]", "dim": "0",
    "n": "2", "mat2": "y", "tensor1": "x", "tensor2": "y", "index": "i", "dims": "(0, 1)", "k": "1", "exponent": "2", "chunks": "3",
    "target": "y", "weight": "y", "kernel_size": "2", "size": "(3, 3)", "output_size": "2", "x1": "x", "x2": "y", "shifts": "1",
    "source": "y", "src": "y", "value": "1", "normalized_shape": "(3,)", "q": "0.5", "p": "2", "num_groups": "1", "groups": "1",
    "condition": "mask", "vec": "v", "vec1": "v", "vec2": "v", "batch1": "b", "batch2": "b", "dim0": "0", "dim1": "1", "bins": "3",
    "start": "0", "end": "3", "steps": "4", "row": "3", "col": "3", "matrices": "[x, y]", "arrays": "[x, y]", "mask": "mask",
    "repeats": "2", "shape": "(9,)", "padding": "1", "pad": "(1, 1)", "norm_type": "2.0", "threshold": "0.5", "indices": "i",
    "input1": "x", "input2": "y", "anchor": "x", "positive": "y", "negative": "x", "logits": "x", "obj": "x", "tensor": "x",
    "indices_or_sections": "3", "split_sizes": "[1, 2]", "split_size": "1", "split_size_or_sections": "1", "window_length": "5",
    "d": "1.0", "fill_value": "1.0", "num_samples": "2", "data": "[1.0, 2.0]", "upscale_factor": "2", "downscale_factor": "2",
}  # fmt: skip

# Functions whose call is not made of BY_NAME: names to the text of a call of ``f``. Names of a submodule come before plain ones.
CALLS = {
    "addmm": "f(x, y, x)", "addmv": "f(v, x, v)", "addbmm": "f(x, b, b)", "addr": "f(x, v, v)", "as_strided as_strided_copy": "f(x, (2, 2), (1, 2))",
    "as_strided_scatter": "f(x, fresh(2, 2), (2, 2), (1, 2))", "nn.functional.batch_norm": "f(b, None, None, training=True)",
    "batch_norm": "f(b, None, None, None, None, True, 0.1, 1e-5, False)", "bilinear": "f(x, y, fresh(2, 3, 3))", "bmm": "f(b, fresh(2, 3, 3))",
    "block_diag cartesian_prod": "f(v, fresh(3))", "bucketize": "f(x, v)", "channel_shuffle native_channel_shuffle": "f(pic, 2)",
    "cholesky_solve": "f(x, y)", "cholesky_inverse": "f(x)", "clamp clip": "f(x, 0, 1)", "clamp_max clamp_min": "f(x, 1)", "combinations": "f(v)",
    "conv1d": "f(seq, fresh(1, 2, 3))", "conv2d": "f(pic, fresh(1, 2, 3, 3))", "conv3d": "f(vol, fresh(1, 1, 2, 2, 2))",
    "conv_tbc": "f(b, fresh(2, 3, 4), fresh(4))", "conv_transpose1d": "f(seq, fresh(2, 1, 3))", "conv_transpose2d": "f(pic, fresh(2, 1, 3, 3))",
    "conv_transpose3d": "f(vol, fresh(1, 1, 2, 2, 2))", "convolution": "f(seq, fresh(1, 2, 3), None, [1], [0], [1], False, [0], 1)",
    "diagonal_scatter": "f(x, v)", "dot vdot linalg.vecdot": "f(v, fresh(3))", "dsplit": "f(b, 3)", "einsum": "f('ij,jk', x, y)", "flip": "f(x, (0,))",
    "ger outer": "f(v, fresh(3))", "grid_sampler grid_sampler_2d": "f(pic, fresh(1, 2, 2, 2), 0, 0, True)", "grid_sample": "f(pic, fresh(1, 2, 2, 2))",
    "grid_sampler_3d": "f(vol, fresh(1, 2, 2, 2, 3), 0, 0, True)", "heaviside": "f(x, y)", "index_add index_copy": "f(x, 0, i1, y)",
    "index_fill": "f(x, 0, i1, 1)", "index_put": "f(x, (i1,), y)", "index_reduce": "f(x, 0, i1, y, 'amax')", "index_select": "f(x, 0, i1)",
    "instance_norm": "f(pic)", "isin": "f(x, y)", "lu_solve": "f(x, *torch.linalg.lu_factor(y))", "linalg.lu_solve": "f(*torch.linalg.lu_factor(x), y)",
    "lu_unpack": "f(*torch.linalg.lu_factor(x))", "max_pool1d": "f(seq, 2)", "meshgrid": "f(v, fresh(3), indexing='ij')", "movedim moveaxis": "f(x, 0, 1)",
    "narrow narrow_copy": "f(x, 0, 0, 2)", "nonzero_static": "f(x, size=2)", "ormqr": "f(x, v, y)", "pixel_shuffle": "f(fresh(1, 4, 2, 2), 2)",
    "pixel_unshuffle": "f(pic, 2)", "prelu": "f(x, v)", "randint": "f(5, (3,), dtype=dtype)", "randint_like": "f(x, 5)", "renorm": "f(x, 2, 0, 1.0)",
    "repeat_interleave": "f(x, 2)", "scatter_reduce": "f(x, 0, i, y, 'sum')", "scatter scatter_add": "f(x, 0, i, y)", "searchsorted": "f(v, x)",
    "select select_copy": "f(x, 0, 1)", "select_scatter": "f(x, v, 0, 1)", "split_copy": "f(x, 2)", "split_with_sizes_copy": "f(x, [1, 2])",
    "squeeze_copy t_copy unbind_copy alias_copy detach_copy diagonal_copy": "f(x)", "expand_copy": "f(x, (2, 3, 3))", "permute_copy": "f(x, (1, 0))",
    "transpose_copy": "f(x, 0, 1)", "unfold_copy": "f(x, 0, 2, 1)", "unsqueeze_copy": "f(x, 0)", "view_copy": "f(x, (9,))", "slice_copy": "f(x)",
    "bincount": "f(v)", "permute": "f(x, (1, 0))", "reshape": "f(x, (9,))", "lcm": "f(x, y)",
    "unflatten": "f(x, 0, (3, 1))", "unsqueeze": "f(x, 0)", "vander linalg.vander": "f(v)", "zero_": "f(x)", "max min std var std_mean var_mean": "f(x)",
    "adaptive_avg_pool2d adaptive_max_pool2d adaptive_max_pool2d_with_indices": "f(pic, 2)", "max_pool2d max_pool2d_with_indices avg_pool2d": "f(pic, 2)",
    "adaptive_avg_pool3d adaptive_max_pool3d adaptive_max_pool3d_with_indices": "f(vol, 2)", "max_pool3d max_pool3d_with_indices avg_pool3d": "f(vol, 2)",
    "affine_grid": "f(fresh(1, 2, 3), (1, 1, 2, 2))", "cosine_embedding_loss": "f(x, y, torch.tensor([1, -1, 1]))",
    "ctc_loss": "f(fresh(4, 1, 3), torch.tensor([[1, 2]]), torch.tensor([4]), torch.tensor([2]))", "nn.functional.embedding": "f(i, x)",
    "embedding": "f(x, i)", "embedding_bag": "f(i, x)", "fold": "f(fresh(1, 4, 9), (4, 4), 2)", "gaussian_nll_loss": "f(x, y, x)", "glu": "f(seq)",
    "fractional_max_pool2d fractional_max_pool2d_with_indices": "f(pic, 2, output_size=2)", "interpolate": "f(pic, scale_factor=2)",
    "fractional_max_pool3d fractional_max_pool3d_with_indices": "f(vol, 2, output_size=2)", "upsample upsample_nearest": "f(pic, scale_factor=2)",
    "upsample_bilinear": "f(pic, scale_factor=2)", "linear_cross_entropy": "f(x, y, i1)", "local_response_norm": "f(pic, 2)",
    "lp_pool2d": "f(pic, 2.0, 2)", "lp_pool3d": "f(vol, 2.0, 2)", "max_unpool2d": "f(*F.max_pool2d(pic, 2, return_indices=True), 2)",
    "max_unpool1d": "f(*F.max_pool1d(seq, 2, return_indices=True), 2)", "max_unpool3d": "f(*F.max_pool3d(vol, 2, return_indices=True), 2)",
    "multi_head_attention_forward": "f(b, b, b, 3, 1, fresh(9, 3), fresh(9), None, None, False, 0.0, fresh(3, 3), fresh(3))",
    "multi_margin_loss nll_loss cross_entropy": "f(x, i1)", "multilabel_margin_loss": "f(x, i)", "one_hot": "f(i)",
    "scaled_dot_product_attention": "f(b, fresh(2, 3, 3), fresh(2, 3, 3))", "nn.functional.unfold": "f(pic, 2)", "householder_product orgqr": "f(x, v)",
    "ldl_solve": "f(*torch.linalg.ldl_factor(x), y)", "solve_triangular": "f(x, y, upper=True)", "tensorinv": "f(x, ind=1)",
    "tensorsolve": "f(x, v)", "gumbel_softmax": "f(x)", "general_cosine": "f(5, a=[0.5, 0.5])", "signal.windows.*": "f(5)",
    "gather": "f(x, 0, i)", "take_along_dim": "f(x, i, 0)", "take": "f(x, i)", "put": "f(x, i, y)", "where": "f(mask, x, y)",
    "masked_fill": "f(x, mask, 1)", "masked_select": "f(x, mask)", "masked_scatter": "f(x, mask, y)", "slice_scatter": "f(x, y)", "polygamma": "f(1, x)",
    "cross linalg.cross": "f(x, y)", "bernoulli": "f(x)", "multinomial": "f(x, 2)", "tensordot": "f(x, y)", "roll": "f(x, 1)", "matrix_power": "f(x, 2)",
    "multi_dot chain_matmul": "f([x, y])", "chain_matmul": "f(x, y)", "eye": "f(3, dtype=dtype)", "nn.functional.pad constant_pad_nd": "f(x, (1, 1))",
    "full": "f((3,), 1, dtype=dtype)", "ones zeros empty rand randn": "f(3, dtype=dtype)", "arange": "f(4, dtype=dtype)", "tensor": "f([1], dtype=dtype)",
    "linspace logspace": "f(0, 1, 3, dtype=dtype)", "scalar_tensor": "f(1, dtype=dtype)", "full_like": "f(x, 1)", "normal": "f(x, y)", "randperm": "f(3, dtype=dtype)",
    "empty_permuted": "f((2, 3), (1, 0), dtype=dtype)", "empty_strided": "f((2, 2), (1, 2), dtype=dtype)", "asarray as_tensor": "f([1], dtype=dtype)",
    "block_diag": "f(x, y)", "unravel_index": "f(i, (3, 3))", "broadcast_tensors": "f(x, v)", "histogramdd": "f(x, bins=[2, 2, 2])", "lerp": "f(x, y, 0.5)",
    "tril_indices triu_indices": "f(3, 3)", "gradient": "f(v)", "lstsq triangular_solve": "f(x, y)", "rot90": "f(x)", "is_nonzero": "f(s)", "alpha_dropout feature_alpha_dropout": "f(pic, 0.5, True)",
}  # fmt: skip

# What computes nothing: switches, questions, files, declarations.
SKIP = frozenset("""are_deterministic_algorithms_enabled broadcast_shapes can_cast compile elementwise fork_rng from_dlpack from_numpy frombuffer
    get_default_device get_default_dtype get_deterministic_debug_mode get_float32_matmul_precision get_num_interop_threads
    get_num_threads get_rng_state initial_seed is_anomaly_check_nan_enabled is_anomaly_enabled is_deterministic_algorithms_warn_only_enabled
    is_floating_point is_grad_enabled is_inference is_inference_mode_enabled is_tensor is_warn_always_enabled set_autocast_dtype get_autocast_dtype get_autocast_gpu_dtype load manual_seed numel promote_types
    reduction result_type save seed set_default_device set_default_dtype set_default_tensor_type set_deterministic_debug_mode set_float32_matmul_precision
    set_flush_denormal set_num_interop_threads set_num_threads set_printoptions set_rng_state set_warn_always typename
    use_deterministic_algorithms vmap or_nan regular resize_as_ index_put_ equal allclose require_matrices write_out""".split())
