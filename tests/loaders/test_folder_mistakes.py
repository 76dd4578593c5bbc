"""A user's own folder with a mistake in it: every command ends with one line that names the file and the cure."""

import csv
import io
import json
import re
import shutil

import pytest

from anatomy_vlm.cli import main


RECIPE = """
name: small
model: {text: {scratch: {hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 16}}}
data: {loader: folder, arguments: {path: PATH, image_size: 64}}
stages: [{name: fine, losses: [anatomy]}]
"""


def change_csv(change):
    """Applies `change` to the cells of `metadata.csv`, header first."""

    def apply(root):
        path = root / "metadata.csv"
        cells = list(csv.reader(path.read_text().splitlines()))
        change(cells)
        stream = io.StringIO()
        csv.writer(stream).writerows(cells)
        path.write_text(stream.getvalue())

    return "folder-csv", apply


def change_line(change):
    """Changes keys of the first line of `metadata.jsonl`."""

    def apply(root):
        path = root / "metadata.jsonl"
        lines = path.read_text().splitlines()
        path.write_text("\n".join([json.dumps(json.loads(lines[0]) | change), *lines[1:]]))

    return "folder", apply


def change_coco(change):
    def apply(root):
        path = root / "annotations.json"
        value = json.loads(path.read_text())
        change(value)
        path.write_text(json.dumps(value))

    return "folder-coco", apply


def set_cell(row, column, value):
    def change(cells):
        cells[row][cells[0].index(column) if isinstance(column, str) else column] = value

    return change_csv(change)


CSV, LINE = r"metadata\.csv", r"metadata\.jsonl:1: "
MISTAKES = {
    "csv with a wrong column": (
        set_cell(0, "pleural effusion", "pleural efusion"),
        CSV + ": unknown column 'pleural efusion'; did you mean 'pleural effusion'",
    ),
    "csv with a strange column": (
        set_cell(0, "view", "zzz"),
        CSV + ": unknown column 'zzz'; known are file_name, .* a region such as 'right lung', and findings such as",
    ),
    "csv with an unknown region": (
        set_cell(0, "left lung", "left lungs"),
        "unknown column 'left lungs'; did you mean 'left lung'",
    ),
    "csv without a column": (set_cell(0, "patient_id", "study_id"), CSV + ": no column 'patient_id'; found file_name"),
    "csv with a wrong label": (
        set_cell(1, "pneumothorax", "yes"),
        CSV + ":2: the label of 'pneumothorax' must be 1, 0 or empty, not 'yes'",
    ),
    "csv with half a box": (set_cell(2, "left lung", "1 2 3"), CSV + r":3: the box of 'left lung' must be \[x0, y0"),
    "csv with words in a box": (set_cell(2, "left lung", "a b c d"), CSV + ":3: left lung: expected a number"),
    "csv with a wrong view": (set_cell(1, "view", "frontal"), CSV + ":2: view 'frontal' must be PA, AP, LATERAL or"),
    "csv with a film twice": (set_cell(1, 0, "films/001.png"), "image 'films/001.png' is listed twice; keep one"),
    "csv with a missing film": (
        ("folder-csv", lambda root: (root / "films/003.png").unlink()),
        CSV + r":5: .*003\.png: "
        r"there is no such file \(1 of 24 images are missing\); check the path",
    ),
    "csv with semicolons": (
        ("folder-csv", lambda root: (root / "metadata.csv").write_text("file_name;patient_id\n")),
        CSV + ": no column 'file_name'; .*must be separated by commas",
    ),
    "csv that is none": (
        ("folder-csv", lambda root: (root / "metadata.csv").write_bytes(b"\xff\xfe\x00")),
        CSV + ": cannot be read as a table",
    ),
    "json that is none": (
        ("folder", lambda root: (root / "metadata.jsonl").write_text("{")),
        LINE + "not a JSON object",
    ),
    "json with an unknown key": (
        change_line({"file_nam": "x"}),
        LINE + "unknown key 'file_nam'; did you mean 'file_name",
    ),
    "json without a patient": (change_line({"patient_id": ""}), LINE + "the key 'patient_id' is missing"),
    "json with a number for a name": (change_line({"file_name": 7}), LINE + "'file_name' must be text, not 7"),
    "json with a number for a report": (change_line({"report": 7}), LINE + "'report' must be text, not 7"),
    "json with an unknown region": (
        change_line({"boxes": {"left lungs": [0, 0, 1, 1]}}),
        "unknown region 'left lungs'; did you mean 'left lung'",
    ),
    "json with an empty box": (
        change_line({"boxes": {"left lung": [9, 0, 1, 1]}}),
        LINE + "the box .* is empty; expec",
    ),
    "json with a list of boxes": (
        change_line({"boxes": [[0, 0, 1, 1]]}),
        LINE + "'boxes' must be an object of boxes by",
    ),
    "json with a wrong label": (
        change_line({"labels": {"pleural effusion": 2}}),
        LINE + ".*must be 1, 0 or null, not 2",
    ),
    "json with an unknown finding": (change_line({"findings": [{"finding": "efusion"}]}), "unknown finding 'efusion'"),
    "json with a word for a finding": (change_line({"findings": ["effusion"]}), LINE + "'findings' must be a list of"),
    "json with half a box of a finding": (
        change_line({"findings": [{"finding": "pneumothorax", "box": [1, 2]}]}),
        LINE + "the box of 'pneumothorax' must be",
    ),
    "coco with an unknown category": (
        change_coco(lambda value: value["categories"][1].update(name="left lungs")),
        r"annotations\.json: category 'left lungs' is neither a region nor a finding; did you mean 'left lung'",
    ),
    "coco with a strange category": (
        change_coco(lambda value: value["categories"][1].update(name="zzz")),
        "category 'zzz' is neither .*; known are a region such as 'right lung', and findings such as",
    ),
    "coco without a box": (
        change_coco(lambda value: value["annotations"][3].update(bbox=None)),
        r"annotations\.json: annotations\[3\] needs an image_id and a category_id of this file and a bbox",
    ),
    "coco of another image": (
        change_coco(lambda value: value["annotations"][3].update(image_id=999)),
        r"annotations\[3\] needs an image_id",
    ),
    "coco with an image without an id": (change_coco(lambda value: value["images"][0].pop("id")), "images need an id"),
    "coco without categories": (
        change_coco(lambda value: value.pop("categories")),
        "no key 'categories'; expected COCO",
    ),
}


