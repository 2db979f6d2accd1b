"""Proper orthogonal decomposition: the best linear space for a set of snapshots."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...backends.svd import svd, truncation_rank
from ...errors import NWidthError


class POD:
    """Snapshots x_i (N, *shape) -> mean m and basis V with x ~ m + sum_k c_k V_k, V orthonormal in <.,.>_W.

    ``weight`` (broadcastable to *shape, positive) is the diagonal of the inner product <x, y>_W = sum w x y;
    projection, coefficients and tail all use it. Rank rules are those of ``truncation_rank``.

    - ``encode(x)``: c = V' W (x - m), (N, r)
    - ``decode(c)``: m + c V, (N, *shape)
    - ``tail``: sqrt(sum_{i>r} s_i^2 / sum_i s_i^2) of the (centred) snapshots

    Source: Sirovich (1987); Volkwein, Proper Orthogonal Decomposition (2013), theorem 1.

    >>> x = torch.randn(20, 3, dtype=torch.float64) @ torch.randn(3, 50, dtype=torch.float64)
    >>> pod = POD(center=False).fit(x, rank=3)
    >>> bool(torch.allclose(pod.decode(pod.encode(x)), x))
    True
    """

    def __init__(self, center: bool = True):
        self.center = center
        self.mean: Tensor | None = None
        self.basis: Tensor | None = None
        self.weight: Tensor | None = None
        self.s: Tensor | None = None
        self.tail = float("nan")

    def fit(
        self,
        x: Tensor,
        weight: Tensor | None = None,
        *,
        rank: int | None = None,
        rtol: float | None = None,
        energy: float | None = None,
        cap: int | None = None,
    ) -> POD:
        """``cap`` bounds the rank without an error where the data hold less; ``rank`` insists on it."""
        n, shape = len(x), x.shape[1:]
        if n < 1:
            raise NWidthError("POD.fit", got="no snapshots", expected="one or more")
        flat = x.reshape(n, -1)
        w = (
            torch.ones(flat.shape[1], dtype=x.real.dtype, device=x.device)
            if weight is None
            else weight.to(dtype=x.real.dtype, device=x.device).expand(shape).reshape(-1)
        )
        m = flat.mean(0) if self.center else torch.zeros_like(flat[0])
        centred = flat - m
        self.mean, self.weight = m.reshape(shape), w.reshape(shape)
        if float(centred.abs().max()) <= 1e-14 * max(float(flat.abs().max()), 1e-300):
            # every snapshot is the mean: one direction with coefficient zero
            basis = torch.zeros_like(centred[:1])
            basis[0, 0] = 1 / w[0].sqrt()
            self.basis, self.s, self.tail = basis.reshape(1, *shape), torch.zeros_like(w[:1]), 0.0
            return self
        U, s, _ = svd(centred.mT, weight=w, method="exact")
        keep = truncation_rank(s, rank=rank, rtol=rtol, energy=energy)
        if cap is not None:
            keep = min(keep, cap)
        self.s = s
        self.basis = U[:, :keep].mT.reshape(keep, *shape).contiguous()
        self.tail = float((s[keep:].square().sum() / s.square().sum()).sqrt())
        return self

    @property
    def rank(self) -> int:
        return 0 if self.basis is None else len(self.basis)

    def encode(self, x: Tensor) -> Tensor:
        assert self.basis is not None and self.mean is not None and self.weight is not None
        flat = ((x - self.mean) * self.weight).reshape(len(x), -1)
        return flat @ self.basis.reshape(self.rank, -1).mH

    def decode(self, c: Tensor) -> Tensor:
        assert self.basis is not None and self.mean is not None
        return self.mean + (c @ self.basis.reshape(self.rank, -1)).reshape(len(c), *self.mean.shape)

    def residual(self, x: Tensor) -> Tensor:
        """The norm of what the space misses, |x - m - P(x - m)|_W, (N,)."""
        assert self.weight is not None
        missed = x - self.decode(self.encode(x))
        return (missed.abs().square() * self.weight).reshape(len(x), -1).sum(1).sqrt()

    def state_dict(self) -> dict[str, Any]:
        return {
            "center": self.center,
            "mean": self.mean,
            "basis": self.basis,
            "weight": self.weight,
            "s": self.s,
            "tail": self.tail,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> POD:
        self.center, self.tail = bool(state["center"]), float(state["tail"])
        self.mean, self.basis, self.weight, self.s = (state[k] for k in ("mean", "basis", "weight", "s"))
        return self
