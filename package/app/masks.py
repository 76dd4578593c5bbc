"""Masks by name: where the writer of masks comes from, and masks as pictures for the page."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from anatomy_vlm.html_page import data_url
from anatomy_vlm.hub_cards import REFERENCE_WRITER
from anatomy_vlm.processing.mask_pictures import spoken_name
from anatomy_vlm.processing.picture_style import group_of
from anatomy_vlm.training.evaluation.mask_reading import MaskReader


def find_mask_reader(source: str | Path | None, device: str | None = None) -> MaskReader | None:
    """The writer of masks that the app offers; None where there is none, and the page then has no masks.

    Args:
        source: a folder or Hub id; None takes the writer that comes with the package, if there is one.
        device: of PyTorch.

    Raises:
        CheckpointError: `source` is named and is no mask writer.
    """
    from anatomy_vlm.training.model_folder import load_mask_writer

    if source is None and not (REFERENCE_WRITER / "config.json").is_file():
        return None
    model, image_processor = load_mask_writer(REFERENCE_WRITER if source is None else source)
    return MaskReader(model, image_processor, device)


def mask_colour(name: str) -> tuple[int, int, int]:
    """Colour of a structure, that of its anatomical group."""
    return group_of(spoken_name(name)).colour


def mask_url(mask: np.ndarray, colour: tuple[int, int, int], longest: int) -> str:
    """A mask (height, width) as a data URL: its colour where it is, clear elsewhere, at most `longest` pixels."""
    scale = min(1.0, longest / max(mask.shape))
    size = max(1, round(mask.shape[1] * scale)), max(1, round(mask.shape[0] * scale))
    shape = Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BILINEAR)
    picture = Image.new("RGBA", size, (*colour, 0))
    picture.putalpha(shape)
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return data_url(stream.getvalue(), "image/png")
