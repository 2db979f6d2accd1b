"""Kernel ridge regression as a Gaussian process: hyper-parameters, error bars, features for many samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ..errors import NWidthError
from .gram import KERNELS, check_inputs, check_kernel, check_samples, cholesky, gram, gram_diagonal
from .landmarks import KINDS, KernelFeatures
from .ridge_path import DualPath, PrimalPath, RidgePath

Validate = tuple[Tensor, Callable[[Tensor], float]]
CRITERIA = {
    "validation": "val_rel_l2",
    "leave_one_out": "loo_rel_l2",
    "marginal_likelihood": "negative_log_likelihood",
}
SPREADS = ("leave_one_out", "marginal_likelihood")
MEDIAN_OF = 2000  # samples that the median distance is taken of, where kernels are approximated by features


def repeated(x: Tensor) -> bool:
    return len(torch.unique(x, dim=0)) < len(x)


class KernelRidge:
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
        self.kernels = list(kernels or ["matern52"])
        for kernel in self.kernels:
            check_kernel("KernelRidge", kernel)
        for name, value, known in (
            ("selection", selection, tuple(CRITERIA)),
            ("spread", spread, SPREADS),
            ("beyond", beyond, KINDS),
        ):
            if value is not None and value not in known:
                raise NWidthError("KernelRidge", got=f"{name}={value!r}", expected="null or one of " + ", ".join(known))
        self.lengths = list(lengths or [0.5, 1.0, 2.0, 4.0, 8.0, 16.0])
        self.ridges = list(ridges or [10.0**k for k in (-14, -12, -10, -8, -6, -5, -4, -3, -2)])
        self.whitening = list(whitening if whitening is not None else [0.0])
        self.max_samples, self.selection, self.spread = max_samples, selection, spread
        self.beyond, self.features, self.feature_seed = beyond, features, feature_seed
        self.chosen: dict[str, Any] = {}
        self.x: Tensor | None = None  # scaled training inputs; None where features stand for them
        self.phi: KernelFeatures | None = None
        self.shift: Tensor | None = None  # inputs are (x - shift) scale in units of the kernel's length
        self.scale: Tensor | None = None
        self.dual: Tensor | None = None
        self.bias: Tensor | None = None
        self.nugget, self.twins = 0.0, False
        self.std_scale: Tensor | None = None
        self._late: Tensor | None = None  # outputs less bias, until the scale of the standard deviation is asked for
        self._waiting: tuple[Tensor, Tensor] | None = None  # samples to be fitted with what was chosen, when asked for
        self._factor: Tensor | None = None  # of K + n lambda I; of A'A + n lambda I with features A

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

    def _exact(self, n: int) -> bool:
        if n > self.max_samples and self.beyond is None:
            raise NWidthError(
                "KernelRidge.fit",
                got=f"{n} samples",
                expected=f"at most {self.max_samples}",
                fix="give beyond=nystroem, lower split.train, or raise max_samples (memory grows with its square)",
            )
        return n <= self.max_samples

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

    def _unit(self, x: Tensor, g: float) -> tuple[Tensor, Tensor | None]:
        """D divided by the median distance, for centred inputs, and all distances in units of the median; None where
        features are to stand for the samples."""
        scale, exact = self._scale(x, g), self._exact(len(x))
        if not exact:
            pick = torch.randperm(len(x), generator=torch.Generator().manual_seed(self.feature_seed))[:MEDIAN_OF]
            x = x[pick]
        apart = torch.cdist(x * scale, x * scale).fill_diagonal_(0)
        median = self._median(apart)
        return scale / median, apart.div_(median) if exact else None

    def _features(self, kernel: str, z: Tensor) -> KernelFeatures:
        assert self.beyond is not None
        return KernelFeatures(kernel, self.beyond, z, self.features, seed=self.feature_seed)

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

    def refit(self, x: Tensor, y: Tensor) -> None:
        x, y = check_samples("KernelRidge.refit", x, y)
        c, self._waiting = self.chosen, None
        self.shift, self.bias = x.mean(0), y.mean(0)
        unit, apart = self._unit(x - self.shift, c["whitening"])
        self.scale = unit / c["length"]
        z = (x - self.shift) * self.scale
        self.nugget = c["ridge"] * len(x)
        self.chosen.pop("jitter", None)
        self.twins = apart is not None and repeated(x)
        if apart is not None:
            self.x, self.phi = z, None
            if c["kernel"] == "linear":
                jitter = self._factorise(gram(c["kernel"], z, z))
            else:
                jitter = self._factorise(KERNELS[c["kernel"]](apart / c["length"]))
        else:
            self.x, self.phi = None, self._features(c["kernel"], z)
            A = self.phi(z)
            jitter = self._factorise(A.mT @ A)
        if jitter:
            self.nugget += jitter
            self.chosen["jitter"] = jitter
        assert self._factor is not None
        rest = y - self.bias
        if self.x is not None:
            self.dual = torch.cholesky_solve(rest, self._factor).contiguous()  # as it is when loaded
            self._late = rest
        else:
            self.dual = torch.cholesky_solve(A.mT @ rest, self._factor).contiguous()
            self.std_scale, self._late = self._spread_of_features(rest, z, A), None

    def _factorise(self, K: Tensor) -> float:
        """Of K + n lambda I, which K becomes; the jitter."""
        K.diagonal().add_(self.nugget)
        self._factor, jitter = cholesky(K)
        return jitter

    def _settle(self) -> None:
        if self._waiting is not None:
            self.refit(*self._waiting)

    def _finish(self) -> None:
        self._settle()
        if self._late is not None and self.dual is not None:
            self.std_scale, self._late = self._spread_of(self._late, self.dual), None

    def _spread_of(self, rest: Tensor, alpha: Tensor) -> Tensor | None:
        """s_j, from alpha = (K + g I)^-1 rest."""
        assert self._factor is not None
        if self.spread is None:
            return None
        if self.spread == "marginal_likelihood" or self.twins:
            return (rest * alpha).mean(0).clamp_min(0).sqrt()
        inverse = torch.cholesky_inverse(self._factor).diagonal()
        return (alpha.square() / inverse[:, None]).mean(0).sqrt()

    def _spread_of_features(self, rest: Tensor, z: Tensor, A: Tensor) -> Tensor | None:
        """The same with features A, (A A' + g I)^-1 = (I - A (A'A + g I)^-1 A') / g; leave-one-out takes the variance
        that the features miss into account."""
        assert self._factor is not None and self.dual is not None and self.phi is not None
        if self.spread is None:
            return None
        residual = rest - A @ self.dual
        if self.spread == "marginal_likelihood":
            return (rest * residual / self.nugget).mean(0).clamp_min(0).sqrt()
        left = (1 - torch.linalg.solve_triangular(self._factor, A.mT, upper=False).square().sum(0)).clamp_min(1e-12)
        variance = self.nugget / left + self.phi.missed(z, A)
        return ((residual / left[:, None]).square() / variance[:, None]).mean(0).sqrt()

    @staticmethod
    def _scale(x: Tensor, g: float) -> Tensor:
        if g == 0:
            return torch.ones_like(x[0])
        std = x.std(0).clamp_min(1e-8 * float(x.std(0).max()))
        return std.pow(-g)

    @staticmethod
    def _median(apart: Tensor) -> float:
        """Median distance of pairs: of all entries of the matrix, n are of no pair and each pair is there twice."""
        n = len(apart)
        median = float(apart.reshape(-1).kthvalue(n + 2 * ((n * (n - 1) // 2 - 1) // 2) + 1).values)
        if median == 0:
            raise NWidthError(
                "KernelRidge.fit",
                got="inputs that are mostly equal",
                expected="distinct inputs",
                fix="check which fields data.fields names as inputs",
            )
        return median

    def mean(self, x: Tensor) -> Tensor:
        """What ``predict`` says without a standard deviation, which takes longer."""
        z, dual, bias = self._inputs(x)
        return torch.cat([bias + self._across(part) @ dual for part in z.split(1024)]).to(x.dtype)

    def _inputs(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs in units of the kernel's length, dual coefficients and bias."""
        self._settle()
        if self.scale is None or self.shift is None or self.dual is None or self.bias is None:
            raise NWidthError("KernelRidge.predict", got="a model that was not fitted", fix="call fit first")
        x = check_inputs("KernelRidge.predict", x, len(self.shift))
        return (x - self.shift) * self.scale, self.dual, self.bias

    def predict(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        z, dual, bias = self._inputs(x)
        self._finish()
        means, spreads = [], []
        for part in z.split(1024):  # bounds memory: 1024 x samples
            across = self._across(part)
            means.append(bias + across @ dual)
            if self.std_scale is not None:
                spreads.append(self._variance(part, across).sqrt()[:, None] * self.std_scale)
        return torch.cat(means).to(x.dtype), torch.cat(spreads).to(x.dtype) if spreads else None

    def _across(self, z: Tensor) -> Tensor:
        """k(x, X), or the features of x."""
        if self.x is not None:
            return gram(self.chosen["kernel"], z, self.x)
        assert self.phi is not None
        return self.phi(z)

    def _variance(self, z: Tensor, across: Tensor) -> Tensor:
        """Of a new observation for s_j = 1; at least the noise, which round-off may not take away."""
        if self._factor is None:
            assert self.x is not None
            K = gram(self.chosen["kernel"], self.x, self.x)
            K.diagonal().add_(self.nugget)
            self._factor = cholesky(K)[0]
        explained = torch.linalg.solve_triangular(self._factor, across.mT, upper=False).square().sum(0)
        if self.x is not None:
            return (gram_diagonal(self.chosen["kernel"], z) - explained).clamp_min(0) + self.nugget
        assert self.phi is not None
        return self.nugget * (1 + explained) + self.phi.missed(z, across)

    @property
    def selected(self) -> dict[str, Any]:
        self._settle()
        return dict(self.chosen)

    @property
    def parameters(self) -> int:
        self._settle()
        return 0 if self.dual is None else self.dual.numel()

    def state_dict(self) -> dict[str, Any]:
        self._finish()
        return {
            "chosen": self.selected,
            "x": self.x,
            "phi": None if self.phi is None else self.phi.state_dict(),
            "factor": None if self.phi is None else self._factor,  # that of a kernel matrix is made again
            "shift": self.shift,
            "scale": self.scale,
            "dual": self.dual,
            "bias": self.bias,
            "nugget": self.nugget,
            "std_scale": self.std_scale,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.chosen, self.nugget = dict(state["chosen"]), state["nugget"]
        self.phi = None if state["phi"] is None else KernelFeatures.from_state(state["phi"])
        self._factor, self._late, self._waiting = state["factor"], None, None
        self.x, self.shift, self.scale = (state[k] for k in ("x", "shift", "scale"))
        self.dual, self.bias, self.std_scale = (state[k] for k in ("dual", "bias", "std_scale"))
