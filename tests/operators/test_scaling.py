"""Maximal-update scaling: the table of factors, and the coordinate check of Yang et al., appendix D.1."""

import math
from functools import partial

import pytest
import torch
from nwidth import Grid, NWidthError
from nwidth.operators import FNO
from nwidth.training import Muon
from nwidth.training.optimizers import make_optimizer, parameter_groups

GRID = Grid.make((64,))


def net(width, modes=16, scaling="mup", **options):
    torch.manual_seed(0)
    return FNO(1, 1, GRID, width=width, modes=modes, layers=2, init_scale=1.0, scaling=scaling, **options)


def test_factors_by_kind():
    model = net(64, 64)
    factors = {id(p): g["factor"] for g in parameter_groups(model) for p in g["params"]}
    by_name = {name: factors[id(p)] for name, p in model.named_parameters()}
    spectral = 0.5 * math.sqrt(math.log(16) / math.log(64))
    expected = {
        "lift.linears.0.weight": 1.0,
        "lift.linears.0.bias": 1.0,
        "lift.linears.1.weight": 0.5,
        "blocks.0.conv.weight": spectral,
        "blocks.0.conv.bias": 1.0,
        "blocks.1.skip.weight": 0.5,
        "blocks.1.mlp.linears.0.weight": 0.5,
        "blocks.1.mlp_skip.weight": 1.0,
        "project.linears.1.weight": 0.5,
        "project.linears.1.bias": 1.0,
    }
    assert {k: by_name[k] for k in expected} == pytest.approx(expected)
    linear = net(64, lifting=0, projection=0)
    assert {id(p) for p, _ in linear.learning_rates()} == {
        id(p) for n, p in linear.named_parameters() if n.endswith("weight") and p.ndim > 1 and not n.startswith("lift")
    }


def test_initial_weights():
    for width, modes in ((32, 16), (128, 64)):
        plain, scaled = net(width, modes, "none"), net(width, modes)
        spectral = math.sqrt(math.log(16) / math.log(modes))
        for (name, p), q in zip(plain.named_parameters(), scaled.parameters()):
            factor = {"blocks.0.conv.weight": spectral, "blocks.1.conv.weight": spectral}.get(name, 1.0)
            factor = math.sqrt(32 / width) if name == "project.linears.1.weight" else factor
            assert torch.allclose(q, factor * p), name
    assert all(f == 1 for _, f in net(32, 16).learning_rates())  # the default size is the reference
    assert net(64, scaling="none").learning_rates() == []


def change(width, scaling, optimizer=torch.optim.Adam):
    """How far the first step moves the output, root mean square."""
    model = net(width, scaling=scaling)
    x, y = torch.randn(2, 8, 1, 64, generator=torch.Generator().manual_seed(1))
    optimizer = make_optimizer(partial(optimizer, lr=1e-4), model)
    before = model(x).detach()
    (model(x) - y).square().mean().backward()
    optimizer.step()
    return float((model(x) - before).square().mean().sqrt().detach())


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, Muon])
def test_the_first_step_moves_networks_of_any_width_alike(optimizer):
    scaled = [change(w, "mup", optimizer) for w in (16, 64, 256)]
    plain = [change(w, "none", optimizer) for w in (16, 64, 256)]
    assert max(scaled) < 2 * min(scaled) and plain[2] > 10 * plain[0]


def test_the_rate_of_an_orthogonal_update_falls_with_the_root_of_the_width():
    """Its largest singular value is 0.2 lr width^(1/2), that of a step of Adam up to lr width."""
    sizes = []
    for width in (32, 128, 512):
        model = net(width, modes=4, lifting=0, projection=0)
        weight = model.blocks[0].skip.weight
        before = weight.detach().clone()
        optimizer = make_optimizer(partial(Muon, lr=0.1, weight_decay=0.0, largest=None), model)
        for p in model.parameters():
            p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(1))
        optimizer.step()
        sizes.append(float(torch.linalg.matrix_norm(weight.detach() - before, 2)))
    assert max(sizes) < 1.2 * min(sizes)


def test_what_has_no_rule_is_refused():
    with pytest.raises(NWidthError, match="none, mup"):
        net(8, scaling="big")
    with pytest.raises(NWidthError, match="dense matrices"):
        net(8, factorization="tucker")
    with pytest.raises(NWidthError, match="dense matrices"):
        net(8, separable=True)
