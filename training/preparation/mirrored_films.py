"""Frontal films that look mirrored, against the asymmetry that all films share: heart on the patient's left."""

import numpy as np
from numpy.typing import NDArray


MIN_FILMS = 30
# Cosine with the shared asymmetry below which a film is doubted. Of 165 real films 10 are below it, rotated ones among
# them, and of 10 that were mirrored 8: a list to look at, not a verdict.
THRESHOLD = -0.25


def asymmetry_scores(thumbnails: NDArray[np.uint8]) -> NDArray[np.float64] | None:
    """
    For each film the cosine of its left-right asymmetry with the mean of all; negative for a mirrored film.

    None with under 30 films, which do not tell what is usual. If most films are mirrored, the others stand out.

    Args:
        thumbnails: uint8 `(films, side, side)` of frontal films.
    """
    if len(thumbnails) < MIN_FILMS:
        return None
    films = thumbnails.astype(np.float64)
    films -= films.mean((1, 2), keepdims=True)
    films /= np.maximum(films.std((1, 2), keepdims=True), 1.0)
    # Margins hold markers and collimation, which say nothing of the anatomy.
    inner = films.shape[-1] // 8
    films = films[:, inner:-inner, inner:-inner]
    odd = films - films[:, :, ::-1]
    usual = np.median(odd, axis=0)
    lengths = np.linalg.norm(odd, axis=(1, 2)) * np.linalg.norm(usual)
    scores: NDArray[np.float64] = (odd * usual).sum((1, 2)) / np.maximum(lengths, 1e-9)
    return scores
