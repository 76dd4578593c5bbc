"""Dataset cards of synthetic films: from the manifest that `synthesize` keeps to the `README.md` of a Hub folder."""

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from huggingface_hub import DatasetCard, DatasetCardData


TAGS = ["anatomy-vlm", "chest-x-ray", "radiology", "medical-imaging", "synthetic-data"]
TITLES = {"phantom": "Synthetic chests", "ct_projection": "Radiographs projected from CT volumes"}
# Upper ends of the Hub's size categories, and their names.
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
LARGEST = "1M<n<10M"


def dataset_card(
    manifest: Mapping[str, Any],
    films: Mapping[str, int],
    *,
    title: str = "",
    dataset_id: str = "path/to/this/folder",
    licence: str | None = None,
) -> str:
    """
    The text of a dataset card, YAML header included.

    Args:
        manifest: `manifest.json` of the folder: `request` and `versions`.
        films: number of films by split.
        title: of the card; from the generator by default.
        dataset_id: folder or Hub id that the example loads.
        licence: as the Hub names it, such as "cc0-1.0"; whoever publishes the films decides, so there is none by
            default.

    Raises:
        ValueError: a manifest of another generator, or no films.
    """
    request = manifest["request"]
    generator = request["generator"]
    if generator not in TITLES:
        raise ValueError(f"no card for films of '{generator}'; there is one for {', '.join(TITLES)}")
    total = sum(films.values())
    if not total:
        raise ValueError("a dataset without films has no card")
    phantom = generator == "phantom"
    header = DatasetCardData(
        license=licence,
        pretty_name=title or TITLES[generator],
        language="en" if phantom else None,
        annotations_creators="machine-generated",
        task_categories=["object-detection", "zero-shot-image-classification"],
        size_categories=next((name for most, name in SIZES if total < most), LARGEST),
        tags=TAGS,
        # Where `datasets.load_dataset` finds the splits of a phantom; the others are a folder of `save_to_disk`.
        configs=[{"config_name": "default", "data_files": _data_files(films)}] if phantom else None,
    )
    card = DatasetCard.from_template(
        header,
        template_str=files("anatomy_vlm.hub_cards").joinpath("dataset_card.md").read_text(encoding="utf-8"),
        title=title or TITLES[generator],
        phantom=phantom,
        dataset_id=dataset_id,
        licence=licence,
        request=request,
        settings=[[key.replace("_", " "), _shown(value)] for key, value in request.items()],
        films=dict(films),
        total=total,
        problems=len(manifest.get("problems", {})),
        versions=", ".join(f"{name} {version}" for name, version in manifest["versions"].items()),
    )
    return str(card)


def _data_files(films: Mapping[str, int]) -> list[dict[str, str]]:
    return [{"split": split, "path": f"{split}/*.arrow"} for split in films]


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_shown(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_shown(item) for item in value)
    return "-" if value is None else str(value)


__all__ = ["dataset_card"]
