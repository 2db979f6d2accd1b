"""Muon: every direction of a matrix moves alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.adamw import adamw

from ..errors import NWidthError

QUINTIC = (3.4445, -4.775, 2.0315)  # a s + b s^3 + c s^5 lifts small singular values fast and keeps large ones near 1


class Muon(Optimizer):
    """W <- (1 - lr decay) W - 0.2 lr max(m, n)^(1/2) O(B), B the momentum of the gradients of an m x n matrix W.

    O(B) = U V', B = U S V', to within a third or so by ``iterations`` Newton-Schulz steps: every direction of a matrix
    moves alike. That of a convolution is the matrix from its inputs at all points of the stencil. The factor gives
    updates about the size of AdamW's: rates of a few times its own suit. All else (biases, gates, spectral
    weights, the first and last maps) is updated by AdamW with ``betas``, ``eps``, ``fused`` and the same lr and decay.
    The gradients of most modes' matrices are nearly noise, which orthogonalised would move them at full size.

    The work of O(B) grows with the cube of the smaller side, whatever the batch: for wide layers that see few points
    a step it exceeds that of the gradients. AdamW moves matrices whose smaller side is above ``largest``, at lr / 4;
    None orthogonalises all.

    ``params`` are groups with a ``kind``, as ``parameter_groups`` gives: matrix or other.
    Jordan et al. (2024), Muon; Liu et al., Muon is scalable, arXiv:2502.16982, equation 4 (the factor).
    """

    by_kind = True

    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        lr: float = 8e-3,
        momentum: float = 0.95,
        nesterov: bool = True,
        iterations: int = 5,
        largest: int | None = 128,
        weight_decay: float = 0.01,
        betas: Sequence[float] = (0.9, 0.999),
        eps: float = 1e-8,
        fused: bool = True,
    ):
        betas = tuple(betas)
        if not (lr > 0 and 0 <= momentum < 1 and iterations >= 1 and weight_decay >= 0 and eps > 0):
            raise NWidthError(
                "Muon",
                got=f"lr={lr}, momentum={momentum}, iterations={iterations}, weight_decay={weight_decay}, eps={eps}",
                expected="lr > 0, 0 <= momentum < 1, iterations >= 1, weight_decay >= 0, eps > 0",
            )
        if largest is not None and largest < 0:
            raise NWidthError("Muon", got=f"largest={largest}", expected="a side of a matrix, or null for all of them")
        if len(betas) != 2 or not all(0 <= b < 1 for b in betas):
            raise NWidthError("Muon", got=f"betas={betas}", expected="two numbers from 0 to below 1")
        groups = list(params)
        if not all(isinstance(g, dict) and "kind" in g for g in groups):
            raise NWidthError("Muon", got="parameters without kinds", expected="parameter_groups(network)")
        if largest is not None:
            groups = [part for g in groups for part in by_size(g, largest, g.get("lr", lr) / 4)]
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "nesterov": nesterov,
            "iterations": iterations,
            "weight_decay": weight_decay,
            "betas": betas,
            "eps": eps,
            "fused": fused,
        }
        super().__init__(groups, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            moved = [p for p in group["params"] if p.grad is not None]
            if moved:
                (self._adamw if group["kind"] == "other" else self._orthogonal)(moved, group)
        return loss

    def _orthogonal(self, params: list[Tensor], group: dict[str, Any]) -> None:
        """Matrices of one shape are stacked: many small products are one batch."""
        alike: dict[torch.Size, list[tuple[Tensor, Tensor]]] = {}
        for p in params:
            b = self._momentum(p, group).flatten(1)  # a stencil has its points beside the inputs
            alike.setdefault(b.shape, []).append((p, b))
        for shape, found in alike.items():
            o = orthogonalised(torch.stack([b for _, b in found]), group["iterations"])
            size = 0.2 * math.sqrt(max(shape[-2:]))
            for (p, _), u in zip(found, o):
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(u.reshape(p.shape), alpha=-group["lr"] * size)

    def _momentum(self, p: Tensor, group: dict[str, Any]) -> Tensor:
        assert p.grad is not None
        state = self.state[p]
        mean = state.setdefault("momentum", torch.zeros_like(p))
        mean.lerp_(p.grad, 1 - group["momentum"])
        return p.grad.lerp(mean, group["momentum"]) if group["nesterov"] else mean

    def _adamw(self, params: list[Tensor], group: dict[str, Any]) -> None:
        for p in params:
            if "first" not in self.state[p]:
                for k in ("first", "second"):
                    self.state[p][k] = torch.zeros_like(p)
                self.state[p]["step"] = torch.zeros((), dtype=torch.float32, device=p.device)
        states = [self.state[p] for p in params]
        mixed = any(p.is_complex() for p in params)
        adamw(
            params,
            [cast(Tensor, p.grad) for p in params],
            [s["first"] for s in states],
            [s["second"] for s in states],
            [],
            [s["step"] for s in states],
            fused=group["fused"] and not mixed,
            has_complex=mixed,
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )


def by_size(group: dict[str, Any], largest: int, lr: float) -> list[dict[str, Any]]:
    """The group but matrices whose smaller side is above ``largest``, and those: of kind other, with their ``lr``."""
    small: list[Tensor] = []
    rest: list[Tensor] = []
    for p in group["params"]:
        (rest if group["kind"] == "matrix" and min(p.flatten(1).shape) > largest else small).append(p)
    parts = [{**group, "params": small}, {**group, "params": rest, "kind": "other", "lr": lr}]
    return [part for part in parts if part["params"]]


def orthogonalised(b: Tensor, iterations: int = 5) -> Tensor:
    """U V' of real b = U S V' (..., m, n) by steps X <- p(A) X, A = X X', p(A) = a + b A + c A^2.

    Zero stays zero. Where m is far from n the steps are taken on the smaller Gram matrix, A <- p(A) A p(A), and X meets
    the product of all p(A) once: the same in exact arithmetic, with less than half of the work for a stencil.

    >>> x = torch.randn(3, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    >>> y = orthogonalised(x, 5)
    >>> gram = y.mT @ y
    >>> bool((gram - torch.eye(4)).abs().max() < 0.6)
    True
    """
    one, three, five = QUINTIC
    tall = b.shape[-2] > b.shape[-1]
    x = b.mT if tall else b
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny ** 0.5)
    x = x.reshape(-1, *x.shape[-2:])
    x = x[0] if len(x) == 1 else x  # a batch of one is slower than a matrix
    multiply_add = torch.addmm if x.ndim == 2 else torch.baddbmm
    if x.shape[-1] < 2 * x.shape[-2]:
        for _ in range(iterations):
            gram = x @ x.mT
            x = multiply_add(x, multiply_add(gram, gram, gram, beta=three, alpha=five), x, beta=one)
    else:
        gram, total = x @ x.mT, None
        for i in range(iterations):
            p = multiply_add(gram, gram, gram, beta=three, alpha=five)
            p.diagonal(dim1=-2, dim2=-1).add_(one)
            total = p if total is None else p @ total
            gram = p @ gram @ p if i < iterations - 1 else gram
        x = x if total is None else total @ x
    x = x.view(*b.shape[:-2], *x.shape[-2:])
    return x.mT if tall else x
