"""Low-rank spectral weights against tensorly, dense layers and brute force."""

import copy
import io
import itertools
import math
import warnings

import pytest
import torch
from nwidth import Grid, NWidthError
from nwidth.backends.transforms import CosineBasis, Fourier, Transform
from nwidth.operators import FNO, SpectralConv, low_rank
from nwidth.operators.low_rank import contract, cp_rank, plan, tt_ranks, tucker_ranks

KINDS = ["tucker", "cp", "tt"]
SHAPES = [(8, 8, 5), (32, 32, 16, 9), (5, 7, 4, 4, 3), (64, 64, 12, 12, 7), (6, 8, 5), (16, 9)]


def relative(a, b):
    assert a.shape == b.shape
    return float(((a - b).norm() / b.norm()).detach())


def tensorly():
    tl = pytest.importorskip("tensorly")
    tl.set_backend("pytorch")
    return tl


@pytest.mark.parametrize("rank", [0.02, 0.1, 0.5, 1.0, 1.7])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_ranks_are_those_of_tensorly(shape, rank):
    tl = tensorly()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert tucker_ranks(shape, rank) == tuple(tl.tucker_tensor.validate_tucker_rank(shape, rank))
        assert cp_rank(shape, rank) == max(1, tl.cp_tensor.validate_cp_rank(shape, rank))
        assert tt_ranks(shape, rank) == tuple(tl.tt_tensor.validate_tt_rank(shape, rank))


def oracle(weight):
    """The dense tensor by tensorly."""
    tl = tensorly()
    numbers = torch.view_as_complex if weight.complex else torch.Tensor.clone
    factors = [numbers(f.detach()) for f in weight.factors]
    if isinstance(weight, low_rank.Tucker):
        return tl.tucker_to_tensor((numbers(weight.core.detach()), factors))
    if isinstance(weight, low_rank.CP):
        return tl.cp_to_tensor((numbers(weight.weights.detach()), factors))
    return tl.tt_to_tensor(factors)


def made(kind, shape, rank=0.4, complex=True, std=1.0):
    weight = low_rank.low_rank(kind, shape, rank, complex=complex, std=std).double()
    with torch.no_grad():
        for p in weight.parameters():  # also the weights of CP, which start at one
            p.copy_(torch.randn(p.shape, dtype=p.dtype))
    return weight


