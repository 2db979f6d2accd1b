"""From a factory and a network to an optimiser: groups of parameters by kind and learning rate."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from ..errors import NWidthError
from ..operators import ChannelLinear
from ..operators.convolution import Convolution, TransposedConvolution
from ..operators.unet import Up

MAPS = (ChannelLinear, Convolution, TransposedConvolution, Up, nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d,
        nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)  # fmt: skip
ENDS = ("lift", "project")


def parameter_groups(network: nn.Module) -> list[dict[str, Any]]:
    """The trained parameters by kind (see ``Muon``) and by ``factor`` of the learning rate, in a fixed order.

    A matrix is the weight of a convolution or linear map with both sizes above 1, but in what a network calls ``lift``
    and ``project``, its first and last maps; all else is of the kind other. A network with a method
    ``learning_rates()`` gives factors: pairs (parameter, factor); all others are 1.
    """
    kinds: dict[int, str] = {}
    for module in network.modules():
        weight = getattr(module, "weight", None)
        if (
            isinstance(module, MAPS)
            and isinstance(weight, nn.Parameter)
            and not weight.is_complex()
            and min(weight.shape[:2]) > 1
        ):
            kinds[id(weight)] = "matrix"
    for end in (getattr(module, name, None) for module in network.modules() for name in ENDS):
        for p in end.parameters() if isinstance(end, nn.Module) else ():
            kinds.pop(id(p), None)
    rates = getattr(network, "learning_rates", None)
    factors = {id(p): float(f) for p, f in rates()} if callable(rates) else {}
    groups: dict[tuple[str, float], list[nn.Parameter]] = {}
    for p in network.parameters():
        if p.requires_grad:
            groups.setdefault((kinds.get(id(p), "other"), factors.get(id(p), 1.0)), []).append(p)
    return [{"params": v, "kind": kind, "factor": factor} for (kind, factor), v in groups.items()]


def make_optimizer(factory: Callable[..., Optimizer], network: nn.Module, *, clipped_mixed: bool = False) -> Optimizer:
    """``factory(parameters)``, or of groups where the class asks for kinds or the network has rates of its own.

    ``fused`` is put off where torch cannot: for complex parameters, and for clipped gradients in mixed precision.
    """
    groups = parameter_groups(network)
    unfused = clipped_mixed or any(p.is_complex() for p in network.parameters())
    if unfused and getattr(factory, "keywords", {}).get("fused"):
        factory = partial(factory, fused=False)
    cls: Any = factory
    while isinstance(cls, partial):  # one of a partial that was looked into stays nested
        cls = cls.func
    own, by_kind = any(g["factor"] != 1 for g in groups), getattr(cls, "by_kind", False)
    if by_kind or own:
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
        factor = group.get("factor", 1.0)
        if by_kind and group["kind"] == "matrix":
            factor **= 0.5  # the norm of an orthogonal update grows with the root of the width, that of Adam's with it
        group["lr"] = group["lr"] * factor
    return optimizer
