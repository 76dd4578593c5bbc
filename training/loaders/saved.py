"""A dataset in the example schema that was saved before, by `DatasetDict.save_to_disk`."""

from pathlib import Path

import datasets

from anatomy_vlm.training.recipe import RecipeError


REQUIRED_COLUMNS = ("image", "boxes", "box_mask", "region_findings", "labels", "patient_id", "image_id")


def check_splits(splits: datasets.DatasetDict, where: str) -> datasets.DatasetDict:
    """`splits`, if every one has the columns of the schema, an example, and no patient of another split."""
    owner: dict[str, str] = {}
    for name, split in splits.items():
        for column in REQUIRED_COLUMNS:
            if column not in split.column_names:
                raise RecipeError(
                    f"{where}: split '{name}' has no column '{column}'; see anatomy_vlm.processing.schema"
                )
        if len(split) == 0:
            raise RecipeError(f"{where}: split '{name}' is empty")
        for patient in set(split["patient_id"]):
            if owner.setdefault(patient, name) != name:
                raise RecipeError(f"{where}: patient '{patient}' is in the splits '{owner[patient]}' and '{name}'")
    return splits


def load_saved(path: str) -> datasets.DatasetDict:
    """
    Args:
        path: Folder written by `DatasetDict.save_to_disk`, with one dataset per split, or by `anatomy-vlm synthesize`.
    """
    if not Path(path).is_dir():
        raise RecipeError(f"{path}: no such folder; a saved dataset is written by DatasetDict.save_to_disk")
    shards = sorted(Path(path).glob("*/shard-*.arrow"))
    if shards and (Path(path) / "manifest.json").is_file():
        return check_splits(_synthetic(shards), path)
    try:
        splits = datasets.load_from_disk(path)
    except (FileNotFoundError, ValueError) as error:
        raise RecipeError(f"{path}: not a folder of DatasetDict.save_to_disk: {error}") from error
    except IndexError as error:  # what `datasets` makes of a split without any shard
        raise RecipeError(f"{path}: a split is empty") from error
    if not isinstance(splits, datasets.DatasetDict):
        raise RecipeError(f"{path}: holds one dataset without splits; save a DatasetDict with a split for training")
    return check_splits(splits, path)


def _synthetic(shards: list[Path]) -> datasets.DatasetDict:
    """The Arrow shards of synthetic films, in one folder per split."""
    parts: dict[str, list[datasets.Dataset]] = {}
    for shard in shards:
        parts.setdefault(shard.parent.name, []).append(datasets.Dataset.from_file(str(shard)))
    return datasets.DatasetDict({split: datasets.concatenate_datasets(members) for split, members in parts.items()})
