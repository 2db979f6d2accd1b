"""Inner products against dense Cholesky factors, whatever their storage."""

import numpy as np
import pytest
import scipy.sparse
import torch
from nwidth.backends.svd import inner_product, singular_values, svd
from nwidth.errors import NWidthError

pytestmark = pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
F64, C128 = torch.float64, torch.complex128


def random(*shape, dtype=F64, seed=0):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def mass_matrix(cells: int) -> scipy.sparse.csr_array:
    """P1 mass matrix of a uniform triangulation of the unit square, and a graded factor on the diagonal."""
    line = scipy.sparse.diags_array([1.0, 4.0, 1.0], offsets=[-1, 0, 1], shape=(cells, cells)) / 6
    W = scipy.sparse.kron(line, line).tocsr()
    D = scipy.sparse.diags_array(np.logspace(0, 3, cells**2))
    return (D @ W @ D).tocsr()


def stiffness(cells: int) -> scipy.sparse.csr_array:
    line = scipy.sparse.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(cells, cells))
    one = scipy.sparse.eye_array(cells)
    return (scipy.sparse.kron(line, one) + scipy.sparse.kron(one, line)).tocsr()


def hermitian(n: int) -> torch.Tensor:
    root = random(n, n, dtype=C128, seed=5)
    return root @ root.mH + torch.eye(n)


def torch_csr(W) -> torch.Tensor:
    return torch.from_numpy(W.toarray()).to_sparse_csr()


WEIGHTS = {
    "diagonal": lambda: torch.linspace(0.1, 3, 36, dtype=F64),
    "dense": lambda: torch.from_numpy(mass_matrix(6).toarray()),
    "scipy csr": lambda: mass_matrix(6),
    "scipy stiffness": lambda: stiffness(6),
    "torch csr": lambda: torch_csr(mass_matrix(6)),
    "torch coo": lambda: torch_csr(stiffness(6)).to_sparse_coo(),
    "hermitian": lambda: hermitian(36),
    "sparse hermitian": lambda: scipy.sparse.csr_array(hermitian(36).numpy()),
    "blocks": lambda: [torch.linspace(1, 2, 7, dtype=F64), mass_matrix(5), torch.eye(4, dtype=F64) * 3],
}


def densified(weight) -> torch.Tensor:
    if isinstance(weight, list):
        return torch.block_diag(*map(densified, weight))
    if scipy.sparse.issparse(weight):
        return torch.from_numpy(weight.toarray())
    weight = weight.to_dense() if weight.layout != torch.strided else weight
    return torch.diag(weight) if weight.ndim == 1 else weight


@pytest.mark.parametrize("dtype", [F64, C128, torch.float32])
@pytest.mark.parametrize("lead", [(), (3,)])
@pytest.mark.parametrize("kind", WEIGHTS)
def test_factors_are_orthonormal_and_optimal_in_the_weighted_norm(kind, lead, dtype):
    weight = WEIGHTS[kind]()
    W = densified(weight)
    if W.is_complex() and not dtype.is_complex:
        with pytest.raises(NWidthError, match="a complex weight for real data"):
            svd(random(*lead, 36, 9, dtype=dtype), weight=weight)
        return
    tol = 2e-3 if dtype == torch.float32 else 2e-11
    a = random(*lead, 36, 9, dtype=dtype)
    half = torch.linalg.cholesky(W).mH.to(C128)
    sigma = np.linalg.svd((half @ a.to(C128)).numpy(), compute_uv=False)
    U, s, Vh = svd(a, rank=4, weight=weight)
    assert U.dtype == dtype and U.shape == (*lead, 36, 4)
    wide = U.to(C128)
    eye = torch.eye(4, dtype=C128).expand(*lead, 4, 4)
    assert torch.allclose(wide.mH @ W.to(C128) @ wide, eye, atol=tol)
    assert np.allclose(s.numpy(), sigma[..., :4], rtol=tol)
    missed = half @ (a - U * s[..., None, :].to(dtype) @ Vh).to(C128)
    best = np.sqrt((sigma[..., 4:] ** 2).sum(-1))
    assert np.allclose(torch.linalg.vector_norm(missed, dim=(-2, -1)).numpy(), best, rtol=tol)
    assert np.allclose(singular_values(a, weight).numpy(), sigma, rtol=tol, atol=tol * sigma.max())


