"""Partitions of snapshots into cells in which few modes suffice: the sine dissimilarity, k-medoids and
k-means."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.cluster.vq import ClusterError, kmeans2
from torch import Tensor

from ...errors import NWidthError
from .pod import POD


def sine_dissimilarity(x: Tensor, y: Tensor | None = None, weight: Tensor | None = None) -> Tensor:
    """D_ij = sqrt(1 - |<x_i, y_j>|^2 / (|x_i|^2 |y_j|^2)), the sine of the angle between two snapshots, (N, M).

    D_ij is the relative error of x_i projected on the line of y_j: amplitudes and signs do not matter. ``y`` is x
    unless given; ``weight`` (broadcastable to a snapshot) the diagonal of the inner product. A snapshot of zeros is
    at distance 0 from every line, and as a line at distance 1 from all others. Sines below 1e-8 are round-off.

    Source: Daniel et al., J. Comput. Phys. 458 (2022), arXiv:2103.13683, section 3.

    >>> x = torch.tensor([[1.0, 0.0], [-3.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    >>> sine_dissimilarity(x).round(decimals=4).tolist()
    [[0.0, 0.0, 0.7071], [0.0, 0.0, 0.7071], [0.7071, 0.7071, 0.0]]
    """
    a = _directions(x, weight)
    b = a if y is None else _directions(y, weight)
    cosine = (a @ b.mH).abs().clamp(max=1)
    sine = ((1 - cosine) * (1 + cosine)).sqrt()
    if y is None:
        sine.fill_diagonal_(0)
    sine[~a.any(1)] = 0
    return sine


def _directions(x: Tensor, weight: Tensor | None) -> Tensor:
    """Rows of unit Euclidean length whose products are cosines; zero rows stay zero."""
    root = 1.0 if weight is None else weight.to(dtype=x.real.dtype, device=x.device).sqrt()
    flat = (x * root).flatten(1)
    norm = flat.norm(dim=1, keepdim=True)
    return flat / torch.where(norm > 0, norm, torch.ones_like(norm))


@dataclass(frozen=True)
class Partition:
    """``medoids`` (K,): one sample for each cell; ``labels`` (N,): the cell of each sample; ``cost``: sum of the
    dissimilarities to the medoids."""

    medoids: Tensor
    labels: Tensor
    cost: float

    @property
    def sizes(self) -> list[int]:
        return torch.bincount(self.labels, minlength=len(self.medoids)).tolist()


def k_medoids(dissimilarity: Tensor, cells: int, *, rtol: float = 1e-9) -> Partition:
    """Partitioning around medoids: minimise sum_i min_k D[i, m_k] over the medoids m_1 .. m_K.

    BUILD adds the sample that lowers the cost most, K times; SWAP exchanges the medoid and the sample that lower it
    most, until no exchange lowers it by more than ``rtol`` of the cost. Deterministic; O(K N^2) a swap. D need not
    be symmetric: D[i, j] is the cost of sample i in the cell of medoid j.

    Source: Kaufman and Rousseeuw, Finding Groups in Data (1990), chapter 2.

    >>> x = torch.tensor([0.0, 0.1, 0.2, 5.0, 5.1], dtype=torch.float64)
    >>> found = k_medoids((x[:, None] - x).abs(), 2)
    >>> found.medoids.tolist(), found.labels.tolist()
    ([1, 3], [0, 0, 0, 1, 1])
    """
    D = dissimilarity
    if D.ndim != 2 or D.shape[0] != D.shape[1] or not bool(torch.isfinite(D).all()) or bool((D < 0).any()):
        raise NWidthError("k_medoids", got=f"dissimilarities {tuple(D.shape)}", expected="(N, N), finite, >= 0")
    if not 1 <= cells <= len(D):
        raise NWidthError("k_medoids", got=f"{cells} cells for {len(D)} samples", expected=f"1 to {len(D)}")
    medoids = [int(D.sum(0).argmin())]
    while len(medoids) < cells:
        nearest = D[:, medoids].amin(1, keepdim=True)
        gain = (nearest - D).clamp_min(0).sum(0)
        gain[medoids] = -1
        medoids.append(int(gain.argmax()))
    while True:
        to = D[:, medoids]
        first, label = to.min(1)
        second = to.topk(2, dim=1, largest=False).values[:, 1] if cells > 1 else torch.full_like(first, float("inf"))
        cost = float(first.sum())
        # with medoid k gone, sample i pays its nearest remaining medoid or the new one
        after = torch.stack(
            [torch.minimum(torch.where(label == k, second, first)[:, None], D).sum(0) for k in range(cells)]
        )
        best = int(after.argmin())
        if not float(after.flatten()[best]) < cost * (1 - rtol) - 1e-300:
            return Partition(torch.tensor(medoids, device=D.device), label, cost)
        medoids[best // len(D)] = best % len(D)


def k_means(x: Tensor, cells: int, *, seed: int = 0, starts: int = 5) -> Tensor:
    """Labels (N,) that lower sum_i |x_i - m_k(i)|^2, m_k the means of the cells, for rows x (N, n).

    SciPy's Lloyd iteration from k-means++ seeds, the best of ``starts``. On snapshots of unit norm
    |u - v|^2 = 2 - 2 cos: the angle again, but for the sign, and with means that need not be samples.

    >>> k_means(torch.tensor([[0.0], [0.1], [5.0], [5.2]], dtype=torch.float64), 2).unique_consecutive().shape
    torch.Size([2])
    """
    if not 1 <= cells <= len(x):
        raise NWidthError("k_means", got=f"{cells} cells for {len(x)} samples", expected=f"1 to {len(x)}")
    rows = (torch.view_as_real(x) if x.is_complex() else x).flatten(1).cpu().numpy()
    best, least = None, float("inf")
    for start in range(starts):
        try:
            means, labels = kmeans2(
                rows, cells, iter=100, minit="++", missing="raise", seed=np.random.default_rng([seed, start])
            )
        except ClusterError:  # a cell ran empty
            continue
        cost = float(((rows - means[labels]) ** 2).sum())
        if cost < least:
            best, least = labels, cost
    if best is None:
        raise NWidthError("k_means", got=f"{cells} cells, of which some stay empty", expected="fewer cells")
    return torch.from_numpy(best).to(x.device).long()


def cell_widths(x: Tensor, partition: Partition, ranks: int, weight: Tensor | None = None) -> Tensor:
    """Normalised widths of each cell, (K, ranks + 1): the largest relative error of its snapshots on n modes.

    Entry n is sup over the cell of |u - P_n u| / |u|, with P_n the projection on the first n POD modes of the cell's
    normalised snapshots: an upper estimate of the width of the cell's set of directions. On the line of its medoid it
    would be the largest sine, which is what k-medoids lowers.
    """
    out = torch.zeros(len(partition.medoids), ranks + 1, dtype=x.real.dtype, device=x.device)
    directions = _directions(x, weight)
    for k in range(len(out)):
        mine = directions[partition.labels == k]
        pod = POD(center=False).fit(mine)
        c = pod.encode(mine)
        for n in range(ranks + 1):
            # what is left is formed as a vector: 1 - captured would lose errors below 1e-8
            left = mine - c[:, :n] @ pod.basis[:n] if n <= pod.rank else torch.zeros_like(mine)  # type: ignore[index]
            out[k, n] = left.norm(dim=1).max()
    return out
