"""The wrapper of neuraloperator's models."""

import copy
import io
import warnings

import pytest
import torch
from nwidth.backends.grid import Grid
from nwidth.errors import NWidthError
from nwidth.operators import NeuralopModel

SMALL = {
    "FNO": {"n_modes": [6, 6], "hidden_channels": 6, "n_layers": 2, "non_linearity": "silu"},
    "TFNO": {"n_modes": [6, 6], "hidden_channels": 6, "n_layers": 2, "rank": 0.3},
    "UNO": {"hidden_channels": 6},
}


def build(model, d=2, seed=0):
    options = copy.deepcopy(SMALL[model])
    if "n_modes" in options:
        options["n_modes"] = options["n_modes"][:d]
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return NeuralopModel(2, 3, Grid.make((16,) * d), model=model, options=options)


@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize("model", SMALL)
def test_trains_saves_and_reloads(model, d, capsys):
    net = build(model, d)
    x = torch.randn(2, 2, *(16,) * d)
    y = net(x)
    assert y.shape == (2, 3, *(16,) * d)
    y.square().sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    assert net(torch.randn(2, 2, *(24,) * d)).shape == (2, 3, *(24,) * d)
    state = net.state_dict()
    assert all(isinstance(v, torch.Tensor) for v in state.values())
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    other = build(model, d, seed=1)
    assert not torch.equal(other(x), y)
    other.load_state_dict(torch.load(buffer, weights_only=True))
    assert torch.equal(other(x), y)
    assert capsys.readouterr().out == ""


def test_two_wrapped_models_in_a_sequence_reload():
    pair = torch.nn.Sequential(build("FNO"), torch.nn.Conv2d(3, 2, 1), build("FNO", seed=1))
    pair.load_state_dict(pair.state_dict())


def test_stays_single_precision_whatever_the_dtype():
    net, x = build("TFNO"), torch.randn(2, 2, 16, 16)
    y = net(x)
    net = net.to(torch.float64)
    assert net(x.double()).dtype == torch.float64
    assert torch.equal(net(x.double()).float(), y)
    assert net(x.bfloat16()).dtype == torch.bfloat16
    assert any(p.is_complex() for p in net.parameters())


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda g: NeuralopModel(1, 1, g, model="GINO"), "one of FNO, TFNO, UNO"),
        (
            lambda g: NeuralopModel(1, 1, g, options={"modes": 4}),
            r"options \['modes'\], expected among n_modes",
        ),
        (lambda g: NeuralopModel(1, 1, g, model="TFNO", options={"modes": 4}), "expected among n_modes"),
        (lambda g: NeuralopModel(1, 1, g, options={"norm": "layer"}), "norm=layer"),
        (lambda g: NeuralopModel(1, 1, "grid"), "got str"),
        (lambda g: build("FNO")(torch.zeros(1, 2, 16)), "2 space axes"),
    ],
)
def test_errors(call, words):
    with pytest.raises(NWidthError, match=words):
        call(Grid.make((16, 16)))
