"""Covariances of differential functionals against automatic differentiation of the kernel."""

import math

import gpytorch
import pytest
import torch
from gpytorch.kernels import MaternKernel, PeriodicKernel, RBFKernel, ScaleKernel
from nwidth.errors import NWidthError
from nwidth.gp.kernels import (
    DimensionProduct,
    FunctionalKernel,
    GridSpectralMixtureProduct,
    SpectralMixture,
    functional_covariance,
    kernel_derivative,
    laplacian,
    value,
)

F64 = torch.float64


def mixture(q, dims=1, envelope="gaussian"):
    g = torch.Generator().manual_seed(q)
    k = SpectralMixture(q, dims, envelope=envelope).double()
    return k.assign(*(torch.rand(s, dtype=F64, generator=g) / 2 + 0.1 for s in ((q,), (q, dims), (q, dims))))


def autodiff(kernel, a, b, orders_a, orders_b):
    """d^orders_a / da d^orders_b / db k(a, b) at single points."""
    a, b = a.clone().requires_grad_(), b.clone().requires_grad_()
    out = kernel(a[None], b[None]).to_dense()[0, 0]
    for x, orders in ((a, orders_a), (b, orders_b)):
        for p, n in enumerate(orders):
            for _ in range(n):
                (grad,) = torch.autograd.grad(out, x, create_graph=True)
                out = grad[p]
    return out.detach()


def kernels_2d():
    rbf = RBFKernel(ard_num_dims=2).double()
    rbf.lengthscale = torch.tensor([[0.5, 0.8]], dtype=F64)
    scaled = ScaleKernel(RBFKernel(active_dims=[1])).double()
    scaled.outputscale = 1.7
    return {
        "rbf": rbf,
        "mixture": mixture(3, 2),
        "student": mixture(2, 2, "matern52"),
        "product": DimensionProduct([mixture(2), mixture(3, envelope="matern52")]),
        "grid": GridSpectralMixtureProduct([2, 2], [1.0, 0.5]).double(),
        "sum": rbf + scaled,
        "leibniz": scaled * mixture(2, 2) * rbf,
    }


A, B = torch.tensor([0.1, 0.4], dtype=F64), torch.tensor([0.7, -0.3], dtype=F64)
ORDERS = [((0, 0), (0, 0)), ((1, 0), (0, 0)), ((0, 1), (1, 0)), ((2, 0), (0, 2)), ((1, 1), (1, 1)), ((0, 2), (0, 2))]


