"""QR with column pivoting: LAPACK's pivots, orthonormal factors, batches like single matrices."""

import pytest
import scipy.linalg
import torch
from nwidth.backends.pivoting import pivoted_qr
from nwidth.errors import NWidthError


def matrices(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex128])
@pytest.mark.parametrize("decay", [0.0, 0.6])
def test_a_batch_has_the_pivots_of_lapack(dtype, decay):
    """With a decay of the rows the distances lose digits, so that they have to be measured again."""
    scale = 10.0 ** (-decay * torch.arange(12)) if dtype != torch.float32 else 0.5 ** (decay * torch.arange(12))
    a = matrices(3, 12, 12, dtype=dtype) * scale[:, None].to(dtype) @ matrices(12, 50, dtype=dtype)
    found = pivoted_qr(a)
    tolerance = 1e3 * torch.finfo(dtype).eps
    for k in range(3):
        assert found.pivots[k].tolist() == scipy.linalg.qr(a[k].numpy(), mode="r", pivoting=True)[1][:12].tolist()
        assert torch.equal(pivoted_qr(a[k]).pivots, found.pivots[k])
    for each in (found, pivoted_qr(a[0])):
        eye = torch.eye(12, dtype=dtype)
        assert (each.Q.mH @ each.Q - eye).abs().max() < tolerance
    assert (found.Q @ found.R - a).abs().max() < tolerance * a.abs().max()
    first = pivoted_qr(a, rank=5)
    assert torch.equal(first.pivots, found.pivots[:, :5])
    lower = first.R.gather(-1, first.pivots[:, None].expand(3, 5, 5)).tril(-1)
    assert lower.abs().max() < tolerance * a.abs().max()


@pytest.mark.parametrize("batch", [(), (2,)])
def test_errors(batch):
    a = matrices(*batch, 4, 9)
    with pytest.raises(NWidthError, match="rank=5"):
        pivoted_qr(a, rank=5)
    a[..., 3, :] = a[..., 0, :] + a[..., 1, :]
    with pytest.raises(NWidthError, match="columns of rank 3"):
        pivoted_qr(a)
    a[..., 0, 0] = float("nan")
    with pytest.raises(NWidthError, match="NaN"):
        pivoted_qr(a)
