"""`predict --masks`: files, pictures and records of structures, named as a user would."""

import json
from importlib.resources import files

import jsonschema
import numpy as np
import pytest
import torch
from PIL import Image

from anatomy_vlm.cli import main
from anatomy_vlm.film_masks import MaskPredictor, mask_records
from anatomy_vlm.modeling import AnatomyVLMForMaskGeneration, AnatomyVLMMaskConfig
from anatomy_vlm.processing import AnatomyVLMImageProcessorPil
from anatomy_vlm.processing.mask_pictures import draw_masks
from anatomy_vlm.training.evaluation.mask_reading import FilmMasks


NAMES = ["right lung", "left lung", "heart", "rib_left_4", "rib_right_4"]


@pytest.fixture(scope="module")
def writer_folder(tmp_path_factory):
    """Untrained; it says of every structure that it is there."""
    torch.manual_seed(0)
    config = AnatomyVLMMaskConfig(
        structures=NAMES, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        image_size=32, patch_size=8, decoder_num_layers=1, decoder_num_heads=2, glimpse_channels=[4, 8],
        codec_levels=[4, 4], codec_hidden_size=16, codec_num_layers=1, codec_encoder_sizes=[4, 4, 4],
        codec_decoder_sizes=[4, 4, 4],
    )  # fmt: skip
    model = AnatomyVLMForMaskGeneration(config)
    model.presence_head.bias.data.fill_(9.0)
    folder = tmp_path_factory.mktemp("writer") / "model"
    model.save_pretrained(folder)
    AnatomyVLMImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def test_masks_are_written_drawn_and_recorded(checkpoint, writer_folder, films, tmp_path):
    out = tmp_path / "masks"
    arguments = ["predict", str(films / "a.png"), str(films / "ward"), "--model", str(checkpoint), "--device", "cpu"]
    arguments += ["--masks", "heart, left lung, ribs", "--mask-model", str(writer_folder), "--save-masks", str(out)]
    arguments += ["--json", str(tmp_path / "out.json"), "--overlay", str(tmp_path / "pictures")]
    assert main(arguments) == 0
    records = json.loads((tmp_path / "out.json").read_text())
    jsonschema.validate(records, json.loads(files("anatomy_vlm").joinpath("prediction_schema.json").read_text()))
    wanted = {"heart", "left lung", "rib_left_4", "rib_right_4"}
    for record, stem, size in zip(records, ("a", "b"), ((260, 300), (320, 240))):
        masks = {mask["name"]: mask for mask in record["masks"]}
        assert set(masks) == wanted and record["mask_model"] == str(writer_folder)
        for name, mask in masks.items():
            with Image.open(out / stem / f"{name.replace(' ', '_')}.png") as picture:
                pixels = np.asarray(picture) > 0
                assert picture.size == size
            assert pixels.sum() == mask["pixels"]
            if mask["box"]:
                x0, y0, x1, y1 = mask["box"]
                assert pixels[y0:y1, x0:x1].sum() == mask["pixels"] and pixels[y0].any() and pixels[:, x1 - 1].any()
        assert (tmp_path / "pictures" / f"{stem}.masks.png").is_file()


@pytest.mark.parametrize(
    ("extra", "problem"),
    [
        (["--masks", "spleen"], "spleen"),
        (["--masks", "left hart"], "did you mean"),
        (["--save-masks", "out"], "--save-masks needs --masks"),
        (["--masks", "heart", "--mask-model", "nowhere at all"], "no such folder"),
    ],
)
def test_mistakes_are_one_line(checkpoint, writer_folder, films, extra, problem, capsys):
    base = ["predict", str(films / "a.png"), "--model", str(checkpoint), "--device", "cpu"]
    if "--mask-model" not in extra:
        extra = [*extra, "--mask-model", str(writer_folder)]
    assert main([*base, *extra]) == 2
    error = capsys.readouterr().err
    assert problem in error and "Traceback" not in error


def test_a_writer_is_asked_in_its_own_words(writer_folder):
    predictor = MaskPredictor.load("HEART, fourth left rib", writer_folder, device="cpu")
    assert predictor.structures == ["heart", "rib_left_4"]


def test_an_empty_mask_has_no_box():
    masks = {"heart": np.zeros((4, 6), bool), "left lung": np.eye(4, 6, 2, dtype=bool)}
    records = mask_records(FilmMasks(masks, {"heart": 0.1, "left lung": 0.9}, {}))
    assert records[0] == {"name": "heart", "presence": 0.1, "pixels": 0, "box": None}
    assert records[1]["box"] == [2, 0, 6, 4]


def test_pictures_show_masks_where_they_are_and_the_patients_sides():
    film = np.full((100, 100), 90, np.uint8)
    masks = {"left lung": np.zeros((100, 100), bool), "heart": np.zeros((100, 100), bool)}
    masks["left lung"][20:80, 60:90] = True
    picture = np.asarray(draw_masks(film, masks, height=200, labels=False, sides=False), int)
    colourful = picture.max(-1) - picture.min(-1) > 20
    assert colourful[:, 120:180].any() and not colourful[:, :110].any()
    assert draw_masks(film, masks, height=200).width > 200
    with pytest.raises(ValueError, match="the mask of 'heart' is"):
        draw_masks(film, {"heart": np.zeros((9, 9), bool)})
