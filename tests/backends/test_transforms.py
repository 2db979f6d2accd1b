"""Transforms against torch.fft, scipy.fft, brute-force sums and each other."""

import math

import pytest
import scipy.fft
import torch
from nwidth.backends.grid import Axis, Grid
from nwidth.backends.transforms import (
    ChebyshevBasis,
    CosineBasis,
    ExtendedFourierBasis,
    Fourier,
    FourierBasis,
    SineBasis,
    Transform,
    convolve,
)
from nwidth.errors import NWidthError

F64 = torch.float64
METHODS = ("matmul", "pruned", "full", "auto")
SINGLE = {
    "fourier": FourierBasis(),
    "cosine-cell": CosineBasis("cell"),
    "cosine-nodal": CosineBasis("nodal"),
    "sine-cell": SineBasis("cell"),
    "sine-nodal": SineBasis("nodal"),
    "sine-interior": SineBasis("interior"),
    "chebyshev": ChebyshevBasis(),
}
SHAPES = [(12,), (9,), (12, 9), (9, 12), (7, 6), (5, 8, 6), (6, 5, 7), (4, 3, 5, 4)]


def close(a, b, tol=1e-12):
    assert a.shape == b.shape
    assert float((a - b).abs().max()) <= tol * max(1.0, float(b.abs().max()))


def random(*shape, real=True, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=F64 if real else torch.complex128, generator=g)


def field_for(basis, n):
    u = random(3, n)
    if basis == SineBasis("nodal"):
        u[:, [0, -1]] = 0
    return u


def some_modes(shape):
    return tuple(max(1, n - 2 - i % 2) for i, n in enumerate(shape))


@pytest.mark.parametrize("real", [True, False])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("method", METHODS)
def test_fourier_coefficients_are_those_of_torch_fft(shape, method, real):
    d, u = len(shape), random(2, *shape, real=real)
    t = Fourier(d, real=real)
    modes = some_modes(shape)
    c = t.forward(u, modes, method)
    reference = torch.fft.fftn(u, dim=tuple(range(-d, 0)), norm="forward")
    for axis, k in enumerate(t.frequencies(modes)):
        reference = reference.index_select(axis + 1, k % shape[axis])
    close(c, reference)


@pytest.mark.parametrize("name", SINGLE)
@pytest.mark.parametrize("n", [8, 9])
def test_every_method_agrees_and_inverts(name, n):
    basis = SINGLE[name]
    t, u = Transform([basis]), field_for(basis, n)
    close(t.inverse(t.forward(u), (n,)), u)
    for modes in (None, 1, 4, basis.limit(n)):
        c = t.forward(u, modes, "matmul")
        for method in METHODS:
            close(t.forward(u, modes, method), c)
            for size in (n, 2 * n, n + 3, 6, 5):
                close(t.inverse(c, (size,), method=method), t.inverse(c, (size,), method="matmul"))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("real", [True, False])
def test_fourier_round_trip_and_parseval(shape, real):
    t, u = Fourier(len(shape), real=real), random(2, *shape, real=real)
    for method in METHODS:
        c = t.forward(u, method=method)
        close(t.inverse(c, shape, method=method), u)
        close(t.norm2(c, shape), u.abs().square().mean(tuple(range(1, u.ndim))))


def test_mixed_bases_round_trip():
    grid = Grid((Axis("periodic", 6), Axis("cell", 5), Axis("periodic", 7), Axis("chebyshev", 4)))
    t, u = Transform.for_grid(grid), random(2, *grid.shape)
    assert t.counts(t.modes_for(grid.shape, (4, 3, 5, 2))) == (4, 3, 3, 2)
    for method in METHODS:
        close(t.inverse(t.forward(u, method=method), grid.shape, method=method), u)
        close(t.forward(u, (4, 3, 5, 2), method), t.forward(u, (4, 3, 5, 2), "full"))


@pytest.mark.parametrize("n", [8, 9])
def test_cosine_and_sine_against_scipy(n):
    u = random(2, n)
    k = torch.arange(n, dtype=F64)

    def scaled(transform, kind, v, divisor):
        return torch.from_numpy(transform(v.numpy(), type=kind)) / divisor

    edge = torch.ones(n, dtype=F64)
    edge[0] = 0.5
    close(Transform([CosineBasis("cell")]).forward(u), scaled(scipy.fft.dct, 2, u, n) * edge)
    edge[-1] = 0.5
    close(Transform([CosineBasis("nodal")]).forward(u), scaled(scipy.fft.dct, 1, u, n - 1) * edge)
    close(Transform([ChebyshevBasis()]).forward(u.flip(-1)), scaled(scipy.fft.dct, 1, u, n - 1) * edge)
    last = torch.where(k == n - 1, 0.5, 1.0)
    close(Transform([SineBasis("cell")]).forward(u), scaled(scipy.fft.dst, 2, u, n) * last)
    close(Transform([SineBasis("interior")]).forward(u), scaled(scipy.fft.dst, 1, u, n + 1))


