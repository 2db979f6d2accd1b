"""Muon against its formula and torch's own, L-BFGS on a quadratic, plateaus, groups."""

import copy
from functools import partial

import pytest
import torch
from nwidth import Grid, NWidthError
from nwidth.operators import FNO, ChannelLinear, MgNO, SpectralConv, UNet
from nwidth.operators.convolution import Convolution
from nwidth.training import Muon, NeuralSurrogate, Plateau, TrainingSettings
from nwidth.training.muon import QUINTIC, orthogonalised
from nwidth.training.optimizers import make_optimizer, parameter_groups


def quintic(s, steps=5):
    a, b, c = QUINTIC
    for _ in range(steps):
        s = a * s + b * s**3 + c * s**5
    return s


@pytest.mark.parametrize("shape", [(4, 6), (6, 4), (3, 5, 5), (3, 9), (2, 11, 4), (2, 2, 3, 7)])
def test_orthogonalisation_acts_on_the_singular_values_alone(shape):
    b = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    u, s, vh = torch.linalg.svd(b, full_matrices=False)
    expected = u * quintic(s / s.norm(dim=-1, keepdim=True))[..., None, :] @ vh
    assert torch.allclose(orthogonalised(b), expected, atol=1e-10)
    assert bool((orthogonalised(torch.zeros(2, 3, 3)) == 0).all())


@pytest.mark.parametrize("nesterov", [False, True])
def test_a_step_equals_torchs_muon_on_a_matrix(nesterov):
    """torch computes the orthogonalisation in bfloat16: agreement to two digits."""
    grads = torch.randn(3, 8, 5, generator=torch.Generator().manual_seed(1))
    ours, theirs = (torch.nn.Parameter(torch.ones(8, 5)) for _ in range(2))
    a = Muon([{"params": [ours], "kind": "matrix"}], lr=0.1, nesterov=nesterov, weight_decay=0.2)
    b = torch.optim.Muon([theirs], lr=0.1, nesterov=nesterov, weight_decay=0.2, adjust_lr_fn="match_rms_adamw")
    for g in grads:
        ours.grad, theirs.grad = g.clone(), g.clone()
        a.step()
        b.step()
    assert torch.allclose(ours, theirs, atol=0.01) and not torch.allclose(ours, torch.ones(8, 5), atol=0.05)


