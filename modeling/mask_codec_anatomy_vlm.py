# Copyright 2026 The Anatomy-VLM authors. Licensed under the Apache License, Version 2.0.
"""Masks as tokens: what every mask codec can do, and the codecs that code a raster inside a box."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import nn

from .mask_raster_anatomy_vlm import bins_to_box, box_to_bins, crop_to_box, mask_box, paste_from_box


class MaskCodec(ABC):
    """
    A code of masks: a mask of any size becomes `num_codes` whole numbers, and back.

    A structure that is absent has an answer too: the empty mask is the empty list, and back. The numbers of a mask do
    not depend on the resolution of the image, but for what is finer than its pixels.

    Attributes:
        code_sizes: How many values the number at each place has. Where there are shape tokens ("seg"), the first four
            numbers are the box, y0, x0, y1, x1.
        prefixes: Name of the token family at each place, "loc" or "seg" as in PaliGemma.
    """

    code_sizes: tuple[int, ...]
    prefixes: tuple[str, ...]

    @property
    def num_codes(self) -> int:
        """Numbers of a mask, those of its box included."""
        return len(self.code_sizes)

    @abstractmethod
    def encode(self, masks: torch.Tensor | Sequence[torch.Tensor]) -> list[list[int]]:
        """The numbers of each `(height, width)` bool mask; an empty list where the mask is empty."""

    @abstractmethod
    def decode(self, codes: Sequence[Sequence[int]], size: tuple[int, int]) -> torch.Tensor:
        """
        Masks `(len(codes), height, width)` bool.

        Raises:
            ValueError: for a list of numbers that is neither empty nor complete, or a number out of its range.
        """

    def check(self, codes: Sequence[int]) -> None:
        """Raises `ValueError` unless `codes` is empty or complete and within range."""
        if len(codes) not in (0, self.num_codes):
            raise ValueError(f"a mask has {self.num_codes} codes (an absent one none), not {len(codes)}")
        for place, (code, size) in enumerate(zip(codes, self.code_sizes)):
            if not 0 <= code < size:
                raise ValueError(f"code {place} is {code}, but must be from 0 to {size - 1}")

    def tokens(self, codes: Sequence[int]) -> str:
        """PaliGemma's way of writing: four digits for places, three for shapes (four where there are more)."""
        widths = {"loc": 4, "seg": len(str(max(self.code_sizes[4:]) - 1))}
        return "".join(f"<{kind}{code:0{widths[kind]}d}>" for kind, code in zip(self.prefixes, codes, strict=True))

    def vocabulary(self) -> list[str]:
        """Every token of the code, those of the box first."""
        sizes: dict[str, int] = {}
        for kind, size in zip(self.prefixes, self.code_sizes):
            sizes[kind] = max(size, sizes.get(kind, 0))
        widths = {"loc": 4, "seg": len(str(sizes.get("seg", 1000) - 1))}
        return [f"<{kind}{code:0{widths[kind]}d}>" for kind, size in sizes.items() for code in range(size)]


class RasterCodec(nn.Module, MaskCodec):
    """
    A box, and a code of the 64 x 64 raster inside it; components and holes are kept as far as the raster shows them.

    Subclasses code rasters: `encode_rasters` and `decode_rasters`.
    """

    box_bins = 1024
    side = 64
    # Whether a box grows to the next bins outside the mask (ours) or to the nearest ones (PaliGemma's).
    outward = True

    @abstractmethod
    def encode_rasters(self, rasters: torch.Tensor) -> torch.Tensor:
        """`(N, num_shape_codes)` int64 of coverages `(N, 64, 64)` in [0, 1]."""

    @abstractmethod
    def decode_rasters(self, codes: torch.Tensor) -> torch.Tensor:
        """`(N, 64, 64)`, above 0 inside the mask, of `(N, num_shape_codes)`."""

    @torch.no_grad()
    def encode(self, masks: torch.Tensor | Sequence[torch.Tensor]) -> list[list[int]]:
        boxes: list[list[int]] = []
        rasters = []
        for mask in masks:
            mask = mask.detach().cpu().bool()
            box = mask_box(mask)
            bins = [] if box is None else box_to_bins(box, tuple(mask.shape), self.box_bins, self.outward)
            boxes.append(bins)
            if bins:
                rasters.append(crop_to_box(mask, bins_to_box(bins, tuple(mask.shape), self.box_bins), self.side))
        if not rasters:
            return boxes
        shapes = iter(self.encode_rasters(torch.stack(rasters).to(self.device)).tolist())
        return [bins + next(shapes) if bins else [] for bins in boxes]

    @torch.no_grad()
    def decode(self, codes: Sequence[Sequence[int]], size: tuple[int, int]) -> torch.Tensor:
        for one in codes:
            self.check(one)
        masks = torch.zeros(len(codes), *size, dtype=torch.bool)
        present = [index for index, one in enumerate(codes) if len(one)]
        if present:
            shapes = torch.tensor([list(codes[index][4:]) for index in present], device=self.device)
            rasters = self.decode_rasters(shapes).float().cpu()
            for index, raster in zip(present, rasters):
                box = bins_to_box(codes[index][:4], size, self.box_bins)
                paste_from_box(raster, box, size, out=masks[index])
        return masks

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device


__all__ = ["MaskCodec", "RasterCodec"]
