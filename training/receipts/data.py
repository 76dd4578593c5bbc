"""Data as a receipt names it: where it comes from, which part, and hashes of what it held."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from anatomy_vlm.processing.data_files import DataFileError, read_json_file
from anatomy_vlm.training.receipts.errors import UnverifiableError


PHANTOM = "phantom"
# From here on a second process that draws is worth its start.
MANY_FILMS = 100
# What the films of the generator depend on; where they are kept and how many processes drew them changes nothing.
PHANTOM_ARGUMENTS = (
    "num_patients",
    "seed",
    "image_size",
    "splits",
    "num_studies",
    "domain",
    "label_noise",
    "reader_style",
)


@dataclass(frozen=True)
class DataSource:
    """
    Where data comes from.

    Args:
        loader: "phantom" for films that are drawn, else a loader of `anatomy_vlm.training.loaders`.
        arguments: Of `generate_dataset` or of the loader; `path` is the folder as the user named it.
    """

    loader: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return json.dumps([self.loader, dict(self.arguments)], sort_keys=True)

    def load(self, root: Path | None = None, films: Path | None = None, progress: bool = True) -> Any:
        """The splits, drawn again where they are synthetic.

        Args:
            root: Folder that holds the data, where it is not at `path` any more.
            films: Folder that keeps drawn films; without it they are held in memory.
            progress: Show a progress bar while films are drawn.

        Raises:
            UnverifiableError: the data is not here.
        """
        if self.loader == PHANTOM:
            return self._draw(films, progress)
        from anatomy_vlm.training.loaders import load_data

        path = Path(str(self.arguments.get("path", "")))
        places = [path] if root is None else [root / path, root / path.name, root]
        for place in places:
            if place.is_dir() and any(place.iterdir()):
                return load_data(self.loader, {**self.arguments, "path": str(place)})
        raise UnverifiableError(f"the data '{path}' is not here; name the folder that holds it by --data")

    def _draw(self, films: Path | None, progress: bool) -> Any:
        from anatomy_vlm.synthesis import generate_dataset

        name = hashlib.sha256(self.key.encode()).hexdigest()[:12]
        arguments = dict(self.arguments)
        return generate_dataset(
            arguments.pop("num_patients"),
            **arguments,
            out=None if films is None else films / f"phantom-{name}",
            num_workers=2 if self.arguments["num_patients"] > MANY_FILMS else 1,
            progress=progress,
        )


def source_of(folder: Path) -> DataSource:
    """How a dataset folder came about: the request of drawn films in its manifest, else a loader of such folders."""
    manifest = folder / "manifest.json"
    if manifest.is_file():
        request = _request(manifest)
        if request.get("generator") == PHANTOM:
            return DataSource(PHANTOM, {name: request[name] for name in PHANTOM_ARGUMENTS if name in request})
        if "mask" in request:
            return DataSource("prepared", {"path": portable_path(folder)})
    loader = "folder" if (folder / "metadata.jsonl").is_file() else "saved"
    return DataSource(loader, {"path": portable_path(folder)})


def _request(manifest: Path) -> dict[str, Any]:
    """What a manifest says of how its data came about; nothing where it says something else."""
    try:
        content = read_json_file(manifest)
    except DataFileError as error:
        raise UnverifiableError(f"{manifest}: {error}") from None
    request = content.get("request") if isinstance(content, dict) else None
    return request if isinstance(request, dict) else {}


def portable_path(folder: Path) -> str:
    """A path as it may travel: relative below the working folder, else the bare name."""
    try:
        return folder.resolve().relative_to(Path.cwd()).as_posix()
    except ValueError:
        return folder.resolve().name


def describe_split(split: Any, *, with_pixels: bool = True) -> dict[str, Any]:
    """Counts and SHA-256 hashes of a split in the example schema.

    Args:
        split: A `datasets.Dataset`.
        with_pixels: Hash the images, too; not needed of a split whose images nobody looks at.

    Returns:
        `images` and `patients` (counts), `ids` and `labels` (hashes of names and of boxes, labels and statements),
        `pixels` (hash of sizes and grey levels, or None) and `mean_grey` (0 to 255, or None).
    """
    ids, labels = hashlib.sha256(), hashlib.sha256()
    rows = split.select_columns(["image_id", "patient_id", "boxes", "box_mask", "labels", "region_findings"])
    patients = set()
    for row in rows.with_format(None):
        patients.add(row["patient_id"])
        ids.update(f"{row['image_id']}\t{row['patient_id']}\n".encode())
        mask = np.asarray(row["box_mask"], dtype=np.bool_)
        boxes = np.where(mask[:, None], np.asarray(row["boxes"], dtype=np.float32), 0)
        known = np.asarray([np.nan if x is None else x for x in row["labels"]], dtype=np.float32)
        # One NaN of many: its bits are not what the label says.
        for array in (mask, boxes.astype(np.float32), np.where(np.isnan(known), np.float32(-1), known)):
            labels.update(np.ascontiguousarray(array).tobytes())
        labels.update(json.dumps(row["region_findings"], sort_keys=True).encode())
    described: dict[str, Any] = {
        "images": len(split),
        "patients": len(patients),
        "ids": ids.hexdigest(),
        "labels": labels.hexdigest(),
        "pixels": None,
        "mean_grey": None,
    }
    if with_pixels:
        pixels, total = hashlib.sha256(), 0.0
        for row in split.select_columns(["image"]):
            grey = np.asarray(row["image"].convert("L"))
            pixels.update(f"{grey.shape}".encode() + np.ascontiguousarray(grey).tobytes())
            total += float(grey.mean())
        described |= {"pixels": pixels.hexdigest(), "mean_grey": round(total / len(split), 4)}
    return described
