"""Boxes of a checkpoint on real films: lungs and heart of two public sets, beside the sets' own mean boxes.

    python benchmarks/real_films.py [--model hub_cards/phantom-reference] [--data FOLDER] [--json]

FOLDER holds `cxr_wingspan_ctr` (155 films with boxes of both lungs and the heart and their cardiothoracic ratios, Dong
et al., 2018 and 2019) and `cxr_hannover_v7` (20 films with boxes of both lungs). Intervals are bootstrapped over
films. The prior is the mean box of the very set, as a fraction of the film: a stronger opponent than any that could be
had without it. The laterality margin is the IoU with the box of the same side minus that with the other side's.
"""

import argparse
import csv
import json
import os
from pathlib import Path

import numpy as np
from PIL import Image

from anatomy_vlm import predict
from anatomy_vlm.training.evaluation.bootstrap import PatientBootstrap, percentile_interval
from anatomy_vlm.training.evaluation.boxes import box_iou


NAMES = ("right lung", "left lung", "cardiac silhouette")
Truth = dict[Path, dict[str, list[float]]]


def wingspan(folder: Path) -> Truth:
    boxes = json.loads((folder / "boxes_xyxy_512.json").read_text())
    keys = {"right lung": "right_lung", "left lung": "left_lung", "cardiac silhouette": "heart"}
    return {folder / "png" / file: {name: box[key] for name, key in keys.items()} for file, box in boxes.items()}


def hannover(folder: Path) -> Truth:
    entries = json.loads((folder / "lung_boxes.json").read_text())
    # From left to right in the image: the patient's right lung comes first.
    return {
        folder / "png" / f"{file}.png": dict(zip(NAMES, entry["lung_boxes_xyxy_image_left_to_right"]))
        for file, entry in entries.items()
        if len(entry["lung_boxes_xyxy_image_left_to_right"]) == 2
    }


def ratios(folder: Path) -> dict[str, float]:
    with (folder / "ctr_ground_truth.csv").open(newline="") as file:
        return {row["id"]: float(row["ctr"]) for row in csv.DictReader(file)}


def measure(truth: Truth, model: str) -> tuple[dict[str, dict], list[dict]]:
    """Per region the mean IoU with its interval and the prior's; and the records of the films."""
    files = list(truth)
    records = predict(files, model=model)
    sizes = np.array([Image.open(file).size * 2 for file in files], dtype=float)
    found = [{region["name"]: region["box"] for region in record["regions"]} for record in records]
    bootstrap = PatientBootstrap.draw([file.name for file in files], num_resamples=1000, seed=0)
    results = {}
    sides = {name: np.array([truth[file][name] for file in files]) for name in NAMES if name in truth[files[0]]}
    for name, true in sides.items():
        predicted = np.array([boxes[name] for boxes in found])
        iou = box_iou(predicted, true)
        means = bootstrap.resample(lambda weights, iou=iou: (weights * iou).sum(-1) / weights.sum(-1))
        prior = (true / sizes).mean(0) * sizes
        other = {"right lung": "left lung", "left lung": "right lung"}.get(name)
        results[name] = {
            "iou": float(iou.mean()),
            "interval": [float(v) for v in percentile_interval(means)],
            "prior": float(box_iou(prior, true).mean()),
            "laterality_margin": float((iou - box_iou(predicted, sides[other])).mean()) if other else None,
        }
    return results, records


def ratio_error(records: list[dict], true: dict[str, float]) -> dict[str, float]:
    pairs = [
        (record["measurements"]["cardiothoracic_ratio"], true[Path(record["file"]).name])
        for record in records
        if Path(record["file"]).name in true and record["measurements"].get("cardiothoracic_ratio") is not None
    ]
    predicted, expected = np.array(pairs).T
    return {
        "mean_absolute_error": float(np.abs(predicted - expected).mean()),
        "mean_absolute_error_of_the_mean": float(np.abs(expected - expected.mean()).mean()),
        "correlation": float(np.corrcoef(predicted, expected)[0, 1]),
        "films": len(pairs),
    }


def default_data() -> Path:
    """Folder of real data, as the tests look for it."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    return Path(os.environ.get("ANATOMY_VLM_TEST_DATA", beside))


def measure_sets(data: Path, model: str) -> dict[str, dict]:
    """Results by set and region, and those of the cardiothoracic ratio."""
    results: dict[str, dict] = {}
    for name, load in (("wingspan", wingspan), ("hannover", hannover)):
        folder = data / ("cxr_wingspan_ctr" if name == "wingspan" else "cxr_hannover_v7")
        results[name], records = measure(load(folder), model)
        if name == "wingspan":
            results["cardiothoracic_ratio"] = ratio_error(records, ratios(folder))
    return results


def to_markdown(results: dict[str, dict]) -> str:
    """The results as a table."""
    rows = ["| set | region | IoU | interval | set's mean box | own minus other side |", "|---|---|---|---|---|---|"]
    for name, title in (("wingspan", "Wingspan, 155 films"), ("hannover", "Hannover, 20 films")):
        for region, row in results.get(name, {}).items():
            margin = "-" if row["laterality_margin"] is None else f"{row['laterality_margin']:.2f}"
            interval = "{:.3f} to {:.3f}".format(*row["interval"])
            rows.append(f"| {title} | {region} | {row['iou']:.3f} | {interval} | {row['prior']:.3f} | {margin} |")
    ratio = results.get("cardiothoracic_ratio")
    if ratio:
        error, spread = ratio["mean_absolute_error"], ratio["mean_absolute_error_of_the_mean"]
        rows.append(
            f"\nCTR, {ratio['films']} films: mean absolute error {error:.3f} (of the set's mean: {spread:.3f}), "
            f"correlation {ratio['correlation']:.2f}."
        )
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="hub_cards/phantom-reference")
    parser.add_argument("--data", type=Path, default=default_data())
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    args = parser.parse_args()
    results = measure_sets(args.data, args.model)
    print(to_markdown(results))
    if args.json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
