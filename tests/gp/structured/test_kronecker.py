"""Determinants, solves and gradients on grids, against dense matrices; missing points in three ways."""

import pytest
import torch
from nwidth.errors import NWidthError
from nwidth.gp.structured import ObservedCovariance, apply_factors, quad_logdet
from nwidth.gp.structured.conjugate_gradients import conjugate_gradients, log_quadrature

F64 = torch.float64


def rbf(n, length):
    x = torch.linspace(0, 1, n, dtype=F64)
    return torch.exp(-0.5 * ((x[:, None] - x) / length) ** 2)


def exponential(n, length):
    x = torch.linspace(0, 1, n, dtype=F64)
    return torch.exp(-(x[:, None] - x).abs() / length)


def kron(factors):
    out = factors[0]
    for f in factors[1:]:
        out = torch.kron(out, f)
    return out


@pytest.mark.parametrize("shape", [(5,), (4, 3), (3, 2, 4)])
def test_products(shape):
    g = torch.Generator().manual_seed(0)
    factors = [torch.rand(n + 1, n, dtype=F64, generator=g) for n in shape]
    x = torch.rand(2, *shape, dtype=F64, generator=g)
    torch.testing.assert_close(apply_factors(factors, x).flatten(1), x.flatten(1) @ kron(factors).T)


@pytest.mark.parametrize("shape", [(6,), (4, 3), (3, 2, 4)])
def test_density_equals_the_dense_one(shape):
    factors = [rbf(n, 0.3 + 0.1 * i) for i, n in enumerate(shape)]
    noise = torch.tensor(0.2, dtype=F64)
    y = torch.rand(2, *shape, dtype=F64, generator=torch.Generator().manual_seed(1))
    quad, logdet = quad_logdet(y, noise, factors)
    C = kron(factors) + 0.2 * torch.eye(y[0].numel(), dtype=F64)
    flat = y.flatten(1)
    torch.testing.assert_close(quad, (flat * torch.linalg.solve(C, flat.T).T).sum(1))
    torch.testing.assert_close(logdet, torch.linalg.slogdet(C)[1])


@pytest.mark.parametrize("lead", [(), (2,), (3, 2)])
@pytest.mark.parametrize("batch", [(), (2,)])
@pytest.mark.parametrize("shape", [(3,), (3, 2), (2, 3, 2)])
def test_gradients(shape, batch, lead):
    g = torch.Generator().manual_seed(0)
    roots = [torch.randn(*batch, n, n, dtype=F64, generator=g, requires_grad=True) for n in shape]
    noise = torch.rand(batch, dtype=F64, generator=g).add(0.1).requires_grad_()
    y = torch.randn(*lead, *shape, dtype=F64, generator=g, requires_grad=True)
    assert torch.autograd.gradcheck(lambda y, s, *r: quad_logdet(y, s, [f @ f.mT for f in r]), (y, noise, *roots))


def test_equal_eigenvalues_have_a_gradient():
    """Derivatives of eigenvectors would divide by zero."""
    K = torch.eye(4, dtype=F64, requires_grad=True)
    y = torch.ones(4, 4, dtype=F64)
    quad, logdet = quad_logdet(y, torch.tensor(1.0, dtype=F64), [K, K])
    (grad,) = torch.autograd.grad(quad + logdet, K)
    expected = 2 * (-torch.ones(4, 4, dtype=F64) + 2 * torch.eye(4, dtype=F64))  # of -(y'dK y)/4 and tr(dK)/2, twice
    torch.testing.assert_close(grad, expected)


def test_not_a_number_in_a_factor():
    with pytest.raises(NWidthError, match="NaN"):
        quad_logdet(torch.ones(2, dtype=F64), torch.tensor(1.0, dtype=F64), [torch.full((2, 2), torch.nan, dtype=F64)])


def case(make, shape=(9, 7), share=0.6):
    g = torch.Generator().manual_seed(3)
    mask = torch.rand(shape, generator=g) < share
    y = torch.randn(2, *shape, dtype=F64, generator=g)
    return [make(shape[0], 0.4), make(shape[1], 0.3)], y, mask


