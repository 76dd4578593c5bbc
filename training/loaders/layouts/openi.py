"""Layouts of datasets with reports: IU X-ray in its three forms, PadChest."""

import json
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from anatomy_vlm.training.loaders.layouts.films import SHARES, film, save_film, split_of, write_table


_STUDIES = (
    (("normal",), "The lungs are clear. No pleural effusion or pneumothorax.", "No acute disease."),
    (
        ("Pleural Effusion/left/small", "Cardiomegaly"),
        "Small left pleural effusion. The heart is enlarged.",
        "As above.",
    ),
    (("Pneumothorax/right",), "Right XXXX pneumothorax. No pleural effusion.", "Right pneumothorax."),
)
_XML = """<?xml version="1.0" encoding="utf-8"?>
<eCitation>
   <uId id="CXR{number}"/>
   <MedlineCitation Owner="Indiana"><Article><Abstract>
      <AbstractText Label="COMPARISON">None.</AbstractText>
      <AbstractText Label="INDICATION">Cough &amp; XXXX.</AbstractText>
      <AbstractText Label="FINDINGS">{findings}</AbstractText>
      <AbstractText Label="IMPRESSION">{impression}</AbstractText>
   </Abstract></Article></MedlineCitation>
   <MeSH>{terms}</MeSH>
   {images}
</eCitation>
"""


def write_openi_xml(root: Path, num_patients: int, seed: int) -> dict[str, Any]:
    """OpenI: one XML per examination, two films each; the first has no films, another no findings section."""
    for number in range(num_patients):
        terms, findings, impression = _STUDIES[number % 3]
        images = [f"CXR{number}_{number}_IM-{number:04d}-{view}001" for view in (1, 2)] if number else []
        for view, image in enumerate(images):
            save_film(root / "NLMCXR_png" / f"{image}.png", film([seed, number, view], 112, 128))
        text = _XML.format(
            number=number,
            findings="" if number == 4 else escape(findings),
            impression=escape(impression),
            terms="".join(f"<major>{escape(term)}</major>" for term in terms),
            images="".join(f'<parentImage id="{image}"><caption>PA</caption></parentImage>' for image in images),
        )
        path = root / "ecgen-radiology" / f"{number}.xml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return {"root": str(root), "splits": SHARES}


def write_kaggle(root: Path, num_patients: int, seed: int) -> dict[str, Any]:
    """Kaggle: two tables and normalised PNGs, frontal and lateral."""
    reports, films = [], []
    for number in range(num_patients):
        terms, findings, impression = _STUDIES[number % 3]
        reports.append(
            (number, ";".join(terms), ";".join(terms), "PA and lateral", "Cough.", "None.", findings, impression)
        )
        for view, projection in enumerate(("Frontal", "Lateral")):
            name = f"{number}_IM-{number:04d}-{view + 1}001.dcm.png"
            save_film(root / "images" / "images_normalized" / name, film([seed, number, view], 112, 128))
            films.append((number, name, projection))
    header = ("uid", "MeSH", "Problems", "image", "indication", "comparison", "findings", "impression")
    write_table(root / "indiana_reports.csv", header, reports)
    write_table(root / "indiana_projections.csv", ("uid", "filename", "projection"), films)
    return {"root": str(root), "frontal_only": True, "splits": SHARES}


def write_r2gen(root: Path, num_patients: int, seed: int) -> dict[str, Any]:
    """R2Gen: annotation.json with its own splits."""
    words = {"train": "train", "validation": "val", "test": "test"}
    studies: dict[str, list[dict[str, Any]]] = {"train": [], "val": [], "test": []}
    for number in range(num_patients):
        name = f"CXR{number}_IM-{number:04d}"
        for view in range(2):
            save_film(root / "images" / name / f"{view}.png", film([seed, number, view], 112, 128))
        split = words[split_of(number)]
        studies[split].append(
            {
                "id": name, "report": _STUDIES[number // 4 % 3][1], "split": split,
                "image_path": [f"{name}/0.png", f"{name}/1.png"],
            }
        )  # fmt: skip
    (root / "annotation.json").write_text(json.dumps(studies), encoding="utf-8")
    return {"root": str(root)}


def write_padchest(root: Path, num_patients: int, seed: int) -> dict[str, Any]:
    """PadChest: printed lists in cells, lateral and unlabelled films, numbered folders."""
    kinds = (
        ("['cardiomegaly', 'pleural effusion', 'loc left']", "['cardiomegaly'], ['pleural effusion', 'loc left']"),
        ("['normal']", "['normal']"),
        ("['pneumothorax', ' loc right', 'suboptimal study']", "[['pneumothorax', 'loc right']]"),
        ("", ""),
    )
    rows: list[tuple] = []
    for number in range(num_patients):
        for projection in ("PA", "L"):
            image = f"2168401113669{number:04d}_00-059-{projection}.png"
            labels, sentences = kinds[3 if number == 5 else number % 3]
            save_film(root / str(number % 3) / image, film([seed, number, len(projection)], 120, 128))
            method = "Physician" if number % 2 else "RNN_model"
            rows.append(
                (
                    len(rows), image, number % 3, 20140915, f"study-{number}", f"{number}", projection, "normal . ",
                    method, labels, "[]", sentences,
                )
            )  # fmt: skip
    header = (
        "", "ImageID", "ImageDir", "StudyDate_DICOM", "StudyID", "PatientID", "Projection", "Report", "MethodLabel",
        "Labels", "Localizations", "LabelsLocalizationsBySentence",
    )  # fmt: skip
    write_table(root / "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv", header, rows)
    return {"root": str(root), "splits": SHARES}
