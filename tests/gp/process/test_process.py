"""Waves, Gaussian coefficients, the evidence bound, residual calibration, networks on scattered samples."""

import pytest
import torch
from nwidth import Grid, NWidthError
from nwidth.gp.process import (
    Collocation,
    GaussianCoefficients,
    GridInvariantNet,
    Observations,
    Waves,
    evidence_bound,
    residual_scale,
)

F64 = torch.float64


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def gaussian(batch, count, rank, seed=0):
    spread = random(batch, count, seed=seed + 1).abs() + 0.1
    return GaussianCoefficients(random(batch, count, seed=seed), spread, random(batch, count, rank, seed=seed + 2))


def covariance(q):
    return torch.diag_embed(q.spread.square()) + q.factor @ q.factor.mT


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("kind", ["sine", "cosine"])
def test_derivatives_are_those_of_the_values(dims, kind):
    waves, x = Waves(3, dims, kind), torch.rand(4, dims, dtype=F64, generator=torch.Generator().manual_seed(0))
    slope = torch.stack([torch.autograd.functional.jacobian(lambda p: waves.values(p[None])[0], p) for p in x])
    assert torch.allclose(waves.gradient(x).mT, slope)
    for k in (0, 1, waves.count - 1):
        hessian = [torch.autograd.functional.hessian(lambda p, k=k: waves.values(p[None])[0, k], p).trace() for p in x]
        assert torch.allclose(waves.laplacian(x)[:, k], torch.stack(hessian))


def test_the_prior_is_the_solution_of_poisson_with_white_noise():
    """Its variance is the integral of the squared Green's function, x^2 (1 - x)^2 / 3 in one dimension."""
    x = torch.linspace(0, 1, 11, dtype=F64)[:, None]
    variance = Waves(400, 1).values(x).square().sum(-1)
    assert torch.allclose(variance, (x * (1 - x))[:, 0].square() / 3, atol=1e-8)


def test_moments_and_divergence_equal_the_dense_ones():
    q, rows = gaussian(5, 7, 2), random(5, 4, 7, seed=9)
    assert torch.allclose(q.mean_of(rows), (rows @ q.mean[..., None])[..., 0])
    assert torch.allclose(q.variance_of(rows), (rows @ covariance(q) @ rows.mT).diagonal(0, 1, 2))
    drawn = GaussianCoefficients(*(v[:1].expand(40000, *v.shape[1:]) for v in (q.mean, q.spread, q.factor)))
    values = drawn.sample_of(rows[:1], 2.0, torch.Generator().manual_seed(1))
    assert torch.allclose(values.var(0), 4 * q.variance_of(rows)[0], rtol=0.05)
    found, scale = q.divergence()

    def dense(size):
        prior = torch.distributions.MultivariateNormal(torch.zeros(7, dtype=F64), size**2 * torch.eye(7, dtype=F64))
        return torch.distributions.kl_divergence(torch.distributions.MultivariateNormal(q.mean, covariance(q)), prior)

    assert torch.allclose(found, dense(scale))
    assert all(dense(scale * s).sum() > found.sum() for s in (0.98, 1.02))


def test_the_bound_is_the_evidence_where_q_is_the_posterior():
    """Noise and scale of the exact posterior, iterated, reach a point where bound and log evidence agree; below it
    elsewhere."""
    waves = Waves(6, 1)
    x = torch.rand(1, 60, 1, dtype=F64, generator=torch.Generator().manual_seed(3))
    kappa = 1 + 0.5 * x[..., 0]
    at = Collocation(x, kappa, torch.full_like(x, 0.5), (3 * x[..., 0]).exp() + 0.3 * random(1, 60, seed=4))
    A, eye, noise, scale = at.rows(waves)[0], torch.eye(6, dtype=F64), torch.tensor(1.0), torch.tensor(1.0)
    for _ in range(300):
        S = torch.linalg.inv(A.T @ A / noise**2 + eye / scale**2)
        mean = S @ A.T @ at.force[0] / noise**2
        small = 1e-7
        q = GaussianCoefficients(
            mean[None], torch.full((1, 6), small, dtype=F64), torch.linalg.cholesky(S - small**2 * eye)[None]
        )
        bound, noise = evidence_bound(q, waves, at)
        noise, scale = noise[0, 0], q.divergence()[1]
    whole = scale**2 * A @ A.T + noise**2 * torch.eye(60, dtype=F64)
    evidence = torch.distributions.MultivariateNormal(torch.zeros(60, dtype=F64), whole).log_prob(at.force[0])
    assert abs(float(bound - evidence)) < 1e-6
    other = GaussianCoefficients(q.mean + 0.1, q.spread, q.factor)
    assert evidence_bound(other, waves, at)[0] < bound


