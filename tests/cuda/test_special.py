"""Special functions, float16 and bfloat16 on a simulated GPU against the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import numtorch as torch
import numtorch.special

pytestmark = pytest.mark.simulator
OF_ONE = """airy_ai bessel_j0 bessel_j1 bessel_y0 bessel_y1 modified_bessel_k0 modified_bessel_k1 ndtri scaled_modified_bessel_k0
    scaled_modified_bessel_k1 spherical_bessel_j0""".split()
OF_TWO = """chebyshev_polynomial_t gammainc gammaincc hermite_polynomial_h laguerre_polynomial_l legendre_polynomial_p
    shifted_chebyshev_polynomial_w""".split()


def check(function: Any) -> None:
    x = torch.linspace(0.1, 0.9, 6)
    np.testing.assert_allclose(function(x.cuda()).cpu().numpy(), function(x).numpy(), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("name", OF_ONE)
def test_functions_of_one_number(any_gpu: Any, name: str) -> None:
    check(getattr(torch.special, name))


@pytest.mark.parametrize("name", OF_TWO)
def test_functions_of_two_numbers(any_gpu: Any, name: str) -> None:
    check(lambda x: getattr(torch.special, name)(x, x * 4.0))


def test_float16(any_gpu: Any) -> None:
    check(lambda x: x.half() * 2 + 1)
    check(lambda x: x.half().sum().float())


def test_bfloat16(any_gpu: Any) -> None:
    """Kernels that compute, that reduce, that move and that choose."""
    check(lambda x: (x.bfloat16() * 2 + x).float())
    check(lambda x: x.bfloat16().sum().float())
    check(lambda x: torch.cat([x.bfloat16().flip(0), x.bfloat16()[x > 0.5]]).float())
    check(lambda x: x.bfloat16().topk(2)[0].half().float())
    check(lambda x: torch.full((2,), 1.5, dtype=torch.bfloat16, device=x.device).float() + x[:2])


def test_bfloat16_in_training(any_gpu: Any) -> None:
    def steps(x: Any) -> Any:
        w = x.bfloat16().requires_grad_()
        optimizer = torch.optim.SGD([w], lr=0.5)
        step = torch.jit.trace(lambda t: (w * t).square().sum().backward() or optimizer.step() or optimizer.zero_grad(), x, check_trace=False)
        step(x)
        step(x)
        return w.detach().float()

    check(steps)
