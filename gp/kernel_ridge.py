"""Kernel ridge regression as a Gaussian process: the choice of its hyper-parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..errors import NWidthError
from .gram import KERNELS, check_kernel, check_samples, cholesky
from .kernel_fit import KernelFit, check_option, repeated
from .ridge_path import DualPath, PrimalPath, RidgePath

Validate = tuple[Tensor, Callable[[Tensor], float]]
CRITERIA = {
    "validation": "val_rel_l2",
    "leave_one_out": "loo_rel_l2",
    "marginal_likelihood": "negative_log_likelihood",
}


class KernelRidge(KernelFit):
    """y(x) = b + k(x, X) (K + n lambda I)^-1 (Y - b), k(x, x') = phi(|D(x - x')| / l), K_ij = k(x_i, x_j).

    phi is one of rbf, matern12, matern32, matern52, rational_quadratic, or the kernel is linear,
    D(x - m) . D(x' - m) / l^2 with m the mean input; l is a multiple of the median distance of the training inputs.
    D = diag(std_j^-g) with std_j the spread of coordinate j: g = 0 keeps the distance of the fields, g = 1 whitens.
    Every combination of ``kernels``, ``lengths``, ``whitening`` and ``ridges`` is tried (a linear kernel with l = 1
    alone: its ridge does the rest); one eigendecomposition of K serves all ridges. ``selection`` is by the error on
    validation where there is one, otherwise by the leave-one-out error in closed form,
    e_i = alpha_i / (K + n lambda I)^-1_ii; or by name: leave_one_out, marginal_likelihood.

    Standard deviation: y is the mean of a Gaussian process of covariance s_j^2 k and noise s_j^2 n lambda in output j,
    std^2 = s_j^2 (k(x, x) + n lambda - |L^-1 k(X, x)|^2), L L' = K + n lambda I, of a new observation. ``spread`` says
    where the scale is from: s_j^2 = mean_i e_ij^2 (K + n lambda I)^-1_ii, which makes the leave-one-out errors as large
    as they are said to be, or (Y - b)_j' alpha_j / n, which maximises the likelihood; null: no standard deviation.

    Where inputs are repeated, a sample's twin gives its answer away: the marginal likelihood stands in for
    leave-one-out.

    More than ``max_samples`` samples are all used, through ``features`` features of the kernel (``KernelFeatures``):
    with ``beyond`` nystroem or fourier; or refused, with ``beyond`` null. Everything is computed in double precision
    and answered in that of the inputs. A jitter that K needed to be positive definite counts as noise, and is named
    among what was selected.

    Source: Batlle, Darcy, Hosseini and Owhadi, J. Comput. Phys. 496 (2024), section 2; leave-one-out:
    Rasmussen and Williams (2006), section 5.4.2.

    >>> x = torch.linspace(0, 1, 40, dtype=torch.float64)[:, None]
    >>> k = KernelRidge(); _ = k.fit(x, torch.sin(6 * x), None, seed=0)
    >>> mean, std = k.predict(x + 0.01)
    >>> error = (mean - torch.sin(6 * x + 0.06)).abs()[:-1]
    >>> bool(error.max() < 1e-3), bool((error < 2 * std[:-1]).double().mean() > 0.9)
    (True, True)
    """

    def __init__(
        self,
        kernels: list[str] | None = None,
        lengths: list[float] | None = None,
        ridges: list[float] | None = None,
        whitening: list[float] | None = None,
        max_samples: int = 10000,
        selection: str | None = None,
        spread: str | None = "leave_one_out",
        beyond: str | None = "nystroem",
        features: int = 1000,
        feature_seed: int = 0,
    ):
        super().__init__(max_samples, spread, beyond, features, feature_seed)
        self.kernels = list(kernels or ["matern52"])
        for kernel in self.kernels:
            check_kernel("KernelRidge", kernel)
        check_option("selection", selection, tuple(CRITERIA))
        self.lengths = list(lengths or [0.5, 1.0, 2.0, 4.0, 8.0, 16.0])
        self.ridges = list(ridges or [10.0**k for k in (-14, -12, -10, -8, -6, -5, -4, -3, -2)])
        self.whitening = list(whitening if whitening is not None else [0.0])
        self.selection = selection

    def fit(self, x: Tensor, y: Tensor, validate: Validate | None, *, seed: int) -> list[dict[str, Any]]:
        return self._search(x, y, validate, self.kernels, self.lengths, self.whitening)

    def refine(self, x: Tensor, y: Tensor, validate: Validate | None, *, seed: int) -> list[dict[str, Any]]:
        """Search again near what was chosen before, for more samples of the same kind."""
        c = self.chosen
        if validate is not None and self.selection in (None, "validation") and self._exact(len(x)):
            return self._descend(x, y, validate)
        lengths = [f * c["length"] for f in (0.5, 1.0, 2.0)]
        return self._search(x, y, validate, [c["kernel"]], lengths, [c["whitening"]])

    def _descend(self, x: Tensor, y: Tensor, validate: Validate) -> list[dict[str, Any]]:
        """The length halved or doubled, then the ridge moved along the list, each as long as validation improves: a
        Cholesky factor a trial, which so few need, instead of an eigendecomposition a length."""
        x, y = check_samples("KernelRidge.refine", x, y)
        c, bias, shift = self.chosen, y.mean(0), x.mean(0)
        scale, apart = self._unit(x - shift, c["whitening"])
        assert apart is not None
        z, other = (x - shift) * scale, (validate[0].double() - shift) * scale
        distances = None if c["kernel"] == "linear" else (apart, torch.cdist(other, z))
        tried: dict[tuple[float, float], float] = {}

        def error(length: float, ridge: float) -> float:
            if (length, ridge) not in tried:
                if distances is None:
                    K, across = z @ z.mT, other @ z.mT
                else:
                    K, across = (KERNELS[c["kernel"]](d / length) for d in distances)
                K.diagonal().add_(ridge * len(x))
                L = cholesky(K)[0]
                if len(across) < y.shape[1]:
                    found = torch.cholesky_solve(across.mT, L).mT @ (y - bias)
                else:
                    found = across @ torch.cholesky_solve(y - bias, L)
                tried[length, ridge] = validate[1](bias + found)
            return tried[length, ridge]

        length, ridge, ridges = c["length"], c["ridge"], sorted({*self.ridges, c["ridge"]})
        if distances is not None:
            for factor in (0.5, 2.0):
                while error(factor * length, ridge) < error(length, ridge):
                    length *= factor
        for move in (-1, 1):
            at = ridges.index(ridge)
            while 0 <= at + move < len(ridges) and error(length, ridges[at + move]) < error(length, ridge):
                at += move
                ridge = ridges[at]
        self.chosen = {"kernel": c["kernel"], "length": length, "ridge": ridge, "whitening": c["whitening"]}
        self._waiting = x, y  # another refit may follow
        fixed = {"kernel": c["kernel"], "whitening": c["whitening"]}
        return [{**fixed, "length": k, "ridge": r, CRITERIA["validation"]: e} for (k, r), e in tried.items()]

    def _search(
        self,
        x: Tensor,
        y: Tensor,
        validate: Validate | None,
        kernels: list[str],
        lengths: list[float],
        whitening: list[float],
    ) -> list[dict[str, Any]]:
        x, y = check_samples("KernelRidge.fit", x, y)
        if self.selection == "validation" and validate is None:
            raise NWidthError("KernelRidge.fit", got="selection=validation without validation samples")
        by = self.selection or ("leave_one_out" if validate is None else "validation")
        if by == "leave_one_out" and repeated(x):
            by = "marginal_likelihood"
        criterion = CRITERIA[by]
        history: list[dict[str, Any]] = []
        bias, shift = y.mean(0), x.mean(0)
        inputs = None if validate is None else validate[0].double()
        size = max(float(y.norm()), 1e-300)
        for g in whitening:
            scale, apart = self._unit(x - shift, g)
            z = (x - shift) * scale
            other = None if inputs is None else (inputs - shift) * scale
            distances = None if apart is None else [apart] if other is None else [apart, torch.cdist(other, z)]
            for kernel in kernels:
                for length in lengths if kernel != "linear" else [1.0]:
                    path, across = self._path(y - bias, z, other, distances, kernel, length)
                    for ridge in self.ridges:
                        nugget = ridge * len(x)
                        record = {"kernel": kernel, "length": length, "ridge": ridge, "whitening": g}
                        if by == "validation":
                            assert across is not None and validate is not None
                            record[criterion] = validate[1](bias + path.predict(across, nugget))
                        elif by == "leave_one_out":
                            record[criterion] = float(path.leave_one_out(nugget).norm()) / size
                        else:
                            record[criterion] = path.negative_log_likelihood(nugget)
                        history.append(record)
        best = min(history, key=lambda h: h[criterion])
        self.chosen = {k: best[k] for k in ("kernel", "length", "ridge", "whitening")}
        self.refit(x, y)
        if by != "validation" and validate is not None:
            best["val_rel_l2"] = validate[1](self.predict(validate[0])[0])
        return history

    def _path(
        self, rest: Tensor, z: Tensor, other: Tensor | None, distances: list[Tensor] | None, kernel: str, length: float
    ) -> tuple[RidgePath, Tensor | None]:
        """For inputs z and those of validation, in units of the median distance."""
        if distances is None:
            phi = self._features(kernel, z / length)
            path: RidgePath = PrimalPath(phi(z / length), rest)
            return path, None if other is None else path.rotate(phi(other / length))
        if kernel == "linear":
            matrices = [v @ z.mT for v in (z, other) if v is not None]
        else:
            matrices = [KERNELS[kernel](d / length) for d in distances]
        path = DualPath(matrices[0], rest)
        return path, path.rotate(matrices[1]) if len(matrices) > 1 else None
