"""What the detector makes of the beam. Images are signals (rows, columns), 1 where nothing is in the way."""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, zoom


def smooth(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of `sigma` pixels; wide ones run on a reduced copy, where nothing is lost."""
    step = int(sigma // 6)
    if step < 2:
        return gaussian_filter(image, sigma, mode="nearest", truncate=3.0)
    rows, columns = image.shape
    # A block more on each side, so that no pixel lies beyond the outermost block's centre.
    padded = np.pad(image, ((step, step + -rows % step), (step, step + -columns % step)), mode="edge")
    height, width = padded.shape[0] // step, padded.shape[1] // step
    small = padded.reshape(height, step, width, step).mean(axis=(1, 3))
    small = gaussian_filter(small, sigma / step, mode="nearest", truncate=3.0)
    wide = zoom(small, step, order=1, mode="nearest", grid_mode=True)
    return wide[step : step + rows, step : step + columns].astype(image.dtype)


@dataclass(frozen=True)
class Scatter:
    """Adds scattered radiation: `ratio` times a wide blur of the primary beam.

    Args:
        ratio: scatter to primary where the primary is flat; 0.1 to 0.5 behind a grid, up to 2 at the bedside.
        width: sigma of the blur as a share of the image's height.
    """

    ratio: float = 0.3
    width: float = 0.06

    def __call__(self, image: np.ndarray, field: np.ndarray | None = None) -> np.ndarray:
        return image + self.ratio * smooth(image, self.width * image.shape[0])


@dataclass(frozen=True)
class DetectorBlur:
    """Gaussian blur of the detector: modulation transfer exp(-2 pi^2 sigma^2 f^2).

    Args:
        sigma: in pixels.
    """

    sigma: float = 0.6

    def __call__(self, image: np.ndarray, field: np.ndarray | None = None) -> np.ndarray:
        return gaussian_filter(image, self.sigma, mode="nearest") if self.sigma > 0 else image


@dataclass(frozen=True)
class QuantumNoise:
    """Poisson noise of the photons and Gaussian noise of the electronics, fixed by `seed`.

    Args:
        photons: per pixel behind nothing; 1 uGy is about 30,000 photons per mm2.
        electronic: standard deviation in photons.
        seed: of the noise; the same seed gives the same noise.
    """

    photons: float = 4e5
    electronic: float = 10.0
    seed: int = 0

    def __call__(self, image: np.ndarray, field: np.ndarray | None = None) -> np.ndarray:
        rng = np.random.default_rng(self.seed)
        counts = rng.poisson(np.maximum(image, 0) * self.photons).astype(np.float32)
        counts += rng.standard_normal(image.shape, np.float32) * self.electronic
        return counts / self.photons


@dataclass(frozen=True)
class LogResponse:
    """Signal to density: -log(max(signal, floor)).

    Args:
        floor: the smallest signal the detector tells from none.
    """

    floor: float = 2e-4

    def __call__(self, image: np.ndarray, field: np.ndarray | None = None) -> np.ndarray:
        return -np.log(np.maximum(image, np.float32(self.floor)))
