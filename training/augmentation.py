"""Training samples from the symmetries of an equation that is not known."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..data import Dataset
from ..data.symmetry import Symmetry, candidates
from ..errors import NWidthError
from ..gp import KernelRidge
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
