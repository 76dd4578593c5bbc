"""What the app answers, without a page: nothing leaks, nothing stays, and a mistake is one line."""

import base64
import io
import json
import logging
from importlib.resources import files

import jsonschema
import numpy as np
import pytest
from PIL import Image

from anatomy_vlm.app.films import take_film
from anatomy_vlm.app.handlers import CALLED, Handlers
from anatomy_vlm.app.masks import find_mask_reader
from anatomy_vlm.app.service import FilmService
from anatomy_vlm.app.sessions import Session, Sessions


SECRETS = ("QUIXANA", "Zelda", "19610203", "MRN-77123", "ACC-4711", "20240131", "Saint Elsewhere")


def dicom_bytes(film):
    pydicom = pytest.importorskip("pydicom", reason="DICOM needs the extra `dicom`")
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    data = FileDataset("film.dcm", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, "1.2.3.4"
    data.PatientName, data.PatientID, data.PatientBirthDate = "QUIXANA^Zelda", "MRN-77123", "19610203"
    data.StudyDate, data.AccessionNumber, data.InstitutionName = "20240131", "ACC-4711", "Saint Elsewhere"
    data.Modality, data.BodyPartExamined, data.ViewPosition = "DX", "CHEST", "PA"
    data.StudyDescription = "Chest of Zelda QUIXANA"
    data.Rows, data.Columns = film.height, film.width
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit, data.PixelRepresentation = 7, 0
    data.PixelData = np.asarray(film).tobytes()
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, data, enforce_file_format=True)
    return stream.getvalue()


def saved(contents):
    return base64.b64decode(contents["download"]["content"])


