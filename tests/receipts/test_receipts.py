"""Receipts: the repository's own verify, and whatever is tampered with is named."""

import copy
import json
from importlib.resources import files
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from anatomy_vlm.cli import main
from anatomy_vlm.training.receipts.data import DataSource, describe_split, source_of
from anatomy_vlm.training.receipts.errors import ReceiptError, UnverifiableError
from anatomy_vlm.training.receipts.model import describe_model
from anatomy_vlm.training.receipts.receipt import Number, Receipt, differences, load_receipt, number, remarks

from .conftest import RECEIPTS, SMALL


def schema() -> dict:
    return json.loads(files("anatomy_vlm").joinpath("receipt_schema.json").read_text(encoding="utf-8"))


@pytest.fixture
def tampered(tmp_path):
    """Write the small receipt with one value changed, and return the file."""

    def write(*path, value) -> Path:
        values = json.loads(SMALL.read_text(encoding="utf-8"))
        target = values
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = value(target[path[-1]]) if callable(value) else value
        file = tmp_path / "tampered.json"
        file.write_text(json.dumps(values))
        return file

    return write


@pytest.mark.parametrize("path", sorted(RECEIPTS.rglob("*.json")), ids=lambda path: path.stem)
def test_the_receipts_of_the_repository_follow_the_schema_and_tell_nothing_about_a_machine(path):
    text = path.read_text(encoding="utf-8")
    jsonschema.validate(json.loads(text), schema())
    assert load_receipt(path).numbers
    assert '"/' not in text and "/tmp" not in text and "/home" not in text and "/work" not in text


def test_the_small_receipt_verifies(measured):
    assert differences(load_receipt(SMALL), measured) == []
    jsonschema.validate(measured.to_dict(), schema())


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        (("model", "weights"), "0" * 64, "model phantom-reference: other weights"),
        (("model", "files", "config.json"), "0" * 64, "model phantom-reference: another config.json"),
        (("data", "test", "ids"), "0" * 64, "data test: other image or patient names"),
        (("data", "validation", "labels"), "0" * 64, "data validation: other boxes, labels or statements"),
        (("data", "test", "images"), lambda n: n + 1, "data test: 21 images in the receipt, 20 here"),
        (("numbers", 0, "value"), lambda x: x + 0.01, "region boxes | mean_iou | mean: 0."),
        (("numbers", 0, "high"), lambda x: x + 0.02, "region boxes | mean_iou | mean, high: 0."),
        (("numbers", 0, "name"), "invented", "invented: was not measured again"),
    ],
)
def test_what_was_tampered_with_is_named(measured, tampered, path, value, line):
    found = differences(load_receipt(tampered(*path, value=value)), measured)
    assert found and found[0].startswith(line)


def test_verify_on_the_command_line(measured, films, tampered, tmp_path, capsys):
    wrong = tampered("numbers", 0, "value", value=lambda x: x - 0.01)
    missing = tmp_path / "none.json"
    assert main(["verify", str(wrong), "--films", str(films), "--quiet"]) == 1
    out = capsys.readouterr().out
    assert "region boxes | mean_iou | mean: 0." in out and "(tolerance 0.002)" in out and "verified" not in out
    assert main(["verify", str(missing), "--quiet"]) == 2
    assert "none.json: cannot be read" in capsys.readouterr().err


def test_numbers_within_their_tolerance_verify_and_decisions_have_a_wider_one():
    base = Receipt("evaluation", "", {}, None, {}, (), {}, {}, {})

    def receipt(**values: float) -> Receipt:
        named = (number(name.replace("__", " | "), value) for name, value in values.items())
        return Receipt(**{**vars(base), "numbers": tuple(named)})

    old, near = receipt(x__roc_auc__y=0.8, x__f1__y=0.6), receipt(x__roc_auc__y=0.8015, x__f1__y=0.62)
    assert differences(old, near) == []
    far = receipt(x__roc_auc__y=0.803, x__f1__y=0.64)
    assert [line.partition(":")[0] for line in differences(old, far)] == ["x | roc_auc | y", "x | f1 | y"]
    undefined = receipt(x__roc_auc__y=float("nan"), x__f1__y=0.6)
    assert differences(old, undefined)[0].startswith("x | roc_auc | y: 0.8000 in the receipt, none here")
    assert differences(undefined, undefined) == []
    assert Number("a | balanced accuracy", 0.5).kind == "balanced_accuracy"


