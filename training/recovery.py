"""Ends of a run that are no bugs: what is said, what is kept, and the exit status.

| status | meaning | the same command |
|---|---|---|
| 2 | recipe, data or files cannot be used | after they were mended |
| 3 | the training diverged: NaN or infinity | comes to the same end |
| 75 | disk full, memory full, a process or worker lost | goes on, once there is room |
| 130, 138, 143 | asked to stop by SIGINT, SIGUSR1, SIGTERM | goes on |
"""

import errno
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError

from anatomy_vlm.training.checkpoints import last_complete_checkpoint


EXIT_DIVERGED = 3
EXIT_TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h
# What the back ends say when a peer is gone or silent: gloo's pairs, the store, NCCL's watchdog.
LOST_PROCESS = (
    "Connection closed by peer",
    "Connection reset by peer",
    "Connection refused",
    "Broken pipe",
    "Timed out waiting",
    "timed out",
    "Socket Timeout",
    "NCCL error",
    "gloo/transport",
    "Gloo connectFullMesh",
)


class TrainingStopped(RuntimeError):
    """A training that cannot go on for now; one line with the cause, what was kept, and the cure."""

    exit_status = EXIT_TRY_AGAIN
    agreed = False  # do all processes of the run raise it, so that one of them says it for all?


class Diverged(TrainingStopped):
    """A loss or gradient that is not finite."""

    exit_status = EXIT_DIVERGED
    agreed = True


class CheckpointNotWritten(TrainingStopped):
    """A checkpoint that could not be written to its end, and was removed."""


class BadExample(ValueError):
    """A training image that cannot be read; the message names it."""


def kept(folder: Path | None) -> str:
    """What a stage can go on from, as the end of a message."""
    checkpoint = last_complete_checkpoint(folder) if folder is not None else None
    if checkpoint is not None:
        return f"the last good checkpoint is {checkpoint}"
    return "there is no checkpoint of this stage yet; it starts with the weights of the one before"


def is_full(error: BaseException) -> bool:
    """Does this error say that a disk or quota is full?"""
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return True
    return any(words in str(error) for words in ("No space left", "os error 28", "Disk quota exceeded"))


def free_space(path: Path) -> str:
    """Free space where `path` lies or will lie, in words."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return f"{shutil.disk_usage(path).free / 1e6:,.0f} MB are free there"


def one_line(error: BaseException) -> str:
    """The first line of an error's message that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _memory(folder: Path | None) -> str:
    """Why a worker is gone, as the end of a message."""
    return (
        "; most often the system ended it for want of memory: free some memory or /dev/shm and give the same command "
        "again, or, with another --output, lower training.dataloader_num_workers or "
        f"training.dataloader_prefetch_factor; {kept(folder)}"
    )


@contextmanager
def explained(where: str, output: Path, folder: Path | None = None, processes: int = 1) -> Iterator[None]:
    """
    Turn what can befall a run into one line with the cause, what was kept, and the cure.

    Args:
        where: What is being done, such as "stage 'fine'".
        output: Where it writes.
        folder: The stage's folder, if there can be checkpoints.
        processes: Processes of the run.

    Raises:
        TrainingStopped: for a full disk or memory, and for a lost worker or process.
        BadExample: for an image that cannot be read.
    """
    try:
        yield
    except TrainingStopped as error:
        raise type(error)(f"{where}, {error}") from error
    except torch.OutOfMemoryError as error:
        raise TrainingStopped(
            f"{where}: the memory of the device is full ({one_line(error)}); {kept(folder)}. Free the device and give "
            "the same command again, or, with another --output, lower training.per_device_train_batch_size and raise "
            "training.gradient_accumulation_steps, or set training.activation_checkpointing=true or training.bf16=true"
        ) from error
    except BadExample as error:
        # From a worker it comes with the traceback of the worker around it.
        found = re.findall(r"BadExample: (.*)", str(error))
        raise BadExample(found[-1] if found else str(error)) from error
    except (ConnectionError, EOFError) as error:
        # A worker that is killed while it hands over a batch shows as a broken connection to it.
        raise TrainingStopped(
            f"{where}: the DataLoader worker is gone ({one_line(error)}){_memory(folder)}"
        ) from error
    except (OSError, SafetensorError) as error:
        if not is_full(error):
            raise
        raise TrainingStopped(
            f"{where}: no space left to write below {output}; {free_space(output)}; {kept(folder)}. Free some space "
            "and give the same command again"
        ) from error
    except RuntimeError as error:
        text = str(error)
        if "DataLoader worker" in text:
            raise TrainingStopped(f"{where}: {one_line(error).rstrip('. ')}{_memory(folder)}") from error
        if processes > 1 and (
            isinstance(error, torch.distributed.DistError) or any(words in text for words in LOST_PROCESS)
        ):
            raise TrainingStopped(
                f"{where}: another process of this run is gone or silent ({one_line(error)}); its own output says "
                f"why; {kept(folder)}. Give the same command again"
            ) from error
        raise
