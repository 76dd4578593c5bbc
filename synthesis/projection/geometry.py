"""Where the tube, the patient and the film are."""

from dataclasses import dataclass, replace

import numpy as np


# Beam direction and column direction of the film at zero rotation, in the patient frame (x, y, z) = LPS.
_VIEW_AXES = {
    "PA": ((0.0, -1.0, 0.0), (1.0, 0.0, 0.0)),
    "AP": ((0.0, 1.0, 0.0), (1.0, 0.0, 0.0)),
    "LATERAL": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
    "OBLIQUE": ((0.0, -1.0, 0.0), (1.0, 0.0, 0.0)),
}


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """One exposure: a point source, a flat detector and the patient's pose between them.

    World frame: the patient frame of DICOM (PS3.3 C.7.6.2.1.1), **LPS**, in mm: +x is the patient's left, +y
    posterior, +z superior. Images have row 0 superior. Frontal films (PA, AP) show the patient's right on the image's
    left; laterals are left laterals with the front of the chest on the image's left.

    Args:
        view: "PA", "AP", "LATERAL" or "OBLIQUE" (a PA exposure with `rotation_deg`).
        source_to_detector_mm: distance of the source from the detector along the central ray.
        source_to_isocenter_mm: distance of the source from `isocenter_mm`; smaller than `source_to_detector_mm`.
        detector_size_mm: (height, width) of the detector.
        detector_shape: (rows, columns) in pixels.
        rotation_deg: turn of the beam around the patient's long axis. In a PA film a positive angle brings the
            patient's left side towards the detector (LAO), +90 is a left lateral.
        tilt_deg: tilt of the beam towards the head (positive: lordotic).
        roll_deg: turn of the film in its plane; a positive angle turns the picture counter-clockwise.
        isocenter_mm: the point (x, y, z) the central ray passes through.
        detector_shift_mm: (down, right) shift of the detector's centre from the central ray.

    Raises:
        ValueError: for an unknown view, a size that is not positive, or a detector nearer than the isocentre.

    Example:
        >>> Geometry.pa(detector_shape=(224, 224)).pixel_size_mm[0]
        1.9196428571428572
    """

    view: str = "PA"
    source_to_detector_mm: float = 1800.0
    source_to_isocenter_mm: float = 1600.0
    detector_size_mm: tuple[float, float] = (430.0, 430.0)
    detector_shape: tuple[int, int] = (512, 512)
    rotation_deg: float = 0.0
    tilt_deg: float = 0.0
    roll_deg: float = 0.0
    isocenter_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    detector_shift_mm: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        if self.view not in _VIEW_AXES:
            raise ValueError(f"view must be one of {', '.join(_VIEW_AXES)}, got {self.view!r}")
        if not 0 < self.source_to_isocenter_mm < self.source_to_detector_mm:
            raise ValueError(
                "source_to_isocenter_mm must lie between 0 and source_to_detector_mm, got "
                f"{self.source_to_isocenter_mm} and {self.source_to_detector_mm}"
            )
        if min(self.detector_size_mm) <= 0 or min(self.detector_shape) < 1:
            raise ValueError(
                f"detector_size_mm and detector_shape must be positive, got {self.detector_size_mm} "
                f"and {self.detector_shape}"
            )
        if not abs(self.tilt_deg) < 90:
            raise ValueError(f"tilt_deg must be between -90 and 90, got {self.tilt_deg}")

    @classmethod
    def pa(cls, **options) -> "Geometry":
        """Posterior to anterior, erect: 1.8 m from tube to film, the chest against the film."""
        return cls(view="PA", **options)

    @classmethod
    def ap(cls, **options) -> "Geometry":
        """Anterior to posterior, as at the bedside: 1.1 m from tube to film, the back against the film."""
        return cls(**{"view": "AP", "source_to_detector_mm": 1100.0, "source_to_isocenter_mm": 950.0, **options})

    @classmethod
    def lateral(cls, **options) -> "Geometry":
        """Left lateral: the patient's left side against the film, the front of the chest on the image's left."""
        return cls(view="LATERAL", **options)

    @classmethod
    def oblique(cls, rotation_deg: float, **options) -> "Geometry":
        """Anterior oblique: positive angles are LAO (left side nearer the film), negative ones RAO."""
        return cls(view="OBLIQUE", rotation_deg=rotation_deg, **options)

    def replace(self, **changes) -> "Geometry":
        """A copy with some fields changed."""
        return replace(self, **changes)

    def crop(self, top: int, bottom: int, left: int, right: int) -> "Geometry":
        """The same exposure on the part [top, bottom) x [left, right) of the detector's pixels.

        Raises:
            ValueError: if that part is empty or reaches beyond the detector.
        """
        rows, columns = self.detector_shape
        if not (0 <= top < bottom <= rows and 0 <= left < right <= columns):
            raise ValueError(f"crop {top}:{bottom}, {left}:{right} does not lie on a {rows} x {columns} detector")
        height, width = self.pixel_size_mm
        down, across = self.detector_shift_mm
        return self.replace(
            detector_shape=(bottom - top, right - left),
            detector_size_mm=((bottom - top) * height, (right - left) * width),
            detector_shift_mm=(
                down + ((top + bottom) / 2 - rows / 2) * height,
                across + ((left + right) / 2 - columns / 2) * width,
            ),
        )

    @property
    def pixel_size_mm(self) -> tuple[float, float]:
        """(height, width) of one detector pixel."""
        return (
            self.detector_size_mm[0] / self.detector_shape[0],
            self.detector_size_mm[1] / self.detector_shape[1],
        )

    @property
    def magnification(self) -> float:
        """Size on the detector over size at the isocentre."""
        return self.source_to_detector_mm / self.source_to_isocenter_mm

    def axes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Unit vectors (3,) in LPS: right along a row, down along a column, along the central ray."""
        beam, right = (np.array(v) for v in _VIEW_AXES[self.view])
        down = np.array((0.0, 0.0, -1.0))
        if self.rotation_deg:
            c, s = np.cos(np.deg2rad(self.rotation_deg)), np.sin(np.deg2rad(self.rotation_deg))
            turn = np.array(((c, -s, 0.0), (s, c, 0.0), (0.0, 0.0, 1.0)))
            beam, right = turn @ beam, turn @ right
        if self.tilt_deg:
            c, s = np.cos(np.deg2rad(self.tilt_deg)), np.sin(np.deg2rad(self.tilt_deg))
            beam, down = c * beam - s * down, c * down + s * beam
        if self.roll_deg:
            c, s = np.cos(np.deg2rad(self.roll_deg)), np.sin(np.deg2rad(self.roll_deg))
            right, down = c * right + s * down, c * down - s * right
        return right, down, beam

    @property
    def source_mm(self) -> np.ndarray:
        """Position (3,) of the source in LPS."""
        return np.array(self.isocenter_mm) - self.source_to_isocenter_mm * self.axes()[2]

    @property
    def detector_center_mm(self) -> np.ndarray:
        """Position (3,) of the detector's centre in LPS."""
        right, down, beam = self.axes()
        shift = self.detector_shift_mm[0] * down + self.detector_shift_mm[1] * right
        return self.source_mm + self.source_to_detector_mm * beam + shift

    def pixel_steps_mm(self) -> tuple[np.ndarray, np.ndarray]:
        """Vectors (3,) in LPS from one pixel to the next: along a row, and down a column."""
        right, down, _ = self.axes()
        return self.pixel_size_mm[1] * right, self.pixel_size_mm[0] * down

    def pixels_mm(self) -> np.ndarray:
        """Positions (rows, columns, 3) of the pixel centres in LPS."""
        rows, columns = self.detector_shape
        step_right, step_down = self.pixel_steps_mm()
        across = np.arange(columns) - (columns - 1) / 2
        along = np.arange(rows) - (rows - 1) / 2
        return self.detector_center_mm + along[:, None, None] * step_down + across[None, :, None] * step_right

    def project_points(self, points_mm: np.ndarray) -> np.ndarray:
        """Film positions of points in the patient.

        Args:
            points_mm: (..., 3) in LPS.

        Returns:
            (..., 2) as (x, y) in pixels, where pixel (row r, column c) covers [c, c + 1) x [r, r + 1).
        """
        right, down, beam = self.axes()
        offset = np.asarray(points_mm, dtype=np.float64) - self.source_mm
        onto = offset * (self.source_to_detector_mm / (offset @ beam))[..., None] + self.source_mm
        onto = onto - self.detector_center_mm
        rows, columns = self.detector_shape
        height, width = self.pixel_size_mm
        return np.stack([onto @ right / width + columns / 2, onto @ down / height + rows / 2], axis=-1)
