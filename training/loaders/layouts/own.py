"""Layouts of a user's own data: a folder in its three forms, CT volumes."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from anatomy_vlm.training.loaders.layouts.films import SHARES, film, lung_boxes, save_film, split_of, write_table


_SIDE = 128


def _rows(root: Path, num_patients: int, seed: int) -> list[dict[str, Any]]:
    """Films with boxes of lungs and heart, labels and a finding each."""
    rows = []
    for number in range(num_patients):
        name = f"films/{number:03d}.png"
        save_film(root / name, film([seed, number], _SIDE, _SIDE))
        present = number // 4 % 2 == 0
        rows.append(
            {
                "file_name": name,
                "patient_id": f"patient-{number}",
                "split": split_of(number),
                "boxes": {region: list(box) for region, box in lung_boxes(_SIDE, _SIDE).items()},
                "labels": {"pleural effusion": int(present), "pneumothorax": int(not present)},
                "view": "PA",
            }
        )
    return rows


def write_folder(root: Path, num_patients: int, seed: int) -> dict[str, Any]:
    """`metadata.jsonl`."""
    lines = []
    for row in _rows(root, num_patients, seed):
        entry = {"finding": "pleural effusion", "polarity": "absent"}
        if row["labels"]["pleural effusion"]:
            entry = {
                "finding": "pleural effusion",
                "region": "left lung",
                "severity": "mild",
                "phrase": "Left effusion.",
            }
        lines.append(json.dumps({**row, "findings": [entry], "report": entry.get("phrase", "No effusion.")}))
    (root / "metadata.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {"path": str(root)}


def write_folder_csv(root: Path, num_patients: int, seed: int) -> dict[str, Any]:
    """`metadata.csv`."""
    rows = _rows(root, num_patients, seed)
    text = ("file_name", "patient_id", "split", "view")
    regions, findings = tuple(rows[0]["boxes"]), tuple(rows[0]["labels"])
    cells = [
        (
            *(row[name] for name in text),
            *(" ".join(map(str, row["boxes"][region])) for region in regions),
            *(row["labels"][finding] for finding in findings),
        )
        for row in rows
    ]
    write_table(root / "metadata.csv", (*text, *regions, *findings), cells)
    return {"path": str(root)}


def write_coco(root: Path, num_patients: int, seed: int) -> dict[str, Any]:
    """COCO's `annotations.json`: categories are regions and findings."""
    rows = _rows(root, num_patients, seed)
    names = (*rows[0]["boxes"], "pleural effusion", "pneumothorax")
    annotations: list[dict[str, Any]] = []
    for number, row in enumerate(rows):
        boxes = dict(row["boxes"])
        if row["labels"]["pleural effusion"]:
            boxes["pleural effusion"] = [80, 70, 110, 100]
        for name, (x0, y0, x1, y1) in boxes.items():
            annotations.append(
                {
                    "id": len(annotations), "image_id": number, "category_id": names.index(name),
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                }
            )  # fmt: skip
    images = [
        {
            "id": number, "width": _SIDE, "height": _SIDE,
            **{key: row[key] for key in ("file_name", "patient_id", "split", "labels", "view")},
        }
        for number, row in enumerate(rows)
    ]  # fmt: skip
    value = {
        "images": images, "annotations": annotations,
        "categories": [{"id": number, "name": name} for number, name in enumerate(names)],
    }  # fmt: skip
    (root / "annotations.json").write_text(json.dumps(value), encoding="utf-8")
    return {"path": str(root)}


def write_ct(root: Path, num_patients: int, seed: int) -> dict[str, Any]:
    """CT-RATE's names: coarse volumes of a body with lungs, heart and spine, and their label maps beside them."""
    try:
        import nibabel
    except ImportError as error:
        raise ImportError('writing NIfTI needs nibabel: pip install "anatomy-vlm[ct]"') from error
    shape, spacing = (64, 48, 56), (6.0, 6.0, 6.0)  # left-right, front-back, foot-head
    x, y, z = (np.linspace(-1, 1, count)[index] for count, index in zip(shape, np.ogrid[tuple(map(slice, shape))]))
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = [-0.5 * (count - 1) * step for count, step in zip(shape, spacing)]
    for number in range(num_patients):
        rng = np.random.default_rng([seed, number])
        wide = rng.uniform(0.95, 1.05)
        hu, labels = np.full(shape, -1000, np.int16), np.zeros(shape, np.uint8)
        body = (x / (0.9 * wide)) ** 2 + (y / 0.8) ** 2 + 0 * z < 1
        hu[body] = 20
        # NIfTI's world is RAS: the patient's right has positive x. TotalSegmentator's lobes are 10 to 14, its T6 is
        # 38, its heart 51.
        for sign, upper, lower in ((-1, 10, 11), (1, 12, 14)):
            lung = ((x - sign * 0.42) / 0.28) ** 2 + (y / 0.55) ** 2 + (z / 0.75) ** 2 < 1
            hu[lung] = -820
            labels[lung & (z > 0)] = upper
            labels[lung & (z <= 0)] = lower
        heart = ((x + 0.1) / 0.25) ** 2 + ((y - 0.2) / 0.35) ** 2 + ((z + 0.3) / 0.3) ** 2 < 1
        spine = (x / 0.1) ** 2 + ((y + 0.6) / 0.12) ** 2 + 0 * z < 1
        for mask, value, level in ((heart, 51, 40), (spine, 38, 400)):
            hu[mask], labels[mask] = level, value
        case = f"train_{number + 1}_a_1"
        nibabel.save(nibabel.Nifti1Image(hu, affine), root / f"{case}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(labels, affine), root / f"{case}_labels.nii.gz")
    return {"root": str(root), "scheme": "totalsegmentator_v2_total", "splits": SHARES}
