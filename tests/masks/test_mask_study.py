"""Training of writers and the study beside a U-Net, by their commands: tables, and nothing done twice."""

import json

import pytest
import torch

from anatomy_vlm.cli import main
from anatomy_vlm.modeling import AnatomyVLMForSemanticSegmentation, AnatomyVLMSegmentationConfig
from anatomy_vlm.processing import AnatomyVLMImageProcessorPil
from anatomy_vlm.training.masks.codec_training import build_codec, save_codec
from anatomy_vlm.training.masks.study import FEW, NEW_STRUCTURES, STUDIES, only, variants_of
from anatomy_vlm.training.model_folder import load_mask_writer


pytest.importorskip("numba", reason="needs the extra synthesis")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A tiny tower, and an untrained codec."""
    torch.manual_seed(0)
    config = AnatomyVLMSegmentationConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=4, intermediate_size=32, image_size=64, patch_size=16,
        stem_channels=[4, 8], decoder_channels=[8],
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("source")
    AnatomyVLMForSemanticSegmentation(config).save_pretrained(folder / "model")
    AnatomyVLMImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained(folder / "model")
    save_codec(build_codec("anatomy"), folder / "codec.safetensors")
    return folder


def options(source, *more):
    given = ["--model", source / "model", "--codec", source / "codec.safetensors", "--image-size", 64, "--workers", 0]
    return [str(value) for value in (*given, "--cpu", "--float32", *more)]


def test_a_table_beside_a_unet_and_nothing_twice(source, tmp_path, capsys):
    pytest.importorskip("monai", reason="needs the extra segmentation")
    small = ("--films", 5, "--test-films", 3, "--steps", 2, "--batch-size", 2, "--structures-per-film", 3)
    command = ["mask-study", "unet", "--out", str(tmp_path), *options(source, *small)]
    assert main(command) == 0
    results = json.loads((tmp_path / "unet" / "results.json").read_text())
    rows = results["tables"]["synthetic"]["scores"]
    assert {row["method"] for row in rows} == {"writer", "U-Net"}
    assert {"right lung", "left lung", "cardiac silhouette"} <= {row["structure"] for row in rows}
    assert {"code", "libraries", "codec_sha256", "trainings"} <= set(results["receipt"])
    assert "| left lung | U-Net |" in (tmp_path / "unet" / "table.md").read_text()
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "networks").iterdir()}
    assert len(stamps) == 4
    assert main(command) == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "networks").iterdir()} == stamps
    capsys.readouterr()
    assert main([*command[:-6], "--films", "6"]) == 2
    assert "holds 5 films of 64 pixels, not 6" in capsys.readouterr().err


def test_a_writer_is_trained_exported_and_described(source, tmp_path):
    small = ("--films", 4, "--steps", 2, "--batch-size", 2, "--save-steps", 1)
    assert main(["train-masks", "--out", str(tmp_path), *options(source, *small)]) == 0
    model, _ = load_mask_writer(tmp_path / "model")
    assert "left lung" in model.config.structures
    written = model.write_masks(torch.zeros(1, 3, 64, 64), ["left lung"])
    assert written.rasters.shape == (1, 1, 64, 64)
    assert "trained weights" in (tmp_path / "model" / "README.md").read_text()


def test_variants_are_what_the_study_says():
    assert {study for study in STUDIES if variants_of(study)} == set(STUDIES)
    few = variants_of("few-shot", few_steps=7)
    assert few[0].tested == () and {variant.films for variant in few[1:]} == set(FEW)
    assert sum(bool(variant.start) for variant in few) == len(FEW)
    assert [variant.fields for variant in variants_of("resolution", 160)][::2] == [
        {"image_size": 112},
        {"image_size": 224},
    ]
    with pytest.raises(ValueError, match="unknown study 'depth'"):
        variants_of("depth")


def test_what_is_held_out_is_not_on_the_films(shapes):
    some = only(shapes, ["left lung", "cardiac silhouette"])
    assert some.names == ("cardiac silhouette", "left lung")
    lung = shapes.names.index("left lung")
    assert torch.equal(some.boxes[some.table()[:, 1]], shapes.boxes[shapes.table()[:, lung]])
    assert not set(NEW_STRUCTURES) & set(some.names)


def test_a_codec_of_another_form_is_named(source, tmp_path, capsys):
    save_codec(build_codec("paligemma"), tmp_path / "other.safetensors")
    arguments = options(source, "--films", 2, "--steps", 1)
    arguments[arguments.index("--codec") + 1] = str(tmp_path / "other.safetensors")
    assert main(["train-masks", "--out", str(tmp_path / "out"), *arguments]) == 2
    assert "other.safetensors: not a codec of the form" in capsys.readouterr().err
