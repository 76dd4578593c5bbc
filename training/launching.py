"""Are there as many processes as were asked for? Launchers start a single one without a word where they fail to."""

import os
from collections.abc import Mapping

from anatomy_vlm.training.recipe import RecipeError


# Who starts processes says how many there are by one of these.
WORLD_SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
CURE = (
    "start them by `torchrun --nproc_per_node N training/run.py`, or by `accelerate launch` with the configuration "
    "cpu-2 or ddp of anatomy_vlm.training.accelerate_configs"
)


def started_processes() -> int:
    """How many processes the launcher says there are."""
    return max(int(os.environ.get(name, 1)) for name in WORLD_SIZES)


def check_processes(
    num_processes: int, expected: int | None = None, environment: Mapping[str, str] | None = None
) -> None:
    """
    Args:
        num_processes: How many processes there are.
        expected: How many there should be, if that is known.
        environment: Variables of this process; its own by default.

    Raises:
        RecipeError: if there are others than expected; with FSDP; or if `accelerate launch` was asked for several
            processes and started one alone, as `accelerate launch --cpu --num_processes 2` does: it then leaves behind
            the address of a main process and nothing that says how many there are.
    """
    environment = os.environ if environment is None else environment
    if expected is not None and expected != num_processes:
        raise RecipeError(
            f"--processes {expected}: there {'is' if num_processes == 1 else 'are'} {num_processes}; {CURE}"
        )
    if environment.get("ACCELERATE_USE_FSDP") == "true":
        raise RecipeError(
            "the stages of a run cannot save weights that FSDP keeps in shards; use the configuration ddp"
        )
    launched_alone = "ACCELERATE_MIXED_PRECISION" in environment and "MASTER_ADDR" in environment
    if num_processes == 1 and launched_alone and not any(name in environment for name in WORLD_SIZES):
        raise RecipeError(
            f"`accelerate launch` was asked for several processes and started one; {CURE}. If one is meant, "
            "unset MASTER_ADDR"
        )