def test_brute_force_sum_in_two_dimensions():
    u, (h, w) = random(6, 5), (6, 5)
    c = Fourier(2).forward(u, (4, 4), "matmul")
    kx, ky = Fourier(2).frequencies((4, 4))
    for a, p in enumerate(kx.tolist()):
        for b, q in enumerate(ky.tolist()):
            total = 0j
            for i in range(h):
                for j in range(w):
                    phase = 2 * math.pi * (p * i / h + q * j / w)
                    total += float(u[i, j]) * complex(math.cos(phase), -math.sin(phase))
            assert abs(complex(c[a, b]) - total / (h * w)) < 1e-13


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["fourier", "cosine-cell", "sine-interior", "chebyshev"])
def test_backward_is_the_adjoint(name, method):
    t = Transform([SINGLE[name], FourierBasis(), SINGLE[name]])
    shape, modes = (7, 8, 6), (4, 6, 3)
    x = random(*shape).requires_grad_()
    c = t.forward(x, modes, method)
    y = random(*c.shape, real=not c.is_complex(), seed=1)
    (adjoint,) = torch.autograd.grad(c, x, y)
    close((c.conj() * y).real.sum().detach(), (x * adjoint).sum().detach())
    y.requires_grad_()
    u = t.inverse(y, shape, method=method)
    z = random(*shape, seed=2)
    (adjoint,) = torch.autograd.grad(u, y, z)
    close((u * z).sum().detach(), (y.conj() * adjoint).real.sum().detach())


@pytest.mark.parametrize("method", ["matmul", "pruned"])
@pytest.mark.parametrize("middle", [CosineBasis("nodal"), FourierBasis()], ids=str)
def test_gradcheck(middle, method):
    t = Transform([FourierBasis(), middle, FourierBasis()])
    u = random(4, 4, 4).requires_grad_()

    def through(u):
        return t.inverse(t.forward(u, (3, 3, 4), method) ** 2, (5, 4, 6), method=method)

    assert torch.autograd.gradcheck(through, (u,))
    assert torch.autograd.gradgradcheck(through, (u,))


@pytest.mark.parametrize("method", ["matmul", "pruned"])
def test_nothing_is_kept_for_the_backward(method):
    """Of the tensors that autograd saves, all are tables of one axis."""
    sizes = []
    x = random(3, 16, 12).requires_grad_()
    t = Fourier(2)
    with torch.autograd.graph.saved_tensors_hooks(lambda v: sizes.append(v.numel()) or v, lambda v: v):
        t.inverse(t.forward(x, 8, method), (16, 12), method=method)
    assert max(sizes, default=0) <= 2 * 16 * 10


def wave(n, k, d):
    """A sum of waves up to frequency k on n points per axis."""
    x = Grid.make((n,) * d).coordinates()
    phases = [(k, 1), (-k + 1, 2), (1, k)]
    return sum(torch.cos(2 * math.pi * (p * x[0] + q * x[-1]) + 0.3 * p) for p, q in phases)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize(("a", "b"), [(16, 16), (16, 32), (32, 16)])
def test_a_band_limited_field_survives_a_change_of_resolution(a, b, d, method):
    t = Fourier(d)
    c = t.forward(wave(a, 3, d), 10, method)
    close(t.inverse(c, (b,) * d, method=method), wave(b, 3, d))
    close(t.forward(wave(b, 3, d), 10, method), c)
    close(t.resize(wave(a, 3, d), (b,) * d), wave(b, 3, d))


@pytest.mark.parametrize(("n", "size"), [(8, 12), (8, 6), (9, 12), (8, 7), (300, 400), (300, 20)])
def test_resize_is_the_resampling_of_scipy(n, size):
    import scipy.signal

    u = random(2, n)
    close(Fourier(1).resize(u, (size,)), torch.from_numpy(scipy.signal.resample(u.numpy(), size, axis=-1)))
    back = Fourier(1).resize(Fourier(1).resize(u, (2 * n,)), (n,))
    close(back, u)


