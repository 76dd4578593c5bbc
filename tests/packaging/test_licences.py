"""No dependency binds who uses this package, but for what is listed here with its reason."""

import pytest

from anatomy_vlm import licences


# Copyleft, known, and why it is there all the same.
KNOWN = {
    "pylibjpeg-libjpeg": "extra dicom: the decoder of 12-bit and lossless JPEG, a plugin that pydicom loads if it is "
    "there; nothing of ours links to it or ships it (GPL v3: mind it before you ship an environment that holds it)",
}


@pytest.fixture(scope="module")
def report():
    return licences.report()


def test_every_direct_dependency_is_looked_at(report, pyproject):
    import re

    project = pyproject["project"]
    texts = [*project["dependencies"], *(t for extra in project["optional-dependencies"].values() for t in extra)]
    asked = {re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~; ]", text)[0]).lower() for text in texts} - {"anatomy-vlm"}
    missing = asked - {entry.name for entry in report}
    if missing:
        # What is installed was made from an older pyproject.toml; `make test` installs again when it changes.
        pytest.skip(f"install the checkout again, then {', '.join(sorted(missing))} are looked at too")


def test_licences_are_permissive_or_known(report):
    assert {entry.name for entry in report if entry.kind == "copyleft"} <= set(KNOWN)
    assert [f"{entry.name}: {entry.text!r}" for entry in report if entry.kind == "unknown"] == []
    always = {entry.name for entry in report if not entry.extras}
    assert {"torch", "transformers", "numpy"} <= always and not always & set(KNOWN)


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"License-Expression": "BSD-3-Clause"}, "permissive"),
        ({"Classifier": "License :: OSI Approved :: GNU General Public License v3 (GPLv3)"}, "copyleft"),
        ({"License": "LGPL-2.1"}, "copyleft"),
        ({"License": "Proprietary"}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_what_a_library_says_is_understood(fields, kind, monkeypatch):
    from email.message import Message

    about = Message()
    for name, value in fields.items():
        about[name] = value
    monkeypatch.setattr(licences, "metadata", lambda name: about)
    assert licences._licence("somebody", {"dicom"}).kind == kind
