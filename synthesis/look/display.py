"""From densities to grey values in [0, 1], bone bright.

Statistics come from ranks inside `field`, never from extremes over the image: with metal left out of the field, the
rest is shown as if the metal were not there.
"""

from dataclasses import dataclass

import numpy as np

from anatomy_vlm.synthesis.look.detector import smooth


@dataclass(frozen=True)
class MultiFrequency:
    """Frequency-band processing as in computed and digital radiography: a gain per band.

    Args:
        low, middle, high: gains of what is coarser than `low_width`, between the widths, and finer than `high_width`.
        low_width, high_width: sigmas of the splitting blurs as shares of the image's height.
    """

    low: float = 0.5
    middle: float = 1.2
    high: float = 2.0
    low_width: float = 0.08
    high_width: float = 0.012

    def __call__(self, image: np.ndarray, field: np.ndarray | None = None) -> np.ndarray:
        coarse = smooth(image, self.low_width * image.shape[0])
        fine = smooth(image, self.high_width * image.shape[0])
        return self.low * coarse + self.middle * (fine - coarse) + self.high * (image - fine)


@dataclass(frozen=True)
class LocalEqualisation:
    """Blends the image with its local contrast, (image - local mean) / local deviation.

    Args:
        strength: 0 leaves the image alone, 1 keeps the local contrast only.
        width: sigma of the neighbourhood as a share of the image's height.
    """

    strength: float = 0.3
    width: float = 0.09

    def __call__(self, image: np.ndarray, field: np.ndarray | None = None) -> np.ndarray:
        sigma = self.width * image.shape[0]
        mean = smooth(image, sigma)
        detail = image - mean
        spread = np.sqrt(smooth(detail * detail, sigma) + 0.02)
        reach = np.median(spread if field is None or not field.any() else spread[field])
        return (1 - self.strength) * image + self.strength * (mean * 0.3 + detail / spread * reach)


@dataclass(frozen=True)
class Window:
    """Ranks inside the field to black and white, then a sigmoid with a toe and a shoulder, then gamma.

    Args:
        low, high: percentiles shown near black and near white.
        contrast: slope of the sigmoid; 0 is linear.
        gamma: exponent of the result; above 1 darkens.
    """

    low: float = 1.0
    high: float = 99.7
    contrast: float = 3.0
    gamma: float = 1.1

    def __call__(self, image: np.ndarray, field: np.ndarray | None = None) -> np.ndarray:
        seen = image if field is None or not field.any() else image[field]
        bottom, top = np.percentile(seen, [self.low, self.high])
        value = (image - bottom) / max(top - bottom, 1e-4)
        if self.contrast > 0:
            edge = 1 / (1 + np.exp(0.5 * self.contrast))
            value = (1 / (1 + np.exp(-self.contrast * (value - 0.5))) - edge) / (1 - 2 * edge)
        return np.clip(value, 0, 1).astype(np.float32) ** np.float32(self.gamma)


@dataclass(frozen=True)
class GreyRange:
    """Darkest and brightest grey of the finished picture, in [0, 1]."""

    black: float = 0.0
    white: float = 1.0

    def __call__(self, image: np.ndarray, field: np.ndarray | None = None) -> np.ndarray:
        return self.black + (self.white - self.black) * image