def test_observations_count_where_they_have_weight():
    waves, q = Waves(4, 2), gaussian(3, 16, 1)
    x = torch.rand(1, 40, 2, dtype=F64)
    at = Collocation(x, torch.ones(3, 40, dtype=F64), torch.zeros(3, 40, 2, dtype=F64), random(3, 40))
    weight = torch.tensor([0.0, 1.0, 1.0], dtype=F64)[:, None].expand(3, 40)
    seen = Observations(x, random(3, 40, seed=2), weight, 0.3)
    plain, both = evidence_bound(q, waves, at)[0], evidence_bound(q, waves, at, seen)[0]
    rows = waves.values(x[0])
    gap = (seen.values - (rows @ q.mean.T).T).square() + (rows @ covariance(q) @ rows.T).diagonal(0, 1, 2)
    expected = torch.distributions.Normal(0.0, 0.3).log_prob(torch.zeros((), dtype=F64)) - gap / 2 / 0.09
    assert torch.allclose(both - plain, expected.sum(1) * weight[:, 0])


@pytest.mark.parametrize("true", [0.5, 3.0])
def test_residuals_tell_how_wrong_the_deviations_are(true):
    waves, q = Waves(8, 1), gaussian(3000, 8, 2)
    x = torch.rand(1, 200, 1, dtype=F64, generator=torch.Generator().manual_seed(1))
    kappa = (0.5 * torch.cos(torch.pi * x[..., 0])).exp().expand(3000, -1)
    slope = (-0.5 * torch.pi * torch.sin(torch.pi * x) * kappa[:1, :, None]).expand(3000, -1, -1)
    rows, generator = Collocation(x, kappa, slope, kappa).rows(waves), torch.Generator().manual_seed(2)
    force = q.sample_of(rows, true, generator)
    found = residual_scale(q, waves, Collocation(x, kappa, slope, force))
    assert abs(float(found) / true - 1) < 0.05


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_the_network_sees_a_function_not_a_grid(dims):
    torch.manual_seed(0)
    grid = Grid.make((4,) * dims, "nodal")
    net = GridInvariantNet(1, 5, grid, nodes=6, width=8, lengths=[0.5, 1.0], nugget=1e-8).double()
    many = (40, 120, 300)[dims - 1]
    out = []
    for seed in range(3):
        x = torch.rand(1, many + seed, dims, dtype=F64, generator=torch.Generator().manual_seed(seed))
        v = torch.cos(2 * x.sum(-1, keepdim=True))
        order = torch.randperm(x.shape[1])
        out.append(net(x, v))
        assert torch.allclose(net(x[:, order], v[:, order]), out[-1], atol=1e-5)
        twice = net(x.expand(2, -1, -1), v.expand(2, -1, -1))  # points of their own each, and shared ones
        assert torch.allclose(twice, out[-1].expand(2, -1), atol=1e-6)
    change = max(float(((a - b).norm() / a.norm()).detach()) for a in out for b in out)
    moved = net(x, torch.cos(2 * x.sum(-1, keepdim=True)) + 0.1)
    assert change < 0.1 * float(((moved - out[-1]).norm() / moved.norm()).detach())


def test_the_interpolation_reproduces_smooth_functions():
    net = GridInvariantNet(1, 2, Grid.make((4,)), nugget=1e-9)
    x = torch.rand(1, 50, 1, dtype=F64, generator=torch.Generator().manual_seed(0))
    for matrix in net.weights(x)[0]:
        assert (matrix @ torch.sin(4 * x[0]) - torch.sin(4 * net.nodes)).abs().max() < 1e-2


def test_wrong_arguments_are_errors():
    for bad in ({"width": 9}, {"kernel": "linear"}, {"kernel": "sinc"}, {"kernel_size": 4}):
        with pytest.raises(NWidthError, match="expected"):
            GridInvariantNet(1, 2, Grid.make((4,)), **bad)
    with pytest.raises(NWidthError, match="sine, cosine"):
        Waves(3, 1, "square")
    with pytest.raises(NWidthError, match="expected"):
        Waves(3, 2).values(torch.rand(4, 1))
