"""What is put on a finished film: collimator edges, side markers, burnt-in text. Grey values in [0, 1]."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont


@dataclass(frozen=True)
class Collimation:
    """Blanks what the collimator leaf shields.

    Args:
        left, top, right, bottom: shielded shares of the width and the height, each in [0, 0.5).
        roll_deg: turn of the opening in the image plane.
        grey: of the shielded part; 0 as on a finished film with a black border.
    """

    left: float = 0.0
    top: float = 0.0
    right: float = 0.0
    bottom: float = 0.0
    roll_deg: float = 0.0
    grey: float = 0.0

    def __post_init__(self) -> None:
        if not all(0 <= share < 0.5 for share in (self.left, self.top, self.right, self.bottom)):
            raise ValueError("collimation shares must lie in [0, 0.5)")

    def opening(self, shape: tuple[int, int]) -> np.ndarray:
        """float32 (rows, columns) in [0, 1]: 1 inside the opening, one pixel of soft edge."""
        rows, columns = shape
        x = (np.arange(columns, dtype=np.float32) + 0.5 - columns / 2)[None]
        y = (np.arange(rows, dtype=np.float32) + 0.5 - rows / 2)[:, None]
        c, s = np.cos(np.deg2rad(self.roll_deg)), np.sin(np.deg2rad(self.roll_deg))
        across, along = c * x + s * y, c * y - s * x
        inside = np.minimum(
            np.minimum(across + columns * (0.5 - self.left), columns * (0.5 - self.right) - across),
            np.minimum(along + rows * (0.5 - self.top), rows * (0.5 - self.bottom) - along),
        )
        return np.clip(inside + 0.5, 0, 1).astype(np.float32)

    def __call__(self, image: np.ndarray, field: np.ndarray | None = None) -> np.ndarray:
        if not any((self.left, self.top, self.right, self.bottom, self.roll_deg)):
            return image
        inside = self.opening(image.shape)
        return image * inside + self.grey * (1 - inside)


@dataclass(frozen=True)
class SideMarker:
    """A lead letter on the side it names: R on the image's left of a frontal film, L on its right.

    Args:
        side: "R", "L" or "" for none.
        inset: distance from the image's side as a share of the width.
        top: distance from the upper edge as a share of the height.
        height: of the letter as a share of the image's height.
        grey: of the letter.
    """

    side: str = "R"
    inset: float = 0.05
    top: float = 0.06
    height: float = 0.06
    grey: float = 0.95

    def __post_init__(self) -> None:
        if self.side not in ("R", "L", ""):
            raise ValueError(f'a side marker is "R", "L" or "" for none, got {self.side!r}')

    def __call__(self, image: np.ndarray, field: np.ndarray | None = None) -> np.ndarray:
        x = self.inset if self.side == "R" else 1 - self.inset - self.height
        return BurntInText(self.side, x, self.top, self.height, self.grey)(image, field)


@dataclass(frozen=True)
class BurntInText:
    """Letters burnt into the picture.

    Args:
        text: "" leaves the image alone.
        x, y: upper left corner as shares of the width and the height.
        height: of a letter as a share of the image's height.
        grey: of the letters.
    """

    text: str = ""
    x: float = 0.02
    y: float = 0.02
    height: float = 0.035
    grey: float = 0.9

    def __call__(self, image: np.ndarray, field: np.ndarray | None = None) -> np.ndarray:
        if not self.text:
            return image
        rows, columns = image.shape
        stencil = Image.new("L", (columns, rows))
        font = ImageFont.load_default(size=max(self.height * rows, 6))
        ImageDraw.Draw(stencil).text((self.x * columns, self.y * rows), self.text, fill=255, font=font)
        alpha = np.asarray(stencil, np.float32) / 255
        return image * (1 - alpha) + self.grey * alpha
