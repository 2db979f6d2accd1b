"""Linear and radial-basis regressors for POD coefficients."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from scipy.interpolate import RBFInterpolator
from torch import Tensor

from ...backends.svd import svd
from ...errors import NWidthError
from .regression import Validate


class Ridge:
    """y = b + x W, W minimising |y - b - x W|^2 + alpha s_1^2 |W|^2 (s_1 the largest singular value of centred x).

    One SVD of x serves every ``alphas``; the best on validation is kept, or without validation the one with the
    smallest leave-one-out error, in closed form. On lossless PCA coordinates this is ridge regression on the fields.

    >>> x = torch.randn(30, 3, dtype=torch.float64); y = x @ torch.ones(3, 2, dtype=torch.float64) + 1
    >>> r = Ridge(); _ = r.fit(x, y, None, seed=0)
    >>> bool(torch.allclose(r.predict(x)[0], y, atol=1e-6))
    True
    """

    complex_data = True  # a complex linear map

    def __init__(self, alphas: list[float] | None = None):
        self.alphas = sorted(alphas or [10.0**k for k in range(-14, 1)])
        self.alpha = self.alphas[0]
        self.weight: Tensor | None = None
        self.bias: Tensor | None = None

    def fit(self, x: Tensor, y: Tensor, validate: Validate | None, *, seed: int) -> list[dict[str, Any]]:
        factors = self._factor(x, y)
        history: list[dict[str, Any]] = []
        for alpha in self.alphas:
            if validate is not None:
                self._solve(factors, alpha)
                history.append({"alpha": alpha, "val_rel_l2": validate[1](self.predict(validate[0])[0])})
            else:
                history.append({"alpha": alpha, "loo_rel_l2": self._leave_one_out(factors, y, alpha)})
        self.alpha = min(history, key=lambda h: h["val_rel_l2" if "val_rel_l2" in h else "loo_rel_l2"])["alpha"]
        self._solve(factors, self.alpha)
        return history

    refine = fit

    def refit(self, x: Tensor, y: Tensor) -> None:
        self._solve(self._factor(x, y), self.alpha)

    @staticmethod
    def _factor(x: Tensor, y: Tensor):
        mx, my = x.mean(0), y.mean(0)
        U, s, Vh = svd(x - mx, method="exact")
        return U, s, Vh, U.mH @ (y - my), mx, my

    def _solve(self, factors, alpha: float) -> None:
        _, s, Vh, Uy, mx, my = factors
        filtered = s / (s.square() + alpha * s[0].square()).clamp_min(1e-300)  # inputs that never vary
        self.weight = Vh.mH @ (filtered[:, None] * Uy)
        self.bias = my - mx @ self.weight

    def _leave_one_out(self, factors, y: Tensor, alpha: float) -> float:
        U, s, _, Uy, _, my = factors
        keep = s.square() / (s.square() + alpha * s[0].square()).clamp_min(1e-300)
        fitted = my + U @ (keep[:, None] * Uy)
        leverage = (1 / len(y) + (U.abs().square() * keep).sum(1)).clamp_max(1 - 1e-10)
        error = (y - fitted) / (1 - leverage)[:, None]
        return float(error.norm() / y.norm())

    def predict(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        assert self.weight is not None and self.bias is not None
        return self.bias + x @ self.weight, None

    @property
    def selected(self) -> dict[str, Any]:
        return {"alpha": self.alpha}

    @property
    def parameters(self) -> int:
        return 0 if self.weight is None else self.weight.numel() + self.weight.shape[1]

    def state_dict(self) -> dict[str, Any]:
        return {"alpha": self.alpha, "weight": self.weight, "bias": self.bias}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.alpha, self.weight, self.bias = float(state["alpha"]), state["weight"], state["bias"]


class RBF:
    """Radial basis functions with a polynomial tail (SciPy's RBFInterpolator), smoothing chosen on validation.

    ``kernel`` is one of SciPy's: thin_plate_spline, cubic, linear, quintic (no length scale), or gaussian,
    multiquadric, inverse_multiquadric, inverse_quadratic with ``epsilon``.
    """

    KERNELS = (
        "thin_plate_spline",
        "cubic",
        "linear",
        "quintic",
        "gaussian",
        "multiquadric",
        "inverse_multiquadric",
        "inverse_quadratic",
    )

    def __init__(
        self,
        kernel: str = "thin_plate_spline",
        smoothing: list[float] | None = None,
        epsilon: float | None = None,
        degree: int | None = None,
    ):
        if kernel not in self.KERNELS:
            raise NWidthError("RBF", got=f"kernel={kernel!r}", expected="one of " + ", ".join(self.KERNELS))
        self.kernel, self.epsilon, self.degree = kernel, epsilon, degree
        self.smoothing = list(smoothing or [0.0, 1e-8, 1e-6, 1e-4, 1e-2])
        self.chosen = self.smoothing[0]
        self.x: Tensor | None = None
        self.y: Tensor | None = None
        self._interpolator: RBFInterpolator | None = None

    def fit(self, x: Tensor, y: Tensor, validate: Validate | None, *, seed: int) -> list[dict[str, Any]]:
        history: list[dict[str, Any]] = []
        if validate is not None:
            for smoothing in self.smoothing:
                self.chosen = smoothing
                try:
                    self.refit(x, y)
                except NWidthError:  # singular without smoothing: repeated points, say
                    continue
                history.append({"smoothing": smoothing, "val_rel_l2": validate[1](self.predict(validate[0])[0])})
            if history:
                self.chosen = min(history, key=lambda h: h["val_rel_l2"])["smoothing"]
        self.refit(x, y)
        return history

    refine = fit

    def refit(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y
        self._interpolator = None
        self._build()

    def _build(self) -> RBFInterpolator:
        if self._interpolator is None:
            assert self.x is not None and self.y is not None
            needed = {"thin_plate_spline": 1, "cubic": 1, "quintic": 2, "linear": 0}.get(self.kernel, 0)
            degree = self.degree
            if degree is None and self.x.shape[1] + 1 > len(self.x) and needed > 0:
                degree = 0  # fewer samples than a linear polynomial has terms
            try:
                with warnings.catch_warnings():  # a lower degree than SciPy advises is deliberate
                    warnings.simplefilter("ignore", UserWarning)
                    self._interpolator = RBFInterpolator(
                        self.x.numpy(),
                        self.y.numpy(),
                        kernel=self.kernel,
                        smoothing=self.chosen,
                        epsilon=self.epsilon,
                        degree=degree,
                    )
            except Exception as e:  # SciPy raises LinAlgError and ValueError for degenerate points
                raise NWidthError(
                    "RBF",
                    got=f"points that make a singular system ({str(e)[:60]})",
                    expected="distinct inputs",
                    fix="raise smoothing or lower input_ranks",
                ) from None
        return self._interpolator

    def predict(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        return torch.from_numpy(self._build()(x.numpy())), None

    @property
    def selected(self) -> dict[str, Any]:
        return {"kernel": self.kernel, "smoothing": self.chosen}

    @property
    def parameters(self) -> int:
        return 0 if self.y is None else self.y.numel()

    def state_dict(self) -> dict[str, Any]:
        return {"smoothing": self.chosen, "x": self.x, "y": self.y}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.chosen, self.x, self.y = float(state["smoothing"]), state["x"], state["y"]
        self._interpolator = None
