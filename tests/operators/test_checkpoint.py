"""State dicts of neuraloperator: equal outputs, files without running what they name, errors for what has no equal."""

import contextlib
import pickle
import warnings

import pytest
import torch
from nwidth import Grid, NWidthError
from nwidth.operators import FNO
from nwidth.operators.checkpoint import from_neuraloperator, read_state

pytest.importorskip("neuralop")
SHAPES = {1: ((16,), (8,)), 2: ((12, 16), (6, 7)), 3: ((8, 6, 10), (4, 5, 6))}


def peer(d=2, model="FNO", **options):
    """neuraloperator's network with weights that make every part count."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from neuralop import models

        torch.manual_seed(0)
        given = {"n_modes": SHAPES[d][1], "in_channels": 2, "out_channels": 3, "hidden_channels": 8, "n_layers": 2}
        net = getattr(models, model)(**{**given, **options})
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(0.4 * torch.randn(p.shape, dtype=p.dtype))
    return net


def difference(net, theirs, d):
    x = torch.randn(2, theirs.in_channels, *SHAPES[d][0], generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        a, b = net(x), theirs(x)
    assert a.shape == b.shape
    return float((a - b).norm() / b.norm())


OPTIONS = [
    {},
    {"norm": "instance_norm"},
    {"norm": "group_norm", "fno_skip": "soft-gating", "channel_mlp_skip": "linear"},
    {"fno_skip": "identity", "channel_mlp_skip": None},
    {"positional_embedding": None, "lifting_channel_ratio": 0, "in_channels": 4},
    {"projection_channel_ratio": 1.5, "channel_mlp_expansion": 1.0, "channel_mlp_dropout": 0.1},
    {"factorization": "Tucker", "rank": 0.2},
    {"factorization": "CP", "rank": 0.2},
    {"factorization": "TT", "rank": 0.2},
    {"separable": True},
    {"separable": True, "factorization": "Tucker", "rank": 0.5},
    {"model": "TFNO", "hidden_channels": 12, "n_layers": 1},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("d", [1, 2, 3])
def test_outputs_are_equal(d, options):
    theirs = peer(d, **options).eval()
    net = from_neuraloperator(theirs.state_dict(), Grid.make(SHAPES[d][0]))
    assert isinstance(net, FNO) and not net.training
    assert difference(net, theirs, d) < 1e-5


def test_training_goes_on_from_the_loaded_network():
    theirs = peer(2, factorization="Tucker", rank=0.3)
    net = from_neuraloperator(theirs.state_dict(), Grid.make((12, 16)))
    net(torch.randn(1, 2, 12, 16)).square().mean().backward()
    assert all(p.grad is not None for p in net.parameters())


def test_a_state_without_metadata():
    theirs = peer(2).eval()
    tensors = {f"module.{k}": v for k, v in theirs.state_dict().items() if k != "_metadata"}
    assert difference(from_neuraloperator(tensors, Grid.make((12, 16))), theirs, 2) < 1e-5
    theirs = peer(2, positional_embedding=None, in_channels=4, norm="instance_norm", fno_skip="identity").eval()
    tensors = {k: v for k, v in theirs.state_dict().items() if k != "_metadata"}
    with pytest.raises(NWidthError, match="skip='identity' or 'none'"):
        from_neuraloperator(tensors, Grid.make((12, 16)))
    net = from_neuraloperator(tensors, Grid.make((12, 16)), skip="identity", norm="instance", positional=False)
    assert difference(net, theirs, 2) < 1e-5


def test_a_file_is_read_without_importing_what_it_names(tmp_path):
    theirs = peer(2).eval()
    torch.save(theirs.state_dict(), tmp_path / "model_state_dict.pt")
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "model_state_dict.pt", weights_only=True)
    about = read_state(tmp_path / "model_state_dict.pt")["_metadata"]
    assert about["non_linearity"] is not torch.nn.functional.gelu and about["non_linearity"].__name__ == "gelu"
    assert difference(from_neuraloperator(tmp_path / "model_state_dict.pt", Grid.make((12, 16))), theirs, 2) < 1e-5


class Evil:
    def __reduce__(self):
        return print, ("executed",)


def test_a_file_cannot_execute_anything(tmp_path, capsys):
    torch.save({"x": Evil()}, tmp_path / "evil.pt")
    with contextlib.suppress(NWidthError):
        read_state(tmp_path / "evil.pt")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"norm": "batch_norm"}, "batch norm"),
        ({"domain_padding": 0.1}, "domain_padding=0.1"),
        ({"preactivation": True}, "preactivation=True"),
        ({"stabilizer": "tanh"}, "stabilizer=tanh"),
        ({"use_channel_mlp": False}, "activates twice"),
        ({"non_linearity": torch.nn.functional.relu}, "relu, expected gelu"),
        ({"complex_data": True}, "complex_data=True"),
        ({"resolution_scaling_factor": 2}, "resolution_scaling_factor"),
        ({"fno_block_precision": "mixed"}, "fno_block_precision=mixed"),
        ({"max_n_modes": (8, 9)}, "max_n_modes"),
    ],
)
def test_what_has_no_equal_is_refused(options, words):
    with pytest.raises(NWidthError, match=words):
        from_neuraloperator(peer(2, **options).state_dict(), Grid.make((12, 16)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("projection.fcs.0.bias"), "no tensor projection.fcs.0.bias"),
        (lambda s: s.update(extra=torch.zeros(1)), r"\['extra'\]"),
        (lambda s: s.pop("fno_blocks.convs.1.weight.tensor"), "fno_blocks.convs.1.weight.tensor"),
        (lambda s: s.update({"lifting.fcs.1.weight": torch.zeros(2, 2)}), "lifting.fcs.1.weight of shape"),
    ],
)
def test_damaged_states(change, words):
    state = dict(peer(2).state_dict())
    change(state)
    with pytest.raises(NWidthError, match=words):
        from_neuraloperator(state, Grid.make((12, 16)))


def test_other_errors(tmp_path):
    state = peer(2).state_dict()
    with pytest.raises(NWidthError, match="2 axes and a grid of 1"):
        from_neuraloperator(state, Grid.make((16,)))
    with pytest.raises(NWidthError, match="periodic"):
        from_neuraloperator(state, Grid.make((12, 16), "nodal"))
    with pytest.raises(NWidthError, match="an FNO or TFNO"):
        from_neuraloperator({"weight": torch.zeros(2)}, Grid.make((12, 16)))
    with pytest.raises(NWidthError, match="expected a file"):
        read_state(tmp_path / "absent.pt")
    (tmp_path / "text.pt").write_text("no tensors")
    with pytest.raises(NWidthError, match="state dict"):
        read_state(tmp_path / "text.pt")
