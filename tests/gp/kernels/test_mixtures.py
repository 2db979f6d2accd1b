"""Spectral kernels against gpytorch, their spectra, and weights that never lower the likelihood."""

import math

import gpytorch
import pytest
import torch
from gpytorch.kernels import MaternKernel, SpectralMixtureKernel
from nwidth import Grid
from nwidth.errors import NWidthError
from nwidth.gp.grids import GridGP
from nwidth.gp.kernels import DimensionProduct, GridSpectralMixtureProduct, SpectralMixture

F64 = torch.float64
MATERN = ["matern12", "matern32", "matern52"]


def random_mixture(q, dims, *batch, envelope="gaussian", seed=0):
    g = torch.Generator().manual_seed(seed)
    k = SpectralMixture(q, dims, envelope=envelope, batch_shape=batch).double()
    w = torch.rand(*batch, q, dtype=F64, generator=g) + 0.1
    return k.assign(w, *(torch.rand(2, *batch, q, dims, dtype=F64, generator=g) + 0.1))


def points(n, dims, *batch):
    return torch.rand(*batch, n, dims, dtype=F64, generator=torch.Generator().manual_seed(n))


def gpytorch_mixture(w, sigma, f):
    peer = SpectralMixtureKernel(num_mixtures=w.shape[-1], ard_num_dims=f.shape[-1], batch_shape=w.shape[:-1]).double()
    peer.mixture_weights, peer.mixture_means, peer.mixture_scales = w, f.unsqueeze(-2), sigma.unsqueeze(-2)
    return peer


