"""From a factory and a network to an optimiser: groups of parameters by kind and learning rate; Muon."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ..errors import NWidthError
from ..operators import ChannelLinear, SpectralConv
from ..operators.convolution import Convolution, TransposedConvolution
from ..operators.unet import Up

QUINTIC = (3.4445, -4.775, 2.0315)  # a s + b s^3 + c s^5 lifts small singular values fast and keeps large ones near 1


class Muon(Optimizer):
    """W <- (1 - lr decay) W - 0.2 lr max(m, n)^(1/2) O(B), B the momentum of the gradients of an m x n matrix W.

    O(B) = U V^H, B = U S V^H, to within a third or so by ``iterations`` Newton-Schulz steps: every direction of a
    matrix moves alike. The matrices of a spectral layer, one for each mode and complex where the coefficients are, are
    orthogonalised mode by mode in one batch, those of a convolution as the matrix from its inputs at all points of the
    stencil. The factor gives updates about the size of AdamW's: rates of once to three times its own suit. Matrices are
    the weights of linear maps between channels with both sizes above 1; all else (biases, gates, factors of low-rank
    weights) is updated by AdamW with ``betas`` and the same lr and decay.

    ``params`` are groups with a ``kind``, as ``parameter_groups`` gives: matrix, stencils, modes, complex modes, other.
    Jordan et al. (2024), Muon; Liu et al., Muon is scalable, arXiv:2502.16982, equation 4 (the factor).
    """

    by_kind = True

    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        lr: float = 4e-3,
        momentum: float = 0.95,
        nesterov: bool = True,
        iterations: int = 5,
        weight_decay: float = 0.01,
        betas: Sequence[float] = (0.9, 0.999),
        eps: float = 1e-8,
    ):
        betas = tuple(betas)
        if not (lr > 0 and 0 <= momentum < 1 and iterations >= 1 and weight_decay >= 0 and eps > 0):
            raise NWidthError(
                "Muon",
                got=f"lr={lr}, momentum={momentum}, iterations={iterations}, weight_decay={weight_decay}, eps={eps}",
                expected="lr > 0, 0 <= momentum < 1, iterations >= 1, weight_decay >= 0, eps > 0",
            )
        if len(betas) != 2 or not all(0 <= b < 1 for b in betas):
            raise NWidthError("Muon", got=f"betas={betas}", expected="two numbers from 0 to below 1")
        groups = list(params)
        if not all(isinstance(g, dict) and "kind" in g for g in groups):
            raise NWidthError("Muon", got="parameters without kinds", expected="parameter_groups(network)")
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "nesterov": nesterov,
            "iterations": iterations,
            "weight_decay": weight_decay,
            "betas": betas,
            "eps": eps,
        }
        super().__init__(groups, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            update = self._adam if group["kind"] == "other" else self._orthogonal
            for p in group["params"]:
                if p.grad is not None:
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    p.add_(update(p.grad, self.state[p], group), alpha=-group["lr"])
        return loss

    def _orthogonal(self, grad: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        mean = state.setdefault("momentum", torch.zeros_like(grad))
        mean.lerp_(grad, 1 - group["momentum"])
        b = grad.lerp(mean, group["momentum"]) if group["nesterov"] else mean
        if group["kind"] == "complex modes":
            b = torch.view_as_complex(b.contiguous())
        elif group["kind"] == "stencils":
            b = b.flatten(1)
        o = orthogonalised(b, group["iterations"]) * (0.2 * math.sqrt(max(b.shape[-2:])))
        return (torch.view_as_real(o) if o.is_complex() else o).view(grad.shape)

    def _adam(self, grad: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        first, second = (state.setdefault(k, torch.zeros_like(grad)) for k in ("first", "second"))
        state["step"] = step = state.get("step", 0) + 1
        (b1, b2), eps = group["betas"], group["eps"]
        first.lerp_(grad, 1 - b1)
        second.mul_(b2).addcmul_(grad, grad, value=1 - b2)
        return first / (1 - b1**step) / ((second / (1 - b2**step)).sqrt() + eps)


def orthogonalised(b: Tensor, iterations: int = 5) -> Tensor:
    """U V^H of b = U S V^H (..., m, n), real or complex, by steps X <- a X + (b A + c A^2) X, A = X X^H; zero of zero.

    >>> x = torch.randn(3, 5, 4, dtype=torch.complex128, generator=torch.Generator().manual_seed(0))
    >>> y = orthogonalised(x, 5)
    >>> gram = y.mH @ y
    >>> bool((gram - torch.eye(4)).abs().max() < 0.6)
    True
    """
    one, three, five = QUINTIC
    wide = b.shape[-2] > b.shape[-1]
    x = b.mH if wide else b
    tiny = torch.finfo(x.dtype).tiny ** 0.5
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp_min(tiny)
    for _ in range(iterations):
        gram = x @ x.mH
        x = one * x + (three * gram + five * gram @ gram) @ x
    return x.mH if wide else x


def parameter_groups(network: nn.Module) -> list[dict[str, Any]]:
    """The trained parameters by kind (see ``Muon``) and by ``factor`` of the learning rate, in a fixed order.

    A network with a method ``learning_rates()`` gives factors: pairs (parameter, factor); all others are 1.
    """
    kinds: dict[int, str] = {}
    for module in network.modules():
        weight = getattr(module, "weight", None)
        if isinstance(module, SpectralConv) and isinstance(weight, nn.Parameter) and not module.separable:
            kinds[id(weight)] = "complex modes" if module.transform.complex else "modes"
        elif isinstance(module, Convolution | TransposedConvolution | Up):
            kinds[id(module.weight)] = "stencils" if min(module.weight.shape[:2]) > 1 else "other"
        elif isinstance(module, ChannelLinear | nn.Linear) and isinstance(weight, nn.Parameter):
            kinds[id(weight)] = "matrix" if min(weight.shape) > 1 else "other"
    rates = getattr(network, "learning_rates", None)
    factors = {id(p): float(f) for p, f in rates()} if callable(rates) else {}
    groups: dict[tuple[str, float], list[nn.Parameter]] = {}
    for p in network.parameters():
        if p.requires_grad:
            groups.setdefault((kinds.get(id(p), "other"), factors.get(id(p), 1.0)), []).append(p)
    return [{"params": v, "kind": kind, "factor": factor} for (kind, factor), v in groups.items()]


def make_optimizer(factory: Callable[..., Optimizer], network: nn.Module) -> Optimizer:
    """``factory(parameters)``, or of groups where the class asks for kinds or the network has rates of its own."""
    groups = parameter_groups(network)
    cls = getattr(factory, "func", factory)
    own = any(g["factor"] != 1 for g in groups)
    if getattr(cls, "by_kind", False) or own:
        if cls is torch.optim.LBFGS:
            raise NWidthError(
                "optimizer",
                got="L-BFGS with a network that has learning rates of its own (scaling=mup)",
                expected="one learning rate",
                fix="set optimizer=adamw, or surrogate.network.scaling=none",
            )
        parameters: Any = groups
    else:
        parameters = [p for p in network.parameters() if p.requires_grad]
    try:
        optimizer = factory(parameters)
    except ValueError as e:
        fix = "take optimizer=muon, which leaves other parameters to AdamW" if "2D" in str(e) else ""
        raise NWidthError("optimizer", got=str(e).splitlines()[0][:120], expected="valid options", fix=fix) from None
    for group in optimizer.param_groups:
        group["lr"] = group["lr"] * group.get("factor", 1.0)
    return optimizer
