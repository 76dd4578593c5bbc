"""What belongs to the patient: the couch goes, the cut ends of the scan are known."""

import numpy as np
from scipy import ndimage

from anatomy_vlm.synthesis.ct.volume import CTVolume


AIR_HU = -1000
_COARSE_MM = 4.0
_SKIN_HU = -500


def body_mask(ct: CTVolume) -> np.ndarray:
    """bool (Z, Y, X): the largest piece of tissue with what it encloses, found on a grid of about 4 mm.

    Tissue is everything above -500 HU; an opening of 8 mm cuts the thin shells of couch, mattress and blankets off,
    holes are filled slice by slice (lungs, trachea, gas). Limbs that no slice connects to the trunk are lost.
    """
    factors = [max(1, round(_COARSE_MM / spacing)) for spacing in ct.spacing_mm]
    coarse = ct.hu[tuple(slice(f // 2, None, f) for f in factors)] > _SKIN_HU
    spacing = np.array(ct.spacing_mm) * factors
    ball = _ball(2 * _COARSE_MM, spacing)
    # Tissue goes on beyond the ends of the scan, so the opening must not wear the end slices down.
    margin = ball.shape[0] // 2
    padded = np.pad(coarse, ((margin, margin), (0, 0), (0, 0)), mode="edge")
    opened = ndimage.binary_opening(padded, ball)[margin : margin + len(coarse)]
    pieces, count = ndimage.label(opened)
    if count == 0:
        return np.ones(ct.hu.shape, bool)
    body = pieces == 1 + np.argmax(np.bincount(pieces.reshape(-1))[1:])
    # Back to the skin that the opening rounded off, then one voxel more so that no edge is cut.
    body = ndimage.binary_dilation(body, iterations=2, mask=coarse | body)
    for z in range(len(body)):
        body[z] = ndimage.binary_fill_holes(body[z])
    body = ndimage.binary_dilation(body, ndimage.generate_binary_structure(3, 1))
    for axis, factor in enumerate(factors):
        body = np.repeat(body, factor, axis=axis)
    missing = [(0, max(0, n - m)) for n, m in zip(ct.hu.shape, body.shape)]
    return np.pad(body, missing, mode="edge")[: ct.hu.shape[0], : ct.hu.shape[1], : ct.hu.shape[2]]


def remove_couch(ct: CTVolume) -> CTVolume:
    """A copy with air outside the body."""
    return CTVolume(np.where(body_mask(ct), ct.hu, np.int16(AIR_HU)), ct.affine, ct.name)


def _ball(radius_mm: float, spacing: np.ndarray) -> np.ndarray:
    reach = [int(radius_mm // s) for s in spacing]
    grid = np.meshgrid(*[np.arange(-r, r + 1) * s for r, s in zip(reach, spacing)], indexing="ij")
    return sum(g**2 for g in grid) <= radius_mm**2
