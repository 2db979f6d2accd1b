"""Networks trained with the neuraloperator library, as networks of this package."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..backends.grid import Grid
from ..errors import NWidthError
from .fno import FNO, FNOBlock
from .low_rank import LowRankWeight
from .pointwise import ChannelLinear, ChannelMLP, SoftGating

CALL = "from_neuraloperator"
NORMS = {None: "none", "instance_norm": "instance", "group_norm": "group"}
# what ``_metadata`` may say and this package's FNO does not have: the values that mean its absence
ABSENT: dict[str, tuple[Any, ...]] = {
    "complex_data": (False,),
    "preactivation": (False,),
    "stabilizer": (None,),
    "domain_padding": (None, 0, [], [0]),
    "resolution_scaling_factor": (None,),
    "fno_block_precision": ("full",),
    "positional_embedding": (None, "grid"),
}


def from_neuraloperator(
    state: Mapping[str, Any] | str | Path,
    grid: Grid,
    *,
    norm: str | None = None,
    skip: str | None = None,
    mlp_skip: str | None = None,
    positional: bool | None = None,
) -> FNO:
    """The ``FNO`` that computes what a ``neuralop.models.FNO`` or ``TFNO`` computes, from its state dict.

    Kossaifi et al., A library for learning neural operators, arXiv:2412.10354 (version 2 of the library). Channels,
    layers, modes, the channel MLPs, skips, positional coordinates and factorised weights (Tucker, CP, TT, separable)
    follow from the shapes of the tensors. Outputs agree to round-off on grids of even size. On odd sizes in two and
    three dimensions, and away from the training resolution, the library moves the coefficients to other frequencies.

    Parameters
    ----------
    state : what ``model.state_dict()`` gives, or a file of it, read by ``read_state``.
    grid : periodic on every axis, as the library takes the points to be: ``Grid.make(shape)`` on the training's shape.
    norm, skip, mlp_skip, positional : what shapes cannot tell, see ``FNO``. None takes it from the entry
        ``_metadata`` that the library adds. Where there is none: no norm unless it has parameters, coordinates where
        the first layer has more channels than the grid has axes, and an error for skips without parameters, which may
        be identity or none. The activation is then taken to be gelu, the library's default.

    Raises NWidthError, with the reason, for what has no equal here: complex data, domain padding, pre-activation, batch
    norm, AdaIN, a stabilizer, other precisions, other activations than gelu (the library's channel MLPs keep gelu),
    networks without channel MLPs (the library then applies the activation twice), or tensors of another model.

    >>> from neuralop.models import FNO as Peer
    >>> peer = Peer(n_modes=(6, 6), in_channels=1, out_channels=1, hidden_channels=8, n_layers=2)
    >>> net, x = from_neuraloperator(peer.state_dict(), Grid.make((16, 16))), torch.randn(1, 1, 16, 16)
    >>> bool(torch.allclose(net(x), peer(x), atol=1e-5))
    True
    """
    state = read_state(state) if isinstance(state, str | Path) else state
    if not isinstance(grid, Grid) or any(axis.kind != "periodic" for axis in grid.axes):
        raise NWidthError(
            CALL,
            got=grid.describe() if isinstance(grid, Grid) else type(grid).__name__,
            expected="a periodic grid: the library takes any points for those of one period",
            fix="Grid.make(shape)",
        )
    about = dict(state.get("_metadata") or {})
    tensors = {k.removeprefix("module."): v for k, v in state.items() if isinstance(v, Tensor)}
    _refuse(about, tensors, grid)
    options = _options(about, tensors, grid, positional)
    given = {"norm": norm, "skip": skip, "mlp_skip": mlp_skip}
    options |= {k: v for k, v in given.items() if v is not None}
    for k in ("skip", "mlp_skip"):
        if options[k] is None:
            raise NWidthError(
                CALL, got=f"{k} without parameters", expected="to be told", fix=f"{k}='identity' or 'none'"
            )
    sizes = options.pop("in_channels"), options.pop("out_channels")
    net = FNO(*sizes, grid, **options)
    _copy(net, _Taken(tensors))
    return net.eval()


class _Named:
    """In the place of a function or class that a file names: it keeps the name and does nothing."""

    def __init__(self, *args: Any):
        pass


def read_state(path: str | Path) -> dict[str, Any]:
    """The tensors and plain values of a file that ``torch.save`` wrote; nothing that the file names is imported or run.

    The library's state dicts name classes and functions beside the tensors, which ``weights_only`` alone refuses. Each
    such name becomes an empty class of that name.
    """
    path = Path(path)
    if not path.is_file():
        raise NWidthError("read_state", got=str(path), expected="a file")
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        inert = [(type(name.rpartition(".")[2], (_Named,), {}), name) for name in names]
        with torch.serialization.safe_globals(inert):  # type: ignore[arg-type]
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as e:
        reason = str(e).splitlines()[0][:120] if str(e) else type(e).__name__
        raise NWidthError("read_state", got=f"{path.name}: {reason}", expected="a state dict by torch.save") from e
    if not isinstance(state, dict):
        raise NWidthError("read_state", got=f"a {type(state).__name__}", expected="a state dict")
    return state


def _refuse(about: Mapping[str, Any], tensors: Mapping[str, Tensor], grid: Grid) -> None:
    """Errors for what cannot be represented."""
    for name, allowed in ABSENT.items():
        if name in about and not any(about[name] is a or about[name] == a for a in allowed):
            got = (
                about[name] if isinstance(about[name], str | int | float | list | tuple) else type(about[name]).__name__
            )
            raise NWidthError(CALL, got=f"a model with {name}={got}", expected=f"{name}={allowed[0]}")
    most = about.get("max_n_modes")
    if most is not None and tuple(most) != tuple(about.get("n_modes", most)):
        raise NWidthError(CALL, got=f"max_n_modes={most}", expected="all modes in use")
    if not any(k.startswith("fno_blocks.convs.0.") for k in tensors):
        raise NWidthError(CALL, got=f"tensors {sorted(tensors)[:3]} ...", expected="the state of an FNO or TFNO")
    for mark, what in {".fr.": "complex data", "running_mean": "batch norm", ".norm.0.mlp.": "AdaIN"}.items():
        if any(mark in k for k in tensors):
            raise NWidthError(
                CALL, got=f"a model with {what}", expected="real data, and no norm, instance or group norm"
            )
    if "fno_blocks.channel_mlp.0.fcs.0.weight" not in tensors:
        raise NWidthError(
            CALL, got="use_channel_mlp=False", expected="channel MLPs: without, the library activates twice"
        )
    d = tensors["fno_blocks.convs.0.bias"].ndim - 1 if "fno_blocks.convs.0.bias" in tensors else grid.ndim
    if d != grid.ndim:
        raise NWidthError(CALL, got=f"a model of {d} axes and a grid of {grid.ndim}", expected="as many")


def _options(
    about: Mapping[str, Any], tensors: Mapping[str, Tensor], grid: Grid, positional: bool | None
) -> dict[str, Any]:
    """Arguments of ``FNO``; a skip that shapes and metadata leave open is None."""
    d = grid.ndim
    width = tensors["fno_blocks.channel_mlp.0.fcs.0.weight"].shape[1]
    layers = len({m[1] for k in tensors if (m := re.match(r"fno_blocks\.convs\.(\d+)\.", k))})
    spectral, sizes = _spectral(tensors, width, d)
    channels = sizes[:-d]
    if any(c != width for c in channels):
        raise NWidthError(CALL, got=f"spectral weights of {channels} channels", expected=f"{width}")
    first = tensors["lifting.fcs.0.weight"].shape[1]
    if positional is None:
        positional = about["positional_embedding"] is not None if "positional_embedding" in about else first > d
    if first - d * positional < 1:
        raise NWidthError(CALL, got=f"{first} channels in the lifting", expected=f"more than {d} with coordinates")
    hidden = {p: [tensors[f"{p}.fcs.{i}.weight"].shape[0] for i in range(_count(tensors, p) - 1)] for p in ENDS}
    for p, found in hidden.items():
        if len(found) > 1:
            raise NWidthError(CALL, got=f"{len(found) + 1} layers in {p}", expected="one or two")
    acts = _activation(about.get("non_linearity"))
    if acts != "gelu":
        raise NWidthError(
            CALL, got=f"non_linearity={acts}", expected="gelu, the only one that the library's channel MLPs have"
        )
    return {
        "in_channels": first - d * positional,
        "out_channels": tensors[f"projection.fcs.{len(hidden['projection'])}.weight"].shape[0],
        "modes": (*sizes[-d:-1], max(1, 2 * (sizes[-1] - 1))),
        "width": width,
        "layers": layers,
        "lifting": hidden["lifting"][0] / width if hidden["lifting"] else 0.0,
        "projection": hidden["projection"][0] / width if hidden["projection"] else 0.0,
        "channel_mlp": tensors["fno_blocks.channel_mlp.0.fcs.0.weight"].shape[0] / width,
        "skip": _skip(about, tensors, "fno_skip"),
        "mlp_skip": _skip(about, tensors, "channel_mlp_skip"),
        "norm": "group" if "fno_blocks.norm.0.weight" in tensors else NORMS.get(about.get("norm"), about.get("norm")),
        "positional": positional,
        "extension": None,
        "activation": acts,
        **spectral,
    }


ENDS = ("lifting", "projection")


def _count(tensors: Mapping[str, Tensor], name: str) -> int:
    return len({k for k in tensors if re.fullmatch(rf"{name}\.fcs\.\d+\.weight", k)})


def _spectral(tensors: Mapping[str, Tensor], width: int, d: int) -> tuple[dict[str, Any], tuple[int, ...]]:
    """The options of the spectral weights, and their shape as a dense tensor (channels ..., counts of modes ...)."""
    at = "fno_blocks.convs.0.weight."
    factors = [tensors[k] for k in sorted((k for k in tensors if k.startswith(at + "factors.")), key=_number)]
    rank: Any = 1.0
    if at + "tensor" in tensors:
        kind, sizes = "none", tuple(tensors[at + "tensor"].shape)
    elif at + "core" in tensors:
        kind, sizes = "tucker", tuple(f.shape[0] for f in factors)
        rank = [f.shape[1] for f in factors]
    elif at + "weights" in tensors:
        kind, sizes, rank = "cp", tuple(f.shape[0] for f in factors), factors[0].shape[1]
    elif factors and factors[0].ndim == 3:
        kind, sizes = "tt", tuple(f.shape[1] for f in factors)
        rank = [*(f.shape[0] for f in factors), 1]
    else:
        names = sorted(k for k in tensors if k.startswith(at))
        raise NWidthError(CALL, got=f"spectral weights {names}", expected="dense, Tucker, CP or TT")
    return {"factorization": kind, "rank": rank, "separable": len(sizes) == d + 1}, sizes


def _number(key: str) -> int:
    return int(key.rpartition("_")[2])


def _skip(about: Mapping[str, Any], tensors: Mapping[str, Tensor], name: str) -> str | None:
    if f"fno_blocks.{name}s.0.conv.weight" in tensors:
        return "linear"
    if f"fno_blocks.{name}s.0.weight" in tensors:
        return "soft-gating"
    if name not in about:
        return None
    return about[name] or "none"


def _activation(f: Any) -> str:
    return "gelu" if f is None else str(getattr(f, "__name__", type(f).__name__)).lower()


class _Taken:
    """The tensors, each of which must be used once."""

    def __init__(self, tensors: Mapping[str, Tensor]):
        self.left = dict(tensors)

    def __call__(self, key: str, target: Tensor) -> None:
        """Copy the tensor ``key`` into ``target``, complex numbers as pairs."""
        if key not in self.left:
            raise NWidthError(CALL, got=f"no tensor {key}", expected="one, by the shapes of the others")
        value = self.left.pop(key)
        value = torch.view_as_real(value.resolve_conj()) if value.is_complex() else value
        if value.numel() != target.numel():
            raise NWidthError(CALL, got=f"{key} of shape {tuple(value.shape)}", expected=f"{tuple(target.shape)}")
        target.copy_(value.reshape(target.shape))

    def complex(self, key: str) -> Tensor:
        return self.left.pop(key)


def _copy(net: FNO, take: _Taken) -> None:
    with torch.no_grad():
        _mlp(net.lift, "lifting", take)
        _mlp(net.project, "projection", take)
        for i, block in enumerate(net.blocks):
            for ours, key, target in _block(block, i):
                if isinstance(ours, ChannelMLP):
                    _mlp(ours, key, take)
                elif target is not None:
                    take(key, target)
            _weights(block, f"fno_blocks.convs.{i}.weight.", take)
    if take.left:
        raise NWidthError(CALL, got=f"tensors {sorted(take.left)[:4]}", expected="none beside those of an FNO")


def _block(block: Any, i: int) -> Iterator[tuple[nn.Module | None, str, Tensor | None]]:
    """The parts of a block but its spectral weights: module, key, tensor."""
    assert isinstance(block, FNOBlock)
    yield block.conv, f"fno_blocks.convs.{i}.bias", block.conv.bias
    yield block.mlp, f"fno_blocks.channel_mlp.{i}", None
    for skip, name in ((block.skip, "fno_skips"), (block.mlp_skip, "channel_mlp_skips")):
        if isinstance(skip, ChannelLinear):
            yield skip, f"fno_blocks.{name}.{i}.conv.weight", skip.weight
        elif isinstance(skip, SoftGating):
            yield skip, f"fno_blocks.{name}.{i}.weight", skip.weight
    for j, norm in enumerate((block.norm, block.mlp_norm)):
        for name, p in norm.named_parameters():
            yield norm, f"fno_blocks.norm.{2 * i + j}.{name}", p


def _mlp(ours: ChannelMLP, key: str, take: _Taken) -> None:
    for i, linear in enumerate(ours.linears):
        assert isinstance(linear, ChannelLinear) and linear.bias is not None
        take(f"{key}.fcs.{i}.weight", linear.weight)
        take(f"{key}.fcs.{i}.bias", linear.bias)


def _weights(block: Any, key: str, take: _Taken) -> None:
    weight = block.conv.weight
    if isinstance(weight, LowRankWeight):
        for name, p in weight.named_parameters():
            take(key + name.replace("factors.", "factors.factor_"), p)
        return
    if key + "tensor" not in take.left:
        raise NWidthError(CALL, got=f"no tensor {key}tensor", expected="one, as in the first layer")
    dense = take.complex(key + "tensor")
    d = block.conv.transform.ndim
    modes_first = dense.movedim(tuple(range(-d, 0)), tuple(range(d))).flatten(0, d - 1)
    pairs = torch.view_as_real(modes_first.resolve_conj())
    if pairs.shape != weight.shape:
        raise NWidthError(CALL, got=f"{key}tensor of shape {tuple(dense.shape)}", expected="that of the first layer")
    weight.copy_(pairs)
