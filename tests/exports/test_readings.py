"""Readings as DICOM SR, COCO and FHIR, each read again by a library that did not write it."""

import copy
import json

import numpy as np
import pytest

from anatomy_vlm.cli import main
from anatomy_vlm.exports.dicom_objects import Maker
from anatomy_vlm.exports.fhir import fhir_bundle
from anatomy_vlm.exports.readings import ReadingFileError, ReadingFiles, read_formats
from anatomy_vlm.records import reading_record

from .conftest import PATIENT, PRIVATE, SIZE


BOXES = {
    "right lung": [4.0, 5.0, 26.0, 30.0],
    "left lung": [30.5, 6.0, 53.0, 31.25],
    "cardiac silhouette": [22.0, 18.0, 41.0, 33.0],
    "left clavicle": [34.0, 2.0, 50.0, 6.0],
}


def record_of(file, decision=True):
    regions = [
        {"name": name, "box": box, "presence": 0.9, "findings": [{"name": "pleural effusion", "score": 0.25}]}
        for name, box in BOXES.items()
    ]
    regions.append({"name": "right clavicle", "box": [0.0, 0.0, 9.0, 9.0], "presence": 0.2, "findings": []})
    regions.append({"name": "carina", "box": [5.0, 5.0, 5.0, 9.0], "presence": 0.9, "findings": []})
    findings = [
        {
            "name": "pneumothorax",
            "score": 0.75,
            "threshold": 0.4,
            "threshold_source": "validation",
            "calibrated": True,
        },
        {"name": "rib fracture", "score": 0.125, "threshold": 0.5, "threshold_source": "fixed", "calibrated": False},
    ]
    if decision:
        findings[0]["decision"] = "present"
    return reading_record(
        file=str(file),
        size=SIZE[::-1],
        view="PA",
        flags=[{"flag": "cut", "reason": "the left costophrenic angle is cut off"}],
        findings=findings,
        regions=regions,
        model="/home/me/my-model",
        versions={"anatomy_vlm": "0", "torch": "0", "transformers": "0"},
    )


@pytest.mark.parametrize("orientation", [("L", "F"), ("R", "F"), ("F", "L")])
def test_report_is_read_again_with_boxes_scores_and_sides(tmp_path, dicom_film, orientation):
    hd = pytest.importorskip("highdicom", reason="the extra `dicom-export` is not installed")
    pydicom = pytest.importorskip("pydicom")
    from pydicom.sr.coding import Code

    source = dicom_film(orientation)
    record = record_of(source)
    (path,) = ReadingFiles(tmp_path / "out", ["sr"], model=record["model"]).add(record)
    report = hd.sr.srread(path)
    assert path.name == "film.sr.dcm" and report.PreliminaryFlag == "PRELIMINARY"
    groups = report.content.get_planar_roi_measurement_groups(referenced_sop_instance_uid="2.25.1234")
    found = {}
    stored = pydicom.dcmread(source)
    for group in groups:
        site = group.finding_sites[0]
        side = site.ContentSequence[0].ConceptCodeSequence[0].CodeMeaning if "ContentSequence" in site else None
        values = {m.name.meaning: (m.value, m.unit.value) for m in group.get_measurements()}
        assert values == {"Probability": (90.0, "%"), "Score of pleural effusion": (25.0, "%")}
        corners = np.asarray(group.roi.value)
        assert np.array_equal(corners[0], corners[-1]) and len(corners) == 5
        found[group.tracking_identifier] = (side, corners.min(0).tolist() + corners.max(0).tolist())
    # What was not found, or has no area, has no box.
    assert {name: side for name, (side, _) in found.items()} == {
        "right lung": "Right", "left lung": "Left", "cardiac silhouette": None, "left clavicle": "Left"
    }  # fmt: skip
    for name, (_, box) in found.items():
        x0, y0, x1, y1 = BOXES[name]
        if orientation == ("R", "F"):
            x0, x1 = stored.Columns - x1, stored.Columns - x0
        if orientation == ("F", "L"):
            # Rows of the file run down, columns to the patient's left: the transpose.
            x0, y0, x1, y1 = y0, x0, y1, x1
        assert box == pytest.approx([x0, y0, x1, y1])
    others = report.content.get_image_measurement_groups()
    by_name = {group.tracking_identifier: group for group in others}
    assert set(by_name) == {"pneumothorax", "rib fracture", "cardiothoracic ratio", "quality"}
    pneumothorax = by_name["pneumothorax"]
    assert pneumothorax.finding_type == Code("36118008", "SCT", "Pneumothorax")
    assert [m.value for m in pneumothorax.get_measurements()] == [75.0, 40.0]
    assert pneumothorax.get_qualitative_evaluations()[0].value.meaning == "Present"
    assert by_name["rib fracture"].finding_type.scheme_designator == "99ANATOMYVLM"
    ratio = by_name["cardiothoracic ratio"].get_measurements()[0]
    assert ratio.value == pytest.approx((41 - 22) / (53 - 4), abs=1e-4)
    flag = by_name["quality"].get_qualitative_evaluations()[0].value
    assert flag.value == "cut" and "cut off" in flag.meaning


