"""What belongs to the patient: the couch goes, the cut ends of the scan are known."""

import numpy as np
from scipy import ndimage

from anatomy_vlm.synthesis.ct.volume import CTVolume


AIR_HU = -1000
_COARSE_MM = 4.0
_SKIN_HU = -500
_OPENING_MM = 8.0
_CLOSING_MM = 40.0


def body_mask(ct: CTVolume) -> np.ndarray:
    """bool (Z, Y, X): the largest piece of tissue with what it encloses, found on a grid of about 4 mm.

    Tissue is everything above -500 HU. Slice by slice an opening of 8 mm cuts the thin shells of couch, mattress and
    blankets off; a closing of 40 mm around the largest piece bridges the thin parts of the chest wall that went with
    them; what lies inside is the body. Limbs that no slice connects to the trunk are lost.
    """
    factors = [max(1, round(_COARSE_MM / spacing)) for spacing in ct.spacing_mm]
    tissue = ct.hu[tuple(slice(f // 2, None, f) for f in factors)] > _SKIN_HU
    spacing = (np.array(ct.spacing_mm) * factors)[1:]
    # Within slices, because the body goes on beyond the end slices and no end must wear it down.
    opened = np.stack([_grown(~_grown(~s, _OPENING_MM, spacing), _OPENING_MM, spacing) for s in tissue])
    pieces, count = ndimage.label(opened)
    if count == 0:
        return np.ones(ct.hu.shape, bool)
    core = pieces == 1 + np.argmax(np.bincount(pieces.reshape(-1))[1:])
    body = np.stack([_outline(c, t, spacing) for c, t in zip(core, tissue)])
    # One voxel more than the skin, so that no edge is cut.
    body = ndimage.binary_dilation(body, ndimage.generate_binary_structure(3, 1))
    for axis, factor in enumerate(factors):
        body = np.repeat(body, factor, axis=axis)
    missing = [(0, max(0, n - m)) for n, m in zip(ct.hu.shape, body.shape)]
    return np.pad(body, missing, mode="edge")[: ct.hu.shape[0], : ct.hu.shape[1], : ct.hu.shape[2]]


def remove_couch(ct: CTVolume) -> CTVolume:
    """A copy with air outside the body."""
    return CTVolume(np.where(body_mask(ct), ct.hu, np.int16(AIR_HU)), ct.affine, ct.name)


def _grown(mask: np.ndarray, reach_mm: float, spacing: np.ndarray) -> np.ndarray:
    """The pixels within `reach_mm` of a slice's true ones."""
    if not mask.any():
        return mask
    return ndimage.distance_transform_edt(~mask, sampling=spacing) <= reach_mm


def _outline(core: np.ndarray, tissue: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """One slice of the body: what the closed core holds, without the air that the closing took in from outside."""
    margin = int(_CLOSING_MM / spacing.min()) + 2
    padded = np.pad(core, margin)
    closed = ~_grown(~_grown(padded, _CLOSING_MM, spacing), _CLOSING_MM, spacing)
    closed = ndimage.binary_fill_holes(closed | padded)[margin:-margin, margin:-margin]
    return closed & ndimage.binary_fill_holes(tissue | core)
