# Copyright 2026 The Anatomy-VLM authors. Licensed under the Apache License, Version 2.0.
"""What the mask writer reads of films, what a call returns, and the masks that it has written."""

from dataclasses import dataclass

import torch
from transformers.cache_utils import EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput
from transformers.utils import ModelOutput

from .mask_raster_anatomy_vlm import paste_from_box


@dataclass
class AnatomyVLMMaskMemory(BaseModelOutput):
    r"""
    What the writer reads of films; `last_hidden_state` is `(films, memory_length, width)`.

    cells (`torch.FloatTensor` of shape `(films, num_cells, width)`):
        The cells of the film that places point at; the last of the memory.
    grid (`torch.LongTensor` of shape `(films, 2)`):
        Rows and columns of the cells.
    feature_map (`torch.FloatTensor` of shape `(films, channels, rows, columns)`):
        The same cells as a map.
    film (`torch.FloatTensor` of shape `(films, 1, height, width)`):
        Its grey values.
    """

    cells: torch.Tensor | None = None
    grid: torch.Tensor | None = None
    feature_map: torch.Tensor | None = None
    film: torch.Tensor | None = None


@dataclass
class AnatomyVLMMaskOutput(ModelOutput):
    r"""
    loss (`torch.FloatTensor` of shape `(1,)`, returned when `labels` is provided):
        Sum of the losses below.
    logits (`torch.FloatTensor` of shape `(rows, length, vocab_size)`):
        Scores of the next token; minus infinity for what may not stand there. None while training.
    cache (`EncoderDecoderCache`):
        Keys and values, for the next call.
    places (`torch.LongTensor` of shape `(rows, 4)`), glimpse (`torch.FloatTensor` of shape `(rows, codes, width)`):
        What the box was when it was looked into, and what was seen; reused while the box is the same.
    presence_loss, place_loss, digit_loss, raster_loss (`torch.FloatTensor` of shape `(1,)`):
        Parts of the loss.
    raster_logits (`torch.FloatTensor` of shape `(rows, 64, 64)`):
        What the expected shape tokens stand for, where the loss was asked for.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    cache: EncoderDecoderCache | None = None
    places: torch.Tensor | None = None
    glimpse: torch.Tensor | None = None
    presence_loss: torch.Tensor | None = None
    place_loss: torch.Tensor | None = None
    digit_loss: torch.Tensor | None = None
    raster_loss: torch.Tensor | None = None
    raster_logits: torch.Tensor | None = None
    encoder_last_hidden_state: torch.Tensor | None = None


@dataclass
class AnatomyVLMWrittenMasks(ModelOutput):
    r"""
    structures (`tuple[str, ...]`):
        Names of the structures.
    presence (`torch.FloatTensor` of shape `(films, structures)`):
        Probability that the structure is on the film.
    boxes (`torch.FloatTensor` of shape `(films, structures, 4)`):
        y0, x0, y1, x1 as fractions of the model's input.
    rasters (`torch.FloatTensor` of shape `(films, structures, 64, 64)`):
        Logits inside the boxes.
    tokens (`torch.LongTensor` of shape `(films, structures, length)`):
        What was written, without the end.
    """

    structures: tuple[str, ...] | None = None
    presence: torch.Tensor | None = None
    boxes: torch.Tensor | None = None
    rasters: torch.Tensor | None = None
    tokens: torch.Tensor | None = None

    def masks(
        self, film: int, size: tuple[int, int], content: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    ) -> dict[str, torch.Tensor]:
        """
        Masks of a film by structure, bool `(height, width)`; empty for what is more likely absent than there.

        Args:
            film: Which of the films.
            size: Height and width of the masks, those of the original film.
            content: Where the film lies on the model's input, y0, x0, y1, x1 as fractions of it; a film that is not
                square has bars beside it.
        """
        if self.boxes is None or self.presence is None or self.rasters is None:
            raise ValueError("There is nothing written: boxes, presence and rasters are missing.")
        top, left, bottom, right = content
        drawn = {}
        for index, name in enumerate(self.structures or ()):
            box = [
                (float(edge) - start) / (stop - start) * extent
                for edge, start, stop, extent in zip(
                    self.boxes[film, index], (top, left) * 2, (bottom, right) * 2, (*size, *size)
                )
            ]
            if self.presence[film, index] < 0.5:
                drawn[name] = torch.zeros(size, dtype=torch.bool)
            else:
                drawn[name] = paste_from_box(self.rasters[film, index].cpu(), (box[0], box[1], box[2], box[3]), size)
        return drawn


__all__ = ["AnatomyVLMMaskMemory", "AnatomyVLMMaskOutput", "AnatomyVLMWrittenMasks"]