def test_report_carries_the_study_and_no_more_of_the_patient_than_it_must(tmp_path, dicom_film):
    pydicom = pytest.importorskip("pydicom")
    pytest.importorskip("highdicom", reason="the extra `dicom-export` is not installed")
    record = record_of(dicom_film())
    (path,) = ReadingFiles(tmp_path / "out", ["sr"], model=record["model"]).add(record)
    ds = pydicom.dcmread(path)
    assert ds.SOPClassUID.name == "Comprehensive SR Storage" and ds.VerificationFlag == "UNVERIFIED"
    assert ds.StudyInstanceUID == "2.25.12" and ds.PatientID == PATIENT["PatientID"]
    evidence = ds.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert evidence.ReferencedSOPInstanceUID == "2.25.1234"
    assert any("For research only" in item.get("TextValue", "") for item in ds.ContentSequence)
    content = path.read_bytes()
    assert not any(str(value).encode() in content for value in PRIVATE.values()) and b"/home/me" not in content


def test_coco_boxes_are_read_by_pycocotools(tmp_path, png_film):
    coco_module = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed")
    files = ReadingFiles(tmp_path / "out", ["coco"], model="m")
    assert files.add(record_of(png_film)) == []
    (path,) = files.finish()
    coco = coco_module.COCO(str(path))
    (image,) = coco.loadImgs([1])
    assert (image["file_name"], image["width"], image["height"]) == ("film.png", SIZE[1], SIZE[0])
    names = {category["id"]: category["name"] for category in coco.loadCats(coco.getCatIds())}
    boxes = {names[a["category_id"]]: (a["bbox"], a["score"]) for a in coco.loadAnns(coco.getAnnIds())}
    expected = {name: ([x0, y0, x1 - x0, y1 - y0], 0.9) for name, (x0, y0, x1, y1) in BOXES.items()}
    assert boxes == expected
    # COCO's own evaluation takes the boxes as results: a perfect one against itself.
    results = [{k: a[k] for k in ("image_id", "category_id", "bbox", "score")} for a in coco.dataset["annotations"]]
    assert len(coco.loadRes(results).anns) == len(BOXES)


@pytest.mark.parametrize("version", ["fhir.resources.bundle", "fhir.resources.R4B.bundle"])
def test_bundle_is_valid_fhir(version):
    module = pytest.importorskip(version, reason="fhir.resources is not installed")
    for record in (record_of("a.png"), {**record_of("a.png"), "findings": [], "regions": []}):
        written = json.loads(json.dumps(fhir_bundle(record, Maker("m"))))
        bundle = module.Bundle.model_validate(written)
        assert bundle.entry[0].resource.__class__.__name__ == "DiagnosticReport"
        wrong = copy.deepcopy(written)
        wrong["entry"][0]["resource"]["status"] = ["preliminary"]
        with pytest.raises(ValueError):
            module.Bundle.model_validate(wrong)


