"""Load a checkpoint of ours, and say in one line why another one is not."""

import json
import re
from pathlib import Path

from anatomy_vlm.modeling import AnatomyVLMModel
from anatomy_vlm.processing import AnatomyVLMProcessor


class CheckpointError(ValueError):
    """A folder or id that holds no Anatomy-VLM checkpoint; one line with the cure."""


_HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
MODEL_TYPE = "anatomy_vlm"


def load_checkpoint(source: str | Path) -> tuple[AnatomyVLMModel, AnatomyVLMProcessor]:
    """Load model and processor from a folder, or from the Hub if `source` is an id such as `owner/name`.

    Nothing is fetched for a folder.

    Returns:
        The model in eval mode, and its processor.

    Raises:
        CheckpointError: no such folder, not a checkpoint, one of another model type, or a damaged one.
    """
    folder = Path(source)
    if folder.is_dir():
        _check_folder(folder)
    elif folder.exists():
        raise CheckpointError(f"{source}: is a file; a model is a folder with config.json and model.safetensors")
    elif not _HUB_ID.fullmatch(str(source)):
        raise CheckpointError(
            f"{source}: no such folder; 'anatomy-vlm demo' trains a model, or name a folder or Hub id"
        )

    offline = {"local_files_only": True} if folder.is_dir() else {}
    try:
        model = AnatomyVLMModel.from_pretrained(source, **offline)
        processor = AnatomyVLMProcessor.from_pretrained(source, **offline)
    except CheckpointError:
        raise
    except Exception as error:
        # Loading goes through several libraries, each with its own errors, for one and the same mistake.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CheckpointError(f"{source}: cannot be loaded as an Anatomy-VLM checkpoint: {reason}") from error
    if not processor.finding_prompts:
        raise CheckpointError(f"{source}: the processor has no finding_prompts; export the model again")
    return model.eval(), processor


def _check_folder(folder: Path) -> None:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise CheckpointError(f"{folder}: no config.json in this folder; name the folder of a trained model") from None
    except ValueError as error:
        raise CheckpointError(f"{path}: not valid JSON ({error}); copy the checkpoint again") from None
    found = config.get("model_type") if isinstance(config, dict) else None
    if found != MODEL_TYPE:
        raise CheckpointError(f"{folder}: a checkpoint of model type {found!r}; expected {MODEL_TYPE!r}")
