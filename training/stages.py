"""One stage of a run: its arguments, its trainer, and going on after an interruption."""

import math
import signal
from contextlib import nullcontext
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import TrainingArguments

from anatomy_vlm.processing.atomic_files import write_json
from anatomy_vlm.training.batches import TrainingImages, collate
from anatomy_vlm.training.checkpoints import DONE_FILE, clear_leftovers, delete, finished_stage, sync
from anatomy_vlm.training.recipe import Recipe, RecipeError, StageRecipe, suggestion
from anatomy_vlm.training.recovery import explained
from anatomy_vlm.training.recovery_data import GuardedImages
from anatomy_vlm.training.recovery_signals import Interrupted, StopWatch
from anatomy_vlm.training.setup import Setup
from anatomy_vlm.training.step_profile import ProfileOptions, StageProfile
from anatomy_vlm.training.trainer import AnatomyVLMTrainer


WEIGHTS_FILE = "trained.safetensors"
# Where these differ from Transformers' defaults, recipes may still set them.
DEFAULTS: dict[str, Any] = {
    "per_device_train_batch_size": 32,
    "learning_rate": 3e-4,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 0.05,
    "weight_decay": 0.05,
    "max_grad_norm": 1.0,
    "optim": "adamw_torch_fused",
    "logging_steps": 10,
    "save_strategy": "epoch",
    "save_total_limit": 2,
    "report_to": "none",
    "dataloader_drop_last": True,  # a last batch of a few images would weigh as much as a full one
    "remove_unused_columns": False,
    "logging_nan_inf_filter": False,  # a loss that is not finite ends the training
}


def use_cpu(recipe: Recipe) -> bool:
    """Does the recipe ask for the CPU, or is there nothing else?"""
    return bool(recipe.training.get("use_cpu")) or not torch.cuda.is_available()


def training_arguments(recipe: Recipe, stage: StageRecipe, folder: Path) -> TrainingArguments:
    """Arguments of a stage: defaults, then those of the recipe, then those of the stage."""
    values = {**DEFAULTS, **recipe.training, **stage.training}
    known = tuple(f.name for f in fields(TrainingArguments) if f.init)
    for key in values:
        if key not in known:
            raise RecipeError(
                f"recipe {recipe.name}, stage '{stage.name}': unknown training argument '{key}'; "
                f"{suggestion(key, known)}"
            )
    values |= {"output_dir": str(folder), "seed": recipe.seed, "data_seed": recipe.seed, "use_cpu": use_cpu(recipe)}
    try:
        return TrainingArguments(**values)
    except (TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise RecipeError(f"recipe {recipe.name}, stage '{stage.name}': {reason}") from error


def trained_state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The weights without the frozen text encoder, which every stage shares."""
    return {
        name: tensor.detach().cpu().contiguous().clone()
        for name, tensor in model.state_dict().items()
        if not name.startswith("text_model.")
    }


def load_trained(model: torch.nn.Module, path: Path) -> None:
    """
    Load what `trained_state` gave.

    Raises:
        RecipeError: if the file holds other weights than the model has, as after a change of its code.
    """
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise RecipeError(
            f"{path}: the weights of a finished stage cannot be read ({error}); delete {path.parent} and those of the "
            "stages after it, and they are trained again"
        ) from error
    expected = {name: tensor.shape for name, tensor in trained_state(model).items()}
    if {name: tensor.shape for name, tensor in state.items()} != expected:
        raise RecipeError(
            f"{path}: holds the weights of another model; choose another --output or delete {path.parent}"
        )
    model.load_state_dict(state, strict=False)


def finite(value: Any) -> Any:
    """A value of a log with null in the place of numbers that strict JSON cannot hold."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def finish_stage(trainer: AnatomyVLMTrainer, folder: Path) -> None:
    """Keep the weights and the history of a stage, and delete its checkpoints."""
    scratch = folder / f".{WEIGHTS_FILE}"
    save_file(trained_state(trainer.model), scratch)
    sync(scratch)
    scratch.replace(folder / WEIGHTS_FILE)
    sync(folder)
    log = [{key: finite(value) for key, value in entry.items()} for entry in trainer.state.log_history]
    # Written last: with this file the stage is done.
    write_json(folder / DONE_FILE, {"name": trainer.stage.name, "losses": trainer.stage.losses, "log": log})
    sync(folder / DONE_FILE)
    sync(folder)
    tidy_stage(folder)


def tidy_stage(folder: Path) -> None:
    """Delete what a finished stage needs no longer."""
    for old in folder.glob("checkpoint-*"):
        delete(old)
    clear_leftovers(folder)


def run_stage(
    setup: Setup,
    stage: StageRecipe,
    folder: Path,
    watch: StopWatch | None = None,
    profile: ProfileOptions | None = None,
) -> None:
    """
    Train one stage and leave the model with its weights, or load them if it was done before.

    Args:
        setup: The model and what all stages share.
        stage: The stage.
        folder: Its folder: checkpoints while it runs, weights and history when it is done.
        watch: Notes signals to stop.
        profile: Measure where the time goes.

    Raises:
        Interrupted: if it was asked to stop; a checkpoint has been written.
        TrainingStopped: if it cannot go on for now; see `anatomy_vlm.training.recovery`.
    """
    model = setup.model
    if finished_stage(folder) is not None:
        load_trained(model, folder / WEIGHTS_FILE)
        if PartialState().is_main_process:
            tidy_stage(folder)
        return
    args = training_arguments(setup.recipe, stage, folder)
    side = stage.image_size or model.config.vision_config.image_size
    prepared = setup.prepared(side)
    images = GuardedImages(
        TrainingImages(prepared, setup.sampler, setup.augmentation, seed=setup.recipe.seed),
        setup.train,
        tuple(file["filename"] for file in prepared.cache_files),
    )
    sizes = [args.per_device_train_batch_size, args.world_size, args.gradient_accumulation_steps]
    if args.dataloader_drop_last and len(images) < math.prod(sizes):
        shown = " x ".join(map(str, sizes if sizes[2] > 1 else sizes[:2]))
        raise RecipeError(
            f"stage '{stage.name}': {len(images)} training images do not fill one batch of {shown}; lower "
            "training.per_device_train_batch_size, or set training.dataloader_drop_last=false"
        )
    trainer = AnatomyVLMTrainer(
        model=model,
        args=args,
        stage=stage,
        texts=setup.texts.to(args.device),
        train_dataset=images,
        data_collator=collate(setup.augmentation, setup.processor.image_processor, images),
        processing_class=setup.processor,
        watch=watch,
    )
    with (
        watch.deferred() if watch is not None else nullcontext(),
        explained(f"stage '{stage.name}'", folder, folder, args.world_size),
        StageProfile(trainer, profile) if profile is not None else nullcontext(),
    ):
        trainer.run()
        if trainer.is_world_process_zero():
            finish_stage(trainer, folder)
        trainer.accelerator.wait_for_everyone()
        asked = trainer.agreed_signal()
    if asked:
        reason = f"stage '{stage.name}' is done; the same command goes on with what comes after it"
        raise Interrupted(asked, f"stopped by {signal.Signals(asked).name}: {reason}", agreed=True)
