"""Models of the neuraloperator library, built and saved like the operators of this package."""

from __future__ import annotations

import contextlib
import inspect
import io
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..backends.grid import Grid
from ..errors import NWidthError
from .pointwise import activation, check_input

MODELS = ("FNO", "TFNO", "UNO")


class NeuralopModel(nn.Module):
    """u = model(a) with ``neuralop.models.<model>``: x (B, C_in, *space) -> (B, C_out, *space).

    Kossaifi et al., A library for learning neural operators, arXiv:2412.10354.

    Parameters
    ----------
    in_channels, out_channels, grid : as for every operator; the model sees the number of axes only.
    model : FNO, TFNO or UNO.
    options : arguments of that model. Where they are absent: ``hidden_channels`` 32, ``n_modes`` min(16, n) of
        each axis; UNO gets four layers, the middle two at half resolution with twice the channels.
        ``non_linearity`` may be the name of an activation.

    The library computes in single precision only: parameters stay float32 and complex64 whatever
    ``.to(dtype)`` says, inputs are cast, and the output has the dtype of x. Its change of resolution is
    right in one dimension only; in two and three, evaluate it on the training grid. State dicts hold
    tensors only.

    >>> options = {"n_modes": [8], "hidden_channels": 4}
    >>> net = NeuralopModel(1, 2, Grid.make((16,)), model="FNO", options=options)
    >>> net(torch.randn(3, 1, 16)).shape
    torch.Size([3, 2, 16])
    """

    @staticmethod
    def warm_up() -> None:
        """Import the library, which takes seconds."""
        import neuralop  # noqa: F401

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        grid: Grid,
        *,
        model: str = "FNO",
        options: Mapping[str, Any] | None = None,
    ):
        super().__init__()
        if not isinstance(grid, Grid):
            raise NWidthError("NeuralopModel", got=type(grid).__name__, expected="a Grid")
        if model not in MODELS:
            raise NWidthError("NeuralopModel", got=f"model={model!r}", expected="one of " + ", ".join(MODELS))
        from neuralop import models

        build = getattr(models, model)
        given = _checked_options(model, models.FNO if model == "TFNO" else build, dict(options or {}))
        arguments = {**_defaults(model, grid, given), **given}
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # UNO prints its arguments
                self.net = build(in_channels=in_channels, out_channels=out_channels, **arguments)
        except (AssertionError, IndexError, KeyError, TypeError, ValueError) as error:
            raise NWidthError(f"NeuralopModel {model}", got=f"options {given}: {error}") from error
        self.in_channels, self.ndim, self.shape = in_channels, grid.ndim, grid.shape
        self.register_state_dict_post_hook(_drop_metadata)

    def forward(self, x: Tensor) -> Tensor:
        check_input("NeuralopModel", x, self.in_channels, self.ndim)
        if self.ndim > 1 and tuple(x.shape[2:]) != self.shape:
            warnings.warn(
                f"neuraloperator changes resolution wrongly in {self.ndim}D: trained on {self.shape}, "
                f"called on {tuple(x.shape[2:])}",
                stacklevel=2,
            )
        with torch.autocast(x.device.type, enabled=False):
            return self.net(x.float()).to(x.dtype)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> NeuralopModel:
        def keep_dtype(t: Tensor) -> Tensor:
            if t.is_complex():
                return torch.view_as_complex(fn(torch.view_as_real(t)).to(t.dtype.to_real()).contiguous())
            return fn(t).to(t.dtype)

        return super()._apply(keep_dtype, recurse)


def _drop_metadata(module: nn.Module, state: dict[str, Any], prefix: str, local_metadata: Any) -> None:
    """The library puts its constructor's arguments, classes and functions among the tensors."""
    state.pop("_metadata", None)


def _checked_options(model: str, build: type, options: dict[str, Any]) -> dict[str, Any]:
    ours = {"self", "in_channels", "out_channels", "args", "kwargs"}
    accepted = [name for name in inspect.signature(vars(build)["__init__"]).parameters if name not in ours]
    unknown = sorted(set(options) - set(accepted))
    if unknown:
        raise NWidthError(f"NeuralopModel {model}", got=f"options {unknown}", expected="among " + ", ".join(accepted))
    if isinstance(options.get("non_linearity"), str):
        options["non_linearity"] = activation(options["non_linearity"])
    return options


def _defaults(model: str, grid: Grid, given: dict[str, Any]) -> dict[str, Any]:
    modes = [min(16, n) for n in grid.shape]
    if model != "UNO":
        return {"n_modes": modes, "hidden_channels": 32}
    width, d = given.get("hidden_channels", 32), grid.ndim
    half = [max(1, m // 2) for m in modes]
    return {
        "hidden_channels": width,
        "lifting_channels": 2 * width,
        "projection_channels": 2 * width,
        "n_layers": 4,
        "channel_mlp_skip": "linear",
        "uno_out_channels": [width, 2 * width, 2 * width, width],
        "uno_n_modes": [modes, half, half, modes],
        "uno_scalings": [[1.0] * d, [0.5] * d, [1.0] * d, [2.0] * d],
    }
