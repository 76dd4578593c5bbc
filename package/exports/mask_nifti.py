"""Masks as NIfTI: a film as a volume of one slice.

A film has no place in the patient's space, so this is a convention. The array is (columns, rows, 1). The affine, in
nibabel's RAS+ millimetres, takes a column to the patient's left (-x), a row downwards (-z) and the slice forwards
(+y), from the centre of the first pixel as origin: axis codes L, I, A, a frontal film as it hangs. Where the film
tells no pixel spacing a pixel is one unit long, and the header says that the unit is unknown.
"""

import gzip
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anatomy_vlm.processing.atomic_files import replacing


def film_affine(spacing: tuple[float, float] | None) -> NDArray[np.float64]:
    """
    The affine of a film whose rows and columns are `spacing` apart.

    Example:
        >>> film_affine((0.2, 0.1)) @ [10, 0, 0, 1]  # ten columns to the image's right: the patient's left
        array([-1.,  0.,  0.,  1.])
    """
    rows, columns = spacing or (1.0, 1.0)
    affine = np.zeros((4, 4))
    affine[0, 0], affine[2, 1], affine[1, 2], affine[3, 3] = -columns, -rows, 1.0, 1.0
    return affine


def write_nifti(path: Path, mask: NDArray[np.bool_], spacing: tuple[float, float] | None = None) -> Path:
    """Write a mask `(height, width)` as gzipped NIfTI-1 of 0 and 1 in uint8."""
    try:
        import nibabel
    except ImportError:
        raise ImportError('writing NIfTI needs nibabel: pip install "anatomy-vlm[ct]"') from None
    affine = film_affine(spacing)
    image = nibabel.Nifti1Image(np.ascontiguousarray(mask.T[:, :, None], dtype=np.uint8), affine)
    # Code 1: scanner, 2: aligned; the axes are the patient's, the origin is not.
    image.set_sform(affine, code=2)
    image.set_qform(affine, code=2)
    image.header.set_xyzt_units("mm" if spacing else "unknown")
    image.header["descrip"] = b"Anatomy-VLM mask. For research only."
    with replacing(path) as beside:
        beside.write_bytes(gzip.compress(image.to_bytes(), mtime=0))
    return path


__all__ = ["film_affine", "write_nifti"]
