"""Spectra of data, and spectral kernels that start from them; frequencies in cycles per unit of the inputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...backends import Grid
from ...backends.transforms import Fourier
from ...errors import NWidthError
from ..structured.toeplitz import odd_length
from .mixture import SpectralMixture
from .stationary import DimensionProduct

CHUNK = 4_000_000
CANDIDATES = 500_000


def periodogram(field: Tensor, spacing: Sequence[float], *, pad: int = 4) -> tuple[Tensor, Tensor]:
    """Frequencies f (F, dims) in cycles per unit and the variances 2 |sum_j u_j exp(-2 pi i f x_j)|^2 / N^2 there.

    ``field`` (..., n_1, .., n_d) at steps ``spacing``, less its mean; the variance is summed over the leading shape. A
    wave of amplitude A has A^2/2 at its frequency. ``pad`` times as many frequencies as the points resolve. Of each
    pair f, -f one is listed.

    >>> x = torch.arange(100) / 50.0
    >>> f, p = periodogram(3 * torch.sin(2 * torch.pi * 7 * x), [1 / 50])
    >>> abs(float(f[p.argmax()]) - 7) < 0.1, abs(float(p.max()) - 4.5) < 0.1
    (True, True)
    """
    d = len(spacing)
    space = field.shape[-d:]
    axes = tuple(range(-d, 0))
    padded = [odd_length(pad * n) for n in space]  # odd: no mode stands for two frequencies
    u = field - field.mean(axes, keepdim=True)
    u = torch.nn.functional.pad(u, [n for m, k in zip(reversed(padded), reversed(space)) for n in (0, m - k)])
    transform = Fourier(d)
    c = transform.forward(u, method="full") * (math.prod(padded) / math.prod(space))
    power = 2 * c.abs().square().flatten(0, u.ndim - d - 1).sum(0) if u.ndim > d else 2 * c.abs().square()
    lines = []
    for basis, m, h in zip(transform.bases, padded, spacing):
        lines.append(basis.frequencies(m).to(field) / (m * h))
    f = torch.stack(torch.meshgrid(*lines, indexing="ij"), -1).reshape(-1, d)
    return f, power.flatten()


def lomb_scargle(x: Tensor, y: Tensor, frequencies: Tensor) -> Tensor:
    """Variance of y (n,) or (n, R) at x (n, dims) that a cos + b sin + c of each frequency (F, dims) explains, (F,).

    Least squares at any points, the constant included (the generalised periodogram of Zechmeister and Kuerster, A&A 496
    (2009)); summed over columns of y.

    >>> x = torch.arange(80, dtype=torch.float64)[:, None] ** 1.01 / 80  # uneven
    >>> round(float(lomb_scargle(x, torch.sin(2 * torch.pi * 7 * x[:, 0]), torch.tensor([[7.0]]).double())), 1)
    0.5
    """
    n = len(x)
    y = y.reshape(n, -1)
    y = y - y.mean(0)
    out = []
    for part in frequencies.split(max(1, CHUNK // n)):
        phase = 2 * math.pi * (part @ x.T)
        c, s = (w - w.mean(1, keepdim=True) for w in (phase.cos(), phase.sin()))
        cc, ss, cs = (c * c).sum(1), (s * s).sum(1), (c * s).sum(1)
        yc, ys = c @ y, s @ y
        ridge = 1e-12 * n
        cc, ss = cc + ridge, ss + ridge
        top = ss[:, None] * yc.square() + cc[:, None] * ys.square() - 2 * cs[:, None] * yc * ys
        out.append((top / (cc * ss - cs.square())[:, None]).sum(1) / n)
    return torch.cat(out)


@dataclass(frozen=True)
class Peaks:
    """Waves found in data: frequencies (q, dims), their variances (q,), and the variance that is left."""

    frequencies: Tensor
    variances: Tensor
    residual: float


@torch.no_grad()
def spectral_peaks(
    x: Tensor,
    y: Tensor,
    count: int,
    *,
    spacing: Sequence[float] | None = None,
    space: Sequence[int] = (),
    max_frequency: float | None = None,
) -> Peaks:
    """Up to ``count`` waves of y (n,) or (n, R) at x (n, dims), strongest first, each found in what the others leave.

    On a grid, given by ``spacing`` and ``space`` (n = prod space), candidates come from the periodogram, else from
    ``lomb_scargle`` up to ``max_frequency`` (default: half the mean density of points a dimension). Each is refined by
    least squares beyond the resolution of the candidates, and all amplitudes are fitted together again.
    """
    x, y = x.double(), y.double().reshape(len(x), -1)
    if x.ndim != 2 or len(x) < 4 or not bool(torch.isfinite(x).all() and torch.isfinite(y).all()):
        raise NWidthError(
            "spectral_peaks", got=f"x {tuple(x.shape)}", expected="finite x (n, dims), n >= 4, and y (n,)"
        )
    total = float((y - y.mean(0)).square().mean(0).sum())
    extent = x.amax(0) - x.amin(0)
    if not total > 0 or not bool((extent > 0).all()):
        raise NWidthError("spectral_peaks", got="constant values, or points on one coordinate", expected="a signal")
    lattice = None if spacing else _candidates(extent, len(x), max_frequency)
    step = 1 / (4 * extent)
    residual, found = y - y.mean(0), x.new_zeros(0, x.shape[1])
    variances, left = x.new_zeros(0), total
    while len(found) < count and left > 1e-12 * total:
        if lattice is None:
            f, power = periodogram(residual.T.reshape(-1, *space), list(spacing or ()))
        else:
            f, power = lattice, lomb_scargle(x, residual, lattice)
        best = f[(power * (f.abs() * extent).amax(1).gt(0.25)).argmax()]  # slower than a quarter period: the mean
        found = torch.cat([found, _refine(x, residual, best, step)[None]])
        phase = 2 * math.pi * (x @ found.T)
        design = torch.cat([phase.cos(), phase.sin(), torch.ones_like(x[:, :1])], 1)
        coefficients = torch.linalg.lstsq(design, y, driver="gelsd" if x.device.type == "cpu" else "gels").solution
        q = len(found)
        variances = (coefficients[:q].square() + coefficients[q : 2 * q].square()).sum(1) / 2
        residual = y - design @ coefficients
        left = float(residual.square().mean(0).sum())
    order = variances.argsort(descending=True)
    return Peaks(found[order].abs(), variances[order], left)


def _candidates(extent: Tensor, n: int, max_frequency: float | None) -> Tensor:
    d = len(extent)
    lines = []
    for i, t in enumerate(extent.tolist()):
        top = max_frequency if max_frequency is not None else 0.5 * n ** (1 / d) / t
        line = torch.arange(0, math.ceil(4 * top * t) + 1, dtype=torch.float64) / (4 * t)
        lines.append(line if i == d - 1 else torch.cat([-line[1:].flip(0), line]))
    if math.prod(len(line) for line in lines) > CANDIDATES:
        raise NWidthError(
            "spectral_peaks",
            got=f"{math.prod(len(line) for line in lines)} candidate frequencies",
            expected=f"at most {CANDIDATES}",
            fix="lower max_frequency, or put the data on a grid",
        )
    return torch.stack(torch.meshgrid(*lines, indexing="ij"), -1).reshape(-1, d).to(extent)


def _refine(x: Tensor, y: Tensor, f: Tensor, step: Tensor) -> Tensor:
    """The maximum of the explained variance near f, on lattices of nine points a dimension that shrink."""
    d = x.shape[1]
    offsets = torch.cartesian_prod(*[torch.linspace(-1, 1, 9, dtype=x.dtype)] * d).reshape(-1, d).to(x)
    for _ in range(12):
        near = f + offsets * step
        f = near[lomb_scargle(x, y, near).argmax()]
        step = step / 3
    return f


def initialize_from_data(kernel: SpectralMixture, x: Tensor, y: Tensor, *, max_frequency: float | None = None) -> Peaks:
    """Set centres, weights and widths of a spectral mixture from the strongest waves of y (n,) at x (n, dims).

    One dimension of equal steps uses the periodogram, others least squares. Centres are in cycles per unit of x,
    weights are variances, widths a quarter of the resolution 1/extent. Components beyond the waves found share what is
    left, spread over the band.

    >>> x = (torch.arange(200) / 50.0)[:, None]  # 4 units, 50 samples a unit
    >>> k = SpectralMixture(1)
    >>> _ = initialize_from_data(k, x, torch.sin(2 * torch.pi * 7 * x[:, 0]))
    >>> round(k.frequencies.item(), 4), round(k.weights.item(), 3)
    (7.0, 0.5)
    """
    if x.ndim == 1:
        x = x[:, None]
    if y.shape != x.shape[:1] or x.shape[1] != kernel.dims or kernel.batch_shape:
        raise NWidthError(
            "initialize_from_data",
            got=f"x {tuple(x.shape)}, y {tuple(y.shape)}",
            expected=f"(n, {kernel.dims}), (n,), no batch",
        )
    gaps = x[:, 0].diff() if x.shape[1] == 1 else x.new_zeros(0)
    mean_gap = float(gaps.mean()) if len(gaps) else 0.0
    even = mean_gap > 0 and bool(((gaps - mean_gap).abs() < 1e-3 * mean_gap).all()) and max_frequency is None
    options = {"spacing": [mean_gap], "space": [len(x)]} if even else {"max_frequency": max_frequency}
    peaks = spectral_peaks(x, y, kernel.num_mixtures, **options)
    _assign(kernel, peaks, x.amax(0) - x.amin(0), max_frequency)
    return peaks


def initialize_on_grid(kernel: SpectralMixture | DimensionProduct, grid: Grid, field: Tensor) -> list[Peaks]:
    """The same from a field (n_1, .., n_d) on uniform axes; for a ``DimensionProduct``, from the lines along each axis.

    The first kernel of a product takes the variance of the field, the others have weights of sum 1.
    """
    if tuple(field.shape) != grid.shape or kernel.dims != grid.ndim or not all(a.uniform for a in grid.axes):
        raise NWidthError(
            "initialize_on_grid",
            got=f"a field {tuple(field.shape)} on {grid.describe()}, a kernel of {kernel.dims} dimensions",
            expected="one value a point of a grid of uniform axes, one dimension an axis",
            fix="use initialize_from_data",
        )
    spacing = [a.spacing for a in grid.axes]
    extent = torch.tensor([a.spacing * (a.n - 1) for a in grid.axes], dtype=torch.float64, device=field.device)
    if isinstance(kernel, SpectralMixture):
        x = grid.coordinates().flatten(1).T.to(field.device)
        peaks = spectral_peaks(x, field.flatten(), kernel.num_mixtures, spacing=spacing, space=grid.shape)
        _assign(kernel, peaks, extent, None)
        return [peaks]
    found = []
    variance = float(field.var())
    for i, (k, axis) in enumerate(zip(kernel.kernels, grid.axes)):
        if not isinstance(k, SpectralMixture):
            raise NWidthError("initialize_on_grid", got=type(k).__name__, expected="a product of SpectralMixture")
        lines = field.movedim(i, 0).flatten(1) / (field.numel() / axis.n) ** 0.5
        x = axis.coordinates().to(field.device)[:, None]
        found.append(spectral_peaks(x, lines, k.num_mixtures, spacing=[axis.spacing], space=[axis.n]))
        _assign(k, found[-1], extent[i : i + 1], None)
        with torch.no_grad():
            k.log_weights.sub_(k.log_weights.logsumexp(0) - (math.log(variance) if i == 0 else 0.0))
    return found


def _assign(kernel: SpectralMixture, peaks: Peaks, extent: Tensor, max_frequency: float | None) -> None:
    q, more = len(peaks.variances), kernel.num_mixtures - len(peaks.variances)
    total = float(peaks.variances.sum()) + peaks.residual
    f, w = peaks.frequencies, peaks.variances.clamp_min(1e-8 * total)
    if more:
        top = f.amax(0) if max_frequency is None else f.new_full((kernel.dims,), max_frequency)
        f = torch.cat([f, torch.linspace(0, 1, more, dtype=f.dtype, device=f.device)[:, None] * top])
        w = torch.cat([w, w.new_full((more,), max(peaks.residual, 1e-6 * total) / more)])
    assert len(w) == q + more
    kernel.assign(
        w.to(kernel.log_weights), (0.25 / extent).expand(len(w), -1).to(kernel.log_weights), f.to(kernel.log_weights)
    )
