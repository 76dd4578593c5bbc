"""Who writes the shards: this process, processes of this machine, or a Dask cluster.

Dask, because its client gives a `concurrent.futures.Executor`: the same lines run on one machine and on many. It is
pure Python without a JVM, and clusters on SLURM, Kubernetes, YARN or over SSH are started by its own deployment
packages. Ray and Spark would each need a second code path for the same list of independent shards. The workers have to
see the folders of films and output under the same paths, and have this package.
"""

import multiprocessing
import multiprocessing.connection
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from anatomy_vlm.training.loaders.errors import DatasetError


LOCAL_CLUSTER = "local"
# Tasks handed out at a time for each worker: few, because a task carries the entries of its shard.
_AHEAD = 2


def run_tasks(
    function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]], workers: int, distributed: str | None
) -> Iterator[Any]:
    """
    The results of `function` for each task, as they come.

    Args:
        function: Of this package, so that processes can import it.
        tasks: Its arguments.
        workers: Processes of this machine; with 1 this process works itself.
        distributed: Address of a Dask scheduler, or "local" for a Dask cluster on this machine.

    Raises:
        DatasetError: a process died, or there is no cluster at the address.
    """
    if distributed is None and (workers == 1 or len(tasks) <= 1):
        for task in tasks:
            yield function(*task)
        return
    with _executor(workers, distributed) as executor:
        waiting = iter(tasks)
        width = _AHEAD * (workers if distributed is None else max(workers, 64))
        pending = {executor.submit(function, *task) for _, task in zip(range(width), waiting)}
        try:
            while pending:
                done = next(as_completed(pending))
                pending.remove(done)
                for task in waiting:
                    pending.add(executor.submit(function, *task))
                    break
                yield done.result()
        except BrokenProcessPool as error:
            raise DatasetError(
                "a process died, most likely for want of memory or in a decoder; run the same command again, it goes "
                "on where it stopped; fewer --workers need less memory"
            ) from error
        finally:
            for future in pending:
                future.cancel()


@contextmanager
def _executor(workers: int, distributed: str | None) -> Iterator[Executor]:
    if distributed is None:
        # Not forked from here, where libraries have threads; a fork server imports them once for all.
        method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
        context = multiprocessing.get_context(method)
        if method == "forkserver":
            context.set_forkserver_preload(["anatomy_vlm.training.preparation.shard"])
        with ProcessPoolExecutor(workers, mp_context=context, initializer=_die_with_parent) as pool:
            yield pool
        return
    try:
        from distributed import Client
    except ImportError as error:
        raise ImportError('--distributed needs Dask: pip install "anatomy-vlm[distributed]"') from error
    try:
        address = {"n_workers": workers, "threads_per_worker": 1} if distributed == LOCAL_CLUSTER else {}
        client = Client(**address) if address else Client(distributed, timeout="30s")
    except (OSError, ValueError) as error:
        raise DatasetError(f"--distributed {distributed}: no Dask scheduler there ({error})") from error
    with client:
        yield client.get_executor(pure=False)


def _die_with_parent() -> None:
    """Let a worker end with the process that started it, even if that was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_wait_and_exit, args=(parent.sentinel,), daemon=True).start()


def _wait_and_exit(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)