@pytest.mark.parametrize("n", [16, 15, 200])
@pytest.mark.parametrize(
    ("kind", "function", "derivatives"),
    [
        (
            "periodic",
            lambda s: torch.sin(2 * s),
            [lambda s: 2 * torch.cos(2 * s), lambda s: -4 * torch.sin(2 * s)],
        ),
        ("cell", lambda s: torch.cos(1.5 * s), [lambda s: -1.5 * torch.sin(1.5 * s)]),
        ("nodal", lambda s: torch.cos(1.5 * s), [lambda s: -1.5 * torch.sin(1.5 * s)]),
        ("chebyshev", lambda s: s**3, [lambda s: 3 * s**2, lambda s: 6 * s]),
    ],
    ids=["periodic", "cell", "nodal", "chebyshev"],
)
def test_derivatives(kind, function, derivatives, n):
    axis = Axis(kind, n, 0.0, 2 * math.pi)
    t, x = Transform.for_grid(Grid((axis,))), axis.coordinates()
    for order, expected in enumerate(derivatives, start=1):
        close(t.derivative(function(x), order), expected(x), tol=1e-9 if n < 100 else 1e-4)  # eps n^4


def test_mixed_derivative_and_nyquist():
    t = Fourier(2, lengths=(1.0, 2.0))
    x, y = Grid((Axis("periodic", 8), Axis("periodic", 9, 0.0, 2.0))).coordinates()
    u = torch.sin(2 * math.pi * x) * torch.cos(math.pi * y)
    expected = -2 * math.pi * math.pi * torch.cos(2 * math.pi * x) * torch.sin(math.pi * y)
    close(t.derivative(u, (1, 1)), expected)
    z = torch.complex(u, 2 * u)
    close(Fourier(2, real=False, lengths=t.lengths).derivative(z, (1, 1)), torch.complex(expected, 2 * expected))
    nyquist = torch.tensor([1.0, -1.0] * 100, dtype=F64)
    for n in (8, 200):
        close(Fourier(1).derivative(nyquist[:n], 1), torch.zeros(n, dtype=F64), tol=1e-9)


def test_products_are_free_of_aliasing():
    n, t = 16, Fourier(2)
    x, y = Grid.make((n, n)).coordinates()
    u, v = torch.cos(2 * math.pi * 6 * x), torch.cos(2 * math.pi * 5 * (x + y))
    # cos a cos b = (cos(a + b) + cos(a - b)) / 2; the wave number 11 of a + b is dropped, not folded
    close(t.product(u, v), 0.5 * torch.cos(2 * math.pi * (5 * y - x)))
    with pytest.raises(NWidthError, match="sine"):
        Transform([SineBasis()]).product(random(4), random(4))


def test_parseval_of_other_bases():
    c = random(5)
    for kind in ("cell", "nodal", "chebyshev"):
        axis = Axis(kind, 65)
        t = Transform.for_grid(Grid((axis,)))
        close(t.norm2(c), (t.inverse(c, (65,)) ** 2 * axis.weights()).sum(), tol=1e-12)
    close(Transform([SineBasis()]).norm2(c), (Transform([SineBasis()]).inverse(c, (65,)) ** 2).mean())


def test_extended_fourier_is_zero_padding():
    n, extra = 12, 6
    axis = Axis("cell", n)
    t = Transform([ExtendedFourierBasis(axis=axis, extension=extra / n)])
    u = random(2, n)
    padded = torch.cat([u, torch.zeros(2, extra, dtype=F64)], -1)
    phase = torch.exp(-1j * math.pi * torch.arange(5, dtype=F64) / (n + extra))  # half a cell
    c = t.forward(u, 8)
    close(c, Fourier(1).forward(padded, 8) * phase)
    close(t.inverse(c, (n,)), Fourier(1).inverse(c / phase, (n + extra,))[..., :n])


def test_extended_fourier_is_consistent_between_resolutions_and_kinds():
    t = {kind: Transform.for_grid(Grid((Axis(kind, 8),)), extension=0.25) for kind in ("cell", "nodal", "chebyshev")}

    def coefficients(kind, n):
        return t[kind].forward(torch.exp(-Axis(kind, n).coordinates()), 6)

    reference = coefficients("chebyshev", 64)
    for kind in t:
        errors = [float((coefficients(kind, n) - reference).abs().max()) for n in (32, 64)]
        assert errors[1] < 0.55 * errors[0] or errors[1] < 1e-9


def test_convolution_is_a_circulant_product():
    kernel, u = random(5), random(3, 5)
    circulant = torch.stack([kernel.roll(i) for i in range(5)], 1)
    close(convolve(kernel, u, 1), u @ circulant.T)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.bool, torch.int64])
