"""Films of a CT as examples of the package's schema."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from anatomy_vlm.processing.schema import MASK_VALUES
from anatomy_vlm.processing.vocabulary import FINDING_NAMES
from anatomy_vlm.synthesis.ct.film import CTFilm, study_films
from anatomy_vlm.synthesis.ct.regions import region_boxes
from anatomy_vlm.synthesis.ct.study import CTStudy, read_study


def ct_example(
    ct_path: str | Path,
    labels_path: str | Path | Sequence[str | Path] | None = None,
    scheme: str | Path | Mapping[int, str] | None = None,
    *,
    views: Sequence[str] = ("PA", "LATERAL"),
    image_size: int = 512,
    seed: int | None = None,
    domain: str = "default",
    mask: bool = False,
) -> list[dict[str, Any]]:
    """Reads a CT and its segmentation and returns one example per view, in the schema of `processing.schema`.

    A CT says nothing about findings: `labels` are all unknown, `region_findings` and `report` empty. A supine CT stays
    supine: diaphragm, heart and effusions do not take the place they have in an upright patient.

    Args:
        ct_path, labels_path, scheme: as for `read_study`.
        views: of "PA", "AP", "LATERAL", one film each.
        image_size: pixels along a film's longer side.
        seed: None gives the standard pose and look; a number draws both, the same for the same number.
        domain: of the drawn looks (`RandomFilmLook`).
        mask: adds `mask`, mode "L": 1 right lung, 2 left lung, 3 cardiac silhouette (in front of the lungs).

    Raises:
        CTReadError: for files that cannot be used.
        ValueError: for an unknown view or domain, or a scan too short for a film.
    """
    study = read_study(ct_path, labels_path, scheme)
    return study_examples(study, views=views, image_size=image_size, seed=seed, domain=domain, mask=mask)


def study_examples(
    study: CTStudy,
    *,
    views: Sequence[str] = ("PA", "LATERAL"),
    image_size: int = 512,
    seed: int | None = None,
    domain: str = "default",
    mask: bool = False,
) -> list[dict[str, Any]]:
    """As `ct_example`, for a study that is read already."""
    films = study_films(study, views, image_size, seed=seed, domain=domain)
    return [
        film_example(film, study.ct.name, f"{study.ct.name}_{index}_{view.lower()}", mask=mask)
        for index, (view, film) in enumerate(zip(views, films))
    ]


def film_example(film: CTFilm, case: str, image_id: str, *, mask: bool = False) -> dict[str, Any]:
    """One film as an example."""
    boxes, present = region_boxes(film.regions)
    example = {
        "image": Image.fromarray(film.image),
        "boxes": boxes,
        "box_mask": present,
        "region_findings": [],
        "labels": np.full(len(FINDING_NAMES), np.nan, np.float32),
        "report": "",
        "patient_id": case,
        "study_id": case,
        "image_id": image_id,
        "view": film.geometry.view if film.geometry.view != "OBLIQUE" else "",
        "source": "ct_projection",
    }
    if mask:
        values = np.zeros(film.image.shape, np.uint8)
        for name, value in MASK_VALUES.items():
            if name in film.regions:
                values[film.regions[name]] = value
        example["mask"] = Image.fromarray(values)
    return example
