"""Anatomy-VLM: anatomy-centred vision-language models for chest radiographs.

Importing this package registers the model and its processors with the Auto classes of Transformers; everything else
is imported when it is first used.
"""

from importlib import import_module
from importlib.metadata import version as _version
from typing import TYPE_CHECKING

from anatomy_vlm import modeling, processing


if TYPE_CHECKING:
    from anatomy_vlm.modeling import (
        AnatomyVLMConfig,
        AnatomyVLMForSemanticSegmentation,
        AnatomyVLMModel,
        AnatomyVLMVisionConfig,
        AnatomyVLMVisionModel,
    )
    from anatomy_vlm.prediction import predict
    from anatomy_vlm.processing import AnatomyVLMImageProcessor, AnatomyVLMImageProcessorPil, AnatomyVLMProcessor
    from anatomy_vlm.processing.image_io import read_image
    from anatomy_vlm.synthesis import generate_dataset, generate_patient
    from anatomy_vlm.training.trainer import AnatomyVLMTrainer

__version__ = _version("anatomy-vlm")

_HOMES = {
    "AnatomyVLMConfig": "modeling",
    "AnatomyVLMForSemanticSegmentation": "modeling",
    "AnatomyVLMImageProcessor": "processing",
    "AnatomyVLMImageProcessorPil": "processing",
    "AnatomyVLMModel": "modeling",
    "AnatomyVLMProcessor": "processing",
    "AnatomyVLMTrainer": "training.trainer",
    "AnatomyVLMVisionConfig": "modeling",
    "AnatomyVLMVisionModel": "modeling",
    "generate_dataset": "synthesis",
    "generate_patient": "synthesis",
    "predict": "prediction",
    "read_image": "processing.image_io",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})


__all__ = [
    "AnatomyVLMConfig",
    "AnatomyVLMForSemanticSegmentation",
    "AnatomyVLMImageProcessor",
    "AnatomyVLMImageProcessorPil",
    "AnatomyVLMModel",
    "AnatomyVLMProcessor",
    "AnatomyVLMTrainer",
    "AnatomyVLMVisionConfig",
    "AnatomyVLMVisionModel",
    "generate_dataset",
    "generate_patient",
    "modeling",
    "predict",
    "processing",
    "read_image",
]