@pytest.mark.parametrize("orders", ORDERS, ids=str)
@pytest.mark.parametrize("name", list(kernels_2d()))
def test_derivatives_in_two_dimensions(name, orders):
    k = kernels_2d()[name]
    ours = functional_covariance(k, A[None], {orders[0]: 1.0}, B[None], {orders[1]: 1.0})[0, 0]
    torch.testing.assert_close(ours.detach(), autodiff(k, A, B, *orders), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize(("envelope", "most"), [("gaussian", 6), ("matern32", 2), ("matern52", 4)])
def test_derivatives_of_high_order_and_where_they_end(envelope, most):
    k = mixture(2, 1, envelope)
    for n in range(most + 1):
        ours = kernel_derivative(k, A[:1, None], B[:1, None], (n,))[0, 0]
        torch.testing.assert_close(ours.detach(), autodiff(k, A[:1], B[:1], (n,), (0,)), rtol=1e-7, atol=1e-8)
    if envelope != "gaussian":
        with pytest.raises(NWidthError, match="smoother"):
            kernel_derivative(k, A[:1, None], B[:1, None], (most + 1,))


@pytest.mark.parametrize("envelope", ["gaussian", "matern32", "matern52"])
def test_at_equal_points_the_derivative_is_the_limit(envelope):
    k = mixture(2, 1, envelope)
    zero, near = torch.zeros(1, 1, dtype=F64), torch.full((1, 1), 1e-7, dtype=F64)
    for n in range(5 if envelope != "matern32" else 3):
        at, by = kernel_derivative(k, zero, zero, (n,)), kernel_derivative(k, zero, near, (n,))
        scale = float(kernel_derivative(k, zero, zero, (n + n % 2 if n < 4 else n,)).abs())
        assert abs(float(at - by)) < 1e-4 * scale
    variance = functional_covariance(k, zero, {(1,): 1.0}, zero, {(1,): 1.0})
    assert float(variance) > 0


@pytest.mark.parametrize("nu", [0.5, 1.5, 2.5])
def test_materns_of_gpytorch(nu):
    k = ScaleKernel(MaternKernel(nu=nu, active_dims=[1])).double()
    a, b = torch.rand(4, 2, dtype=F64), torch.rand(3, 2, dtype=F64)
    torch.testing.assert_close(kernel_derivative(k, a, b, (0, 0)), k(a, b).to_dense(), rtol=1e-6, atol=1e-7)
    assert not kernel_derivative(k, a, b, (1, 0)).any()


def test_a_pde_with_variable_coefficients():
    """L u = u_xx + x u_y - 3 u against the sum of its parts by automatic differentiation."""
    k = kernels_2d()["mixture"]
    L = {(2, 0): 1.0, (0, 1): lambda p: p[..., 0], (0, 0): -3.0}
    a, b = torch.rand(3, 2, dtype=F64), torch.rand(4, 2, dtype=F64)
    ours = functional_covariance(k, a, L, b, L).detach()
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            total = 0
            for o1, c1 in {(2, 0): 1.0, (0, 1): x[0], (0, 0): -3.0}.items():
                for o2, c2 in {(2, 0): 1.0, (0, 1): y[0], (0, 0): -3.0}.items():
                    total = total + c1 * c2 * autodiff(k, x, y, o1, o2)
            torch.testing.assert_close(ours[i, j], total, rtol=1e-8, atol=1e-8)
    square = functional_covariance(k, a, L, a, L)
    torch.testing.assert_close(functional_covariance(k, a, L, a, L, diag=True), square.diagonal())
    assert torch.linalg.eigvalsh(square.detach()).min() > -1e-9 * square.max()


def test_the_joint_covariance_has_its_blocks_in_place():
    k = FunctionalKernel(kernels_2d()["product"], [value(2), laplacian(2)]).double()
    x = torch.rand(7, 2, dtype=F64)
    which = torch.tensor([0, 1, 1, 0, 0, 1, 0], dtype=F64)
    K = k(torch.cat([x, which[:, None]], 1)).to_dense()
    for i in range(7):
        for j in range(7):
            f, g = (k.functionals[int(which[n])] for n in (i, j))
            torch.testing.assert_close(
                K[i, j], functional_covariance(k.base_kernel, x[i : i + 1], f, x[j : j + 1], g)[0, 0]
            )
    torch.testing.assert_close(k(torch.cat([x, which[:, None]], 1), diag=True), K.diagonal())


def test_poisson_by_an_exact_gp():
    """u'' = -9 sin 3x with u at the ends, collocated: the process gives u in between."""
    inner, ends = torch.linspace(0, 2, 17, dtype=F64), torch.tensor([0.0, 2.0], dtype=F64)
    x = torch.cat([torch.stack([inner, torch.ones(17).double()], 1), torch.stack([ends, torch.zeros(2).double()], 1)])
    y = torch.cat([-9 * torch.sin(3 * inner), torch.sin(3 * ends)])
    base = RBFKernel().double()
    base.lengthscale = 0.6
    likelihood = gpytorch.likelihoods.GaussianLikelihood(
        noise_constraint=gpytorch.constraints.GreaterThan(1e-10)
    ).double()
    likelihood.noise = 1e-8

    class Model(gpytorch.models.ExactGP):
        def __init__(self):
            super().__init__(x, y, likelihood)
            self.mean_module, self.covar_module = (
                gpytorch.means.ZeroMean(),
                FunctionalKernel(base, [value(1), laplacian(1)]),
            )

        def forward(self, z):
            return gpytorch.distributions.MultivariateNormal(self.mean_module(z), self.covar_module(z))

    model = Model().double().eval()
    z = torch.linspace(0, 2, 41, dtype=F64)
    with torch.no_grad():
        mean = model(torch.stack([z, torch.zeros_like(z)], 1)).mean
    assert (mean - torch.sin(3 * z)).abs().max() < 1e-3


def test_float32():
    K = functional_covariance(SpectralMixture(2, 2), torch.rand(3, 2), laplacian(2), torch.rand(4, 2), laplacian(2))
    assert K.dtype == torch.float32 and math.isfinite(float(K.sum()))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x: kernel_derivative(MaternKernel(nu=2.5), x, x, (1, 0)), "DimensionProduct"),
        (lambda x: kernel_derivative(PeriodicKernel(), x, x, (1, 0)), "expected a kernel of nwidth"),
        (lambda x: functional_covariance(RBFKernel(), x, {(1,): 1.0}, x, value(2)), "2 orders"),
        (lambda x: functional_covariance(RBFKernel(), x, {}, x, value(2)), "2 orders"),
        (lambda x: functional_covariance(RBFKernel(), x, {(-1, 0): 1.0}, x, value(2)), "orders >= 0"),
        (lambda x: FunctionalKernel(RBFKernel(), [value(1)])(x + 5).to_dense(), "last column"),
    ],
)
def test_mistakes(call, words):
    with pytest.raises(NWidthError, match=words):
        call(torch.rand(3, 2))
