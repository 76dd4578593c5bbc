"""Load a checkpoint of ours, and say in one line why another one is not."""

import copy
import re
from pathlib import Path
from typing import Any

from transformers import AutoImageProcessor

from anatomy_vlm.modeling import AnatomyVLMForMaskGeneration, AnatomyVLMMaskConfig, AnatomyVLMModel
from anatomy_vlm.processing import AnatomyVLMProcessor
from anatomy_vlm.processing.data_files import DataFileError, one_line, read_json_file
from anatomy_vlm.training.model_settings import ModelSettingsError, check_model_settings


class CheckpointError(ValueError):
    """A folder or id that holds no Anatomy-VLM checkpoint; one line with the cure."""

    def __init__(self, message: object = ""):
        super().__init__(one_line(message))


_HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
MODEL_TYPE = "anatomy_vlm"


def load_checkpoint(source: str | Path) -> tuple[AnatomyVLMModel, AnatomyVLMProcessor]:
    """Load model and processor from a folder, or from the Hub if `source` is an id such as `owner/name`.

    Nothing is fetched for a folder. Weights are safetensors, never a pickle, and no code of the checkpoint runs.

    Returns:
        The model in eval mode, and its processor.

    Raises:
        CheckpointError: no such folder, not a checkpoint, one of another model type, or a damaged one.
    """
    options = _place(source, MODEL_TYPE)
    try:
        model = AnatomyVLMModel.from_pretrained(source, use_safetensors=True, **options)
        processor = AnatomyVLMProcessor.from_pretrained(source, **options)
    except CheckpointError:
        raise
    except Exception as error:
        # Loading goes through several libraries, each with its own errors, for one and the same mistake.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CheckpointError(f"{source}: cannot be loaded as an Anatomy-VLM checkpoint: {reason}") from error
    if not processor.finding_prompts:
        raise CheckpointError(f"{source}: the processor has no finding_prompts; export the model again")
    _check_tokens(str(source), model, processor)
    return model.eval(), processor


def _check_tokens(source: str, model: AnatomyVLMModel, processor: AnatomyVLMProcessor) -> None:
    """Raises `CheckpointError` for a tokenizer that cannot read the prompts, or not for this model."""
    try:
        # A fast tokenizer keeps how it was last asked, and would be saved with it: the copy may.
        ids = copy.deepcopy(processor.tokenizer)(processor.prompt_texts(), **processor.text_kwargs)["input_ids"]
        largest = max(number for row in ids for number in row)
    except Exception as error:
        raise CheckpointError(f"{source}: its tokenizer cannot read its prompts: {error}") from error
    known = model.config.text_config.vocab_size
    if largest >= known:
        raise CheckpointError(f"{source}: its tokenizer gives token {largest}, but the model knows {known} of them")


def load_mask_writer(source: str | Path) -> tuple[AnatomyVLMForMaskGeneration, Any]:
    """Load a mask writer and its image processor, as `load_checkpoint` does for the model of findings.

    Raises:
        CheckpointError: no such folder, not a mask writer, or a damaged one.
    """
    options = _place(source, AnatomyVLMMaskConfig.model_type)
    try:
        # Stored in half precision; on a CPU that is slow to compute with.
        model = AnatomyVLMForMaskGeneration.from_pretrained(source, dtype="float32", use_safetensors=True, **options)
        image_processor = AutoImageProcessor.from_pretrained(source, **options)
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CheckpointError(f"{source}: cannot be loaded as a mask writer: {reason}") from error
    return model.eval(), image_processor


def _place(source: str | Path, model_type: str) -> dict[str, bool]:
    """Options of `from_pretrained` for a folder of this kind or an id; raises for anything else."""
    folder = Path(source)
    # Without a word on trust, Transformers asks on the terminal whether to run what a checkpoint brings.
    options = {"trust_remote_code": False}
    if folder.is_dir():
        _check_folder(folder, model_type)
        return {**options, "local_files_only": True}
    if folder.exists():
        raise CheckpointError(f"{source}: is a file; a model is a folder with config.json and model.safetensors")
    if not _HUB_ID.fullmatch(str(source)):
        raise CheckpointError(
            f"{source}: no such folder; 'anatomy-vlm demo' trains a model, or name a folder or Hub id"
        )
    return options


def _check_folder(folder: Path, model_type: str) -> None:
    path = folder / "config.json"
    try:
        config = read_json_file(path)
    except OSError:
        raise CheckpointError(f"{folder}: no config.json in this folder; name the folder of a trained model") from None
    except DataFileError as error:
        raise CheckpointError(f"{path}: {error}; copy the checkpoint again") from None
    found = config.get("model_type") if isinstance(config, dict) else None
    if found != model_type:
        raise CheckpointError(f"{folder}: a checkpoint of model type {found!r}; expected {model_type!r}")
    try:
        check_model_settings(folder)
    except ModelSettingsError as error:
        raise CheckpointError(str(error)) from None
