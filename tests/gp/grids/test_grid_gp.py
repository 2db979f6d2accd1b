"""GridGP against a dense Gaussian process: likelihood, gradient, mean, standard deviation, samples, missing points."""

import math

import gpytorch
import pytest
import torch
from gpytorch.kernels import MaternKernel, RBFKernel, ScaleKernel
from nwidth import Grid, Mesh
from nwidth.backends import Axis
from nwidth.errors import NWidthError
from nwidth.gp.grids import GridGP, axis_covariance

F64 = torch.float64


def kernels(*batch):
    a, b = RBFKernel(batch_shape=torch.Size(batch)), MaternKernel(nu=1.5, batch_shape=torch.Size(batch))
    n = math.prod(batch)
    a.lengthscale = (0.3 + 0.1 * torch.arange(n)).reshape(*batch, 1, 1)
    b.lengthscale = (0.5 - 0.1 * torch.arange(n)).reshape(*batch, 1, 1)
    return [a, b]


def model(grid, *batch, **options):
    gp = GridGP(grid, kernels(*batch), batch_shape=batch, noise=0.05, scale=1.7, **options)
    with torch.no_grad():
        gp.mean.fill_(0.4)
    return gp


def grid_and_field(*lead, dtype=F64):
    grid = Grid((Axis("nodal", 6), Axis("chebyshev", 5, 0.0, 2.0)))
    return grid, torch.randn(*lead, 6, 5, dtype=dtype, generator=torch.Generator().manual_seed(1))


def dense(gp, a, b):
    """k(a, b) for points (., 2) of the first member of a batch, one kernel at a time."""
    K = gp.scale.flatten()[0]
    for i, k in enumerate(gp.kernels):
        part = k(a[:, i : i + 1], b[:, i : i + 1]).to_dense()
        K = K * part.reshape(-1, *part.shape[-2:])[0]
    return K


def setting(masked):
    grid, y = grid_and_field()
    mask = torch.rand(grid.shape, generator=torch.Generator().manual_seed(2)) < 0.7 if masked else None
    where = torch.ones(30, dtype=torch.bool) if mask is None else mask.flatten()
    points = grid.coordinates().flatten(1).T
    return grid, y, mask, where, points


METHODS = [(False, "auto"), (True, "dense"), (True, "complement"), (True, "iterative")]


@pytest.mark.parametrize(("masked", "method"), METHODS[:3])
def test_likelihood_and_gradient_equal_dense_ones(masked, method):
    grid, y, mask, where, points = setting(masked)
    gp = model(grid, method=method)
    x, z = points[where], y.flatten()[where]
    C = dense(gp, x, x) + gp.noise * torch.eye(len(x), dtype=F64)
    other = torch.distributions.MultivariateNormal(gp.mean.expand(len(x)), C).log_prob(z)
    ours = gp.log_likelihood(y, mask)
    torch.testing.assert_close(ours, other)
    parameters = list(gp.parameters())
    for a, b in zip(torch.autograd.grad(ours, parameters), torch.autograd.grad(other, parameters)):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-8)


