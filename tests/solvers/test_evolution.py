from importlib.resources import files

import pytest
import torch
from nwidth.backends import Axis, Grid
from nwidth.build import build
from nwidth.data import Dataset, open_dataset
from nwidth.errors import NWidthError
from nwidth.solvers import (
    Advection,
    AllenCahn,
    Burgers,
    EvolutionProblem,
    GaussianField,
    Heat,
    KdV,
    KuramotoSivashinsky,
    Schroedinger,
    Wave,
    generate,
    levels,
)
from omegaconf import OmegaConf

FEW = GaussianField(scale=0.5, tau=1.0, alpha=3.0, modes=4)
PROBLEMS = {
    "advection": Advection,
    "allen_cahn": AllenCahn,
    "burgers": Burgers,
    "heat": Heat,
    "kdv": KdV,
    "kuramoto_sivashinsky": KuramotoSivashinsky,
    "schroedinger": Schroedinger,
    "wave": Wave,
}


def relative(u, v):
    return float((u.double() - v.double()).norm() / v.double().norm())


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_packaged_configs_are_the_defaults(name):
    config = OmegaConf.create((files("nwidth.conf") / "problem" / f"{name}.yaml").read_text())
    assert build(config) == PROBLEMS[name]() and OmegaConf.to_container(config) == PROBLEMS[name]().config()


QUICK = [
    Advection(cx=[-1, 1], ndim=2, initial=FEW),
    AllenCahn(eps=0.05, r=[1, 2], initial=FEW, final_time=0.2),
    Burgers(nu=[0.05, 0.2], initial=FEW),
    Heat(ndim=2, initial=FEW),
    KdV(alpha=[0.5, 2], beta=[0.05, 0.1], initial=FEW, final_time=0.1),
    KuramotoSivashinsky(ndim=2, form="gradient", hi=10.0, initial=FEW, final_time=0.2, tolerance=1e-6),
    Schroedinger(g=[-1, 1], initial=FEW, final_time=0.1),
    Wave(c=[0.5, 1], initial=FEW, velocity=FEW),
]


@pytest.mark.parametrize("problem", QUICK, ids=lambda p: type(p).__name__)
def test_what_every_equation_does(problem, tmp_path):
    """Config, batches, resolutions, the equation itself at a stored time, and a file made from it."""
    grid = problem.grid(24)
    data = problem.simulate(range(3), 7, grid)
    assert build(data.problem) == problem and data.reads == problem.reads
    scale = float(data.u.abs().max())
    assert torch.allclose(problem.simulate([2], 7, grid).u, data.u[[2]], rtol=0, atol=1e-9 * scale)
    coarse = problem.simulate(range(3), 7, problem.grid(8))
    assert torch.allclose(coarse.u, data.u[(..., *(slice(None, None, 3),) * problem.ndim)], rtol=0, atol=2e-6 * scale)
    h = 1e-4 * problem.final_time
    t = problem.final_time / 2 + h * torch.tensor([-1, 0, 1], dtype=torch.float64)
    near = problem.simulate(
        range(3),
        7,
        problem.grid(96 if problem.ndim == 1 else 32),
    )
    near = problem.solve(Dataset(near.grid, u0=near.u0, mu=near.mu, t=t))
    rate = problem.tendency(near.u[:, 1], near.inputs())
    assert relative((near.u[:, 2] - near.u[:, 0]) / (2 * h), rate) < 1e-3
    path = generate(problem, 3, 8, 7, tmp_path / "data.h5", dtype="float64")
    assert torch.allclose(open_dataset(path).load().u, coarse.u, atol=1e-12 * scale)


def start(problem, n, kind="periodic", hi=None):
    grid = Grid((Axis(kind, n, problem.lo, problem.hi if hi is None else hi),))
    x = (grid.coordinates()[0] - problem.lo) / (problem.hi - problem.lo) * 2 * torch.pi
    return Dataset(grid, u0=(torch.cos(x) + 0.3 * torch.sin(2 * x))[None, None])


def test_points_fix_the_collocation():
    """On n points with all their modes: the solution of u' = -alpha u Du - beta D^3 u in matrices."""
    problem = KdV(beta=0.1, points=16, times=1, final_time=0.1, tolerance=1e-10)
    inputs = start(problem, 16)
    k = 1j * torch.pi * torch.fft.fftfreq(16, 1 / 16, dtype=torch.float64)
    k[8] = 0
    d = torch.fft.ifft(torch.fft.fft(torch.eye(16).double(), dim=0) * k[:, None], dim=0).real
    u, h = inputs.u0[0, 0], 1e-4
    for _ in range(1000):  # RK4

        def f(v):
            return -(d @ (v * v)) / 2 - 0.1 * (d @ (d @ (d @ v)))

        a = f(u)
        b = f(u + h / 2 * a)
        c = f(u + h / 2 * b)
        u = u + h / 6 * (a + 2 * b + 2 * c + f(u + h * c))
    solved = problem.solve(inputs).u[0, 0, 0]
    assert relative(solved, u) < 1e-8
    assert relative(KdV(beta=0.1, times=1, final_time=0.1).solve(inputs).u[0, 0, 0], u) > 1e-8


@pytest.mark.parametrize("points", [None, 64])
def test_accuracy_is_reached_and_reported(points):
    options = {"beta": 0.02, "times": 2, "final_time": 0.2, "points": points}
    inputs = start(KdV(), 32)
    exact = KdV(tolerance=1e-10, **options).solve(inputs).u
    for accuracy in (1e-3, 1e-7):
        data = KdV(accuracy=accuracy, **options).solve(inputs)
        assert relative(data.u, exact) < accuracy and data.attributes["accuracy"] < accuracy
    assert "accuracy" not in KdV(**options).solve(inputs).attributes


