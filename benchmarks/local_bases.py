"""Local bases against one global basis: 300 Gaussians of width 0.05 and amplitudes 10^(+-2).

usage: python benchmarks/local_bases.py [picture.png]

Mean and largest relative projection error for cells by k-medoids under the sine and under the Euclidean distance, and
by k-means (scikit-learn) on raw and on normalised snapshots, K = 1, 4, 8, r = 3, 6.
"""

import sys

import torch
from nwidth.solvers.reduced import POD, cell_widths, k_medoids, sine_dissimilarity
from sklearn.cluster import KMeans


def errors(unit, labels, rank):
    out = torch.empty(len(unit), dtype=torch.float64)
    for k in labels.unique():
        mine = unit[labels == k]
        out[labels == k] = POD(center=False).fit(mine, cap=rank).residual(mine)
    return out


def main() -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.linspace(0, 1, 400, dtype=torch.float64)
    mu = 0.1 + 0.8 * torch.rand(300, 1, generator=g, dtype=torch.float64)
    u = 10 ** (4 * torch.rand(300, 1, generator=g, dtype=torch.float64) - 2) * torch.exp(-(((x - mu) / 0.05) ** 2))
    unit = u / u.norm(dim=1, keepdim=True)
    sine, euclid = sine_dissimilarity(u), torch.cdist(u, u)
    for cells in (1, 4, 8):
        labels = {
            "sine k-medoids": k_medoids(sine, cells).labels,
            "Euclidean k-medoids": k_medoids(euclid, cells).labels,
        }
        for name, v in (("k-means", u), ("k-means, normalised", unit)):
            labels[name] = torch.from_numpy(KMeans(cells, n_init=5, random_state=0).fit_predict(v.numpy())).long()
        for rank in (3, 6):
            found = {k: errors(unit, v, rank) for k, v in labels.items()}
            line = ", ".join(f"{k} {float(e.mean()):.3f}/{float(e.max()):.3f}" for k, e in found.items())
            print(f"K={cells} r={rank} mean/max: {line}")
    if len(sys.argv) > 1:
        picture(sys.argv[1], u, sine)


def picture(path, u, sine) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
    for cells in (1, 2, 4, 8):
        widths = cell_widths(u, k_medoids(sine, cells), 14)
        axes.semilogy(widths.amax(0).clamp_min(1e-12), marker=".", label=f"{cells} cell" + "s" * (cells > 1))
    axes.set(xlabel="modes in each cell", ylabel="largest relative error", ylim=(1e-6, 2))
    axes.legend()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
