"""Empirical interpolation: exact on the span, the points of pyMOR, honest errors; matrices by their entries."""

import math

import numpy as np
import pytest
import scipy.sparse
import torch
from nwidth.errors import NWidthError
from nwidth.solvers.reduced import EmpiricalInterpolation, MatrixInterpolation

F64 = torch.float64


def family(count: int = 60, n: int = 200, dtype: torch.dtype = F64, seed: int = 0) -> torch.Tensor:
    """1 / (x + mu) on [0, 1], times exp(2 i x) where complex: entire in x, so that errors fall geometrically."""
    mu = 0.2 + torch.rand(count, 1, dtype=F64, generator=torch.Generator().manual_seed(seed))
    x = torch.linspace(0, 1, n, dtype=F64)
    g = 1 / (x + mu)
    return (g * torch.exp(2j * x)).to(dtype) if dtype.is_complex else g.to(dtype)


MAKERS = {
    "eim": lambda g, d: EmpiricalInterpolation.eim(g, rank=d),
    "eim, l2": lambda g, d: EmpiricalInterpolation.eim(g, rank=d, norm="l2"),
    "deim": lambda g, d: EmpiricalInterpolation.pod(g, rank=d, method="deim"),
    "qdeim": lambda g, d: EmpiricalInterpolation.pod(g, rank=d, method="qdeim"),
    "gappy": lambda g, d: EmpiricalInterpolation.pod(g, rank=d, points=3 * d),
}


@pytest.mark.parametrize("dtype", [torch.float32, F64, torch.complex128])
@pytest.mark.parametrize("maker", MAKERS)
def test_exact_on_the_span_and_at_the_points(maker, dtype):
    g = family(dtype=dtype)
    found = MAKERS[maker](g, 4)
    eps = torch.finfo(dtype).eps
    inside = torch.randn(7, 4, dtype=dtype, generator=torch.Generator().manual_seed(1)) @ found.basis
    assert (found(inside) - inside).abs().max() < 1e3 * eps * inside.abs().max()
    assert len(set(found.points.tolist())) == found.points.numel() == (12 if maker == "gappy" else 4)
    if maker != "gappy":
        assert (found.at(found(g)) - found.at(g)).abs().max() < 1e3 * eps * g.abs().max()
    single = found.extend(found.at(g)[3])
    assert single.shape == g.shape[1:] and torch.allclose(single, found(g)[3], rtol=1e-3 if eps > 1e-10 else 1e-9)
    assert torch.allclose(found.at(g) @ found.cardinal, found(g), atol=1e4 * eps * float(g.abs().max()))


@pytest.mark.parametrize("maker", MAKERS)
def test_errors_decrease_within_what_the_constants_allow(maker):
    train, new = family(), family(20, seed=5)
    errors = []
    for d in (2, 4, 6, 8):
        found = MAKERS[maker](train, d)
        u = torch.linalg.qr(found.basis.T).Q
        best = new - new @ u @ u.T
        miss = new - found(new)
        assert bool((miss.norm(dim=1) <= found.stability * best.norm(dim=1) * (1 + 1e-6)).all())
        assert bool((miss.abs().amax(1) <= (1 + found.lebesgue) * best.abs().amax(1)).all())
        errors.append(float(miss.abs().max()))
    assert errors[0] > 10 * errors[1] > 100 * errors[2] > 1000 * errors[3], errors


def test_the_greedy_does_what_its_definition_says():
    """Residuals against interpolation by a linear solve, at every step."""
    g = family()
    found = EmpiricalInterpolation.eim(g, rank=6)
    assert found.errors[0] == g.abs().max()
    for k in range(1, 7):
        i, x = found.selected[:k], found.points[:k]
        residual = g - torch.linalg.solve(g[i][:, x].T, g[:, x].T).T @ g[i]
        assert torch.allclose(found.errors[k], residual.abs().max(), rtol=1e-6)
        row, column = divmod(int(residual.abs().argmax()), g.shape[1])
        if k < 6:
            assert (row, column) == (int(found.selected[k]), int(found.points[k]))
        else:
            assert column == int(found.probe)


@pytest.mark.parametrize("dtype", [F64, torch.complex128])
@pytest.mark.parametrize("points", [6, 15])
def test_the_identity_in_the_selected_snapshots(dtype, points):
    g = family(dtype=dtype)
    found = EmpiricalInterpolation.eim(g, rank=6).oversampled(points)
    weights = found.weights(found.at(g))
    assert torch.allclose(weights @ g[found.selected], found(g), atol=1e-9)
    assert torch.allclose(weights[found.selected], torch.eye(6, dtype=dtype), atol=1e-8)
    if points == 6:
        values = g[found.selected][:, found.points].T  # F_lm = g_m(x_l)
        assert torch.allclose(weights.T, torch.linalg.solve(values, found.at(g).T), atol=1e-6)
    assert torch.allclose(found.weights(found.at(g)[2]), weights[2])


