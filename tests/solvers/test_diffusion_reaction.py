import math
from importlib.resources import files
from itertools import pairwise

import pytest
import scipy.integrate
import torch
from nwidth.backends import Grid
from nwidth.build import build
from nwidth.data import Dataset
from nwidth.errors import NWidthError
from nwidth.solvers import (
    CosineSpace,
    FisherKPP,
    FitzHughNagumo,
    GrayScott,
    MaternField,
    Patches,
    SpectralSpace,
    integrate,
    stream,
)
from omegaconf import OmegaConf


def relative(u, v):
    return float((u.double() - v.double()).norm() / v.double().norm())


# cosines


@pytest.mark.parametrize("factors", [2, 3])
@pytest.mark.parametrize("n", [11, 12])
def test_cosine_products_have_no_alias(factors, n):
    space = CosineSpace(Grid.make((n,), "cell", -1.0, 2.0), (n,), factors=factors)
    c = torch.randn(2, *space.counts, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    fine = CosineSpace(Grid.make((n,), "cell", -1.0, 2.0), (5 * n,), factors=factors)
    padded = torch.zeros(2, *fine.counts, dtype=torch.float64)
    padded[:, : space.counts[0]] = c
    wanted = fine.coefficients(fine.values(padded) ** factors)[:, : space.counts[0]]
    assert torch.allclose(space.coefficients(space.values(c) ** factors), wanted, atol=1e-12)
    assert 2 * n > (factors + 1) * space.degree[0] >= 2 * n - factors - 1


def test_cosine_values_on_any_grid_energies_and_laplacian():
    grid = Grid.make((8, 9), "cell", 0.0, 2.0)
    space = CosineSpace(grid, (24, 27))
    c = torch.randn(3, 1, *space.counts, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    c[..., 7:, :] = c[..., :, 7:] = 0
    fine = space.at(c, (45, 45))
    assert torch.allclose(space.at(c, (9, 5)), fine[..., 2::5, 4::9], atol=1e-13)
    assert torch.allclose(space.coefficients(space.at(c, (8, 9))), c, atol=1e-13)
    assert torch.allclose(space.energies(c).sum((-2, -1)), space.values(c).square().mean((-2, -1)))
    x, y = (math.pi * v / 2 for v in space.grid.coordinates())
    wave = torch.cos(3 * x) * torch.cos(2 * y)
    wanted = -(math.pi**2 / 4) * 13 * wave
    assert torch.allclose(space.values(space.laplacian() * space.coefficients(wave)), wanted, atol=1e-11)
    assert torch.allclose(space.values(space.derivative(space.coefficients(wave), 0, 2)), wanted * 9 / 13, atol=1e-11)
    with pytest.raises(NWidthError, match="even order"):
        space.derivative(c, 0)


# limits of the equations


def fhn(t, y):
    return [y[0] - y[0] ** 3 - 5e-3 - y[1], y[0] - y[1]]


def gray_scott(t, y):
    return [-y[0] * y[1] ** 2 + 0.03 * (1 - y[0]), y[0] * y[1] ** 2 - 0.09 * y[1]]


def logistic(t, y):
    return [1.5 * y[0] * (1 - y[0])]


@pytest.mark.parametrize("boundary", ["periodic", "neumann"])
@pytest.mark.parametrize(
    "make, reaction, start",
    [
        (FitzHughNagumo, fhn, [1.7, -0.4]),
        (GrayScott, gray_scott, [0.6, 0.4]),
        (FisherKPP, logistic, [0.1]),
    ],
)
def test_a_constant_state_follows_the_reactions(make, reaction, start, boundary):
    options = {GrayScott: {"feed": 0.03, "kill": 0.06}, FisherKPP: {"rho": 1.5}}.get(make, {})
    problem = make(ndim=1, boundary=boundary, final_time=1.5, times=3, cfl=0.05, **options)
    u0 = torch.tensor(start, dtype=torch.float64)[None, :, None].expand(1, -1, 6)
    found = problem.solve(Dataset(problem.grid(6), u0=u0)).u[0]
    wanted = scipy.integrate.solve_ivp(reaction, (0, 1.5), start, t_eval=[0.5, 1, 1.5], rtol=1e-11, atol=1e-12).y.T
    assert torch.allclose(found, torch.from_numpy(wanted)[..., None].expand_as(found), atol=1e-7)


@pytest.mark.parametrize("make", [FitzHughNagumo, GrayScott, FisherKPP])
def test_the_tendency_is_the_equation(make):
    for boundary in ("periodic", "neumann"):
        problem = make(ndim=2, lo=0.0, hi=1.0, boundary=boundary)
        grid = problem.grid(24)
        turn = 2 * math.pi if boundary == "periodic" else math.pi
        x, y = turn * grid.coordinates()
        u = 0.5 + 0.3 * torch.cos(x) * torch.cos(2 * y)
        v = 0.2 + 0.1 * torch.cos(3 * x)
        lap_u, lap_v = -5 * turn**2 * (u - 0.5), -9 * turn**2 * (v - 0.2)
        wanted = {
            FitzHughNagumo: [1e-3 * lap_u + u - u**3 - 5e-3 - v, 5e-3 * lap_v + u - v],
            GrayScott: [2e-5 * lap_u - u * v**2 + 0.029 * (1 - u), 1e-5 * lap_v + u * v**2 - 0.086 * v],
            FisherKPP: [5e-3 * lap_u + u * (1 - u)],
        }[make]
        state = torch.stack([u, v][: len(wanted)])[None]
        found = problem.tendency(state, Dataset(grid, u0=state))[0]
        assert torch.allclose(found, torch.stack(wanted), atol=1e-12)


def test_the_wave_of_ablowitz_and_zeppetella():
    # u = (1 + exp((x - c t) sqrt(rho/(6 nu))))^(-2), c = 5 sqrt(rho nu / 6)
    nu, rho = 0.8, 1.3
    problem = FisherKPP(nu=nu, rho=rho, lo=-80.0, hi=80.0, boundary="neumann", final_time=3.0, times=2)
    x = problem.grid(256).coordinates()[0]

    def wave(t):
        return torch.sigmoid(-(x + 10 - 5 * math.sqrt(rho * nu / 6) * t) * math.sqrt(rho / 6 / nu)) ** 2

    u = problem.solve(Dataset(problem.grid(256), u0=wave(0.0)[None, None])).u[0, :, 0]
    assert relative(u, torch.stack([wave(1.5), wave(3.0)])) < 1e-5
    exact = FisherKPP(**{**vars(problem), "cfl": 0.05, "tolerance": 1e-9})
    u = exact.solve(Dataset(problem.grid(256), u0=wave(0.0)[None, None])).u[0, :, 0]
    assert relative(u, torch.stack([wave(1.5), wave(3.0)])) < 1e-9


# discretisation


@pytest.mark.parametrize("boundary", ["periodic", "neumann"])
@pytest.mark.parametrize("make", [FitzHughNagumo, GrayScott, FisherKPP])
def test_fourth_order_in_time(make, boundary):
    problem = make(ndim=1, lo=0.0, hi=4.0, boundary=boundary)
    law = MaternField(std=0.3, length=1.0, nu=4.5, modes=3, mean=0.5)
    grid = problem.grid(64)
    u0 = torch.cat([law.sample([stream(i, 0)], grid) for i in range(1 if make is FisherKPP else 2)], 1)
    inputs = Dataset(grid, u0=u0)
    space = problem.space(grid, [128], u0)
    linear = problem.linear(space, inputs)

    def end(steps):
        c = space.coefficients(inputs.u0)
        return next(integrate(linear, lambda c: problem.nonlinear(c, space, inputs), c, 0.0, [2.0], 2.0 / steps))

    exact = end(200)
    errors = [float((end(n) - exact).abs().max()) for n in (10, 20, 40)]
    assert min(math.log2(a / b) for a, b in pairwise(errors)) > 3.6, errors


@pytest.mark.parametrize("ndim, n", [(1, 24), (2, 12), (3, 5)])
def test_walls_are_mirrors(ndim, n):
    # no flux between walls: the even continuation on a periodic box of twice the size
    options = {"ndim": ndim, "final_time": 0.3, "times": 2, "diffusion_u": 1.0, "diffusion_v": 0.3}
    walls = FitzHughNagumo(**options, lo=-1.0, hi=1.0, boundary="neumann")
    periodic = FitzHughNagumo(**options, lo=-1.0, hi=3.0, boundary="periodic")
    law = MaternField(length=0.8, nu=2.5, modes=2)
    streams = [stream(0, 0)]
    u0 = torch.cat([law.sample(streams, walls.grid(n)) for _ in range(2)], 1)
    mirrored = u0
    for i in range(ndim):
        mirrored = torch.cat([mirrored, mirrored.flip(i + 2)], i + 2)
    a = walls.solve(Dataset(walls.grid(n), u0=u0)).u
    b = periodic.solve(Dataset(periodic.grid(2 * n), u0=mirrored)).u[(..., *(slice(n),) * ndim)]
    assert relative(a, b) < 1e-6


@pytest.mark.parametrize("make", [FitzHughNagumo, GrayScott, FisherKPP])
def test_one_code_in_one_two_and_three_dimensions(make):
    options = {"lo": 0.0, "hi": 1.0, "final_time": 0.5, "times": 1, "boundary": "periodic", "cfl": 0.05}
    options |= {"nu": 0.1} if make is FisherKPP else {"diffusion_u": 0.1, "diffusion_v": 0.1}
    line = make(ndim=1, **options)
    law = MaternField(std=0.2, length=0.3, nu=2.5, modes=3, mean=0.5)
    rows = torch.cat([law.sample([stream(i, 0)], line.grid(16)) for i in range(1 if make is FisherKPP else 2)], 1)
    wanted = line.solve(Dataset(line.grid(16), u0=rows)).u[0, 0]
    for ndim in (2, 3):
        box = make(ndim=ndim, **options)
        shape = (16, *(4,) * (ndim - 1))
        u0 = rows.view(*rows.shape, *(1,) * (ndim - 1)).expand(*rows.shape[:2], *shape)
        u = box.solve(Dataset(box.grid(shape), u0=u0)).u[0, 0]
        assert relative(u, wanted.view(*wanted.shape, *(1,) * (ndim - 1)).expand_as(u)) < 1e-6


def test_symmetries_of_a_pattern():
    problem = GrayScott(final_time=60.0, times=1, diffusion_u=2e-4, diffusion_v=1e-4)
    u0 = problem.sample([0], 0, problem.grid(40)).u0
    turned = [u0, u0.mT, u0.flip(-1), u0.roll(5, -2)]
    u = problem.solve(Dataset(problem.grid(40), u0=torch.cat(turned))).u[:, 0]
    for found, wanted in zip(u[1:], (u[0].mT, u[0].flip(-1), u[0].roll(5, -2))):
        assert torch.allclose(found, wanted, atol=1e-10)
    assert relative(u[0], u0[0]) > 0.1 and float(u[0, 1].max()) > 0.2


# data


def test_patches_are_periodic_or_mirrored_and_known_everywhere():
    patches = Patches(count=4, width=0.1)
    p, q = (patches.sample([stream(0, 1)], Grid.make((n, n))) for n in (24, 48))
    assert torch.allclose(p, q[..., ::2, ::2], atol=1e-15)
    space = SpectralSpace(Grid.make((160,)), (3 * patches.modes(1.0) + 1,))
    line = patches.sample([stream(0, 2)], Grid.make((160,)))
    assert torch.allclose(space.at(space.coefficients(line), (160,)), line, atol=1e-7)
    ends = patches.sample([stream(0, 3)], Grid.make((20001,), "nodal"))[0, 0]
    assert float((ends[1] - ends[0]).abs()) < 1e-5 * float(ends.diff().abs().max()) * 20001 * 1e-2


@pytest.mark.parametrize("boundary", ["periodic", "neumann"])
@pytest.mark.parametrize("make", [FitzHughNagumo, GrayScott, FisherKPP])
def test_a_sample_does_not_depend_on_batch_or_resolution(make, boundary):
    ranges = {
        FitzHughNagumo: {"k": [0.0, 0.1]},
        GrayScott: {"feed": [0.02, 0.06], "kill": [0.05, 0.06]},
        FisherKPP: {"rho": [0.5, 2.0]},
    }[make]
    problem = make(ndim=1, boundary=boundary, final_time=0.6, times=2, **ranges)
    data = problem.simulate(range(3), 1, problem.grid(105))
    assert data.reads == ("u0", "mu") and data.mu.shape == (3, len(ranges)) and data.names["mu"] == tuple(ranges)
    alone = problem.simulate([2], 1, problem.grid(21))
    start = 2 if boundary == "neumann" else 0
    assert relative(alone.u0[0], data.u0[2, :, start::5]) < 1e-13
    assert relative(alone.u[0], data.u[2, ..., start::5]) < 1e-5
    assert build(data.problem) == problem


def test_growth_of_a_logistic_population_stays_in_its_range():
    problem = FisherKPP(ndim=2, final_time=1.0, times=3)
    u = problem.simulate(range(3), 0, problem.grid(16)).u
    assert float(u.min()) > 0 and float(u.max()) < 1 and bool((u.mean((-2, -1)).diff(dim=1) > 0).all())


def test_float32():
    problem = FitzHughNagumo(ndim=1, final_time=1.0, times=1)
    inputs = problem.sample([0], 0, problem.grid(64))
    exact = problem.solve(inputs).u
    assert relative(problem.solve(inputs, dtype=torch.float32).u, exact) < 1e-4
    assert problem.solve(inputs.to(dtype=torch.float32)).u.dtype == torch.float32


def test_a_collocation_method_on_given_points():
    problem = FitzHughNagumo(ndim=1, final_time=1.0, times=1, diffusion_u=0.02, diffusion_v=0.02)
    law = MaternField(length=0.5, nu=2.5, modes=4)
    u0 = torch.cat([law.sample([stream(i, 0)], problem.grid(48)) for i in range(2)], 1)
    inputs = Dataset(problem.grid(48), u0=u0)
    fixed = build({**problem.config(), "points": 48})
    assert relative(fixed.solve(inputs).u, problem.solve(inputs).u) < 1e-5


@pytest.mark.parametrize(
    "name, default", [("fisher_kpp", FisherKPP()), ("fitzhugh_nagumo", FitzHughNagumo()), ("gray_scott", GrayScott())]
)
def test_the_packaged_configs_are_the_defaults(name, default):
    text = (files("nwidth.conf") / "problem" / f"{name}.yaml").read_text()
    assert OmegaConf.to_container(OmegaConf.create(text)) == default.config()


@pytest.mark.parametrize(
    "bad, match",
    [
        (lambda: FitzHughNagumo(boundary="open"), "periodic or neumann"),
        (lambda: FitzHughNagumo(diffusion_u=0.0), "diffusion_u"),
        (lambda: GrayScott(feed=[0.1, 0.0]), "feed"),
        (lambda: GrayScott(ndim=4), "ndim=4"),
        (lambda: FisherKPP(cfl=0.0), "cfl > 0"),
        (lambda: Patches(count=0), "count >= 1"),
        (lambda: FitzHughNagumo().solve(FitzHughNagumo(boundary="periodic").sample([0], 0, Grid.make((8, 8)))), "cell"),
        (lambda: FisherKPP().solve(FisherKPP().sample([0], 0, Grid.make((8,), "cell"))), "periodic axes"),
        (lambda: CosineSpace(Grid.make((8,)), (8,)), "cell centres"),
    ],
)
def test_bad_input(bad, match):
    with pytest.raises(NWidthError, match=match):
        bad()