def test_bundle_says_what_was_read_and_not_who(tmp_path, dicom_film):
    record = record_of(dicom_film())
    (path,) = ReadingFiles(tmp_path / "out", ["fhir"], model=record["model"]).add(record)
    assert path.name == "film.fhir.json"
    text = path.read_text()
    bundle = json.loads(text)
    for value in (*PATIENT.values(), *PRIVATE.values(), "2.25.", str(tmp_path), "/home/me"):
        assert value not in text
    report, *observations = (entry["resource"] for entry in bundle["entry"])
    assert "subject" not in text and report["identifier"][0]["value"] == "film.dcm"
    assert "For research only" in report["conclusion"] and report["status"] == "preliminary"
    assert [r["reference"] for r in report["result"]] == [entry["fullUrl"] for entry in bundle["entry"][1:]]
    assert len({entry["fullUrl"] for entry in bundle["entry"]}) == len(bundle["entry"])
    assert all("research only" in observation["note"][0]["text"] for observation in observations)
    regions = {o["bodySite"]["text"]: o for o in observations if "region-presence" in json.dumps(o["code"])}
    assert set(regions) == set(BOXES)
    sites = {name: region["bodySite"]["coding"][0]["code"] for name, region in regions.items()}
    # 272741003 is laterality, 7771000 left, 24028007 right.
    assert sites["left lung"] == "39607008:272741003=7771000" and sites["right lung"] == "39607008:272741003=24028007"
    assert sites["cardiac silhouette"] == "80891009"
    left = [c["valueQuantity"]["value"] for c in regions["left lung"]["component"]]
    assert left == [*BOXES["left lung"], 0.25]
    pneumothorax = next(o for o in observations if o["code"]["coding"][0]["code"] == "36118008" and "region" not in o)
    assert pneumothorax["valueQuantity"]["value"] == 0.75
    assert pneumothorax["interpretation"][0]["coding"][0]["code"] == "POS"
    assert fhir_bundle(record, Maker(record["model"])) == bundle
    other = fhir_bundle({**record, "file": "b.png"}, Maker("m"))
    assert other["entry"][0]["fullUrl"] != bundle["entry"][0]["fullUrl"]


def test_withheld_findings_stay_withheld():
    record = record_of("a.png")
    record["quality"]["findings_withheld"], record["findings"] = True, []
    assert "withheld" in fhir_bundle(record, Maker())["entry"][0]["resource"]["conclusion"]


def test_unknown_formats_are_one_line():
    with pytest.raises(ReadingFileError, match="unknown format 'hl7'; choose of sr, coco, fhir"):
        read_formats("sr,hl7")


def test_predict_saves_what_it_can_and_names_the_rest(capsys, tiny_model, tmp_path, png_film, dicom_film):
    pytest.importorskip("highdicom", reason="the extra `dicom-export` is not installed")
    dicom = dicom_film(name="other.dcm")
    out = tmp_path / "saved"
    command = ["predict", str(png_film), str(dicom), "--model", str(tiny_model), "--device", "cpu"]
    status = main([*command, "--save-as", "sr,coco,fhir", "--save-to", str(out)])
    errors = capsys.readouterr().err
    assert status == 1 and "film.png: a DICOM SR refers to a DICOM image" in errors and "Traceback" not in errors
    assert "2 of 2 images read" in errors and "1 readings not saved in every format" in errors
    names = sorted(path.name for path in out.iterdir())
    assert names == ["boxes.json", "film.fhir.json", "other.fhir.json", "other.sr.dcm"]
    assert main([*command, "--save-as", "sr"]) == 2
    assert "--save-as and --save-to belong together" in capsys.readouterr().err
