"""The solver users get: one name for grids, scattered points, irregular domains, observations, unknown parameters."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from .equation import Cloud, Equation, Observations
from .features import EXTENSION
from .solution import Solution
from .tensor import TensorSpace
from .weight_space import WeightSpace


class GP:
    """A Gaussian process on regular Fourier features that satisfies the equation; its spectrum from the data alone.

    Tensor grids of two and three axes go to ``TensorSpace``; one axis, scattered points, clouds, observations and
    unknown
    parameters to ``WeightSpace``. Options are theirs.

    >>> from nwidth.gp.pde import PoissonEquation
    >>> equation = PoissonEquation(solution="sin(30*x)", points=60)
    >>> solution = GP().solve(equation)
    >>> solution.error(equation.grid()) < 1e-8
    True
    """

    def __init__(
        self,
        extension: float = EXTENSION,
        bands: Sequence[float] = (1.0, 1.6, 3.2),
        cuts: Sequence[float] = (1e-8, 1e-10, 1e-12),
        shape: str = "gaussian",
        updates: int = 12,
        lines: bool = True,
        passes: int = 2,
        iterations: int = 40,
        max_features: int = 1500,
        draws: int = 16,
        seed: int = 0,
    ):
        self.scattered = WeightSpace(extension, bands, shape, updates, lines, iterations, max_features)
        self.grid = TensorSpace(extension, cuts, passes, shape, updates, iterations, draws, seed)

    def solve(
        self,
        equation: Equation,
        *,
        interior: Tensor | None = None,
        cloud: Cloud | None = None,
        observations: Observations | None = None,
    ) -> Solution:
        given = interior is not None or cloud is not None or observations is not None
        if equation.ndim > 1 and not given and not equation.unknown:
            return self.grid.solve(equation)
        return self.scattered.solve(equation, interior=interior, cloud=cloud, observations=observations)
