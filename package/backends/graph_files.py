"""What the files of an exported folder are called."""

from pathlib import Path


VISION = "model"
TEXT = "text_model"
NOTES = "export.json"


def is_exported(folder: str | Path) -> bool:
    """Is this a folder of `anatomy-vlm export --format onnx` or `--format openvino`?"""
    return (Path(folder) / NOTES).is_file() and any(Path(folder).glob(f"{VISION}.[ox]*"))


__all__ = ["NOTES", "TEXT", "VISION", "is_exported"]
