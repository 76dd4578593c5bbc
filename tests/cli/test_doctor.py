"""What `doctor` finds: a sound installation, and what is missing from another one, with the cure."""

import json
from importlib.metadata import PackageNotFoundError

import pytest

from anatomy_vlm import doctor
from anatomy_vlm.cli import main


def states(findings) -> dict[str, str]:
    return {finding.topic: finding.state for finding in findings}


def test_a_sound_installation(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert main(["doctor", "--json", str(tmp_path / "doctor.json")]) == 0
    out = capsys.readouterr().out
    assert "no problems" in out and "hf_secret" not in out
    found = json.loads((tmp_path / "doctor.json").read_text())
    assert {"python", "torch", "transformers", "device", "cache", "reference checkpoint"} <= {
        f["topic"] for f in found
    }
    assert all(f["state"] == "ok" for f in found if f["topic"] in ("torch", "transformers", "extra synthesis"))


def test_what_is_missing_is_named_with_its_cure(monkeypatch):
    real = doctor.version

    def version(name: str) -> str:
        if name in ("numba", "accelerate"):
            raise PackageNotFoundError(name)
        return "4.0.0" if name == "transformers" else real(name)

    monkeypatch.setattr(doctor, "version", version)
    findings = {finding.topic: finding for finding in [*doctor._libraries(), *doctor._extras()]}
    assert findings["accelerate"].state == findings["transformers"].state == "problem"
    assert findings["transformers"].text.startswith('4.0.0: pip install "transformers')
    for extra in ("synthesis", "ct", "demo"):  # the last two by way of the first
        assert findings[f"extra {extra}"].state == "note"
        assert f'without numba: pip install "anatomy-vlm[{extra}]"' in findings[f"extra {extra}"].text
    assert "2 problems" in doctor.to_text(list(findings.values()))


@pytest.mark.parametrize(("offline", "state"), [(True, "note"), (False, "ok")])
def test_the_hub_s_settings(monkeypatch, offline, state):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    assert states(doctor._hub())["hub"] == state


def test_a_cache_that_cannot_be_written(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "not" / "yet"))
    monkeypatch.setattr(doctor.os, "access", lambda place, mode: False)
    finding = doctor._disk()
    assert finding.state == "problem" and str(tmp_path) in finding.text and "HF_HOME" in finding.text
