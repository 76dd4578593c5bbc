"""CheXanatomy's folder layout, so that its training code runs on our films unchanged.

`<out>/<prefix>_PA/<case>/ct.png` and one `<structure>.png` per structure (0 or 255), and the same under `<prefix>_LR`
for laterals (github.com/sergiosgatidis/CheXanatomy, `CT_RATE_demo_data`).
"""

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from anatomy_vlm.synthesis.ct.film import CTFilm, expose_film, frame_film, standard_geometry
from anatomy_vlm.synthesis.ct.names import structure_parts
from anatomy_vlm.synthesis.ct.study import CTStudy
from anatomy_vlm.synthesis.ct.volume import LabelVolume
from anatomy_vlm.synthesis.look import FilmLook
from anatomy_vlm.synthesis.projection import project_labels


# View -> what its folder ends in.
CHEXANATOMY_VIEWS = {"PA": "PA", "LATERAL": "LR"}


def chexanatomy_masks(study: CTStudy, film: CTFilm) -> dict[str, np.ndarray]:
    """Footprints on a film by CheXanatomy's structure names, bool (rows, columns), without those off the film.

    `body` is the patient itself. Structures whose parts the segmentation lacks are left out, never approximated.
    """
    known = {name for volume in study.labels for name in volume.names.values()}
    masks = {"body": project_labels(study.body.astype(np.uint8), study.ct.affine, film.geometry).mask(1)}
    for name, (rule, parts) in structure_parts("chexanatomy").items():
        if rule == "within":
            inside = _within(study.labels, *parts)
            if inside is not None:
                masks[name] = project_labels(inside.values, inside.affine, film.geometry).mask(1)
        elif name not in masks and (known.intersection(parts) if rule == "any" else known.issuperset(parts)):
            masks[name] = study.thickness_mm(film.projections, *parts) > 0
    return {name: mask for name, mask in masks.items() if mask.any()}


def write_chexanatomy(
    study: CTStudy,
    out: str | Path,
    *,
    case: str | None = None,
    prefix: str = "CT_projections",
    image_size: int = 512,
    looks: Mapping[str, FilmLook] | None = None,
) -> list[Path]:
    """Writes the PA and the lateral film of a study with all masks; a case folder appears only once it is complete.

    Args:
        out: root of the data set.
        case: folder name; None is the CT's name.
        prefix: of the two folders; "PA" and "LR" are appended. (Their reader finds "PA" anywhere in a path: keep the
            path of `out` free of these two letters in a row.)
        looks: view ("PA", "LATERAL") -> look; missing views get the standard one.

    Returns:
        The two case folders.

    Raises:
        ValueError: for a scan too short for a film, or a case name that is no folder name.
    """
    films = [
        expose_film(study, frame_film(study, standard_geometry(study, view), image_size), (looks or {}).get(view))
        for view in CHEXANATOMY_VIEWS
    ]
    return [write_chexanatomy_film(study, film, out, case=case or study.ct.name, prefix=prefix) for film in films]


def write_chexanatomy_film(
    study: CTStudy, film: CTFilm, out: str | Path, *, case: str, prefix: str = "CT_projections"
) -> Path:
    """Writes one film with all masks, and returns its case folder, which appears only once it is complete.

    Raises:
        ValueError: for a case name that is no folder name, or a view that the layout has no folder for.
    """
    if case != Path(case).name or case in ("", ".", ".."):
        raise ValueError(f"case must be a plain folder name, got {case!r}")
    if film.geometry.view not in CHEXANATOMY_VIEWS:
        raise ValueError(f"CheXanatomy's layout has no folder for the view {film.geometry.view}; choose PA or LATERAL")
    parent = Path(out) / f"{prefix}_{CHEXANATOMY_VIEWS[film.geometry.view]}"
    parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=parent, prefix=f".writing-{case}-"))
    try:
        Image.fromarray(_square(film.image)).save(scratch / "ct.png")
        for name, mask in chexanatomy_masks(study, film).items():
            Image.fromarray(_square(mask.astype(np.uint8) * 255)).save(scratch / f"{name}.png")
        scratch.chmod(0o755)
        target = parent / case
        if target.exists():
            shutil.rmtree(target)
        os.replace(scratch, target)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    return target


def _square(image: np.ndarray) -> np.ndarray:
    """Centred on black: their code takes square images, 512 x 512."""
    size = max(image.shape)
    top, left = ((size - n) // 2 for n in image.shape)
    return np.pad(image, ((top, size - image.shape[0] - top), (left, size - image.shape[1] - left)))


def _within(volumes: Sequence[LabelVolume], part: str, whole: str) -> LabelVolume | None:
    """The voxels of one structure that lie in another, where both are on one grid."""
    for volume in volumes:
        value = volume.value_of(part)
        for other in volumes if value is not None else ():
            inside = other.value_of(whole)
            if inside is not None and other.values.shape == volume.values.shape:
                both = (volume.values == value) & (other.values == inside)
                return LabelVolume(both.astype(np.uint8), volume.affine, {1: part})
    return None
