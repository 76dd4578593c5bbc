"""OpenI's XML files as the loader of IU X-ray finds them: characters by name, nothing in them, or no OpenI files."""

import re
import shutil

import pytest

from anatomy_vlm.training.loaders import open_source
from anatomy_vlm.training.loaders.errors import DatasetError


@pytest.fixture
def changed(layout, tmp_path):
    """The index of a copy of the layout with changes to the text of its second report."""

    def change(edit):
        arguments = layout("iu_xray")
        shutil.copytree(arguments["root"], tmp_path / "root")
        path = tmp_path / "root" / "ecgen-radiology" / "1.xml"
        path.write_text(edit(path.read_text(encoding="utf-8")), encoding="utf-8")
        return open_source("iu_xray", {**arguments, "root": str(tmp_path / "root")})

    return change


def record_of(index, patient):
    return index.record(next(entry for entry in index.entries if entry.patient_id == patient))


def test_names_of_characters_are_read(changed):
    index = changed(lambda text: text.replace("Small left", "5&nbsp;mm &eacute; small\n left"))
    assert "FINDINGS: 5 mm \xe9 small left pleural effusion." in record_of(index, "CXR1").report


def test_a_report_without_an_abstract_keeps_films_and_terms(changed):
    index = changed(lambda text: re.sub("<AbstractText.*</AbstractText>", "", text))
    record = record_of(index, "CXR1")
    assert record.report == "" and record.labels["pleural effusion"] == 1
    assert sum(entry.patient_id == "CXR1" for entry in index.entries) == 2


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda text: text.replace("<eCitation>", '<!DOCTYPE e [<!ENTITY x "a">]><eCitation>'),
            "XML with a document type or entities",
        ),
        (lambda text: text[:-20], "broken XML: "),
        (lambda text: "<html/>", "expected an OpenI report"),
        (lambda text: re.sub("<uId.*/>", "", text), "no element uId with an id"),
    ],
)
def test_a_file_that_is_no_report_is_one_line(changed, edit, message):
    with pytest.raises(DatasetError, match=rf"1\.xml: .*{message}") as caught:
        changed(edit)
    assert "\n" not in str(caught.value)
