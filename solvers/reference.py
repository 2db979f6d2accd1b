"""The full-order solver as a row of a comparison: what the data cost, and how far they are from its answer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from ..build import build
from ..data import Dataset, FitLog, Prediction, Surrogate
from .problem import Problem, problem_of


class ReferenceSolver(Surrogate):
    """u = the problem's own full-order solution, on the grid and at the times of the inputs.

    Nothing is learned. Its error is the distance between the data and nwidth's solution of the stated problem:
    round-off for data that ``generate`` made at their own resolution, the discretisation error on thinned data,
    and a check of the data's accuracy, or of the equation and its parameters, for files of others. Its prediction
    time is what a surrogate has to beat.

    problem : the equation; by default the one that the training file records.

    >>> from nwidth.solvers import Burgers
    >>> problem = Burgers(nu=0.1, times=2)
    >>> data = problem.simulate(range(6), seed=0, grid=problem.grid(128))
    >>> surrogate = ReferenceSolver()
    >>> _ = surrogate.fit(data[:4], None)
    >>> u = surrogate.predict(data[4:].inputs()).mean
    >>> bool((u - data[4:].u).abs().max() < 1e-10)
    True
    """

    least_samples: ClassVar[int] = 1
    uses_seed = False

    def __init__(self, *, problem: Problem | None = None):
        self.problem = problem
        self._problem: Problem | None = None

    def fit(self, train: Dataset, val: Dataset | None, *, seed: int = 0, folder: Path | None = None) -> FitLog:
        """Find the equation. NWidthError where none is known or its inputs are missing."""
        self.check(train)
        self._problem = problem_of(train, self.problem, "ReferenceSolver.fit")
        self._problem.need(train)
        return FitLog(
            selected={"problem": self._problem.config()}, notes=["the full-order solver; nothing was learned"]
        )

    def predict(self, inputs: Dataset) -> Prediction:
        """Solutions on ``inputs.grid``, at ``inputs.t``; computed in double precision."""
        problem = self.fitted(self._problem)
        return Prediction(problem.solve(inputs).load().solution)

    def state_dict(self) -> dict[str, Any]:
        return {"problem": self.fitted(self._problem).config()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._problem = build(state["problem"])
