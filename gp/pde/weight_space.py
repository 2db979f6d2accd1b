"""Equations at scattered points: a Gaussian process on regular Fourier features, its spectrum from the evidence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ...errors import NWidthError
from .calibration import STRETCH, Checked, check
from .corners import Corner, CornerFeatures, find_corners
from .equation import Cloud, Equation, Observations, Order
from .evidence import Posterior, condition, held_out, learn
from .features import EXTENSION, FourierFeatures
from .lines import find_lines
from .newton import Newton, State
from .solution import Solution
from .spectrum import Mixture
from .system import UNRESOLVED, Collocation

OVERSAMPLING = 1.05  # points for each feature of the narrowest band
RESOLVED = 1e-4  # error of held-out rows at which no wider band is tried
CONTRADICTED = 5.0  # distance of observations, in their standard deviations, at which the reader is warned


@dataclass(frozen=True)
class Fit:
    """One dictionary's answer, and how well it predicts rows that were held out."""

    features: FourierFeatures
    state: State
    density: Tensor
    held_out: float
    lines: Tensor

    @property
    def posterior(self) -> Posterior:
        return self.state.posterior

    def record(self) -> dict[str, float]:
        band = max(float(w.max()) for w in self.features.frequencies)
        p = self.posterior
        return {
            "features": self.features.size,
            "band": band,
            "steps": self.state.steps,
            "residual": self.state.residual,
            "held_out": self.held_out,
            "log_evidence": p.log_evidence,
            "noise": p.noise / max(p.amplitude, 1e-300),
            "lines": len(self.lines),
        }


