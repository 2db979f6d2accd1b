"""A small multilayer perceptron as a regressor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import NWidthError
from .fields import as_real
from .regression import Validate

ACTIVATIONS: dict[str, type[nn.Module]] = {"gelu": nn.GELU, "relu": nn.ReLU, "silu": nn.SiLU, "tanh": nn.Tanh}


class MLP:
    """y = m + s W_L a(... a(W_1 z + b_1) ...) + b_L, z the standardised x, s one scale for all outputs.

    ``depth`` hidden layers of ``width`` units. ``steps`` of L-BFGS in double precision minimise the mean square error
    over all samples plus ``weight_decay`` times the mean square weight; one scale for all outputs makes this the
    error of the fields that POD coefficients stand for. Each of ``weight_decays`` is trained; the best on validation
    is kept (without validation the first). Real and imaginary parts of complex numbers are separate inputs and
    outputs.

    Source: Hesthaven and Ubbiali, J. Comput. Phys. 363 (2018), section 3.2.

    >>> x = torch.linspace(0, 1, 60, dtype=torch.float64)[:, None]
    >>> m = MLP(width=16, steps=200); _ = m.fit(x, torch.sin(6 * x), None, seed=0)
    >>> bool((m.predict(x)[0] - torch.sin(6 * x)).abs().max() < 1e-2)
    True
    """

    uses_seed = True

    def __init__(
        self,
        width: int = 64,
        depth: int = 2,
        activation: str = "tanh",
        steps: int = 400,
        weight_decays: list[float] | None = None,
    ):
        if activation not in ACTIVATIONS:
            raise NWidthError("MLP", got=f"activation={activation!r}", expected="one of " + ", ".join(ACTIVATIONS))
        if width < 1 or depth < 1 or steps < 1:
            raise NWidthError("MLP", got=f"{width=}, {depth=}, {steps=}", expected="positive numbers")
        self.width, self.depth, self.activation = width, depth, activation
        self.steps = steps
        self.weight_decays = list(weight_decays if weight_decays is not None else [1e-6, 1e-4, 1e-2])
        self.chosen, self.seed = self.weight_decays[0], 0
        self.network: nn.Sequential | None = None
        self.scaling: dict[str, Tensor] = {}
        self.complex = False

    def fit(self, x: Tensor, y: Tensor, validate: Validate | None, *, seed: int) -> list[dict[str, Any]]:
        self.seed = seed
        history: list[dict[str, Any]] = []
        if validate is None:
            self.refit(x, y)
            return history
        best: tuple[float, float, dict[str, Any]] | None = None
        for decay in self.weight_decays:
            self.chosen = decay
            self.refit(x, y)
            error = validate[1](self.predict(validate[0])[0])
            history.append({"weight_decay": self.chosen, "val_rel_l2": error})
            if best is None or error < best[0]:
                best = (error, self.chosen, self.state_dict())
        assert best is not None
        self.load_state_dict(best[2])
        return history

    def refine(self, x: Tensor, y: Tensor, validate: Validate | None, *, seed: int) -> list[dict[str, Any]]:
        return self.fit(x, y, validate, seed=seed)

    def refit(self, x: Tensor, y: Tensor) -> None:
        self.complex = y.is_complex()
        x, y = as_real(x), as_real(y)
        spread = x.std(0) if len(x) > 1 else torch.ones_like(x[0])
        centred = y - y.mean(0)
        self.scaling = {
            "x_shift": x.mean(0),
            "x_scale": torch.where(spread > 1e-12, spread, torch.ones_like(spread)),
            "y_shift": y.mean(0),
            "y_scale": centred.square().mean().sqrt().clamp_min(1e-300),
        }
        z, target = (x - self.scaling["x_shift"]) / self.scaling["x_scale"], centred / self.scaling["y_scale"]
        self.network = self._build([z.shape[1], *[self.width] * self.depth, y.shape[1]])
        weights = [p for p in self.network.parameters() if p.ndim == 2]
        optimizer = torch.optim.LBFGS(
            self.network.parameters(), max_iter=self.steps, history_size=30, line_search_fn="strong_wolfe"
        )
        network = self.network

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = (network(z) - target).square().mean()
            loss = loss + self.chosen * torch.cat([w.flatten() for w in weights]).square().mean()
            loss.backward()
            return loss

        optimizer.step(closure)

    def _build(self, sizes: list[int]) -> nn.Sequential:
        generator = torch.Generator().manual_seed(self.seed)
        layers: list[nn.Module] = []
        for i, (a, b) in enumerate(zip(sizes, sizes[1:])):
            layer = nn.Linear(a, b, dtype=torch.float64)
            with torch.no_grad():  # Glorot's scale, from a generator of its own
                layer.weight.copy_(torch.randn(b, a, generator=generator, dtype=torch.float64) * (2 / (a + b)) ** 0.5)
                layer.bias.zero_()
            layers += [layer] if i == len(sizes) - 2 else [layer, ACTIVATIONS[self.activation]()]
        return nn.Sequential(*layers)

    def predict(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        assert self.network is not None
        with torch.no_grad():
            z = (as_real(x) - self.scaling["x_shift"]) / self.scaling["x_scale"]
            y = self.network(z) * self.scaling["y_scale"] + self.scaling["y_shift"]
        return (torch.view_as_complex(y.unflatten(1, (-1, 2)).contiguous()) if self.complex else y), None

    @property
    def selected(self) -> dict[str, Any]:
        return {"weight_decay": self.chosen}

    @property
    def parameters(self) -> int:
        return 0 if self.network is None else sum(p.numel() for p in self.network.parameters())

    def state_dict(self) -> dict[str, Any]:
        network = {} if self.network is None else self.network.state_dict()
        return {
            "weight_decay": self.chosen,
            "complex": self.complex,
            "scaling": dict(self.scaling),
            "network": {k: v.clone() for k, v in network.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.chosen, self.complex = float(state["weight_decay"]), bool(state["complex"])
        self.scaling, self.network = dict(state["scaling"]), None
        if state["network"]:
            weights = [v for k, v in state["network"].items() if k.endswith("weight")]
            self.network = self._build([weights[0].shape[1], *(len(w) for w in weights)])
            self.network.load_state_dict(state["network"])