@pytest.mark.parametrize("complex", [True, False])
@pytest.mark.parametrize("shape", [(4, 5, 6), (3, 4, 5, 3), (2, 3, 4, 3, 3)], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_dense_is_that_of_tensorly(kind, shape, complex):
    torch.manual_seed(0)
    weight = made(kind, shape, complex=complex)
    assert relative(weight.dense(), oracle(weight)) < 1e-13
    assert not any(p.is_complex() for p in weight.parameters())


@pytest.mark.parametrize("batch", [1, 4, 300])
@pytest.mark.parametrize("separable", [False, True])
@pytest.mark.parametrize("counts", [(6,), (5, 3), (4, 3, 3)], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_application_equals_the_dense_product(kind, counts, separable, batch):
    torch.manual_seed(0)
    channels = (4,) if separable else (4, 5)
    weight = made(kind, (*channels, *counts))
    starts = [1, *([0] * (len(counts) - 1))]
    kept = [counts[0] - 2, *(n - 1 for n in counts[1:])]
    x = torch.randn(*kept, batch, 4, dtype=torch.complex128)
    window = oracle(weight)[(..., *(slice(s, s + n) for s, n in zip(starts, kept)))]
    modes = "abc"[: len(counts)]
    rule = f"{modes}zi,i{modes}->{modes}zi" if separable else f"{modes}zi,io{modes}->{modes}zo"
    assert relative(weight(x, starts, separable), torch.einsum(rule, x, window)) < 1e-13


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("separable", [False, True])
@pytest.mark.parametrize(("shape", "out"), [((16, 12), None), ((5, 6), None), ((12, 12), (8, 20)), ((12, 12), (4, 4))])
def test_layer_equals_the_dense_layer(kind, separable, shape, out):
    """Forward and channels last, on grids that hold all modes or fewer, values and gradients."""
    torch.manual_seed(0)
    options = {"separable": separable, "bias": True}
    layer = SpectralConv(3, 3, (6, 6), factorization=kind, rank=0.5, **options).double()
    dense = SpectralConv(3, 3, (6, 6), **options).double()
    with torch.no_grad():
        w = layer.weight.dense()
        flat = w.movedim((-2, -1), (0, 1)).reshape(-1, *w.shape[:-2])
        dense.weight.copy_(torch.view_as_real(flat))
        dense.bias.copy_(layer.bias)
    results = []
    for conv in (layer, dense):
        x = torch.randn(2, 3, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
        y = conv(x, out)
        assert relative(conv.last(x.movedim(1, -1), out).movedim(-1, 1), y) < 1e-13
        (g,) = torch.autograd.grad(y.square().sum(), x)
        results.append((y, g))
    for a, b in zip(*results):
        assert relative(a, b) < 1e-12


@pytest.mark.parametrize("kind", KINDS)
def test_gradients(kind):
    conv = SpectralConv(2, 3, (2, 3), factorization=kind, rank=0.6).double()
    names, values = zip(*conv.named_parameters())
    x = torch.randn(1, 2, 3, 5, dtype=torch.float64, requires_grad=True)

    def run(x, *values):
        return torch.func.functional_call(conv, dict(zip(names, values)), (x,))

    assert torch.autograd.gradcheck(run, (x, *values))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("separable", [False, True])
def test_initial_weights_keep_the_variance(kind, separable):
    """E |W_ij|^2 over many draws: 2 / (C_in + C_out), separable 1."""
    total = 0.0
    for seed in range(60):
        g = torch.Generator().manual_seed(seed)
        conv = SpectralConv(8, 8, (8, 8), factorization=kind, rank=0.5, separable=separable, generator=g)
        total += float(conv.weight.dense().detach().abs().square().mean()) / 60
    assert abs(total * (1 if separable else 8) - 1) < 0.25
    again = SpectralConv(8, 8, (8, 8), factorization=kind, rank=0.5, separable=separable, generator=g.manual_seed(59))
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), conv.parameters()))


def test_real_bases_have_real_factors():
    t = Transform([CosineBasis("nodal"), CosineBasis("cell")])
    conv = SpectralConv(3, 3, (4, 4), transform=t, factorization="tucker", rank=(2, 2, 3, 3))
    assert conv.weight.core.shape == (2, 2, 3, 3)
    assert conv(torch.randn(2, 3, 8, 8)).shape == (2, 3, 8, 8)


@pytest.mark.parametrize("kind", KINDS)
def test_share_of_the_parameters(kind):
    dense = SpectralConv(32, 32, (16, 16)).weight.numel()
    for rank in (0.05, 0.2):
        few = sum(p.numel() for p in SpectralConv(32, 32, (16, 16), factorization=kind, rank=rank).weight.parameters())
        assert 0.7 * rank < few / dense < 1.3 * rank


def brute(names, out, sizes):
    """The least cost over all orders of pairwise products."""
    if len(names) == 1:
        return 0
    best = math.inf
    for i, j in itertools.combinations(range(len(names)), 2):
        rest = [n for k, n in enumerate(names) if k not in (i, j)]
        union = set(names[i]) | set(names[j])
        left = union & (set(out) | set().union(*map(set, rest)))
        cost = math.prod(sizes[k] for k in union) + low_rank.MOVE * math.prod(sizes[k] for k in left)
        best = min(best, cost + brute([*rest, "".join(left)], out, sizes))
    return best


@pytest.mark.parametrize("batch", [1, 16, 4096])
@pytest.mark.parametrize("kind", KINDS)
def test_the_order_is_the_cheapest(kind, batch):
    weight = low_rank.low_rank(kind, (16, 16, 8, 5), 0.1, complex=True, std=1.0)
    terms = [("cdZa", torch.empty(8, 5, batch, 16)), *weight.terms(torch.float32)]
    names = [n for n, _ in terms]
    sizes = {k: n for name, t in terms for k, n in zip(name, t.shape)}
    steps = plan(tuple(names), "cdZb", tuple(sorted(sizes.items())))
    cost, open_names = 0, list(names)
    for i, j, result in steps:
        union = set(open_names[i]) | set(open_names[j])
        cost += math.prod(sizes[k] for k in union) + low_rank.MOVE * math.prod(sizes[k] for k in result)
        open_names = [n for k, n in enumerate(open_names) if k not in (i, j)] + [result]
    if len(names) <= 6:
        assert cost == brute(names, "cdZb", sizes)


