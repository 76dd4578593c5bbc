"""Where a volume's voxels lie in the patient."""

from collections.abc import Sequence

import numpy as np


def voxel_to_world(placement: Sequence[float] | np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """The affine that takes a voxel index (x, y, z) to LPS mm.

    Args:
        placement: either three spacings in mm in array order (z, y, x), which put the centre of the volume at the
            origin with x to the patient's left, y posterior and z superior; or a 4 x 4 affine from the voxel index
            (x, y, z) of the array's (last, middle, first) axis to LPS mm.
        shape: (Z, Y, X) of the volume.

    Returns:
        float64 (4, 4).

    Raises:
        ValueError: if `placement` is neither, holds a spacing that is not positive, or cannot be inverted.

    Example:
        >>> voxel_to_world((2.0, 1.0, 1.0), (11, 5, 5))[:3, 3]
        array([ -2.,  -2., -10.])
    """
    given = np.asarray(placement, dtype=np.float64)
    if given.shape == (3,):
        if not (np.isfinite(given).all() and (given > 0).all()):
            raise ValueError(f"spacings must be positive millimetres, got {tuple(given)}")
        affine = np.diag([*given[::-1], 1.0])
        affine[:3, 3] = -(np.asarray(shape[::-1], dtype=np.float64) - 1) / 2 * given[::-1]
        return affine
    if given.shape == (4, 4):
        if not np.isfinite(given).all() or abs(np.linalg.det(given[:3, :3])) < 1e-12:
            raise ValueError("the affine cannot be inverted; it must map voxel indices to millimetres")
        return given
    raise ValueError(f"placement must be 3 spacings (z, y, x) in mm or a 4 x 4 affine, got shape {given.shape}")


def voxel_size_mm(affine: np.ndarray) -> np.ndarray:
    """Spacings (3,) in mm along the voxel axes (x, y, z)."""
    return np.linalg.norm(affine[:3, :3], axis=0)
