"""Processes and steps of accumulation share an epoch: every image once, in the same whole batches."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anatomy_vlm.training.shared_batches import SharedBatches, sequential, shuffled


@settings(deadline=None)
@given(st.integers(0, 60), st.integers(1, 5), st.integers(1, 3), st.integers(1, 5), st.booleans())
def test_updates_see_the_same_images_whoever_shares_them(length, batch_size, accumulation, processes, drop_last):
    order = shuffled(length, 3)
    shared = [
        SharedBatches(
            order, length, batch_size, accumulation=accumulation, rank=r, num_processes=processes, drop_last=drop_last
        )
        for r in range(processes)
    ]
    alone = SharedBatches(order, length, batch_size * accumulation * processes, drop_last=drop_last)
    for batches in (*shared, alone):
        batches.set_epoch(2)
    steps = [list(batches) for batches in shared]
    assert {len(batches) for batches in shared} == {len(of_rank) for of_rank in steps}
    assert len({len(of_rank) for of_rank in steps}) == 1
    updates = [
        sorted(i for of_rank in steps for step in of_rank[start : start + accumulation] for i in step)
        for start in range(0, len(steps[0]), accumulation)
    ]
    assert updates == [sorted(batch) for batch in alone]
    sizes = [len(step) for of_rank in steps for step in of_rank]
    assert max(sizes, default=0) <= batch_size
    if drop_last:
        assert set(sizes) <= {batch_size}
    else:
        assert sorted(i for update in updates for i in update) == list(range(length))


def test_epochs_differ_and_seeds_repeat():
    one, same, other = shuffled(50, 1), shuffled(50, 1), shuffled(50, 9)
    assert one(0) == same(0) != one(1) != other(0)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_last_batch_is_shared_evenly(rank):
    batches = SharedBatches(sequential(11), 11, 4, rank=rank, num_processes=2)
    assert [len(step) for step in batches] == [4, 2 - rank]
