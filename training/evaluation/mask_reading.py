"""Masks of films by a checkpoint that writes them: `AnatomyVLMForMaskGeneration`."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from anatomy_vlm.processing.letterbox_anatomy_vlm import fit_letterbox


@dataclass(frozen=True)
class FilmMasks:
    """
    What was written about one film.

    Args:
        masks: By structure, bool `(height, width)` at the film's own size; empty where the structure is absent.
        presence: Probability that the structure is on the film.
        tokens: What was written, without start, structure and end.
    """

    masks: dict[str, NDArray[np.bool_]]
    presence: dict[str, float]
    tokens: dict[str, list[int]]


class MaskReader:
    """
    Args:
        model: An `AnatomyVLMForMaskGeneration`.
        image_processor: Its image processor.
        device: Of PyTorch; None takes CUDA where there is one.
        bf16: Run under bfloat16 autocast.
        expected: See `write_masks`.
    """

    def __init__(
        self, model: Any, image_processor: Any, device: str | None = None, bf16: bool = False, expected: bool = True
    ):
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.model, self.image_processor = model.to(self.device).eval(), image_processor
        self.bf16, self.expected = bf16, expected
        self.side = model.config.image_size

    @property
    def structures(self) -> tuple[str, ...]:
        """Names that can be asked for."""
        return tuple(self.model.config.structures)

    def read(self, films: Sequence[Image.Image], structures: Sequence[str]) -> list[FilmMasks]:
        """
        Masks of these structures of all films.

        Raises:
            ValueError: for a structure that the model does not know.
        """
        size = {"height": self.side, "width": self.side}
        inputs = self.image_processor(list(films), size=size, return_tensors="pt")
        cast = torch.autocast(self.device.type, torch.bfloat16) if self.bf16 else nullcontext()
        with torch.inference_mode(), cast:
            written = self.model.write_masks(
                inputs["pixel_values"].to(self.device), list(structures), expected=self.expected
            )
        keep_aspect = bool(getattr(self.image_processor, "do_pad", True))
        read = []
        for index, film in enumerate(films):
            place = fit_letterbox((film.height, film.width), (self.side, self.side), keep_aspect=keep_aspect)
            top, left = place.top / self.side, place.left / self.side
            content = (top, left, top + place.height / self.side, left + place.width / self.side)
            masks = written.masks(index, (film.height, film.width), content)
            read.append(
                FilmMasks(
                    {name: mask.numpy() for name, mask in masks.items()},
                    {name: float(p) for name, p in zip(structures, written.presence[index].tolist())},
                    {name: tokens[2:] for name, tokens in zip(structures, written.tokens[index].tolist())},
                )
            )
        return read
