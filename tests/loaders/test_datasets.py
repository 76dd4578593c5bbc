"""What each dataset's rows mean in the schema, and what is said of files that are not as expected."""

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from anatomy_vlm.processing.vocabulary import ADDITIONAL_REGIONS, FINDING_NAMES, REGION_NAMES
from anatomy_vlm.training.loaders import load_data, open_source
from anatomy_vlm.training.loaders.chexmask import read_landmarks
from anatomy_vlm.training.loaders.errors import DatasetError
from anatomy_vlm.training.loaders.layouts.films import write_table
from anatomy_vlm.training.loaders.mimic_layout import MimicFiles
from anatomy_vlm.training.loaders.padchest import sentence_labels, words
from anatomy_vlm.training.loaders.patient_splits import drawn_split, split_name
from anatomy_vlm.training.loaders.record import RegionFinding, label_findings, region_of_box
from anatomy_vlm.training.loaders.scene_graph import graph_boxes, graph_findings, image_labels
from anatomy_vlm.training.loaders.tables import read_table


def label(row, name: str) -> float:
    return row["labels"][FINDING_NAMES.index(name)]


def box(row, name: str) -> np.ndarray:
    assert row["box_mask"][REGION_NAMES.index(name)]
    return np.asarray(row["boxes"])[REGION_NAMES.index(name)]


def said(row) -> set[tuple[str, str, str]]:
    return {(entry["region"], entry["finding"], entry["polarity"]) for entry in row["region_findings"]}


def rows_of(splits) -> dict[str, dict]:
    return {row["image_id"]: row for split in splits.values() for row in split}


GRAPH = {
    "objects": [
        {"bbox_name": "right lung", "original_x1": 400, "original_y1": 300, "original_x2": 1100, "original_y2": 1800},
        {"bbox_name": "right lung", "original_x1": 1, "original_y1": 1, "original_x2": 2, "original_y2": 2},
        {"bbox_name": "descending aorta", "original_x1": 1, "original_y1": 1, "original_x2": 9, "original_y2": 9},
        {"bbox_name": "carina"},
    ],
    "attributes": [
        {
            "right lung": True, "bbox_name": "right lung",
            "attributes": [
                ["anatomicalfinding|yes|lung opacity", "nlp|yes|abnormal"], ["anatomicalfinding|no|pneumothorax"],
                ["disease|yes|pneumonia"], ["anatomicalfinding|no|lung opacity"],
            ],
            "phrases": ["There is a small opacity.", "No pneumothorax.", "May be pneumonia.", "The opacity is gone."],
            "severity_cues": [["severity|yes|mild"], [], ["severity|yes|hedge"], []],
        },
        {"left lung": False, "bbox_name": "left lung", "attributes": [["anatomicalfinding|no|pneumothorax"]]},
        {"bbox_name": "unknown", "attributes": [["tubesandlines|yes|picc"], ["anatomicalfinding|no|hernia"]]},
        {
            "bbox_name": "left cardiac silhouette",
            "attributes": [["anatomicalfinding|yes|enlarged cardiac silhouette"]],
        },
    ],
}  # fmt: skip


def test_scene_graph():
    notes: list[str] = []
    assert graph_boxes(GRAPH, notes) == {"right lung": (400, 300, 1100, 1800), "descending aorta": (1, 1, 9, 9)}
    assert len(notes) == 2
    notes = []
    found = graph_findings(GRAPH, False, notes)
    # Of two sentences on one finding of a region the last counts; what is absent from an unnamed place says nothing.
    assert found == [
        RegionFinding("lung opacity", "absent", "right lung", "", "The opacity is gone."),
        RegionFinding("pneumothorax", "absent", "right lung", "", "No pneumothorax."),
        RegionFinding("pneumonia", "uncertain", "right lung", "", "May be pneumonia."),
        RegionFinding("picc", "present", "", "", ""),
    ]
    assert notes == ["statement left out: not on a region of the table"] * 3
    wider = graph_findings(GRAPH, True, [])
    assert RegionFinding("enlarged cardiac silhouette", "present", "cardiac silhouette", "", "") in wider
    # One side free of a pneumothorax does not make the image free of it.
    assert image_labels(found) == {"picc": 1.0}
    both = [*found, RegionFinding("pneumothorax", "absent", "left lung")]
    assert image_labels(both) == {"picc": 1.0, "pneumothorax": 0.0}