def test_films_drawn_on_another_processor_may_differ_by_their_last_grey_level_only(measured):
    def on(processor: str, pixels: str, grey: float) -> Receipt:
        data = copy.deepcopy(dict(measured.data))
        data["test"] |= {"pixels": pixels, "mean_grey": grey}
        return Receipt(**{**vars(measured), "data": data, "machine": {**measured.machine, "processor": processor}})

    grey = measured.data["test"]["mean_grey"]
    here = on("one", "0" * 64, grey)
    assert differences(here, on("one", "1" * 64, grey)) == ["data test: other images"]
    other = on("two", "1" * 64, grey + 0.01)
    assert differences(here, other) == []
    assert any("drawn again with other grey levels" in line for line in remarks(here, other))
    assert differences(here, on("two", "1" * 64, grey + 1)) == ["data test: other images"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "no receipt"),
        ('{"receipt_version": "9.0"}', "a receipt of version 9.0; this package reads"),
        ('{"receipt_version": "1.0", "numbers": []}', "not a whole receipt"),
    ],
)
def test_what_is_no_receipt_is_said_in_one_line(tmp_path, capsys, text, message):
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(ReceiptError, match=message):
        load_receipt(path)
    assert main(["verify", str(path)]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_an_evaluation_writes_a_receipt_that_verifies(films, measured, tmp_path, capsys, monkeypatch):
    source = DataSource("phantom", load_receipt(SMALL).data["test"]["arguments"])
    folder = next(films.glob("phantom-*"))
    assert source_of(folder).key == source.key
    monkeypatch.setattr("sys.argv", ["anatomy-vlm", "evaluate", "phantom-reference", str(folder)])
    path = tmp_path / "r.json"
    options = ["--bootstrap", "200", "--min-events", "4", "--receipt", str(path)]
    assert main(["evaluate", "phantom-reference", str(folder), *options]) == 0
    assert differences(load_receipt(path), measured) == []
    assert str(films) not in path.read_text()


def test_data_that_is_not_here_cannot_be_verified_and_is_found_by_data(saved_split, tmp_path):
    source = DataSource("saved", {"path": "elsewhere/films"})
    with pytest.raises(UnverifiableError, match="name the folder that holds it by --data"):
        source.load()
    assert len(source.load(saved_split)["test"]) == 2
    assert len(source.load(saved_split.parent.parent)["test"]) == 2


@pytest.fixture
def saved_split(tmp_path) -> Path:
    import datasets

    from anatomy_vlm.processing.schema import features

    folder = tmp_path / "elsewhere" / "films"
    rows = [an_example(index) for index in range(2)]
    datasets.DatasetDict({"test": datasets.Dataset.from_list(rows, features=features())}).save_to_disk(folder)
    return folder


def an_example(index: int, grey: int = 0, finding: float = np.nan) -> dict:
    from PIL import Image

    from anatomy_vlm.processing.vocabulary import FINDING_NAMES

    labels = np.full(len(FINDING_NAMES), np.nan, dtype=np.float32)
    labels[0] = finding
    return {
        "image": Image.new("L", (8, 6), 10 * index + grey),
        "boxes": np.tile(np.float32([0, 0, 1, 1]), (29, 1)),
        "box_mask": np.ones(29, dtype=bool),
        "region_findings": [],
        "labels": labels,
        "report": "",
        "patient_id": f"p{index}",
        "study_id": "s",
        "image_id": f"i{index}",
        "view": "",
        "source": "test",
    }


def test_the_hashes_of_a_split_tell_what_has_changed():
    import datasets

    from anatomy_vlm.processing.schema import features

    def described(rows):
        return describe_split(datasets.Dataset.from_list(rows, features=features()))

    base = described([an_example(0), an_example(1)])
    assert base == described([an_example(0), an_example(1)])
    assert (base["images"], base["patients"], base["mean_grey"]) == (2, 2, 5.0)

    def changed(rows):
        return {key for key, value in described(rows).items() if value != base[key]}

    assert changed([an_example(0), an_example(1, grey=1)]) == {"pixels", "mean_grey"}
    assert changed([an_example(0), an_example(1, finding=0.0)]) == {"labels"}
    assert changed([an_example(1), an_example(0)]) == {"ids", "pixels"}


def test_the_hash_of_weights_is_that_of_the_tensors_not_of_the_file(tmp_path):
    import torch
    from safetensors.torch import save_file

    def hashed(tensors, name, **metadata):
        folder = tmp_path / name
        folder.mkdir()
        save_file(tensors, folder / "model.safetensors", metadata=metadata or None)
        return describe_model(folder)["weights"]

    one = {"a": torch.zeros(2), "b": torch.ones(3)}
    assert hashed(one, "one") == hashed(dict(reversed(one.items())), "two", note="x")
    assert hashed(one, "three") != hashed({"a": torch.zeros(2), "c": torch.ones(3)}, "four")
    assert hashed(one, "five") != hashed({"a": torch.zeros(1, 2), "b": torch.ones(3)}, "six")
