"""Write a folder of a model of masks that loads anywhere: weights, image processor, the code of both."""

import json
from pathlib import Path

from transformers import AutoImageProcessor, PreTrainedModel
from transformers.image_processing_utils import BaseImageProcessor
from transformers.utils import IMAGE_PROCESSOR_NAME

from anatomy_vlm.modeling import (
    AnatomyVLMForMaskGeneration,
    AnatomyVLMForSemanticSegmentation,
    AnatomyVLMMaskConfig,
    AnatomyVLMSegmentationConfig,
)
from anatomy_vlm.training.export_hub import (
    IMAGE_PROCESSORS,
    ExportError,
    copy_code,
    new_folder,
    reference,
    store_half,
)


# Model type -> configuration, model, and the Auto class that loads it.
_KINDS: dict[str, tuple[type, type[PreTrainedModel], str]] = {
    AnatomyVLMSegmentationConfig.model_type: (
        AnatomyVLMSegmentationConfig,
        AnatomyVLMForSemanticSegmentation,
        "AutoModelForSemanticSegmentation",
    ),
    AnatomyVLMMaskConfig.model_type: (AnatomyVLMMaskConfig, AnatomyVLMForMaskGeneration, "AutoModelForMaskGeneration"),
}


def _model_type(source: str | Path) -> str:
    try:
        config = json.loads((Path(source) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return str(config.get("model_type")) if isinstance(config, dict) else ""


def is_mask_model(source: str | Path) -> bool:
    """Is this the folder of a segmentation model or of a mask writer?"""
    return _model_type(source) in _KINDS


def export_mask_model(
    model: AnatomyVLMForSemanticSegmentation | AnatomyVLMForMaskGeneration | str | Path,
    folder: str | Path,
    image_processor: BaseImageProcessor | None = None,
    card: str | None = None,
    half: bool = False,
    code: bool = True,
    max_shard_size: str = "5GB",
) -> Path:
    """
    Write a self-contained folder: it loads with this package, and without it by `trust_remote_code=True`.

    Args:
        model: The model, or a folder to load with its image processor.
        folder: Where to write; an export that was there before stays until the new one is complete.
        image_processor: With a model that is not a folder.
        card: Text of the model card `README.md`; by default that of the folder, if it has one.
        half: Store the weights in float16, half the size.
        code: Put the code beside the weights.
        max_shard_size: Size of the files that the weights are cut into.

    Raises:
        ExportError: if the model cannot be loaded, or `folder` holds something else.
    """
    if isinstance(model, str | Path):
        source = Path(model)
        if card is None and (source / "README.md").is_file():
            card = (source / "README.md").read_text(encoding="utf-8")
        try:
            kind = _KINDS.get(_model_type(source), _KINDS[AnatomyVLMSegmentationConfig.model_type])[1]
            model = kind.from_pretrained(source, local_files_only=True)  # type: ignore[assignment]
            image_processor = AutoImageProcessor.from_pretrained(source, local_files_only=True)
        except (OSError, ValueError) as error:
            raise ExportError(f"{source}: cannot be loaded: {' '.join(str(error).split())}") from error
    if image_processor is None:
        raise ExportError("export needs the image processor of the model")
    with new_folder(Path(folder)) as scratch:
        # `auto_map` is written for this export only: a training checkpoint carries no code.
        if code:
            config_class, model_class, auto_class = _KINDS[model.config.model_type]
            model.config.auto_map = {"AutoConfig": reference(config_class), auto_class: reference(model_class)}
        try:
            model.save_pretrained(scratch, max_shard_size=max_shard_size)
        finally:
            if code:
                del model.config.auto_map
        image_processor.save_pretrained(scratch)
        if code:
            path = scratch / IMAGE_PROCESSOR_NAME
            saved = json.loads(path.read_text(encoding="utf-8"))
            saved["auto_map"] = {"AutoImageProcessor": IMAGE_PROCESSORS}
            path.write_text(json.dumps(saved, indent=2, sort_keys=True) + "\n", encoding="utf-8")
            copy_code(scratch)
        if half:
            for shard in scratch.glob("*.safetensors"):
                store_half(shard)
        if card is not None:
            (scratch / "README.md").write_text(card, encoding="utf-8")
    return Path(folder)
