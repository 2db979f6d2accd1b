"""Ridge regression for every ridge at the cost of one eigendecomposition, with kernels or with features."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor


class RidgePath(ABC):
    """K = A A' with nugget g: predictions, leave-one-out errors and the likelihood of rest ~ N(0, s_j^2 (K + g I)).

    ``rest`` (n, r) are the centred outputs, g = n lambda. ``across`` of a prediction is k(x, X) for ``DualPath`` and
    the features of x for ``PrimalPath``; ``rotate`` it once, then ``predict`` for each g.
    """

    values: Tensor  # eigenvalues of K, those that may differ from zero
    vectors: Tensor
    coefficients: Tensor
    rest: Tensor

    def rotate(self, across: Tensor) -> Tensor:
        return across @ self.vectors

    def predict(self, rotated: Tensor, g: float) -> Tensor:
        return rotated @ (self.coefficients / (self.values + g)[:, None])

    @abstractmethod
    def leave_one_out(self, g: float) -> Tensor:
        """rest_i minus its prediction from the other samples, (n, r)."""

    @abstractmethod
    def quadratic(self, g: float) -> Tensor:
        """rest_j' (K + g I)^-1 rest_j, (r,)."""

    def negative_log_likelihood(self, g: float) -> float:
        """A value and output, with the scale s_j^2 = rest_j' (K + g I)^-1 rest_j / n of each output that maximises it.

        Rasmussen and Williams (2006), section 5.4.1. Outputs that are constant do not count.
        """
        n = len(self.rest)
        scale = self.quadratic(g) / n
        scale = scale[scale > 1e-30 * float(self.rest.square().max())]
        logdet = float((self.values + g).log().sum()) + (n - len(self.values)) * math.log(g)
        return 0.5 * (float(scale.log().mean()) + logdet / n + 1 + math.log(2 * math.pi))


class DualPath(RidgePath):
    """From the kernel matrix K (n, n)."""

    def __init__(self, K: Tensor, rest: Tensor):
        values, self.vectors = torch.linalg.eigh(K)
        self.values, self.rest = values.clamp_min(0), rest
        self.coefficients = self.vectors.mT @ rest

    def leave_one_out(self, g: float) -> Tensor:
        alpha = self.predict(self.vectors, g)
        return alpha / (self.vectors.square() @ (self.values + g).reciprocal())[:, None]

    def quadratic(self, g: float) -> Tensor:
        return (self.coefficients.square() / (self.values + g)[:, None]).sum(0)


class PrimalPath(RidgePath):
    """From features A (n, m), K = A A': work n m^2.

    >>> A, y = torch.rand(9, 4).double(), torch.rand(9, 2).double()
    >>> p, d = PrimalPath(A, y), DualPath(A @ A.mT, y)
    >>> bool(torch.allclose(p.leave_one_out(0.1), d.leave_one_out(0.1)))
    True
    """

    def __init__(self, A: Tensor, rest: Tensor):
        values, self.vectors = torch.linalg.eigh(A.mT @ A)
        self.values, self.rest = values.clamp_min(0), rest
        self.rotated = A @ self.vectors
        self.coefficients = self.rotated.mT @ rest

    def leave_one_out(self, g: float) -> Tensor:
        leverage = self.rotated.square() @ (self.values + g).reciprocal()
        return (self.rest - self.predict(self.rotated, g)) / (1 - leverage).clamp_min(1e-12)[:, None]

    def quadratic(self, g: float) -> Tensor:
        explained = (self.coefficients.square() / (self.values + g)[:, None]).sum(0)
        return (self.rest.square().sum(0) - explained).clamp_min(0) / g
