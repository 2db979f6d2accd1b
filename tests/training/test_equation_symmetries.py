"""Every symmetry that a problem declares takes solutions to solutions; training on moved copies."""

from functools import cache, partial

import pytest
import torch
from nwidth import Dataset, Grid, NWidthError
from nwidth.solvers import (
    Advection,
    AllenCahn,
    Burgers,
    Darcy,
    GaussianField,
    Heat,
    KdV,
    KuramotoSivashinsky,
    NavierStokes,
)
from nwidth.training import NeuralSurrogate, TrainingSettings
from nwidth.training.augmentation import equation_copies

FEW = GaussianField(scale=25.0, tau=5.0, alpha=2.0, modes=4)
PROBLEMS = [
    (Burgers(nu=0.05, times=3, final_time=0.3, initial=FEW), 64),
    (Heat(times=2, ndim=2, initial=FEW), 12),
    (Advection(times=2, ndim=2, cy=0.5, initial=FEW), 12),
    (AllenCahn(times=2, final_time=0.2, eps=0.01), 64),
    (KdV(times=2, final_time=0.05, beta=0.01), 64),
    (KuramotoSivashinsky(times=2, final_time=1.0, hi=30.0), 64),
    (KuramotoSivashinsky(times=2, final_time=1.0, hi=30.0, form="gradient"), 64),
    (NavierStokes(times=2, final_time=1.0, nu=0.01, forcing="none", initial=FEW), 24),
    (NavierStokes(times=2, final_time=1.0, nu=0.01, forcing=FEW, initial=FEW), 24),
    (Darcy(), 12),
]
CASES = [(p, n, m) for p, n in PROBLEMS for m in p.symmetries()]


@cache
def simulated(problem, n):
    return problem.simulate(range(4), 0, problem.grid(n))


@pytest.mark.parametrize(("problem", "n", "motion"), CASES, ids=[f"{type(p).__name__} {m.name}" for p, _, m in CASES])
def test_the_image_of_a_solution_is_a_solution(problem, n, motion):
    data = simulated(problem, n)
    image = motion(data, torch.Generator().manual_seed(3))
    again = problem.solve(image.inputs())
    assert float((again.u - image.u).norm() / again.u.norm()) < 1e-5
    assert float((image.u - data.u).norm() / data.u.norm()) > 0.02  # it moved


def test_problems_declare_what_they_have():
    assert len(NavierStokes().symmetries()) == 0 and len(Darcy(boundary=1.0).symmetries()) == 0
    assert [m.name for m in Burgers().symmetries()] == ["translate axis 0", "flip axis 0 and change sign", "galilei"]
    assert [m.name for m in KdV(alpha=[0.5, 1.0]).symmetries()] == ["translate axis 0"]
    with pytest.raises(NWidthError, match="a periodic axis 0"):
        cells = Dataset(Grid.make((8,), "cell"), u0=torch.rand(2, 1, 8), u=torch.rand(2, 1, 1, 8), t=torch.ones(1))
        Burgers().symmetries()[0](cells, torch.Generator())


def test_copies_are_random_but_follow_from_the_seed():
    problem = Burgers(nu=0.1, times=2, final_time=0.1)
    data = problem.simulate(range(3), 0, problem.grid(16))
    a, b = equation_copies("auto", data, 2, seed=0)
    again = equation_copies("auto", data, 2, seed=0)
    assert not torch.equal(a.u, b.u) and torch.equal(a.u, again[0].u) and torch.equal(b.u, again[1].u)
    assert not torch.equal(equation_copies("galilei", data, 1, seed=1)[0].u0, data.u0)
    with pytest.raises(NWidthError, match="of this problem: translate axis 0, flip"):
        equation_copies(["turn"], data, 1, seed=0)
    with pytest.raises(NWidthError, match="which problem"):
        equation_copies("auto", Dataset(data.grid, u0=data.u0, u=data.u, t=data.t), 1, seed=0)


class Dense(torch.nn.Module):
    """A linear map of points that knows nothing of translations."""

    def __init__(self, points):
        super().__init__()
        self.map = torch.nn.Linear(points, points)

    def forward(self, x):
        return self.map(x)


def test_moved_copies_teach_what_few_samples_do_not():
    problem = Advection(times=1, final_time=0.25, initial=FEW)
    data = problem.simulate(range(40), 0, problem.grid(16)).to(dtype=torch.float32)
    errors = []
    for wanted in ("none", "translate axis 0"):
        settings = TrainingSettings(epochs=150, batch_size=3, equation_symmetries=wanted, equation_copies=20,
                                    val_every=150, progress=False, tensorboard=False, device="cpu")  # fmt: skip
        surrogate = NeuralSurrogate(
            lambda in_channels, out_channels, grid: Dense(16), partial(torch.optim.Adam, lr=1e-2), training=settings
        )
        log = surrogate.fit(data[:3], data[3:], seed=0)
        errors.append(log.history[-1]["val_rel_l2"])
    assert errors[1] < 0.3 * errors[0]
    assert any("copies" in note for note in log.notes)