def test_chest_imagenome(layout, source):
    index = source("chest_imagenome")
    assert index.notes == {
        "film left out: of a gold patient (images_to_avoid.csv)": 1, "film left out: without a scene graph": 1,
    }  # fmt: skip
    record = index.record(index.entries[0])
    names = {region.name for region in ADDITIONAL_REGIONS}
    assert len(record.boxes) == 36 and names < set(record.boxes)
    sample = index.sample(index.entries[0])
    assert sorted(set(sample.notes) - {"statement left out: not on a region of the table"}) == [
        "box clipped to the image", "box dropped: empty or outside the image",
        "box dropped: its region has one already",
    ]  # fmt: skip
    assert not sample.example["box_mask"][REGION_NAMES.index("carina")]
    assert sample.example["boxes"].max() == 1.0
    # Boxes are of the original pixels: the film has 160 of them across.
    x0, *_ = record.boxes["right lung"]
    assert box(sample.example, "right lung")[0] == pytest.approx(x0 / 160)


def test_chest_imagenome_gold(layout, source):
    index = source("chest_imagenome", gold=True)
    gold = index.split_entries()["gold"]
    assert len(gold) == 1
    row = index.sample(gold[0]).example
    first, second = box(row, "upper mediastinum"), box(row, "cardiac silhouette")
    expected = [*np.minimum(first, second)[:2], *np.maximum(first, second)[2:]]
    np.testing.assert_allclose(box(row, "mediastinum"), expected)
    assert row["box_mask"].sum() == 27
    assert ("left lung", "pleural effusion", "present") in said(row)
    assert label(row, "pneumothorax") == 0 and np.isnan(label(row, "consolidation"))
    with pytest.raises(DatasetError, match="gold goes with the dataset's own splits"):
        source("chest_imagenome", gold=True, splits={"train": 1.0})


def test_a_damaged_scene_graph_is_named(layout, tmp_path):
    arguments = layout("chest_imagenome")
    shutil.copytree(arguments["root"], tmp_path / "root")
    path = tmp_path / "root" / "silver_dataset" / "scene_graph.zip"
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        offset = archive.infolist()[0].header_offset + 120
    data[offset : offset + 40] = bytes(40)
    path.write_bytes(data)
    with pytest.raises(DatasetError, match=r"scene_graph\.zip: member .*_SceneGraph\.json is damaged"):
        load_data("chest_imagenome", {**arguments, "root": str(tmp_path / "root")})


def test_mimic_cxr(loaded):
    rows = rows_of(loaded("mimic_cxr"))
    first = rows["00000000-00000000-0000000a-0000000b-0000000c"]
    assert (label(first, "pleural effusion"), label(first, "pneumothorax")) == (1, 0)
    assert np.isnan(label(first, "atelectasis")) and ("", "atelectasis", "uncertain") in said(first)
    assert "IMPRESSION" in first["report"] and first["study_id"] == "59999000"
    assert {row["view"] for row in rows.values()} == {"PA", "AP"}
    sides = {
        region for region, finding, polarity in said(first) if (finding, polarity) == ("pleural effusion", "present")
    }
    assert sides and all(region.startswith("left") for region in sides)
    healthy = rows["00000000-00000005-0000000a-0000000b-0000000c"]
    assert label(healthy, "pneumothorax") == 0 and np.isnan(label(healthy, "picc"))


def test_mimic_cxr_with_lateral_films(source):
    assert len(source("mimic_cxr", frontal_only=False).entries) > len(source("mimic_cxr").entries)


