"""The multi-stage trainer: one `Trainer` per stage, on the losses of that stage."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from accelerate.data_loader import DataLoaderShard
from torch import nn
from torch.utils.data import DataLoader
from transformers import TrainerCallback, TrainingArguments
from transformers.trainer_utils import seed_worker

from anatomy_vlm.modeling import AnatomyVLMModel
from anatomy_vlm.training.accumulation import AccumulatedBatch
from anatomy_vlm.training.adapters import has_adapters, learns
from anatomy_vlm.training.batches import TrainingImages
from anatomy_vlm.training.recipe import LOSSES, RecipeError, StageRecipe
from anatomy_vlm.training.recoverable_trainer import RecoverableTrainer
from anatomy_vlm.training.shared_batches import SharedBatches, sequential, shuffled
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


class AnatomyVLMTrainer(RecoverableTrainer):
    """
    Trains one stage of Anatomy-VLM.

    Over several processes and steps of accumulation the losses are those of the whole batch, so that N processes with
    batches of B and A steps of accumulation train as one with a batch of N x B x A does, to the last images of an
    epoch.

    Args:
        model: The model; the parameters that the stage does not train are frozen here, before the optimizer and the
            distributed wrapper see them.
        args: The arguments of the stage.
        stage: Its losses and what it freezes.
        texts: Prompts, phrases and their labels; needed for the losses "global" and "fine".
        train_dataset: The images.
    """

    loss_is_scaled_for_ga = True  # the parts of an accumulated batch are its shares
    optimizer: Any
    _parts: dict[str, torch.Tensor]
    _parts_count: float

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
        adapted = has_adapters(model)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(trainable(name, stage.losses, stage.freeze) and learns(name, adapted))
        self.stage = stage
        self.texts = texts
        super().__init__(model=model, args=args, train_dataset=train_dataset, **kwargs)
        self.model_accepts_loss_kwargs = False
        model.losses_across_ranks = self.args.world_size > 1
        self._accumulated: AccumulatedBatch | None = None
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

    def _get_dataloader(self, dataset: Any, *args: Any, is_training: bool = False, **kwargs: Any) -> DataLoader:
        """Of the training images, the batches of this process; `Trainer`'s would take some images twice."""
        if not is_training:
            return super()._get_dataloader(dataset, *args, is_training=is_training, **kwargs)
        orders = {"random": shuffled(len(dataset), self.args.data_seed), "sequential": sequential(len(dataset))}
        strategy = str(self.args.train_sampling_strategy)
        if strategy not in orders:
            raise RecipeError(f"training.train_sampling_strategy: '{strategy}' is none of {', '.join(orders)}")
        order = orders[strategy]
        own_order = getattr(getattr(dataset, "images", dataset), "order", None)
        if own_order is not None and strategy == "random":
            order = own_order
        batches = SharedBatches(
            order,
            len(dataset),
            self._train_batch_size,
            accumulation=self.args.gradient_accumulation_steps,
            rank=self.args.process_index,
            num_processes=self.args.world_size,
            drop_last=self.args.dataloader_drop_last,
        )
        return DataLoaderShard(
            dataset,
            device=self.args.device,
            batch_sampler=batches,
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
            persistent_workers=self.args.dataloader_persistent_workers,
            prefetch_factor=self.args.dataloader_prefetch_factor,
            multiprocessing_context=self.args.dataloader_multiprocessing_context,
            in_order=self.args.dataloader_in_order,
            worker_init_fn=partial(
                seed_worker, num_workers=self.args.dataloader_num_workers, rank=self.args.process_index
            ),
            _non_blocking=self.args.accelerator_config.non_blocking,
        )

    def get_batch_samples(self, epoch_iterator: Iterator, num_batches: int, device: torch.device) -> tuple[list, Any]:
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        self._accumulated = None
        if len(batches) > 1:
            several, losses = self.args.world_size > 1, self.stage.losses
            texts = self._texts_of_the_losses()
            ids = None if texts is None else texts.text_ids(batches, losses, gather=several)
            self._accumulated = AccumulatedBatch(batches, lambda part: self._targets(part, ids), several)
        return batches, None

    def _texts_of_the_losses(self) -> TextTargets | None:
        return self.texts if set(self.stage.losses) & {"global", "fine"} else None

    def _targets(self, inputs: dict[str, Any], ids: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        """What the model is to be right about; `ids` are the texts, where not those of these inputs alone."""
        targets: dict[str, torch.Tensor] = {}
        if "anatomy" in self.stage.losses:
            targets |= {"boxes": inputs["boxes"], "box_mask": inputs["box_mask"]}
        texts = self._texts_of_the_losses()
        if texts is not None:
            targets |= texts.targets(inputs, self.stage.losses, gather=self.args.world_size > 1, ids=ids)
        return targets

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ):
        """The weighted sum of the stage's losses, or its next share; the parts are kept for the log."""
        if self._accumulated is not None:
            module = self.accelerator.unwrap_model(model, keep_torch_compile=False)
            loss, losses, outputs = self._accumulated.loss(model, module)
            self._parts_count += 1 / len(self._accumulated)
        else:
            outputs = model(pixel_values=inputs["pixel_values"], **self._targets(inputs))
            loss, losses = outputs.loss, outputs.loss_dict
            self._parts_count += 1
        for name, value in losses.items():
            self._parts[name] = self._parts.get(name, 0) + value.detach()
        return (loss, outputs) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the mean of each loss since the last log."""
        if "loss" in logs and self._parts_count:
            means = {f"loss_{name}": (value / self._parts_count).item() for name, value in self._parts.items()}
            logs = {**logs, **{name: round(value, 4) for name, value in means.items()}}
            self._parts, self._parts_count = {}, 0
        super().log(logs, start_time)
