# Copyright 2026 The Anatomy-VLM authors. Licensed under the Apache License, Version 2.0.
"""A model of two public towers."""

from typing import Any

from transformers import PreTrainedModel

from .configuration_anatomy_vlm import AnatomyVLMConfig
from .text_source_anatomy_vlm import (
    find_text_model,
    load_text_model,
    portable_config,
    trained_length,
    trained_pooling,
)
from .vision_conversion_anatomy_vlm import convert_vision_tower


def join_towers(
    model_class: type,
    vision: str | PreTrainedModel,
    text: str | PreTrainedModel,
    vision_config: dict[str, Any] | None,
    config: dict[str, Any],
) -> Any:
    """The work of `AnatomyVLMModel.from_vision_text_pretrained`, which documents the arguments."""
    tower = convert_vision_tower(vision, vision_config)
    encoder = load_text_model(text) if isinstance(text, str) else find_text_model(text)
    pooling = config.get("text_pooling")
    if pooling in (None, "auto"):
        pooling = trained_pooling(encoder.config, encoder.config.name_or_path or None)
    fields = {"text_length": trained_length(encoder.config, pooling), **config, "text_pooling": pooling}
    vision_fields: Any = tower.config.to_dict()
    text_fields: Any = portable_config(encoder.config)
    model = model_class(AnatomyVLMConfig(vision_config=vision_fields, text_config=text_fields, **fields))
    model.vision_model.load_state_dict(tower.state_dict())
    copy_text_weights(encoder, model.text_model, pooling)
    return model.eval()


def copy_text_weights(encoder: PreTrainedModel, target: PreTrainedModel, pooling: str) -> None:
    """
    The weights of `encoder` into `target`, an encoder of the same class.

    Raises:
        ValueError: naming what is missing or left over; the pooler may be missing where it is not used.
    """
    problems = target.load_state_dict(encoder.state_dict(), strict=False)
    missing = [name for name in problems.missing_keys if pooling == "pooler" or not name.startswith("pooler.")]
    unexpected = list(problems.unexpected_keys)
    if missing or unexpected:
        raise ValueError(
            f"{type(encoder).__name__} does not fit {type(target).__name__}: missing "
            f"{', '.join(missing[:5]) or 'nothing'}, left over {', '.join(unexpected[:5]) or 'nothing'}"
        )


__all__ = ["copy_text_weights", "join_towers"]
