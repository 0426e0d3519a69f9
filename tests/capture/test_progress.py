"""Which steps are recorded, and which of them with all statistics."""

import numpy as np
import pytest

from kgrad.capture.progress import BLOCK, EARLY, Progress, Wanted


def planned(every: int, calls: int, per_step: int = 1, per_call: int = 1) -> list[Wanted]:
    progress = Progress(every, (8, 8))
    progress.begin_fit(per_step, per_call)
    progress.begin_epoch(0)
    plans = []
    for call in range(calls):
        plans.append(progress.plan())
        progress.end_batches((call + 1) * per_call - 1, recorded=plans[-1] is not Wanted.NOTHING)
    return plans


def recorded(plans: list[Wanted]) -> np.ndarray:
    return np.flatnonzero([plan is not Wanted.NOTHING for plan in plans])


@pytest.mark.parametrize("every", [2, 3, 10])
def test_the_first_steps_are_recorded_one_by_one(every):
    assert recorded(planned(every, EARLY)).tolist() == list(range(0, EARLY, every))


@pytest.mark.parametrize(("every", "in_a_row"), [(2, 8), (3, 8), (10, 8), (25, 3), (200, 1)])
def test_later_ones_follow_each_other_and_are_as_many(every, in_a_row):
    block = every * in_a_row
    assert block <= max(BLOCK, every)
    start = -(-EARLY // block) * block
    later = recorded(planned(every, start + 50 * block))
    later = later[later >= start]
    by_block = later.reshape(50, in_a_row)
    assert (np.diff(by_block, axis=1) == 1).all()
    assert (by_block // block == start // block + np.arange(50)[:, None]).all()
    assert len(set((by_block[:, 0] % block).tolist())) > min(5, block // 4)  # an epoch of that length shows them all


def test_everything_is_recorded_where_that_is_wanted():
    assert len(recorded(planned(1, 2 * EARLY))) == 2 * EARLY


@pytest.mark.parametrize("every", [1, 10])
def test_one_recorded_step_in_so_many_has_all_statistics(every):
    plans = [plan for plan in planned(every, 40 * EARLY) if plan is not Wanted.NOTHING]
    share = plans.count(Wanted.DETAILS) / len(plans)
    assert share == pytest.approx(1 / 8, rel=0.05)


def test_micro_batches_of_one_step_are_recorded_together():
    plans = planned(10, 4 * (EARLY + 800), per_step=4)
    assert all(len(set(plans[at : at + 4])) == 1 for at in range(0, len(plans), 4))


def test_whole_executions_are_recorded_or_not():
    assert recorded(planned(16, 400, per_call=8)).tolist() == list(range(0, 400, 2))
