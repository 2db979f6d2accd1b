"""Tensors with continuous indices: Tucker and CP models whose factors are Gaussian processes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..errors import NWidthError
from .gram import KERNELS, check_inputs, cholesky
from .inducing import ard_gram

FORMS = ("cp", "tucker")
STEPS = (0.7, 1.0, 1.4)  # a length is tried against these multiples of itself
WARM = 6  # sweeps over each component alone, one after the other, to start from


class _Factor:
    """R functions of one coordinate, u_r(x) = phi(x)' w_r, phi = L^-1 k(z, x), q(w) Gaussian with all covariances."""

    def __init__(self, kernel: str, low: Tensor, high: Tensor, points: int, rank: int, generator: torch.Generator):
        self.kernel = kernel
        self.z = (low + (high - low) * torch.linspace(0, 1, points, dtype=torch.float64, device=low.device))[:, None]
        self.length = 0.3 * float(high - low)
        self.mean = torch.randn(points, rank, dtype=torch.float64, generator=generator).to(low) / math.sqrt(points)
        self.cov = torch.zeros(points, rank, points, rank).to(low)
        self.alpha = torch.ones(rank).to(low)

    @property
    def rank(self) -> int:
        return self.mean.shape[1]

    @property
    def bounds(self) -> tuple[float, float]:
        """Of lengths: two steps between the points, three ranges."""
        span = float(self.z[-1, 0] - self.z[0, 0])
        return 2.0 * span / (len(self.z) - 1), 3.0 * span

    def features(self, x: Tensor, length: float | None = None) -> Tensor:
        scale = torch.full((1,), length or self.length).to(self.z)
        L, _ = cholesky(ard_gram(self.kernel, self.z, self.z, scale))
        return torch.linalg.solve_triangular(L, ard_gram(self.kernel, self.z, x[:, None], scale), upper=False).mT

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """E u (n, R) and E u u' (n, R, R), with the prior variance that the points miss."""
        phi = self.features(x)
        mean = phi @ self.mean
        m, r = self.mean.shape
        half = (phi @ self.cov.reshape(m, -1)).reshape(len(x), r, m, r)
        second = torch.einsum("irbs,ib->irs", half, phi) + mean[:, :, None] * mean[:, None]
        missed = (1 - phi.square().sum(1)).clamp_min(0)
        return mean, second + torch.diag_embed(missed[:, None] / self.alpha)

    def update(self, x: Tensor, y: Tensor, c: Tensor, S: Tensor, tau: float, *, learn: bool) -> None:
        """The best q(w) for y ~ N(u(x) . c, 1 / tau) with E c = c and E c c' = S, with the length of largest bound."""
        best: tuple[float, float, Tensor, Tensor] | None = None
        tried = {min(max(f * self.length, self.bounds[0]), self.bounds[1]) for f in (STEPS if learn else (1.0,))}
        m, r = self.mean.shape
        for length in sorted(tried):
            phi = self.features(x, length)
            weighted = (phi[:, :, None] * S.reshape(len(x), 1, -1)).reshape(len(x), -1)
            P = tau * (weighted.mT @ phi).reshape(m, r, r, m).permute(0, 1, 3, 2).reshape(m * r, m * r)
            P.diagonal().add_(self.alpha.repeat(m))
            L, _ = cholesky(P)
            right = tau * (phi.mT @ (y[:, None] * c)).reshape(-1, 1)
            white = torch.linalg.solve_triangular(L, right, upper=False)
            bound = 0.5 * float(white.square().sum()) - float(L.diagonal().log().sum())
            if best is None or bound > best[0]:
                best = (bound, length, L, white)
        assert best is not None
        _, self.length, L, white = best
        self.mean = torch.linalg.solve_triangular(L.mT, white, upper=True).reshape(m, r)
        self.cov = torch.cholesky_inverse(L).reshape(m, r, m, r)

    def divergence(self) -> float:
        """KL(q(w) | N(0, 1 / alpha))."""
        m, r = self.mean.shape
        power = self.mean.square().sum(0) + torch.einsum("arar->r", self.cov)
        L, _ = cholesky(self.cov.reshape(m * r, m * r))
        logs = 2 * float(L.diagonal().log().sum()) + m * float(self.alpha.log().sum())
        return 0.5 * (float((self.alpha * power).sum()) - m * r - logs)

    def set_mean(self, mean: Tensor) -> None:
        """Start anew from a mean, without uncertainty."""
        m, r = mean.shape
        self.mean, self.cov = mean, torch.zeros(m, r, m, r).to(mean)
        self.alpha = m / mean.square().sum(0)

    def learn_precision(self) -> None:
        m = len(self.mean)
        power = self.mean.square().sum(0) + torch.einsum("arar->r", self.cov)
        self.alpha = m / power.clamp_min(1e-12)

    def join(self, other: _Factor) -> None:
        """Take the components of another factor, with no covariance between them and the own ones."""
        m, r, q = len(self.mean), self.rank, other.rank
        cov = torch.zeros(m, r + q, m, r + q).to(self.cov)
        cov[:, :r, :, :r], cov[:, r:, :, r:] = self.cov, other.cov
        self.mean, self.cov = torch.cat([self.mean, other.mean], 1), cov
        self.alpha = torch.cat([self.alpha, other.alpha])

    def keep(self, index: Tensor) -> None:
        self.mean, self.alpha = self.mean[:, index], self.alpha[index]
        self.cov = self.cov[:, index][:, :, :, index]


