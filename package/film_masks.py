"""Masks of named structures for `predict --masks`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from anatomy_vlm.hub_cards import REFERENCE_WRITER
from anatomy_vlm.processing.vocabulary.structures import find_structures
from anatomy_vlm.records import Record
from anatomy_vlm.training.evaluation.mask_reading import FilmMasks, MaskReader
from anatomy_vlm.training.model_folder import load_mask_writer


class MaskPredictor:
    """
    Writes the masks of structures of films.

    Args:
        reader: A loaded mask writer.
        structures: As the user names them: names, synonyms or groups ("heart,left lung", "lungs", "ribs").
        name: Of the checkpoint, for the records.

    Raises:
        ValueError: for a structure that nobody or this model knows.
    """

    def __init__(self, reader: MaskReader, structures: str | Sequence[str], name: str) -> None:
        self.reader, self.name = reader, name
        self.structures = [structure.name for structure in find_structures(structures, reader.structures)]

    @classmethod
    def load(
        cls,
        structures: str | Sequence[str],
        source: str | Path = REFERENCE_WRITER,
        *,
        device: str | None = None,
        bf16: bool = False,
    ) -> "MaskPredictor":
        """Load a mask writer from a folder or by its Hub id; `CheckpointError` if there is none."""
        model, image_processor = load_mask_writer(source)
        name = REFERENCE_WRITER.name if Path(source) == REFERENCE_WRITER else str(source)
        return cls(MaskReader(model, image_processor, device, bf16), structures, name)

    def read(self, films: Sequence[Image.Image]) -> list[FilmMasks]:
        """Masks of the structures, at the films' own sizes."""
        return self.reader.read(films, self.structures)


def mask_records(written: FilmMasks) -> list[Record]:
    """For the record of a film: `name`, `presence`, `pixels` and the tight `box` of each mask (None if empty)."""
    records: list[Record] = []
    for name, mask in written.masks.items():
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box: Any = None
        if len(rows):
            box = [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]
        presence = round(written.presence[name], 6)
        records.append({"name": name, "presence": presence, "pixels": int(mask.sum()), "box": box})
    return records
