"""Ridge, radial basis functions and POD regression against closed forms, brute force and exact operators."""

import math

import numpy as np
import pytest
import scipy.interpolate
import torch
from nwidth.backends import Axis, Grid, Mesh
from nwidth.backends.resample import resample
from nwidth.data import Dataset, Roles, open_dataset
from nwidth.data.files import load_state, save_state
from nwidth.data.metrics import relative_l2
from nwidth.errors import NWidthError
from nwidth.gp import GPRegressor, KernelRidge
from nwidth.solvers.reduced import RBF, InputEncoder, Mean, PODRegression, Ridge

F64 = torch.float64


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = F64) -> torch.Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


# Ridge


@pytest.mark.parametrize("dtype", [F64, torch.complex128])
@pytest.mark.parametrize(("n", "p"), [(30, 4), (12, 20)])
@pytest.mark.parametrize("alpha", [1e-12, 1e-3, 1.0])
def test_ridge_is_the_regularised_least_squares_solution(dtype, n, p, alpha):
    x, y = draw(n, p, dtype=dtype), draw(n, 3, seed=1, dtype=dtype)
    ridge = Ridge([alpha])
    ridge.fit(x, y, None, seed=0)
    xc, yc = (x - x.mean(0)).numpy(), (y - y.mean(0)).numpy()
    penalty = alpha * np.linalg.norm(xc, 2) ** 2
    W = np.linalg.solve(xc.conj().T @ xc + penalty * np.eye(p), xc.conj().T @ yc)
    z = draw(5, p, seed=2, dtype=dtype)
    expected = y.mean(0).numpy() + (z - x.mean(0)).numpy() @ W
    tol = 1e-9 if n > p or alpha > 1e-6 else 1e-3  # the normal equations of the check lose half the digits
    assert np.allclose(ridge.predict(z)[0], expected, atol=tol) and ridge.predict(z)[1] is None
    if n > p and alpha == 1e-12:
        ones = np.hstack([x.numpy(), np.ones((n, 1))])
        reference = np.linalg.lstsq(ones, y.numpy(), rcond=None)[0]
        assert np.allclose(np.hstack([z.numpy(), np.ones((5, 1))]) @ reference, ridge.predict(z)[0], atol=1e-9)


@pytest.mark.parametrize("alpha", [1e-4, 1e-1])
def test_leave_one_out_is_what_leaving_out_gives(alpha):
    x, y = draw(15, 4), draw(15, 2, seed=1)
    ridge = Ridge([alpha])
    told = ridge.fit(x, y, None, seed=0)[0]["loo_rel_l2"]
    penalty = alpha * np.linalg.norm((x - x.mean(0)).numpy(), 2) ** 2  # that of the whole set
    errors = []
    for i in range(15):
        keep = [j for j in range(15) if j != i]
        xk, yk = x[keep], y[keep]
        xc, yc = xk - xk.mean(0), yk - yk.mean(0)
        W = torch.linalg.solve(xc.mT @ xc + penalty * torch.eye(4, dtype=F64), xc.mT @ yc)
        errors.append(y[i] - yk.mean(0) - (x[i] - xk.mean(0)) @ W)
    assert told == pytest.approx(float(torch.stack(errors).norm() / y.norm()), rel=1e-10)


@pytest.mark.parametrize("validated", [False, True])
def test_ridge_takes_the_alpha_with_the_smallest_error(validated):
    x = draw(20, 15)
    y = x[:, :1] + 0.5 * draw(20, 1, seed=1)  # noise: neither extreme is best
    z = draw(400, 15, seed=3)

    def error(predicted):
        return float((predicted - z[:, :1]).norm() / z[:, :1].norm())

    ridge = Ridge([1e-10, 1e-2, 1e-1, 1e6])
    history = ridge.fit(x, y, (z, error) if validated else None, seed=0)
    key = "val_rel_l2" if validated else "loo_rel_l2"
    assert [h["alpha"] for h in history] == ridge.alphas and all(set(h) == {"alpha", key} for h in history)
    assert ridge.alpha == min(history, key=lambda h: h[key])["alpha"] in (1e-2, 1e-1)
    if validated:
        assert error(ridge.predict(z)[0]) == pytest.approx(min(h[key] for h in history))