@pytest.mark.parametrize("kind", WEIGHTS)
def test_root_unroot_and_times(kind):
    weight = WEIGHTS[kind]()
    W = densified(weight).to(C128)
    x = random(2, 36, 3, dtype=C128)
    product = inner_product(weight, x.shape, x)
    assert torch.allclose(product.times(x), W @ x, rtol=1e-12)
    assert torch.allclose(product.unroot(product.root(x)), x, rtol=1e-10, atol=1e-11)
    squares = torch.linalg.vecdot(product.root(x), product.root(x), dim=-2)
    assert torch.allclose(squares, torch.linalg.vecdot(x, W @ x, dim=-2), rtol=1e-11)


@pytest.mark.parametrize("kind", ["diagonal", "dense"])
def test_one_inner_product_for_each_matrix_of_a_batch(kind):
    a = random(2, 5, 12, 7)
    roots = random(2, 5, 12, 12, seed=1)
    weight = random(2, 5, 12, seed=1).exp() if kind == "diagonal" else roots @ roots.mT + torch.eye(12)
    U, s, Vh = svd(a, rank=3, weight=weight)
    for i in range(2):
        for j in range(5):
            one = svd(a[i, j], rank=3, weight=weight[i, j])
            assert all(torch.allclose(x[i, j], y, atol=1e-11) for x, y in zip((U, s, Vh), one))


def test_sparse_and_dense_agree_on_a_large_ill_conditioned_product():
    W = stiffness(25) @ mass_matrix(25) @ stiffness(25)
    W = (W + W.T) / 2
    a = random(625, 20)
    dense, sparse = svd(a, rank=5, weight=torch.from_numpy(W.toarray())), svd(a, rank=5, weight=W)
    assert np.linalg.cond(W.toarray()) > 1e8
    assert torch.allclose(sparse.s, dense.s, rtol=1e-12) and torch.allclose(sparse.Vh, dense.Vh, atol=1e-10)
    assert torch.allclose(sparse.U.mT @ torch.from_numpy(W @ sparse.U.numpy()), torch.eye(5, dtype=F64), atol=1e-9)


@pytest.mark.parametrize("weight", [torch.rand(9) + 0.1, torch.arange(1, 10)])
@pytest.mark.parametrize("full", [False, True])
def test_coarse_weights_are_met_in_the_precision_of_the_data(weight, full):
    weight = torch.diag(weight) if full else weight
    W = (weight if full else torch.diag(weight)).double()
    U = svd(random(9, 5), weight=weight).U
    assert torch.allclose(U.mT @ W @ U, torch.eye(5, dtype=F64), atol=1e-13)


INDEFINITE = scipy.sparse.csr_array(np.diag([1.0, 2.0, -1.0, 3.0, 1.0]))
OFF = torch.eye(5, dtype=F64) + torch.triu(torch.ones(5, 5, dtype=F64), 1)


@pytest.mark.parametrize(
    ("weight", "words"),
    [
        (INDEFINITE, "not positive definite"),
        (INDEFINITE[:, [1, 0, 2, 3, 4]], "not symmetric"),
        (scipy.sparse.csr_array(np.fliplr(np.eye(5))), "not positive definite"),
        (scipy.sparse.csr_array(np.diag([1.0, 2.0, 0.0, 3.0, 1.0])), "not positive definite"),
        (scipy.sparse.csr_array(OFF.numpy()), "not symmetric"),
        (scipy.sparse.eye_array(4), "(4, 4)"),
        (scipy.sparse.csr_array(np.diag([1.0, np.nan, 1, 1, 1])), "NaN"),
        (OFF, "not symmetric"),
        (torch.full((5,), float("inf")), "infinite weights"),
        (torch.ones(5, dtype=C128), "zero or negative"),
        ([torch.ones(2), torch.ones(2)], "[2, 2]"),
        (torch.ones(3, 5), "(3, 5)"),
    ],
)
def test_errors(weight, words):
    with pytest.raises(NWidthError) as error:
        svd(random(5, 3), weight=weight)
    assert words in str(error.value)


def test_an_ambiguous_batch_of_weights_is_an_error():
    with pytest.raises(NWidthError, match="one product for all"):
        svd(random(4, 4, 3), weight=torch.eye(4, dtype=F64) + 1)
