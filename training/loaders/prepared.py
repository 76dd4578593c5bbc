"""Films that `anatomy-vlm prepare` decoded and resized once."""

from pathlib import Path
from typing import Any

import datasets

from anatomy_vlm.processing.schema import features
from anatomy_vlm.training.loaders.errors import DatasetError
from anatomy_vlm.training.loaders.paths import path_inside
from anatomy_vlm.training.loaders.saved import check_splits
from anatomy_vlm.training.loaders.tables import read_json


MANIFEST = "manifest.json"


def read_manifest(path: str | Path) -> dict:
    """The manifest of a prepared dataset. Raises `DatasetError` where there is none."""
    file = Path(path) / MANIFEST
    if not file.is_file():
        raise DatasetError(f"{file}: no such file; the folder has to be one that `anatomy-vlm prepare` has finished")
    manifest: dict = read_json(file)
    return manifest


_SHARD: dict[str, type] = {"split": str, "rows": int, "file": str, "bytes": int}


def _listed(manifest: Any, where: str) -> list[dict[str, Any]]:
    """The shards of a manifest. Raises `DatasetError` where it is not laid out as one."""
    try:
        shards, mask = manifest["shards"], manifest["request"]["mask"]
        sound = isinstance(mask, bool) and all(isinstance(row[key], _SHARD[key]) for row in shards for key in _SHARD)
    except (KeyError, TypeError):
        sound = False
    if not sound:
        raise DatasetError(f"{where}: is damaged; run `anatomy-vlm prepare` again as before")
    return list(shards)


def shard_files(folder: Path) -> tuple[dict[str, list[str]], datasets.Features]:
    """
    The shards of each split of a prepared dataset, and its schema.

    Raises:
        DatasetError: if a shard is not there, or incomplete.
    """
    manifest = read_manifest(folder)
    shards: dict[str, list[str]] = {}
    order = {"train": 0, "validation": 1, "test": 2}
    where = str(folder / MANIFEST)
    for shard in sorted(_listed(manifest, where), key=lambda shard: order.get(shard["split"], 3)):
        if shard["rows"]:
            file = path_inside(folder, shard["file"], where)
            if not file.is_file() or file.stat().st_size != shard["bytes"]:
                raise DatasetError(
                    f"{file}: the manifest names this shard, but it is not there or incomplete; run `anatomy-vlm "
                    "prepare` again as before, it makes what is missing"
                )
            shards.setdefault(shard["split"], []).append(str(file))
    return shards, features(mask=manifest["request"]["mask"])


def load_prepared(path: str, streaming: bool = False) -> "datasets.DatasetDict | datasets.IterableDatasetDict":
    """
    The splits of a prepared dataset.

    The shards are compressed Parquet; `datasets` unpacks them once into its cache, from where the raw pixels are
    mapped into memory. Streams read the shards as they are.

    Args:
        path: Folder that `anatomy-vlm prepare` wrote.
        streaming: Read the shards as they are asked for.
    """
    shards, schema = shard_files(Path(path))
    loaded = {
        split: datasets.load_dataset(
            "parquet", data_files={split: files}, split=split, features=schema, streaming=streaming
        )
        for split, files in shards.items()
    }
    if streaming:
        return datasets.IterableDatasetDict(loaded)
    return check_splits(datasets.DatasetDict(loaded), path)
