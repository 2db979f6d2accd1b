"""The neural inverse operator: from a set of measurements to the field that they were made of."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..backends.grid import Grid
from ..errors import NWidthError
from .deeponet import DeepONet
from .fno import FNO


class NIO(nn.Module):
    """u = F(f, c),  f(x) = 1/L sum_l (b(m_l) . t(x) + b_0) / sqrt(p): an FNO of the mean of DeepONets.

    The L measurements m_l share branch b and trunk t, and only their mean goes on: the answer does not depend on
    their order, and any number of them is a valid input. c are further channels. A lift with weights w / L for each
    f_l, as published, is a linear map of this mean. Molinaro, Yang, Engquist and Mishra, Neural inverse operators for
    solving PDE inverse problems, ICML 2023, arXiv:2301.11167, section 3.2.

    x (B, L group + rest, *space), a measurement being ``group`` channels that follow one another, at any resolution of
    the grid's domain -> (B, C_out, *space).

    Parameters
    ----------
    in_channels, out_channels, grid : see ``nwidth.operators``.
    group : channels of a measurement, such as 2 for a load and the response to it.
    measurements : the number L in training; the ``rest`` of the input channels are c. None: all channels are
        measurements.
    batching : in training every sample keeps a random number of its measurements, 2 to L - 1, drawn anew each time
        (section 3.3; there for a batch together). Draws come from torch's generator of the device.
    fields : number of mean fields f, each with a trunk of its own; 1 in the paper.
    latent : number p of functions.
    branch, branch_width, branch_layers, trunk_width, trunk_layers, harmonics : see ``DeepONet``.
    modes, width, layers, projection, channel_mlp, extension : of F, see ``FNO``; it is lifted by a linear map.
    activation : of all parts.

    >>> net = NIO(6, 1, Grid.make((16, 16), kind="nodal"), group=2, width=8, branch_width=16).eval()
    >>> x = torch.randn(4, 6, 16, 16)
    >>> net(x).shape, net(x[:, :4]).shape
    (torch.Size([4, 1, 16, 16]), torch.Size([4, 1, 16, 16]))
    >>> bool(torch.allclose(net(x), net(x[:, [4, 5, 0, 1, 2, 3]]), atol=1e-6))
    True
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        grid: Grid,
        *,
        group: int = 1,
        measurements: int | None = None,
        batching: bool = True,
        fields: int = 1,
        latent: int = 50,
        branch: str = "conv",
        branch_width: int = 256,
        branch_layers: int = 1,
        trunk_width: int = 128,
        trunk_layers: int = 3,
        harmonics: int = 4,
        modes: int | Sequence[int] | None = None,
        width: int = 32,
        layers: int = 2,
        projection: float = 2.0,
        channel_mlp: float = 0.5,
        extension: float | None = 0.25,
        activation: str = "gelu",
    ):
        super().__init__()
        if group < 1 or fields < 1:
            raise NWidthError("NIO", got=f"group={group}, fields={fields}", expected="at least 1")
        count = in_channels // group if measurements is None else measurements
        self.group, self.rest, self.batching = group, in_channels - count * group, batching
        if count < 1 or self.rest < 0 or (measurements is None and self.rest):
            raise NWidthError(
                "NIO",
                got=f"{in_channels} input channels for measurements={measurements} of group={group}",
                expected="the channels of one measurement or more",
                fix="set measurements: other input channels follow them",
            )
        self.ndim, self.latent = grid.ndim, latent
        self.measure = DeepONet(
            group,
            fields,
            grid,
            latent=latent,
            branch=branch,
            branch_width=branch_width,
            branch_layers=branch_layers,
            trunk_width=trunk_width,
            trunk_layers=trunk_layers,
            harmonics=harmonics,
            activation=activation,
        )
        self.recover = FNO(
            fields + self.rest,
            out_channels,
            grid,
            modes=modes,
            width=width,
            layers=layers,
            lifting=0.0,
            projection=projection,
            channel_mlp=channel_mlp,
            extension=extension,
            activation=activation,
        )

    def forward(self, x: Tensor) -> Tensor:
        count, over = divmod(x.shape[1] - self.rest, self.group) if x.ndim == self.ndim + 2 else (0, 0)
        if count < 1 or over:
            raise NWidthError(
                "NIO",
                got=f"x of shape {tuple(x.shape)}",
                expected=f"(batch, channels, {self.ndim} space axes), channels in groups of {self.group}"
                + (f" and {self.rest} more" if self.rest else ""),
            )
        seen, others = x.split([count * self.group, self.rest], 1)
        b = self.measure.coefficients(seen.unflatten(1, (count, self.group)).flatten(0, 1)).unflatten(0, (-1, count))
        f = self.measure.expand((self.shares(len(x), count, b) * b).sum(1), x.shape[2:]) / math.sqrt(self.latent)
        return self.recover(torch.cat([f, others], 1))

    def shares(self, batch: int, count: int, like: Tensor) -> Tensor:
        """What each measurement counts, (B, L, 1), with sum 1: equal, or in training equal on random subsets."""
        if not (self.training and self.batching) or count < 3:
            return like.new_full((batch, count, 1), 1 / count)
        rank = torch.rand(batch, count, device=like.device).argsort(1)
        kept = torch.randint(2, count, (batch, 1), device=like.device)
        return ((rank < kept).to(like) / kept)[..., None]