@pytest.mark.parametrize("name", ["iu_xray", "iu_xray-kaggle", "iu_xray-r2gen"])
def test_iu_xray(name, loaded):
    rows = list(rows_of(loaded(name)).values())
    effusion = [row for row in rows if "left pleural effusion" in row["report"]]
    assert effusion
    for row in effusion:
        assert label(row, "pleural effusion") == 1
        sides = {
            r for r, finding, polarity in said(row) if (finding, polarity) == ("pleural effusion", "present") and r
        }
        assert sides and all(region.startswith("left") for region in sides)
    clear = [row for row in rows if "No pleural effusion or pneumothorax" in row["report"]]
    assert clear and all(label(row, "pneumothorax") == 0 for row in clear)
    assert all(row["patient_id"].startswith("CXR") for row in rows)


def test_openi_reports_keep_deidentification_marks_and_entities(loaded):
    reports = [row["report"] for row in rows_of(loaded("iu_xray")).values()]
    assert any("INDICATION: Cough & XXXX." in report for report in reports)


def test_chexmask(loaded, source):
    index = source("chexmask")
    assert index.notes == {"film left out: Dice RCA (Mean) below 0.7": 1}
    row = next(iter(rows_of(loaded("chexmask")).values()))
    np.testing.assert_allclose(box(row, "right lung"), np.array([15, 15, 59, 100]) / 128, atol=1 / 128)
    inside = np.asarray(row["mask"]) > 0
    y, x = np.nonzero(inside)
    heart = box(row, "cardiac silhouette") * 96
    assert abs(x.min() - heart[0]) < 2 and abs(y.max() - heart[3]) < 2
    lungs = source("chexmask", target="lungs")
    assert np.asarray(lungs.sample(lungs.entries[0], 96).example["mask"])[40, 25] == 255


def test_landmarks_of_both_forms():
    points = np.arange(240).reshape(120, 2)
    flat = ",".join(map(str, points.ravel()))
    with np.printoptions(threshold=10_000):
        np.testing.assert_array_equal(read_landmarks(str(points)), points)
    np.testing.assert_array_equal(read_landmarks(flat), points)
    with pytest.raises(DatasetError, match="expected 120 points, found 2"):
        read_landmarks("1,2,3,4")


def test_masks_of_another_version_are_refused(layout, tmp_path):
    from PIL import Image

    shutil.copytree(layout("chexmask")["images"], tmp_path / "images")
    first = sorted((tmp_path / "images").iterdir())[0]
    Image.open(first).resize((128, 200)).save(first)
    with pytest.raises(
        DatasetError, match="128x200 pixels, its annotations are for 128x128; use images and annotations"
    ):
        load_data("chexmask", {**layout("chexmask"), "images": str(tmp_path / "images")})


def test_siim_acr(loaded):
    rows = sorted(rows_of(loaded("siim_acr")).values(), key=lambda row: row["image_id"])
    one, none, two = rows[:3]
    assert said(one) == {("right lung", "pneumothorax", "present")}
    assert said(none) == {("", "pneumothorax", "absent")} and not np.asarray(none["mask"]).any()
    assert said(two) == {("right lung", "pneumothorax", "present"), ("left lung", "pneumothorax", "present")}
    assert [label(row, "pneumothorax") for row in (one, none, two)] == [1, 0, 1]
    mask = np.asarray(two["mask"])
    assert mask[26, 24] == 255 and mask[26, 70] == 255 and mask[26, 48] == 0


def test_nih(loaded):
    rows = rows_of(loaded("nih_chestxray14"))
    sick = rows["00090001_000.png"]
    assert (
        label(sick, "pleural effusion") == 1 and label(sick, "infiltration") == 1 and label(sick, "pneumothorax") == 0
    )
    assert ("right lung", "infiltration", "present") in said(sick)
    collapsed = rows["00090002_000.png"]
    assert ("left lung", "pneumothorax", "present") in said(collapsed)
    assert rows["00090000_000.png"]["patient_id"] == "90000"