def test_spectral_weights_move_by_adamw():
    """Most modes see little but noise; orthogonalised, they would move as fast as the others."""
    ours, theirs = (SpectralConv(3, 4, (3,)) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    a = make_optimizer(partial(Muon, lr=0.1, weight_decay=0.3), ours)
    b = torch.optim.AdamW(theirs.parameters(), lr=0.1, weight_decay=0.3)
    for g in torch.randn(4, *ours.weight.shape):
        for conv in (ours, theirs):
            conv.weight.grad, conv.bias.grad = g.clone(), torch.ones_like(conv.bias)
        a.step()
        b.step()
    assert all(torch.allclose(p, q, atol=1e-6) for p, q in zip(ours.parameters(), theirs.parameters()))


def test_stencils_move_as_matrices_of_all_their_points():
    conv = Convolution(3, 4, ("zero", "periodic")).double()
    before, g = conv.weight.detach().clone(), torch.randn(4, 3, 3, 3, dtype=torch.float64)
    groups = parameter_groups(conv)
    assert [group["kind"] for group in groups] == ["matrix"]
    optimizer = Muon(groups, lr=0.5, momentum=0.0, nesterov=False, weight_decay=0.0)
    conv.weight.grad = g
    optimizer.step()
    u, s, vh = torch.linalg.svd(g.reshape(4, 27), full_matrices=False)
    expected = 0.5 * 0.2 * 27**0.5 * (u * quintic(s / s.norm())) @ vh
    assert torch.allclose((before - conv.weight.detach()).reshape(4, 27), expected, atol=1e-10)


def test_matrices_of_one_shape_move_as_each_would_alone():
    start = torch.randn(3, 6, 4, generator=torch.Generator().manual_seed(2))
    together, alone = ([torch.nn.Parameter(w.clone()) for w in start] for _ in range(2))
    optimizers = [Muon([{"params": together, "kind": "matrix"}], lr=0.1)]
    optimizers += [Muon([{"params": [p], "kind": "matrix"}], lr=0.1) for p in alone]
    for g in torch.randn(2, 3, 6, 4, generator=torch.Generator().manual_seed(3)):
        for params in (together, alone):
            for p, own in zip(params, g):
                p.grad = own.clone()
        for optimizer in optimizers:
            optimizer.step()
    assert all(torch.allclose(p, q, atol=1e-5) for p, q in zip(together, alone))


def test_what_is_no_matrix_is_updated_by_adamw():
    ours, theirs = (torch.nn.Parameter(torch.ones(5)) for _ in range(2))
    a = Muon([{"params": [ours], "kind": "other"}], lr=0.1, weight_decay=0.3)
    b = torch.optim.AdamW([theirs], lr=0.1, weight_decay=0.3)
    for g in torch.randn(4, 5):
        ours.grad, theirs.grad = g.clone(), g.clone()
        a.step()
        b.step()
    assert torch.allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize("optimizer", [partial(torch.optim.AdamW, fused=True), Muon])
def test_complex_parameters_are_updated_as_by_adamw(optimizer):
    nets = [torch.nn.ParameterList([torch.ones(5), torch.ones(5, dtype=torch.complex64)]) for _ in range(2)]
    a = make_optimizer(partial(optimizer, lr=0.1, weight_decay=0.3), nets[0])
    b = torch.optim.AdamW(nets[1].parameters(), lr=0.1, weight_decay=0.3)
    looked_into = partial(optimizer, lr=0.1, weight_decay=0.3, fused=True)
    assert looked_into.__dict__ == {}  # as a copy does; a partial of it is then nested
    assert type(make_optimizer(looked_into, nets[0])) is type(a)
    for g in torch.randn(4, 5):
        for net in nets:
            net[0].grad, net[1].grad = g.clone(), torch.complex(g, g.flip(0))
        a.step()
        b.step()
    assert all(torch.allclose(p, q, atol=1e-6) for p, q in zip(*nets)) and bool((nets[0][1].imag.abs() > 0.1).any())


def test_large_matrices_move_by_adamw_at_a_quarter_of_the_rate():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Conv1d(3, 6, 3), torch.nn.Linear(6, 6))
    theirs = copy.deepcopy(net)
    optimizer = make_optimizer(partial(Muon, lr=0.1, weight_decay=0.3, largest=4), net)
    assert {p.shape for g in optimizer.param_groups if g["kind"] == "matrix" for p in g["params"]} == {(6, 4)}
    rest = [{"params": [theirs[i].weight for i in (1, 2)], "lr": 0.025}]
    adamw = torch.optim.AdamW([*rest, {"params": [m.bias for m in theirs]}], lr=0.1, weight_decay=0.3)
    for _ in range(4):
        for p, q in zip(net.parameters(), theirs.parameters()):
            p.grad = torch.randn_like(p)
            q.grad = p.grad.clone()
        optimizer.step()
        adamw.step()
    same = [torch.allclose(p, q, atol=1e-6) for p, q in zip(net.parameters(), theirs.parameters())]
    assert same == [False, True, True, True, True, True]
    everything = make_optimizer(partial(Muon, largest=None), net).param_groups
    assert sum(g["kind"] == "matrix" for g in everything) == 1 and len(everything[0]["params"]) == 3
    with pytest.raises(NWidthError, match="largest=-1"):
        make_optimizer(partial(Muon, largest=-1), net)


def test_groups_of_networks():
    net = FNO(1, 1, Grid.make((16,)), modes=6, width=8, layers=2)
    kinds = {g["kind"]: g["params"] for g in parameter_groups(net)}
    assert kinds.keys() == {"matrix", "other"} and all(p.ndim == 2 and min(p.shape) > 1 for p in kinds["matrix"])
    other = {id(p) for p in kinds["other"]}
    assert {id(p) for part in (net.lift, net.project) for p in part.parameters()} <= other
    assert {id(b.conv.weight) for b in net.blocks} <= other
    assert sum(len(v) for v in kinds.values()) == len(list(net.parameters()))
    for stencils in (UNet(1, 1, Grid.make((16, 16)), width=4), MgNO(1, 1, Grid.make((16, 16), "nodal"), width=4)):
        kinds = {g["kind"]: g["params"] for g in parameter_groups(stencils)}
        assert kinds.keys() == {"matrix", "other"} and any(p.ndim == 4 for p in kinds["matrix"])
        assert all(p.ndim < 4 or min(p.shape[:2]) == 1 for p in kinds["other"])
    linear = torch.nn.Linear
    theirs = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.Conv1d(1, 3, 3), linear(3, 1))
    theirs.extend([linear(4, 4, dtype=torch.complex64)])
    (matrices,) = (g["params"] for g in parameter_groups(theirs) if g["kind"] == "matrix")
    assert [tuple(p.shape) for p in matrices] == [(3, 2, 3, 3)]
    with pytest.raises(NWidthError, match="muon"):
        make_optimizer(partial(torch.optim.Muon, lr=0.1), net)
    with pytest.raises(NWidthError, match="without kinds"):
        Muon(net.parameters())
    with pytest.raises(NWidthError, match="momentum"):
        Muon([], momentum=1.5)