class WeightSpace:
    """u = sum_k w_k phi_k, w_k ~ N(0, s^2 S_k): rows of the equation, conditions and observations as one least squares.

    S starts as the prior under which the equation's left-hand side is white, and becomes a mixture of bumps whose
    weights maximise the marginal likelihood. Bands are tried from the narrowest that the points resolve, until one
    predicts rows that were held out; the narrowest that does it about as well as any wins. Nonlinear equations:
    Gauss-Newton steps, halved until the residual falls; parameters are weights with a wide prior. Standard deviations
    are scaled to the difference from a second answer, from more points and other waves. In one dimension sharp lines
    are looked for (``lines``) and kept where the evidence wants them.

    The frequencies are multiples of 2 pi / (extension length), ``extension`` irrational: they hold no wave of the truth
    by construction.
    """

    def __init__(
        self,
        extension: float = EXTENSION,
        bands: Sequence[float] = (1.0, 1.6, 3.2),
        shape: str = "gaussian",
        updates: int = 12,
        lines: bool = True,
        iterations: int = 40,
        max_features: int = 1500,
    ):
        if not extension > 1:
            raise NWidthError("WeightSpace", got=f"extension={extension}", expected="a number above 1")
        if not bands or any(not b > 0 for b in bands):
            raise NWidthError("WeightSpace", got=f"bands={bands}", expected="positive numbers")
        self.extension, self.bands, self.shape = extension, tuple(bands), shape
        self.updates, self.lines, self.iterations, self.max_features = updates, lines, iterations, max_features

    def solve(
        self,
        equation: Equation,
        *,
        interior: Tensor | None = None,
        cloud: Cloud | None = None,
        observations: Observations | None = None,
    ) -> Solution:
        collocation = Collocation(equation, interior, cloud, observations)
        fits: list[Fit] = []
        corners: Sequence[Corner] = ()
        if cloud is not None and equation.ndim == 2:
            found = cloud.corners
            corners = find_corners(collocation.interior, cloud.boundary) if found is None else found
        uniform = cloud is None and interior is None and not equation.jitter
        for band in self.bands:
            # equally spaced points cannot tell frequencies beyond their Nyquist limit from those below
            counts = self._counts(collocation, min(band, self.extension * OVERSAMPLING) if uniform else band)
            if fits and math.prod(2 * c - 1 for c in counts) <= math.prod(fits[-1].features.sizes):
                break
            features = FourierFeatures.regular(collocation.box, counts, self.extension)
            features = CornerFeatures.beside(features, corners) if len(corners) else features
            fits.append(self._fit(collocation, features))
            if fits[-1].held_out < RESOLVED:
                break
        else:
            if (
                self.lines
                and equation.ndim == 1
                and observations is None
                and (lined := self._with_lines(collocation, fits[-1]))
            ):
                fits.append(lined)
        # the narrowest band that predicts what was held out about as well as any: evidence alone rewards many bumps
        least = min(f.held_out for f in fits)
        best = next(f for f in fits if f.held_out <= 1.5 * least)
        first = best

        def again(other: Collocation, share: float) -> tuple[FourierFeatures, State]:
            fit = self._again(other, first, share)
            return fit.features, fit.state

        checked = check(collocation, (best.features, best.state), again)
        best = replace(best, held_out=max(best.held_out, checked.unseen if checked.unseen > UNRESOLVED else 0.0))
        return self._solution(collocation, best, fits, checked)

    def _counts(self, collocation: Collocation, band: float) -> list[int]:
        equation = collocation.equation
        n, d = len(collocation.interior), equation.ndim
        sides = [b - a for a, b in collocation.box]
        total = min(band * n / OVERSAMPLING, self.max_features)
        each = total ** (1 / d) / math.prod(sides) ** (1 / d)
        return [max(2, int(each * side) // 2) for side in sides]

    def _fit(self, collocation: Collocation, features: FourierFeatures) -> Fit:
        newton = Newton(collocation, collocation.matrices(features), self.iterations)
        start = newton.white_source()
        p = w = None
        if newton.one_step:
            A, y, wide = newton.first_rows(start)
        else:
            state = newton.run(start)
            A, y, wide, p, w = state.A, state.y, state.wide, state.p, state.weights
        spacing = torch.tensor([float(f[1]) for f in features.frequencies])
        radius = (features.all_frequencies() / spacing).square().sum(1).sqrt()
        mixture = Mixture.over(radius, 1.0, start, shape=self.shape)
        equal = collocation.observations is None
        mixture, lam = learn(A, y, mixture, wide, self.updates, equal=equal)
        density = mixture.density()
        held = held_out(A, y, torch.cat([density, wide]), lam, equal=equal, of=len(collocation.interior))
        return Fit(features, newton.run(density, p, w), density, held, features.frequencies[0][:0])

    def _again(self, other: Collocation, fit: Fit, share: float) -> Fit:
        """An answer from other points, with ``share`` times the waves, of another period; sharp lines, and a spectrum
        that observations have a say in, stay as they are."""
        if len(fit.lines) or other.observations is not None:
            newton = Newton(other, other.matrices(fit.features), self.iterations)
            return replace(fit, state=newton.run(fit.density, fit.state.p, fit.state.weights, fit.state.scales))
        most = max(fit.features.size, self.max_features)
        each = min(share, most / fit.features.size) ** (1 / other.equation.ndim)
        counts = [max(2, int(each * len(w))) for w in fit.features.frequencies]
        features = FourierFeatures.regular(other.box, counts, self.extension * STRETCH)
        if isinstance(fit.features, CornerFeatures):
            features = CornerFeatures.beside(features, fit.features.corners)
        return self._fit(other, features)

    def _with_lines(self, collocation: Collocation, fit: Fit) -> Fit | None:
        """The dictionary with sharp lines beside it, where few lines explain the (linearised) rows."""
        features, state = fit.features, fit.state
        regular = features.frequencies[0]
        newton = Newton(collocation, collocation.matrices(features), self.iterations)

        def waves(mu: Tensor) -> Tensor:
            rows = collocation.matrices(FourierFeatures(features.centre, (mu,)))
            return newton.assemble(rows, state.u, state.p, state.scales)[0]

        found, misfit = find_lines(waves, state.y, float(regular[-1]), float(regular[1]))
        if not len(found):
            return None
        lined = FourierFeatures(features.centre, (torch.cat([regular, found]),))
        background = newton.white_source() * 10 * max(misfit, 1e-14) ** 2
        one = torch.ones(len(found), dtype=torch.float64)
        density = torch.cat([background[: len(regular)], one, background[len(regular) :], one])
        wider = Newton(collocation, collocation.matrices(lined), self.iterations)
        again = wider.run(density, state.p, scales=state.scales)
        held = held_out(again.A, again.y, torch.cat([density, again.wide]), 1e-13, of=len(collocation.interior))
        return Fit(lined, again, density, held, found)

    def _solution(self, collocation: Collocation, best: Fit, fits: Sequence[Fit], checked: Checked) -> Solution:
        features, posterior, m = best.features, best.posterior, best.features.size
        notes = []
        if best.held_out > UNRESOLVED:
            notes.append(
                f"the equation is not resolved (rows held out are predicted with an error of {best.held_out:.1g}): "
                "raise points, or bands where the points are not equally spaced"
            )
        limited = any(math.prod(f.features.sizes) >= 0.9 * self.max_features for f in fits)
        if limited and best.held_out > UNRESOLVED:
            notes.append(f"the band was limited by max_features={self.max_features}")
        if checked.worst is not None:
            place = ", ".join(f"{v:.3g}" for v in checked.worst)
            notes.append(
                f"the equation is resolved much worse near ({place}) than elsewhere: put more points there, or give "
                "the re-entrant corner in Cloud.corners"
            )
        if not best.state.converged:
            notes.append(f"Gauss-Newton steps stopped at a residual of {best.state.residual:.1g}: raise iterations")

        if (missed := contradiction(collocation, best)) > CONTRADICTED:
            notes.append(
                f"observations are {missed:.2g} standard deviations (root mean square) off what the equation says "
                "without them: the two contradict each other, or the points do not resolve the equation"
            )

        def predictor(x: Tensor, order: Order) -> tuple[Tensor, Tensor]:
            means, stds = [], []
            for part in x.split(max(1, 2**23 // len(posterior.mean))):
                phi = features(part, order)
                means.append(phi @ posterior.mean[:m])
                wide = torch.cat([phi, phi.new_zeros(len(phi), len(posterior.mean) - m)], 1)
                stds.append(posterior.std(wide))
            return torch.cat(means), torch.cat(stds) * checked.factor(order)

        names, k = list(collocation.guess), len(posterior.mean) - m
        pick = torch.cat([torch.zeros(k, m, dtype=torch.float64), torch.eye(k, dtype=torch.float64)], 1)
        spread: Sequence[Any] = (
            (posterior.std(pick) * checked.factor((0,) * collocation.equation.ndim)).tolist() if k else []
        )
        return Solution(
            collocation.equation,
            "gp",
            predictor,
            best.state.residual,
            {n: (float(v), float(s)) for n, v, s in zip(names, best.state.p, spread)},
            [f.record() for f in fits],
            best.record(),
            _spectrum(best),
            notes,
        )


def contradiction(collocation: Collocation, fit: Fit) -> float:
    """Root mean square distance of the observations from the answer to the other rows, in standard deviations of both;
    0 where their noise is learned."""
    if collocation.observations is None or collocation.observations.std is None:
        return 0.0
    state, n = fit.state, len(collocation.data.points)
    A, y = state.A[-n:], state.y[-n:]
    others = condition(state.A[:-n], state.y[:-n], torch.cat([fit.density, state.wide]))
    both = (others.std(A).square() + fit.posterior.noise**2).sqrt()
    return float(((y - A @ others.mean) / both).square().mean().sqrt())


def _spectrum(fit: Fit) -> list[tuple[Tensor, Tensor]]:
    """Prior variance of each frequency along each axis, summed over the others."""
    w = fit.features.all_frequencies()
    found = []
    for axis in range(w.shape[1]):
        values, index = torch.unique(w[:, axis], return_inverse=True)
        found.append((values, torch.zeros_like(values).index_add(0, index, fit.density)))
    return found