@pytest.mark.parametrize("batch", [(), (2,)])
def test_gaussian_mixtures_equal_gpytorch(batch):
    k = random_mixture(3, 1, *batch)
    peer = gpytorch_mixture(k.weights, k.bandwidths, k.frequencies)
    a, b = points(6, 1), points(4, 1)
    torch.testing.assert_close(k(a, b).to_dense(), peer(a, b).to_dense(), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(k(a, diag=True), peer(a).to_dense().diagonal(dim1=-2, dim2=-1))


@pytest.mark.parametrize("batch", [(), (2,)])
def test_two_dimensions(batch):
    """A sum of products; gpytorch's kernel of two dimensions is a product of sums, which is a DimensionProduct."""
    k = random_mixture(3, 2, *batch)
    a, b = points(6, 2), points(4, 2)
    parts = [
        gpytorch_mixture(
            torch.ones_like(k.weights[..., q : q + 1]), *(x[..., q : q + 1, :] for x in (k.bandwidths, k.frequencies))
        )
        for q in range(3)
    ]
    total = sum(k.weights[..., q, None, None] * part(a, b).to_dense() for q, part in enumerate(parts))
    torch.testing.assert_close(k(a, b).to_dense(), total, rtol=1e-10, atol=1e-12)
    if not batch:
        lines = [
            SpectralMixture(3).double().assign(k.weights, k.bandwidths[:, p : p + 1], k.frequencies[:, p : p + 1])
            for p in (0, 1)
        ]
        peer = gpytorch_mixture(k.weights, k.bandwidths, k.frequencies)
        torch.testing.assert_close(
            DimensionProduct(lines)(a, b).to_dense(), peer(a, b).to_dense(), rtol=1e-10, atol=1e-12
        )


@pytest.mark.parametrize("envelope", MATERN)
def test_student_mixtures_are_matern_times_cosine(envelope):
    k = random_mixture(2, 1, envelope=envelope)
    a, b = points(5, 1), points(7, 1)
    total = 0
    for w, s, f in zip(k.weights, k.bandwidths[:, 0], k.frequencies[:, 0]):
        m = MaternKernel(nu=int(envelope[-2]) / 2).double()
        m.lengthscale = (1 / (2 * math.pi * s)).item()
        total = total + w * m(a, b).to_dense() * torch.cos(2 * math.pi * f * (a - b.T))
    torch.testing.assert_close(k(a, b).to_dense(), total, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("envelope", "freedom"), [("matern12", 1), ("matern32", 3), ("matern52", 5)])
def test_the_spectrum_is_a_students_t(envelope, freedom):
    """The mean of cos(2 pi F d) over frequencies F of that distribution, by quadrature."""
    k = SpectralMixture(1, envelope=envelope).double()
    k.assign(torch.ones(1, dtype=F64), torch.full((1, 1), 0.7, dtype=F64), torch.full((1, 1), 2.0, dtype=F64))
    f = torch.linspace(-3000, 3000, 2_000_001, dtype=F64)
    density = torch.distributions.StudentT(float(freedom), 0.0, torch.tensor(0.7, dtype=F64)).log_prob(f).exp()
    for d in (0.05, 0.3):
        mean = torch.trapezoid(density * torch.cos(2 * math.pi * (f + 2.0) * d), f)
        ours = k(torch.zeros(1, 1, dtype=F64), torch.full((1, 1), d, dtype=F64)).to_dense()
        assert float(ours) == pytest.approx(float(mean), abs=3e-4)


def test_products_over_dimensions():
    parts = [random_mixture(2, 1, seed=1), random_mixture(3, 1, envelope="matern52", seed=2)]
    product = DimensionProduct(parts)
    a = points(8, 2)
    torch.testing.assert_close(product(a).to_dense(), parts[0](a[:, :1]).to_dense() * parts[1](a[:, 1:]).to_dense())
    grid = Grid.make((4, 3), kind="nodal")
    x = grid.coordinates().flatten(1).T
    C = product(x).to_dense() + 0.1 * torch.eye(12, dtype=F64)
    y = torch.randn(4, 3, dtype=F64, generator=torch.Generator().manual_seed(0))
    expected = torch.distributions.MultivariateNormal(torch.zeros(12, dtype=F64), C).log_prob(y.flatten())
    gp = GridGP(grid, product.kernels, noise=0.1)
    torch.testing.assert_close(gp.log_likelihood(y), expected)


def test_float32_and_gradients_of_all_parameters():
    k = SpectralMixture(3, 2, envelope="matern32", max_frequency=2.0)
    K = k(torch.rand(5, 2)).to_dense()
    assert K.dtype == torch.float32
    (K * torch.rand(5, 5)).sum().backward()
    assert all(bool(torch.isfinite(p.grad).all()) and p.grad.abs().sum() > 0 for p in k.parameters())


def test_in_an_exact_gp():
    x = torch.linspace(0, 2, 60, dtype=F64)[:, None]
    y = torch.sin(2 * math.pi * 3 * x[:, 0])

    class Model(gpytorch.models.ExactGP):
        def __init__(self, likelihood, kernel):
            super().__init__(x, y, likelihood)
            self.mean_module, self.covar_module = gpytorch.means.ZeroMean(), kernel

        def forward(self, z):
            return gpytorch.distributions.MultivariateNormal(self.mean_module(z), self.covar_module(z))

    likelihood = gpytorch.likelihoods.GaussianLikelihood().double()
    likelihood.noise = 1e-4
    model = Model(likelihood, SpectralMixture(4, max_frequency=4.0).double()).double()
    mll = gpytorch.mlls.ExactMarginalLogLikelihood(likelihood, model)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        loss = -mll(model(x), y)
        loss.backward()
        optimizer.step()
    model.eval()
    z = torch.linspace(2, 3, 30, dtype=F64)[:, None]  # beyond the data
    with torch.no_grad():
        error = model(z).mean - torch.sin(2 * math.pi * 3 * z[:, 0])
    assert error.abs().max() < 0.2


def test_pruning():
    k = random_mixture(4, 2)
    w = torch.tensor([1.0, 1e-9, 0.5, 1e-12], dtype=F64)
    k.assign(w, k.bandwidths, k.frequencies)
    small = k.prune()
    assert small.num_mixtures == 2 and small.weights.dtype == F64
    x = points(5, 2)
    torch.testing.assert_close(small(x).to_dense(), k(x).to_dense(), rtol=1e-7, atol=1e-8)


def test_grid_mixture_is_the_sum_of_its_components():
    k = GridSpectralMixtureProduct([3, 2], [4.0, 1.0], bandwidth=[0.3, 0.2]).double()
    a, b = points(4, 2), points(5, 2)
    d = a[:, None] - b[None]
    total = 0
    for i, f in enumerate((0.0, 2.0, 4.0)):
        for j, g in enumerate((0.0, 1.0)):
            envelope = torch.exp(-2 * math.pi**2 * (d**2 * torch.tensor([0.09, 0.04], dtype=F64)).sum(-1))
            wave = torch.cos(2 * math.pi * f * d[..., 0]) * torch.cos(2 * math.pi * g * d[..., 1])
            total = total + k.weights[2 * i + j] * envelope * wave
    torch.testing.assert_close(k(a, b).to_dense(), total, rtol=1e-6, atol=1e-7)
    assert {n for n, _ in k.named_parameters()} == {"log_weights"}


def test_weights_climb_and_become_sparse():
    g = torch.Generator().manual_seed(0)
    x = torch.rand(120, 1, dtype=F64, generator=g).sort(0)[0]
    clean = torch.sin(2 * math.pi * 5 * x[:, 0]) + 0.6 * torch.cos(2 * math.pi * 17 * x[:, 0])
    y = clean + 0.1 * torch.randn(120, dtype=F64, generator=g)
    k = GridSpectralMixtureProduct([81], [40.0], bandwidth=[0.25]).double()
    noise, history = k.fit_weights(x, y, steps=150)
    assert all(b > a - 1e-8 for a, b in zip(history, history[1:])) and history[-1] > history[0] + 50
    assert 0.05 < noise**0.5 < 0.15 and int(k.active().sum()) < 20
    strongest = sorted(k.frequencies[k.weights.topk(4)[1], 0].tolist())
    assert min(abs(f - 5) for f in strongest) <= 0.5 and min(abs(f - 17) for f in strongest) <= 0.5
    K = k(x).to_dense().detach()
    C = K + noise * torch.eye(120, dtype=F64)
    value = torch.distributions.MultivariateNormal(torch.zeros(120, dtype=F64), C).log_prob(y - y.mean())
    assert float(value) == pytest.approx(history[-1], rel=1e-3)


def test_duplicate_points_do_not_stop_the_weights():
    x = torch.linspace(0, 1, 30, dtype=F64)[:, None].repeat(2, 1)
    k = GridSpectralMixtureProduct([5], [4.0]).double()
    noise, _ = k.fit_weights(x, torch.sin(2 * math.pi * 2 * x[:, 0]), noise=1e-8)
    assert math.isfinite(noise) and bool(torch.isfinite(k.log_weights).all())


X, Y = torch.rand(5, 1), torch.rand(5)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: SpectralMixture(0), "num_mixtures=0"),
        (lambda: SpectralMixture(2, 0), "dims=0"),
        (lambda: SpectralMixture(2, envelope="cubic"), "one of gaussian, matern12"),
        (lambda: SpectralMixture(2)(torch.rand(3, 2)).to_dense(), "1 coordinates"),
        (lambda: SpectralMixture(2, batch_shape=(3,)).prune(), "batch"),
        (lambda: SpectralMixture(1).assign(-torch.ones(1), torch.ones(1, 1), torch.ones(1, 1)), "positive"),
        (lambda: DimensionProduct([MaternKernel()]), "one-dimensional nwidth"),
        (lambda: GridSpectralMixtureProduct([1], [2.0]), "2 or more"),
        (lambda: GridSpectralMixtureProduct([3], [2.0]).fit_weights(X, Y / 0), "finite"),
        (lambda: GridSpectralMixtureProduct([3], [2.0]).fit_weights(X, torch.ones(5)), "vary"),
    ],
)
def test_mistakes(call, words):
    with pytest.raises(NWidthError, match=words):
        call()