@pytest.mark.parametrize("method", METHODS)
def test_dtypes(dtype, method):
    u = (random(2, 16, 12) * 3).to(dtype)
    c = Fourier(2).forward(u, (6, 6), method)
    assert c.dtype == torch.complex64
    with torch.autocast("cpu", torch.bfloat16):
        again = Fourier(2).inverse(Fourier(2).forward(u, (6, 6), method), (16, 12), method=method)
    assert again.dtype == torch.float32
    close(again, Fourier(2).inverse(c, (16, 12), method=method), tol=1e-6)
    close(c, Fourier(2).forward(u.double(), (6, 6)).to(torch.complex64), tol=1e-5)


def test_tables_made_in_inference_mode_serve_training():
    u = torch.randn(17, requires_grad=True)
    with torch.inference_mode():
        Fourier(1).forward(u.detach(), 5)
    Fourier(1).forward(u, 5).abs().sum().backward()
    assert u.grad is not None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu():
    u = random(2, 3, 16, 12)
    for method in METHODS:
        c = Fourier(2).forward(u.cuda(), (6, 6), method)
        assert c.is_cuda
        close(c.cpu(), Fourier(2).forward(u, (6, 6)))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Fourier(2).forward(random(8, 8), (9, 4)), "axis 0 .* got 9, expected 1 to 8 on 8 points"),
        (lambda: Fourier(2).forward(random(8, 8), (4, 0)), "axis 1"),
        (lambda: Fourier(2).forward(random(8, 8), (4, 4, 4)), "2 numbers"),
        (lambda: Fourier(2).forward(random(8, 8), method="fast"), "got method='fast', expected one of auto"),
        (lambda: Fourier(2).inverse(random(4, 3), (8, 8), method="fast"), "method"),
        (lambda: Fourier(2).inverse(random(4, 3), (8,)), "2 sizes"),
        (lambda: Fourier(2).inverse(random(4, 3), (8, 8), (6, 6)), r"shape \(4, 3\)"),
        (lambda: Fourier(2).forward(random(8)), "2 space axes"),
        (lambda: Fourier(1).forward(random(8, real=False)), "real=False"),
        (lambda: Fourier(1).derivative(random(8), -1), "orders >= 0"),
        (lambda: Transform([]), "bases"),
        (lambda: CosineBasis("corner"), "cell, nodal"),
        (lambda: ExtendedFourierBasis(axis=Axis("cell", 4), extension=-1), "fraction"),
        (lambda: Transform.for_grid(Grid((Axis("listed", 2, points=(0.0, 1.0)),))), "listed"),
        (lambda: Transform.for_grid("grid"), "got str"),
        (
            lambda: Transform.for_grid(Grid((Axis("cell", 4),)), extension=0.2).forward(random(4), 3, "pruned"),
            "auto or matmul",
        ),
        (
            lambda: Transform.for_grid(Grid((Axis("cell", 4),)), extension=0.2).resize(random(4), (8,)),
            "interpolates",
        ),
    ],
)
def test_errors(call, words):
    with pytest.raises(NWidthError, match=words):
        call()


@pytest.mark.parametrize(
    ("bases", "shape", "modes"),
    [([FourierBasis()], (8,), (4,)), ([FourierBasis()], (8,), (8,)), ([FourierBasis()] * 2, (5, 7), (4, 7)),
     ([FourierBasis(), CosineBasis()], (8, 6), (5, 4)), ([FourierBasis()] * 3, (4, 6, 4), (4, 3, 4))],
    ids=str,
)  # fmt: skip
def test_derivatives_of_torch_func_and_batches_of_vmap(bases, shape, modes):
    """Products and pruned FFTs have derivatives of their own: those that torch finds for whole FFTs."""
    t = Transform(bases)
    x = torch.randn(3, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def energy(u, method):
        c = t.forward(u, modes, method)
        return (t.inverse(c * c, shape, modes, method) ** 2).sum()

    def slopes(method):
        def f(u):
            return energy(u, method)

        yield torch.func.vmap(f)(x)
        yield torch.func.vmap(torch.func.grad(f))(x)
        yield torch.func.jvp(f, (x,), (x.flip(0),))[1]
        yield torch.func.jvp(torch.func.grad(f), (x,), (x.flip(0),))[1]

    expected = list(slopes("full"))
    for method in ("matmul", "pruned"):
        for found, wanted in zip(slopes(method), expected, strict=True):
            assert torch.allclose(found, wanted, rtol=1e-11, atol=1e-13)
