"""Non-intrusive reduced bases: separated operators, and the surrogate."""

import pytest
import torch
from nwidth.backends.svd import svd
from nwidth.data.files import load_state, save_state
from nwidth.data.metrics import relative_l2
from nwidth.errors import NWidthError
from nwidth.solvers import Burgers, Darcy, Graetz, ThermalBlock
from nwidth.solvers.reduced import NonintrusiveModel, NonintrusiveRB, ReducedBasis, SeparatedOperator

F64 = torch.float64
N = 400
X = (torch.arange(N, dtype=F64) + 0.5) / N
DISTANCE = (X[:, None] - X).abs()
EYE = torch.eye(N, dtype=torch.complex128)
TRAIN = torch.linspace(1, 20, 200, dtype=F64)[:, None]
NEW = 1 + 19 * torch.rand(12, 1, dtype=F64, generator=torch.Generator().manual_seed(0))


def waves(mu: torch.Tensor) -> torch.Tensor:
    """I + exp(i mu |x - y|) / n, one matrix for each mu."""
    return EYE + torch.exp(1j * mu.view(-1, 1, 1) * DISTANCE) / N


def kernel(mu: torch.Tensor, points: torch.Tensor | None) -> torch.Tensor:
    r = torch.linspace(0, 1, 801, dtype=F64)
    return torch.exp(1j * mu * (r if points is None else r[points]))


def entries(mu: torch.Tensor, points: torch.Tensor | None) -> torch.Tensor:
    """Every 40th entry of each 7th row: what is known of the matrix where the kernel is not."""
    rows = torch.stack([torch.exp(1j * m * DISTANCE[::7, ::40]).flatten() for m in mu[:, 0]]) / N
    rows = rows + EYE[::7, ::40].flatten()
    return rows if points is None else rows[:, points]


@pytest.fixture(scope="module")
def truth():
    load = torch.exp(3j * X)
    snapshots = torch.linalg.solve(waves(torch.linspace(1, 20, 30, dtype=F64)), load.expand(30, N))
    return load, svd(snapshots.T, rank=15).U, torch.linalg.solve(waves(NEW), load.expand(len(NEW), N))


def test_the_separated_form_of_a_wave_operator():
    """The figure asked for: 16 terms below 1e-11; and the bound |A - A_d|_F <= sup|g - I_d g| |1/n|_F."""
    exact, errors = waves(NEW), []
    for d in (8, 12, 16):
        separated = SeparatedOperator(kernel, TRAIN, rank=d)
        approx = separated.combine(NEW, waves(separated.parameters), EYE)
        miss = torch.linalg.matrix_norm(approx - exact)
        errors.append(float((miss / torch.linalg.matrix_norm(exact)).max()))
        assert bool((miss <= separated.bound(NEW) * 1.05 + 1e-14).all())
        assert separated.rank == d and separated.errors[-1] < separated.errors[0]
    assert errors[0] > 100 * errors[1] > 1e4 * errors[2] and errors[2] < 1e-11, errors


@pytest.mark.parametrize("access", ["matrix and kernel", "products and entries"])
def test_the_reduced_basis_of_a_wave_operator(access, truth):
    """The figure asked for: 15 modes below 1e-8; with 17 entries of the matrix where the kernel is unknown."""
    load, basis, exact = truth
    if access == "matrix and kernel":
        separated = SeparatedOperator(kernel, TRAIN, rank=20)
        model = NonintrusiveModel(separated, basis, lambda mu, v: waves(mu)[0] @ v, fixed=basis)
    else:
        separated = SeparatedOperator(entries, TRAIN[::4], rank=17)

        def product(mu, v):
            a = waves(mu)[0]
            return torch.stack([a @ column for column in v.T], 1)

        model = NonintrusiveModel(separated, basis, product)
    u = model.extend(model.solve(NEW, load))
    assert float(((u - exact).norm(dim=1) / exact.norm(dim=1)).max()) < 1e-8
    loads = torch.stack([load, 2 * load])
    assert torch.allclose(model.solve(NEW[:2], loads)[1], 2 * model.solve(NEW[1:2], load)[0])


def test_a_response_to_a_probe_is_enough():
    """Where no entry is known: A(mu) w for one vector w, read at a few points."""
    probe = torch.randn(N, dtype=torch.complex128, generator=torch.Generator().manual_seed(3))

    def response(mu, points):
        y = torch.stack([waves(m)[0] @ probe for m in mu])
        return y if points is None else y[:, points]

    separated = SeparatedOperator(response, TRAIN[::5], rank=17, oversampling=2.0)
    assert len(separated.interpolation.points) == 34
    approx = separated.combine(NEW, waves(separated.parameters))
    assert float((approx - waves(NEW)).abs().max() / waves(NEW).abs().max()) < 1e-8


