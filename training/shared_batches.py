"""Which images each process takes at each step: every image of an epoch once, whatever the number of processes."""

from collections.abc import Callable, Iterator, Sequence

import torch


# The order of the images of an epoch; it must not depend on the process.
Order = Callable[[int], Sequence[int]]


def shuffled(length: int, seed: int) -> Order:
    """A permutation of `length` images that depends on seed and epoch alone."""

    def order(epoch: int) -> Sequence[int]:
        return torch.randperm(length, generator=torch.Generator().manual_seed(seed + epoch)).tolist()

    return order


def sequential(length: int) -> Order:
    """The images as they come, in every epoch."""
    return lambda epoch: range(length)


class SharedBatches(torch.utils.data.Sampler[list[int]]):
    """
    The batches of one process.

    An epoch is cut into whole batches of `batch_size * num_processes * accumulation` images, one for each update, and
    each of them into equal parts, one for each process and each step of accumulation. What is left at the end makes
    one more, smaller one, in parts whose sizes differ by one at most and may be zero; no image is taken twice and none
    is left out. So an update sees the same images however many processes and steps of accumulation share them.

    Args:
        order: The images of an epoch.
        length: How many there are.
        batch_size: Images of a process in one step.
        accumulation: Steps of an update.
        rank: Number of this process.
        num_processes: How many there are.
        drop_last: Leave out the images that do not fill a whole batch.

    Example:
        >>> for rank in range(2):
        ...     print(list(SharedBatches(sequential(11), 11, 2, accumulation=2, rank=rank, num_processes=2)))
        [[0, 4], [2, 6], [8, 10]]
        [[1, 5], [3, 7], [9]]
    """

    def __init__(
        self,
        order: Order,
        length: int,
        batch_size: int,
        *,
        accumulation: int = 1,
        rank: int = 0,
        num_processes: int = 1,
        drop_last: bool = False,
    ):
        self.order = order
        self.length = length
        self.batch_size = batch_size
        self.accumulation = accumulation
        self.rank = rank
        self.num_processes = num_processes
        self.drop_last = drop_last
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    @property
    def whole_batch(self) -> int:
        """Images of an update."""
        return self.batch_size * self.num_processes * self.accumulation

    def __len__(self) -> int:
        """Steps of an epoch, the same for every process."""
        updates, rest = divmod(self.length, self.whole_batch)
        last = 0 if self.drop_last else -(-rest // (self.batch_size * self.num_processes))
        return updates * self.accumulation + last

    def __iter__(self) -> Iterator[list[int]]:
        order = self.order(self.epoch)
        for start in range(0, self.length, self.whole_batch):
            size = min(self.whole_batch, self.length - start)
            if size < self.whole_batch and self.drop_last:
                return
            steps = -(-size // (self.batch_size * self.num_processes))
            parts = steps * self.num_processes
            for step in range(steps):
                part = step * self.num_processes + self.rank
                # Taken in turn, so that an order can be made in which every process reads a part of the files.
                yield list(order[start + part : start + size : parts])
