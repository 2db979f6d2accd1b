"""Sparse linear multiple kernel learning on a grid of spectral components: central, or by agents that send few bits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ..errors import NWidthError
from .gram import check_inputs, check_samples, cholesky
from .kernels.grid_mixture import GridSpectralMixtureProduct
from .kernels.mixture import sum_of_waves
from .quantised import Gather, everybody, quantise, restore
from .sparse_weights import FLOOR, Agent, drop, penalty, restrict, tangent, units

RENEW = 3  # rounds of consensus between tangents
PRIOR = 6.0  # p(theta) ~ theta^(-PRIOR / 2)


class SparseSpectralGP:
    """y ~ GP(m, sum_q theta_q prod_p exp(-2 pi^2 tau_p^2 sigma_p^2) cos(2 pi tau_p mu_qp)) + noise, theta >= 0 sparse.

    The peaks mu lie on a fixed grid (``GridSpectralMixtureProduct``); theta and the noise minimise y' C^-1 y + log|C|,
    the difference of convex functions. ``fit`` replaces log|C| by its tangent and solves the convex problem that is
    left with bounds, so that most theta are zero exactly, until the objective changes by less than ``tolerance`` of
    itself. Hundreds of weights of maximum likelihood take noise for signal: a second stage adds 6 sum_q log theta_q,
    concave as well (the prior p(theta) ~ theta^-3), which only components that the samples insist on survive, less
    those that lower y' C^-1 y + log|C| by less than log n (Schwarz's criterion); a third fits their weights again
    without it.

    ``fit_agents`` does it with each agent's own samples, for the sum of their objectives: tangents at the consensus z,
    renewed every third turn, and between them ADMM on the convex problems, theta_j near z,
    z = max(0, mean_j(theta_j + dual_j / rho)), dual_j <- dual_j + rho (theta_j - z). Agents send nothing but the change
    of theta_j + dual_j / rho, each entry in units of its weight rounded without bias to ``bits`` bits of the largest,
    which shrinks as they agree; at the end of the second stage, what each component is worth to them, rounded alike.
    Samples never leave their agent; ``condition`` says on which samples the predictions rest.

    Memory n^2 Q, work n^3 + n^2 Q a step of the convex problem, n the samples of one agent.

    Source: Suwandi, Lin, Yin, Wang and Theodoridis, Sparsity-aware distributed learning for Gaussian processes with
    linear multiple kernel (2023): kernel, difference-of-convex steps, quantised ADMM. The prior is ours, after
    Figueiredo, Adaptive sparseness for supervised learning, IEEE TPAMI 25 (2003).

    >>> x = torch.linspace(0, 1, 60, dtype=torch.float64)[:, None]
    >>> gp = SparseSpectralGP([41], [20.0]).fit(x, torch.sin(2 * torch.pi * 4 * x[:, 0]))
    >>> gp.kernel.frequencies[gp.weights.argmax()].tolist(), int(gp.active().sum()) < 8
    ([4.0], True)
    """

    def __init__(
        self,
        counts: Sequence[int],
        max_frequency: Sequence[float],
        *,
        bandwidth: Sequence[float] | None = None,
        steps: int = 30,
        calls: int = 15,
        tolerance: float = 1e-4,
    ):
        self.kernel = GridSpectralMixtureProduct(counts, max_frequency, bandwidth=bandwidth).double()
        self.steps, self.calls, self.tolerance = steps, calls, tolerance
        self.theta: Tensor | None = None  # weights and noise variance, in units of scale^2
        self.mean, self.scale = 0.0, 1.0
        self.history: list[float] = []
        self.bytes_sent = 0
        self._data: tuple[Tensor, Tensor, Tensor] | None = None

    def _components(self, x: Tensor, z: Tensor) -> Tensor:
        """The kernel matrices of all components, (Q, n, m)."""
        difference = list((x.unsqueeze(-2) - z.unsqueeze(-3)).unbind(-1))
        one, zero = torch.ones(1, dtype=torch.float64), (0,) * self.kernel.dims
        peaks = zip(self.kernel.frequencies, self.kernel.bandwidths)
        waves = (sum_of_waves("gaussian", difference, one, s[None], mu[None], zero, 2) for mu, s in peaks)
        return torch.stack(list(waves)) if len(self.kernel.frequencies) else x.new_zeros(0, len(x), len(z))

    def _check(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        dims = self.kernel.dims
        if x.ndim != 2 or x.shape[1] != dims or y.shape != x.shape[:1] or len(x) < 2:
            raise NWidthError(
                "SparseSpectralGP.fit", got=f"x {tuple(x.shape)}, y {tuple(y.shape)}", expected=f"(n, {dims}) and (n,)"
            )
        x, column = check_samples("SparseSpectralGP.fit", x, y[:, None])
        return x, column[:, 0]

    def fit(self, x: Tensor, y: Tensor) -> SparseSpectralGP:
        """From inputs x (n, dims) and values y (n,)."""
        x, y = self._check(x, y)
        self._units(float(len(y)), float(y.sum()), float(y.square().sum()))
        agent = Agent(self._components(x, x), (y - self.mean) / self.scale)
        kept, self.history, bar = torch.arange(len(agent.K)), [], math.log(len(y))
        for prior in (0.0, PRIOR, 0.0):
            values = [agent.loss(agent.theta) + penalty(agent.theta, prior)]
            for _ in range(self.steps):
                agent.step(self.calls, agent.slope(agent.theta) + tangent(agent.theta, prior))
                values.append(agent.loss(agent.theta) + penalty(agent.theta, prior))
                if values[-2] - values[-1] < self.tolerance * abs(values[-2]):
                    break
            if prior:
                agent.theta = drop(agent.theta, bar, lambda theta: agent.rises(theta, 4 * bar))
            kept = kept[restrict([agent], agent.theta)[:-1]]
            self.history += values
        self._spread(kept, agent.theta)
        return self.condition(x, y)

    def _spread(self, kept: Tensor, theta: Tensor) -> None:
        """Weights of the components that were kept among all, and the noise variance."""
        self.theta = torch.zeros(len(self.kernel.frequencies) + 1, dtype=torch.float64)
        self.theta[kept], self.theta[-1] = theta[:-1], theta[-1]

    def _units(self, n: float, total: float, squares: float) -> None:
        self.mean = total / n
        variance = squares / n - self.mean**2
        if not variance > 1e-14 * squares / n:
            raise NWidthError("SparseSpectralGP.fit", got="constant values", expected="values that vary")
        self.scale = math.sqrt(variance)

    def fit_agents(
        self,
        parts: Sequence[tuple[Tensor, Tensor]],
        *,
        bits: int = 8,
        rounds: int = 90,
        rho: float = 0.02,
        seed: int = 0,
        group: dist.ProcessGroup | None = None,
    ) -> SparseSpectralGP:
        """From the samples (x_j, y_j) of each agent: all in this process, or with ``group`` its own among others'.

        The penalty of a weight is ``rho`` times the mean number of samples of an agent, divided by the weight; the
        three stages have a third of the ``rounds`` each, and in the second half of each the penalty is constant. Every
        process ends with the same weights.
        """
        if not 2 <= bits <= 16:
            raise NWidthError("SparseSpectralGP.fit_agents", got=f"bits={bits}", expected="2 to 16")
        if not parts or rounds < 3:
            got = f"samples of {len(parts)} agents, rounds={rounds}"
            raise NWidthError("SparseSpectralGP.fit_agents", got=got, expected="1 or more agents, 3 or more rounds")
        mine = [self._check(x, y) for x, y in parts]
        gather: Gather = list if group is None else everybody(group)
        first = 0 if group is None else dist.get_rank(group) * len(mine)  # number of the first agent here
        sums = [torch.stack([torch.tensor(float(len(y))).double(), y.sum(), y.square().sum()]) for _, y in mine]
        n, total, squares = torch.stack(gather(sums)).sum(0).tolist()
        self._units(n, total, squares)
        agents = [Agent(self._components(x, x), (y - self.mean) / self.scale) for x, y in mine]
        known = [torch.zeros_like(agents[0].theta) for _ in gather(sums)]
        generators = [torch.Generator().manual_seed(seed + 1000 * (first + j)) for j in range(len(agents))]
        self.history, self.bytes_sent = [], 0

        def agree(strength: Tensor | None, unit: Tensor) -> Tensor:
            """Each agent sends how its proposal changed; all find the same mean of what is known of them."""
            codes = []
            for agent, generator in zip(agents, generators):
                proposal = agent.theta if strength is None else agent.theta + agent.dual / strength
                code = quantise((proposal - agent.sent) / unit, bits, generator)
                agent.sent = agent.sent + unit * restore(code, bits)
                self.bytes_sent += len(code)
                codes.append(code)
            for j, code in enumerate(gather(codes)):
                known[j] = known[j] + unit * restore(code, bits)
            mean = torch.stack(known).mean(0).clamp_min(0)
            mean[-1] = mean[-1].clamp_min(FLOOR)
            return mean

        def rises(theta: Tensor) -> Tensor:
            codes = [quantise(a.rises(theta, 4 * bar), bits, g) for a, g in zip(agents, generators)]
            self.bytes_sent += sum(len(code) for code in codes)
            return torch.stack([restore(code, bits) for code in gather(codes)]).sum(0)

        bar = math.log(n)
        for agent in agents:  # each alone: where the grid has weight at all
            agent.step(self.calls, agent.slope(agent.theta))
        consensus, kept = agree(None, torch.ones_like(agents[0].theta)), torch.arange(len(agents[0].K))
        for prior in (0.0, PRIOR, 0.0):
            slopes: list[Tensor] = []
            for turn in range(rounds // 3):
                if turn < rounds // 6:
                    unit = units(consensus)
                    strength = rho * n / len(known) / unit
                if turn % RENEW == 0:
                    slopes = [a.slope(consensus) + tangent(consensus, prior / len(known)) for a in agents]
                for agent, slope in zip(agents, slopes):
                    agent.step(self.calls, slope, consensus, strength)
                before, consensus = consensus, agree(strength, unit)
                for agent in agents:
                    agent.dual = agent.dual + strength * (agent.theta - consensus)
                self.history.append(float((consensus - before).norm() / consensus.norm()))
                if self.history[-1] < self.tolerance:
                    break
            if prior:
                consensus = drop(consensus, bar, rises)
            some = restrict(agents, consensus)
            kept, consensus, known = kept[some[:-1]], consensus[some], [k[some] for k in known]
        self._spread(kept, consensus)
        return self

    def condition(self, x: Tensor, y: Tensor) -> SparseSpectralGP:
        """Let predictions rest on these samples."""
        x, y = self._check(x, y)
        theta = self._fitted()
        active = theta[:-1].nonzero()[:, 0]
        C = torch.einsum("q,qnm->nm", theta[active], self._subset(active, x, x))
        C.diagonal().add_(theta[-1])
        L, jitter = cholesky(C)
        theta[-1] += jitter
        self._data = (x, L, torch.cholesky_solve((y - self.mean)[:, None] / self.scale, L)[:, 0])
        return self

    def _subset(self, active: Tensor, x: Tensor, z: Tensor) -> Tensor:
        whole = self.kernel.frequencies, self.kernel.bandwidths
        self.kernel.frequencies, self.kernel.bandwidths = (v[active] for v in whole)
        try:
            return self._components(x, z)
        finally:
            self.kernel.frequencies, self.kernel.bandwidths = whole

    def _fitted(self) -> Tensor:
        if self.theta is None:
            raise NWidthError("SparseSpectralGP", got="a model that was not fitted", fix="call fit first")
        return self.theta

    @property
    def weights(self) -> Tensor:
        """theta (Q,), in units of y^2."""
        return self._fitted()[:-1] * self.scale**2

    @property
    def noise(self) -> float:
        """Standard deviation of the noise."""
        return self.scale * math.sqrt(float(self._fitted()[-1]))

    def active(self, tolerance: float = 1e-3) -> Tensor:
        """Which components have a weight above ``tolerance`` times the largest."""
        return self.weights > tolerance * self.weights.max()

    def predict(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of new observations at x (m, dims)."""
        if self._data is None or self.theta is None:
            raise NWidthError("SparseSpectralGP.predict", got="no samples", fix="call fit, or fit_agents and condition")
        z, L, alpha = self._data
        at = check_inputs("SparseSpectralGP.predict", x, self.kernel.dims)
        active = self.theta[:-1].nonzero()[:, 0]
        k = torch.einsum("q,qnm->nm", self.theta[active], self._subset(active, at, z))
        explained = torch.linalg.solve_triangular(L, k.mT, upper=False).square().sum(0)
        variance = (self.theta[:-1].sum() - explained).clamp_min(0) + self.theta[-1]
        return (self.mean + self.scale * (k @ alpha)).to(x.dtype), (self.scale * variance.sqrt()).to(x.dtype)

    def state_dict(self) -> dict[str, Any]:
        x, L, alpha = self._data or (None, None, None)
        return {"theta": self.theta, "mean": self.mean, "scale": self.scale, "x": x, "factor": L, "alpha": alpha}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.theta, self.mean, self.scale = (state[k] for k in ("theta", "mean", "scale"))
        found = tuple(state[k] for k in ("x", "factor", "alpha"))
        self._data = None if found[0] is None else found
