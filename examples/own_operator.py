"""A network of one's own as a surrogate: any module on (batch, channel, *space) will do.

Run it with: python own_operator.py
"""

from functools import partial

import torch
from nwidth import Grid
from nwidth.data import RandomSplit, apply_split
from nwidth.data.metrics import relative_l2
from nwidth.operators import ChannelMLP, SpectralConv
from nwidth.solvers import Burgers
from nwidth.solvers.reduced import PODRegression, Ridge
from nwidth.training import NeuralSurrogate, OneCycle, TrainingSettings
from torch import Tensor, nn


class Residual(nn.Module):
    """Lift, spectral layers with a residual connection, project."""

    def __init__(self, in_channels: int, out_channels: int, grid: Grid, width: int = 24, layers: int = 3):
        super().__init__()
        modes = [min(24, n) for n in grid.shape]
        self.lift = ChannelMLP([in_channels, width])
        self.layers = nn.ModuleList(SpectralConv(width, width, modes) for _ in range(layers))
        self.mixers = nn.ModuleList(ChannelMLP([width, width, width]) for _ in range(layers))
        self.project = ChannelMLP([width, 2 * width, out_channels])

    def forward(self, x: Tensor) -> Tensor:
        v = self.lift(x)
        for layer, mixer in zip(self.layers, self.mixers):
            v = v + mixer(layer(v))
        return self.project(v)


def main() -> None:
    problem = Burgers(nu=0.05, final_time=0.5, times=4)
    data = problem.simulate(range(160), seed=0, grid=problem.grid(64)).to(dtype=torch.float32)
    parts, _ = apply_split(data, RandomSplit(test=20, val=20))
    settings = TrainingSettings(epochs=30, batch_size=20, tensorboard=False, progress=False, device="cpu")
    surrogates = {
        "linear": PODRegression(Ridge()),
        "own network": NeuralSurrogate(
            partial(Residual, width=24), partial(torch.optim.AdamW, lr=3e-3), schedule=OneCycle(), training=settings
        ),
    }
    for name, surrogate in surrogates.items():
        log = surrogate.fit(parts["train"], parts["val"], seed=0)
        mean = surrogate.predict(parts["test"].inputs()).mean
        error = relative_l2(mean.double(), parts["test"].u.double(), data.grid).mean()
        print(f"{name:<12} test error {float(error):.4f}, {log.parameters} parameters")


if __name__ == "__main__":
    main()
