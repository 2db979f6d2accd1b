"""Kernel ridge regression with hyper-parameters that were chosen: fitted to samples, as a Gaussian process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..errors import NWidthError
from .gram import KERNELS, check_inputs, check_samples, cholesky, gram, gram_diagonal
from .landmarks import KINDS, KernelFeatures

SPREADS = ("leave_one_out", "marginal_likelihood")
MEDIAN_OF = 2000  # samples that the median distance is taken of, where kernels are approximated by features


def repeated(x: Tensor) -> bool:
    return len(torch.unique(x, dim=0)) < len(x)


def check_option(name: str, value: str | None, known: tuple[str, ...]) -> None:
    if value is not None and value not in known:
        raise NWidthError("KernelRidge", got=f"{name}={value!r}", expected="null or one of " + ", ".join(known))


class KernelFit:
    """Mean and standard deviation of ``KernelRidge`` for the kernel, length, ridge and whitening in ``chosen``."""

    def __init__(self, max_samples: int, spread: str | None, beyond: str | None, features: int, feature_seed: int):
        check_option("spread", spread, SPREADS)
        check_option("beyond", beyond, KINDS)
        self.max_samples, self.spread = max_samples, spread
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

    def refit(self, x: Tensor, y: Tensor) -> None:
        """Fit to these samples with what was chosen."""
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

    def _exact(self, n: int) -> bool:
        if n > self.max_samples and self.beyond is None:
            raise NWidthError(
                "KernelRidge.fit",
                got=f"{n} samples",
                expected=f"at most {self.max_samples}",
                fix="give beyond=nystroem, lower split.train, or raise max_samples (memory grows with its square)",
            )
        return n <= self.max_samples

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
