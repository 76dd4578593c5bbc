"""One training of the mask writer, on the Trainer of Transformers."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import AutoConfig, TrainerCallback, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint
from transformers.utils import logging

from anatomy_vlm.modeling import AnatomyVLMForSemanticSegmentation, mask_codecs_anatomy_vlm
from anatomy_vlm.modeling.configuration_mask_writer_anatomy_vlm import AnatomyVLMMaskConfig
from anatomy_vlm.modeling.mask_writer_anatomy_vlm import AnatomyVLMForMaskGeneration
from anatomy_vlm.modeling.vision_anatomy_vlm import resample_positions
from anatomy_vlm.training.augmentation import Augmentation
from anatomy_vlm.training.masks.film_shapes import FilmShapes
from anatomy_vlm.training.masks.writer_batches import WriterBatching, WriterCollator, WriterSequence
from anatomy_vlm.training.segmentation.training import SegmentationTrainer


# Of our mask codec, as they come with the package.
CODEC_WEIGHTS = Path(mask_codecs_anatomy_vlm.__file__).with_name("mask_codec_anatomy.safetensors")


@dataclass(frozen=True, kw_only=True)
class WriterSettings:
    """
    Args:
        steps: Optimiser steps.
        batch_size: Films per step and process.
        learning_rate: Its peak; warm-up over a twentieth of the steps, then cosine to 0.
        encoder_factor: Learning rate of the vision tower as a share of it; 0 freezes the tower.
        weight_decay: Of AdamW, on matrices and convolutions.
        augmentation: Its strengths.
        batching: Structures per film and the jitter of boxes.
        bf16: Arithmetic in bfloat16 where it is safe.
        save_steps: Steps between checkpoints, from which an interrupted training goes on; 0 keeps none.
        num_workers: Processes that prepare batches.
        use_cpu: Leave a GPU alone.
        progress: Show a progress bar.
    """

    steps: int = 2000
    batch_size: int = 16
    learning_rate: float = 1e-3
    encoder_factor: float = 0.3
    weight_decay: float = 0.02
    augmentation: Augmentation = field(
        default_factory=lambda: Augmentation(
            zoom=0.3, shift=0.15, contrast=0.5, brightness=0.15, gamma=0.5, noise=0.05, blur=0.3, erase=0.2
        )
    )
    batching: WriterBatching = field(default_factory=WriterBatching)
    bf16: bool = True
    save_steps: int = 0
    num_workers: int = 0
    use_cpu: bool = False
    progress: bool = True

    def __post_init__(self) -> None:
        if min(self.steps, self.batch_size) < 1 or self.save_steps < 0 or self.encoder_factor < 0:
            raise ValueError(
                f"steps {self.steps} and batch_size {self.batch_size} must be at least 1, save_steps "
                f"{self.save_steps} and encoder_factor {self.encoder_factor} at least 0"
            )


def check_codec(path: Path) -> Path:
    """The file, if it is there: better known before films are drawn for minutes. `ValueError` if not."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file; --codec names the weights of a mask codec")
    return path


def build_writer(
    source: str | Path,
    structures: tuple[str, ...],
    codec: str | Path,
    seed: int = 0,
    pretrained: bool = True,
    **fields: Any,
) -> AnatomyVLMForMaskGeneration:
    """
    A writer on the vision tower of a checkpoint, with a trained codec; what is on top of it is drawn with the seed.

    Args:
        source: Anatomy-VLM, vision tower or segmentation checkpoint, folder or id.
        structures: What can be asked for.
        codec: Weights of an `AnatomyMaskCodec`, safetensors.
        seed: Of what is drawn.
        pretrained: Take the weights of the tower too, not only its form.
        fields: Others of the configuration.

    Raises:
        ValueError: without a model at `source` or a codec that fits.
    """
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        # It takes the tower out of any of our checkpoints; only the last norm is not among what it keeps.
        if AutoConfig.from_pretrained(source).model_type == "anatomy_vlm_mask_generation":
            raise ValueError(f"{source}: is a mask writer already; train on from it instead")
        donor = AnatomyVLMForSemanticSegmentation.from_pretrained(source)
    except OSError as error:
        raise ValueError(f"{source}: no model to start from: {' '.join(str(error).split())}") from error
    finally:
        logging.set_verbosity(verbosity)
    known = {item.name for item in dataclasses.fields(AnatomyVLMMaskConfig)}
    tower = {name: value for name, value in donor.config.to_diff_dict().items() if name in known}
    for name in ("id2label", "label2id", "architectures", "auto_map", "model_type"):
        tower.pop(name, None)
    torch.manual_seed(seed)
    model = AnatomyVLMForMaskGeneration(AnatomyVLMMaskConfig(**{**tower, **fields, "structures": list(structures)}))
    if pretrained:
        state, config = donor.vision_model.state_dict(), model.config
        if config.position_embedding_type == "learned":
            # Another input size has another number of patches.
            table, side = "embeddings.position_embeddings", config.image_size // config.patch_size
            state[table] = resample_positions(state[table], side, side, config.position_interpolation)
        model.encoder.vision_model.load_state_dict(state, strict=False)
    weights = {name: tensor.float() for name, tensor in load_file(codec).items()}
    try:
        model.codec.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(
            f"{codec}: not a codec of the form that the model has: {str(error).splitlines()[-1]}"
        ) from None
    return model


