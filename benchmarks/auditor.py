"""The plausibility auditor on films: AUC of each flag between films as they are and the same films spoilt.

    python benchmarks/auditor.py --model DIR_OR_ID --train DATASET [--data FOLDER] [--bad lateral=FOLDER ...] [--json]

DATASET is a phantom dataset on disk (or another in the schema of Anatomy-VLM); the statistics come from the boxes that
the model predicts for its films. FOLDER holds `cxr_wingspan_ctr` and `cxr_hannover_v7`, upright frontal films by human
reading. They are flipped, turned by 90, 180 and 270 degrees, inverted and cropped; `--bad FLAG=FOLDER` adds films that
are bad as they are, for example laterals projected from CT or films of other body parts (`not_a_chest`).
"""

import argparse
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from anatomy_vlm.input_files import find_images
from anatomy_vlm.processing.image_io import read_image
from anatomy_vlm.processing.plausibility import (
    FLAGS,
    PlausibilityStatistics,
    fit_plausibility,
    plausibility_evidence,
    plausibility_flags,
)
from anatomy_vlm.training.evaluation.delong import auc_interval
from anatomy_vlm.training.evaluation.reader import Reader
from anatomy_vlm.training.loaders.saved import load_saved
from anatomy_vlm.training.model_folder import load_checkpoint


Film = np.ndarray
BATCH = 16


def crop(film: Film) -> Film:
    """Without a quarter of the patient's left side and of the lower end: a costophrenic angle is lost."""
    height, width = film.shape
    return film[: 3 * height // 4, : 3 * width // 4]


SPOILT: dict[str, tuple[str, Callable[[Film], Film]]] = {
    "flip": ("flipped", lambda film: film[:, ::-1]),
    "turn by 90": ("rotated", lambda film: np.rot90(film, 1)),
    "turn by 180": ("rotated", lambda film: np.rot90(film, 2)),
    "turn by 270": ("rotated", lambda film: np.rot90(film, 3)),
    "negative": ("inverted", lambda film: 255 - film),
    "crop": ("cropped", crop),
}


def predicted_boxes(reader: Reader, films: list[Film]) -> np.ndarray:
    """(n, R, 4), fractions of each film."""
    pictures = [Image.fromarray(np.ascontiguousarray(film)) for film in films]
    parts = [reader.read(pictures[start : start + BATCH]) for start in range(0, len(pictures), BATCH)]
    return np.concatenate([part.relative_boxes for part in parts])


def learn(reader: Reader, folder: str, limit: int) -> PlausibilityStatistics:
    split = load_saved(folder)["train"]
    rows = split.select(range(min(limit, len(split))))
    films = [np.asarray(image.convert("L")) for image in rows["image"]]
    boxes = predicted_boxes(reader, films)
    return fit_plausibility(boxes, np.ones(boxes.shape[:2], dtype=bool), films, reader.regions)


def judge(
    statistics: PlausibilityStatistics, reader: Reader, films: list[Film]
) -> tuple[dict[str, np.ndarray], list[list[str]]]:
    """Evidence for each flag, and the flags raised."""
    pairs = list(zip(predicted_boxes(reader, films), films, strict=True))
    evidence = [plausibility_evidence(statistics, boxes, film) for boxes, film in pairs]
    raised = [[item["flag"] for item in plausibility_flags(statistics, boxes, film)] for boxes, film in pairs]
    return {flag: np.array([row[flag] for row in evidence]) for flag in FLAGS}, raised


def rows_of(
    statistics: PlausibilityStatistics, reader: Reader, good: list[Film], given: dict[str, list[Film]]
) -> Iterator[dict]:
    clean, clean_flags = judge(statistics, reader, good)
    alarms = float(np.mean([bool(names) for names in clean_flags]))
    cases = {name: (flag, [change(film) for film in good]) for name, (flag, change) in SPOILT.items()}
    cases |= {f"{flag}, given": (flag, films) for flag, films in given.items()}
    for name, (flag, films) in cases.items():
        bad, raised = judge(statistics, reader, films)
        labels = np.r_[np.zeros(len(good)), np.ones(len(films))]
        auc, low, high = auc_interval(labels, np.r_[clean[flag], bad[flag]])
        yield {
            "case": name,
            "flag": flag,
            "films": len(films),
            "auc": auc,
            "interval": None if np.isnan(low) else [low, high],
            "flagged_right": float(np.mean([flag in names for names in raised])),
            "flagged_at_all": float(np.mean([bool(names) for names in raised])),
            "clean_films_flagged": alarms,
        }


def main() -> None:
    default = Path(__file__).parents[2] / "shared" / "data"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="hub_cards/phantom-reference")
    parser.add_argument("--train", required=True, metavar="DATASET", help="saved dataset that the statistics are from")
    parser.add_argument("--limit", type=int, default=1000, help="films of it (default: %(default)s)")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("ANATOMY_VLM_TEST_DATA", default)))
    parser.add_argument("--bad", nargs="+", default=[], metavar="FLAG=PATH", help="films that are bad as they are")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    args = parser.parse_args()
    given = {}
    for item in args.bad:
        flag, _, path = item.partition("=")
        if flag not in FLAGS or not path:
            parser.error(f"--bad {item}: write FLAG=PATH with a flag of {', '.join(FLAGS)}")
        given[flag] = [read_image(file).pixels for file in find_images([path])]
    model, processor = load_checkpoint(args.model)
    reader = Reader(model, processor)
    statistics = learn(reader, args.train, args.limit)
    results = {}
    for name in ("cxr_wingspan_ctr", "cxr_hannover_v7"):
        good = [read_image(file).pixels for file in find_images([args.data / name / "png"])]
        results[name] = list(rows_of(statistics, reader, good, given))
        alarms = results[name][0]["clean_films_flagged"]
        print(f"{name}: {len(good)} films, {100 * alarms:.0f} % flagged as they are")
        for row in results[name]:
            interval = "" if row["interval"] is None else " [{:.3f}, {:.3f}]".format(*row["interval"])
            print(
                f"  {row['case']:20} AUC {row['auc']:.3f}{interval}, named {100 * row['flagged_right']:.0f} %, "
                f"flagged at all {100 * row['flagged_at_all']:.0f} %"
            )
    if args.json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
