"""Layouts of MIMIC-CXR and what is built on it: Chest ImaGenome, MS-CXR."""

import json
import zipfile
from pathlib import Path
from typing import Any

from anatomy_vlm.processing.vocabulary import dataset_label_names
from anatomy_vlm.training.loaders.layouts.films import film, save_film, split_of, write_table
from anatomy_vlm.training.loaders.layouts.scene_graphs import BOX_NAMES, scene_graph


_WIDTH, _HEIGHT = 160, 192
_SPLIT_WORDS = {"train": "train", "validation": "validate", "test": "test"}
_REPORT = """                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  ___F with cough.

 FINDINGS:

 {findings}

 IMPRESSION:

 {impression}
"""
_REPORTS = (
    ("There is a small left pleural effusion. No pneumothorax.", "Small left pleural effusion."),
    ("The lungs are clear. No pleural effusion or pneumothorax.", "No acute cardiopulmonary process."),
    ("Moderate right pneumothorax. No pleural effusion.", "Right pneumothorax."),
)


def _films(root: Path, num_patients: int, seed: int) -> list[tuple[str, str, str, str]]:
    """Write a film and a report per patient; split, subject, study and film."""
    written = []
    for number in range(num_patients):
        subject, study = f"{19999000 + number}", f"{59999000 + number}"
        dicom = "-".join(f"{part:08x}" for part in (seed, number, 0xA, 0xB, 0xC))
        folder = root / "files" / f"p{subject[:2]}" / f"p{subject}"
        pixels = film([seed, number], _WIDTH, _HEIGHT)
        save_film(folder / f"s{study}" / f"{dicom}.jpg", pixels, quality=95)
        findings, impression = _REPORTS[number // 4 % len(_REPORTS)]
        report = _REPORT.format(findings=findings, impression=impression)
        (folder / f"s{study}.txt").write_text(report, encoding="utf-8")
        written.append((split_of(number), subject, study, dicom))
    return written


def write_mimic_cxr(root: Path, num_patients: int, seed: int) -> dict[str, Any]:
    """MIMIC-CXR-JPG with reports; every fifth film is lateral, one film is missing, one study has no labels."""
    films = _films(root, num_patients, seed)
    views = ["LATERAL" if number % 5 == 4 else "AP" if number % 2 else "PA" for number in range(len(films))]
    write_table(
        root / "mimic-cxr-2.0.0-metadata.csv.gz",
        ("dicom_id", "subject_id", "study_id", "PerformedProcedureStepDescription", "ViewPosition", "Rows", "Columns"),
        [(d, s, t, "CHEST (PA AND LAT)", view, _HEIGHT, _WIDTH) for (_, s, t, d), view in zip(films, views)],
    )
    write_table(
        root / "mimic-cxr-2.0.0-split.csv.gz",
        ("dicom_id", "study_id", "subject_id", "split"),
        [(dicom, study, subject, _SPLIT_WORDS[split]) for split, subject, study, dicom in films],
    )
    names = sorted(dataset_label_names("chexpert"))
    rows = []
    for number, (_, subject, study, _) in enumerate(films[:-1]):
        kind = number // 4 % 3
        values = dict.fromkeys(names, "") | {"No Finding": "1.0" if kind == 1 else ""}
        values |= {"Pleural Effusion": ("1.0", "", "0.0")[kind], "Pneumothorax": ("0.0", "", "1.0")[kind]}
        values |= {"Atelectasis": "-1.0" if kind == 0 else ""}
        rows.append((subject, study, *(values[name] for name in names)))
    write_table(root / "mimic-cxr-2.0.0-chexpert.csv.gz", ("subject_id", "study_id", *names), rows)
    if num_patients > 8:
        _, subject, study, dicom = films[8]
        (root / "files" / f"p{subject[:2]}" / f"p{subject}" / f"s{study}" / f"{dicom}.jpg").unlink()
    return {"root": str(root)}


def write_chest_imagenome(root: Path, num_patients: int, seed: int) -> dict[str, Any]:
    """Chest ImaGenome beside MIMIC-CXR-JPG; the last patient is of the gold set, one film has no scene graph."""
    imagenome, images = root / "chest-imagenome-dataset-1.0.0", root / "mimic-cxr-jpg"
    *silver, gold = _films(images, num_patients, seed)
    header = ("", "subject_id", "study_id", "dicom_id", "path", "ViewPosition")
    for word, split in (("train", "train"), ("valid", "validation"), ("test", "test")):
        rows = [
            (number, subject, study, dicom, f"files/p{subject[:2]}/p{subject}/s{study}/{dicom}.dcm", "PA")
            for number, (part, subject, study, dicom) in enumerate([*silver, gold])
            if part == split
        ]
        write_table(imagenome / "silver_dataset" / "splits" / f"{word}.csv", header, rows)
    _, subject, study, dicom = gold
    path = f"files/p{subject[:2]}/p{subject}/s{study}/{dicom}.dcm"
    write_table(
        imagenome / "silver_dataset" / "splits" / "images_to_avoid.csv",
        header[1:],
        [(subject, study, dicom, path, "PA")],
    )
    without = silver[5][3] if len(silver) > 5 else ""
    with zipfile.ZipFile(imagenome / "silver_dataset" / "scene_graph.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number, (_, subject, study, dicom) in enumerate([*silver, gold]):
            if dicom != without:
                graph = scene_graph(dicom, subject, study, _WIDTH, _HEIGHT, [seed, number])
                archive.writestr(f"scene_graph/{dicom}_SceneGraph.json", json.dumps(graph))
    _write_gold(imagenome / "gold_dataset", gold)
    return {"root": str(imagenome), "images": str(images)}


def _write_gold(folder: Path, film_of_gold: tuple[str, str, str, str]) -> None:
    _, subject, study, dicom = film_of_gold
    names = [name for name in BOX_NAMES[:29] if name not in ("mediastinum", "spine", "abdomen")]
    rows = []
    for number, name in enumerate(names):
        x0, y0, x1, y1 = 5 + number, 10 + number, 60 + number, 90 + number
        if name.startswith("left"):
            x0, x1 = _WIDTH - x1, _WIDTH - x0
        small = "[0, 0, 1, 1]"
        rows.append(
            (
                f"{dicom}.dcm", 0, 0, 1, 1, 1, 1, name, number, x0, x1, y0, y1, x1 - x0, y1 - y0, "A", small,
                f"[{x0}, {y0}, {x1}, {y1}]",
            )
        )  # fmt: skip
    header = (
        "image_id", "x1", "y1", "x2", "y2", "width", "height", "bbox_name", "annot_id", "original_x1", "original_x2",
        "original_y1", "original_y2", "original_width", "original_height", "annotator", "coord224", "coord_original",
    )  # fmt: skip
    write_table(folder / "gold_bbox_coordinate_annotations_1000images.csv", header, rows)
    columns = (
        "patient_id",
        "study_id",
        "image_id",
        "row_id",
        "bbox",
        "relation",
        "label_name",
        "categoryID",
        "context",
    )
    statements = [
        (subject, study, f"{dicom}.dcm", f"{study}|1", "left lung", 1, "pleural effusion", "anatomicalfinding", "yes"),
        (subject, study, f"{dicom}.dcm", f"{study}|2", "right lung", 1, "pneumothorax", "anatomicalfinding", "no"),
        (subject, study, f"{dicom}.dcm", f"{study}|2", "left lung", 1, "pneumothorax", "anatomicalfinding", "no"),
        (subject, study, f"{dicom}.dcm", f"{study}|3", "left lung", 0, "consolidation", "anatomicalfinding", "yes"),
    ]
    table = folder / "gold_attributes_relations_500pts_500studies1st.txt"
    write_table(table, columns, statements, delimiter="\t")


def write_ms_cxr(root: Path, num_patients: int, seed: int) -> dict[str, Any]:
    """MS-CXR 1.1.0 as CSV and JSON beside MIMIC-CXR-JPG; a phrase with two boxes, one with none of a side."""
    films = _films(root / "mimic-cxr-jpg", num_patients, seed)
    words = {"train": "train", "validation": "val", "test": "test"}
    rows = []
    for number, (split, subject, study, dicom) in enumerate(films):
        path = f"files/p{subject[:2]}/p{subject}/s{study}/{dicom}.jpg"
        phrases = [("Pneumothorax", "right apical pneumothorax", (10, 20, 40, 50))]
        if number % 2:
            phrases = [
                ("Consolidation", "bibasilar consolidation", (12, 120, 40, 30)),
                ("Consolidation", "bibasilar consolidation", (105, 120, 40, 30)),
            ]
        if number % 3 == 2:
            phrases.append(("Cardiomegaly", "the heart is enlarged", (60, 90, 70, 60)))
        for category, phrase, box in phrases:
            rows.append((category, phrase, path, *box, dicom, _WIDTH, _HEIGHT, words[split]))
    header = (
        "category_name",
        "label_text",
        "path",
        "x",
        "y",
        "w",
        "h",
        "dicom_id",
        "image_width",
        "image_height",
        "split",
    )
    write_table(root / "MS_CXR_Local_Alignment_v1.1.0.csv", header, rows)
    categories = {name: number for number, name in enumerate(dict.fromkeys(row[0] for row in rows), start=1)}
    images = {
        row[7]: {
            "id": number, "file_name": f"{row[7]}.jpg", "path": row[2], "width": _WIDTH, "height": _HEIGHT,
            "split": row[10],
        }
        for number, row in enumerate(rows)
    }  # fmt: skip
    annotations = [
        {
            "id": number, "image_id": images[row[7]]["id"], "category_id": categories[row[0]],
            "bbox": list(row[3:7]), "label_text": row[1],
        }
        for number, row in enumerate(rows)
    ]  # fmt: skip
    coco = {
        "images": list(images.values()),
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for name, number in categories.items()],
    }
    (root / "MS_CXR_Local_Alignment_v1.1.0.json").write_text(json.dumps(coco), encoding="utf-8")
    return {"root": str(root), "images": str(root / "mimic-cxr-jpg")}
