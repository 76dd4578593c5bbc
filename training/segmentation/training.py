"""One training of a segmentation network, on the Trainer of Transformers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import Trainer, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback
from transformers.trainer_utils import get_last_checkpoint

from anatomy_vlm.training.augmentation import Augmentation
from anatomy_vlm.training.segmentation.batches import CanvasFilms, TrainingSequence, collate


_NOT_DECAYED = ("token", "tokens", "queries", "position_embeddings", "positions")


@dataclass(frozen=True, kw_only=True)
class SegmentationSettings:
    """
    What all networks are trained with.

    Args:
        steps: Optimiser steps.
        batch_size: Films per step and process.
        weight_decay: Of AdamW, on matrices and convolutions.
        flip: Probability of the flip that exchanges the sides.
        augmentation: Its strengths.
        bf16: Arithmetic in bfloat16 where it is safe.
        encoder_factor: Learning rate of a pre-trained encoder that is tuned, as a share of the decoder's.
        save_steps: Steps between checkpoints, from which an interrupted training goes on; 0 keeps none.
        use_cpu: Leave a GPU alone.
    """

    steps: int = 500
    batch_size: int = 8
    weight_decay: float = 0.05
    encoder_factor: float = 0.1
    flip: float = 0.0
    augmentation: Augmentation = field(default_factory=Augmentation)
    bf16: bool = False
    save_steps: int = 0
    use_cpu: bool = False

    def __post_init__(self) -> None:
        if min(self.steps, self.batch_size) < 1 or not 0 <= self.flip <= 1 or self.save_steps < 0:
            raise ValueError(
                f"steps {self.steps} and batch_size {self.batch_size} must be at least 1, save_steps "
                f"{self.save_steps} at least 0, flip {self.flip} within [0, 1]"
            )


class SegmentationTrainer(Trainer):
    """A Trainer whose encoder may learn at a rate of its own, a share of the decoder's."""

    loss_is_scaled_for_ga = False  # the losses are means over a batch

    def __init__(self, *args: Any, encoder_factor: float = 1.0, encoder: str = "vision_model.", **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.model_accepts_loss_kwargs = False
        self.encoder_factor, self.encoder = encoder_factor, encoder

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Groups with and without weight decay, of the encoder and of what is on top of it."""
        if self.optimizer is not None:
            return self.optimizer
        model = self.model if model is None else model
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                decays = parameter.ndim > 1 and not name.endswith(_NOT_DECAYED)
                groups.setdefault((name.startswith(self.encoder), decays), []).append(parameter)
        optimizer_class, options = self.get_optimizer_cls_and_kwargs(self.args, model)
        self.optimizer = optimizer_class(
            [
                {
                    "params": parameters,
                    "weight_decay": self.args.weight_decay if decays else 0.0,
                    "lr": self.args.learning_rate * (self.encoder_factor if in_encoder else 1.0),
                }
                for (in_encoder, decays), parameters in sorted(groups.items(), reverse=True)
            ],
            **options,
        )
        return self.optimizer


def train_network(
    network: nn.Module,
    canvas: CanvasFilms,
    indices: Sequence[int],
    settings: SegmentationSettings,
    *,
    learning_rate: float,
    folder: str | Path,
    seed: int = 0,
    encoder_factor: float = 1.0,
) -> dict[str, Any]:
    """
    Train a network in place: AdamW, a tenth of the steps of warm-up, then cosine to 0.

    Args:
        network: Takes `pixel_values` and `labels`, gives `loss`; only what requires gradients is trained.
        canvas: The films.
        indices: Those to train on.
        settings: Of the training.
        learning_rate: Its peak.
        folder: Of the checkpoints, if there are any.
        seed: Of the order of films and of the augmentation.
        encoder_factor: Learning rate of the encoder as a share of `learning_rate`.

    Returns:
        The loss of the last step that was logged, and the number of trained weights.
    """
    steps = settings.steps
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=settings.batch_size,
        learning_rate=learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=0.1,
        weight_decay=settings.weight_decay,
        optim="adamw_torch_fused",
        bf16=settings.bf16,
        save_strategy="steps" if settings.save_steps else "no",
        save_steps=settings.save_steps or 500,
        save_total_limit=1,
        logging_steps=max(1, steps // 10),
        report_to="none",
        seed=seed,
        data_seed=seed,
        remove_unused_columns=False,
        train_sampling_strategy="sequential",  # the order is the data's own
        dataloader_pin_memory=False,
        disable_tqdm=True,
        use_cpu=settings.use_cpu or not torch.cuda.is_available(),
    )
    length = steps * settings.batch_size * arguments.world_size
    data = TrainingSequence(canvas, indices, length, settings.augmentation, seed)
    trainer = SegmentationTrainer(
        encoder_factor=encoder_factor,
        model=network,
        args=arguments,
        train_dataset=data,
        data_collator=collate(settings.augmentation, canvas.image_processor, canvas.films.structures, settings.flip),
    )
    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)
    checkpoint = get_last_checkpoint(str(folder)) if settings.save_steps and Path(folder).is_dir() else None
    trainer.train(resume_from_checkpoint=checkpoint)
    # What makes training run in bfloat16 would stay on the network: its masks are to be those that it has when loaded.
    trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return {
        "last_loss": losses[-1] if losses else None,
        "trained_weights": sum(p.numel() for p in network.parameters() if p.requires_grad),
    }
