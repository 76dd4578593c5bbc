"""The network: configuration, vision tower with anatomy queries, heads, losses; registered with the Auto classes."""

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskGeneration,
    AutoModelForObjectDetection,
    AutoModelForSemanticSegmentation,
    AutoModelForZeroShotImageClassification,
)

from .configuration_anatomy_vlm import CHEST_REGIONS, AnatomyVLMConfig, AnatomyVLMVisionConfig
from .configuration_mask_writer_anatomy_vlm import AnatomyVLMMaskConfig
from .configuration_segmentation_anatomy_vlm import AnatomyVLMSegmentationConfig
from .mask_writer_anatomy_vlm import AnatomyVLMForMaskGeneration
from .modeling_anatomy_vlm import AnatomyVLMModel, AnatomyVLMPreTrainedModel
from .output_anatomy_vlm import AnatomyVLMOutput
from .segmentation_anatomy_vlm import AnatomyVLMForSemanticSegmentation
from .vision_anatomy_vlm import AnatomyVLMVisionModel


AutoConfig.register("anatomy_vlm", AnatomyVLMConfig)
AutoConfig.register("anatomy_vlm_vision_model", AnatomyVLMVisionConfig)
AutoConfig.register("anatomy_vlm_segmentation", AnatomyVLMSegmentationConfig)
AutoConfig.register("anatomy_vlm_mask_generation", AnatomyVLMMaskConfig)
AutoModel.register(AnatomyVLMConfig, AnatomyVLMModel)
AutoModel.register(AnatomyVLMVisionConfig, AnatomyVLMVisionModel)
AutoModelForZeroShotImageClassification.register(AnatomyVLMConfig, AnatomyVLMModel)
AutoModelForObjectDetection.register(AnatomyVLMConfig, AnatomyVLMModel)
AutoModelForSemanticSegmentation.register(AnatomyVLMSegmentationConfig, AnatomyVLMForSemanticSegmentation)
AutoModelForMaskGeneration.register(AnatomyVLMMaskConfig, AnatomyVLMForMaskGeneration)


__all__ = [
    "CHEST_REGIONS",
    "AnatomyVLMConfig",
    "AnatomyVLMForMaskGeneration",
    "AnatomyVLMForSemanticSegmentation",
    "AnatomyVLMMaskConfig",
    "AnatomyVLMModel",
    "AnatomyVLMOutput",
    "AnatomyVLMPreTrainedModel",
    "AnatomyVLMSegmentationConfig",
    "AnatomyVLMVisionConfig",
    "AnatomyVLMVisionModel",
]
