"""A `Trainer` that ends in good order and goes on exactly where it ended."""

import math
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list, gather_object
from safetensors import SafetensorError
from torch import nn
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from anatomy_vlm.training.checkpoints import (
    WRITING,
    clear_leftovers,
    delete,
    last_complete_checkpoint,
    manifest,
    publish,
    rotate,
    seal,
)
from anatomy_vlm.training.recovery import CheckpointNotWritten, Diverged, free_space, is_full, kept, one_line
from anatomy_vlm.training.recovery_signals import Interrupted, StopWatch, outlive_signals


# In the one number that the processes agree on in each step, above every signal.
NOT_FINITE = 1000
SHOWN_IMAGES = 8


class StopCallback(TrainerCallback):
    """Asks every process before each update whether to go on, and ends the training with a checkpoint if not."""

    def __init__(self, trainer: "RecoverableTrainer"):
        self.trainer = trainer

    def on_train_begin(self, args, state, control, **kwargs):
        self.trainer.restore_log_state()

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        self.trainer.agree()

    def on_step_end(self, args, state, control, **kwargs):
        if self.trainer.stopped_by is not None:
            control.should_save = control.should_training_stop = True

    def on_epoch_end(self, args, state, control, **kwargs):
        if self.trainer.stopped_by is not None:
            control.should_save = False  # it has just been done