def test_inputs_that_never_vary_give_the_mean():
    x, y = torch.ones(6, 3, dtype=F64), draw(6, 2)
    ridge = Ridge()
    ridge.fit(x, y, None, seed=0)
    assert torch.allclose(ridge.predict(x)[0], y.mean(0).expand(6, 2))


def test_refitting_keeps_alpha():
    ridge = Ridge([1e-8, 1e-1])
    ridge.fit(draw(20, 3), draw(20, 1, seed=1), None, seed=0)
    alpha = ridge.alpha
    ridge.refit(draw(25, 3, seed=4), draw(25, 1, seed=5))
    fresh = Ridge([alpha])
    fresh.fit(draw(25, 3, seed=4), draw(25, 1, seed=5), None, seed=0)
    assert ridge.alpha == alpha and torch.equal(ridge.weight, fresh.weight) and ridge.parameters == 4


# RBF


@pytest.mark.parametrize("kernel", ["thin_plate_spline", "cubic", "gaussian"])
def test_rbf_interpolates_as_scipy_does(kernel):
    x, y = draw(30, 2), draw(30, 3, seed=1)
    epsilon = 1.0 if kernel == "gaussian" else None
    rbf = RBF(kernel, smoothing=[0.0], epsilon=epsilon)
    rbf.fit(x, y, None, seed=0)
    assert torch.allclose(rbf.predict(x)[0], y, atol=1e-6)
    z = draw(7, 2, seed=2)
    reference = scipy.interpolate.RBFInterpolator(x.numpy(), y.numpy(), kernel=kernel, epsilon=epsilon)(z.numpy())
    assert np.allclose(rbf.predict(z)[0], reference)


def test_rbf_chooses_its_smoothing_and_survives_repeated_points():
    x = draw(40, 1).repeat(2, 1)
    y = torch.sin(x) + 0.3 * draw(80, 1, seed=1)
    z = torch.linspace(-1, 1, 50, dtype=F64)[:, None]
    rbf = RBF("cubic", smoothing=[0.0, 1e-3, 1.0])
    history = rbf.fit(x, y, (z, lambda p: float((p - torch.sin(z)).norm())), seed=0)
    assert rbf.chosen == min(history, key=lambda h: h["val_rel_l2"])["smoothing"] > 0
    with pytest.raises(NWidthError, match="singular"):
        RBF("cubic", smoothing=[0.0]).refit(x, y)
    with pytest.raises(NWidthError, match="kernel='cube'"):
        RBF("cube")


def test_rbf_with_fewer_samples_than_polynomial_terms():
    x, y = draw(5, 8), draw(5, 1, seed=1)
    rbf = RBF()
    rbf.fit(x, y, None, seed=0)
    assert torch.allclose(rbf.predict(x)[0], y, atol=1e-8)


# encoding


def fields(n: int = 24, grid=None, dtype: torch.dtype = F64, **changed) -> Dataset:
    grid = grid or Grid.make((16,))
    a = draw(n, 1, *grid.shape, dtype=dtype)
    return Dataset(grid, **{"u": a.flip(-1) * 2 + 1, "a": a, "mu": draw(n, 2, seed=7) * 5 + 100} | changed)


@pytest.mark.parametrize(
    "grid",
    [
        Grid.make((40,)),
        Grid.make((6, 5), "chebyshev"),
        Grid.make((3, 4, 5), "cell"),
        Mesh(torch.rand(30, 2), None, torch.rand(30) + 0.1),
    ],
)
def test_distances_of_codes_are_distances_of_fields(grid):
    data = fields(20, grid, mu=None)
    codes = InputEncoder().fit(data)(data)
    w = grid.norm_weights()
    centred = data.a - data.a.mean(0)
    size = (centred.square() * w).flatten(1).sum(1).mean().sqrt()
    for i, j in ((0, 1), (3, 9)):
        expected = ((data.a[i] - data.a[j]).square() * w).sum().sqrt() / size
        assert float((codes[i] - codes[j]).norm()) == pytest.approx(float(expected), rel=1e-10)


