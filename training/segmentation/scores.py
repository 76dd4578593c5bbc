"""Masks of films by a network, and their Dice, two-class IoU and HD95 film by film."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from anatomy_vlm.training.evaluation.hausdorff import hausdorff_95
from anatomy_vlm.training.evaluation.masks import dice, two_class_iou
from anatomy_vlm.training.segmentation.batches import CanvasFilms


METRICS = ("dice", "miou", "hd95")


@torch.no_grad()
def predict_masks(
    network: nn.Module, canvas: CanvasFilms, indices: Sequence[int], sizes: Sequence[tuple[int, int]], batch_size: int
) -> list[NDArray[np.bool_]]:
    """Masks `(structures, height, width)` of films at their own `sizes` (height, width)."""
    processor = canvas.image_processor
    mean = torch.tensor(processor.image_mean)[:, None, None]
    std = torch.tensor(processor.image_std)[:, None, None]
    device = next(network.parameters()).device
    network.eval()
    masks: list[NDArray[np.bool_]] = []
    for start in range(0, len(indices), batch_size):
        part = slice(start, start + batch_size)
        pixels = torch.stack([canvas[index][0] for index in indices[part]]).float() / 255
        outputs = network(pixel_values=((pixels[:, None] - mean) / std).to(device))
        size = {"height": canvas.side, "width": canvas.side}
        found = processor.post_process_multi_label_segmentation(outputs, list(sizes[part]), size=size)
        masks += [mask.cpu().numpy() for mask in found]
    return masks


def score_masks(found: NDArray[np.bool_], true: NDArray[np.bool_]) -> dict[str, float]:
    """
    Scores of one mask `(height, width)`: `dice` of the foreground, `miou` over foreground and background (the paper's
    mIoU), and `hd95` in per cent of the film's longer side. NaN where neither mask has a pixel; `miou` is then 1.
    """
    return {
        "dice": float(dice(found, true)),
        "miou": float(two_class_iou(found, true)),
        "hd95": 100 * outline_distance(found, true) / max(true.shape),
    }


def outline_distance(found: NDArray[np.bool_], true: NDArray[np.bool_]) -> float:
    """
    `hausdorff_95`, measured on the part of the film that holds both masks: several times as fast.

    >>> one, other = np.zeros((2, 9, 9), bool)
    >>> one[2, 2], other[2, 7] = True, True
    >>> outline_distance(one, other)
    5.0
    """
    either = found | true
    if not found.any() or not true.any():
        return hausdorff_95(found, true)
    rows, columns = np.flatnonzero(either.any(1)), np.flatnonzero(either.any(0))
    # Beyond the picture is outside, and so is beyond the part: a margin changes nothing.
    part = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    return hausdorff_95(found[part], true[part])


def score_films(
    network: nn.Module, canvas: CanvasFilms, indices: Sequence[int], batch_size: int = 16
) -> list[dict[str, Any]]:
    """
    Scores of films at their own size: per film `film`, `patient`, and per structure the scores of `score_masks`; NaN
    is None.
    """
    rows: list[dict[str, Any]] = []
    for start in range(0, len(indices), batch_size):
        part = list(indices[start : start + batch_size])
        truths = [canvas.films.read(index)[1] for index in part]
        sizes = [(int(truth.shape[1]), int(truth.shape[2])) for truth in truths]
        for index, found, truth in zip(part, predict_masks(network, canvas, part, sizes, batch_size), truths):
            row: dict[str, Any] = {"film": canvas.films.film_ids[index], "patient": canvas.films.patients[index]}
            for name, one, other in zip(canvas.films.structures, found, truth):
                scores = score_masks(one, other)
                row[name] = {metric: None if math.isnan(value) else value for metric, value in scores.items()}
            rows.append(row)
    return rows


@torch.no_grad()
def canvas_dice(network: nn.Module, canvas: CanvasFilms, indices: Sequence[int], batch_size: int = 16) -> float:
    """Mean Dice over films and structures on the model's canvas: what a learning rate is chosen by."""
    sizes = [(canvas.side, canvas.side)] * len(indices)
    found = np.stack(predict_masks(network, canvas, indices, sizes, batch_size))
    true = np.stack([canvas[index][1].numpy() > 127 for index in indices])
    values = dice(found, true)
    return float(np.nanmean(values)) if not np.isnan(values).all() else 0.0
