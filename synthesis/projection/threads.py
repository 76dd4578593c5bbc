"""Runs compiled kernels side by side."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor


# One pool per process: a pool does not survive a fork, and data loaders fork. (Numba's own OpenMP layer aborts there.)
_POOLS: dict[tuple[int, int], ThreadPoolExecutor] = {}


def default_num_threads() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_tasks(kernel: Callable, tasks: Sequence[tuple], num_threads: int | None = None) -> None:
    """Calls `kernel(*task)` for each task; the kernel must release the interpreter lock and tasks must be independent.

    The split into tasks is the caller's, so results do not depend on the number of threads.
    """
    threads = min(num_threads or default_num_threads(), len(tasks))
    if threads <= 1:
        for task in tasks:
            kernel(*task)
        return
    key = (os.getpid(), threads)
    if key not in _POOLS:
        _POOLS[key] = ThreadPoolExecutor(threads, thread_name_prefix="projection")
    for future in [_POOLS[key].submit(kernel, *task) for task in tasks]:
        future.result()