def test_vindr(loaded, source):
    rows = rows_of(loaded("vindr_cxr"))
    agreed = rows[f"{0:016x}{0:016x}"]
    assert label(agreed, "pleural effusion") == 1 and ("left lung", "pleural effusion", "present") in said(agreed)
    # One reader of three saw an enlarged heart: uncertain, and the label unknown.
    assert np.isnan(label(agreed, "enlarged cardiac silhouette"))
    assert ("cardiac silhouette", "enlarged cardiac silhouette", "uncertain") in said(agreed)
    two_of_three = rows[f"{0:016x}{2:016x}"]
    assert label(two_of_three, "pneumothorax") == 1
    any_reader = source("vindr_cxr", min_readers=1)
    entry = next(e for e in any_reader.entries if e.image_id == agreed["image_id"])
    assert label(any_reader.sample(entry).example, "enlarged cardiac silhouette") == 1


def test_vindr_kaggle(loaded):
    rows = rows_of(loaded("vindr_cxr-kaggle"))
    assert label(rows[f"{0:016x}{0:016x}"], "pleural effusion") == 1
    assert label(rows[f"{0:016x}{3:016x}"], "pleural effusion") == 0


def test_rsna(loaded):
    rows = sorted(rows_of(loaded("rsna_pneumonia")).values(), key=lambda row: row["image_id"])
    assert said(rows[0]) == {("right lung", "lung opacity", "present"), ("left lung", "lung opacity", "present")}
    assert [label(row, "lung opacity") for row in rows[:3]] == [1, 0, 0]
    assert rows[0]["view"] == "AP"


@pytest.mark.parametrize("form", ["csv", "json"])
def test_ms_cxr(form, layout):
    arguments = layout("ms_cxr")
    table = Path(arguments["root"]) / f"MS_CXR_Local_Alignment_v1.1.0.{form}"
    rows = rows_of(load_data("ms_cxr", {**arguments, "root": str(table)}))
    first = rows["00000000-00000000-0000000a-0000000b-0000000c"]
    assert said(first) == {("right lung", "pneumothorax", "present")}
    assert first["region_findings"][0]["phrase"] == "right apical pneumothorax"
    both = rows["00000000-00000001-0000000a-0000000b-0000000c"]
    assert {region for region, *_ in said(both)} == {"right lung", "left lung"}
    assert first["patient_id"] == "19999000" and first["study_id"] == "59999000"


def test_padchest(loaded, source):
    rows = list(rows_of(loaded("padchest")).values())
    effusion = next(row for row in rows if label(row, "pleural effusion") == 1)
    assert ("left lung", "pleural effusion", "present") in said(effusion)
    assert label(effusion, "enlarged cardiac silhouette") == 1 and label(effusion, "pneumothorax") == 0
    assert source("padchest").notes == {"film left out: not frontal": 24, "film left out: without labels": 1}
    assert len(source("padchest", physicians_only=True).entries) < len(rows)


def test_printed_lists_are_never_evaluated():
    for parse in (words, sentence_labels):
        with pytest.raises(DatasetError, match="expected"):
            parse("__import__('os').getcwd()", "cell")
        with pytest.raises(DatasetError, match="expected"):
            parse("[1, 2]", "cell")


def test_uncertain_labels():
    labels, uncertain = label_findings("chexpert", {"Edema": -1.0, "Pneumonia": 1.0, "No Finding": -1.0})
    assert labels == {"pneumonia": 1.0}
    assert uncertain == [RegionFinding("pulmonary edema/hazy opacity", "uncertain")]


@pytest.mark.parametrize(
    ("finding", "corners", "region"),
    [
        ("consolidation", (5, 5, 40, 40), "right lung"),
        ("consolidation", (60, 5, 95, 40), "left lung"),
        ("consolidation", (30, 5, 70, 40), ""),
        ("enlarged cardiac silhouette", (30, 30, 80, 70), "cardiac silhouette"),
    ],
)
def test_region_of_a_box(finding, corners, region):
    assert region_of_box(finding, corners, (100, 100)) == region