def test_codes_of_parameters_are_standardised_and_constants_are_zero():
    mu = torch.cat([draw(20, 1) * 1e6 + 3, torch.full((20, 1), 0.1)], 1)
    data = fields(20, a=None, mu=mu)
    codes = InputEncoder().fit(data)(data)
    assert torch.allclose(codes[:, 0].std(), torch.ones((), dtype=F64)) and float(codes[:, 1].abs().max()) < 1e-12


@pytest.mark.parametrize("rank", [None, 3])
@pytest.mark.parametrize("dtype", [F64, torch.complex128])
def test_encoder_rank_other_grids_and_state(tmp_path, rank, dtype):
    x = Grid.make((16,)).coordinates()[0]
    waves = draw(24, 7, dtype=dtype) @ torch.cat(
        [
            torch.cos(2 * torch.pi * x * torch.arange(4)[:, None]),
            torch.sin(2 * torch.pi * x * torch.arange(1, 4)[:, None]),
        ]
    ).to(dtype)
    data = fields(24, dtype=dtype, a=waves[:, None], mu=draw(24, 2))
    encoder = InputEncoder(rank=rank).fit(data)
    assert encoder.features == (rank or 7) + 2 and encoder(data).shape == (24, encoder.features)
    fine = Grid.make((40,))
    moved = fields(24, fine, dtype=dtype, a=resample(data.a, data.grid, fine), mu=data.mu)
    assert torch.allclose(encoder(moved), encoder(data), atol=1e-10)
    save_state(tmp_path / "e", encoder.state_dict())
    assert torch.equal(InputEncoder().load_state_dict(load_state(tmp_path / "e"))(data), encoder(data))
    with pytest.raises(NWidthError, match="without 'mu'"):
        encoder(fields(mu=None, dtype=dtype))


# POD regression


def linear(n: int, grid, seed: int = 0, channels: int = 1, dtype: torch.dtype = F64) -> Dataset:
    """u = b + K a with a smooth kernel K, in one dimension or on any grid by its flattened points."""
    size = math.prod(grid.shape)
    a = draw(n, size, seed=seed, dtype=dtype)
    K = draw(size, channels * size, seed=99, dtype=dtype) / size**0.5
    u = 0.7 + a @ K
    return Dataset(grid, u=u.reshape(n, channels, *grid.shape), a=a.reshape(n, 1, *grid.shape))


GRIDS = {
    "1d": Grid.make((12,)),
    "chebyshev": Grid.make((12,), "chebyshev"),
    "2d": Grid.make((4, 3), "cell"),
    "3d": Grid.make((2, 3, 2)),
    "mesh": Mesh(torch.rand(12, 2), None, torch.rand(12) + 0.1),
}


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("dtype", [F64, torch.complex128])
def test_a_linear_operator_is_recovered_exactly(grid, channels, dtype):
    data = linear(40, GRIDS[grid], channels=channels, dtype=dtype)
    surrogate = PODRegression(Ridge([1e-14]))
    log = surrogate.fit(data[:30], data[30:35])
    assert torch.allclose(surrogate.predict(data[35:].inputs()).mean, data.u[35:], atol=1e-9)
    assert log.rank == surrogate.pod.rank == 12 and log.parameters == 12 * 12 + 12
    assert log.selected["input_features"] == 12


