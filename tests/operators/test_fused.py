"""The fused pointwise parts: equal to the plain compositions in value and gradient, slice by slice."""

import pytest
import torch
from nwidth import Grid, NWidthError
from nwidth.operators import FNO, fused

ACTS = ["gelu", "relu", "silu", "identity"]


def weights(width, hidden, dtype):
    shapes = [(width, width), (hidden, width), (hidden,), (width, hidden), (width,), (width,)]
    return [torch.randn(s, dtype=dtype).requires_grad_() for s in shapes]


def gradients(run, tensors):
    y = run()
    return [y.detach(), *torch.autograd.grad(y, tensors, torch.sin(torch.arange(y.numel()) * 1.0).view(y.shape).to(y))]


@pytest.mark.parametrize("slices", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("outer", ACTS)
@pytest.mark.parametrize("inner", ACTS)
def test_tail_equals_the_plain_composition(inner, outer, dtype, slices, monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr(fused, "SLICE", 6 * 700 // slices)
    k, v = (torch.randn(2, 35, 10, 6, dtype=dtype).requires_grad_() for _ in range(2))
    tensors = [k, v, *weights(6, 3, dtype)]
    expected = gradients(lambda: fused.plain_tail(*tensors, inner, outer), tensors)
    found = gradients(lambda: fused.tail(k * 1.0, *tensors[1:], inner, outer), tensors)
    for a, b in zip(found, expected):
        assert torch.allclose(a, b, rtol=1e-4 if dtype == torch.float32 else 1e-11, atol=1e-4 * float(b.abs().max()))


@pytest.mark.parametrize("slices", [1, 3])
@pytest.mark.parametrize("act", ACTS)
def test_mlp_equals_the_plain_composition(act, slices, monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr(fused, "SLICE", 5 * 800 // slices)
    x = torch.randn(2, 400, 3, dtype=torch.float64, requires_grad=True)
    w1, b1, w2, b2 = (torch.randn(s, dtype=torch.float64).requires_grad_() for s in [(5, 3), (5,), (2, 5), (2,)])
    tensors = [x, w1, b1, w2, b2]
    expected = gradients(lambda: fused.plain_mlp(*tensors, act), tensors)
    for a, b in zip(gradients(lambda: fused.mlp(*tensors, act), tensors), expected):
        assert torch.allclose(a, b, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("activation", ["gelu", "silu", "tanh", "sin"])
@pytest.mark.parametrize("shape", [(12,), (8, 10), (4, 5, 6)])
def test_a_network_is_the_same_with_and_without(shape, activation):
    grid = Grid.make(shape)
    nets = []
    for flag in (True, False):
        torch.manual_seed(0)
        nets.append(FNO(2, 3, grid, modes=3, width=8, layers=2, activation=activation, fused=flag).double())
    x = torch.randn(2, 2, *shape, dtype=torch.float64)
    results = []
    for net in nets:
        y = net(x)
        y.square().sum().backward()
        results.append([y.detach(), *(p.grad for p in net.parameters())])
    for a, b in zip(*results):
        assert torch.allclose(a, b, rtol=1e-10, atol=1e-12)


def test_second_derivatives_need_the_plain_form():
    torch.manual_seed(0)
    x = torch.randn(1, 1, 8, dtype=torch.float64, requires_grad=True)
    net = FNO(1, 1, Grid.make((8,)), modes=3, width=4, layers=2, fused=False).double()
    (g,) = torch.autograd.grad(net(x).sum(), x, create_graph=True)
    g.square().sum().backward()
    assert bool(torch.isfinite(x.grad).all())
    net = FNO(1, 1, Grid.make((8,)), modes=3, width=4, layers=2).double()
    with pytest.raises(NWidthError, match="fused=False"):
        torch.autograd.grad(net(x).sum(), x, create_graph=True)
