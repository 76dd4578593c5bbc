"""Draw `docs/overlay.png`: a synthetic film, and beside it the true boxes of its regions.

python docs/overlay.py
"""

from pathlib import Path

import numpy as np
from PIL import Image

from anatomy_vlm import generate_patient
from anatomy_vlm.processing.pictures import PANEL_WIDTH, draw_overlay
from anatomy_vlm.processing.vocabulary import REGION_NAMES


SEED = 3
HEIGHT = 440


def main() -> None:
    """Draw and save."""
    example = generate_patient(SEED, image_size=512)[0]
    film = example["image"]
    scale = np.array([film.width, film.height, film.width, film.height])
    regions = [
        {"name": name, "box": (np.asarray(box) * scale).tolist()}
        for name, box, known in zip(REGION_NAMES, example["boxes"], example["box_mask"])
        if known
    ]
    overlay = draw_overlay(film, regions, height=HEIGHT)
    overlay = overlay.crop((0, 0, overlay.width - PANEL_WIDTH, HEIGHT))
    plain = film.convert("RGB").resize((HEIGHT, HEIGHT), Image.Resampling.LANCZOS)
    picture = Image.new("RGB", (plain.width + overlay.width, HEIGHT))
    picture.paste(plain, (0, 0))
    picture.paste(overlay, (plain.width, 0))
    picture.quantize(128).save(Path(__file__).with_suffix(".png"), optimize=True)


if __name__ == "__main__":
    main()
