"""Structured matrices pass linear_operator's own test cases, and equal their dense forms."""

import unittest

import pytest
import torch
from linear_operator.operators import MaskedLinearOperator
from linear_operator.test.linear_operator_test_case import LinearOperatorTestCase
from nwidth.errors import NWidthError
from nwidth.gp.structured import GridCovariance, Toeplitz
from nwidth.gp.structured.toeplitz import odd_length

F64 = torch.float64


def column(*batch):
    n = torch.arange(5.0)
    return (torch.tensor([3.0, 1.0]) if batch else torch.tensor(2.0))[..., None] * torch.exp(-n) + (n == 0)


def spd(n, *batch, seed=0):
    a = torch.randn(*batch, n, n, generator=torch.Generator().manual_seed(seed + n))
    return a @ a.mT / n + 0.5 * torch.eye(n)


class TestToeplitz(LinearOperatorTestCase, unittest.TestCase):
    seed = 0

    def create_linear_op(self):
        return Toeplitz(column().requires_grad_())

    def evaluate_linear_op(self, op):
        i = torch.arange(op.shape[-1])
        return op.column[..., (i[:, None] - i).abs()]


class TestToeplitzBatch(TestToeplitz):
    def create_linear_op(self):
        return Toeplitz(column(2).requires_grad_())


class TestGridCovariance(LinearOperatorTestCase, unittest.TestCase):
    seed = 0
    should_call_cg = False
    should_call_lanczos = False
    batch = ()

    def create_linear_op(self):
        noise = torch.full((*self.batch, 1), 0.3)
        return GridCovariance(noise, spd(2, *self.batch), spd(3, *self.batch)).requires_grad_(True)

    def evaluate_linear_op(self, op):
        a, b = op.factors
        dense = torch.einsum("...ij,...kl->...ikjl", a, b).flatten(-4, -3).flatten(-2)
        return dense + op.noise[..., None] * torch.eye(6)


class TestGridCovarianceBatch(TestGridCovariance):
    batch = (2,)


@pytest.mark.parametrize("n", [2, 3, 64, 1000])
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_products_with_toeplitz_equal_dense_ones(n, dtype):
    g = torch.Generator().manual_seed(n)
    c, x = torch.rand(n, dtype=dtype, generator=g), torch.rand(n, 3, dtype=dtype, generator=g)
    T = Toeplitz(c)
    assert odd_length(2 * n - 1) % 2 == 1
    torch.testing.assert_close(T @ x, T.to_dense() @ x, rtol=1e-5 if dtype == torch.float32 else 1e-13, atol=0)


def test_observed_points_of_a_grid():
    C = GridCovariance(torch.tensor([0.1]), spd(3), spd(2))
    mask = torch.tensor([True, True, False, True, False, True])
    some, x = MaskedLinearOperator(C, mask, mask), torch.rand(4, 2)
    torch.testing.assert_close(some @ x, C.to_dense()[mask][:, mask] @ x)


@pytest.mark.parametrize("shapes", [[(1,), (2, 3)], [(2,), (2, 2)], [(1,)]])
def test_shapes_are_checked(shapes):
    with pytest.raises(NWidthError, match="square factors"):
        GridCovariance(*(torch.ones(s) for s in shapes))