@pytest.mark.parametrize("alpha", [1e-12, 1e-2])
def test_with_a_lossless_basis_it_is_ridge_on_the_fields(alpha):
    grid = Grid.make((10,))  # equal weights
    data = fields(30, grid, mu=None, u=torch.tanh(draw(30, 1, 10) @ draw(10, 10, seed=5)))
    surrogate = PODRegression(Ridge([alpha]))
    surrogate.fit(data[:20], None)
    x, y = data.a[:20, 0], data.u[:20, 0]
    xc = x - x.mean(0)
    penalty = alpha * torch.linalg.matrix_norm(xc, 2) ** 2 * torch.eye(10, dtype=F64)
    W = torch.linalg.solve(xc.mT @ xc + penalty, xc.mT @ (y - y.mean(0)))
    expected = y.mean(0) + (data.a[20:, 0] - x.mean(0)) @ W
    assert torch.allclose(surrogate.predict(data[20:].inputs()).mean[:, 0], expected, atol=1e-8)


def test_truncation_is_the_projection_error():
    data = linear(60, Grid.make((12,)))
    surrogate = PODRegression(Ridge([1e-14]), rank=5)
    log = surrogate.fit(data[:50], None)
    missed = relative_l2(surrogate.predict(data[50:].inputs()).mean, data.u[50:], data.grid)
    centred = data.u[50:] - surrogate.pod.mean * surrogate.scale
    V = surrogate.pod.basis.reshape(5, -1)
    V = V / V.norm(dim=1, keepdim=True)
    best = (centred.flatten(1) - centred.flatten(1) @ V.mT @ V).norm(dim=1) / data.u[50:].flatten(1).norm(dim=1)
    assert torch.allclose(missed[:, 0], best, rtol=1e-6) and "POD of rank 5 leaves" in log.notes[0]


def burgers_like(n: int, grid: Grid, t: torch.Tensor, seed: int = 0) -> Dataset:
    """Travelling waves: u(x, t) = sum_k A_k cos(2 pi k (x - t) + phase_k), linear in u0."""
    x = grid.coordinates()[0]
    c = draw(n, 3, 2, seed=seed)

    def state(s):
        k = torch.arange(1, 4, dtype=F64)[:, None]
        waves = torch.stack([torch.cos(2 * math.pi * k * (x - s)), torch.sin(2 * math.pi * k * (x - s))], 1)
        return torch.einsum("nkp,kpx->nx", c, waves)[:, None]

    return Dataset(grid, u=torch.stack([state(float(s)) for s in t], 1), u0=state(0.0), t=t)


T = torch.linspace(0.05, 1.0, 20, dtype=F64)


def test_trajectories_are_one_shot_and_follow_grid_and_times():
    train = burgers_like(30, Grid.make((16,)), T)
    surrogate = PODRegression(Ridge([1e-14]))
    log = surrogate.fit(train[:25], train[25:])
    assert log.rank == 6
    same = burgers_like(4, Grid.make((16,)), T, seed=5)
    assert torch.allclose(surrogate.predict(same.inputs()).mean, same.u, atol=1e-8)
    fine = burgers_like(4, Grid.make((50,)), T, seed=5)  # band-limited: exact on any periodic grid
    assert torch.allclose(surrogate.predict(fine.inputs()).mean, fine.u, atol=1e-8)
    errors = []
    for every in (2, 1):  # cubic interpolation in time has order four
        surrogate = PODRegression(Ridge([1e-14]))
        surrogate.fit(burgers_like(30, Grid.make((16,)), T[every - 1 :: every]), None)
        between = burgers_like(4, Grid.make((16,)), torch.linspace(0.12, 0.97, 33, dtype=F64), seed=5)
        errors.append(float((surrogate.predict(between.inputs()).mean - between.u).abs().max()))
    assert math.log2(errors[0] / errors[1]) > 3.0


@pytest.mark.parametrize(
    ("t", "words"),
    [
        (torch.tensor([0.5, 1.2]), "times within"),
        (torch.tensor([0.01, 0.5]), "on"),
        (None, "steady and time-dependent"),
    ],
)
def test_other_times_are_refused(t, words):
    train = burgers_like(10, Grid.make((16,)), T)
    surrogate = PODRegression(Ridge())
    surrogate.fit(train, None)
    with pytest.raises(NWidthError, match=words):
        surrogate.predict(Dataset(train.grid, u0=train.u0, t=t))