def test_rates_of_a_network_scale_its_groups():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = ChannelLinear(3, 3), ChannelLinear(3, 3)

        def learning_rates(self):
            return [(p, 0.25) for p in self.b.parameters()]

    net = Net()
    optimizer = make_optimizer(partial(torch.optim.AdamW, lr=0.1), net)
    rates = {id(p): g["lr"] for g in optimizer.param_groups for p in g["params"]}
    assert rates[id(net.a.weight)] == 0.1 and rates[id(net.b.weight)] == 0.025 and len(rates) == 4
    with pytest.raises(NWidthError, match="L-BFGS"):
        make_optimizer(partial(torch.optim.LBFGS, lr=1.0), net)


def test_plateaus_count_validations():
    p = Plateau(gamma=0.5, patience=2, threshold=0.1, least=0.2)
    errors = [1.0, 0.5, 0.48, 0.47, 0.3, 0.29, 0.29, 0.29, 0.29, 0.29, 0.29]
    assert [p.after(0.0, errors[:i]) for i in range(12)] == [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.2, 0.2, 0.2]
    assert p.factor(0.7) == 1
    with pytest.raises(NWidthError, match="gamma"):
        Plateau(gamma=1.5)


def linear_task(n=40, points=8):
    from nwidth import Dataset

    x = torch.randn(n, 2, points, generator=torch.Generator().manual_seed(0))
    mix = torch.tensor([[3.0, 0.1], [0.1, 0.03]])  # badly scaled
    return Dataset(Grid.make((points,)), a=x, u=torch.einsum("ij,njx->nix", mix, x))


def fitted(optimizer, schedule=None, **settings):
    data = linear_task()
    options = {"batch_size": 40, "progress": False, "tensorboard": False, "device": "cpu", **settings}

    def network(in_channels, out_channels, grid):
        return torch.nn.Sequential(ChannelLinear(2, 2))

    surrogate = NeuralSurrogate(network, optimizer, torch.nn.Module(), schedule, TrainingSettings(**options))
    surrogate.loss = SquareLoss()
    return surrogate.fit(data[:32], data[32:], seed=0)


class SquareLoss(torch.nn.Module):
    def forward(self, p, u, grid):
        return (p - u).square().mean()


def test_lbfgs_solves_a_least_squares_problem_that_sgd_does_not():
    exact = {"tolerance_grad": 1e-9, "tolerance_change": 1e-12, "line_search_fn": "strong_wolfe"}
    quasi = fitted(partial(torch.optim.LBFGS, max_iter=20, **exact), steps=5)
    plain = fitted(partial(torch.optim.SGD, lr=0.1), steps=100)
    assert quasi.selected["val_rel_l2"] < 1e-4 < 1e-2 < plain.selected["val_rel_l2"]


@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, torch.optim.Adam])
def test_gradients_are_clipped_in_mixed_precision(optimizer):
    log = fitted(partial(optimizer, lr=0.05, fused=True), steps=60, precision="bf16-mixed", clip=1.0)
    assert log.selected["val_rel_l2"] < 0.1


def test_a_plateau_lowers_the_rate_of_the_training():
    log = fitted(partial(torch.optim.SGD, lr=1e-9), Plateau(gamma=0.1, patience=2), epochs=6)
    rates = [h["lr"] for h in log.history]
    assert rates[0] == pytest.approx(1e-9) and rates[-1] == pytest.approx(1e-11)
    data = linear_task()
    surrogate = NeuralSurrogate(None, None, schedule=Plateau())
    surrogate._build = lambda: torch.nn.Sequential(ChannelLinear(2, 2))
    with pytest.raises(NWidthError, match="no validation samples"):
        surrogate.fit(data, None)
