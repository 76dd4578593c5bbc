"""The mean attention of every query as a sheet of tiles, each with the mean true box of its region."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from anatomy_vlm.training.evaluation.arrays import FloatArray


TILE, TEXT, COLUMNS = 120, 14, 6


def attention_sheet(maps: FloatArray, boxes: FloatArray, names: Sequence[str]) -> Image.Image:
    """
    A sheet of tiles: bright where the query looks, the box of the region as a frame. As on a film the patient's right
    is on the left.

    Args:
        maps: (regions, rows, columns), not negative.
        boxes: (regions, 4), x0 y0 x1 y1 as fractions of the canvas; NaN for none.
        names: of the regions.
    """
    rows = -(-len(names) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * TILE, rows * (TILE + TEXT)), (16, 16, 18))
    pen = ImageDraw.Draw(sheet)
    for index, (name, values, box) in enumerate(zip(names, maps, boxes, strict=True)):
        left, top = index % COLUMNS * TILE, index // COLUMNS * (TILE + TEXT)
        peak = float(values.max()) or 1.0
        grey = Image.fromarray(np.round(255 * values / peak).astype(np.uint8), mode="L")
        sheet.paste(grey.resize((TILE - 2, TILE - 2), Image.Resampling.NEAREST), (left + 1, top + TEXT))
        pen.text((left + 2, top + 1), name, fill=(235, 235, 235), font_size=10)
        if not np.isnan(box).any():
            corners = np.asarray(box) * (TILE - 2)
            frame = [left + 1 + corners[0], top + TEXT + corners[1], left + 1 + corners[2], top + TEXT + corners[3]]
            pen.rectangle(frame, outline=(240, 112, 40), width=2)
    return sheet
