"""Films of a CT: exposure, framing, development, regions."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from anatomy_vlm.synthesis.ct.regions import region_masks
from anatomy_vlm.synthesis.ct.study import CTStudy
from anatomy_vlm.synthesis.look import FilmLook, RandomFilmLook, TubeSpectrum, bone_basis, water_basis
from anatomy_vlm.synthesis.projection import (
    Attenuation,
    Geometry,
    LabelProjection,
    box_of_mask,
    largest_rectangle,
    project_volume,
    valid_rays,
)


_METAL_HU = 2500.0
# What a radiographer leaves around the lungs, in mm at the isocentre: above, below, at each side.
_MARGINS_MM = (40.0, 55.0, 45.0)


@dataclass(frozen=True)
class CTFilm:
    """One film of a CT.

    Attributes:
        image: uint8 (rows, columns), bone bright.
        geometry: the exposure, on exactly these pixels.
        look: the chain that developed it; its `parameters()` are the log.
        regions: region name -> bool (rows, columns) (`region_masks`).
        projections: one per label volume of the study.
        valid: share of the framed film's rays that cross no cut end of the scan; 1 unless the scan is too short.
    """

    image: np.ndarray = field(repr=False)
    geometry: Geometry
    look: FilmLook
    regions: dict[str, np.ndarray] = field(repr=False)
    projections: list[LabelProjection] = field(repr=False)
    valid: float


def frame_film(study: CTStudy, geometry: Geometry, image_size: int) -> Geometry:
    """Collimates an exposure to the lungs with their margins, within what the scan gives.

    Args:
        geometry: its detector is the largest there is.
        image_size: pixels along the film's longer side.

    Raises:
        ValueError: if no ray through the body is complete.
    """
    height, width = geometry.detector_size_mm
    coarse = geometry.replace(detector_shape=(round(160 * height / width), 160))
    valid = valid_rays(study.body, study.ct.affine, coarse)
    projections = study.project_labels(coarse)
    if projections:
        masks = study.anatomy(coarse, projections).masks
        lungs = box_of_mask((masks["right lung"] | masks["left lung"]) & ~masks["abdominal organs"])
        if lungs is not None:
            up, down, side = (m * coarse.magnification / coarse.pixel_size_mm[0] for m in _MARGINS_MM)
            window = np.zeros_like(valid)
            window[
                max(round(lungs[1] - up), 0) : round(lungs[3] + down),
                max(round(lungs[0] - side), 0) : round(lungs[2] + side),
            ] = True
            valid &= window
    top, bottom, left, right = largest_rectangle(valid)
    if (bottom - top) * (right - left) < 16:
        raise ValueError(f"{study.ct.name}: the scan is too short for a film; no ray through the body is complete")
    framed = coarse.crop(top, bottom, left, right)
    pitch = max(framed.detector_size_mm) / image_size
    shape = tuple(max(1, round(length / pitch)) for length in framed.detector_size_mm)
    return framed.replace(detector_shape=shape)


def expose_film(
    study: CTStudy,
    geometry: Geometry,
    look: FilmLook | None = None,
    spectrum: TubeSpectrum | None = None,
) -> CTFilm:
    """Projects, develops and labels one film.

    Args:
        geometry: the exposure; `frame_film` fits one to the patient.
        look: None is `FilmLook.standard()`.
        spectrum: None is 120 kV.
    """
    look = look or FilmLook.standard()
    hu, affine = study.ct.hu, study.ct.affine
    water = project_volume(hu, affine, geometry, attenuation=water_basis())
    bone = project_volume(hu, affine, geometry, attenuation=bone_basis())
    seen = water > 20
    if hu.max() > _METAL_HU:
        seen &= project_volume(hu, affine, geometry, attenuation=Attenuation(0.0, 1.0, _METAL_HU)) < 1e-3
    image = look((spectrum or TubeSpectrum()).transmission(water, bone), seen)
    projections = study.project_labels(geometry)
    return CTFilm(
        image=image,
        geometry=geometry,
        look=look,
        regions=region_masks(study.anatomy(geometry, projections)) if projections else {},
        projections=projections,
        valid=float(valid_rays(study.body, affine, _coarser(geometry)).mean()),
    )


def study_films(
    study: CTStudy, views: Sequence[str], image_size: int, *, seed: int | None = None, domain: str = "default"
) -> list[CTFilm]:
    """One film per view, framed to the patient.

    Args:
        views: of "PA", "AP", "LATERAL".
        image_size: pixels along a film's longer side.
        seed: None gives the standard pose and look; a number draws both, the same for the same number.
        domain: of the drawn looks (`RandomFilmLook`).

    Raises:
        ValueError: for an unknown view or domain, or a scan too short for a film.
    """
    films = []
    for index, view in enumerate(views):
        geometry, look = standard_geometry(study, view), FilmLook.standard()
        if seed is not None:
            rng = np.random.default_rng([seed, index])
            geometry, look = random_geometry(geometry, rng), RandomFilmLook(domain).sample(rng)
        films.append(expose_film(study, frame_film(study, geometry, image_size), look))
    return films


def standard_geometry(study: CTStudy, view: str, detector_mm: Sequence[float] = (430.0, 430.0)) -> Geometry:
    """The usual exposure of a view, centred on the patient: PA and lateral at 1.8 m, AP at 1.1 m.

    Raises:
        ValueError: for an unknown view.
    """
    make = {"PA": Geometry.pa, "AP": Geometry.ap, "LATERAL": Geometry.lateral}.get(view)
    if make is None:
        raise ValueError(f"unknown view {view!r}; choose PA, AP or LATERAL")
    return make(isocenter_mm=study.center_mm, detector_size_mm=tuple(detector_mm))


def random_geometry(geometry: Geometry, rng: np.random.Generator) -> Geometry:
    """The random twin of an exposure: small errors of pose, centring and distance, as at the stand."""
    x, y, z = geometry.isocenter_mm
    farther = float(rng.uniform(0.95, 1.08))
    return geometry.replace(
        rotation_deg=geometry.rotation_deg + float(rng.normal(0, 2.5)),
        tilt_deg=geometry.tilt_deg + float(rng.normal(0, 2.5)),
        roll_deg=geometry.roll_deg + float(rng.normal(0, 1.5)),
        source_to_detector_mm=geometry.source_to_detector_mm * farther,
        source_to_isocenter_mm=geometry.source_to_isocenter_mm * farther,
        isocenter_mm=(x + float(rng.normal(0, 8)), y + float(rng.normal(0, 8)), z + float(rng.normal(0, 12))),
    )


def _coarser(geometry: Geometry) -> Geometry:
    return geometry.replace(detector_shape=tuple(max(2, n // 8) for n in geometry.detector_shape))
