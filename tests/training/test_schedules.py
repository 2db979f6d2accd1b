import pytest
from nwidth.training import Constant, Cosine, OneCycle, Step


@pytest.mark.parametrize("schedule", [Constant(), Cosine(), Cosine(0.1, 0.2), OneCycle(), Step()])
def test_factors_lie_between_zero_and_one(schedule):
    values = [schedule.factor(i / 200) for i in range(201)]
    assert min(values) >= 0 and 0.99 < max(values) <= 1.0


def test_ends_of_each_schedule():
    assert Cosine(0.0, 0.1).factor(0) == 1 and Cosine(0.0, 0.1).factor(1) == pytest.approx(0.1)
    one = OneCycle(rise=0.2, start=10, final=100)
    assert one.factor(0) == pytest.approx(0.1) and one.factor(0.2) == 1 and one.factor(1) == pytest.approx(1e-3)
    assert [Step((0.5,), 0.25).factor(p) for p in (0.49, 0.5, 1.0)] == [1, 0.25, 0.25]
    assert one.factor(1.5) == one.factor(1)  # a time budget may overshoot
