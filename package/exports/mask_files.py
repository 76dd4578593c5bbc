"""Named masks of films as files: PNG, COCO run lengths, COCO JSON, DICOM SEG, NIfTI."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anatomy_vlm.exports.coco import CocoFile, encode_rle
from anatomy_vlm.exports.dicom_objects import Maker
from anatomy_vlm.exports.file_names import FilmStems
from anatomy_vlm.exports.film_source import RESEARCH_ONLY, FilmSource
from anatomy_vlm.processing.atomic_files import replacing, write_json


FORMATS = ("png", "rle", "coco", "seg", "nifti")
COCO_FILE = "masks.json"


class MaskFileError(ValueError):
    """Masks that cannot be written; one line with the cure."""


class MaskFiles:
    """
    Writes the masks of many films to one folder.

    | format | files of the film `a.dcm` | needs |
    |---|---|---|
    | `png` | `a/left_lung.png`, 0 and 255 | |
    | `rle` | `a.masks.json`: `size`, and `masks` with COCO's compressed run lengths by name | |
    | `coco` | one `masks.json` for all films, written by `finish` | |
    | `seg` | `a.seg.dcm`, a DICOM Segmentation | DICOM films, the extra `dicom-export` |
    | `nifti` | `a/left_lung.nii.gz` | the extra `ct` |

    Args:
        folder: Where to write.
        format: One of `FORMATS`.
        model: Name of the checkpoint, for the formats that say what made them.

    Raises:
        MaskFileError: for an unknown format.
    """

    def __init__(self, folder: str | Path, format: str = "png", *, model: str = "unknown") -> None:
        if format not in FORMATS:
            raise MaskFileError(f"unknown format of masks {format!r}; choose one of {', '.join(FORMATS)}")
        self.folder = Path(folder)
        self.format = format
        self.maker = Maker(model)
        self._coco = CocoFile("Masks of anatomical structures", self.maker.model_name)
        self._stems = FilmStems()

    def add(
        self,
        source: str | Path | FilmSource,
        masks: Mapping[str, NDArray[np.bool_]],
        *,
        scores: Mapping[str, float] | None = None,
    ) -> list[Path]:
        """
        Write the masks of one film; each file is whole or not there.

        Args:
            source: The film's file. Films of one name are told apart by a number.
            masks: By name of the structure, bool `(height, width)` in pixels of the film as `read_image` shows it, all
                of one size. Names of Chest ImaGenome's regions and of TotalSegmentator are coded.
            scores: Confidences in [0, 1] by name, where there are any; for `coco` and `rle`.

        Returns:
            The files; none yet for `coco`.

        Raises:
            MaskFileError: no masks, of different sizes or not bool, or names that make one file name.
            FilmSourceError: `seg` of a film that is no DICOM image, or masks of another size than the DICOM film.
        """
        size = _check(masks)
        film = FilmSource.open(source)
        film.check_size(size)
        scores = scores or {}
        if self.format == "coco":
            image = self._coco.add_image(film.path, size)
            for name, mask in masks.items():
                self._coco.add_mask(image, name, mask, scores.get(name))
            return []
        stem = self._stems.of(film.path)
        if self.format == "rle":
            path = self.folder / f"{stem}.masks.json"
            write_json(path, _rle_file(film.path, size, masks, scores))
            return [path]
        if self.format == "seg":
            from anatomy_vlm.exports.mask_dicom import write_segmentation

            return [write_segmentation(self.folder / f"{stem}.seg.dcm", masks, film, self.maker)]
        names = _file_names(masks)
        if self.format == "nifti":
            from anatomy_vlm.exports.mask_nifti import write_nifti

            return [
                write_nifti(self.folder / stem / f"{names[name]}.nii.gz", mask, film.spacing)
                for name, mask in masks.items()
            ]
        return [_write_png(self.folder / stem / f"{names[name]}.png", mask) for name, mask in masks.items()]

    def finish(self) -> list[Path]:
        """Write what is one file for all films: `masks.json` of `coco`."""
        if self.format != "coco":
            return []
        path = self.folder / COCO_FILE
        write_json(path, self._coco.to_dict())
        return [path]


def write_masks(
    folder: str | Path,
    masks: Mapping[str, NDArray[np.bool_]],
    source: str | Path | FilmSource,
    format: str = "png",
    *,
    model: str = "unknown",
    scores: Mapping[str, float] | None = None,
) -> list[Path]:
    """
    Write the masks of one film, as `MaskFiles` does for many.

    Raises:
        MaskFileError, FilmSourceError: see there.
    """
    files = MaskFiles(folder, format, model=model)
    return files.add(source, masks, scores=scores) + files.finish()


def _check(masks: Mapping[str, NDArray[np.bool_]]) -> tuple[int, int]:
    if not masks:
        raise MaskFileError("no masks to write; name at least one structure")
    for name, mask in masks.items():
        if not isinstance(mask, np.ndarray) or mask.dtype != bool or mask.ndim != 2:
            kind = f"{mask.dtype} of shape {mask.shape}" if isinstance(mask, np.ndarray) else type(mask).__name__
            raise MaskFileError(f"the mask of {name!r} is {kind}; give bool arrays of (height, width)")
    sizes = {mask.shape for mask in masks.values()}
    if len(sizes) > 1:
        raise MaskFileError(f"masks of different sizes, {sorted(sizes)}; give all in the size of the film")
    height, width = sizes.pop()
    return int(height), int(width)


def _rle_file(
    path: Path, size: tuple[int, int], masks: Mapping[str, NDArray[np.bool_]], scores: Mapping[str, float]
) -> dict[str, Any]:
    return {
        "file": path.name,
        "size": list(size),
        "note": RESEARCH_ONLY,
        "masks": {name: encode_rle(mask) for name, mask in masks.items()},
        **({"scores": {name: float(score) for name, score in scores.items()}} if scores else {}),
    }


def _file_names(masks: Mapping[str, Any]) -> dict[str, str]:
    """File names that stay in their folder, whatever the structures are called."""
    names = {name: re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._") for name in masks}
    if not all(names.values()):
        raise MaskFileError("a structure has a name without a letter or digit; rename it")
    if len(set(names.values())) < len(names):
        raise MaskFileError("two structures have names that make one file name; rename one")
    return names


def _write_png(path: Path, mask: NDArray[np.bool_]) -> Path:
    with replacing(path) as beside:
        Image.fromarray(mask.astype(np.uint8) * 255).save(beside)
    return path


__all__ = ["COCO_FILE", "FORMATS", "MaskFileError", "MaskFiles", "write_masks"]
