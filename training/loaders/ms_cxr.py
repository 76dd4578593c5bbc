"""MS-CXR: phrases of radiologists with the boxes that they describe, on films of MIMIC-CXR."""

from collections import Counter
from pathlib import Path
from typing import Any

from anatomy_vlm.processing.vocabulary import map_dataset_labels
from anatomy_vlm.training.loaders.errors import DatasetError
from anatomy_vlm.training.loaders.image_index import first_existing, image_stem
from anatomy_vlm.training.loaders.mimic_layout import IMAGE_SUFFIXES, subject_and_study
from anatomy_vlm.training.loaders.paths import path_inside
from anatomy_vlm.training.loaders.patient_splits import split_name
from anatomy_vlm.training.loaders.record import Box, Entry, Record, RegionFinding, known_label
from anatomy_vlm.training.loaders.source import Source
from anatomy_vlm.training.loaders.tables import need_file, number, read_json, read_table, whole_number


_COLUMNS = ("dicom_id", "category_name", "label_text", "path", "x", "y", "w", "h", "image_width", "image_height")


_TEXTS = ("dicom_id", "path", "category_name", "label_text", "split")


class MSCXR(Source):
    """
    MS-CXR 0.1 or 1.1.0, as CSV or COCO JSON. A phrase is a present finding; its boxes say in which lung it is.

    Args:
        root: The table, or the folder with it.
        images: Folder of MIMIC-CXR(-JPG), which holds `files`.
        splits: Shares to draw splits by patient; by default those of the table (1.1.0), else 70, 10 and 20 %.
    """

    name = "ms_cxr"

    def __init__(self, root: str, images: str, splits: dict[str, float] | None = None):
        self.notes, self.left_out = Counter[str](), Counter[str]()
        path = Path(root)
        if not path.is_file():
            path = need_file(
                root, "MS_CXR_Local_Alignment_v1*.csv", "MS_CXR_Local_Alignment_v1*.json", holds="phrases"
            )
        rows = list(_coco_rows(path) if path.suffix == ".json" else read_table(path, _COLUMNS, ("split",)))
        films: dict[str, dict[str, Any]] = {}
        for row in rows:
            film = films.setdefault(row["dicom_id"], {**row, "phrases": []})
            x, y, width, height = (number(str(row[name]), f"{path}: {name}") for name in ("x", "y", "w", "h"))
            category = known_label("chexpert", row["category_name"], f"{path}: {row['dicom_id']}")
            film["phrases"].append((category, row["label_text"].strip(), (x, y, x + width, y + height)))
        entries = []
        for dicom, film in films.items():
            subject, study = subject_and_study(film["path"], str(path))
            split = split_name(film["split"], str(path)) if film.get("split") else ""
            frame = tuple(whole_number(str(film[name]), f"{path}: {name}") for name in ("image_width", "image_height"))
            place = _film(Path(images), film["path"])
            entries.append(Entry(dicom, subject, split, place, (study, frame, tuple(film["phrases"]))))
        self.set_entries(entries, f"ms_cxr in {path}", splits)

    def record(self, entry: Entry) -> Record:
        study, frame, phrases = entry.row
        findings = [finding for phrase in phrases for finding in phrase_findings(*phrase)]
        labels = {finding.finding: 1.0 for finding in findings}
        return Record(findings=findings, labels=labels, study_id=study, frame=frame)


def phrase_findings(category: str, phrase: str, box: Box) -> list[RegionFinding]:
    """What a phrase of a category (CheXpert's names) with its box says."""
    return [
        RegionFinding(name, phrase=phrase, box=box)
        for name, value in map_dataset_labels("chexpert", {category: 1}).items()
        if value == 1
    ]


def _film(images: Path, path: str) -> str:
    path = str(path_inside("", path, "MS-CXR's table"))
    stem = str(images / Path(path).parent / image_stem(path))
    short = str(images / Path(*Path(path).parts[1:]).parent / image_stem(path))
    return first_existing(f"{name}{suffix}" for name in (stem, short) for suffix in IMAGE_SUFFIXES) or f"{stem}.jpg"


def _coco_rows(path: Path) -> list[dict[str, Any]]:
    value = read_json(path)
    for key in ("images", "annotations", "categories"):
        if not isinstance(value, dict) or key not in value:
            raise DatasetError(f"{path}: no key '{key}'; expected COCO's images, annotations and categories")
    try:
        images = {image["id"]: image for image in value["images"]}
        categories = {category["id"]: category["name"] for category in value["categories"]}
    except (KeyError, TypeError) as error:
        raise DatasetError(f"{path}: images need an id, categories an id and a name ({error})") from None
    rows = []
    if not isinstance(value["annotations"], list) or not all(isinstance(a, dict) for a in value["annotations"]):
        raise DatasetError(f"{path}: 'annotations' must be a list of objects")
    for annotation in value["annotations"]:
        try:
            image, box = images[annotation["image_id"]], annotation["bbox"]
            rows.append(
                {
                    "dicom_id": image_stem(image["file_name"]), "path": image["path"], "x": box[0], "y": box[1],
                    "w": box[2], "h": box[3], "image_width": image["width"], "image_height": image["height"],
                    "category_name": categories[annotation["category_id"]], "label_text": annotation["label_text"],
                    "split": image.get("split", ""),
                }
            )  # fmt: skip
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise DatasetError(f"{path}: annotation {annotation.get('id')} has no {error}") from error
        odd = [key for key in _TEXTS if not isinstance(rows[-1][key], str)]
        if odd:
            raise DatasetError(f"{path}: annotation {annotation.get('id')}: '{odd[0]}' must be text")
    return rows