class RecoverableTrainer(Trainer):
    """
    Adds to `Trainer`:

    - checkpoints that are written beside their place, sealed and moved there;
    - a stop in good order: `watch` notes signals, the processes agree on the step, a checkpoint is written;
    - an end before the update if a loss or gradient is not finite;
    - logs of a resumed run that equal those of an uninterrupted one.

    Args:
        watch: Notes signals; None for none.
    """

    optimizer: Any
    _parts: dict[str, torch.Tensor]
    _parts_count: float

    def __init__(self, *args: Any, watch: StopWatch | None = None, **kwargs: Any):
        self.watch = watch
        self.stopped_by: int | None = None
        self._seen: list[torch.Tensor] = []
        self._losses: list[torch.Tensor] = []
        self._grad_norm: Any = None
        self._scratch: Path | None = None
        self._resumed: Path | None = None
        self._parts, self._parts_count = {}, 0
        super().__init__(*args, **kwargs)
        self.add_callback(StopCallback(self))

    @property
    def folder(self) -> Path:
        return Path(str(self.args.output_dir))

    # ---- Going on

    def run(self) -> None:
        """
        Train from the last good checkpoint, if there is one, to the end.

        Raises:
            Interrupted: if it was asked to stop; a checkpoint has been written.
            Diverged: if a loss or gradient is not finite.
            CheckpointNotWritten: if the disk is full.
        """
        if self.args.should_save:
            clear_leftovers(self.folder)
        found = [last_complete_checkpoint(self.folder) if self.is_world_process_zero() else None]
        # One process looks: the others must not find another one.
        checkpoint = broadcast_object_list(found)[0] if self.args.world_size > 1 else found[0]
        if checkpoint is not None and self._is_at_its_end(checkpoint):
            self._load_from_checkpoint(str(checkpoint))
            self.state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
            return
        self._resumed = checkpoint
        self._warn_of_other_processes(checkpoint)
        self.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        if self.stopped_by is not None:
            state = self.state
            raise Interrupted(
                self.stopped_by,
                f"stopped by {signal.Signals(self.stopped_by).name}: step {state.global_step} of {state.max_steps} is "
                f"saved in {self.folder / f'{PREFIX_CHECKPOINT_DIR}-{state.global_step}'}; "
                "the same command goes on from there",
                agreed=True,
            )

    @staticmethod
    def _is_at_its_end(checkpoint: Path) -> bool:
        """Was it the last step? `Trainer` would take one more where the last step is not the last of an epoch."""
        state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
        return 0 < state.max_steps <= state.global_step

    def _warn_of_other_processes(self, checkpoint: Path | None) -> None:
        before = manifest(checkpoint).get("processes") if checkpoint else None
        if before not in (None, self.args.world_size) and self.is_world_process_zero():
            print(
                f"{checkpoint}: was written by {before} processes and goes on with {self.args.world_size}; "
                "the result will not equal that of an undisturbed run"
            )

    # ---- Stopping

    def training_step(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        if "example" in inputs:
            self._seen.append(inputs["example"])
        loss = super().training_step(model, inputs, *args, **kwargs)
        self._losses.append(loss.detach())
        return loss

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        self._grad_norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        return self._grad_norm

    def agree(self) -> None:
        """
        Agree over all processes, in one number, whether the step is sound and whether to stop after it.

        Raises:
            Diverged: on every process, before the weights are touched, if a loss or gradient of any is not finite.
        """
        finite = torch.isfinite(torch.stack([loss.float() for loss in self._losses])).all()
        norm = self._grad_norm
        if norm is not None and not self.args.fp16:
            # With fp16 the scaler meets infinite gradients now and then, and leaves the step out.
            norm = norm.full_tensor() if hasattr(norm, "full_tensor") else torch.as_tensor(norm)
            finite = finite & torch.isfinite(norm.to(finite.device))
        asked = (self.watch.pending if self.watch is not None else None) or 0
        flag = torch.where(finite, asked, NOT_FINITE)
        if self.args.world_size > 1:
            torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
        decision = int(flag)
        if decision == NOT_FINITE:
            raise Diverged(self._divergence(bool(finite)))
        self._losses, self._seen = [], []
        self.stopped_by = decision or None

    def agreed_signal(self) -> int:
        """The signal that any process was asked to stop by since the last step, or 0; all processes ask at once."""
        asked = torch.tensor((self.watch.pending if self.watch is not None else None) or 0, device=self.args.device)
        if self.args.world_size > 1:
            torch.distributed.all_reduce(asked, op=torch.distributed.ReduceOp.MAX)
        return int(asked)

    def _divergence(self, finite_here: bool) -> str:
        """What is not finite, and where, over all processes."""
        where = []
        if not finite_here:
            losses = torch.stack([loss.float() for loss in self._losses])
            parts = [name for name, value in self._parts.items() if not math.isfinite(float(value))]
            if parts:
                what = f"the loss '{parts[0]}' is" if len(parts) == 1 else f"the losses {', '.join(parts)} are"
            elif not bool(torch.isfinite(losses).all()):
                what = "the loss is"
            else:
                what = "the losses are finite, but their gradient is"
            numbers = [int(number) for seen in self._seen for number in seen]
            name: Callable[[int], str] = getattr(self.train_dataset, "name", str)
            images = ", ".join(name(number) for number in numbers[:SHOWN_IMAGES])
            more = f" and {len(numbers) - SHOWN_IMAGES} more" if len(numbers) > SHOWN_IMAGES else ""
            where = [f"{what} not finite for the images {images}{more}" if images else f"{what} not finite"]
        if self.args.world_size > 1:
            where = gather_object(where)
        return (
            f"step {self.state.global_step + 1}: {'; '.join(where)}; the weights were not changed by it and "
            f"{kept(self.folder)}. The same command comes to the same end: lower training.learning_rate or look at "
            "these images, with another --output"
        )

    def get_train_dataloader(self) -> DataLoader:
        loader = super().get_train_dataloader()
        if self.watch is not None and self.args.dataloader_num_workers:
            loader.worker_init_fn = _WorkerStart(loader.worker_init_fn)
        return loader

    # ---- Checkpoints

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._scratch) if self._scratch is not None else super()._get_output_dir(trial)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Write a checkpoint beside its place; once every process is done with it, seal it and move it there."""
        name = f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        self._scratch = self.folder / WRITING
        try:
            super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                seal(self._scratch / name, {"processes": self.args.world_size})
                publish(self._scratch / name, self.folder / name)
        except (OSError, RuntimeError, SafetensorError) as error:
            # torch says "unexpected pos" of a full disk and means it: the space that is left tells.
            written = isinstance(error, RuntimeError) and "PytorchStreamWriter" not in str(error)
            if written and "unexpected pos" not in str(error) and not is_full(error):
                raise
            space = free_space(self.folder)
            if self.args.should_save:
                delete(self._scratch)
            raise CheckpointNotWritten(
                f"step {self.state.global_step}: the checkpoint could not be written to {self.folder / name} "
                f"({one_line(error)}); {space}; {kept(self.folder)}. Free some space and give the same command again"
            ) from error
        finally:
            self._scratch = None
        if self.args.should_save:
            rotate(self.folder, self.args.save_total_limit)
        self.accelerator.wait_for_everyone()

    # ---- Logs

    def _log_state_file(self, checkpoint: str | Path) -> Path:
        return Path(checkpoint) / f"log_state_{self.args.process_index}.pth"

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        state = {
            "loss": self._tr_loss.detach().cpu(),
            "last_logged": self._globalstep_last_logged,
            "parts": {name: value.detach().cpu() for name, value in self._parts.items()},
            "parts_count": self._parts_count,
        }
        torch.save(state, self._log_state_file(output_dir))

    def restore_log_state(self) -> None:
        """Take up what had been summed up for the next log when the checkpoint was written."""
        self._parts, self._parts_count = {}, 0
        if self._resumed is None or not self._log_state_file(self._resumed).is_file():
            return
        state = torch.load(self._log_state_file(self._resumed), weights_only=True, map_location="cpu")
        device = self.args.device
        self._tr_loss, self._globalstep_last_logged = state["loss"].to(device), state["last_logged"]
        self._parts = {name: value.to(device) for name, value in state["parts"].items()}
        self._parts_count = state["parts_count"]


class _WorkerStart:
    """The start of a worker: what the `Trainer` does, and no end by a signal to the group."""

    def __init__(self, first: Callable[[int], None] | None):
        self.first = first

    def __call__(self, worker: int) -> None:
        outlive_signals(worker)
        if self.first is not None:
            self.first(worker)