def test_the_dense_weight_is_formed_for_large_batches_only():
    sizes = {"a": 16, "b": 16, "r": 12, "k": 4}
    for batch, forms in ((2, False), (4096, True)):
        steps = plan(("kZa", "ar", "br"), "kZb", tuple(sorted((sizes | {"Z": batch}).items())))
        assert any(set(made) == {"a", "b"} for *_, made in steps) == forms


def test_contract_sums_what_the_answer_lacks():
    a, b, c = torch.randn(3, 4), torch.randn(4, 5), torch.randn(5)
    found = contract([("x", None), ("xy", a), ("yz", b), ("z", c)], None)
    assert relative(found, a @ b @ c) < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_dtypes_state_and_compile(kind):
    conv = SpectralConv(3, 4, (4, 4), factorization=kind, rank=0.4)
    x = torch.randn(2, 3, 8, 8)
    y = conv(x)
    assert relative(copy.deepcopy(conv).double()(x.double()), y.double()) < 1e-6
    with torch.autocast("cpu", torch.bfloat16):
        assert relative(conv(x), y) < 1e-6
    buffer = io.BytesIO()
    torch.save(conv.state_dict(), buffer)
    buffer.seek(0)
    other = SpectralConv(3, 4, (4, 4), factorization=kind, rank=0.4)
    other.load_state_dict(torch.load(buffer, weights_only=True))
    assert torch.equal(other(x), y)
    torch._dynamo.reset()
    compiled = torch.compile(conv, fullgraph=True, backend="eager")
    assert relative(compiled(x), y) < 1e-6


@pytest.mark.parametrize("kind", [*KINDS, "none"])
@pytest.mark.parametrize("shape", [(12,), (8, 10), (4, 6, 5)], ids=str)
def test_networks(kind, shape):
    torch.manual_seed(0)
    grid = Grid.make(shape, "nodal")
    net = FNO(2, 1, grid, modes=4, width=6, layers=2, factorization=kind, rank=0.3, separable=kind == "none")
    y = net(torch.randn(2, 2, *shape))
    y.square().sum().backward()
    assert y.shape == (2, 1, *shape)
    assert all(bool(torch.isfinite(p.grad).all()) and bool(p.grad.any()) for p in net.parameters())
    assert net(torch.randn(1, 2, *(2 * n for n in shape))).shape[2:] == tuple(2 * n for n in shape)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"factorization": "svd"}, "none, tucker, cp, tt"),
        ({"factorization": "tucker", "rank": (2, 2)}, "4 ranks >= 1"),
        ({"factorization": "tucker", "rank": 0.0}, "rank=0.0"),
        ({"factorization": "tucker", "rank": -0.5}, "rank=-0.5"),
        ({"factorization": "cp", "rank": (2, 2)}, "one rank >= 1"),
        ({"factorization": "cp", "rank": 0}, "one rank >= 1"),
        ({"factorization": "tt", "rank": (2, 2, 2, 2, 1)}, "1 at both ends"),
        ({"factorization": "tt", "rank": (1, 2, 1)}, "5 ranks >= 1"),
        ({"separable": True}, "3 to 4 channels, expected equal"),
    ],
)
def test_errors(options, words):
    with pytest.raises(NWidthError, match=words):
        SpectralConv(3, 4, (4, 4), **options)


def test_a_plain_weight_stays_a_plain_parameter():
    """State dicts of dense layers keep their keys."""
    assert set(SpectralConv(2, 2, (4,)).state_dict()) == {"weight", "bias"}
    assert SpectralConv(2, 2, (4, 4), separable=True, transform=Fourier(2)).weight.shape == (12, 2, 2)
