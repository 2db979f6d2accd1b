import math
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from nwidth.backends import Grid
from nwidth.data import Dataset
from nwidth.errors import NWidthError
from nwidth.solvers import stream
from nwidth.solvers.parameters import check_parameters, draw_parameters, parameter, varying


@dataclass(frozen=True)
class Law:
    names: ClassVar = {"nu": "positive", "c": "real", "r": "positive"}
    nu: object = 0.1
    c: object = 0.0
    r: object = 1

    def __post_init__(self):
        check_parameters(self, self.names)


def test_columns_follow_the_order_of_the_parameters():
    law = Law(nu=[0.1, 10], c=(-1, 1), r=2)
    assert (law.nu, law.c, law.r) == ((0.1, 10.0), (-1.0, 1.0), 2.0) and varying(law, tuple(law.names)) == ("nu", "c")
    mu = draw_parameters(law, tuple(law.names), [stream(0, i) for i in range(4000)])
    assert mu.shape == (4000, 2) and mu.dtype == torch.float64
    assert abs(float(mu[:, 0].log().mean())) < 0.1 and abs(float(mu[:, 1].mean())) < 0.05
    assert float(mu[:, 0].min()) >= 0.1 and float(mu[:, 0].max()) <= 10 and float(mu[:, 1].min()) < -0.9
    data = Dataset(Grid.make((4,)), mu=mu)
    assert torch.equal(parameter(law, law.names, "c", data), mu[:, 1]) and parameter(law, law.names, "r", data) == 2.0


def test_numbers_need_no_mu():
    assert draw_parameters(Law(), tuple(Law.names), [stream(0, 0)]) is None
    assert parameter(Law(), Law.names, "nu", None) == 0.1


@pytest.mark.parametrize("wrong", [{"nu": 0.0}, {"nu": [-1, 1]}, {"c": [1, 0]}, {"c": math.nan}, {"r": [1, 2, 3]}])
def test_bad_parameters(wrong):
    with pytest.raises(NWidthError, match=next(iter(wrong))):
        Law(**wrong)


@pytest.mark.parametrize("mu", [None, [[0.1]], [[0.0, 1.0]], [[math.inf, 1.0]]])
def test_bad_columns(mu):
    law = Law(nu=[0.1, 1.0], c=[0.0, 1.0])
    data = Dataset(Grid.make((4,)), u0=torch.zeros(1, 1, 4), mu=None if mu is None else torch.tensor(mu))
    with pytest.raises(NWidthError, match="nu, c"):
        parameter(law, law.names, "nu", data)
