"""Comparison of two studies on drawn patients with a planted change: accuracy of the verdicts.

    python benchmarks/comparison.py [--model DIR_OR_ID] [--pairs 8] [--confidence 0.8] [--seed 1] [--json]

Per finding and course (new, resolved, worse, better, stable with and without the finding) `--pairs` patients are
drawn, each with two studies that differ in pose, exposure and film look; only the planted finding differs.

- accuracy: of the verdict; guess: that of the best constant answer.
- state: new, resolved or neither; any other verdict counts as neither.
- opposite: share of verdicts that would be right for the exchanged studies.
- false changes: share of verdicts other than stable on calibrated findings that neither film has.
- side: of one-sided new or resolved findings, the share whose change of log-odds is larger on their own side.

These are numbers about synthetic films.
"""

import argparse
import dataclasses
import json
from collections import Counter

import numpy as np
from PIL import Image

from anatomy_vlm.comparison import image_changes, region_changes
from anatomy_vlm.hub_cards import REFERENCE_MODEL
from anatomy_vlm.prediction import Predictor
from anatomy_vlm.processing.vocabulary import FINDING_NAMES
from anatomy_vlm.study_change import EXCHANGED
from anatomy_vlm.synthesis.phantom import PhantomParameters, PlacedFinding, Study, draw_study
from anatomy_vlm.synthesis.phantom.domains import sample_look
from anatomy_vlm.synthesis.phantom.findings import _edema, adjust_pose, settle
from anatomy_vlm.synthesis.phantom.patient import settle_heart
from anatomy_vlm.synthesis.phantom.sampling import frame, sample_body, sample_pose


COURSES = {
    "new": ("", "severe"),
    "resolved": ("severe", ""),
    "worse": ("mild", "severe"),
    "better": ("severe", "mild"),
    "stable, present": ("moderate", "moderate"),
    "stable, absent": ("", ""),
}
HEART, EDEMA = "enlarged cardiac silhouette", "pulmonary edema/hazy opacity"
PLANTED = ("pleural effusion", "consolidation", EDEMA, HEART, "elevated hemidiaphragm", "mediastinal widening",
           "hyperaeration")  # fmt: skip
RANGES = {"mediastinal widening": ("width", (12.5, 17.0, 25.0)), "hyperaeration": ("drop", (12.5, 20.0, 32.0))}
SEVERITIES = ("mild", "moderate", "severe")
SIDED = ("pleural effusion", "consolidation", "elevated hemidiaphragm")


def study(seed: int, number: int, finding: str, side: str, severity: str) -> Study:
    """A study of a patient with one finding, or with none where the severity is empty."""
    body = sample_body(np.random.default_rng((seed, 7001)))
    body = dataclasses.replace(body, situs_inversus=False, dextrocardia=False)
    rng = np.random.default_rng((seed, 7002, number))
    look = sample_look(rng, "default")
    view = "AP" if np.random.default_rng((seed, 7)).random() < 0.3 else "PA"
    enlarged = finding == HEART and bool(severity)
    pose = sample_pose(rng, body, view=view, enlarged=enlarged)
    placed = []
    if severity and finding == EDEMA:
        placed.append(_edema(rng, severity))
    elif severity and not enlarged:
        values = {}
        if finding in RANGES:
            key, levels = RANGES[finding]
            values[key] = levels[SEVERITIES.index(severity)]
        zone = "lower" if finding == "consolidation" else ""
        placed.append(PlacedFinding(finding, side if finding in SIDED else "", severity, zone, values))
    if enlarged:
        # How large is in the pose.
        factor = {"mild": 0.545, "moderate": 0.59, "severe": 0.68}[severity] / (
            (pose.heart_right + pose.heart_left) / (270.0 if view == "AP" else 284.0)
        )
        pose = dataclasses.replace(pose, heart_right=pose.heart_right * factor, heart_left=pose.heart_left * factor)
        placed.append(PlacedFinding(HEART))
    pose = frame(rng, body, adjust_pose(rng, placed, body, pose))
    settled = tuple(settle(rng, item, body, pose) for item in placed)
    parameters = PhantomParameters(body, pose, look, settled, int(rng.integers(2**31)), 160)
    drawn = draw_study(parameters)
    better = settle_heart(drawn.parameters, drawn.regions.cardiothoracic_ratio)
    return drawn if better is drawn.parameters else draw_study(better)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=REFERENCE_MODEL)
    parser.add_argument("--pairs", type=int, default=8, help="patients per finding and course (default: %(default)s)")
    parser.add_argument("--confidence", type=float, default=0.8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    args = parser.parse_args()
    predictor = Predictor.load(args.model, device="cpu")
    calibrated = predictor.reader.processor.calibration.image
    rows, false_changes, sides = [], [], []
    for index, finding in enumerate(name for name in PLANTED if name in calibrated):
        for course, (before, after) in COURSES.items():
            for number in range(args.pairs):
                seed = args.seed * 1_000_000 + index * 10_000 + list(COURSES).index(course) * 1_000 + number
                side = ("right", "left")[number % 2]
                pair = [study(seed, at, finding, side, severity) for at, severity in enumerate((before, after))]
                readings = [predictor.reader.read([Image.fromarray(item.film)]) for item in pair]
                changes = image_changes(predictor, readings, args.confidence)
                labels = np.array([item.truth.labels for item in pair])
                absent = {name for name, pair_of in zip(FINDING_NAMES, labels.T) if (pair_of == 0).all()}
                rows.append((finding, course, changes[finding].verdict))
                false_changes += [changes[name].verdict != "stable" for name in changes if name in absent - {finding}]
                if finding in SIDED and course in ("new", "resolved"):
                    regions = region_changes(predictor, readings, args.confidence)
                    sign = 1 if course == "new" else -1
                    structure = "hemidiaphragm" if finding == "elevated hemidiaphragm" else "lung"
                    own, other = (
                        sign * regions[f"{way} {structure}", finding].change
                        for way in (side, "left" if side == "right" else "right")
                    )
                    sides.append(own > other)
    results = {"pairs": len(rows), "confidence": args.confidence, "findings": {}, "courses": {}}

    def accuracy(chosen: list[tuple[str, str, str]]) -> dict[str, float]:
        wanted = [course.split(",")[0] for _, course, _ in chosen]
        said = [verdict for _, _, verdict in chosen]

        def state(verdict: str) -> str:
            return verdict if verdict in ("new", "resolved") else "neither"

        return {
            "accuracy": float(np.mean([a == b for a, b in zip(wanted, said)])),
            "state": float(np.mean([state(a) == state(b) for a, b in zip(wanted, said)])),
            "guess": max(Counter(wanted).values()) / len(wanted),
            "opposite": float(np.mean([b == EXCHANGED[a] != "stable" for a, b in zip(wanted, said)])),
        }

    for finding in dict.fromkeys(row[0] for row in rows):
        results["findings"][finding] = accuracy([row for row in rows if row[0] == finding])
        print(f"{finding:32}", ", ".join(f"{k} {v:.2f}" for k, v in results["findings"][finding].items()))
    for course in COURSES:
        said = Counter(row[2] for row in rows if row[1] == course)
        results["courses"][course] = dict(said)
        print(f"{course:32}", dict(said))
    results |= {"all": accuracy(rows), "false_changes": float(np.mean(false_changes)), "side": float(np.mean(sides))}
    print("all", {k: round(v, 3) for k, v in results["all"].items()})
    print(f"false changes {results['false_changes']:.3f} of {len(false_changes)}")
    print(f"side {results['side']:.2f} of {len(sides)}")
    if args.json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
