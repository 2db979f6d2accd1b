"""Maximal-update scaling: initial weights and learning rates for which one rate of Adam serves every width and modes.

With n channels and K modes on each of d axes, relative to n0 = ``WIDTH`` and K0 = ``MODES``, the network's default
size, where nothing changes:

    weights                        standard deviation                    learning rate
    input (fan-in fixed), biases   as ever                               1
    hidden, fan-in n               n^(-1/2), as ever                     n0 / n
    spectral, one matrix a mode    n^(-1/2) (l0 / l)^(1/2)               n0 / n (l0 / l)^(1/2),  l = sum_i log K_i
    output, fan-in n               n^(-1), from n^(-1/2) at n0           n0 / n

A step of Adam moves every entry of a matrix by about the rate, in a pattern that is aligned with what the layer gets:
the change of a sum over n channels grows with n, unless the rate falls with it, and a change of the output's weights
adds up coherently, so they start smaller: Yang et al., Tensor programs V, arXiv:2203.03466, table 3. A spectral layer
is one such matrix a mode; its norm as an operator is the largest of K^d of them, which for sub-Gaussian entries grows
with (d log K)^(1/2): Li, Yoo and Yang, ICML 2025, arXiv:2506.19396, theorem 3.5. Modes and width multiply. The step of
Muon for a matrix has all singular values alike, the root of the width in size: its rate gets the root of the factor.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import nn

from ..errors import NWidthError
from .pointwise import ChannelLinear, ChannelMLP
from .spectral import SpectralConv

SCALINGS = ("none", "mup")
WIDTH, MODES = 32, 16


def check_scaling(where: str, scaling: str, factorization: str, separable: bool) -> None:
    if scaling not in SCALINGS:
        raise NWidthError(where, got=f"scaling={scaling!r}", expected="one of " + ", ".join(SCALINGS))
    if scaling == "mup" and (factorization != "none" or separable):
        raise NWidthError(
            where,
            got=f"scaling='mup' with factorization={factorization!r}, separable={separable}",
            expected="dense matrices over channels",
            fix="set scaling=none",
        )


def mode_factor(modes: Sequence[int]) -> float:
    """(l0 / l)^(1/2).

    >>> mode_factor((16, 16)), round(mode_factor((4, 4)), 4)
    (1.0, 1.4142)
    """
    return math.sqrt(len(modes) * math.log(MODES) / sum(math.log(max(k, 2)) for k in modes))


@torch.no_grad()
def rescale(blocks: nn.Module, output: ChannelMLP, width: int) -> None:
    """Initial weights, from those of the plain parametrisation."""
    for module in blocks.modules():
        if isinstance(module, SpectralConv):
            assert isinstance(module.weight, nn.Parameter)
            module.weight.mul_(mode_factor(module.modes))
    last = output.linears[-1]
    assert isinstance(last, ChannelLinear)
    last.weight.mul_(math.sqrt(WIDTH / width))


def rates(network: nn.Module, inputs: Iterable[nn.Module], width: int) -> list[tuple[nn.Parameter, float]]:
    """Factors of the learning rate; ``inputs`` are the linear maps whose fan-in does not grow with the width."""
    fixed, found = {id(m) for m in inputs}, []
    for module in network.modules():
        if isinstance(module, SpectralConv):
            assert isinstance(module.weight, nn.Parameter)
            found.append((module.weight, WIDTH / width * mode_factor(module.modes)))
        elif isinstance(module, ChannelLinear) and id(module) not in fixed:
            found.append((module.weight, WIDTH / width))
    return found