def test_a_missing_column_is_named(tmp_path):
    write_table(tmp_path / "a.csv", ("one", "two"), [(1, 2)])
    with pytest.raises(DatasetError, match=r"a\.csv: no column 'three'; found one, two"):
        list(read_table(tmp_path / "a.csv", ("one", "three")))
    (tmp_path / "b.csv").write_text("one,two\n1,2\n3\n")
    with pytest.raises(DatasetError, match=r"b\.csv:3: 1 cells, expected at least 2"):
        list(read_table(tmp_path / "b.csv", ("one", "two")))
    (tmp_path / "c.csv.gz").write_bytes(b"no gzip")
    with pytest.raises(DatasetError, match="cannot be read as a table"):
        list(read_table(tmp_path / "c.csv.gz", ("one",)))


@pytest.mark.parametrize(
    ("name", "table", "column"),
    [
        ("mimic_cxr", "mimic-cxr-2.0.0-metadata.csv.gz", "ViewPosition"),
        ("siim_acr", "train-rle.csv", "EncodedPixels"),
        ("rsna_pneumonia", "stage_2_train_labels.csv", "Target"),
        ("padchest", "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv", "Labels"),
        ("nih_chestxray14", "Data_Entry_2017.csv", "Finding Labels"),
        ("nih_chestxray14", "BBox_List_2017.csv", "Finding Label"),
        ("iu_xray-kaggle", "indiana_reports.csv", "MeSH"),
    ],
)
def test_a_missing_column_of_a_dataset_is_one_line(name, table, column, layout, tmp_path):
    import gzip

    arguments = layout(name)
    shutil.copytree(arguments["root"], tmp_path / "root")
    path = tmp_path / "root" / table
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode().replace(column, "Renamed", 1)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    with pytest.raises(DatasetError, match=rf"{table}: no column '{column}'; found .*Renamed") as caught:
        open_source(name.partition("-")[0], {**arguments, "root": str(tmp_path / "root")})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "table", "label"),
    [
        ("nih_chestxray14", "BBox_List_2017.csv", "Pneumothorax"),
        ("ms_cxr", "MS_CXR_Local_Alignment_v1.1.0.csv", "Pneumothorax"),
    ],
)
def test_an_unknown_label_of_a_box_names_its_table(name, table, label, layout, tmp_path):
    arguments = layout(name)
    root = Path(arguments["root"])
    shutil.copytree(root if root.is_dir() else root.parent, tmp_path / "root")
    path = next((tmp_path / "root").rglob(table))
    text = path.read_text()
    assert label in text
    path.write_text(text.replace(label, f"{label}x"))
    with pytest.raises(DatasetError, match=rf"{table}:.*label '{label}x'; did you mean '{label}'"):
        open_source(name, {**arguments, "root": str(tmp_path / "root")})


def test_a_name_that_no_file_can_have_is_one_line(tmp_path):
    files = MimicFiles(tmp_path)
    for names in (("1" * 300, "5", "a"), ("1", "5" * 300, "a"), ("1", "5", "ä" * 125)):
        with pytest.raises(DatasetError, match=r"\.\.\.' is longer than names of files are$"):
            files.image(*names)
    assert files.image("1", "5", "a" * 247).endswith("a.jpg")


def test_a_patient_in_two_splits_is_refused(layout, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(layout("folder")["path"], root)
    lines = [json.loads(line) for line in (root / "metadata.jsonl").read_text().splitlines()]
    lines[3]["patient_id"] = lines[0]["patient_id"]
    (root / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(DatasetError, match=r"patient 'patient-0' is in the splits 'test' and 'train'"):
        load_data("folder", {"path": str(root)})


def test_splits():
    assert [split_name(word, "x") for word in ("val", "VALID", "validate", "train")] == ["validation"] * 3 + ["train"]
    with pytest.raises(DatasetError, match="unknown split 'dev2'"):
        split_name("dev2", "x")
    shares = {"train": 0.7, "test": 0.3}
    drawn = [drawn_split(f"p{number}", shares) for number in range(2000)]
    assert 0.66 < drawn.count("train") / 2000 < 0.74
