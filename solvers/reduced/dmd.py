"""Dynamic mode decomposition: u(t) as a sum of exponentials in time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...backends.svd import svd
from ...data import FitLog
from ...errors import NWidthError
from .dynamics import StateSurrogate, equal_step

METHODS = ("exact", "optimized")
SPACE = 256


class DMD(StateSurrogate):
    """u(t) = sum_j b_j phi_j exp(w_j (t - t0)), b from u0: eigenvalues and modes of the linear map between states.

    exact: with X the states and X' their successors, all trajectories side by side, and X = U S V* of rank r, the
    modes are phi_j = X' V S^-1 y_j for the eigenpairs (l_j, y_j) of U* X' V S^-1, and w_j = log(l_j) / dt; equal
    steps (M). optimized: the w_j minimise the misfit of all trajectories at all times at once (PyDMD's BOPDMD, which
    must be installed), so that noise does not bias them; any times. Amplitudes b = phi^+ u0.

    States are not centred. One linear map for all samples: parameters and input fields are not read (C). The rank is
    chosen by the rollouts on validation.

    Source: Tu et al., J. Comput. Dyn. 1 (2014), definition 1; Askham and Kutz, SIAM J. Appl. Dyn. Syst. 17 (2018).
    """

    center: ClassVar[bool] = False
    reads_mu: ClassVar[bool] = False

    def __init__(self, *, ranks: list[int] | None = None, method: str = "exact"):
        super().__init__(ranks)
        if method not in METHODS:
            raise NWidthError("DMD", got=f"method={method!r}", expected="one of " + ", ".join(METHODS))
        self.method = method

    def _space_rank(self) -> int:
        return max(SPACE, self.ranks[-1])

    def _candidates(
        self, c: Tensor, t: Tensor, mu: Tensor | None, rank: int, log: FitLog, seed: int
    ) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        model = exact_dmd(c, t, rank) if self.method == "exact" else optimized_dmd(c, t, rank)
        if model is None:
            log.notes.append(f"rank {rank} passed over: {c.shape[1]} times of {c.shape[0]} trajectories hold fewer")
        else:
            yield {"method": self.method}, {**model, "real": not c.is_complex()}

    def _roll(self, model: Mapping[str, Any], start: Tensor, t0: float, times: Tensor, mu: Tensor | None) -> Tensor:
        modes, rates = model["modes"], model["rates"]
        amplitudes = start.to(modes.dtype) @ torch.linalg.pinv(modes).mT
        growth = torch.exp(rates * (times - t0)[:, None])
        c = (amplitudes[:, None] * growth) @ modes.mT
        return c.real if model["real"] else c


def exact_dmd(c: Tensor, t: Tensor, rank: int) -> dict[str, Tensor] | None:
    """``modes`` (R, r) and ``rates`` (r,) of trajectories c (N, T + 1, R); None where they hold no r directions.

    >>> t = torch.arange(6, dtype=torch.float64); c = torch.stack([0.5**t, 0.9**t], 1)[None]
    >>> [round(v, 12) for v in exact_dmd(c, t, 2)["rates"].real.exp().sort().values.tolist()]
    [0.5, 0.9]
    """
    step = equal_step(t)
    if step is None:
        raise NWidthError(
            "DMD.fit", got="unequal steps in time", expected="equal ones from t0", fix="use method=optimized"
        )
    X, Y = c[:, :-1].flatten(0, 1).mT, c[:, 1:].flatten(0, 1).mT
    U, s, Vh = svd(X, method="exact")
    if rank > len(s):
        return None
    ahead = Y @ Vh[:rank].mH / s[:rank]
    values, vectors = torch.linalg.eig(U[:, :rank].mH @ ahead)
    kept = values.abs() > 1e-12 * values.abs().max()  # what vanishes in one step has no rate
    modes = ahead.to(vectors.dtype) @ vectors[:, kept]
    return {"modes": modes / modes.norm(dim=0), "rates": values[kept].log() / step}


def optimized_dmd(c: Tensor, t: Tensor, rank: int) -> dict[str, Tensor] | None:
    """The same by variable projection: the rates are shared by all trajectories, stacked as one of N R components.

    The amplitudes of mode j in the N trajectories form a matrix (R, N) of rank one for data of this form; its leading
    direction is the mode.
    """
    try:
        from pydmd import BOPDMD
    except ImportError:
        raise NWidthError(
            "DMD", got="method='optimized' without PyDMD", fix="pip install pydmd, or use method=exact"
        ) from None
    n, count, size = c.shape
    if rank > min(count, n * size):
        return None
    stacked = c.permute(0, 2, 1).reshape(n * size, count)
    found = BOPDMD(svd_rank=rank, num_trials=0, use_proj=True).fit(stacked.numpy(), (t - t[0]).numpy())
    rates = torch.from_numpy(found.eigs.copy()).to(torch.complex128)
    amplitudes = (torch.from_numpy(found.modes * found.amplitudes)).to(torch.complex128).reshape(n, size, -1)
    modes = torch.stack([svd(amplitudes[..., j].mT, rank=1, method="exact").U[:, 0] for j in range(len(rates))], 1)
    return {"modes": modes, "rates": rates}