@pytest.mark.parametrize("regressor", ["ridge", "kernel", "rbf", "gp"])
def test_parameters_alone_and_every_regressor(regressor):
    x = torch.linspace(0, 1, 33, dtype=F64)
    mu = torch.rand(60, 2, dtype=F64, generator=torch.Generator().manual_seed(0))
    u = (mu[:, :1] * torch.sin(math.pi * x) + mu[:, 1:] * torch.exp(mu[:, :1] * x))[:, None]
    data = Dataset(Grid.make((33,), "nodal"), u=u, mu=mu)
    made = {"ridge": Ridge, "kernel": KernelRidge, "rbf": RBF, "gp": GPRegressor}[regressor]()
    surrogate = PODRegression(made, rtol=1e-5)
    log = surrogate.fit(data[:45], data[45:50])
    prediction = surrogate.predict(data[50:].inputs())
    error = float(relative_l2(prediction.mean, data.u[50:], data.grid).mean())
    assert error < {"ridge": 0.15, "kernel": 0.01, "rbf": 0.01, "gp": 1e-3}[regressor]
    assert min(h["val_rel_l2"] for h in log.history) < {"ridge": 0.2}.get(regressor, 0.02)
    mean = Mean()
    mean.fit(data[:50], None)
    assert error < 0.5 * float(relative_l2(mean.predict(data[50:].inputs()).mean, data.u[50:], data.grid).mean())
    assert (prediction.std is not None) == (regressor in ("gp", "kernel"))


def test_standard_deviations_of_fields_are_those_of_the_coefficients_and_of_what_is_left_out():
    class Fixed(Ridge):
        def predict(self, x):
            mean, _ = super().predict(x)
            return mean, torch.full_like(mean, 0.5)

    data = linear(40, Grid.make((12,)))
    surrogate = PODRegression(Fixed([1e-12]), rank=4)
    surrogate.fit(data[:30], None)
    std = surrogate.predict(data[30:].inputs()).std
    V = surrogate.pod.basis * surrogate.scale
    c = surrogate.pod.encode(data.u[:30] / surrogate.scale)
    missed = (data.u[:30] - surrogate.pod.decode(c) * surrogate.scale).square().mean(0)
    assert torch.allclose(std, (0.25 * V.square().sum(0) + missed).sqrt().expand_as(std))


@pytest.mark.parametrize("regressor", [Ridge, KernelRidge, RBF, GPRegressor])
@pytest.mark.parametrize("kind", ["fields", "mesh", "trajectories"])
def test_a_saved_surrogate_predicts_the_same(tmp_path, regressor, kind):
    data = {
        "fields": lambda: fields(20),
        "mesh": lambda: fields(20, GRIDS["mesh"]),
        "trajectories": lambda: burgers_like(20, Grid.make((16,)), T[:4]),
    }[kind]()
    surrogate = PODRegression(regressor(), rank=3, input_ranks=[2, None])
    surrogate.fit(data[:14], data[14:17])
    save_state(tmp_path / "s", surrogate.state_dict())
    again = PODRegression(regressor(), rank=3)
    again.load_state_dict(load_state(tmp_path / "s"))
    one, two = surrogate.predict(data[17:].inputs()), again.predict(data[17:].inputs())
    assert torch.allclose(one.mean, two.mean, rtol=1e-10, atol=1e-12)
    assert one.std is two.std is None or torch.allclose(one.std, two.std, rtol=1e-10)


