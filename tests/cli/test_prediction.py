"""Predictions: the JSON follows its schema, bad files stop nothing, and other checkpoints are refused."""

import json
import os
from importlib.resources import files
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from anatomy_vlm.film_flags import WITHHOLDING
from anatomy_vlm.prediction import Predictor, draw_reading, predict
from anatomy_vlm.processing.vocabulary import REGION_NAMES, get_finding
from anatomy_vlm.training.model_folder import CheckpointError, load_checkpoint


@pytest.fixture(scope="module")
def validator():
    schema = json.loads(files("anatomy_vlm").joinpath("prediction_schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_records_follow_the_schema(checkpoint, films, validator):
    records = predict(films, model=checkpoint, prompts=["a film"], device="cpu", batch_size=3, force=True)
    validator.validate(records)
    assert [("error" in record) for record in records] == [False, True, True, False]
    first, last = records[0], records[-1]
    assert first["size"] == [260, 300] and last["size"] == [320, 240]
    assert [region["name"] for region in first["regions"]] == list(REGION_NAMES)
    assert first["prompts"][0]["text"] == "a film" and len(first["prompts"][0]["regions"]) == 29
    assert "prompts" not in predict(films / "a.png", model=checkpoint, device="cpu")[0]


def test_boxes_lie_in_the_original_image(checkpoint, films):
    for record in predict([films / "a.png", films / "ward"], model=checkpoint, device="cpu"):
        width, height = record["size"]
        for region in record["regions"]:
            x0, y0, x1, y1 = region["box"]
            assert 0 <= x0 <= x1 <= width and 0 <= y0 <= y1 <= height


def test_thresholds_say_where_they_are_from(checkpoint, films):
    record = predict(films / "a.png", model=checkpoint, device="cpu", force=True)[0]
    sources = {finding["name"]: (finding["threshold"], finding["threshold_source"]) for finding in record["findings"]}
    assert sources == {"pneumothorax": (0.25, "validation"), "enlarged cardiac silhouette": (0.5, "fixed")}


def test_a_region_has_the_findings_that_are_plausible_there(checkpoint, films):
    record = predict(films / "a.png", model=checkpoint, device="cpu", force=True)[0]
    for region in record["regions"]:
        expected = [f["name"] for f in record["findings"] if region["name"] in get_finding(f["name"]).regions]
        assert [finding["name"] for finding in region["findings"]] == expected
    named = {region["name"]: region["findings"] for region in record["regions"]}
    assert named["left lung"] and not named["spine"]


def test_findings_of_what_is_no_chest_film_are_withheld_unless_forced(checkpoint, films, validator):
    """The films are noise: flagged before any score is shown, and never corrected."""
    plain, forced = (
        predict(films / "a.png", model=checkpoint, device="cpu", prompts=["a film"], force=force)
        for force in (False, True)
    )
    validator.validate(plain + forced)
    record = plain[0]
    assert WITHHOLDING & {flag["flag"] for flag in record["quality"]["flags"]}
    assert record["quality"]["findings_withheld"] and not forced[0]["quality"]["findings_withheld"]
    assert record["findings"] == record["prompts"] == [] and record["measurements"]["cardiothoracic_ratio"] is None
    assert all(region["findings"] == [] for region in record["regions"])
    assert forced[0]["findings"] and forced[0]["quality"]["flags"] == record["quality"]["flags"]
    assert [region["box"] for region in record["regions"]] == [region["box"] for region in forced[0]["regions"]]


def test_batches_do_not_change_readings(checkpoint, films):
    one = predict(films, model=checkpoint, device="cpu", batch_size=1, force=True)
    all_at_once = predict(films, model=checkpoint, device="cpu", batch_size=8, force=True)
    assert [record["file"] for record in one] == [record["file"] for record in all_at_once]
    for first, second in zip(one, all_at_once, strict=True):
        assert first.get("error") == second.get("error")
        if "error" not in first:
            scores = [[finding["score"] for finding in record["findings"]] for record in (first, second)]
            assert scores[0] == pytest.approx(scores[1], abs=1e-4)


def test_the_patients_right_lung_is_on_the_images_left(checkpoint, films):
    """A model that has found the lungs where they are is neither flagged nor mirrored on the way out."""
    predictor = Predictor.load(checkpoint, device="cpu", force=True)
    image_read = predictor.reader.read

    def with_lungs(images):
        readings = image_read(images)
        readings.presence[:] = 0.9
        for name, x0 in (("right lung", 20), ("left lung", 150), ("cardiac silhouette", 110)):
            readings.boxes[0, REGION_NAMES.index(name)] = [x0, 60, x0 + 80, 200]
        return readings

    predictor.reader.read = with_lungs
    reading = next(iter(predictor.read_files([films / "a.png"])))
    boxes = {region["name"]: region["box"] for region in reading.record["regions"]}
    assert boxes["right lung"] == [20, 60, 100, 200] and boxes["left lung"] == [150, 60, 230, 200]
    assert reading.record["measurements"]["cardiothoracic_ratio"] == pytest.approx(80 / 210, abs=1e-4)
    assert "exchanged_lungs" not in [flag["flag"] for flag in reading.record["quality"]["flags"]]
    picture = draw_reading(reading)
    assert picture.mode == "RGB" and np.asarray(picture).std() > 0


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ('{"model_type": "vit"}', "a checkpoint of model type 'vit'; expected 'anatomy_vlm'"),
        ("{broken", "not valid JSON"),
        ("[]", "model type None"),
        (None, "no config.json in this folder"),
        ('{"model_type": "anatomy_vlm"}', "cannot be loaded as an Anatomy-VLM checkpoint"),
    ],
)
def test_another_checkpoint_is_refused_in_one_line(tmp_path, config, message):
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(tmp_path)
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


