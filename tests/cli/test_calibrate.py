"""`anatomy-vlm calibrate`: what it stores, what predictions then say, and that nothing changes its ranks."""

import json
import shutil
from importlib.resources import files

import jsonschema
import numpy as np
import pytest

from anatomy_vlm import predict
from anatomy_vlm.cli import main
from anatomy_vlm.processing.vocabulary import FINDING_NAMES
from anatomy_vlm.training.evaluation.reader import Reader
from anatomy_vlm.training.loaders import load_data
from anatomy_vlm.training.model_folder import load_checkpoint


@pytest.fixture
def uncalibrated(checkpoint, dataset_folder, tmp_path):
    """A copy of the checkpoint whose scores are higher with pneumothorax, which is chance in a random model."""
    folder = shutil.copytree(checkpoint, tmp_path / "raw")
    model, processor = load_checkpoint(folder)
    reader, films = Reader(model, processor, device="cpu"), load_data("saved", {"path": str(dataset_folder)})
    scores = reader.read(films["validation"]["image"]).image_scores[:, reader.findings.index("pneumothorax")]
    present = np.array(films["validation"]["labels"])[:, FINDING_NAMES.index("pneumothorax")] == 1
    if scores[present].mean() < scores[~present].mean():
        model.text_projection.weight.data.neg_()
        model.save_pretrained(folder)
    return folder


@pytest.fixture
def calibrated(uncalibrated, dataset_folder, tmp_path, capsys):
    """A copy of the checkpoint after the command; the fixture's folder holds pneumothorax labels only."""
    folder = shutil.copytree(uncalibrated, tmp_path / "model")
    assert main(["calibrate", str(folder), str(dataset_folder), "--coverage", "0.8", "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert "calibrated in" in printed and "too few patients with or without: enlarged cardiac silhouette" in printed
    return folder


def test_predictions_state_probabilities_and_decisions(calibrated, films):
    records = predict([films / "a.png", films / "ward"], model=calibrated, device="cpu", force=True)
    schema = json.loads(files("anatomy_vlm").joinpath("prediction_schema.json").read_text())
    jsonschema.validate(records, schema)
    stored = json.loads((calibrated / "processor_config.json").read_text())
    assert stored["score_calibration"]["coverage"] == 0.8
    for record in records:
        by_name = {finding["name"]: finding for finding in record["findings"]}
        known, unknown = by_name["pneumothorax"], by_name["enlarged cardiac silhouette"]
        assert known["calibrated"] and known["decision"] in ("present", "absent", "uncertain")
        assert known["threshold"] == stored["finding_thresholds"]["pneumothorax"]
        assert not unknown["calibrated"] and "decision" not in unknown


def test_scores_become_frequencies_and_keep_their_order(calibrated, uncalibrated, dataset_folder):
    images = load_data("saved", {"path": str(dataset_folder)})["validation"]["image"]
    readers = [Reader(*load_checkpoint(folder), device="cpu") for folder in (uncalibrated, calibrated)]
    column = readers[0].findings.index("pneumothorax")
    before, after = (reader.read(images) for reader in readers)
    raw, probability = before.image_scores[:, column], after.image_scores[:, column]
    assert np.array_equal(before.image_margins, after.image_margins)
    assert np.array_equal(np.argsort(raw), np.argsort(probability))
    # Half of the validation films are positive: Platt's map has the mean of its (softened) targets.
    assert probability.mean() == pytest.approx(0.5, abs=0.02)
    assert probability.std() > 10 * raw.std()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone", "{data}"], "gone: no such folder"),
        (["{model}", "gone"], "gone: no such folder"),
        (["{model}", "{data}", "--split", "valid"], "no split 'valid'; it has train, validation, test"),
        (["{model}", "{data}", "--coverage", "1.5"], "coverage"),
    ],
)
def test_mistakes_are_one_line_and_change_nothing(checkpoint, dataset_folder, tmp_path, capsys, arguments, message):
    folder = shutil.copytree(checkpoint, tmp_path / "model")
    before = (folder / "processor_config.json").read_bytes()
    filled = [text.format(model=folder, data=dataset_folder) for text in arguments]
    assert main(["calibrate", *filled]) == 2
    assert message in capsys.readouterr().err.strip().splitlines()[-1]
    assert (folder / "processor_config.json").read_bytes() == before
