"""From files to tensors and back: image processors, processor and post-processing, registered with the Auto classes.

Vocabulary, statements, prompts, image reading and pictures are in the modules of this folder.
"""

from transformers import AutoImageProcessor, AutoProcessor
from transformers.utils import is_torchvision_available

from anatomy_vlm.modeling import AnatomyVLMConfig, AnatomyVLMSegmentationConfig

from .image_processing_pil_anatomy_vlm import AnatomyVLMImageProcessorPil
from .processing_anatomy_vlm import AnatomyVLMProcessor


IMAGE_PROCESSOR_CLASSES: dict[str, type] = {"pil": AnatomyVLMImageProcessorPil}
if is_torchvision_available():
    from .image_processing_anatomy_vlm import AnatomyVLMImageProcessor

    IMAGE_PROCESSOR_CLASSES["torchvision"] = AnatomyVLMImageProcessor
else:
    # Under the plain name there is always an image processor; this is the one that works everywhere.
    AnatomyVLMImageProcessor = AnatomyVLMImageProcessorPil  # type: ignore[assignment, misc]

AutoImageProcessor.register(AnatomyVLMConfig, image_processor_classes=IMAGE_PROCESSOR_CLASSES)
AutoImageProcessor.register(AnatomyVLMSegmentationConfig, image_processor_classes=IMAGE_PROCESSOR_CLASSES)
AutoProcessor.register(AnatomyVLMConfig, AnatomyVLMProcessor)


__all__ = [
    "IMAGE_PROCESSOR_CLASSES",
    "AnatomyVLMImageProcessor",
    "AnatomyVLMImageProcessorPil",
    "AnatomyVLMProcessor",
]