@pytest.mark.parametrize(("problem", "resolution"), [(ThermalBlock(), 10), (Graetz(), 12)])
def test_affine_terms_are_found(problem, resolution):
    """The entries of training matrices span the affine terms; then Galerkin, also for what is not symmetric."""
    data = problem.simulate(range(50), 0, problem.grid(resolution))
    surrogate = NonintrusiveRB(rank=15)
    log = surrogate.fit(data[:40], data[40:44])
    system = problem.system(data.grid)
    assert log.selected["terms"] == len(system.operators.matrices) and log.selected["operator_floor"] < 1e-12
    v = surrogate._basis.flatten(1)[:, system.free].T
    for u, mu in zip(surrogate.predict(data[44:].inputs()).mean, data.mu[44:]):
        matrix, load = system.assemble(mu)
        c = torch.linalg.solve(v.T @ torch.from_numpy(matrix @ v.numpy()), v.T @ torch.from_numpy(load))
        assert torch.allclose(system.restrict(u[None], mu[None])[0], v @ c, atol=1e-9)


def test_coefficient_fields():
    """More operators and modes, smaller errors, down to those of the affine-free Galerkin model."""
    problem = Darcy()
    data = problem.simulate(range(170), 0, problem.grid(8))
    galerkin = ReducedBasis(rank=30)
    galerkin.fit(data[:160], None)
    best = galerkin.predict(data[160:].inputs()).mean
    errors = []
    for terms in (10, 40, 144):
        surrogate = NonintrusiveRB(rank=30, terms=terms)
        log = surrogate.fit(data[:160], None)
        assert log.selected["terms"] <= terms and log.selected["points"] <= 144
        u = surrogate.predict(data[160:].inputs()).mean
        errors.append(float(relative_l2(u, best, data.grid).mean()))
    assert errors[0] > 5 * errors[1] > 50 * errors[2] and errors[2] < 1e-6, errors


def test_prescribed_values_and_saving(tmp_path):
    problem = Darcy(points="nodal", boundary=[1.0, 0.0, -0.5, 2.0])
    data = problem.simulate(range(130), 0, problem.grid(8))
    surrogate = NonintrusiveRB(rank=36, terms=112)
    surrogate.fit(data[:120], None)
    u = surrogate.predict(data[120:].inputs()).mean
    assert float(relative_l2(u, data[120:].u, data.grid).max()) < 1e-6
    save_state(tmp_path / "state", surrogate.state_dict())
    again = NonintrusiveRB(rank=36)
    again.load_state_dict(load_state(tmp_path / "state"))
    assert torch.equal(again.predict(data[120:].inputs()).mean, u)
    with pytest.raises(NWidthError, match="training grid"):
        again.predict(problem.sample([0], 0, problem.grid(9)))


def test_a_second_fit_or_load_forgets_the_first():
    problem = ThermalBlock()
    data = problem.simulate(range(60), 0, problem.grid(6))
    again, fresh = NonintrusiveRB(rank=5), NonintrusiveRB(rank=5)
    again.fit(data[:20], None)
    before = again.state_dict()
    for surrogate in (again, fresh):
        surrogate.fit(data[20:50], None)
    means = [s.predict(data[50:].inputs()).mean for s in (again, fresh)]
    assert torch.equal(*means)
    again.load_state_dict(before)
    other = NonintrusiveRB(rank=5)
    other.fit(data[:20], None)
    assert torch.allclose(again.predict(data[50:].inputs()).mean, other.predict(data[50:].inputs()).mean, atol=1e-12)


def test_errors():
    burgers = Burgers(nu=0.1, final_time=0.1, times=2)
    data = burgers.simulate(range(4), 0, burgers.grid(16))
    with pytest.raises(NWidthError, match=r"Burgers.*AffineProblem or an EllipticProblem"):
        NonintrusiveRB().fit(data, None)
    with pytest.raises(NWidthError, match="terms=0"):
        NonintrusiveRB(terms=0)
    with pytest.raises(NWidthError, match="oversampling"):
        NonintrusiveRB(oversampling=0.5)
    with pytest.raises(NWidthError, match="not fitted"):
        NonintrusiveRB().predict(data.inputs())
