"""`anatomy-vlm robustness`: one report with every section, the same for the same seed."""

import json

import pytest

from anatomy_vlm.cli import main


def run(capsys, *arguments):
    status = main(["robustness", *map(str, arguments)])
    return status, capsys.readouterr()


def test_one_report_holds_every_section(capsys, checkpoint, dataset_folder, tmp_path):
    out = tmp_path / "robustness.json", tmp_path / "robustness.md"
    options = ["--bootstrap", 50, "--min-events", 3, "--severities", 2, "--device", "cpu"]
    options += ["--reference", dataset_folder, "--held-out", "pneumothorax@left lung", "--groups", "source", "view"]
    status, printed = run(capsys, checkpoint, dataset_folder, *options, "--json", out[0], "--markdown", out[1])
    assert status == 0, printed.err
    report = json.loads(out[0].read_text())
    assert out[1].read_text() in printed.out
    assert report["num_patients"] == 40
    # The dataset has one source and one view: nothing to compare.
    assert set(report["sections"]) | set(report["left_out"]) == {
        "negation", "paraphrases", "laterality", "flips", "shortcuts", "corruptions", "groups", "combinations",
        "no_image", "prior", "distance",
    }  # fmt: skip
    # One wording per prompt, and each film states the finding on one side only.
    assert set(report["left_out"]) == {"groups", "paraphrases", "laterality"}
    negation = report["sections"]["negation"]["rows"]
    assert [row["finding"] for row in negation] == ["macro", "pneumothorax"]
    assert all(0 <= row["low"] <= row["negated_auc"] <= row["high"] <= 1 for row in negation)
    corruptions = report["sections"]["corruptions"]["rows"]
    assert corruptions[0] == {**corruptions[0], "corruption": "none", "change": 0.0}
    assert len(corruptions) == 12
    shortcuts = report["sections"]["shortcuts"]["rows"]
    assert [row["view"] for row in shortcuts] == ["region only", "without the region", "borders only"]
    assert {row["combinations"] for row in report["sections"]["combinations"]["rows"]} == {"seen", "held out"}
    distance = report["sections"]["distance"]["rows"]
    assert len(distance) == 30 and distance[0]["distance"] == pytest.approx(0, abs=1e-6)

    again = tmp_path / "again.json"
    run(capsys, checkpoint, dataset_folder, *options, "--json", again)
    assert json.loads(again.read_text()) == report


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sections", "magic"], "section 'magic' is not one of negation"),
        (["--severities", 7], "severity 7 is not one of 1, 2"),
        (["--groups", "hospital"], "no column 'hospital'"),
        (["--held-out", "pneumothorax"], "expected FINDING@REGION"),
        (["--held-out", "pneumothorax@tail", "--sections", "combinations"], "held-out region 'tail' is unknown"),
    ],
)
def test_mistakes_are_one_line(capsys, checkpoint, dataset_folder, options, message):
    status, printed = run(capsys, checkpoint, dataset_folder, "--limit", 4, "--device", "cpu", *options)
    assert status == 2
    assert message in printed.err.splitlines()[-1] and "Traceback" not in printed.err