@pytest.fixture
def broken(request, layout, tmp_path):
    """A folder with a mistake, and the words that are expected of it."""
    (name, break_it), message = MISTAKES[request.param]
    root = tmp_path / "root"
    shutil.copytree(layout(name)["path"], root)
    break_it(root)
    return root, message


def commands(root, folder):
    (folder / "recipe.yaml").write_text(RECIPE.replace("PATH", str(root)))
    return {
        "prepare": ["prepare", "folder", "--root", str(root), "--out", str(folder / "out"), "--image-size", "64"],
        "inspect": ["inspect", "folder", "--root", str(root), "--out", str(folder / "sheet.html")],
        "train": ["train", str(folder / "recipe.yaml"), "--output", str(folder / "run")],
    }


def shown(capsys) -> str:
    """The one line of the error; the datasets' licence may stand above it."""
    lines = [line for line in capsys.readouterr().err.splitlines() if "Licence: yours to know" not in line]
    assert len(lines) == 1 and lines[0].startswith("anatomy-vlm: error: ")
    return lines[0]


@pytest.mark.parametrize("broken", MISTAKES, indirect=True)
def test_a_mistake_is_one_line(broken, tmp_path, capsys):
    root, message = broken
    for command in commands(root, tmp_path).values():
        assert main(command) == 2
        assert re.search(message, shown(capsys))
    assert not (tmp_path / "out").exists() and not (tmp_path / "sheet.html").exists()


def test_a_damaged_film(layout, tmp_path, capsys):
    root = tmp_path / "root"
    shutil.copytree(layout("folder-csv")["path"], root)
    (root / "films/000.png").write_bytes(b"\x89PNG no film")
    run = commands(root, tmp_path)
    assert main(run["train"]) == 2
    assert re.search(r"000\.png: damaged image .* on_error: skip leaves such images out", shown(capsys))
    assert main(run["prepare"]) == 1
    assert re.search(r"1 unreadable, the first 1:\s+films/000\.png: .*damaged image", capsys.readouterr().out)
    assert main([*run["inspect"], "--num", "99"]) == 1
    assert re.search(r"left out: .*000\.png: damaged image", capsys.readouterr().out)


def test_boxes_outside_the_image_are_counted(layout, tmp_path, capsys):
    root = tmp_path / "root"
    shutil.copytree(layout("folder-csv")["path"], root)

    def move(cells):
        column = cells[0].index("left lung")
        cells[1][column], cells[2][column] = "500 500 600 600", "-20 10 90 900"

    change_csv(move)[1](root)
    run = commands(root, tmp_path)
    assert main(run["prepare"]) == 0
    printed = capsys.readouterr().out
    expected = ("1 x box dropped: empty or outside the image", "1 x box clipped to the image")
    assert all(line in printed for line in expected)
    assert main([*run["inspect"], "--num", "99"]) == 0
    sheet = (tmp_path / "sheet.html").read_text()
    assert "box dropped: empty or outside the image" in sheet
