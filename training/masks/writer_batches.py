"""Batches for the mask writer: films that are moved and re-lit, structures that are asked for, and their answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from anatomy_vlm.modeling.mask_fsq_anatomy_vlm import AnatomyMaskCodec
from anatomy_vlm.modeling.mask_raster_anatomy_vlm import box_to_bins
from anatomy_vlm.modeling.mask_writer_anatomy_vlm import AnatomyVLMForMaskGeneration
from anatomy_vlm.modeling.mask_writer_losses_anatomy_vlm import IGNORED
from anatomy_vlm.training.augmentation import Augmentation, augment, placement
from anatomy_vlm.training.masks.film_shapes import FilmShapes


# A box may reach over the edge of the film by this much and still be whole.
SLACK = 0.004


@dataclass(frozen=True, kw_only=True)
class WriterBatching:
    """
    Args:
        structures_per_film: How many structures each film is asked for.
        always: Structures that every film is asked for.
        jitter: Standard deviation by which the box that is read back is off, as a share of its size: what is written
            into a box should fit it even where the box does not fit.
        jittered: Share of the rows whose box is off.
    """

    structures_per_film: int = 12
    always: tuple[str, ...] = ("left lung", "right lung", "cardiac silhouette")
    jitter: float = 0.025
    jittered: float = 0.5


class WriterSequence(torch.utils.data.Dataset):
    """
    The films of a whole training in the order of its steps, each with the structures it is asked for. What item *i* is
    depends on the seed and *i* alone.
    """

    def __init__(self, shapes: FilmShapes, batching: WriterBatching, length: int, seed: int = 0):
        self.shapes, self.batching, self.length, self.seed = shapes, batching, length, seed
        self.table = shapes.table()
        wanted = [name for name in batching.always if name in shapes.names]
        self.always = [shapes.names.index(name) for name in wanted]
        self.others = [index for index, name in enumerate(shapes.names) if name not in wanted]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Any]:
        turn, place = divmod(index, len(self.shapes))
        film = int(np.random.default_rng([self.seed, turn]).permutation(len(self.shapes))[place])
        rng = np.random.default_rng([self.seed, index, 1])
        number = self.batching.structures_per_film - len(self.always)
        chosen: Sequence[int] = ()
        if number > 0:
            chosen = rng.choice(self.others, number, replace=len(self.others) < number).tolist()
        structures = torch.tensor([*self.always, *chosen][: self.batching.structures_per_film], dtype=torch.int64)
        return {
            "film": self.shapes.films[film],
            "structures": structures,
            "rows": self.table[film, structures],
            "draws": torch.from_numpy(rng.random(_NUM_DRAWS, dtype=np.float32)),
            "seed": int(rng.integers(2**31)),
        }


_NUM_DRAWS = 19


def move_boxes(boxes: torch.Tensor, draws: torch.Tensor, augmentation: Augmentation) -> torch.Tensor:
    """Boxes `(batch_size, n, 4)`, y0, x0, y1, x1 as fractions, where `augment` moves them; not clipped."""
    scale, offset = placement(draws, augmentation)
    corners = boxes.unflatten(-1, (2, 2)).flip(-1) * 2 - 1
    moved = ((corners - offset[:, None, None]) / scale[:, None, None] + 1) / 2
    return moved.flip(-1).flatten(-2)


def jittered_boxes(boxes: torch.Tensor, spread: float, generator: torch.Generator) -> torch.Tensor:
    """Boxes `(n, 4)` whose edges are off by normal deviates of `spread` times their size, inside the film."""
    size = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    moved = boxes + spread * size * torch.randn(boxes.shape, generator=generator).clamp(-2.5, 2.5)
    return moved.clamp(0, 1)


def recut(rasters: torch.Tensor, boxes: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """What rasters `(n, side, side)` of boxes `(n, 4)` look like in other boxes near them."""
    side = rasters.shape[-1]
    steps = (torch.arange(side) + 0.5) / side
    start, size = boxes[:, :2], (boxes[:, 2:] - boxes[:, :2]).clamp(min=1e-4)
    y, x = (
        2
        * ((others[:, axis, None] + (others[:, axis + 2] - others[:, axis])[:, None] * steps) - start[:, axis, None])
        / size[:, axis, None]
        - 1
        for axis in (0, 1)
    )
    grid = torch.stack((x[:, None].expand(-1, side, -1), y[:, :, None].expand(-1, -1, side)), dim=-1)
    return nn.functional.grid_sample(rasters[:, None], grid, align_corners=False, padding_mode="zeros")[:, 0]


class WriterCollator:
    """
    `pixel_values`, `decoder_input_ids`, `labels` and `rasters` of `AnatomyVLMForMaskGeneration`.

    Args:
        model: Whose vocabulary, input size and codec.
        shapes: The films' shapes.
        mean, std: Of the image processor.
        augmentation: Its strengths; zooming and shifting change places alone, not what is written about the shape.
        batching: Whether boxes are jittered.
    """

    def __init__(
        self,
        model: AnatomyVLMForMaskGeneration,
        shapes: FilmShapes,
        mean: Sequence[float],
        std: Sequence[float],
        augmentation: Augmentation,
        batching: WriterBatching,
    ):
        self.config = model.config
        self.ids = torch.tensor([model.config.structure_id(name) for name in shapes.names])
        self.shapes, self.codec = shapes, model.codec
        self.mean, self.std = (torch.tensor(list(values))[:, None, None] for values in (mean, std))
        self.augmentation, self.batching = augmentation, batching

    def __call__(self, items: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        side = self.config.image_size
        draws = torch.stack([item["draws"] for item in items])
        films = torch.stack([item["film"] for item in items])[:, None].float() / 255
        films = nn.functional.interpolate(films, (side, side), mode="bilinear", align_corners=False, antialias=True)
        none = torch.zeros(len(items), 0, 4), torch.zeros(len(items), 0, dtype=torch.bool)
        images, _, _ = augment(films[:, 0], *none, draws, self.augmentation)
        structures = torch.stack([item["structures"] for item in items])
        rows = torch.stack([item["rows"] for item in items])
        boxes = move_boxes(self.shapes.boxes[rows.clamp(min=0)], draws, self.augmentation)
        inside = ((boxes >= -SLACK) & (boxes <= 1 + SLACK)).all(-1)
        outside = (boxes[..., :2] >= 1).any(-1) | (boxes[..., 2:] <= 0).any(-1)
        present, absent = (rows >= 0) & inside, (rows == -1) | ((rows >= 0) & outside)
        answers = self._answers(
            rows.flatten(),
            boxes.flatten(0, 1).clamp(0, 1),
            self.ids[structures.flatten()],
            present.flatten(),
            absent.flatten(),
            torch.Generator().manual_seed(items[0]["seed"]),
        )
        return {"pixel_values": (images[:, None] - self.mean) / self.std, **answers}

    def _answers(self, rows, boxes, structures, present, absent, generator):
        """
        What is read, what should be written, and what the mask looks like in the box that is read. A structure that is
        cut is neither there nor absent.
        """
        config = self.config
        true = torch.tensor([box_to_bins(tuple(box), (1, 1), config.box_bins) for box in boxes.tolist()])
        read, off = self._read_boxes(boxes, true, present, generator)
        tight = self.shapes.rasters[rows.clamp(min=0)].float() / 255
        rasters = recut(tight, boxes, read / (config.box_bins - 1))
        rasters[~present] = -1
        labels = torch.full((len(rows), 6 + config.num_shape_codes), IGNORED)
        labels[:, 0] = structures
        labels[:, 1:5] = torch.where(present[:, None], true + config.first_place, IGNORED)
        labels[:, 1] = torch.where(absent, config.eos_token_id, labels[:, 1])
        labels[:, -1] = torch.where(present, config.eos_token_id, IGNORED)
        codes = encode_shapes(self.codec, rasters.clamp(min=0), present)
        labels[:, 5:-1] = torch.where(present[:, None], codes + config.first_code, IGNORED)
        tokens = torch.cat((torch.full_like(labels[:, :1], config.decoder_start_token_id), labels[:, :-1]), dim=1)
        tokens = tokens.masked_fill(tokens == IGNORED, config.pad_token_id)
        tokens[:, 2:6] = torch.where(off[:, None], read + config.first_place, tokens[:, 2:6])
        # What the codec makes of a mask that is cut off by its box is no good target; the mask itself is one.
        labels[:, 5:-1] = labels[:, 5:-1].masked_fill(off[:, None], IGNORED)
        return {"decoder_input_ids": tokens, "labels": labels, "rasters": rasters}

    def _read_boxes(self, boxes, true, present, generator):
        """Bins of the boxes that are read, and which of them are off."""
        off = present & (torch.rand(len(boxes), generator=generator) < self.batching.jittered)
        moved = jittered_boxes(boxes, self.batching.jitter, generator)
        bins = torch.tensor([box_to_bins(tuple(box), (1, 1), self.config.box_bins, False) for box in moved.tolist()])
        off &= (bins[:, 2:] > bins[:, :2]).all(1)
        return torch.where(off[:, None], bins, true), off


@torch.no_grad()
def encode_shapes(codec: AnatomyMaskCodec, rasters: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """Shape codes `(n, num_shape_codes)` of rasters `(n, 64, 64)`, 0 where there is no mask."""
    codes = torch.zeros(len(rasters), len(codec.code_sizes) - 4, dtype=torch.int64)
    if present.any():
        with torch.autocast("cpu", torch.bfloat16):
            codes[present] = codec.encode_rasters(rasters[present].to(codec.device)).cpu()
    return codes
