"""Structural equations against the dense density, and their cost by counting operations."""

import pytest
import torch
from gpytorch.kernels import LinearKernel, MaternKernel, PeriodicKernel, RBFKernel
from nwidth.errors import NWidthError
from nwidth.gp.kernels import PeriodStatistics, QuasiPeriodicKernel
from nwidth.gp.kernels.quasi_periodic import inverse_form, levinson
from torch.utils.flop_counter import FlopCounterMode

F64 = torch.float64


def kernel(base="matern", **options):
    made = {"matern": MaternKernel(nu=1.5), "periodic": PeriodicKernel(), "rbf": RBFKernel()}[base].double()
    made.lengthscale = 0.4
    if base == "periodic":
        made.period_length = 2.0
    options = {"period": 2.0, "samples": 12, "correlation": 0.8, "nugget": 1e-2} | options
    return QuasiPeriodicKernel(made, **options).double()


def signal(n, seed=0):
    return torch.randn(n, dtype=F64, generator=torch.Generator().manual_seed(seed))


def places(n, k):
    return torch.arange(n, dtype=F64)[:, None] * k.period / k.samples


@pytest.mark.parametrize("n", [12, 17, 60, 71])
@pytest.mark.parametrize("base", ["matern", "periodic", "rbf"])
def test_likelihood_and_gradient_equal_dense_ones(base, n):
    k, y = kernel(base), signal(n)
    C = k(places(n, k)).to_dense()
    other = torch.distributions.MultivariateNormal(torch.zeros(n, dtype=F64), C).log_prob(y)
    ours = k.log_likelihood(PeriodStatistics.of(y, 12))
    assert abs(float(ours - other)) < 1e-8 * abs(float(other))
    parameters = list(k.parameters())
    for a, b in zip(
        torch.autograd.grad(ours, parameters, allow_unused=True),
        torch.autograd.grad(other, parameters, allow_unused=True),
    ):
        if b is not None:
            torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-8)


def test_strong_correlation_loses_no_digits():
    k = kernel(correlation=1 - 1e-7)
    y = signal(12).repeat(5) + 1e-4 * signal(60, 1)
    C = k(places(60, k)).to_dense()
    other = torch.distributions.MultivariateNormal(torch.zeros(60, dtype=F64), C).log_prob(y)
    assert float(k.log_likelihood(PeriodStatistics.of(y, 12))) == pytest.approx(float(other), rel=1e-6)


def test_work_does_not_grow_with_the_number_of_periods():
    """Floating-point operations of products, and numbers held, for 5 and for 500 periods."""
    k = kernel()
    counts, sizes = [], []
    for periods in (5, 500):
        data = PeriodStatistics.of(signal(12 * periods + 3), 12)
        with FlopCounterMode(display=False) as counter:
            k.log_likelihood(data)
        counts.append(counter.get_total_flops())
        sizes.append(sum(t.numel() for t in (data.sums, data.last, data.tail)))
    assert counts[0] == counts[1] > 0 and sizes[0] == sizes[1]


def test_work_grows_with_the_square_of_the_period():
    counts = []
    for p in (20, 40, 80):
        k = kernel(samples=p)
        data = PeriodStatistics.of(signal(3 * p), p)
        with FlopCounterMode(display=False) as counter:
            k.log_likelihood(data)
        counts.append(counter.get_total_flops())
    assert 3.5 < counts[1] / counts[0] < 4.5 and 3.5 < counts[2] / counts[1] < 4.5


@pytest.mark.parametrize("n", [36, 41])
def test_forecast_equals_the_dense_conditional(n):
    k, y, more = kernel(), signal(n), 40
    C = k(places(n + more, k)).to_dense().detach()
    solve = torch.linalg.solve(C[:n, :n], C[:n, n:])
    prediction = k.forecast(PeriodStatistics.of(y, 12), more)
    torch.testing.assert_close(prediction.mean, solve.T @ y, rtol=1e-8, atol=1e-9)
    variance = (C[n:, n:] - C[n:, :n] @ solve).diagonal()
    torch.testing.assert_close(prediction.std, variance.sqrt(), rtol=1e-7, atol=1e-9)


def test_learning_the_correlation():
    k = kernel(correlation=0.9)
    root = torch.linalg.cholesky(k(places(12 * 200, k)).to_dense().detach())
    data = PeriodStatistics.of(root @ signal(12 * 200), 12)
    start = kernel(correlation=0.3, nugget=0.1)
    optimizer = torch.optim.LBFGS(start.parameters(), max_iter=60, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = -start.log_likelihood(data) / 2400
        loss.backward()
        return loss

    optimizer.step(closure)
    assert start.correlation.item() == pytest.approx(0.9, abs=0.02)
    assert start.base_kernel.lengthscale.item() == pytest.approx(0.4, rel=0.1)


def test_levinson_and_the_inverse():
    c = 0.7 ** torch.arange(6, dtype=F64) + 0.1 * (torch.arange(6) == 0)
    i = torch.arange(6)
    T = c[(i[:, None] - i).abs()]
    x = signal(6)
    for n, (a, E, logdet) in zip((6, 4), levinson(c, (6, 4))):
        torch.testing.assert_close(logdet, torch.linalg.slogdet(T[:n, :n])[1])
        torch.testing.assert_close(inverse_form(a, E, x[:n]), x[:n] @ torch.linalg.solve(T[:n, :n], x[:n]))


def test_a_singular_period_is_an_error():
    k = kernel("rbf", samples=60, nugget=1e-18)
    with pytest.raises(NWidthError, match="raise the nugget"):
        k.log_likelihood(PeriodStatistics.of(signal(120), 60))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: QuasiPeriodicKernel(LinearKernel(), period=1.0, samples=4), "stationary"),
        (lambda: kernel(correlation=1.0), "correlation < 1"),
        (lambda: kernel()(torch.tensor([[0.05]])).to_dense(), "off the lattice"),
        (lambda: PeriodStatistics.of(signal(5), 12), "n >= 12"),
        (lambda: PeriodStatistics.of(signal(24) / 0, 12), "finite"),
        (lambda: kernel().log_likelihood(PeriodStatistics.of(signal(20), 10)), "12 samples"),
    ],
)
def test_mistakes(call, words):
    with pytest.raises(NWidthError, match=words):
        call()


def test_float32_parameters():
    k, y = kernel().float(), signal(30)
    assert k(places(30, k).float()).to_dense().dtype == torch.float32
    exact = kernel().log_likelihood(PeriodStatistics.of(y, 12))
    assert float(k.log_likelihood(PeriodStatistics.of(y.float(), 12))) == pytest.approx(float(exact), rel=1e-4)
