"""The words that a user's own folder may use for its splits."""

import csv
import io
import json
import shutil

import pytest

from anatomy_vlm.training.loaders import open_source
from anatomy_vlm.training.loaders.errors import DatasetError


WORDS = ["training", "Train", "val", "valid", "VALIDATION", "testing", "holdout", "dev", "eval"]
SPLITS = ["train", "train", *["validation"] * 3, "test", "holdout", "dev", "eval"]


def write_jsonl(root, words):
    path = root / "metadata.jsonl"
    records = [json.loads(line) | {"split": word} for line, word in zip(path.read_text().splitlines(), words)]
    path.write_text("\n".join(map(json.dumps, records)))
    return [record["file_name"] for record in records]


def write_csv(root, words):
    path = root / "metadata.csv"
    records = [row | {"split": word} for row, word in zip(csv.DictReader(path.read_text().splitlines()), words)]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(records[0]))
    writer.writeheader()
    writer.writerows(records)
    path.write_text(stream.getvalue())
    return [record["file_name"] for record in records]


def write_coco(root, words):
    path = root / "annotations.json"
    value = json.loads(path.read_text())
    kept = [image | {"split": word} for image, word in zip(value["images"], words)]
    known = {image["id"] for image in kept}
    value["annotations"] = [entry for entry in value["annotations"] if entry["image_id"] in known]
    path.write_text(json.dumps(value | {"images": kept}))
    return [image["file_name"] for image in kept]


@pytest.mark.parametrize(
    ("name", "write"), [("folder", write_jsonl), ("folder-csv", write_csv), ("folder-coco", write_coco)]
)
def test_usual_words_for_the_splits(name, write, layout, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(layout(name)["path"], root)
    files = write(root, WORDS)
    index = open_source("folder", {"path": str(root)})
    splits = {entry.row[1]["file_name"]: entry.split for entry in index.entries}
    assert splits == dict(zip(files, SPLITS, strict=True))
    assert index.own_splits


def test_two_words_for_one_split_do_not_part_a_patient(layout, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(layout("folder")["path"], root)
    write_jsonl(root, ["val", "valid"])
    path = root / "metadata.jsonl"
    records = [json.loads(line) | {"patient_id": "p"} for line in path.read_text().splitlines()]
    path.write_text("\n".join(map(json.dumps, records)))
    assert list(open_source("folder", {"path": str(root)}).split_entries()) == ["validation"]
    path.write_text("\n".join(json.dumps(r | {"split": s}) for r, s in zip(records, ("val", "training"))))
    with pytest.raises(DatasetError, match="patient 'p' is in the splits 'train' and 'validation'"):
        open_source("folder", {"path": str(root)})
