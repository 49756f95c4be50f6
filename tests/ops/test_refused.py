"""dtypes that PyTorch 2.13 has no kernel for, or asks not to be given: its classes of exceptions, in sentences that help."""

from __future__ import annotations

import pytest

import numtorch as torch

F = torch.nn.functional
BOOL = torch.tensor([[True, False], [False, True]])
INT = torch.tensor([[2, 1], [1, 2]])
BYTE, HALF = INT.to(torch.uint8), INT.half()
IMAGE = INT[None, None]
REFUSED = {
    NotImplementedError: (
        lambda: BOOL @ BOOL, lambda: torch.gcd(INT.float(), INT), lambda: torch.lcm(BOOL, BOOL), lambda: torch.addcmul(BOOL, BOOL, BOOL),
        lambda: BOOL.nanmedian(), lambda: torch.cholesky(INT), lambda: torch.linalg.qr(HALF), lambda: torch.linalg.eigh(INT),
        lambda: F.interpolate(IMAGE, scale_factor=2), lambda: F.interpolate(IMAGE.float(), size=3).to(torch.int8).round(decimals=0),
        lambda: F.pad(BOOL[None], (1, 0), mode="reflect"), lambda: F.unfold(IMAGE, 2), lambda: F.conv_transpose2d(IMAGE.int(), IMAGE.int()),
        lambda: F.max_unpool1d(INT, INT, 2), lambda: F.multi_margin_loss(INT, INT[0]), lambda: torch.histogram(INT, 2),
        lambda: F.softsign(BOOL), lambda: F.threshold(BOOL, 0, 0), lambda: torch.bucketize(INT, BOOL[0]), lambda: torch.normal(INT, 1.0),
        lambda: INT.clone().bool().geometric_(0.5), lambda: torch.cross(BOOL[0].repeat(2)[:3], BOOL[0].repeat(2)[:3]),
        lambda: torch.special.bessel_j0(HALF), lambda: torch.special.zeta(HALF, HALF), lambda: torch.special.erfcx(HALF),
        lambda: torch.special.modified_bessel_i0(HALF), lambda: torch.special.legendre_polynomial_p(HALF, 2), lambda: F.mse_loss(INT, INT),
        lambda: F.grid_sample(IMAGE, IMAGE.reshape(1, 1, 2, 2), align_corners=False), lambda: F.ctc_loss(HALF[:, None], INT[:1], [2], [2]),
        lambda: torch.linalg.matrix_power(BOOL, 2),
    ),
    RuntimeError: (
        lambda: F.relu(BOOL), lambda: F.hardtanh(BYTE), lambda: F.tanhshrink(BOOL), lambda: torch.cov(BOOL), lambda: torch.corrcoef(BOOL),
        lambda: torch.isin(BOOL, BOOL), lambda: torch.gradient(BYTE), lambda: torch.trapezoid(BOOL), lambda: torch.mvlgamma(BOOL, 1),
        lambda: torch.multinomial(INT, 1), lambda: INT.clone().cauchy_(), lambda: INT.clone().exponential_(), lambda: torch.linalg.vecdot(INT, INT),
        lambda: torch.linalg.vander(BOOL), lambda: F.gaussian_nll_loss(INT, INT, INT), lambda: torch.linalg.qr(INT),
        lambda: torch.linalg.inv(HALF), lambda: torch.linalg.slogdet(HALF), lambda: F.l1_loss(BOOL, BOOL), lambda: F.embedding_bag(INT, BYTE),
    ),
    TypeError: (lambda: torch.unravel_index(HALF, (2,)), lambda: torch.maximum(INT, 2), lambda: torch.eq(2, INT), lambda: torch.clamp_min(2, INT)),
    ValueError: (lambda: torch.arange(0, 64, 0.5, out=torch.empty(0, dtype=torch.int64)),),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "number"), [(k, n) for k, calls in REFUSED.items() for n in range(len(calls))])
def test_refused(kind, number):
    with pytest.raises(kind, match=r".{20}") as caught:
        REFUSED[kind][number]()
    assert type(caught.value) is kind


def test_what_was_refused_says_what_to_do():
    with pytest.raises(NotImplementedError, match=r"\"erfcx\" not implemented for 'Half': expected float32 or float64, .* convert with .float"):
        torch.special.erfcx(HALF)


def test_whole_numbers_that_are_computed_with():
    assert torch.linalg.matrix_power(INT, 3).tolist() == [[14, 13], [13, 14]] and torch.linalg.matrix_power(INT, 3).dtype is torch.int64
    y, x = torch.tensor([200, 50, 120, 7], dtype=torch.uint8), torch.tensor([3, 100, 20, 120], dtype=torch.uint8)
    assert torch.trapezoid(y, x).item() == 283.0 and torch.trapezoid(y).item() == 273.5
    assert torch.cumulative_trapezoid(y, x).tolist() == [93.0, 205.0, 283.0]
    assert torch.kthvalue(BOOL[0], 2).values.item() is True
    assert F.margin_ranking_loss(BYTE, BYTE, BYTE, margin=1.0, reduction="none").tolist() == [[1, 1], [1, 1]]
    assert torch.arange(2.1, -2.9, -1.0, dtype=torch.int16).tolist() == [2, 1, 0, -1, -2]
    assert F.interpolate(BYTE[None, None], size=3, mode="bilinear", align_corners=True).flatten().tolist() == [2, 2, 1, 2, 2, 2, 1, 2, 2]


@pytest.mark.parametrize("wrong", [{"bias": 1}, {"batch_first": "yes"}, {"input_size": 0}])
def test_arguments_of_recurrent_networks(wrong):
    with pytest.raises(ValueError if "input_size" in wrong else TypeError):
        torch.nn.LSTM(**{"input_size": 2, "hidden_size": 3, **wrong})


def test_batch_norm_needs_a_positive_eps():
    with pytest.raises(ValueError, match=r"batch_norm eps must be positive during training, but got 0.0; the default"):
        torch.nn.BatchNorm1d(2, eps=0.0)(INT.float())