def test_the_estimate_is_exact_for_functions_of_one_more_step():
    g = family()
    six, seven = (EmpiricalInterpolation.eim(g, rank=d) for d in (6, 7))
    inside = torch.randn(5, 7, dtype=F64, generator=torch.Generator().manual_seed(0)) @ seven.basis
    estimate = six.estimate(six.at(inside), inside[:, six.probe])
    assert torch.allclose(estimate, (inside - six(inside)).abs().amax(1), rtol=1e-6)


@pytest.mark.parametrize("dtype", [F64, torch.complex128])
def test_a_batch_is_many_single_ones(dtype):
    sets = torch.stack([family(dtype=dtype), family(dtype=dtype, seed=3) ** 2])
    for make in (MAKERS["eim"], MAKERS["deim"], MAKERS["qdeim"], MAKERS["gappy"]):
        both = make(sets, 5)
        for k in range(2):
            one = make(sets[k], 5)
            assert torch.equal(one.points, both.points[k])
            assert torch.allclose(one(sets[k]), both(sets)[k], rtol=1e-8)
            assert torch.allclose(one.lebesgue, both.lebesgue[k]) and torch.allclose(one.stability, both.stability[k])


def test_blocks_of_snapshots_change_nothing(monkeypatch):
    from nwidth.solvers.reduced import greedy

    whole = EmpiricalInterpolation.eim(family(), rank=8)
    monkeypatch.setattr(greedy, "SLICE", 200 * 7)
    parts = EmpiricalInterpolation.eim(family(), rank=8)
    assert torch.equal(whole.points, parts.points) and torch.equal(whole.basis, parts.basis)


@pytest.mark.parametrize("norm", ["max", "l2"])
def test_the_points_of_ei_greedy_in_pymor(norm):
    ei = pytest.importorskip("pymor.algorithms.ei")
    from pymor.vectorarrays.numpy import NumpyVectorSpace

    g = torch.exp(-(((torch.linspace(0, 1, 150, dtype=F64) - family(80, 1)) / 0.1) ** 2))
    theirs = NumpyVectorSpace(150).make_array(g.numpy().T)
    points, _, data = ei.ei_greedy(theirs, error_norm="sup" if norm == "max" else None, max_interpolation_dofs=15)
    ours = EmpiricalInterpolation.eim(g, rank=15, norm=norm)
    assert ours.points.tolist() == points.tolist()
    assert np.allclose(ours.errors[: len(data["errors"])], data["errors"], rtol=1e-6)


@pytest.mark.parametrize("method", ["deim", "qdeim"])
def test_the_points_of_deim_in_pymor(method):
    ei = pytest.importorskip("pymor.algorithms.ei")
    from pymor.vectorarrays.numpy import NumpyVectorSpace

    basis = torch.linalg.qr(
        torch.randn(120, 12, dtype=F64, generator=torch.Generator().manual_seed(2))
    ).Q.T.contiguous()
    theirs = getattr(ei, method)(NumpyVectorSpace(120).make_array(basis.numpy().T), pod=False)[0]
    assert EmpiricalInterpolation.from_basis(basis, method=method).points.tolist() == np.asarray(theirs).tolist()


def test_weighted_norms_choose_other_snapshots():
    g = torch.eye(3, dtype=F64) * torch.tensor([1.0, 2.0, 3.0], dtype=F64)
    weight = torch.tensor([100.0, 1.0, 1.0], dtype=F64)
    assert EmpiricalInterpolation.eim(g, rank=1, norm="l2").selected.tolist() == [2]
    found = EmpiricalInterpolation.eim(g, rank=1, norm="l2", weight=weight)
    assert found.selected.tolist() == [0] and math.isclose(float(found.errors[0]), 10.0)


def test_more_points_are_less_sensitive_to_noise():
    g = family()
    noise = 1e-6 * torch.randn(*g.shape, dtype=F64, generator=torch.Generator().manual_seed(0))
    few = EmpiricalInterpolation.pod(g, rank=8)
    many = few.oversampled(40)
    assert many.points[:8].tolist() == few.points.tolist() and many.stability < 0.6 * few.stability
    assert (many.extend(many.at(g + noise)) - g).norm() < 0.8 * (few.extend(few.at(g + noise)) - g).norm()
    # the next point against trying all of them
    u = torch.linalg.qr(few.basis.T).Q
    rest = [k for k in range(200) if k not in few.points.tolist()]
    least = {k: float(torch.linalg.matrix_norm(u[[*few.points.tolist(), k]], -2)) for k in rest}
    assert least[int(many.points[8])] > 0.9 * max(least.values())


