"""A dataset folder named on the command line."""

from pathlib import Path
from typing import Any


def read_splits(folder: Path, needed: str) -> Any:
    """The splits of a folder with a metadata.jsonl, of `prepare`, of `synthesize`, or of `save_to_disk`.

    Raises:
        ValueError: no such folder, or it has no split `needed`.
    """
    from anatomy_vlm.training.loaders import load_data

    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; name a dataset folder")
    if (folder / "metadata.jsonl").is_file():
        loader = "folder"
    else:
        # Shards of `prepare` are Parquet, those of `synthesize` and `save_to_disk` Arrow.
        loader = "prepared" if next(folder.rglob("*.parquet"), None) else "saved"
    splits = load_data(loader, {"path": str(folder)})
    if needed not in splits:
        raise ValueError(f"{folder}: no split {needed!r}; it has {', '.join(splits)}")
    return splits
