"""Exported segmentation models: with the package by the command, and without it by `trust_remote_code=True`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation

from anatomy_vlm.cli import main
from anatomy_vlm.modeling import AnatomyVLMForSemanticSegmentation, AnatomyVLMSegmentationConfig
from anatomy_vlm.processing import AnatomyVLMImageProcessorPil
from anatomy_vlm.training.export_hub import ExportError
from anatomy_vlm.training.export_masks import export_mask_model


NAMES = {0: "background", 1: "left lung", 2: "cardiac silhouette"}


@pytest.fixture(scope="module")
def segmenter():
    torch.manual_seed(0)
    config = AnatomyVLMSegmentationConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8,
        decoder_channels=[8, 8], id2label=NAMES,
    )  # fmt: skip
    processor = AnatomyVLMImageProcessorPil(size={"height": 32, "width": 32})
    return AnatomyVLMForSemanticSegmentation(config).eval(), processor


@pytest.fixture(scope="module")
def exported(segmenter, film, tmp_path_factory):
    """By the command, from a checkpoint; `film.png` lies beside."""
    scratch = tmp_path_factory.mktemp("segmenter")
    for part in segmenter:
        part.save_pretrained(scratch / "checkpoint")
    (scratch / "checkpoint" / "README.md").write_text("# Masks\n")
    film.save(scratch / "film.png")
    assert main(["export", str(scratch / "checkpoint"), str(scratch / "model")]) == 0
    return scratch / "model"


def test_the_folder_holds_weights_processor_code_and_card(exported):
    names = {path.name for path in exported.iterdir()}
    assert {"config.json", "model.safetensors", "preprocessor_config.json", "README.md"} <= names
    config = json.loads((exported / "config.json").read_text())
    processor = json.loads((exported / "preprocessor_config.json").read_text())
    references = [*config["auto_map"].values(), *processor["auto_map"]["AutoImageProcessor"].values()]
    assert {f"{reference.partition('.')[0]}.py" for reference in references} <= names
    assert "auto_map" not in json.loads((exported.parent / "checkpoint" / "config.json").read_text())


def test_with_the_package_it_is_the_packages_own(exported, segmenter):
    model = AutoModelForSemanticSegmentation.from_pretrained(exported, trust_remote_code=True)
    assert type(model) is AnatomyVLMForSemanticSegmentation and model.config.id2label == NAMES
    assert type(AutoImageProcessor.from_pretrained(exported)) is AnatomyVLMImageProcessorPil
    for name, value in segmenter[0].state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name


def test_without_the_package_it_gives_the_same_masks(exported, segmenter, film, tmp_path):
    reader, out = Path(__file__).with_name("remote_segmenter.py"), tmp_path / "results.pt"
    environment = {
        **os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1",
        "TRANSFORMERS_VERBOSITY": "error",
    }  # fmt: skip
    environment.pop("HF_MODULES_CACHE", None)
    done = subprocess.run(
        [sys.executable, str(reader), str(exported), str(out)],
        env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    remote = torch.load(out, weights_only=False)
    assert all(name.startswith("transformers_modules.") for name in remote["classes"])
    assert remote["names"] == NAMES
    model, processor = segmenter
    with torch.no_grad():
        outputs = model(**processor(film, return_tensors="pt"))
    torch.testing.assert_close(remote["logits"], outputs.logits, rtol=1e-5, atol=1e-6)
    size = [(film.height, film.width)]
    assert remote["masks"].shape == (2, film.height, film.width)
    assert torch.equal(remote["masks"], processor.post_process_multi_label_segmentation(outputs, size)[0])
    assert torch.equal(remote["labels"], processor.post_process_semantic_segmentation(outputs, size)[0])


def test_without_code_and_in_half(segmenter, tmp_path):
    model, processor = segmenter
    folder = export_mask_model(model, tmp_path / "half", processor, half=True, code=False)
    assert not list(folder.glob("*.py")) and "auto_map" not in (folder / "config.json").read_text()
    again = AutoModelForSemanticSegmentation.from_pretrained(folder)
    torch.testing.assert_close(again.state_dict(), model.state_dict(), rtol=1e-3, atol=1e-4)
    assert not hasattr(model.config, "auto_map")


def test_what_cannot_be_exported_is_named(segmenter, tmp_path):
    with pytest.raises(ExportError, match="nowhere: cannot be loaded"):
        export_mask_model(tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(ExportError, match="needs the image processor"):
        export_mask_model(segmenter[0], tmp_path / "out")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ExportError, match="not empty and no model folder"):
        export_mask_model(segmenter[0], tmp_path, segmenter[1])
