"""Films with masks of structures: from folders of images and masks, or from a dataset of the example schema."""

import csv
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anatomy_vlm.processing.image_io import read_image
from anatomy_vlm.processing.schema import MASK_TARGET, MASK_VALUES
from anatomy_vlm.training.loaders.errors import DatasetError


# A mask that was resized has gray edges; more than half is inside.
_INSIDE = 127
_SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".dcm"}


class MaskedFilms(ABC):
    """
    Films whose structures are outlined.

    Attributes:
        structures: Names of the structures, in the order of the masks; left is the patient's left.
        film_ids: Name of each film.
        patients: Patient of each film.
        splits: "train", "validation" or "test" of each film; "" where the data has no splits.
    """

    structures: tuple[str, ...]
    film_ids: Sequence[str]
    patients: Sequence[str]
    splits: Sequence[str]

    def __len__(self) -> int:
        return len(self.film_ids)

    @abstractmethod
    def read(self, index: int) -> tuple[Image.Image, NDArray[np.bool_]]:
        """The film, mode "L", and its masks `(structures, height, width)`, which may overlap."""


class FolderFilms(MaskedFilms):
    """
    A folder of images, and for each structure a folder of masks under the names of the images.

    Args:
        images: Folder of the films.
        masks: Folder of the masks by name of the structure; a pixel above 127 is inside.
        patients: CSV with the columns `file_name` (or `image_id`, with or without suffix) and `patient_id`. Without
            it every film counts as a patient of its own.

    Raises:
        DatasetError: no film, a film without a mask or without a patient.
    """

    def __init__(self, images: str | Path, masks: Mapping[str, str | Path], patients: str | Path | None = None):
        folder = Path(images)
        if not masks:
            raise DatasetError("name at least one structure and the folder of its masks")
        for name, place in {"the images": folder, **{f"'{name}'": Path(path) for name, path in masks.items()}}.items():
            if not place.is_dir():
                raise DatasetError(f"{place}: no such folder; it should hold {name}")
        self.structures = tuple(masks)
        self.files = sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)
        if not self.files:
            raise DatasetError(f"{folder}: no image in this folder")
        by_stem = [{path.stem: path for path in Path(place).iterdir()} for place in masks.values()]
        absent = [(name, f) for name, known in zip(masks, by_stem) for f in self.files if f.stem not in known]
        if absent:
            name, file = absent[0]
            raise DatasetError(f"{Path(masks[name])}: no mask '{name}' for {file.name} ({len(absent)} are missing)")
        self.mask_files = [[known[path.stem] for known in by_stem] for path in self.files]
        self.film_ids = [path.stem for path in self.files]
        self.patients = self.film_ids if patients is None else _read_patients(Path(patients), self.files)
        self.splits = [""] * len(self.files)

    def read(self, index: int) -> tuple[Image.Image, NDArray[np.bool_]]:
        film = read_image(self.files[index]).to_pil()
        masks = []
        for path in self.mask_files[index]:
            with Image.open(path) as picture:
                mask = picture.convert("L")
            if mask.size != film.size:
                raise DatasetError(f"{path}: the mask is {mask.size} pixels, its film {film.size}")
            masks.append(np.asarray(mask) > _INSIDE)
        return film, np.stack(masks)


class DatasetFilms(MaskedFilms):
    """
    The splits of a dataset in the example schema, whose `mask` holds regions or the target of the dataset.

    Args:
        splits: A `datasets.DatasetDict`.
        structures: Regions of `MASK_VALUES`, or the name of the target, which is then the only structure.

    Raises:
        DatasetError: a dataset without masks.
    """

    def __init__(self, splits: Mapping[str, Any], structures: Sequence[str]):
        self.structures = tuple(structures)
        wrong = [name for name in structures if name not in MASK_VALUES]
        if not structures or (wrong and len(structures) > 1):
            raise DatasetError(
                f"structures {list(structures)}: name some of {', '.join(MASK_VALUES)}, or one alone, the target"
            )
        self.rows: list[tuple[Any, int]] = []
        self.film_ids, self.patients, self.splits = [], [], []
        for name, split in splits.items():
            if "mask" not in split.column_names:
                raise DatasetError(f"split '{name}' has no masks; choose a dataset with masks, such as chexmask")
            self.rows += [(split, row) for row in range(len(split))]
            self.film_ids += list(split["image_id"])
            self.patients += list(split["patient_id"])
            self.splits += [name] * len(split)

    def read(self, index: int) -> tuple[Image.Image, NDArray[np.bool_]]:
        split, row = self.rows[index]
        example = split[row]
        mask = np.asarray(example["mask"])
        if len(self.structures) == 1:
            # A dataset of one structure marks it as its target, whether it is a region or not.
            return example["image"], ((mask == MASK_TARGET) | (mask == MASK_VALUES.get(self.structures[0], -1)))[None]
        return example["image"], np.stack([mask == MASK_VALUES[name] for name in self.structures])


def dataset_structures(name: str, arguments: Mapping[str, Any]) -> tuple[str, ...]:
    """
    What the masks of a dataset show, by the arguments of its loader; the regions of the schema where it is not known.

    >>> dataset_structures("chexmask", {"target": "heart"})
    ('cardiac silhouette',)
    """
    if name == "siim_acr":
        return ("pneumothorax",)
    if name == "chexmask":
        return ("lungs",) if arguments.get("target") == "lungs" else ("cardiac silhouette",)
    return tuple(MASK_VALUES)


def _read_patients(path: Path, files: Sequence[Path]) -> list[str]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}); name a CSV of patients") from None
    key = next((name for name in ("file_name", "image_id") if rows and name in rows[0]), None)
    if key is None or "patient_id" not in rows[0]:
        raise DatasetError(f"{path}: needs the columns file_name (or image_id) and patient_id")
    known = {Path(row[key]).name: row["patient_id"] for row in rows}
    patients = [known.get(file.name) or known.get(file.stem) for file in files]
    absent = [file.name for file, patient in zip(files, patients) if not patient]
    if absent:
        raise DatasetError(f"{path}: no patient for {absent[0]} ({len(absent)} films have none)")
    return [patient for patient in patients if patient]
