"""A radiograph in memory, and the error of one that cannot be read."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from anatomy_vlm.processing.data_files import one_line, printable


class ImageReadError(ValueError):
    """A file that cannot be read as a radiograph: one line that names the file, what is wrong and the cure."""

    def __init__(self, path: str | os.PathLike[str], problem: str):
        self.path = os.fspath(path)
        self.problem = one_line(problem)
        super().__init__(f"{printable(self.path)}: {self.problem}")


@dataclass(frozen=True)
class RadiographImage:
    """
    A radiograph ready for display: bone is bright, and a frontal film has the patient's right on the image's left.

    Args:
        pixels (`np.ndarray` of shape `(height, width)`, uint8):
            Display levels, 0 is black.
        view (`str`):
            `"PA"`, `"AP"`, `"LATERAL"`, or `""` where the file does not say.
        metadata (`dict[str, Any]`):
            Technical facts of the file, none of which identifies a patient: `"format"`, `"notes"` (what was done to
            the pixels on the way), and for DICOM `"modality"`, `"body_part"`, `"transfer_syntax"`, `"window"`, ...
        pixel_spacing (`tuple[float, float]`, *optional*):
            Millimetres between rows and between columns.
    """

    pixels: np.ndarray
    view: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    pixel_spacing: tuple[float, float] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """`(height, width)` in pixels, the form of `target_sizes`."""
        height, width = self.pixels.shape
        return height, width

    def to_pil(self) -> Image.Image:
        """The film as a PIL image of mode `L`."""
        return Image.fromarray(self.pixels)
