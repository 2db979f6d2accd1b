"""Interpolation in the parameter as a regressor: piecewise linear, nearest sample, radial functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from scipy.interpolate import LinearNDInterpolator
from scipy.spatial import QhullError
from torch import Tensor

from ...errors import NWidthError
from .neighbors import KNN
from .regression import Validate
from .regressors import RBF

METHODS = ("linear", "nearest", "rbf")
MOST_FEATURES = 4  # beyond which a Delaunay triangulation costs too much


class Interpolation:
    """y(x) = sum_i l_i(x) y_i, one and the same weights for every output: whole solutions are interpolated.

    ==========  =======================================================================================
    method      l_i
    ==========  =======================================================================================
    linear      hat functions on the Delaunay triangulation of the x_i (between neighbours for one feature); outside
                the hull the nearest sample. For at most 4 features that vary
    nearest     1 for the nearest sample
    rbf         thin-plate splines with a linear tail
    ==========  =======================================================================================

    Of several ``methods`` the best on validation is kept; without validation the first that applies.

    >>> x = torch.rand(40, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    >>> f = Interpolation(["linear"]); _ = f.fit(x, x @ torch.ones(2, 1, dtype=torch.float64), None, seed=0)
    >>> round(float(f.predict(torch.tensor([[0.5, 0.5]], dtype=torch.float64))[0]), 12)
    1.0
    """

    def __init__(self, methods: list[str] | None = None):
        self.methods = list(methods or METHODS)
        for method in self.methods:
            if method not in METHODS:
                raise NWidthError("Interpolation", got=f"method {method!r}", expected="some of " + ", ".join(METHODS))
        self.method = self.methods[0]
        self.x: Tensor | None = None
        self.y: Tensor | None = None
        self._nearest, self._rbf = KNN([1], [0.0]), RBF(smoothing=[0.0])
        self._hats: LinearNDInterpolator | None = None

    def fit(self, x: Tensor, y: Tensor, validate: Validate | None, *, seed: int) -> list[dict[str, Any]]:
        history: list[dict[str, Any]] = []
        refused: NWidthError | None = None
        for method in self.methods:
            self.method = method
            try:
                self.refit(x, y)
            except NWidthError as error:  # too many features, or points that lie on a line
                refused = error
                history.append({"method": self.method, "refused": str(error)})
                continue
            if validate is None:
                return [*history, {"method": self.method}]
            history.append({"method": self.method, "val_rel_l2": validate[1](self.predict(validate[0])[0])})
        done = [h for h in history if "val_rel_l2" in h]
        if not done:
            assert refused is not None
            raise refused
        self.method = min(done, key=lambda h: h["val_rel_l2"])["method"]
        self.refit(x, y)
        return history

    refine = fit

    def refit(self, x: Tensor, y: Tensor) -> None:
        if x.is_complex() and self.method != "nearest":
            raise NWidthError(f"Interpolation {self.method}", got="complex inputs", fix="methods=[nearest]")
        self.x, self.y, self._hats = x, y, None
        if self.method == "rbf":
            self._rbf.refit(x, y)
        elif self.method == "nearest":
            self._nearest.refit(x, y)
        else:
            self._triangulate()

    def _varying(self, x: Tensor) -> Tensor:
        """The features that vary among the training inputs."""
        assert self.x is not None
        return x[:, (self.x - self.x[0]).abs().amax(0) > 1e-12]

    def _triangulate(self) -> None:
        assert self.x is not None and self.y is not None
        points = self._varying(self.x)
        features = points.shape[1]
        if not 1 <= features <= MOST_FEATURES:
            raise NWidthError(
                "Interpolation linear",
                got=f"{features} features that vary",
                expected=f"1 to {MOST_FEATURES}",
                fix="use methods=[nearest,rbf], or input_ranks",
            )
        self._nearest.refit(self.x, self.y)
        if features > 1:
            try:
                self._hats = LinearNDInterpolator(points.numpy(), self.y.numpy())
            except QhullError:
                raise NWidthError(
                    "Interpolation linear",
                    got=f"{len(points)} samples of {features} features that span no volume",
                    expected="points in general position",
                    fix="use methods=[nearest,rbf]",
                ) from None

    def predict(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        if self.method == "rbf":
            return self._rbf.predict(x)
        nearest = self._nearest.predict(x)[0]
        if self.method == "nearest":
            return nearest, None
        assert self.x is not None and self.y is not None
        wanted = self._varying(x)
        if self._hats is None:
            return self._between(wanted[:, 0]), None
        inside = torch.from_numpy(self._hats(wanted.numpy()))
        return torch.where(inside.isnan(), nearest, inside), None

    def _between(self, x: Tensor) -> Tensor:
        """One feature: the straight line between the neighbours, constant outside."""
        assert self.x is not None and self.y is not None
        points, order = self._varying(self.x)[:, 0].sort()
        right = torch.searchsorted(points, x).clamp(1, len(points) - 1)
        gap = points[right] - points[right - 1]
        share = ((x - points[right - 1]) / torch.where(gap > 0, gap, torch.ones_like(gap))).clamp(0, 1)[:, None]
        return (1 - share) * self.y[order[right - 1]] + share * self.y[order[right]]

    @property
    def selected(self) -> dict[str, Any]:
        return {"method": self.method}

    @property
    def parameters(self) -> int:
        return 0 if self.y is None else self.y.numel()

    def state_dict(self) -> dict[str, Any]:
        return {"method": self.method, "x": self.x, "y": self.y}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.method = str(state["method"])
        if state["x"] is not None:
            self.refit(state["x"], state["y"])
