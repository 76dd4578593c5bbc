"""Scores in boxes that someone else has drawn, for one picture."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from anatomy_vlm.training.evaluation.arrays import FloatArray
from anatomy_vlm.training.evaluation.reader import Reader


def read_boxes(
    reader: Reader, image: Image.Image, boxes: ArrayLike, regions: Sequence[int]
) -> tuple[FloatArray, FloatArray]:
    """Read each box as one of the model's regions, with the box in the place of the region's own.

    Several boxes may be read as one region: the picture is read as often as the most frequent one needs.

    Args:
        reader: of the model; one with glimpses or `region_pooling="box"`.
        image: the picture.
        boxes: (k, 4), x0 y0 x1 y1 in pixels of the picture.
        regions: k indices of regions.

    Returns:
        Scores of the findings (k, F) and of the free texts (k, T).

    Raises:
        ValueError: numbers that do not fit, or a model that reads no boxes.
    """
    corners = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    if len(corners) != len(regions):
        raise ValueError(f"{len(corners)} boxes need as many regions, got {len(regions)}")
    turn = [list(regions[:index]).count(region) for index, region in enumerate(regions)]
    findings, texts = np.zeros((len(corners), len(reader.findings))), np.zeros((len(corners), reader.num_texts))
    for number in range(max(turn, default=-1) + 1):
        rows = [index for index, at in enumerate(turn) if at == number]
        slots = [regions[index] for index in rows]
        given = np.full((1, len(reader.regions), 4), np.nan)
        given[0, slots] = corners[rows]
        reading = reader.read([image], given)
        findings[rows], texts[rows] = reading.region_scores[0, slots], reading.text_region_scores[0, slots]
    return findings, texts
