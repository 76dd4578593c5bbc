"""How well a vision-language model segments: Dice of every structure of some films."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from anatomy_vlm.training.evaluation.masks import dice
from anatomy_vlm.training.masks.vlm_augmentation import Placement
from anatomy_vlm.training.masks.vlm_examples import EXCLUDED, ExampleMaker
from anatomy_vlm.training.masks.vlm_films import MaskFilms
from anatomy_vlm.training.masks.vlm_generation import VLMWriter


def score_films(
    writer: VLMWriter,
    films: MaskFilms,
    structures: Sequence[str] | None = None,
    *,
    batch_size: int = 8,
    progress: bool = True,
) -> dict[str, Any]:
    """
    Dice of what the model writes, beside that of the codec alone, which is the most that it could reach.

    Args:
        writer: The model.
        films: With masks; structures that are known as tokens alone are not scored.
        structures: Canonical names; None for all that a film has.
        batch_size: Questions at once.
        progress: Show a progress bar.

    Returns:
        `films`, and `structures`: name -> `dice` and `ceiling` (means over films) and `films` that have it.
    """
    maker = ExampleMaker(writer.vlm.codec)
    found: dict[str, list[float]] = defaultdict(list)
    ceilings: dict[str, list[float]] = defaultdict(list)
    for index in tqdm(range(len(films)), desc="scores", unit="film", disable=not progress):
        film = films[index]
        names = [name for name in film.masks if (name not in EXCLUDED if structures is None else name in structures)]
        if not names:
            continue
        masks = writer.masks(film.image, names, batch_size=batch_size)
        for name in names:
            target = film.masks[name]
            codes = maker.codes(film, name, Placement(len(film.image), len(film.image)))
            if codes is None:
                continue
            side = len(film.image)
            ceiling = writer.vlm.codec.decode([codes], (side, side))[0].numpy()
            found[name].append(float(dice(masks[name], target)))
            ceilings[name].append(float(dice(ceiling, target)))
    table = {
        name: {
            "dice": float(np.mean(values)),
            "ceiling": float(np.mean(ceilings[name])),
            "films": len(values),
        }
        for name, values in sorted(found.items())
    }
    return {"films": len(films), "structures": table}
