"""A model as a receipt names it: where it lies, and hashes of its weights and settings."""

import hashlib
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save as to_bytes

from anatomy_vlm.hub_cards import REFERENCE_MODEL
from anatomy_vlm.training.receipts.data import portable_path


REFERENCE = "phantom-reference"
# Whatever else lies in a model folder (card, results, code) changes no number.
SETTINGS_FILES = ("config.json", "processor_config.json", "tokenizer.json", "tokenizer_config.json")


def find_model(source: str, folder: Path | None = None) -> str:
    """Folder or Hub id of the model that a receipt calls `source`.

    Args:
        source: "phantom-reference" for the checkpoint of the package, else a folder or Hub id.
        folder: Where it is, if not there.
    """
    if folder is not None:
        return str(folder)
    if source == REFERENCE:
        return str(REFERENCE_MODEL)
    return source


def source_name(model: str | Path) -> str:
    """How a receipt calls a model folder or Hub id."""
    folder = Path(model)
    if not folder.is_dir():
        return str(model)
    return REFERENCE if folder.resolve() == REFERENCE_MODEL.resolve() else portable_path(folder)


def describe_model(model: str | Path) -> dict[str, Any]:
    """`source`, `weights` (SHA-256 over names, types, shapes and values of all tensors) and `files` (of settings)."""
    folder = _local(str(model))
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in sorted(file.keys()):
                # With its header in a file of its own a tensor brings name, type and shape.
                digest.update(to_bytes({name: file.get_tensor(name)}))
    files = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in SETTINGS_FILES
        if (folder / name).is_file()
    }
    return {"source": source_name(model), "weights": digest.hexdigest(), "files": files}


def _local(model: str) -> Path:
    if Path(model).is_dir():
        return Path(model)
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(model, allow_patterns=["*.json", "*.safetensors"]))