def test_input_ranks_are_chosen_on_validation():
    grid = Grid.make((32,))
    a = draw(120, 1, 32) * 10.0 ** -torch.linspace(0, 1, 32, dtype=F64)
    data = Dataset(grid, a=a, u=torch.sin(a[..., :1] + a[..., 1:2]).expand(120, 1, 32).contiguous())
    surrogate = PODRegression(KernelRidge(), input_ranks=[None, 99, 6, 1], refit=False)
    log = surrogate.fit(data[:80], data[80:])
    by_size = {f: min(h["val_rel_l2"] for h in log.history if h["features"] == f) for f in (1, 6, 32)}
    assert {h["features"] for h in log.history} == {1, 6, 32}  # 99 and None are the same
    assert by_size[1] > min(by_size.values())  # the last one tried is not the best
    assert log.selected["input_features"] == min(by_size, key=by_size.get)
    error = float(relative_l2(surrogate.predict(data[80:].inputs()).mean, data.u[80:], grid).mean())
    assert error == pytest.approx(min(by_size.values()), rel=1e-6)  # the error told is that of its predictions


@pytest.mark.parametrize("refit", [False, True])
def test_validation_samples_teach_only_with_refit(refit):
    data = fields(20, mu=None)
    surrogate = PODRegression(Ridge([1e-12]), refit=refit)
    surrogate.fit(data[:12], data[12:])  # 12 samples leave 16 points undetermined, 20 do not
    error = float((surrogate.predict(data[12:].inputs()).mean - data.u[12:]).abs().max())
    assert (error < 1e-6) == refit


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("even", ["reflect x"]),
        ("odd", ["reflect x and change sign"]),
        ("both", ["reflect x", "reflect x and change sign"]),
        ("none", []),
    ],
)
def test_only_true_symmetries_are_kept(kind, expected):
    x = Grid.make((16,)).coordinates()[0]
    generator = torch.Generator().manual_seed(0)
    a = torch.einsum(
        "nk,kx->nx",
        torch.randn(150, 4, dtype=F64, generator=generator),
        torch.stack(
            [
                torch.cos(2 * math.pi * (x - 0.1)),
                torch.sin(2 * math.pi * x),
                torch.cos(4 * math.pi * x),
                torch.sin(4 * math.pi * (x - 0.2)),
            ]
        ),
    )
    even, odd = 1 + torch.cos(2 * math.pi * x), torch.sin(2 * math.pi * x)
    u = a + {"even": a**2 * even, "odd": a**2 * odd, "both": a**3 * even, "none": a**2 * (even + odd + 1)}[kind]
    data = Dataset(Grid.make((16,)), a=a[:, None], u=u[:, None])
    plain = PODRegression(KernelRidge())
    plain.fit(data[:40], data[40:80])
    surrogate = PODRegression(KernelRidge(), symmetries=True)
    log = surrogate.fit(data[:40], data[40:80])
    notes = [n for n in log.notes if n.startswith("training samples doubled by")]
    assert [n.partition(": ")[2] for n in notes] == [", ".join(expected)] * bool(expected)
    errors = [
        float(relative_l2(s.predict(data[80:].inputs()).mean, data.u[80:], data.grid).mean())
        for s in (plain, surrogate)
    ]
    assert errors[1] < 0.9 * errors[0] if expected else errors[1] == errors[0]


def test_symmetries_stop_at_max_samples():
    data = fields(30, mu=None, u=draw(30, 1, 16).square())
    surrogate = PODRegression(KernelRidge(), symmetries=True, max_samples=39)
    assert not any("doubled" in n for n in surrogate.fit(data[:20], data[20:]).notes)


