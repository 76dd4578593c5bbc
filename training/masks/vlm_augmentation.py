"""Augmentation of films whose masks are tokens: turned a little, made smaller and placed anywhere; nothing is flipped.

CheXanatomy (arXiv 2606.08420) shrinks a film to 0.7 to 1.0 of its size and places it anywhere on black. The shape
tokens of a structure are relative to its box, so that only its places change.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image

from anatomy_vlm.training.augmentation import Augmentation, augment


Box = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class FilmAugmentation:
    """
    Args:
        smallest: A film is shrunk to a share of its size drawn from here to 1; 1 leaves it.
        rotation: Most degrees that a film is turned, to either side. Structures known as tokens alone cannot be
            turned, nor are their films.
        look: Grey values: contrast, noise and so on.
        share: Of the films that are augmented at all.
    """

    smallest: float = 0.7
    rotation: float = 0.0
    look: Augmentation = field(default_factory=lambda: Augmentation(zoom=0, shift=0))
    share: float = 1.0

    def __post_init__(self) -> None:
        if not 0.1 <= self.smallest <= 1 or not 0 <= self.rotation <= 45 or not 0 <= self.share <= 1:
            raise ValueError(
                f"augmentation: smallest {self.smallest} must be within [0.1, 1], rotation {self.rotation} within "
                f"[0, 45] and share {self.share} within [0, 1]"
            )
        if self.look.zoom or self.look.shift:
            raise ValueError("augmentation: look must leave zoom and shift at 0; smallest places the film")

    def sample(self, rng: np.random.Generator, side: int, turned: bool = True) -> "Placement":
        """A random placement of a film of `side` pixels, turned only if it may be."""
        if rng.random() >= self.share:
            return Placement(side, side)
        size = round(side * rng.uniform(self.smallest, 1))
        top, left = (int(rng.integers(side - size + 1)) for _ in "yx")
        return Placement(side, size, top, left, float(rng.uniform(-1, 1) * self.rotation) if turned else 0.0)

    def develop(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Another look of a film uint8 `(side, side)`."""
        seed = torch.Generator().manual_seed(int(rng.integers(2**31)))
        if rng.random() >= self.share:
            return image
        none = torch.zeros(1, 0, 4), torch.zeros(1, 0, dtype=torch.bool)
        grey = torch.from_numpy(image.astype(np.float32) / 255)[None]
        grey, _, _ = augment(grey, *none, self.look.sample(seed)[None], self.look)
        return (grey[0] * 255).round().byte().numpy()


@dataclass(frozen=True)
class Placement:
    """
    Where a square film lies in a black square of its own size.

    Args:
        side: Of the square, in pixels.
        size: Of the film after shrinking.
        top, left: Its place.
        angle: Degrees by which it was turned before, clockwise as one sees it.
    """

    side: int
    size: int
    top: int = 0
    left: int = 0
    angle: float = 0.0

    def place_image(self, image: np.ndarray) -> np.ndarray:
        """The film uint8 `(side, side)` in its place."""
        picture = _turned(image, self.angle, Image.Resampling.BICUBIC)
        if self.size != self.side:
            picture = picture.resize((self.size, self.size), Image.Resampling.LANCZOS)
        out = np.zeros_like(image)
        out[self.top : self.top + self.size, self.left : self.left + self.size] = np.asarray(picture)
        return out

    def turn_mask(self, mask: np.ndarray) -> np.ndarray:
        """A mask bool `(side, side)` turned as the film, but not yet shrunk: it stays as fine as it is."""
        if not self.angle:
            return mask
        return np.asarray(_turned(mask.astype(np.uint8) * 255, self.angle, Image.Resampling.BILINEAR)) > 127

    def place_box(self, box: Box) -> Box:
        """A box (y0, x0, y1, x1, fractions) of the turned film in the square."""
        y0, x0, y1, x1 = (edge * self.size / self.side for edge in box)
        top, left = self.top / self.side, self.left / self.side
        return y0 + top, x0 + left, y1 + top, x1 + left

    def find_box(self, box: Box) -> Box:
        """The inverse of `place_box`: a box in the square, on the turned film."""
        top, left = self.top / self.side, self.left / self.side
        y0, x0, y1, x1 = (edge - offset for edge, offset in zip(box, (top, left, top, left)))
        return tuple(edge * self.side / self.size for edge in (y0, x0, y1, x1))  # type: ignore[return-value]


def _turned(image: np.ndarray, angle: float, resampling: Image.Resampling) -> Image.Image:
    picture = Image.fromarray(image)
    # PIL turns counterclockwise.
    return picture.rotate(-angle, resampling) if angle else picture