def test_a_missing_folder_is_not_looked_for_on_the_hub(tmp_path):
    with pytest.raises(CheckpointError, match="no such folder"):
        load_checkpoint(tmp_path / "gone")
    with pytest.raises(CheckpointError, match="no such folder"):
        load_checkpoint("outputs/nowhere/model")
    (tmp_path / "file").write_text("x")
    with pytest.raises(CheckpointError, match="is a file"):
        load_checkpoint(tmp_path / "file")


def test_a_reading_without_a_film_cannot_be_drawn(checkpoint, films):
    reading = next(iter(Predictor.load(checkpoint, device="cpu").read_files([films / "truncated.png"])))
    with pytest.raises(ValueError, match="nothing to draw"):
        draw_reading(reading)


def test_the_schema_refuses_what_it_should(validator, checkpoint, films):
    record = predict(films / "a.png", model=checkpoint, device="cpu", force=True)[0]
    for change in (
        {"view": "OBLIQUE"},
        {"size": [0, 10]},
        {"surprise": 1},
        {"measurements": {}},
        {"findings": [{**record["findings"][0], "threshold_source": "test"}]},
        {"regions": [{**record["regions"][0], "box": [1, 2, 3]}]},
        {"error": "also failed"},
    ):
        with pytest.raises(jsonschema.ValidationError):
            validator.validate([{**record, **change}])
    validator.validate([record])


def real_data(*parts):
    root = Path(os.environ.get("ANATOMY_VLM_TEST_DATA") or Path(__file__).parents[3] / "shared" / "data")
    folder = root.joinpath(*parts)
    if not folder.is_dir():
        pytest.skip(f"{'/'.join(parts)} is not at hand; point ANATOMY_VLM_TEST_DATA at it")
    return folder


def test_real_dicom_is_read_in_every_encoding_alike(checkpoint, validator):
    pytest.importorskip("pydicom", reason="needs the extra anatomy-vlm[dicom]")
    folder = real_data("dicom_radiographs", "derived")
    records = {
        Path(record["file"]).stem: record for record in predict(folder, model=checkpoint, device="cpu", force=True)
    }
    validator.validate(list(records.values()))
    assert len(records) == 6 and not [name for name, record in records.items() if "error" in record]
    scores = [[finding["score"] for finding in record["findings"]] for record in records.values()]
    # MONOCHROME1, its MONOCHROME2 twin, and lossless syntaxes show one and the same film.
    assert np.ptp(scores, axis=0).max() < 0.01
