"""One stage of a run: its arguments, its trainer, and going on after an interruption."""

import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import TrainingArguments

from anatomy_vlm.processing.atomic_files import write_json
from anatomy_vlm.training.batches import TrainingImages, collate
from anatomy_vlm.training.checkpoints import DONE_FILE, finished_stage, last_complete_checkpoint
from anatomy_vlm.training.recipe import Recipe, RecipeError, StageRecipe, suggestion
from anatomy_vlm.training.setup import Setup
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
    "dataloader_drop_last": True,  # processes need batches of one size to share their losses
    "remove_unused_columns": False,
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
    state = load_file(path)
    expected = {name: tensor.shape for name, tensor in trained_state(model).items()}
    if {name: tensor.shape for name, tensor in state.items()} != expected:
        raise RecipeError(
            f"{path}: holds the weights of another model; choose another --output or delete {path.parent}"
        )
    model.load_state_dict(state, strict=False)


def run_stage(setup: Setup, stage: StageRecipe, folder: Path) -> None:
    """
    Train one stage and leave the model with its weights, or load them if it was done before.

    Args:
        setup: The model and what all stages share.
        stage: The stage.
        folder: Its folder: checkpoints while it runs, weights and history when it is done.
    """
    model = setup.model
    if finished_stage(folder) is not None:
        load_trained(model, folder / WEIGHTS_FILE)
        return
    args = training_arguments(setup.recipe, stage, folder)
    side = stage.image_size or model.config.vision_config.image_size
    images = TrainingImages(setup.prepared(side), setup.sampler, setup.augmentation, seed=setup.recipe.seed)
    if len(images) < args.per_device_train_batch_size * args.world_size:
        raise RecipeError(
            f"stage '{stage.name}': {len(images)} training images do not fill one batch of "
            f"{args.per_device_train_batch_size} x {args.world_size}; lower training.per_device_train_batch_size"
        )
    trainer = AnatomyVLMTrainer(
        model=model,
        args=args,
        stage=stage,
        texts=setup.texts.to(args.device),
        train_dataset=images,
        data_collator=collate(setup.augmentation, setup.processor.image_processor),
        processing_class=setup.processor,
    )
    checkpoint = last_complete_checkpoint(folder)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if trainer.is_world_process_zero():
        scratch = folder / f".{WEIGHTS_FILE}"
        save_file(trained_state(model), scratch)
        scratch.replace(folder / WEIGHTS_FILE)
        # Written last: with this file the stage is done.
        write_json(folder / DONE_FILE, {"name": stage.name, "losses": stage.losses, "log": trainer.state.log_history})
        for old in folder.glob("checkpoint-*"):
            shutil.rmtree(old)
    trainer.accelerator.wait_for_everyone()
