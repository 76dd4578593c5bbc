"""What a step costs, from a configuration alone: floating-point operations, and bytes of weights and optimizer.

The operations are those of the matrix products and convolutions, a multiplication and an addition being two; they are
counted by PyTorch's own counter on a model without storage, so that any configuration has its true number, gradients
that nobody needs left out.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from anatomy_vlm.modeling import AnatomyVLMConfig, AnatomyVLMModel


FLOAT32_BYTES = 4
# Weights, and AdamW's two moments of those that are trained.
ADAMW_MOMENTS = 2


def transformer_flops(num_tokens: int, hidden: int, intermediate: int, layers: int, patch_inputs: int, patches: int):
    """
    Operations of one forward pass of one image through a ViT, in closed form.

    Args:
        num_tokens: Tokens of the sequence.
        hidden, intermediate, layers: Sizes of the encoder.
        patch_inputs: Numbers in a patch, such as 3 x 16 x 16.
        patches: Patches of the image.
    """
    linear = 4 * hidden * hidden + 2 * hidden * intermediate
    attention = 2 * num_tokens * hidden
    return 2 * (layers * num_tokens * (linear + attention) + patches * patch_inputs * hidden)


@dataclass(frozen=True)
class StepCost:
    """
    Of one training step of one process.

    Args:
        batch_size: Its images.
        tower, heads, text: Operations of the forward pass: the vision tower, everything above it with the losses,
            and the text encoder, which a step with the phrase bank does not run.
        backward: Operations of the backward pass.
        trained, frozen: Parameters that are trained, and those that are not, without the text encoder.
    """

    batch_size: int
    tower: int
    heads: int
    text: int
    backward: int
    trained: int
    frozen: int

    @property
    def total(self) -> int:
        """Operations of the step."""
        return self.tower + self.heads + self.text + self.backward

    @property
    def per_image(self) -> float:
        """Operations of the step per image."""
        return self.total / self.batch_size

    @property
    def gradient_bytes(self) -> int:
        """What processes exchange in a step: gradients in float32, as under autocast."""
        return FLOAT32_BYTES * self.trained

    @property
    def checkpoint_bytes(self) -> int:
        """A checkpoint to go on from, without the text encoder's share: weights and AdamW's moments."""
        return FLOAT32_BYTES * ((1 + ADAMW_MOMENTS) * self.trained + self.frozen)


def step_cost(
    config: AnatomyVLMConfig,
    losses: Sequence[str] = ("anatomy", "global", "fine"),
    freeze: Sequence[str] = (),
    *,
    batch_size: int = 1,
    num_texts: int = 512,
    image_size: int | None = None,
    text_tokens: int | None = None,
) -> StepCost:
    """
    The cost of a training step.

    Args:
        config: The model.
        losses, freeze: Of the stage, as in a recipe.
        batch_size: Images of one process.
        num_texts: Distinct texts of the whole batch.
        image_size: Side of the input in pixels, if not the model's.
        text_tokens: Encode texts of so many tokens in the step; by default they come from the phrase bank.
    """
    # Not before it is needed: the trainer is a heavy import.
    from anatomy_vlm.training.trainer import trainable

    # The kernels are chosen below, in the configuration.
    config = deepcopy(config)
    side = image_size or config.vision_config.image_size
    with torch.device("meta"):
        model = AnatomyVLMModel(config).train()
        regions = config.vision_config.num_anatomy_queries
        inputs: dict[str, Any] = {
            "pixel_values": torch.empty(batch_size, config.vision_config.num_channels, side, side)
        }
        if "anatomy" in losses:
            inputs |= {
                "boxes": torch.empty(batch_size, regions, 4),
                "box_mask": torch.empty(batch_size, regions, dtype=torch.bool),
            }
        if {"global", "fine"} & set(losses):
            if text_tokens:
                inputs["input_ids"] = torch.empty(num_texts, text_tokens, dtype=torch.long)
            else:
                inputs["text_features"] = torch.empty(num_texts, config.text_config.hidden_size)
        if "global" in losses:
            inputs["image_labels"] = torch.empty(batch_size, num_texts)
        if "fine" in losses:
            inputs["region_labels"] = torch.empty(batch_size, regions, num_texts)
    # Fused kernels do the same products, but the counter does not know all of them.
    model.vision_model.set_attn_implementation("eager")
    model.text_model.set_attn_implementation("eager")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(trainable(name, losses, freeze))
    with FlopCounterMode(display=False) as forward:
        loss = model(**inputs).loss
    with FlopCounterMode(display=False) as backward:
        loss.backward()
    of_modules = {name: sum(counts.values()) for name, counts in forward.get_flop_counts().items()}
    tower, text = (of_modules.get(f"{type(model).__name__}.{part}", 0) for part in ("vision_model", "text_model"))
    of_text = sum(parameter.numel() for parameter in model.text_model.parameters())
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    return StepCost(
        batch_size=batch_size,
        tower=tower,
        heads=forward.get_total_flops() - tower - text,
        text=text,
        backward=backward.get_total_flops(),
        trained=trained,
        frozen=sum(parameter.numel() for parameter in model.parameters()) - of_text - trained,
    )
