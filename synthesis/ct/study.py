"""One CT with its labels, made ready for any number of films."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from anatomy_vlm.synthesis.ct.body import body_mask
from anatomy_vlm.synthesis.ct.labels import read_labels
from anatomy_vlm.synthesis.ct.landmarks import (
    ESTIMATED_RIGHT_ATRIUM,
    HEART_CHAMBERS,
    LEFT_LOBES,
    RIGHT_LOBES,
    derived_right_atrium,
    find_landmarks,
)
from anatomy_vlm.synthesis.ct.nifti import read_nifti_ct
from anatomy_vlm.synthesis.ct.regions import ProjectedAnatomy
from anatomy_vlm.synthesis.ct.series import read_dicom_ct
from anatomy_vlm.synthesis.ct.volume import CTVolume, LabelVolume, check_same_patient
from anatomy_vlm.synthesis.projection import Geometry, LabelProjection, project_labels


# Structures behind each footprint that the region rules read, and the least path in mm that counts.
_VERTEBRAE = tuple(f"vertebrae_{level}{i}" for level, n in (("C", 7), ("T", 12), ("L", 5)) for i in range(1, n + 1))
_FOOTPRINTS: dict[str, tuple[tuple[str, ...], float]] = {
    "right lung": (RIGHT_LOBES, 15.0),
    "left lung": (LEFT_LOBES, 15.0),
    "abdominal organs": (("liver", "spleen", "stomach", "colon", "pancreas", "kidney_left", "kidney_right"), 8.0),
    "right clavicle": (("clavicula_right",), 0.0),
    "left clavicle": (("clavicula_left",), 0.0),
    "trachea": (("trachea",), 0.0),
    "spine": (_VERTEBRAE, 0.0),
    "aorta": (("aorta",), 0.0),
    "svc": (("superior_vena_cava",), 0.0),
    "heart": (("heart", *HEART_CHAMBERS), 0.0),
    "right atrium": (("heart_atrium_right", ESTIMATED_RIGHT_ATRIUM), 0.0),
    "great vessels": (
        (
            "brachiocephalic_trunk",
            "brachiocephalic_vein_left",
            "brachiocephalic_vein_right",
            "common_carotid_artery_left",
            "common_carotid_artery_right",
            "pulmonary_artery",
            "esophagus",
        ),
        0.0,
    ),
}
_OPACIFIED = ("heart", *HEART_CHAMBERS, "aorta", "superior_vena_cava", "inferior_vena_cava", "pulmonary_vein")
_OPACIFIED += ("pulmonary_artery", "brachiocephalic_trunk", "brachiocephalic_vein_left", "brachiocephalic_vein_right")
_BLOOD_HU = 45


@dataclass(frozen=True)
class CTStudy:
    """A CT without couch and contrast agent, the body, and its label volumes.

    Attributes:
        ct: what is projected.
        body: bool (Z, Y, X), the patient.
        labels: label volumes, each on its own grid; empty without a segmentation.
    """

    ct: CTVolume
    body: np.ndarray = field(repr=False)
    labels: tuple[LabelVolume, ...] = ()

    @cached_property
    def landmarks_mm(self) -> dict[str, np.ndarray]:
        """Landmarks of the labels, LPS mm (`find_landmarks`)."""
        return find_landmarks(self.labels)

    @cached_property
    def center_mm(self) -> tuple[float, float, float]:
        """Where the central ray goes: the middle of the body across, the middle of the lungs (else the scan) along."""
        index = [np.flatnonzero(self.body.any(axis=axes)) for axes in ((0, 1), (0, 2), (1, 2))]
        middle = [(i[0] + i[-1]) / 2 for i in index]
        center = self.ct.affine[:3, :3] @ middle + self.ct.affine[:3, 3]
        lungs = [v.points_mm(*RIGHT_LOBES, *LEFT_LOBES)[:, 2] for v in self.labels]
        heights = np.concatenate(lungs) if lungs else np.zeros(0)
        if len(heights):
            center[2] = (heights.min() + heights.max()) / 2
        return tuple(center.tolist())

    def project_labels(self, geometry: Geometry) -> list[LabelProjection]:
        """One projection per label volume."""
        return [project_labels(v.values, v.affine, geometry) for v in self.labels]

    def thickness_mm(self, projections: Sequence[LabelProjection], *names: str) -> np.ndarray:
        """float32 (rows, columns): mm of the named structures along each ray, whichever volume holds them."""
        total = np.zeros(projections[0].shape, np.float32)
        for volume, projection in zip(self.labels, projections):
            total += projection.thickness_mm([v for n in names if (v := volume.value_of(n)) is not None])
        return total

    def anatomy(self, geometry: Geometry, projections: Sequence[LabelProjection]) -> ProjectedAnatomy:
        """Footprints and landmarks on one film."""
        masks = {
            name: self.thickness_mm(projections, *structures) > minimum
            for name, (structures, minimum) in _FOOTPRINTS.items()
        }
        points = {name: geometry.project_points(point) for name, point in self.landmarks_mm.items()}
        return ProjectedAnatomy(
            masks=masks,
            landmarks={name: (float(x), float(y)) for name, (x, y) in points.items()},
            pixel_mm=geometry.pixel_size_mm[0] / geometry.magnification,
            view=geometry.view,
        )


def read_ct(path: str | Path) -> CTVolume:
    """Reads a CT: a folder is a DICOM series, anything else a NIfTI file.

    Raises:
        CTReadError: if it cannot be used; the message says why.
    """
    return read_dicom_ct(path) if Path(path).is_dir() else read_nifti_ct(path)


def read_study(
    ct_path: str | Path,
    labels_path: str | Path | Sequence[str | Path] | None = None,
    scheme: str | Path | Mapping[int, str] | None = None,
    *,
    remove_contrast: bool = True,
) -> CTStudy:
    """Reads a CT and its segmentation, takes the couch away and, where labels tell the vessels, the contrast agent.

    Args:
        ct_path: NIfTI file or folder with one DICOM series.
        labels_path: label map, folder of masks, or several of either (sub-tasks); None for no labels.
        scheme: what label values mean (`read_labels`).
        remove_contrast: set what lies above the Hounsfield number of blood inside heart and great vessels to it: films
            are taken without contrast agent. Calcifications there go too.

    Raises:
        CTReadError: for files that cannot be used, or labels that lie elsewhere than the CT.
    """
    ct = read_ct(ct_path)
    paths = [] if labels_path is None else [labels_path] if isinstance(labels_path, (str, Path)) else labels_path
    labels = [volume for path in paths for volume in read_labels(path, scheme)]
    for volume in labels:
        check_same_patient(ct, volume)
    body = body_mask(ct)
    hu = np.where(body, ct.hu, np.int16(-1000))
    if remove_contrast:
        for volume in labels:
            if volume.values.shape == hu.shape and np.allclose(volume.affine, ct.affine, atol=1e-2):
                values = [v for name in _OPACIFIED if (v := volume.value_of(name)) is not None]
                table = np.zeros(int(volume.values.max()) + 1, bool)
                table[values] = True
                np.minimum(hu, np.int16(_BLOOD_HU), out=hu, where=table[volume.values])
    derived = derived_right_atrium(labels)
    return CTStudy(ct=CTVolume(hu, ct.affine, ct.name), body=body, labels=(*labels, *([derived] if derived else [])))