def train_writer(
    model: AnatomyVLMForMaskGeneration,
    shapes: FilmShapes,
    image_processor: Any,
    settings: WriterSettings,
    folder: str | Path,
    seed: int = 0,
    callbacks: Sequence[TrainerCallback] = (),
) -> dict[str, Any]:
    """
    Train a writer in place.

    Args:
        model: What is trained; its codec stays as it is.
        shapes: Films with their structures.
        image_processor: Whose mean and standard deviation films are normalised with.
        settings: Of the training.
        folder: Of the checkpoints, if there are any.
        callbacks: For the Trainer.
        seed: Of the order of films, of what is asked for, and of the augmentation.

    Returns:
        The last loss that was logged and the number of trained weights.
    """
    model.encoder.vision_model.requires_grad_(settings.encoder_factor > 0)
    steps = settings.steps
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=0.05,
        weight_decay=settings.weight_decay,
        adam_beta2=0.99,
        optim="adamw_torch_fused",
        bf16=settings.bf16,
        save_strategy="steps" if settings.save_steps else "no",
        save_steps=settings.save_steps or 500,
        save_total_limit=1,
        logging_steps=max(1, min(100, steps // 10)),
        report_to="none",
        seed=seed,
        data_seed=seed,
        remove_unused_columns=False,
        label_names=["labels"],
        train_sampling_strategy="sequential",  # the order is the data's own
        dataloader_pin_memory=False,
        dataloader_num_workers=settings.num_workers,
        disable_tqdm=not settings.progress,
        use_cpu=settings.use_cpu or not torch.cuda.is_available(),
    )
    length = steps * settings.batch_size * arguments.world_size
    trainer = SegmentationTrainer(
        callbacks=list(callbacks),
        encoder_factor=settings.encoder_factor or 1.0,
        encoder="encoder.vision_model.",
        model=model,
        args=arguments,
        train_dataset=WriterSequence(shapes, settings.batching, length, seed),
        data_collator=WriterCollator(
            model,
            shapes,
            image_processor.image_mean,
            image_processor.image_std,
            settings.augmentation,
            settings.batching,
        ),
    )
    checkpoint = get_last_checkpoint(str(folder)) if settings.save_steps and Path(folder).is_dir() else None
    trainer.train(resume_from_checkpoint=checkpoint)
    # What makes training run in bfloat16 would stay on the network: its masks are to be those that it has when loaded.
    trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    model.requires_grad_(True).codec.requires_grad_(False)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return {
        "last_loss": losses[-1] if losses else None,
        "trained_weights": sum(p.numel() for p in model.parameters() if p.requires_grad),
    }


def training_facts(
    settings: WriterSettings, films: int, trained: dict[str, Any], source: str | Path
) -> dict[str, str]:
    """What a card says about a training."""
    batching = settings.batching
    loss = trained.get("last_loss")
    return {
        "films": f"{films:,} synthetic ones",
        "vision tower from": Path(source).name if Path(source).is_dir() else str(source),
        "steps": f"{settings.steps:,} of {settings.batch_size} films, {batching.structures_per_film} structures each",
        "learning rate": f"{settings.learning_rate:g}, times {settings.encoder_factor:g} for the tower, cosine",
        "arithmetic": "bfloat16 autocast" if settings.bf16 else "float32",
        "trained weights": f"{trained['trained_weights']:,}",
        "last loss": "-" if loss is None else f"{float(loss):.3f}",
    }
