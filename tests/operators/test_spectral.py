"""SpectralConv against neuraloperator's, dense operators, and itself at other resolutions and precisions."""

import copy
import io
import math
import warnings

import pytest
import torch
from nwidth.backends.grid import Grid
from nwidth.backends.transforms import ChebyshevBasis, CosineBasis, Fourier, SineBasis, Transform
from nwidth.errors import NWidthError
from nwidth.operators import SpectralConv


def relative(a, b):
    assert a.shape == b.shape
    return float(((a - b).norm() / b.norm()).detach())


def neuraloperator_pair(d, modes, channels=(3, 4)):
    """The peer's layer, and ours with its weights."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from neuralop.layers.spectral_convolution import SpectralConv as Peer

    peer, ours = Peer(*channels, modes), SpectralConv(*channels, modes)
    kept = ours.transform.counts(modes)
    weight = peer.weight.tensor.detach()[(..., *(slice(k) for k in kept))]
    with torch.no_grad():
        mode_major = weight.permute(*range(2, d + 2), 0, 1).reshape(-1, *channels)
        ours.weight.copy_(torch.view_as_real(mode_major))
        ours.bias.copy_(peer.bias.flatten())
    return peer, ours


# Even sizes before the last axis: on odd ones the peer shifts back by one place too many.
CASES = [
    ((16,), (8,)),
    ((15,), (6,)),
    ((16,), (16,)),
    ((12, 18), (6, 8)),
    ((8, 16), (8, 16)),
    ((8, 10, 9), (4, 6, 6)),
]


@pytest.mark.parametrize("method", ["matmul", "pruned"])
@pytest.mark.parametrize(("shape", "modes"), CASES, ids=str)
def test_equals_neuraloperator(shape, modes, method):
    torch.manual_seed(0)
    peer, ours = neuraloperator_pair(len(shape), modes)
    ours.method = method
    results = []
    for layer in (peer, ours):
        x = torch.randn(2, 3, *shape, generator=torch.Generator().manual_seed(1)).requires_grad_()
        y = layer(x)
        y.square().sum().backward()
        results.append((y.detach(), x.grad))
    assert relative(results[1][0], results[0][0]) < 1e-6
    assert relative(results[1][1], results[0][1]) < 1e-6
    kept = ours.transform.counts(modes)
    gradient = peer.weight.tensor.grad[(..., *(slice(k) for k in kept))]
    mode_major = gradient.permute(*range(2, len(shape) + 2), 0, 1).reshape(-1, 3, 4)
    assert relative(ours.weight.grad, torch.view_as_real(mode_major)) < 1e-6
    assert relative(ours.bias.grad, peer.bias.grad.flatten()) < 1e-6


def identity(d, modes, **options):
    conv = SpectralConv(2, 2, (modes,) * d, bias=False, **options).double()
    with torch.no_grad():
        conv.weight.zero_()
        conv.weight[..., 0].copy_(torch.eye(2))
    return conv


@pytest.mark.parametrize("method", ["matmul", "pruned", "full"])
@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize(("a", "b"), [(32, 32), (32, 64), (64, 32)])
def test_identity_weights_reproduce_a_band_limited_field(a, b, d, method):
    if d == 3:
        a, b = a // 2, b // 2

    def field(n):
        x = Grid.make((n,) * d).coordinates()
        angle = 2 * math.pi * (3 * x[0] - 2 * x[-1])
        return torch.stack([angle.cos() + 1, (angle + x.sum(0) * 2 * math.pi).sin()])[None]

    conv = identity(d, 12, method=method)
    assert relative(conv(field(a), (b,) * d), field(b)) < 1e-13


def test_weights_act_on_the_same_modes_at_every_resolution():
    conv = SpectralConv(1, 1, (6, 6)).double()
    x = torch.randn(1, 1, 8, 8, dtype=torch.float64)
    x = Fourier(2).inverse(Fourier(2).forward(x, (5, 5)), (8, 8))  # band-limited
    fine = Fourier(2).resize(x, (24, 20))
    assert relative(conv(fine, (8, 8)), conv(x)) < 1e-13
    assert relative(Fourier(2).resize(conv(x), (24, 20)), conv(fine)) < 1e-13
    assert conv(torch.randn(1, 1, 4, 5)).shape == (1, 1, 4, 5)  # a grid too coarse for all modes uses some


def test_gradcheck_of_input_and_weights():
    conv = SpectralConv(1, 2, (2, 3)).double()
    x = torch.randn(2, 1, 4, 5, dtype=torch.float64, requires_grad=True)

    def run(x, weight, bias):
        return torch.func.functional_call(conv, {"weight": weight, "bias": bias}, (x, (3, 6)))

    assert torch.autograd.gradcheck(run, (x, conv.weight, conv.bias))
    assert torch.autograd.gradgradcheck(run, (x, conv.weight, conv.bias))


@pytest.mark.parametrize(
    ("basis", "bias"), [(CosineBasis("nodal"), True), (SineBasis("cell"), False), (ChebyshevBasis(), True)]
)
def test_real_bases_have_real_weights(basis, bias):
    conv = SpectralConv(2, 3, (4, 4), transform=Transform([basis, basis]), bias=bias).double()
    assert conv.weight.shape == (16, 2, 3)
    x = torch.randn(2, 2, 7, 6, dtype=torch.float64)
    c = conv.transform.forward(x, 4)
    expected = torch.einsum("bcij,ijco->boij", c, conv.weight.view(4, 4, 2, 3))
    y = conv.transform.inverse(expected, (7, 6))
    y = y + conv.bias.view(-1, 1, 1) if bias else y
    assert relative(conv(x), y) < 1e-13


def test_the_backward_stores_coefficients_only():
    conv, x = SpectralConv(4, 4, (6, 6), method="matmul"), torch.randn(8, 4, 64, 64, requires_grad=True)
    saved = []

    def pack(t):
        saved.append(t.numel() * t.element_size())
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        conv(x)
    assert max(saved) < x.numel() * x.element_size() / 10


def test_initial_weights_keep_the_variance_and_follow_the_generator():
    a, b = (SpectralConv(32, 32, (8, 8), generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(a.weight, b.weight) and torch.equal(a.bias, b.bias)
    w = torch.view_as_complex(a.weight.detach())
    assert abs(float((w.abs() ** 2).sum(1).mean()) - 1) < 0.05


def test_dtypes_autocast_and_state():
    conv = SpectralConv(2, 2, (4, 4))
    x = torch.randn(2, 2, 8, 8)
    y = conv(x)
    double = copy.deepcopy(conv).to(torch.float64)
    assert double(x.double()).dtype == torch.float64
    assert relative(double(x.double()), y.double()) < 1e-6
    for dtype in (torch.bfloat16, torch.float16):
        assert conv(x.to(dtype)).dtype == dtype
        assert relative(conv(x.to(dtype)).float(), y) < 2e-2
    with torch.autocast("cpu", torch.bfloat16):
        assert relative(conv(x), y) < 1e-6
    buffer = io.BytesIO()
    torch.save(conv.state_dict(), buffer)
    buffer.seek(0)
    other = SpectralConv(2, 2, (4, 4))
    other.load_state_dict(torch.load(buffer, weights_only=True))
    assert torch.equal(other(x), y)
    assert not any(v.is_complex() for v in conv.state_dict().values())


@pytest.mark.parametrize(
    ("shape", "backend", "method"),
    [((16,), "eager", "auto"), ((12, 10), "aot_eager", "auto"), ((12, 10), "aot_eager", "pruned")],
)
def test_compiles_without_graph_breaks(shape, backend, method):
    conv = SpectralConv(2, 3, (6,) * len(shape), method=method)
    compiled = torch.compile(conv, fullgraph=True, backend=backend)
    for n in (1, 2):  # the second resolution compiles with dynamic shapes
        x = torch.randn(2, 2, *(n * s for s in shape), requires_grad=True)
        y = compiled(x)
        assert relative(y, conv(x)) < 1e-5
        (g,) = torch.autograd.grad(y.square().sum(), x)
        (expected,) = torch.autograd.grad(conv(x).square().sum(), x)
        assert relative(g, expected) < 1e-5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu():
    conv, x = SpectralConv(2, 3, (6, 6)), torch.randn(2, 2, 16, 12)
    assert relative(copy.deepcopy(conv).cuda()(x.cuda()).cpu(), conv(x)) < 1e-5


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: SpectralConv(1, 1, (4, 4), transform=Fourier(1)), "1 numbers"),
        (lambda: SpectralConv(1, 1, (0,)), "modes="),
        (lambda: SpectralConv(1, 1, (4,), transform=Transform([SineBasis()])), "bias=False"),
        (lambda: SpectralConv(1, 1, (4,))(torch.zeros(1, 2, 8)), r"shape \(1, 2, 8\)"),
        (lambda: SpectralConv(1, 1, (4,), method="fast")(torch.zeros(1, 1, 8)), "method='fast'"),
    ],
)
def test_errors(call, words):
    with pytest.raises(NWidthError, match=words):
        call()


@pytest.mark.parametrize("method", ["auto", "matmul", "pruned"])
@pytest.mark.parametrize("bases", [[CosineBasis("nodal"), CosineBasis("cell")], [CosineBasis("cell"), None]], ids=str)
def test_change_scales_and_shifts_the_answer(bases, method):
    transform = Transform([b or Fourier(1).bases[0] for b in bases])
    conv = SpectralConv(2, 3, (4, 4), transform=transform, method=method).double()
    x = torch.randn(5, 2, 9, 8, dtype=torch.float64)
    g, h = torch.randn(2, 5, 3, dtype=torch.float64)
    for shape in ((9, 8), (5, 12)):
        expected = (1 + g)[..., None, None] * conv(x, shape) + h[..., None, None]
        assert relative(conv(x, shape, (g, h)), expected) < 1e-13
        assert relative(conv.last(x.movedim(1, -1), shape, (g, h)).movedim(-1, 1), expected) < 1e-13
