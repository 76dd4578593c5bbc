"""Corruptions of a film in five severities, each a deterministic function of film, severity and seed.

After Hendrycks and Dietterich (ICLR 2019, arXiv 1903.12261), with what happens to radiographs: quantum noise, motion,
exposure, compression, scaling, cropping and rotation. Nothing is ever mirrored.
"""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image
from scipy import ndimage

from anatomy_vlm.training.evaluation.arrays import FloatArray, MetricInputError


SEVERITIES = (1, 2, 3, 4, 5)
Corruption = Callable[[FloatArray, int, np.random.Generator], FloatArray]


def _at(severity: int, *levels: float) -> float:
    return levels[severity - 1]


def _noise(film: FloatArray, severity: int, rng: np.random.Generator) -> FloatArray:
    return film + _at(severity, 0.02, 0.04, 0.08, 0.12, 0.18) * rng.standard_normal(film.shape)


def _blur(film: FloatArray, severity: int, rng: np.random.Generator) -> FloatArray:
    share = _at(severity, 0.003, 0.006, 0.010, 0.016, 0.025)
    return ndimage.gaussian_filter(film, share * max(film.shape), mode="nearest")


def _motion(film: FloatArray, severity: int, rng: np.random.Generator) -> FloatArray:
    length = max(2, round(_at(severity, 0.01, 0.02, 0.03, 0.05, 0.08) * film.shape[0]))
    return ndimage.uniform_filter1d(film, length, axis=0, mode="nearest")


def _overexposed(film: FloatArray, severity: int, rng: np.random.Generator) -> FloatArray:
    return film ** _at(severity, 1.2, 1.45, 1.8, 2.3, 3.0)


def _underexposed(film: FloatArray, severity: int, rng: np.random.Generator) -> FloatArray:
    return film ** _at(severity, 1 / 1.2, 1 / 1.45, 1 / 1.8, 1 / 2.3, 1 / 3.0)


def _contrast(film: FloatArray, severity: int, rng: np.random.Generator) -> FloatArray:
    mean = film.mean()
    return mean + (film - mean) * _at(severity, 0.75, 0.6, 0.45, 0.3, 0.15)


def _jpeg(film: FloatArray, severity: int, rng: np.random.Generator) -> FloatArray:
    buffer = io.BytesIO()
    _picture(film).save(buffer, "JPEG", quality=int(_at(severity, 70, 45, 25, 12, 5)))
    return np.asarray(Image.open(buffer), dtype=np.float64) / 255


def _resize(film: FloatArray, severity: int, rng: np.random.Generator) -> FloatArray:
    share = _at(severity, 0.75, 0.5, 0.35, 0.25, 0.15)
    picture = _picture(film)
    small = picture.resize([max(1, round(share * side)) for side in picture.size], Image.Resampling.BOX)
    return np.asarray(small.resize(picture.size, Image.Resampling.BILINEAR), dtype=np.float64) / 255


def _crop(film: FloatArray, severity: int, rng: np.random.Generator) -> FloatArray:
    share = _at(severity, 0.03, 0.06, 0.10, 0.15, 0.20)
    height, width = film.shape
    top, bottom = np.round(rng.dirichlet([1, 1]) * share * height).astype(int)
    left, right = np.round(rng.dirichlet([1, 1]) * share * width).astype(int)
    return film[top : height - bottom, left : width - right]


def _rotation(film: FloatArray, severity: int, rng: np.random.Generator) -> FloatArray:
    degrees = _at(severity, 3, 6, 10, 15, 25) * (1 if rng.random() < 0.5 else -1)
    return ndimage.rotate(film, degrees, reshape=False, order=1, mode="constant")


def _cover(film: FloatArray, severity: int, rng: np.random.Generator) -> FloatArray:
    side = [max(1, round(_at(severity, 0.05, 0.10, 0.15, 0.20, 0.30) * length)) for length in film.shape]
    row, column = (int(rng.integers(0, length - part + 1)) for length, part in zip(film.shape, side, strict=True))
    covered = film.copy()
    covered[row : row + side[0], column : column + side[1]] = 1.0
    return covered


CORRUPTIONS: dict[str, Corruption] = {
    "noise": _noise,
    "blur": _blur,
    "motion": _motion,
    "overexposed": _overexposed,
    "underexposed": _underexposed,
    "contrast": _contrast,
    "jpeg": _jpeg,
    "resize": _resize,
    "crop": _crop,
    "rotation": _rotation,
    "cover": _cover,
}


def corrupt(film: np.ndarray, name: str, severity: int, *, seed: int = 0) -> np.ndarray:
    """One corruption of a film.

    Args:
        film: (height, width), uint8.
        name: a key of `CORRUPTIONS`.
        severity: 1 (slight) to 5 (severe).
        seed: of what is random in it; the same arguments give the same pixels.

    Returns:
        uint8, of the film's shape; smaller after "crop", whose film shows less.

    Raises:
        MetricInputError: an unknown name or severity, or a film of another kind.

    >>> film = np.arange(64, dtype=np.uint8).reshape(8, 8)
    >>> bool((corrupt(film, "noise", 3, seed=1) == corrupt(film, "noise", 3, seed=1)).all())
    True
    """
    if name not in CORRUPTIONS:
        raise MetricInputError(f"corruption {name!r} is not one of {', '.join(CORRUPTIONS)}")
    if severity not in SEVERITIES:
        raise MetricInputError(f"severity has to be 1 to 5, got {severity}")
    if film.ndim != 2 or film.dtype != np.uint8 or 0 in film.shape:
        raise MetricInputError(f"a film has to be (height, width) of uint8, got {film.shape} of {film.dtype}")
    rng = np.random.default_rng((seed, list(CORRUPTIONS).index(name), severity))
    return _bytes(CORRUPTIONS[name](film.astype(np.float64) / 255, severity, rng))


def _bytes(film: FloatArray) -> np.ndarray:
    return (np.clip(film, 0, 1) * 255 + 0.5).astype(np.uint8)


def _picture(film: FloatArray) -> Image.Image:
    return Image.fromarray(_bytes(film))
