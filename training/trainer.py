"""The multi-stage trainer: one `Trainer` per stage, on the losses of that stage."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import Trainer, TrainerCallback, TrainingArguments

from anatomy_vlm.modeling import AnatomyVLMModel
from anatomy_vlm.training.batches import TrainingImages
from anatomy_vlm.training.recipe import LOSSES, StageRecipe
from anatomy_vlm.training.text_targets import TextTargets


# Which parameters a loss needs; the vision tower serves all of them.
HEADS = {
    "anatomy": ("box_head.", "presence_head."),
    "global": ("glimpse.", "visual_projection.", "text_projection.", "logit_scale", "logit_bias"),
    "fine": ("glimpse.", "region_enrichment.", "text_projection.", "region_logit_scale", "region_logit_bias"),
}


def trainable(name: str, losses: Sequence[str], freeze: Sequence[str]) -> bool:
    """Does a stage with these losses train the parameter `name`?"""
    if name.startswith(("text_model.", *freeze)):
        return False
    heads = tuple(prefix for prefixes in HEADS.values() for prefix in prefixes)
    if not name.startswith(heads):
        return True
    return name.startswith(tuple(prefix for loss in losses for prefix in HEADS[loss]))


class EpochCallback(TrainerCallback):
    """Tells the training data which epoch it is, so that its random numbers depend on seed, epoch and image alone."""

    def __init__(self, images: TrainingImages):
        self.images = images

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.images.set_epoch(int((state.epoch or 0) + 1e-6))


class AnatomyVLMTrainer(Trainer):
    """
    Trains one stage of Anatomy-VLM.

    Over several processes the losses are those of the whole batch, so that N processes with batches of B train as
    one with a batch of N x B does.

    Args:
        model: The model; the parameters that the stage does not train are frozen here, before the optimizer and the
            distributed wrapper see them.
        args: The arguments of the stage.
        stage: Its losses and what it freezes.
        texts: Prompts, phrases and their labels; needed for the losses "global" and "fine".
        train_dataset: The images.
    """

    loss_is_scaled_for_ga = False  # the losses are means over a batch

    def __init__(
        self,
        model: AnatomyVLMModel,
        args: TrainingArguments,
        stage: StageRecipe,
        texts: TextTargets | None = None,
        train_dataset: TrainingImages | None = None,
        **kwargs: Any,
    ):
        unknown = set(stage.losses) - set(LOSSES)
        if unknown:
            raise ValueError(f"stage '{stage.name}': unknown losses {sorted(unknown)}; choose from {LOSSES}")
        if texts is None and set(stage.losses) & {"global", "fine"}:
            raise ValueError(f"stage '{stage.name}': the losses {stage.losses} need `texts`")
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(trainable(name, stage.losses, stage.freeze))
        self.stage = stage
        self.texts = texts
        super().__init__(model=model, args=args, train_dataset=train_dataset, **kwargs)
        self.model_accepts_loss_kwargs = False
        model.losses_across_ranks = self.args.world_size > 1
        self._parts: dict[str, torch.Tensor] = {}
        self._parts_count = 0
        if train_dataset is not None:
            self.add_callback(EpochCallback(train_dataset))

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """Weight decay on matrices and convolutions only: not on biases, norms, tokens, positions and scales."""
        kept = (
            "tokens",
            "token",
            "queries",
            "reference",
            "position_embeddings",
            "logit_scale",
            "logit_bias",
            "layer_scale.weight",
        )
        shapes = {name: parameter.ndim for name, parameter in model.named_parameters()}
        return [name for name, ndim in shapes.items() if ndim > 1 and not name.endswith(kept)]

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Groups with and without weight decay, of the vision tower and of what is on top of it."""
        if self.optimizer is not None:
            return self.optimizer
        model = self.model if model is None else model
        decayed = set(self.get_decay_parameter_names(model))
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                groups.setdefault((name.startswith("vision_model."), name in decayed), []).append(parameter)
        optimizer_class, settings = self.get_optimizer_cls_and_kwargs(self.args, model)
        self.optimizer = optimizer_class(
            [
                {
                    "params": parameters,
                    "weight_decay": self.args.weight_decay if decays else 0.0,
                    "lr": self.args.learning_rate * (1.0 if in_tower else self.stage.head_learning_rate_factor),
                }
                for (in_tower, decays), parameters in sorted(groups.items(), reverse=True)
            ],
            **settings,
        )
        return self.optimizer

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ):
        """The weighted sum of the stage's losses; the parts are kept for the log."""
        targets: dict[str, torch.Tensor] = {}
        if "anatomy" in self.stage.losses:
            targets |= {"boxes": inputs["boxes"], "box_mask": inputs["box_mask"]}
        if self.texts is not None and set(self.stage.losses) & {"global", "fine"}:
            targets |= self.texts.targets(inputs, self.stage.losses, gather=self.args.world_size > 1)
        outputs = model(pixel_values=inputs["pixel_values"], **targets)
        self._parts_count += 1
        for name, value in outputs.loss_dict.items():
            self._parts[name] = self._parts.get(name, 0) + value.detach()
        return (outputs.loss, outputs) if return_outputs else outputs.loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the mean of each loss since the last log."""
        if "loss" in logs and self._parts_count:
            means = {f"loss_{name}": (value / self._parts_count).item() for name, value in self._parts.items()}
            logs = {**logs, **{name: round(value, 4) for name, value in means.items()}}
            self._parts, self._parts_count = {}, 0
        super().log(logs, start_time)
