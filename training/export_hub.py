"""Write a folder that loads anywhere: weights, processor, the code of both, and the card."""

import inspect
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors.torch import load_file, save_file
from transformers.utils import PROCESSOR_NAME

from anatomy_vlm.modeling import AnatomyVLMConfig, AnatomyVLMModel, AnatomyVLMVisionConfig, AnatomyVLMVisionModel
from anatomy_vlm.processing import AnatomyVLMImageProcessorPil, AnatomyVLMProcessor
from anatomy_vlm.training.model_folder import load_checkpoint


AUTO_MODELS = ("AutoModel", "AutoModelForZeroShotImageClassification", "AutoModelForObjectDetection")
# By name: without torchvision the class itself cannot be imported, but it must travel all the same.
IMAGE_PROCESSORS = {
    "pil": "image_processing_pil_anatomy_vlm.AnatomyVLMImageProcessorPil",
    "torchvision": "image_processing_anatomy_vlm.AnatomyVLMImageProcessor",
}
FAMILY = "*_anatomy_vlm.py"


class ExportError(ValueError):
    """A checkpoint that cannot be exported; the message names it and the cure."""


def reference(cls: type) -> str:
    """`module.Class` as an `auto_map` names it."""
    return f"{cls.__module__.rpartition('.')[2]}.{cls.__name__}"


def _write(model: AnatomyVLMModel, processor: AnatomyVLMProcessor, folder: Path, max_shard_size: str) -> None:
    """With the code beside, so that it loads without this package."""
    # `auto_map` is written for this export only: a training checkpoint carries no code.
    model.config.auto_map = {
        "AutoConfig": reference(AnatomyVLMConfig),
        **{name: reference(AnatomyVLMModel) for name in AUTO_MODELS},
    }
    model.config.vision_config.auto_map = {
        "AutoConfig": reference(AnatomyVLMVisionConfig),
        "AutoModel": reference(AnatomyVLMVisionModel),
    }
    try:
        model.save_pretrained(folder, max_shard_size=max_shard_size)
    finally:
        del model.config.auto_map
        del model.config.vision_config.auto_map
    processor.save_pretrained(folder)
    path = folder / PROCESSOR_NAME
    saved = json.loads(path.read_text(encoding="utf-8"))
    saved["auto_map"] = {"AutoProcessor": reference(AnatomyVLMProcessor)}
    saved["image_processor"]["auto_map"] = {"AutoImageProcessor": IMAGE_PROCESSORS}
    path.write_text(json.dumps(saved, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    copy_code(folder)


def copy_code(folder: Path) -> None:
    """Put all files that travel beside each other into `folder`."""
    for cls in (AnatomyVLMModel, AnatomyVLMImageProcessorPil):
        sources = Path(inspect.getfile(sys.modules[cls.__module__])).parent
        for source in sorted(sources.glob(FAMILY)):
            shutil.copy(source, folder)


def _take_place(new: Path, folder: Path) -> None:
    """Move `new` to `folder`; what was there is deleted once the new one is in its place, and is back if it fails."""
    if not folder.exists():
        os.replace(new, folder)
        return
    old = new.with_name(f"{new.name}.old")
    os.replace(folder, old)
    try:
        os.replace(new, folder)
    except OSError:
        os.replace(old, folder)
        raise
    shutil.rmtree(old)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """
    A folder to write to, which takes the place of `folder` at the end of the block; on an error it is removed.

    Raises:
        ExportError: if `folder` holds something else than a model.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / "config.json").is_file():
        raise ExportError(f"{folder}: not empty and no model folder; choose another one")
    scratch = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        yield scratch
        _take_place(scratch, folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def store_half(path: Path) -> None:
    """Store the tensors of a safetensors file in float16; `config.dtype` still says how they are loaded."""
    tensors = {name: t.half() if t.is_floating_point() else t for name, t in load_file(path).items()}
    scratch = path.with_name(f".{path.name}")
    save_file(tensors, scratch, metadata={"format": "pt"})
    os.replace(scratch, path)


def export(
    model: AnatomyVLMModel | str | Path,
    folder: str | Path,
    processor: AnatomyVLMProcessor | None = None,
    card: str | None = None,
    half: bool = False,
    code: bool = True,
    max_shard_size: str = "50GB",
) -> Path:
    """
    Write a self-contained folder: it loads with this package, and without it by `trust_remote_code=True`.

    Args:
        model: The model, or a checkpoint to load with its processor.
        folder: Where to write; an export that was there before stays until the new one is complete.
        processor: The processor, with a model that is not a checkpoint.
        card: Text of the model card `README.md`; by default that of the checkpoint, if it has one.
        half: Store the weights in float16, half the size; they are loaded as float32 all the same.
        code: Put the code beside the weights; without it the folder loads with this package only.
        max_shard_size: Size of the files that the weights are cut into.

    Raises:
        CheckpointError: if the checkpoint cannot be loaded.
        ExportError: if `folder` holds something else.
    """
    if isinstance(model, str | Path):
        own_card = Path(model) / "README.md"
        if card is None and own_card.is_file():
            card = own_card.read_text(encoding="utf-8")
        model, processor = load_checkpoint(model)
    if processor is None:
        raise ExportError("export needs the processor of the model")
    folder = Path(folder)
    with new_folder(folder) as scratch:
        if code:
            _write(model, processor, scratch, max_shard_size)
        else:
            model.save_pretrained(scratch, max_shard_size=max_shard_size)
            processor.save_pretrained(scratch)
        if half:
            for shard in scratch.glob("*.safetensors"):
                store_half(shard)
        if card is not None:
            (scratch / "README.md").write_text(card, encoding="utf-8")
    return folder
