"""Training samples from the symmetries of the grid, which are tried, and of the equation, where it is known."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..data import Dataset
from ..data.symmetry import Symmetry, candidates
from ..errors import NWidthError
from ..gp import KernelRidge
from ..solvers.problem import problem_of
from ..solvers.reduced import PODRegression

MOST = 400  # training samples of the regression that tests the candidates


def chosen_symmetries(wanted: str | Sequence[str], train: Dataset, val: Dataset | None) -> list[Symmetry]:
    """The symmetries that ``training.symmetries`` names: none, auto, or names of ``candidates(train)``.

    >>> from nwidth.solvers import Darcy
    >>> data = Darcy().simulate(range(3), 0, Darcy().grid(8))
    >>> [s.name for s in chosen_symmetries(["exchange x and y"], data, None)]
    ['exchange x and y']
    """
    if wanted == "none":
        return []
    if wanted == "auto":
        return confirmed(train, val)
    return named([wanted] if isinstance(wanted, str) else wanted, train)


def equation_copies(wanted: str | Sequence[str], train: Dataset, copies: int, seed: int) -> list[Dataset]:
    """Copies of the training samples, each moved by random elements of the symmetries that the problem declares.

    >>> from nwidth.solvers import Burgers
    >>> data = Burgers(times=2, final_time=0.1).simulate(range(3), 0, Burgers().grid(16))
    >>> len(equation_copies("auto", data, 2, seed=0)), equation_copies("none", data, 2, seed=0)
    (2, [])
    """
    if wanted == "none":
        return []
    declared = problem_of(train, None, "training.equation_symmetries").symmetries()
    known = {m.name: m for m in declared}
    names = list(known) if wanted == "auto" else [wanted] if isinstance(wanted, str) else list(wanted)
    unknown = [n for n in names if n not in known]
    if unknown or not names:
        raise NWidthError(
            "training.equation_symmetries",
            got=", ".join(map(repr, unknown)) or repr(wanted),
            expected="none, auto, or of this problem: " + (", ".join(known) or "it declares none"),
        )
    found = []
    for i in range(copies):
        generator, data = torch.Generator().manual_seed((seed * 1_000_003 + i) % 2**63), train
        for name in names:
            data = known[name](data, generator)
        found.append(data)
    return found


def named(names: Sequence[str], data: Dataset) -> list[Symmetry]:
    """The candidates of these names on the grid of ``data``; NWidthError where it has no such symmetry."""
    known = {s.name: s for s in candidates(data)} if names else {}
    unknown = [n for n in names if n not in known]
    if unknown:
        raise NWidthError(
            "training.symmetries",
            got=", ".join(map(repr, unknown)),
            expected="none, auto, or of this grid: " + (", ".join(known) or "it has none"),
        )
    return [known[n] for n in names]


def confirmed(train: Dataset, val: Dataset | None) -> list[Symmetry]:
    """The candidates that hold: as additional samples they lower the validation error of kernel regression by 2 %.

    A map that is not a symmetry of the equation teaches the regression wrong pairs and raises its error. Up to
    ``MOST`` samples are used, the first ones.
    """
    if val is None or not len(val) or not candidates(train[:1]):
        return []
    regression = PODRegression(
        KernelRidge(kernels=["matern52"], whitening=[0.0]), symmetries=True, max_samples=8 * MOST, refit=False
    )
    with torch.no_grad():
        regression.fit(train[: min(MOST, len(train))], val[: min(MOST, len(val))])
    return regression.confirmed