class FunctionalTensor:
    """y = sum_r W_r1..rK u_1r1(x_1) ... u_KrK(x_K) + e: any number of coordinates, scattered samples, error bars.

    The functions u_kr ~ GP(0, k(.; l_k) / alpha_kr) of each coordinate are given by their values at ``points`` points,
    a basis in which the prior is the identity; ``form`` tucker learns the core W ~ N(0, I), cp has the identity for it.
    The posterior is q(W) prod_k q(u_k), q(u_k) joint over the components of coordinate k, found by coordinate ascent of
    the variational bound: each update is one Cholesky factorisation. The same bound chooses the lengths l_k; noise and
    precisions alpha (automatic relevance determination) are updated in closed form; and a component is removed where
    the bound is larger without it, so ``rank`` is an upper limit.

    Work n (points R)^2 + (points R)^3 a coordinate and sweep. Outside the range of the training coordinates the factors
    return to zero, and the standard deviation grows to that of the prior.

    Source: Fang, Yu, Wang, Li, Kirby and Zhe, Functional Bayesian Tucker decomposition for continuous-indexed tensor
    data, ICLR 2024, the model; mean-field updates: Bishop (2006), section 10.1, with automatic relevance determination.

    >>> x = torch.rand(200, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    >>> y = torch.sin(6 * x[:, 0]) * torch.exp(-x[:, 1])
    >>> model = FunctionalTensor(rank=3).fit(x, y, seed=0)
    >>> mean, std = model.predict(x)
    >>> model.ranks, bool((mean - y).abs().max() < 1e-3)
    ((1, 1), True)
    """

    def __init__(self, rank: int = 4, form: str = "cp", kernel: str = "matern52", points: int = 40, sweeps: int = 100):
        if form not in FORMS or kernel not in KERNELS or rank < 1 or points < 4:
            raise NWidthError(
                "FunctionalTensor",
                got=f"form={form!r}, kernel={kernel!r}, rank={rank}, points={points}",
                expected=f"form of {', '.join(FORMS)}; kernel of {', '.join(KERNELS)}; rank >= 1; points >= 4",
            )
        self.rank, self.form, self.kernel, self.points, self.sweeps = rank, form, kernel, points, sweeps
        self.factors: list[_Factor] = []
        self.core: Tensor | None = None  # mean (R_1, .., R_K)
        self.core_cov: Tensor | None = None  # (R_1 .. R_K, R_1 .. R_K), flattened
        self.tau, self.scale = 1.0, 1.0
        self.bound = -math.inf  # of log p(y)

    @property
    def ranks(self) -> tuple[int, ...]:
        return tuple(f.rank for f in self.factors)

    def fit(self, x: Tensor, y: Tensor, *, seed: int = 0) -> FunctionalTensor:
        """From coordinates x (n, K) and values y (n,)."""
        self._check(x, y)
        x, self.scale = x.double(), float(y.double().square().mean().sqrt()) or 1.0
        y = y.double() / self.scale
        generator = torch.Generator().manual_seed(seed)
        K = x.shape[1]
        rank = 1 if K == 1 else self.rank  # functions of one coordinate add up to one
        self.core = None
        self._start(x, y, rank, generator)
        if self.form == "tucker":
            core = torch.zeros((rank,) * K, dtype=torch.float64)
            core[(torch.arange(rank),) * K] = 1.0
            self.core, self.core_cov = core.to(x), torch.zeros(core.numel(), core.numel()).to(x)
        self._ascend(x, y)
        tries = [tuple(range(K)), *((k,) for k in range(K) if self.form == "tucker" and K > 1)]
        while any(self._remove(axes, x, y) for axes in tries):
            pass
        return self

    def _ascend(self, x: Tensor, y: Tensor) -> None:
        """Sweeps until the error changes by less than a thousandth of itself."""
        before = math.inf
        for _ in range(self.sweeps):
            for k, factor in enumerate(self.factors):
                factor.update(x[:, k], y, *self._without(k, x), self.tau, learn=True)
                factor.learn_precision()
            if self.core is not None:
                self._update_core(x, y)
            error = self._learn_noise(x, y)
            if abs(before - error) < 1e-3 * error:
                break
            before = error
        self.bound = self._evidence(x, y)

    def _evidence(self, x: Tensor, y: Tensor) -> float:
        """The variational bound of log p(y): expected log likelihood less the divergences from the priors."""
        n, error = len(y), float(self._squared_error(x, y).sum())
        bound = 0.5 * (n * math.log(self.tau / (2 * math.pi)) - self.tau * error)
        bound -= sum(f.divergence() for f in self.factors)
        if self.core is not None and self.core_cov is not None:
            L, _ = cholesky(self.core_cov)
            inner = float(self.core.square().sum() + self.core_cov.diagonal().sum()) - self.core.numel()
            bound -= 0.5 * (inner - 2 * float(L.diagonal().log().sum()))
        return bound

    def _remove(self, axes: tuple[int, ...], x: Tensor, y: Tensor) -> bool:
        """Go on without the weakest component of these coordinates (in CP: of all) if that raises the bound."""
        if any(self.factors[k].rank == 1 for k in axes):
            return False
        kept = (self.state_dict(), self.bound)
        if self.core is None:
            power = torch.stack([f.moments(x[:, j])[0] for j, f in enumerate(self.factors)]).prod(0).square().mean(0)
            index = power.argsort()[1:].sort().values
            for factor in self.factors:
                factor.keep(index)
        else:
            self._truncate(axes)
        self._ascend(x, y)
        if self.bound > kept[1]:
            return True
        self.load_state_dict(kept[0])
        self.bound = kept[1]
        return False

    def _truncate(self, axes: tuple[int, ...]) -> None:
        """The higher-order SVD of the mean without the smallest singular direction of each of these axes."""
        assert self.core is not None
        core, bases = self.core, []
        for j, factor in enumerate(self.factors):
            Q, R = torch.linalg.qr(factor.mean)
            core = torch.tensordot(R, core, ([1], [j])).movedim(0, j)
            bases.append(Q)
        for j, factor in enumerate(self.factors):
            unfolded = core.movedim(j, 0).flatten(1)
            U = torch.linalg.eigh(unfolded @ unfolded.mT).eigenvectors.flip(1)
            U = U[:, : factor.rank - (j in axes)]
            core = torch.tensordot(U.mT, core, ([1], [j])).movedim(0, j)
            factor.set_mean(bases[j] @ U)
        size = float(core.abs().max())
        self.factors[0].set_mean(self.factors[0].mean * size)
        self.core, count = core / size, core.numel()
        self.core_cov = torch.zeros(count, count).to(core)

    def _start(self, x: Tensor, y: Tensor, rank: int, generator: torch.Generator) -> None:
        """One component after the other, each fitted to what those before it leave: different ones from the start."""
        low, high = x.min(0).values, x.max(0).values
        found: list[_Factor] = []
        rest = y
        for _ in range(rank):
            self.factors = [_Factor(self.kernel, a, b, self.points, 1, generator) for a, b in zip(low, high)]
            for factor, known in zip(self.factors, found):
                factor.length = known.length
            self.tau = 10.0 * len(y) / float(rest.square().sum())
            for sweep in range(WARM):
                for k, factor in enumerate(self.factors):
                    factor.update(x[:, k], rest, *self._without(k, x), self.tau, learn=not found and sweep > 1)
                    factor.learn_precision()
                self._learn_noise(x, rest)
            rest = rest - self._function(x)[0]
            if found:
                for factor, other in zip(found, self.factors):
                    factor.join(other)
            else:
                found = self.factors
        self.factors = found

    def _learn_noise(self, x: Tensor, y: Tensor) -> float:
        """tau = n / E |y - f|^2; the latter."""
        error = float(self._squared_error(x, y).sum())
        self.tau = len(y) / max(error, 1e-12 * float(y.square().sum()))
        return error

    @staticmethod
    def _check(x: Tensor, y: Tensor) -> None:
        if x.ndim != 2 or y.shape != x.shape[:1] or x.shape[1] < 1 or len(x) < 4:
            raise NWidthError(
                "FunctionalTensor.fit", got=f"x {tuple(x.shape)}, y {tuple(y.shape)}", expected="(n, K), (n,)"
            )
        if not bool(torch.isfinite(x).all() and torch.isfinite(y).all()):
            raise NWidthError("FunctionalTensor.fit", got="NaN or infinity", expected="finite samples")
        if bool((x.max(0).values == x.min(0).values).any()):
            raise NWidthError(
                "FunctionalTensor.fit",
                got=f"coordinate {int((x.max(0).values == x.min(0).values).nonzero()[0])} with one value only",
                expected="coordinates that vary",
                fix="leave that coordinate out",
            )

    def _moments(self, x: Tensor) -> list[tuple[Tensor, Tensor]]:
        return [f.moments(x[:, k]) for k, f in enumerate(self.factors)]

    def _without(self, k: int, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and second moment of what multiplies factor k, (n, R_k) and (n, R_k, R_k)."""
        others = [(self.factors[j].moments(x[:, j]) if j != k else None) for j in range(x.shape[1])]
        if self.core is None:
            r = self.factors[k].rank
            c, S = torch.ones(len(x), r).to(x), torch.ones(len(x), r, r).to(x)
            for pair in others:
                if pair is not None:
                    c, S = c * pair[0], S * pair[1]
            return c, S
        assert self.core_cov is not None
        w = self.core.flatten()
        ranks = self.ranks
        first = [None if p is None else p[0] for p in others]
        second = [None if p is None else p[1].flatten(1) for p in others]
        pairs = (torch.outer(w, w) + self.core_cov).reshape(*ranks, *ranks)
        K = len(ranks)
        pairs = pairs.permute(*(v for j in range(K) for v in (j, K + j))).reshape([r * r for r in ranks])
        size = max(1, 2**22 // pairs.numel())
        blocks = [slice(i, i + size) for i in range(0, len(x), size)]
        c = torch.cat([_contract(self.core, [None if v is None else v[b] for v in first]) for b in blocks])
        S = torch.cat([_contract(pairs, [None if v is None else v[b] for v in second]) for b in blocks])
        return c, S.reshape(len(x), ranks[k], ranks[k])

    def _update_core(self, x: Tensor, y: Tensor) -> None:
        assert self.core is not None
        moments, count = self._moments(x), self.core.numel()
        P, right = torch.eye(count).to(x), torch.zeros(count).to(x)
        size = max(1, 2**22 // count**2)
        for i in range(0, len(x), size):
            d, D = torch.ones(len(x[i : i + size]), 1).to(x), torch.ones(len(x[i : i + size]), 1, 1).to(x)
            for mean, second in moments:
                m, s = mean[i : i + size], second[i : i + size]
                d = (d[:, :, None] * m[:, None]).flatten(1)
                D = (D[:, :, None, :, None] * s[:, None, :, None]).reshape(len(d), d.shape[1], d.shape[1])
            P += self.tau * D.sum(0)
            right += self.tau * (y[i : i + size] @ d)
        L, _ = cholesky(P)
        self.core = torch.cholesky_solve(right[:, None], L).reshape(self.core.shape)
        self.core_cov = torch.cholesky_inverse(L)

    def _function(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """E f and E f^2."""
        c, S = self._without(0, x)
        mean, second = self.factors[0].moments(x[:, 0])
        return (mean * c).sum(1), (second * S).sum((1, 2))

    def _squared_error(self, x: Tensor, y: Tensor) -> Tensor:
        first, second = self._function(x)
        return (y.square() - 2 * y * first + second).clamp_min(0)

    def predict(self, x: Tensor, *, observation: bool = True) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation at x (n, K): of a new observation, or of the function without its noise."""
        if not self.factors:
            raise NWidthError("FunctionalTensor.predict", got="a model that was not fitted", fix="call fit first")
        means, spreads = [], []
        for part in check_inputs("FunctionalTensor.predict", x, len(self.factors)).split(4096):
            first, second = self._function(part)
            variance = (second - first.square()).clamp_min(0) + (1 / self.tau if observation else 0.0)
            means.append(self.scale * first)
            spreads.append(self.scale * variance.sqrt())
        return torch.cat(means).to(x.dtype), torch.cat(spreads).to(x.dtype)

    @property
    def noise(self) -> float:
        """Standard deviation of the noise."""
        return self.scale / math.sqrt(self.tau)

    def state_dict(self) -> dict[str, Any]:
        kept = ("z", "length", "mean", "cov", "alpha")
        return {
            "factors": [{k: getattr(f, k) for k in kept} for f in self.factors],
            "core": self.core,
            "core_cov": self.core_cov,
            "tau": self.tau,
            "scale": self.scale,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.core, self.core_cov, self.tau, self.scale = (state[k] for k in ("core", "core_cov", "tau", "scale"))
        self.factors = []
        for entry in state["factors"]:
            factor = _Factor.__new__(_Factor)
            factor.kernel = self.kernel
            for k, v in entry.items():
                setattr(factor, k, v)
            self.factors.append(factor)


def _contract(core: Tensor, vectors: list[Tensor | None]) -> Tensor:
    """sum core_r1..rK v_1r1 ... over all axes with a vector (n, R_k): (n, R) of the axis without."""
    out, started = core, False
    for v in reversed(vectors):  # the last axis not yet done; the axis without moves behind those done
        if v is None:
            out = out.movedim(-1, 1 if started else 0)
        elif started:
            out = torch.einsum("n...r,nr->n...", out, v)
        else:
            out, started = (out.reshape(-1, out.shape[-1]) @ v.mT).reshape(*out.shape[:-1], len(v)).movedim(-1, 0), True
    return out