def test_likelihood_equals_that_of_gpytorch():
    grid, y, *_, points = setting(False)
    gp = model(grid)
    covar = ScaleKernel(RBFKernel(active_dims=[0]) * MaternKernel(nu=1.5, active_dims=[1])).double()
    covar.base_kernel.kernels[0].lengthscale, covar.base_kernel.kernels[1].lengthscale = 0.3, 0.5
    covar.outputscale = 1.7
    noisy = covar(points).add_diagonal(torch.tensor(0.05, dtype=F64))
    expected = gpytorch.distributions.MultivariateNormal(torch.full((30,), 0.4, dtype=F64), noisy).log_prob(y.flatten())
    torch.testing.assert_close(gp.log_likelihood(y), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize(("masked", "method"), METHODS)
@pytest.mark.parametrize("place", ["same", "grid", "points", "mesh"])
def test_posterior_equals_the_dense_one(masked, method, place):
    grid, y, mask, where, points = setting(masked)
    gp = model(grid, method=method)
    other = Grid((Axis("cell", 4, -0.2, 1.1), Axis("nodal", 3, 0.0, 2.5)))
    scattered = torch.rand(7, 2, dtype=F64, generator=torch.Generator().manual_seed(3)) * 2
    asked = {"same": None, "grid": other, "points": scattered, "mesh": Mesh(scattered)}[place]
    x_new = {"same": points, "grid": other.coordinates().flatten(1).T}.get(place, scattered)
    x, z = points[where], y.flatten()[where] - 0.4
    C = dense(gp, x, x) + 0.05 * torch.eye(len(x), dtype=F64)
    k = dense(gp, x_new, x)
    mean = 0.4 + k @ torch.linalg.solve(C, z)
    variance = dense(gp, x_new, x_new).diagonal() - (k * torch.linalg.solve(C, k.T).T).sum(1)
    posterior = gp.condition(y, mask)
    prediction = posterior.predict(asked)
    torch.testing.assert_close(prediction.mean.flatten(), mean.detach(), rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(prediction.std.flatten(), variance.detach().sqrt(), rtol=1e-6, atol=1e-7)
    noisy = posterior.std(asked, noise=True).flatten()
    torch.testing.assert_close(noisy, (variance.detach() + 0.05).sqrt(), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("masked", "method"), [METHODS[0], METHODS[2]])
@pytest.mark.parametrize("elsewhere", [False, True])
def test_samples_have_the_posterior_moments(masked, method, elsewhere):
    grid, y, mask, *_ = setting(masked)
    posterior = model(grid, method=method).condition(y, mask)
    place = Grid.make((3, 2), kind="cell") if elsewhere else None
    draws = posterior.sample(6000, place, seed=4)
    std = posterior.std(place)
    assert ((draws.mean(0) - posterior.mean(place)).abs() < 5 * std / 6000**0.5).all()
    torch.testing.assert_close(draws.std(0), std, rtol=0.05, atol=0)
    assert torch.equal(draws, posterior.sample(6000, place, seed=4))
    x = (place or grid).coordinates().flatten(1).T
    # neighbours are correlated as the dense posterior says
    if not masked:
        gp, p = posterior.model, grid.coordinates().flatten(1).T
        k = dense(gp, x, p)
        C = dense(gp, p, p) + 0.05 * torch.eye(30, dtype=F64)
        cov = (dense(gp, x, x) - k @ torch.linalg.solve(C, k.T)).detach()
        error = torch.cov(draws.flatten(1).T) - cov
        assert error.abs().max() < 0.08 * cov.diagonal().max()


@pytest.mark.parametrize("masked", [False, True])
def test_a_batch_of_kernels_and_fields_equals_single_ones(masked):
    grid, y = grid_and_field(4, 3)
    mask = setting(True)[2] if masked else None
    gp = model(grid, 3)
    value = gp.log_likelihood(y, mask)
    posterior = gp.condition(y, mask)
    mean, std = posterior.mean(), posterior.std()
    points = torch.rand(5, 2, dtype=F64)
    assert value.shape == (4, 3) and mean.shape == y.shape and std.shape == (3, 6, 5)
    assert posterior.sample(2).shape == (2, 4, 3, 6, 5) and posterior.predict(points).std.shape == (4, 3, 5)
    for j in range(3):
        single = model(grid)
        single.load_state_dict(
            {k: v[j] if v.ndim else v for k, v in gp.state_dict().items() if "constraint" not in k}, strict=False
        )
        one = single.condition(y[:, j], mask)
        torch.testing.assert_close(value[:, j], single.log_likelihood(y[:, j], mask))
        torch.testing.assert_close(mean[:, j], one.mean())
        torch.testing.assert_close(std[j], one.std())
        torch.testing.assert_close(posterior.mean(points)[:, j], one.mean(points))
        torch.testing.assert_close(posterior.std(points)[j], one.std(points))


def test_one_and_three_axes():
    for n in ((9,), (4, 3, 5)):
        grid = Grid.make(n, kind="nodal")
        y = torch.randn(n, dtype=F64, generator=torch.Generator().manual_seed(0))
        gp = GridGP(grid, [RBFKernel() for _ in n], noise=0.1, mean="zero")
        x = grid.coordinates().flatten(1).T
        K = RBFKernel().double()(x).to_dense()  # the product of RBF kernels of equal length is radial
        C = K + 0.1 * torch.eye(len(x), dtype=F64)
        expected = torch.distributions.MultivariateNormal(torch.zeros(len(x), dtype=F64), C).log_prob(y.flatten())
        torch.testing.assert_close(gp.log_likelihood(y), expected, rtol=1e-8, atol=0)
        posterior = gp.condition(y)
        torch.testing.assert_close(posterior.mean().flatten(), (K @ torch.linalg.solve(C, y.flatten())).detach())
        torch.testing.assert_close(posterior.mean(x).reshape(n), posterior.mean())
        torch.testing.assert_close(posterior.std(x).reshape(n), posterior.std(), rtol=1e-5, atol=1e-7)


def test_fitting_recovers_the_hyperparameters():
    grid = Grid.make((40, 40), kind="nodal", hi=4.0)
    truth = GridGP(grid, kernels(), noise=0.01, scale=2.0)
    x = grid.axes[0].coordinates()
    roots = [torch.linalg.cholesky(axis_covariance(k, grid.axes[0]) + 1e-10 * torch.eye(40)) for k in truth.kernels]
    g = torch.Generator().manual_seed(0)
    y = (2**0.5 * roots[0] @ torch.randn(40, 40, dtype=F64, generator=g) @ roots[1].T).detach()
    y = y + 0.1 * torch.randn(40, 40, dtype=F64, generator=g)
    gp = GridGP(grid, [RBFKernel(), MaternKernel(nu=1.5)])
    history = gp.fit(y)
    assert max(history) > history[0] and len(x) == 40
    assert gp.noise.item() == pytest.approx(0.01, rel=0.15)
    assert gp.kernels[0].lengthscale.item() == pytest.approx(0.3, rel=0.15)
    assert gp.kernels[1].lengthscale.item() == pytest.approx(0.5, rel=0.5)
    inside = (y - gp.condition(y).mean()).abs()  # the residual is the noise
    assert 0.08 < float(inside.square().mean().sqrt()) < 0.11


def test_float32_fields_are_answered_in_float32_with_digits_of_double():
    grid, y = grid_and_field()
    gp = model(grid)
    small, exact = gp.condition(y.float()), gp.condition(y)
    assert small.mean().dtype == small.std().dtype == small.sample(1).dtype == torch.float32
    torch.testing.assert_close(small.mean().double(), exact.mean(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(small.std().double(), exact.std(), rtol=1e-5, atol=1e-6)
    assert gp.log_likelihood(y.float()).item() == pytest.approx(gp.log_likelihood(y).item(), rel=1e-6)


def test_vanishing_noise_is_raised_and_said():
    """Twenty points within one length: the covariance is singular to round-off."""
    grid = Grid.make((20, 20), kind="nodal")
    gp = GridGP(grid, [RBFKernel(), RBFKernel()], noise=1e-20)
    y = torch.sin(3 * grid.coordinates().sum(0))
    with pytest.warns(UserWarning, match="raised by"):
        posterior = gp.condition(y)
    assert 0 < gp.jitter < 1e-9
    assert (posterior.mean() - y).abs().max() < 1e-4
    assert bool(torch.isfinite(posterior.std()).all()) and float(posterior.std().max()) < 1e-4
    honest = posterior.mean(torch.tensor([[3.0, 3.0]])), posterior.std(torch.tensor([[30.0, 30.0]]))
    assert bool(torch.isfinite(honest[0]).all()) and float(honest[1]) == pytest.approx(1.0)


def test_the_column_of_a_stationary_kernel_serves_equal_steps_only():
    class Odd(RBFKernel):  # says that it is stationary and is not
        def forward(self, x1, x2, diag=False, **params):
            K = super().forward(x1, x2, diag=diag, **params)
            return K * (1 + x1[..., 0]) * (1 + x2[..., 0]) if diag else K * (1 + x1) * (1 + x2.mT)

    for kernel in (RBFKernel(), MaternKernel(nu=0.5), Odd()):
        for kind in ("nodal", "chebyshev"):
            axis = Axis(kind, 8)
            x = axis.coordinates()[:, None]
            expected = kernel(x, x).to_dense().double()
            torch.testing.assert_close(axis_covariance(kernel, axis), expected, rtol=1e-6, atol=1e-7)


def test_many_missing_points_and_many_answers():
    grid = Grid.make((80, 80), kind="nodal")
    gp = GridGP(grid, [RBFKernel(), RBFKernel()], noise=1e-2, method="iterative")
    y = torch.randn(80, 80)
    mask = torch.rand(80, 80, generator=torch.Generator().manual_seed(0)) < 0.5
    with pytest.raises(NWidthError, match="sample"):
        gp.condition(y, mask).std()


GRID, FIELD = grid_and_field()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: GridGP(Mesh(torch.rand(3, 2)), kernels()), "scattered"),
        (lambda: GridGP(GRID, kernels()[:1]), "1 kernels"),
        (lambda: GridGP(GRID, kernels(), mean="linear"), "one of constant, zero"),
        (lambda: GridGP(GRID, kernels(), noise=0.0), "positive"),
        (lambda: model(GRID).log_likelihood(FIELD[:5]), "real numbers"),
        (lambda: model(GRID).log_likelihood(FIELD.long()), "real numbers"),
        (lambda: model(GRID, 3).log_likelihood(FIELD.expand(2, 6, 5)), "broadcast"),
        (lambda: model(GRID).log_likelihood(FIELD / 0), "isfinite"),
        (lambda: model(GRID).condition(torch.full((6, 5), torch.nan)), "isfinite"),
        (lambda: model(GRID).log_likelihood(FIELD, FIELD), "booleans"),
        (lambda: model(GRID).log_likelihood(FIELD, FIELD > 1e9), "0 points"),
        (lambda: model(GRID).condition(FIELD).mean(torch.rand(3, 3)), "finite points"),
        (lambda: model(GRID).condition(FIELD).mean(Grid.make((3,))), "2 axes"),
        (lambda: model(GRID).condition(FIELD).sample(1, torch.rand(3, 2)), "Grid"),
        (lambda: model(GRID, method="magic").log_likelihood(FIELD, FIELD > 0), "one of auto"),
    ],
)
def test_mistakes(call, words):
    with pytest.raises(NWidthError, match=words):
        call()


def test_missing_values_may_be_nan():
    y = torch.where(FIELD > 0, FIELD, torch.nan)
    gp = model(GRID)
    assert torch.equal(gp.log_likelihood(y, FIELD > 0), gp.log_likelihood(FIELD, FIELD > 0))