def test_mean():
    data = burgers_like(9, Grid.make((16,)), T)
    surrogate = Mean()
    log = surrogate.fit(data[:5], data[5:7])
    assert log.rank == 0 and log.parameters == 20 * 16
    fine = burgers_like(2, Grid.make((40,)), T[3:9])
    found = surrogate.predict(fine.inputs()).mean
    assert found.shape == fine.u.shape and torch.equal(found[0], found[1])
    expected = burgers_like(9, Grid.make((40,)), T[3:9]).u[:5].mean(0)
    assert torch.allclose(found[0], expected, atol=1e-10)
    again = Mean()
    again.load_state_dict(surrogate.state_dict())
    assert torch.equal(again.predict(fine.inputs()).mean, found)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: PODRegression(Ridge()).predict(fields()), "not fitted"),
        (lambda: PODRegression(Ridge()).fit(fields(1), None), "1 training samples"),
        (lambda: PODRegression(Ridge()).fit(Dataset(Grid.make((4,)), u=torch.rand(5, 1, 4)), None), "inputs none"),
        (lambda: PODRegression(Ridge()).fit(fields().inputs(), None), "no solution"),
        (lambda: PODRegression(Ridge(), rank=99).fit(fields(), None), "rank=99"),
        (lambda: Mean().predict(fields()), "not fitted"),
    ],
)
def test_errors_name_what_arrived(call, words):
    with pytest.raises(NWidthError, match=words):
        call()


def test_a_shift_made_by_others_is_learned(realdata):
    load = lambda k: torch.load(realdata / "advection" / f"advection_{k}.pt", weights_only=True)  # noqa: E731
    parts = {}
    for k in ("training", "testing"):
        a, u = (torch.as_tensor(getattr(v, "tensor", v)).double() for v in (load(f"input_{k}"), load(f"output_{k}")))
        grid = Grid([Axis("nodal", 100, 0.0, 2.0)])
        parts[k] = Dataset(grid, a=a.reshape(-1, 1, 100), u=u.reshape(-1, 1, 100))
    surrogate = PODRegression(Ridge())
    surrogate.fit(parts["training"], None)
    test = parts["testing"]
    assert float(relative_l2(surrogate.predict(test.inputs()).mean, test.u, test.grid).mean()) < 1e-5


def test_graetz_flow_made_by_others(realdata):
    data = open_dataset(
        realdata / "graetz" / "graetz_50.npz",
        Roles({"u": "snapshots", "mu": "params"}, {"u": "nm"}, {"points": "coords_reference"}),
    )
    surrogate = PODRegression(GPRegressor(), rank=10)
    surrogate.fit(data[:40], None)
    test = data[40:]
    assert float(relative_l2(surrogate.predict(test.inputs()).mean, test.u, test.grid).mean()) < 0.01


# logarithms of parameters


def over_decades(count, of):
    """u = sin(of(mu) x), mu from 0.01 to 10."""
    grid = Grid.make((40,), "nodal")
    mu = 10 ** (3 * torch.rand(count, 1, generator=torch.Generator().manual_seed(0), dtype=F64) - 2)
    return Dataset(grid, u=torch.sin(of(mu) * grid.coordinates())[:, None], mu=mu)


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize(("of", "chosen"), [(torch.log, [0]), (lambda mu: mu, None)])
def test_logarithms_are_read_where_validation_says_so(held, of, chosen):
    data = over_decades(60, of)
    train, val, test = (data[:30], data[30:40], data[40:]) if held else (data[:40], None, data[40:])
    errors = {}
    for option in ("auto", True, False):
        surrogate = PODRegression(RBF(), log_parameters=option)
        log = surrogate.fit(train, val)
        errors[option] = float(relative_l2(surrogate.predict(test.inputs()).mean, test.u, test.grid).mean())
        if option == "auto":
            assert log.selected.get("log_parameters") == chosen
    assert errors["auto"] == errors[chosen is not None] < 0.5 * errors[chosen is None]


def test_logarithms_are_not_tried_for_short_ranges_or_signs():
    data = over_decades(20, torch.log)
    near = Dataset(data.grid, u=data.u, mu=data.mu.clamp(0.5, 2))
    signed = Dataset(data.grid, u=data.u, mu=data.mu - 0.1)
    for d in (near, signed):
        log = PODRegression(RBF()).fit(d[:15], d[15:])
        assert not any("log_parameters" in h for h in log.history)
    with pytest.raises(NWidthError, match="log_parameters"):
        PODRegression(RBF(), log_parameters="sometimes")
