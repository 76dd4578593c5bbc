"""Learn how the regions of a chest lie, from the boxes that a model finds on drawn films.

    python -m anatomy_vlm.training.film_audit.fit_boxes --work FOLDER [--model DIR_OR_ID] [--films 600]

Writes `plausibility.json` to where the package reads it, or to `--out`. Needs the extra `synthesis`. `--work` is the
folder of `film_audit.fit`, whose drawn films are used again.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from anatomy_vlm.hub_cards import REFERENCE_MODEL
from anatomy_vlm.processing.atomic_files import write_json
from anatomy_vlm.processing.plausibility import STATISTICS, fit_box_statistics
from anatomy_vlm.training.evaluation.reader import Reader
from anatomy_vlm.training.film_audit.pool import draw_chests
from anatomy_vlm.training.model_folder import load_checkpoint


_BATCH = 32
_PRESENT = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of the drawn films")
    parser.add_argument("--model", default=REFERENCE_MODEL)
    parser.add_argument("--films", type=int, default=600)
    parser.add_argument("--patients", type=int, default=2400)
    parser.add_argument("--seed", type=int, default=4242)
    parser.add_argument("--out", type=Path, default=STATISTICS)
    args = parser.parse_args()
    chests, unusual = draw_chests(args.work, args.patients, args.seed)
    rows = chests["train"].select(range(min(args.films, len(chests["train"]))))
    films: list[Image.Image] = [
        image for image, name in zip(rows["image"], rows["image_id"], strict=True) if name not in unusual
    ]
    reader = Reader(*load_checkpoint(args.model))
    parts = [reader.read(films[start : start + _BATCH]) for start in range(0, len(films), _BATCH)]
    statistics = fit_box_statistics(
        np.concatenate([part.relative_boxes for part in parts]),
        np.concatenate([part.presence for part in parts]) >= _PRESENT,
        reader.regions,
        source=f"boxes that {Path(args.model).name} finds on {len(films)} drawn films",
    )
    write_json(args.out, statistics.to_dict())
    print(len(statistics.left_of), len(statistics.above), len(statistics.inside), statistics.limits)


if __name__ == "__main__":
    main()
