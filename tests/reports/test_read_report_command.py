"""anatomy-vlm read-report: exit statuses, records of the schema, files written whole."""

import io
import json
import sys
from importlib.resources import files

import pytest
from jsonschema import Draft202012Validator

from anatomy_vlm.cli import main
from anatomy_vlm.commands.read_report import REPORT_SCHEMA_VERSION


@pytest.fixture(scope="module")
def schema():
    content = json.loads(files("anatomy_vlm").joinpath("report_schema.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(content)
    return Draft202012Validator(content)


@pytest.fixture
def folder(tmp_path):
    reports = tmp_path / "reports"
    reports.mkdir()
    (reports / "a.txt").write_text("FINDINGS: Small left effusion. No pneumothorax.", encoding="utf-8")
    (reports / "b.xml").write_text('<eCitation><AbstractText Label="FINDINGS">Clear lungs.</AbstractText></eCitation>')
    (reports / "c.txt").write_bytes(b"\xff\xfe\xfa")
    (reports / "notes.csv").write_text("not,a,report")
    return reports


def run(capsys, *arguments):
    status = main(["read-report", *map(str, arguments)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_bad_files_are_named_and_the_rest_is_read(capsys, folder, tmp_path, schema):
    out = tmp_path / "new" / "out.json"
    status, printed, errors = run(capsys, folder, tmp_path / "gone.txt", "--json", out)
    assert status == 1 and printed == ""
    assert "c.txt: not UTF-8 text" in errors or "c.txt: " in errors
    assert "gone.txt: No such file" in errors and "2 of 4 reports read" in errors
    records = json.loads(out.read_text(encoding="utf-8"))
    schema.validate(records)
    assert ["error" in record for record in records] == [False, False, True, True]
    for record in records[:2]:
        for part in (*record["sections"], *record["statements"]):
            assert record["text"][part["start"] : part["end"]] == part["text"]
    assert records[0]["statements"][0]["regions"] == ["left lung"]
    assert [path.name for path in out.parent.iterdir()] == ["out.json"]


def test_standard_input_and_output(capsys, monkeypatch, schema):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"IMPRESSION: Mild cardiomegaly.")))
    status, printed, _ = run(capsys, "-", "--json", "-")
    record = json.loads(printed)[0]
    schema.validate([record])
    assert status == 0 and record["file"] == "-" and record["versions"]["report_schema"] == REPORT_SCHEMA_VERSION
    assert record["statements"][0]["section"] == "impression"


def test_a_summary_is_printed(capsys, folder):
    status, printed, _ = run(capsys, folder / "a.txt")
    assert status == 0
    assert "present mild pleural effusion in left lung" in printed and "absent pneumothorax" in printed


def test_a_mistake_is_status_2(capsys, tmp_path, folder):
    assert run(capsys)[0] == 2
    status, _, errors = run(capsys, tmp_path / "new", "--nonsense")
    assert status == 2
    (tmp_path / "empty").mkdir()
    status, _, errors = run(capsys, tmp_path / "empty")
    assert status == 2 and "no reports in this folder" in errors
    status, _, errors = run(capsys, folder / "a.txt", "--json", folder)
    assert status == 2 and errors.count("anatomy-vlm: error:") == 1


def test_the_schema_refuses_what_it_should(schema, capsys, folder):
    _, printed, _ = run(capsys, folder / "a.txt", "--json", "-")
    records = json.loads(printed)
    schema.validate(records)
    for key, value in (("polarity", "maybe"), ("regions", ["left elbow"]), ("severity", "huge"), ("start", -1)):
        broken = json.loads(printed)
        broken[0]["statements"][0][key] = value
        assert not schema.is_valid(broken)
    del records[0]["versions"]
    assert not schema.is_valid(records)
