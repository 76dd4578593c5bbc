"""The network: configuration, vision tower with anatomy queries, heads, losses; registered with the Auto classes."""

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForObjectDetection,
    AutoModelForZeroShotImageClassification,
)

from .configuration_anatomy_vlm import CHEST_REGIONS, AnatomyVLMConfig, AnatomyVLMVisionConfig
from .modeling_anatomy_vlm import AnatomyVLMModel, AnatomyVLMPreTrainedModel
from .output_anatomy_vlm import AnatomyVLMOutput
from .vision_anatomy_vlm import AnatomyVLMVisionModel


AutoConfig.register("anatomy_vlm", AnatomyVLMConfig)
AutoConfig.register("anatomy_vlm_vision_model", AnatomyVLMVisionConfig)
AutoModel.register(AnatomyVLMConfig, AnatomyVLMModel)
AutoModel.register(AnatomyVLMVisionConfig, AnatomyVLMVisionModel)
AutoModelForZeroShotImageClassification.register(AnatomyVLMConfig, AnatomyVLMModel)
AutoModelForObjectDetection.register(AnatomyVLMConfig, AnatomyVLMModel)


__all__ = [
    "CHEST_REGIONS",
    "AnatomyVLMConfig",
    "AnatomyVLMModel",
    "AnatomyVLMOutput",
    "AnatomyVLMPreTrainedModel",
    "AnatomyVLMVisionConfig",
    "AnatomyVLMVisionModel",
]
