"""A dataset folder named on the command line."""

from pathlib import Path
from typing import Any


def read_splits(folder: Path, needed: str) -> Any:
    """The splits of a folder with a metadata.jsonl, of `save_to_disk`, or of `synthesize`.

    Raises:
        ValueError: no such folder, or it has no split `needed`.
    """
    from anatomy_vlm.training.loaders import load_data

    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; name a dataset folder")
    loader = "folder" if (folder / "metadata.jsonl").is_file() else "saved"
    splits = load_data(loader, {"path": str(folder)})
    if needed not in splits:
        raise ValueError(f"{folder}: no split {needed!r}; it has {', '.join(splits)}")
    return splits
