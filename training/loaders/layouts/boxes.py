"""Layouts of datasets whose findings have boxes: NIH ChestX-ray14, RSNA, VinDr-CXR."""

from pathlib import Path
from typing import Any

from anatomy_vlm.processing.vocabulary import dataset_label_names
from anatomy_vlm.training.loaders.layouts.films import SHARES, film, save_film, write_table


def write_nih(root: Path, num_patients: int, seed: int) -> dict[str, Any]:
    """NIH ChestX-ray14: two films per patient, boxes with the header's commas, official lists."""
    entries, boxes, lists = [], [], {"train_val_list.txt": [], "test_list.txt": []}  # type: ignore[var-annotated]
    for number in range(num_patients):
        for follow_up in range(2):
            name = f"{number + 90000:08d}_{follow_up:03d}.png"
            save_film(root / "images_001" / "images" / name, film([seed, number, follow_up]))
            kind = (number + follow_up) % 3
            labels = ("No Finding", "Effusion|Infiltration", "Pneumothorax")[kind]
            entries.append((name, labels, follow_up, number + 90000, "060Y", "M", "PA", 2500, 2048, 0.168, 0.168))
            if kind == 1:
                boxes.append((name, "Infiltrate", 100.5, 200.0, 250.25, 300.0))
            if kind == 2:
                boxes.append((name, "Pneumothorax", 600.0, 150.0, 200.0, 400.0))
            lists["test_list.txt" if number % 4 == 3 else "train_val_list.txt"].append(name)
    header = (
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
        "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
    )
    write_table(root / "Data_Entry_2017.csv", (), [(*row, "") for row in entries], raw_header=header)
    write_table(root / "BBox_List_2017.csv", (), boxes, raw_header="Image Index,Finding Label,Bbox [x,y,w,h],,,")
    for name, films in lists.items():
        (root / name).write_text("\n".join(films) + "\n", encoding="utf-8")
    return {"root": str(root)}


def write_rsna(root: Path, num_patients: int, seed: int) -> dict[str, Any]:
    """RSNA: DICOM films, one row per box, empty cells without one."""
    rows: list[tuple] = []
    classes = []
    for number in range(num_patients):
        patient = f"{seed:04d}{number:04d}-0000-4000-8000-000000000000"
        save_film(root / "stage_2_train_images" / f"{patient}.dcm", film([seed, number]), view="AP")
        kind = number % 3
        if kind == 0:
            rows += [(patient, 120.0, 300.0, 200.0, 250.0, 1), (patient, 620.0, 310.0, 180.0, 240.0, 1)]
        else:
            rows.append((patient, "", "", "", "", 0))
        name = ("Lung Opacity", "Normal", "No Lung Opacity / Not Normal")[kind]
        classes += [(patient, name)] * (2 if kind == 0 else 1)
    write_table(root / "stage_2_train_labels.csv", ("patientId", "x", "y", "width", "height", "Target"), rows)
    write_table(root / "stage_2_detailed_class_info.csv", ("patientId", "class"), classes)
    return {"root": str(root), "splits": SHARES}


_READERS = ("R8", "R9", "R10")
# What the three readers of a film see, in turn: all the same, two against one, one alone, nothing.
_READINGS = (
    (("Pleural effusion",), ("Pleural effusion",), ("Pleural effusion", "Cardiomegaly")),
    (("Pneumothorax",), ("Pneumothorax",), ()),
    (("Nodule/Mass",), (), ()),
    ((), (), ()),
)
_BOXES = {
    "Pleural effusion": (80, 85, 112, 110), "Cardiomegaly": (50, 60, 95, 100), "Pneumothorax": (12, 15, 40, 50),
    "Nodule/Mass": (20, 60, 30, 70),
}  # fmt: skip
_NO_BOX = ("", "", "", "")


def _vindr_name(seed: int, number: int) -> str:
    return f"{seed:016x}{number:016x}"


def write_vindr(root: Path, num_patients: int, seed: int) -> dict[str, Any]:
    """VinDr-CXR as on PhysioNet: DICOM, some MONOCHROME1, three readers; the test films with agreed labels."""
    labels = [name for name in dataset_label_names("vindr") if name not in ("Other disease", "Other diseases")]
    for split in ("train", "test"):
        other = "Other diseases" if split == "train" else "Other disease"
        names = [*labels[1:], other, labels[0]]
        boxes, readings = [], []
        for number in [n for n in range(num_patients) if (n % 4 == 3) == (split == "test")]:
            image = _vindr_name(seed, number)
            pixels = film([seed, number])
            save_film(root / split / f"{image}.dicom", pixels, inverted=number % 2 == 1)
            readers = _READINGS[number // 2 % 4]
            for reader, seen in zip(_READERS, readers if split == "train" else readers[:1]):
                who = (reader,) if split == "train" else ()
                listed = seen or ("No finding",)
                readings.append((image, *who, *(int(name in listed) for name in names)))
                boxes += [(image, *who, name, *_BOXES.get(name, _NO_BOX)) for name in listed]
        who = ("rad_id",) if split == "train" else ()
        corners = ("x_min", "y_min", "x_max", "y_max")
        write_table(
            root / "annotations" / f"annotations_{split}.csv", ("image_id", *who, "class_name", *corners), boxes
        )
        write_table(root / "annotations" / f"image_labels_{split}.csv", ("image_id", *who, *names), readings)
    return {"root": str(root)}


def write_vindr_kaggle(root: Path, num_patients: int, seed: int) -> dict[str, Any]:
    """VinDr-CXR as Kaggle's VinBigData: one table, a row per box and reader."""
    ids = {"Cardiomegaly": 3, "Nodule/Mass": 8, "Pleural effusion": 10, "Pneumothorax": 12, "No finding": 14}
    rows = []
    for number in range(num_patients):
        image = _vindr_name(seed, number)
        save_film(root / "train" / f"{image}.dicom", film([seed, number]))
        for reader, seen in zip(_READERS, _READINGS[number % 4]):
            rows += [(image, n, ids[n], reader, *_BOXES.get(n, _NO_BOX)) for n in seen or ("No finding",)]
    header = ("image_id", "class_name", "class_id", "rad_id", "x_min", "y_min", "x_max", "y_max")
    write_table(root / "train.csv", header, rows)
    return {"root": str(root), "splits": SHARES}