def test_rank_rules():
    g = family()
    loose, tight, full = (EmpiricalInterpolation.eim(g, rtol=r) for r in (1e-2, 1e-6, None))
    assert loose.rank < tight.rank < full.rank
    assert loose.errors[-1] <= 1e-2 * loose.errors[0] < loose.errors[-2]
    assert EmpiricalInterpolation.eim(g, rank=3, rtol=1e-9).rank == 3


def test_state():
    found = EmpiricalInterpolation.eim(family(), rank=5)
    again = EmpiricalInterpolation.from_state(found.state_dict())
    values = found.at(family(3, seed=9))
    assert torch.equal(again.weights(values), found.weights(values)) and torch.equal(again.probe, found.probe)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda g: EmpiricalInterpolation.eim(torch.cat([g[:3], g[:1] + g[1:2]]), rank=4), "dependent beyond rank 3"),
        (lambda g: EmpiricalInterpolation.eim(g, rank=61), "rank=61"),
        (lambda g: EmpiricalInterpolation.eim(g, norm="h1"), "max, l2"),
        (lambda g: EmpiricalInterpolation.eim(g, weight=torch.ones(200)), "norm=l2"),
        (lambda g: EmpiricalInterpolation.eim(g.index_fill(1, torch.tensor(3), math.nan), rank=2), "NaN"),
        (lambda g: EmpiricalInterpolation.eim(0 * g), "zero"),
        (lambda g: EmpiricalInterpolation.eim(g, rtol=2.0), "rtol=2.0"),
        (lambda g: EmpiricalInterpolation.eim(torch.stack([g, g[:1].expand_as(g)]), rtol=1e-6), "member of the batch"),
        (lambda g: EmpiricalInterpolation.pod(g, rank=4, method="s-opt"), "deim, qdeim"),
        (lambda g: EmpiricalInterpolation.pod(g, rank=50), "the rank of the data"),
        (lambda g: EmpiricalInterpolation.from_basis(g[[0, 1, 0]]), "rank 2"),
        (lambda g: EmpiricalInterpolation.from_basis(g[[0, 1, 0]], method="deim"), "dependent"),
        (lambda g: EmpiricalInterpolation.pod(g, rank=4, points=3), "points=3"),
        (lambda g: EmpiricalInterpolation.pod(g, rank=4).weights(g[:, :4]), "no snapshots"),
        (lambda g: EmpiricalInterpolation.pod(g, rank=4).estimate(g[:, :4], g[:, 0]), "held back"),
    ],
)
def test_errors(call, words):
    with pytest.raises(NWidthError, match=words):
        call(family())


def matrix(t: float) -> scipy.sparse.csr_matrix:
    """-(k u')' by differences with k = 1 + t exp(-((x - t)/0.2)^2) and a convection t."""
    n = 60
    x = (np.arange(n + 1) + 0.5) / (n + 1)
    k = 1 + t * np.exp(-(((x - t) / 0.2) ** 2))
    lower = -k[1:-1] - t
    return scipy.sparse.diags([lower, k[:-1] + k[1:], -k[1:-1] + t], [-1, 0, 1], format="csr")


def test_matrices_from_a_few_entries():
    train = [matrix(t) for t in np.linspace(0, 1, 40)]
    errors = []
    for rank in (4, 8, 12):
        found = MatrixInterpolation(train, rank=rank)
        new = matrix(0.437)
        errors.append(abs(found.matrix(found.entries(new)) - new).max())
        assert len(found.rows) == rank
        assert np.allclose(np.asarray(new[found.rows, found.columns]).ravel(), found.entries(new))
    assert errors[0] > 10 * errors[1] > 100 * errors[2], errors


def test_reduced_matrices_of_many_parameters_at_once():
    found = MatrixInterpolation([matrix(t) for t in np.linspace(0, 1, 40)], rank=15, points=20)
    g = torch.Generator().manual_seed(0)
    v, w = (torch.linalg.qr(torch.randn(60, 5, dtype=F64, generator=g)).Q for _ in range(2))
    entries = torch.stack([found.entries(matrix(t)) for t in (0.21, 0.66)])
    reduced = torch.tensordot(found.interpolation.coefficients(entries), found.reduce(v, w), dims=1)
    for r, t in zip(reduced, (0.21, 0.66)):
        assert torch.allclose(r, w.T @ torch.from_numpy(matrix(t) @ v.numpy()), atol=1e-5)


def test_matrices_of_other_shapes_are_refused():
    with pytest.raises(NWidthError, match="shapes"):
        MatrixInterpolation([matrix(0.1), matrix(0.1)[:, :5]])
    with pytest.raises(NWidthError, match="without entries"):
        MatrixInterpolation([scipy.sparse.csr_matrix((3, 3))])