def test_nothing_of_a_patient_reaches_an_output_a_name_or_the_log(handlers, upload, film, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    content = dicom_bytes(film)
    answers = [handlers.open_upload("a", str(upload(content, "QUIXANA_Zelda_19610203.dcm")))]
    assert answers[0]["status"]["kind"] == "status", answers
    answers += [
        handlers.score_prompts("a", "a large heart", True),
        handlers.gather_evidence("a", "pleural effusion"),
        handlers.compare_upload("a", str(upload(content, "QUIXANA_Zelda_MRN-77123.dcm", "prior"))),
        *(handlers.download("a", what) for what in ("reading", "overlay", "evidence", "comparison")),
        # A damaged header, with a name where the pixels' size should be.
        handlers.open_upload("b", str(upload(content[: len(content) // 3], "QUIXANA_cut.dcm", "cut"))),
    ]
    assert [answer["status"]["kind"] for answer in answers] == ["status"] * 8 + ["error"]
    outputs = [json.dumps(answer) for answer in answers]
    outputs += [saved(answer).decode("latin-1") for answer in answers if "download" in answer]
    outputs += [caplog.text, *(str(path) for path in tmp_path.rglob("*"))]
    for text in outputs:
        assert [secret for secret in SECRETS if secret.lower() in text.lower()] == []
    # The uploads are gone with their folders.
    assert list((tmp_path / "uploads").iterdir()) == []
    assert [answer["download"]["name"] for answer in answers if "download" in answer] == [
        "reading.json", "overlay.png", "evidence.html", "comparison.html"
    ]  # fmt: skip
    reading = json.loads(saved(answers[4]))
    schema = json.loads(files("anatomy_vlm").joinpath("prediction_schema.json").read_text())
    jsonschema.validate(reading, schema)
    assert reading[0]["file"] == "film.dcm" and reading[0]["prompts"][0]["text"] == "a large heart"
    overlay = Image.open(io.BytesIO(saved(answers[5])))
    assert overlay.format == "PNG" and not overlay.info


def test_the_page_shows_what_predict_says_with_the_patients_sides(handlers, service, gallery):
    answer = handlers.open_example("a", 0)
    view, record = answer["view"], service.read(gallery.examples[0].film).record
    assert len(view["regions"]) == 29 and [r["box"] for r in view["regions"]] == [r["box"] for r in record["regions"]]
    boxes = {region["name"]: region["box"] for region in view["regions"]}
    for name in ("lung", "costophrenic angle", "clavicle"):
        # The patient's right is on the left of the picture.
        assert boxes[f"right {name}"][0] < boxes[f"left {name}"][0]
    assert view["sides"] and "The patient's right is on the left" in view["alt"]
    scores = {item["name"]: item["score"] for item in view["findings"]}
    assert scores == {item["name"]: item["score"] for item in record["findings"]} and scores
    assert [item["called"] for item in view["findings"]] == sorted(
        (i["called"] for i in view["findings"]), reverse=True
    )
    assert view["image"].startswith("data:image/jpeg;base64,")
    assert set(scores) <= set(view["phrases"])


def test_pages_do_not_see_one_another(handlers):
    assert "view" in handlers.open_example("a", 0)
    for answer in (
        handlers.score_prompts("b", "a large heart", False),
        handlers.gather_evidence("b", CALLED),
        handlers.download("b", "reading"),
    ):
        assert answer == {"status": {"kind": "error", "text": "There is no film here any more: choose it again."}}
    mine = handlers.score_prompts("a", "a large heart\nrib fractures", False)["view"]
    other = handlers.open_example("b", 1)["view"]
    assert [prompt["text"] for prompt in mine["prompts"]] == ["a large heart", "rib fractures"]
    assert all(len(region["prompts"]) == 2 for region in mine["regions"])
    assert other["prompts"] == [] and other["image"] != mine["image"]
    assert json.loads(saved(handlers.download("a", "reading")))[0]["file"] == "example-1.png"
    handlers.leave("a")
    assert len(handlers.sessions) == 1 and handlers.download("a", "reading")["status"]["kind"] == "error"
    assert "download" in handlers.download("b", "reading")


def test_two_films_of_a_patient_are_compared_at_once_and_a_new_film_forgets_it(handlers):
    answer = handlers.open_example("a", 1)
    assert "<iframe" not in answer["comparison"]["html"] and "Two studies" in answer["comparison"]["html"]
    assert answer["evidence"] is None
    assert handlers.open_example("a", 0)["comparison"] is None
    assert handlers.download("a", "comparison")["status"]["kind"] == "error"


@pytest.mark.parametrize("content", [b"", b"not a film", b"\x89PNG\r\n\x1a\n broken", b"\0" * 128 + b"DICM broken"])
def test_a_broken_file_is_one_line_and_leaves_the_film(handlers, upload, content):
    handlers.open_example("a", 0)
    path = upload(content, "Zelda QUIXANA.png")
    answer = handlers.open_upload("a", str(path))
    assert list(answer) == ["status"] and answer["status"]["kind"] == "error"
    text = answer["status"]["text"]
    assert text.startswith("The file cannot be read as a film: ") and "\n" not in text
    # Libraries quote paths.
    assert "QUIXANA" not in text and "uploads" not in text
    assert not path.parent.exists()
    assert "download" in handlers.download("a", "reading")


def test_leaving_or_a_new_film_in_mid_run_is_harmless(service, gallery):
    class Interrupted(FilmService):
        def read(self, *args, **kwargs):
            reading = super().read(*args, **kwargs)
            while self.meanwhile:
                self.meanwhile.pop()()
            return reading

    slow = Interrupted(service.predictor)
    slow.meanwhile = []
    handlers = Handlers(slow, gallery)
    handlers.open_example("a", 0)
    slow.meanwhile = [lambda: handlers.leave("a")]
    answer = handlers.score_prompts("a", "a large heart", False)
    assert answer == {"status": {"kind": "error", "text": "The film was changed meanwhile: ask again."}}
    assert len(handlers.sessions) == 0
    handlers.open_example("a", 0)
    slow.meanwhile = [lambda: handlers.open_example("a", 1)]
    assert "view" not in handlers.score_prompts("a", "a large heart", False)
    assert json.loads(saved(handlers.download("a", "reading")))[0]["file"] == "example-2.png"


def test_a_mistake_in_the_app_does_not_quote_the_film(handlers, service, monkeypatch, caplog):
    def broken(*args, **kwargs):
        raise RuntimeError(f"{SECRETS[1]} could not be read")

    monkeypatch.setattr(service.predictor, "with_options", broken)
    answer = handlers.open_example("a", 0)
    assert answer["status"]["kind"] == "error" and "RuntimeError" in answer["status"]["text"]
    assert SECRETS[1] not in answer["status"]["text"] + caplog.text and "RuntimeError" in caplog.text


@pytest.mark.parametrize("text", ["\n".join(f"text {n}" for n in range(21)), "a" * 201])
def test_too_many_or_too_long_texts_are_one_line(handlers, text):
    handlers.open_example("a", 0)
    answer = handlers.score_prompts("a", text, False)
    assert answer["status"]["kind"] == "error" and "at most" in answer["status"]["text"]


def test_withheld_findings_stay_withheld_until_asked_for(handlers, upload, film):
    turned = film.rotate(180)
    answer = handlers.open_upload("a", str(upload(turned)))
    view = answer["view"]
    assert view["withheld"] and view["flags"] and view["findings"] == [] and "withheld" in answer["status"]["text"]
    assert "no evidence" in handlers.gather_evidence("a", CALLED)["status"]["text"]
    assert "no evidence card yet" in handlers.download("a", "evidence")["status"]["text"]
    refused = handlers.compare_upload("a", str(upload(film, folder="prior")))["status"]
    assert refused["kind"] == "error" and "--force" not in refused["text"]
    forced = handlers.score_prompts("a", "", True)["view"]
    assert not forced["withheld"] and forced["findings"] and forced["flags"]


def test_masks_are_drawn_by_name_where_there_is_a_writer(service, gallery):
    class Writer:
        structures = ("left_lung", "heart")

        def read(self, films, names):
            mask = np.zeros((films[0].height, films[0].width), dtype=bool)
            mask[40:80, 150:200] = True

            class Written:
                masks = {"left_lung": mask, "heart": np.zeros_like(mask)}
                presence = {"left_lung": 0.9, "heart": 0.1}

            return [Written]

    handlers = Handlers(FilmService(service.predictor, Writer()), gallery)
    handlers.open_example("a", 0)
    answer = handlers.draw_masks("a", ["left_lung", "heart"])
    lung, heart = answer["view"]["masks"]
    assert answer["status"]["text"] == "Masks drawn: left lung."
    assert (lung["name"], lung["pixels"], heart["pixels"]) == ("left lung", 40 * 50, 0)
    picture = Image.open(io.BytesIO(base64.b64decode(lung["image"].partition(",")[2])))
    # Where the mask is, and nowhere else: at the right of the picture, which is the patient's left.
    assert picture.mode == "RGBA" and picture.getchannel("A").getbbox() == (150, 40, 200, 80)
    assert handlers.draw_masks("a", ["spleen"])["status"]["kind"] == "error"
    assert handlers.draw_masks("a", [])["view"]["masks"] == []


def test_the_writer_of_the_package_draws_the_patients_sides(service, gallery):
    reader = find_mask_reader(None, "cpu")
    if reader is None:
        pytest.skip("no mask writer comes with this package")
    assert {"left lung", "right lung"} <= set(reader.structures)
    masks = FilmService(service.predictor, reader).masks(gallery.examples[0].film, ["right lung", "left lung"])
    columns = {name: np.argwhere(mask)[:, 1].mean() for name, (_, mask) in masks.items()}
    assert columns["right lung"] < columns["left lung"]


def test_sessions_are_forgotten_when_idle_or_too_many():
    now = [0.0]
    sessions = Sessions(max_sessions=2, idle_seconds=10, clock=lambda: now[0])
    first = Session()
    sessions.start("a", first)
    now[0] = 8
    assert sessions.get("a") is first and sessions.is_current("a", first)
    now[0] = 17
    sessions.start("b", Session())
    assert sessions.get("a") is first
    sessions.start("c", Session())
    assert len(sessions) == 2 and not sessions.is_current("b", first)
    with pytest.raises(ValueError, match="choose it again"):
        sessions.get("b")
    now[0] = 40
    with pytest.raises(ValueError, match="choose it again"):
        sessions.get("a")
    assert len(sessions) == 0


def test_an_upload_keeps_nothing_of_its_name(upload, film):
    path = upload(film, "Zelda QUIXANA 1961.png")
    taken = take_film(path, "film")
    assert str(taken) == "film.png" and not path.parent.exists()
    assert np.array_equal(taken.image.pixels, np.asarray(film))