@pytest.mark.parametrize("make", [rbf, exponential])
@pytest.mark.parametrize("method", ["dense", "complement", "iterative"])
def test_missing_points_equal_dense(method, make):
    factors, y, mask = case(make)
    y = torch.where(mask, y, torch.nan)  # what is missing is never read
    noise = torch.tensor(0.01, dtype=F64)
    where = mask.flatten()
    C = kron(factors)[where][:, where] + 0.01 * torch.eye(int(mask.sum()), dtype=F64)
    observed = ObservedCovariance(factors, noise, mask, method=method, rank=20, probes=400)
    expected = torch.linalg.solve(C, y[:, mask].T).T
    clean = torch.where(mask, y, 0)
    solved = observed.solve(clean)
    assert not solved[:, ~mask].any()
    torch.testing.assert_close(solved[:, mask], expected, rtol=1e-6, atol=1e-6)
    quad, logdet = observed.quad_logdet(y)
    torch.testing.assert_close(quad, (y[:, mask] * expected).sum(1), rtol=1e-9, atol=0)
    true = torch.linalg.slogdet(C)[1]
    if method == "iterative":
        assert abs(logdet - true) < 4 * observed.logdet_error < 0.1 * abs(true)
    else:
        torch.testing.assert_close(logdet, true)


@pytest.mark.parametrize("method", ["dense", "complement"])
def test_gradients_with_missing_points(method):
    mask = torch.tensor([[True, False, True], [True, True, False]])
    g = torch.Generator().manual_seed(0)
    roots = [torch.randn(n, n, dtype=F64, generator=g, requires_grad=True) for n in mask.shape]
    noise = torch.tensor(0.3, dtype=F64, requires_grad=True)
    y = torch.randn(2, 2, 3, dtype=F64, generator=g, requires_grad=True)

    def f(y, s, *r):
        return ObservedCovariance([f @ f.mT for f in r], s, mask, method=method).quad_logdet(y)

    # complement: logdet gets its gradient apart from its value, so compare sums of both outputs numerically
    quad, logdet = f(y, noise, *roots)
    dense = torch.stack([kron([r @ r.mT for r in roots])])[0][mask.flatten()][:, mask.flatten()]
    C = dense + noise * torch.eye(len(dense), dtype=F64)
    x = y[:, mask]
    other = (x * torch.linalg.solve(C, x.T).T).sum() + torch.linalg.slogdet(C)[1]
    ours = torch.autograd.grad(quad.sum() + logdet, (y, noise, *roots))
    for a, b in zip(ours, torch.autograd.grad(other, (y, noise, *roots))):
        torch.testing.assert_close(a, b)


def test_stochastic_gradient_is_near_the_exact_one():
    factors, y, mask = case(exponential, (12, 10))
    grads = []
    for method in ("dense", "iterative"):
        noise = torch.tensor(0.05, dtype=F64, requires_grad=True)
        scale = torch.tensor(1.3, dtype=F64, requires_grad=True)
        options = {"method": method, "probes": 600, "rank": 10}
        _, logdet = ObservedCovariance([scale * factors[0], factors[1]], noise, mask, **options).quad_logdet(y)
        grads.append(torch.stack(torch.autograd.grad(logdet, (noise, scale))))
    torch.testing.assert_close(grads[1], grads[0], rtol=0.03, atol=0)


def test_the_preconditioner_saves_steps():
    factors, y, mask = case(rbf, (30, 30))
    y = torch.where(mask, y, 0)
    observed = ObservedCovariance(factors, torch.tensor(1e-4, dtype=F64), mask, method="iterative")
    observed.solve(y)
    plain = conjugate_gradients(observed.matmul, y, None, 1e-8, 20000)[1]
    assert observed.iterations < 10 < 100 < len(plain)


def test_steps_end_for_each_side_alone_and_give_the_logarithm():
    g = torch.Generator().manual_seed(0)
    a = torch.randn(6, 6, dtype=F64, generator=g)
    A = a @ a.T + torch.eye(6, dtype=F64)
    b = torch.randn(4, 6, dtype=F64, generator=g)
    b[1] = torch.linalg.eigh(A)[1][:, 0]  # done in one step
    b[2] = 0
    x, alphas, betas = conjugate_gradients(lambda v: v @ A, b, None, 1e-12)
    torch.testing.assert_close(x, torch.linalg.solve(A, b.T).T)
    values, vectors = torch.linalg.eigh(A)
    log = vectors @ torch.diag(values.log()) @ vectors.T
    live = [0, 1, 3]
    expected = ((b @ log) * b).sum(1) / b.square().sum(1)
    torch.testing.assert_close(log_quadrature(alphas, betas)[live], expected[live], rtol=1e-6, atol=1e-8)


def test_no_convergence_is_an_error():
    with pytest.raises(NWidthError, match="did not converge"):
        conjugate_gradients(lambda v: v * torch.logspace(-9, 0, 60, dtype=F64), torch.ones(1, 60, dtype=F64), limit=5)


def test_an_unknown_method_is_an_error():
    with pytest.raises(NWidthError, match="one of auto"):
        ObservedCovariance([rbf(3, 1.0)], torch.tensor(1.0), torch.ones(3, dtype=torch.bool), method="magic")
