"""A CT volume and its label volumes, in the patient's frame."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from anatomy_vlm.processing.data_files import one_line
from anatomy_vlm.synthesis.projection.placement import voxel_size_mm


class CTReadError(ValueError):
    """A CT or label file that cannot be used; the message names the file and the cure."""

    def __init__(self, message: object = ""):
        super().__init__(one_line(message))


@dataclass(frozen=True)
class CTVolume:
    """Hounsfield units on a grid.

    Attributes:
        hu: int16 (Z, Y, X); the first axis is the one closest to the patient's long axis, the last the one closest to
            left-right. Directions are the file's own: only `affine` says which way an axis runs.
        affine: float64 (4, 4) from voxel (x, y, z) to LPS mm.
        name: of the case, from the file.
    """

    hu: np.ndarray = field(repr=False)
    affine: np.ndarray
    name: str

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """(z, y, x)."""
        return tuple(voxel_size_mm(self.affine)[::-1].tolist())

    def bounds_mm(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest LPS coordinates (3,) of the voxel centres."""
        return _bounds_mm(self.hu.shape, self.affine)


@dataclass(frozen=True)
class LabelVolume:
    """Structures on a grid, one per voxel.

    Attributes:
        values: uint8 or uint16 (Z, Y, X), axes as in `CTVolume`; 0 is background.
        affine: float64 (4, 4) from voxel (x, y, z) to LPS mm; the grid need not be the CT's.
        names: value -> structure name (TotalSegmentator's).
    """

    values: np.ndarray = field(repr=False)
    affine: np.ndarray
    names: Mapping[int, str]

    def value_of(self, name: str) -> int | None:
        """The value of a structure, or None if the volume does not know it."""
        return next((value for value, known in self.names.items() if known == name), None)

    def points_mm(self, *names: str) -> np.ndarray:
        """LPS positions (N, 3) of the voxels of one or several structures; empty if there are none."""
        wanted = [value for value in map(self.value_of, names) if value is not None]
        if not wanted:
            return np.zeros((0, 3))
        inside = self.values == wanted[0] if len(wanted) == 1 else np.isin(self.values, wanted)
        index = np.argwhere(inside)[:, ::-1]
        return index @ self.affine[:3, :3].T + self.affine[:3, 3]


def patient_axes(array: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Orders the axes of an array along the patient: first long axis, middle front-back, last left-right.

    Nothing is flipped or resampled: the affine keeps the directions.

    Args:
        array: (k, j, i), indexed by the affine as (i, j, k).
        affine: (4, 4) to LPS mm.
    """
    directions = np.abs(affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0))
    order, free = [0, 0, 0], {0, 1, 2}
    for world in np.argsort(-directions.max(axis=1)):
        axis = max(free, key=lambda a: directions[world, a])
        order[world] = axis
        free.discard(axis)
    if order == [0, 1, 2]:
        return array, affine
    moved = affine.copy()
    moved[:, :3] = affine[:, order]
    return np.ascontiguousarray(array.transpose([2 - order[2], 2 - order[1], 2 - order[0]])), moved


def check_same_patient(ct: CTVolume, labels: LabelVolume) -> None:
    """Raises CTReadError unless the two volumes overlap in space for the most part."""
    low, high = ct.bounds_mm()
    other_low, other_high = _bounds_mm(labels.values.shape, labels.affine)
    shared = np.prod(np.maximum(np.minimum(high, other_high) - np.maximum(low, other_low), 0))
    if shared < 0.5 * min(np.prod(high - low), np.prod(other_high - other_low)):
        raise CTReadError(
            f"{ct.name}: the labels lie elsewhere than the CT ({np.round(other_low)} to {np.round(other_high)} mm "
            f"against {np.round(low)} to {np.round(high)} mm); give the label map of this CT"
        )


def _bounds_mm(shape: tuple[int, ...], affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape[::-1]])).reshape(3, -1)
    points = affine[:3, :3] @ corners + affine[:3, 3:]
    return points.min(axis=1), points.max(axis=1)
