import pytest
from nwidth.training.batches import StepBatches


def test_each_epoch_visits_every_item_once_in_another_order():
    batches = list(StepBatches(10, 4, 6, seed=0))
    first, second = ([i for b in part for i in b] for part in (batches[:3], batches[3:]))
    assert sorted(first) == sorted(second) == list(range(10)) and first != second


@pytest.mark.parametrize("start", [1, 3, 5])
def test_a_later_start_gives_the_rest_of_the_same_stream(start):
    whole = list(StepBatches(10, 4, 9, seed=3))
    rest = StepBatches(10, 4, 9, seed=3)
    rest.start = start
    assert list(rest) == whole[start:]


def test_processes_share_a_batch_without_overlap():
    whole = list(StepBatches(9, 4, 3, seed=1))
    parts = [list(StepBatches(9, 4, 3, seed=1, rank=r, world=2)) for r in range(2)]
    for step in range(2):
        assert sorted(parts[0][step] + parts[1][step]) == sorted(whole[step])
    assert all(len(p[2]) >= 1 for p in parts)  # the short last batch still feeds both


def test_seeds_differ():
    assert list(StepBatches(50, 50, 1, seed=0)) != list(StepBatches(50, 50, 1, seed=1))
