"""Films and masks on the canvas of a model, augmented batches of them, and the one flip that keeps sides true."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from anatomy_vlm.processing.letterbox_anatomy_vlm import fit_letterbox
from anatomy_vlm.training.augmentation import Augmentation, augment, move_maps
from anatomy_vlm.training.segmentation.films import MaskedFilms


_SIDES = re.compile(r"(?<![^\W_])(left|right)(?![^\W_])", re.IGNORECASE)
_OTHER_SIDE = {"left": "right", "right": "left"}
# Films that are kept in memory once they are on the canvas.
_KEPT = 4096


def mirror_structures(structures: Sequence[str]) -> list[int]:
    """
    Index of the structure on the other side, for each; its own where it has none. Sides are told by their words.

    >>> mirror_structures(["right lung", "left lung", "cardiac silhouette", "left_rib", "right_rib"])
    [1, 0, 2, 4, 3]

    Raises `ValueError` where the other side is not among the structures: a flipped film would then be wrong.
    """
    mirrored = []
    for name in structures:
        other = _SIDES.sub(lambda side: _OTHER_SIDE[side[0].lower()], name)
        if other not in structures:
            raise ValueError(f"'{name}' without '{other}': with one side alone films cannot be flipped; set flip to 0")
        mirrored.append(list(structures).index(other))
    return mirrored


class CanvasFilms:
    """Films and masks letter-boxed to the model's square input, as bytes; read once, up to some thousands."""

    def __init__(self, films: MaskedFilms, image_processor: Any, side: int):
        self.films, self.image_processor, self.side = films, image_processor, side
        self._kept: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The film `(side, side)` and its masks `(structures, side, side)`, both uint8; 255 is all inside."""
        if index in self._kept:
            return self._kept[index]
        image, masks = self.films.read(index)
        canvas = self.image_processor.preprocess(
            image,
            size={"height": self.side, "width": self.side},
            do_rescale=False,
            do_normalize=False,
            return_tensors="np",
        )
        pixels = np.clip(np.rint(np.asarray(canvas["pixel_values"][0][0])), 0, 255).astype(np.uint8)
        place = fit_letterbox(
            masks.shape[1:], (self.side, self.side), keep_aspect=bool(getattr(self.image_processor, "do_pad", True))
        )
        placed = np.zeros((len(masks), self.side, self.side), np.uint8)
        for target, mask in zip(placed, masks):
            small = Image.fromarray(mask.astype(np.uint8) * 255).resize(
                (place.width, place.height), Image.Resampling.BOX
            )
            target[place.top : place.top + place.height, place.left : place.left + place.width] = np.asarray(small)
        item = torch.from_numpy(pixels), torch.from_numpy(placed)
        if len(self._kept) < _KEPT:
            self._kept[index] = item
        return item


class TrainingSequence(torch.utils.data.Dataset):
    """
    The films of a whole training in the order of its steps: every film once, in random order, before any comes again.

    What item *i* is depends on the seed and *i* alone, so that processes, workers and restarts see the same.

    Args:
        canvas: The films.
        indices: Those to train on.
        length: Steps times batch size.
        augmentation: Its strengths.
        seed: Of order and augmentation.
    """

    def __init__(
        self, canvas: CanvasFilms, indices: Sequence[int], length: int, augmentation: Augmentation, seed: int = 0
    ):
        self.canvas, self.indices, self.length = canvas, list(indices), length
        self.augmentation, self.seed = augmentation, seed

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        turn, place = divmod(index, len(self.indices))
        order = np.random.default_rng([self.seed, turn]).permutation(len(self.indices))
        pixels, masks = self.canvas[self.indices[order[place]]]
        draws = torch.Generator().manual_seed(int(np.random.SeedSequence([self.seed, index]).generate_state(1)[0]))
        return {
            "pixels": pixels,
            "masks": masks,
            "draws": self.augmentation.sample(draws),
            "flip": torch.rand((), generator=draws),
        }


def flip_films(
    images: torch.Tensor, masks: torch.Tensor, flipped: torch.Tensor, mirror: Sequence[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Mirror the films `(batch_size, side, side)` where `flipped` `(batch_size,)` says so, with their masks `(batch_size,
    structures, side, side)`, whose sides are exchanged: what lies on the image's left is the patient's right.
    """
    other = flipped[:, None, None]
    images = torch.where(other, images.flip(-1), images)
    return images, torch.where(other[:, None], masks[:, list(mirror)].flip(-1), masks)


def collate(
    augmentation: Augmentation, image_processor: Any, structures: Sequence[str], flip: float = 0.0
) -> Callable[[list[dict]], dict[str, torch.Tensor]]:
    """
    A collator of items of `TrainingSequence`: `pixel_values` `(B, 3, S, S)`, normalised as the image processor does,
    and `labels` `(B, structures, S, S)` in [0, 1].
    """
    mean = torch.tensor(image_processor.image_mean)[:, None, None]
    std = torch.tensor(image_processor.image_std)[:, None, None]
    mirror = mirror_structures(structures) if flip else []

    def collate_batch(items: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        batch = {name: torch.stack([item[name] for item in items]) for name in items[0]}
        images, masks, draws = batch["pixels"].float() / 255, batch["masks"].float() / 255, batch["draws"]
        if flip:
            images, masks = flip_films(images, masks, batch["flip"] < flip, mirror)
        masks = move_maps(masks, draws, augmentation)
        no_boxes = torch.zeros(len(images), 0, 4), torch.zeros(len(images), 0, dtype=torch.bool)
        images, _, _ = augment(images, *no_boxes, draws, augmentation)
        return {"pixel_values": (images[:, None] - mean) / std, "labels": masks.clamp(0, 1)}

    return collate_batch
