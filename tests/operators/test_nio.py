"""NIO: the mean of DeepONets written out, order and number of measurements, random subsets, other resolutions."""

import pytest
import torch
from nwidth import Grid, NWidthError
from nwidth.operators import FNO, NIO

F64 = torch.float64
SMALL = {"latent": 6, "branch_width": 12, "trunk_width": 8, "trunk_layers": 1, "modes": 5, "width": 6, "layers": 1}


def made(channels, grid, **options):
    torch.manual_seed(0)
    net = NIO(channels, 2, grid, **{**SMALL, **options}).double()
    torch.nn.init.normal_(net.measure.bias)
    return net.eval()


@pytest.mark.parametrize("shape, kind", [((16,), "periodic"), ((8, 10), "nodal"), ((6, 5, 8), "cell")])
def test_is_the_published_lift_of_each_measurement_by_itself(shape, kind):
    """W (x, f_1 .. f_L, c) + w with the same weights w_f / L for each f_l = (b_l . t + b_0) / sqrt p, then the FNO."""
    net = made(2 * 4 + 1, Grid.make(shape, kind=kind), group=2, measurements=4, fields=3)
    x = torch.randn(2, 9, *shape, dtype=F64)
    fields = [net.measure(x[:, 2 * i : 2 * i + 2]) / 6**0.5 for i in range(4)]
    assert net(x).shape == (2, 2, *shape) and isinstance(net.recover, FNO)
    lift = net.recover.lift.linears
    assert len(lift) == 1
    w = lift[0].weight
    v = net.recover.where(torch.cat([fields[0], x[:, 8:]], 1))
    repeated = torch.cat([*fields, v[:, 3:]], 1)
    wide = torch.cat([w[:, :3] / 4] * 4 + [w[:, 3:]], 1)
    lifted = torch.einsum("oc,bc...->bo...", wide, repeated) + lift[0].bias.view(-1, *(1,) * len(shape))
    for block in net.recover.blocks:
        lifted = block(lifted)
    assert torch.allclose(net.recover.project(lifted), net(x), atol=1e-12)


def test_neither_order_nor_repetition_counts_but_content_does():
    net = made(5 * 2, Grid.make((12, 12), kind="nodal"), group=2)
    x = torch.randn(3, 10, 12, 12, dtype=F64)
    y = net(x)
    order = torch.tensor([3, 0, 4, 2, 1])
    moved = x.unflatten(1, (5, 2))[:, order].flatten(1, 2)
    assert torch.allclose(net(moved), y, atol=1e-13)
    assert torch.allclose(net(torch.cat([x, x, x], 1)), y, atol=1e-13)  # the scale does not depend on the number
    swapped = x.unflatten(1, (5, 2)).flip(2).flatten(1, 2)  # loads for responses
    assert (net(swapped) - y).abs().max() > 1e-6 and (net(x[:, :4]) - y).abs().max() > 1e-6


def test_random_subsets_in_training_only():
    net = made(6, Grid.make((16,)))
    x = torch.randn(1, 6, 16, dtype=F64).expand(500, 6, 16)
    assert torch.equal(net(x), net(x))
    net.train()
    torch.manual_seed(1)
    w = net.shares(500, 6, x)
    assert torch.allclose(w.sum(1), torch.ones(500, 1, dtype=F64))
    kept = (w > 0).sum(1).flatten()
    assert set(kept.tolist()) == {2, 3, 4, 5}
    assert torch.equal(w[w > 0], (1 / kept.double()).repeat_interleave(kept))  # equal within a subset
    often = (w > 0).double().mean((0, 2))
    assert (often - 3.5 / 6).abs().max() < 0.09  # each as often as any other: 4 standard deviations
    torch.manual_seed(1)
    first = net(x)
    assert first.std(0).max() > 1e-6
    torch.manual_seed(1)
    assert torch.equal(net(x), first)
    net.batching = False
    assert torch.allclose(net(x), net.eval()(x))
    two = made(2, Grid.make((16,))).train()
    assert torch.equal(two.shares(3, 2, x), torch.full((3, 2, 1), 0.5, dtype=F64))


def test_everything_is_trained():
    net = made(6, Grid.make((8, 8), kind="nodal"), group=2).train()
    net(torch.randn(4, 6, 8, 8, dtype=F64)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in net.parameters())


def test_another_resolution_gives_the_same_function():
    coarse, fine = Grid.make((17, 17), kind="nodal"), Grid.make((33, 33), kind="nodal")
    net = made(4, coarse, group=2)

    def cubics(g):
        x, y = g.coordinates()
        return torch.stack([x**3 - y, x * y**2, y**3 + x, x**2 * y])[None]

    f, c = net(cubics(fine))[..., ::2, ::2], net(cubics(coarse))
    assert (f - c).abs().max() < 0.05 * c.std()  # interpolated inputs agree; the FNO's waves end at the boundary


def test_compiles_without_a_break():
    net = made(4, Grid.make((8, 8), kind="nodal")).float()
    x = torch.randn(2, 4, 8, 8)
    compiled = torch.compile(net, fullgraph=True, backend="eager")
    assert torch.allclose(compiled(x), net(x), atol=1e-5)
    compiled.train()
    assert bool(torch.isfinite(compiled(x)).all())


def test_errors():
    grid = Grid.make((8, 8))
    with pytest.raises(NWidthError, match="set measurements"):
        NIO(5, 1, grid, group=2)
    with pytest.raises(NWidthError, match="measurements=3"):
        NIO(5, 1, grid, group=2, measurements=3)
    with pytest.raises(NWidthError, match="fields=0"):
        NIO(5, 1, grid, fields=0)
    net = NIO(5, 1, grid, group=2, measurements=2)
    for shape in ((1, 4, 8, 8), (1, 1, 8, 8), (1, 5, 8)):
        with pytest.raises(NWidthError, match="groups of 2 and 1 more"):
            net(torch.randn(shape))
