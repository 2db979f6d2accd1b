"""Kernel ridge regression with hyper-parameters chosen by validation or by leave-one-out error in closed form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ..errors import NWidthError

ROOT3, ROOT5 = 3**0.5, 5**0.5

KERNELS: dict[str, Callable[[Tensor], Tensor]] = {
    "rbf": lambda r: torch.exp(-0.5 * r.square()),
    "matern12": lambda r: torch.exp(-r),
    "matern32": lambda r: (1 + ROOT3 * r) * torch.exp(-ROOT3 * r),
    "matern52": lambda r: (1 + ROOT5 * r + 5 / 3 * r.square()) * torch.exp(-ROOT5 * r),
    "rational_quadratic": lambda r: 1 / (1 + 0.5 * r.square()),
}


class KernelRidge:
    """y(x) = b + k(x, X) (K + n lambda I)^-1 (Y - b), k(x, x') = phi(|D(x - x')| / l), K_ij = k(x_i, x_j).

    phi is one of rbf, matern12, matern32, matern52, rational_quadratic; l is a multiple of the median distance of the
    training inputs. D = diag(std_j^-g) with std_j the spread of coordinate j: g = 0 keeps the distance of the
    fields, g = 1 whitens. Every combination of ``kernels``, ``lengths``, ``whitening`` and ``ridges`` is tried; one
    eigendecomposition of K serves all ridges. The error is that of validation where there is one, and otherwise the
    leave-one-out error in closed form, e_i = alpha_i / (K + n lambda I)^-1_ii.

    Source: Batlle, Darcy, Hosseini and Owhadi, J. Comput. Phys. 496 (2024), equations 2.5 to 2.9; leave-one-out:
    Rasmussen and Williams (2006), equation 5.12.

    >>> x = torch.linspace(0, 1, 40, dtype=torch.float64)[:, None]
    >>> k = KernelRidge(); _ = k.fit(x, torch.sin(6 * x), None, seed=0)
    >>> bool((k.predict(x + 0.01)[0] - torch.sin(6 * x + 0.06)).abs()[:-1].max() < 1e-3)
    True
    """

    def __init__(
        self,
        kernels: list[str] | None = None,
        lengths: list[float] | None = None,
        ridges: list[float] | None = None,
        whitening: list[float] | None = None,
        max_samples: int = 12000,
    ):
        self.kernels = list(kernels or ["matern52"])
        for kernel in self.kernels:
            if kernel not in KERNELS:
                raise NWidthError("KernelRidge", got=f"kernel {kernel!r}", expected="one of " + ", ".join(KERNELS))
        self.lengths = list(lengths or [0.5, 1.0, 2.0, 4.0, 8.0, 16.0])
        self.ridges = list(ridges or [10.0**k for k in (-14, -12, -10, -8, -6, -5, -4, -3, -2)])
        self.whitening = list(whitening if whitening is not None else [0.0])
        self.max_samples = max_samples
        self.chosen: dict[str, Any] = {}
        self.x: Tensor | None = None
        self.scale: Tensor | None = None
        self.dual: Tensor | None = None
        self.bias: Tensor | None = None

    def fit(self, x: Tensor, y: Tensor, validate: Validate | None, *, seed: int) -> list[dict[str, Any]]:
        if len(x) > self.max_samples:
            raise NWidthError(
                "KernelRidge.fit",
                got=f"{len(x)} samples",
                expected=f"at most {self.max_samples}",
                fix="lower split.train, or raise max_samples (memory grows with its square)",
            )
        return self._search(x, y, validate, self.kernels, self.lengths, self.whitening)

    def refine(self, x: Tensor, y: Tensor, validate: Validate | None, *, seed: int) -> list[dict[str, Any]]:
        """Search again near what was chosen before, for more samples of the same kind."""
        c = self.chosen
        lengths = [f * c["length"] for f in (0.5, 1.0, 2.0)]
        return self._search(x, y, validate, [c["kernel"]], lengths, [c["whitening"]])

    def _search(
        self,
        x: Tensor,
        y: Tensor,
        validate: Validate | None,
        kernels: list[str],
        lengths: list[float],
        whitening: list[float],
    ) -> list[dict[str, Any]]:
        history: list[dict[str, Any]] = []
        bias = y.mean(0)
        for g in whitening:
            scale = self._scale(x, g)
            distance = torch.cdist(x * scale, x * scale)
            across = None if validate is None else torch.cdist(validate[0] * scale, x * scale)
            median = self._median(distance)
            for kernel in kernels:
                for length in lengths:
                    phi = KERNELS[kernel]
                    values, Q = torch.linalg.eigh(phi(distance / (length * median)))
                    Qy = Q.mT @ (y - bias)
                    KQ = None if across is None else phi(across / (length * median)) @ Q
                    for ridge in self.ridges:
                        shifted = (values.clamp_min(0) + ridge * len(x)).reciprocal()
                        record = {"kernel": kernel, "length": length, "ridge": ridge, "whitening": g}
                        if KQ is not None and validate is not None:
                            predicted = bias + KQ @ (shifted[:, None] * Qy)
                            record["val_rel_l2"] = validate[1](predicted)
                        else:
                            alpha = Q @ (shifted[:, None] * Qy)
                            error = alpha / (Q.square() @ shifted)[:, None]
                            record["loo_rel_l2"] = float(error.norm() / y.norm())
                        history.append(record)
        self.chosen = min(history, key=lambda h: h["val_rel_l2" if "val_rel_l2" in h else "loo_rel_l2"])
        self.refit(x, y)
        return history

    def refit(self, x: Tensor, y: Tensor) -> None:
        c = self.chosen
        self.scale = self._scale(x, c["whitening"])
        distance = torch.cdist(x * self.scale, x * self.scale)
        self.scale = self.scale / (c["length"] * self._median(distance))
        K = KERNELS[c["kernel"]](distance / (c["length"] * self._median(distance)))
        self.x, self.bias = x, y.mean(0)
        K.diagonal().add_(c["ridge"] * len(x))
        L, info = torch.linalg.cholesky_ex(K)
        if int(info):  # round-off at a tiny ridge: eigenvalues below zero are zero
            values, Q = torch.linalg.eigh(K)
            floor = max(c["ridge"] * len(x), 1e-15 * float(values[-1]))
            self.dual = Q @ ((Q.mT @ (y - self.bias)) / values.clamp_min(floor)[:, None])
        else:
            self.dual = torch.cholesky_solve(y - self.bias, L)

    @staticmethod
    def _scale(x: Tensor, g: float) -> Tensor:
        if g == 0:
            return torch.ones_like(x[0])
        std = x.std(0).clamp_min(1e-8 * float(x.std(0).max()))
        return std.pow(-g)

    @staticmethod
    def _median(distance: Tensor) -> float:
        n = len(distance)
        off = distance[torch.triu(torch.ones(n, n, dtype=torch.bool), 1)]
        median = float(off.median()) if off.numel() else 1.0
        if median == 0:
            raise NWidthError(
                "KernelRidge.fit",
                got="inputs that are mostly equal",
                expected="distinct inputs",
                fix="check which fields data.fields names as inputs",
            )
        return median

    def predict(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        assert self.x is not None and self.scale is not None and self.dual is not None and self.bias is not None
        K = KERNELS[self.chosen["kernel"]](torch.cdist(x * self.scale, self.x * self.scale))
        return self.bias + K @ self.dual, None

    @property
    def selected(self) -> dict[str, Any]:
        return {k: v for k, v in self.chosen.items() if not k.endswith("rel_l2")}

    @property
    def parameters(self) -> int:
        return 0 if self.dual is None else self.dual.numel()

    def state_dict(self) -> dict[str, Any]:
        return {"chosen": self.selected, "x": self.x, "scale": self.scale, "dual": self.dual, "bias": self.bias}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.chosen = dict(state["chosen"])
        self.x, self.scale, self.dual, self.bias = (state[k] for k in ("x", "scale", "dual", "bias"))


Validate = tuple[Tensor, Callable[[Tensor], float]]