def test_accuracy_does_not_depend_on_the_batch():
    problem = KdV(beta=[0.02, 0.2], times=2, final_time=0.1, accuracy=1e-6, initial=FEW)
    together = problem.simulate(range(4), 0, problem.grid(16)).u
    for i in (0, 3):
        assert torch.allclose(problem.simulate([i], 0, problem.grid(16)).u[0], together[i], rtol=0, atol=1e-12)


def test_accuracy_that_rounding_forbids():
    problem = KdV(beta=0.02, times=1, final_time=0.02, accuracy=1e-10)
    with pytest.raises(NWidthError, match="still changes by"):
        problem.solve(start(problem, 16), dtype=torch.float32)


@pytest.mark.parametrize("scheme", ["etdrk2", "rk4", "imex"])
def test_other_schemes_agree_with_etdrk4(scheme):
    options = {"beta": 0.05, "times": 2, "final_time": 0.025}
    inputs = start(KdV(), 16)
    exact = KdV(tolerance=1e-10, **options).solve(inputs).u
    assert relative(KdV(scheme=scheme, **options).solve(inputs).u, exact) < 1e-5
    assert relative(KdV(scheme=scheme, accuracy=1e-7, **options).solve(inputs).u, exact) < 1e-6


@pytest.mark.parametrize("kind", [KdV, KuramotoSivashinsky])
def test_times_and_grids_as_files_have_them(kind):
    """From t0 > 0, uneven times, and nodal axes with both ends of the period or without the last point."""
    problem = kind(lo=-1.0, hi=1.0, final_time=0.02) if kind is KdV else kind(lo=-10.0, hi=10.0, final_time=2.0)
    t = problem.final_time * torch.tensor([0.3, 0.35, 1.0], dtype=torch.float64)
    plain = start(problem, 32)
    u = problem.solve(Dataset(plain.grid, u0=plain.u0, t=t)).u
    late = problem.solve(Dataset(plain.grid, u0=plain.u0, t=t + 5.0, t0=5.0))
    assert torch.allclose(late.u, u, rtol=0, atol=1e-9) and late.t[0] > 5
    closed = start(problem, 33, "nodal")
    whole = problem.solve(Dataset(closed.grid, u0=closed.u0, t=t)).u
    assert torch.allclose(whole[..., :-1], u, atol=1e-12) and torch.equal(whole[..., 0], whole[..., -1])
    spacing = (problem.hi - problem.lo) / 32
    open_end = Dataset(Grid((Axis("nodal", 32, problem.lo, problem.hi - spacing),)), u0=plain.u0, t=t)
    assert torch.allclose(problem.solve(open_end).u, u, atol=1e-12)


def test_closed_grids_on_two_axes():
    problem = Heat(ndim=2, times=1)
    plain = problem.simulate([0], 0, problem.grid(12))
    u0 = torch.cat([plain.u0, plain.u0[..., :1]], -1)
    u0 = torch.cat([u0, u0[..., :1, :]], -2)
    u = problem.solve(Dataset(Grid.make((13, 13), "nodal"), u0=u0)).u
    exact = problem.solve(Dataset(plain.grid, u0=plain.u0)).u
    assert torch.allclose(u[..., :-1, :-1], exact, atol=1e-13) and torch.equal(u[..., -1, :], u[..., 0, :])


def test_a_poor_first_guess_is_mended(monkeypatch):
    """A tenth of the degree and sixteen times the step: the checks find it."""
    problem = KdV(beta=0.01, times=2, final_time=0.2)
    inputs = start(problem, 32)
    exact = KdV(beta=0.01, times=2, final_time=0.2, tolerance=1e-11).solve(inputs).u
    resolve = KdV.resolve

    def poor(self, data):
        degree, step = resolve(self, data)
        return (degree / 10).clamp_min(4), step * 16

    monkeypatch.setattr(KdV, "resolve", poor)
    assert relative(problem.solve(inputs).u, exact) < 1e-6
    monkeypatch.setattr(KdV, "target", None)
    assert relative(problem.solve(inputs).u, exact) > 1e-4


def test_what_cannot_be_resolved_is_an_error(monkeypatch):
    monkeypatch.setattr(levels, "MOST_POINTS", 128)
    with pytest.raises(NWidthError, match="to be resolved"):
        KdV(beta=1e-4, times=1).solve(start(KdV(), 32))


@pytest.mark.parametrize(
    "options, match",
    [
        ({"scheme": "euler"}, "etdrk4, etdrk2, rk4, imex"),
        ({"points": 2}, "points=2"),
        ({"accuracy": 0.0}, "accuracy=0.0"),
        ({"ndim": 3}, "ndim=3"),
        ({"hi": -1.0}, "lo < hi"),
    ],
)
def test_bad_options(options, match):
    with pytest.raises(NWidthError, match=match):
        KdV(**options)


def test_bad_grids():
    problem = Advection(ndim=2)
    for grid in (Grid.make((8,)), Grid.make((8, 8), "cell"), Grid.make((8, 8), lo=-1.0)):
        with pytest.raises(NWidthError, match="2 periodic axes"):
            problem.solve(Dataset(grid, u0=torch.ones(1, 1, *grid.shape)))
    with pytest.raises(NWidthError, match="real values"):
        KdV().solve(Dataset(KdV().grid(8), u0=torch.ones(1, 1, 8, dtype=torch.complex128)))


def test_all_equations_are_covered():
    assert {type(p) for p in QUICK} == set(PROBLEMS.values()) and all(
        issubclass(c, EvolutionProblem) for c in PROBLEMS.values()
    )
