"""Exported mask writers: by the command, and read where the package is not installed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from anatomy_vlm.cli import main
from anatomy_vlm.modeling import AnatomyVLMForMaskGeneration, AnatomyVLMMaskConfig
from anatomy_vlm.processing import AnatomyVLMImageProcessorPil
from anatomy_vlm.training.model_folder import CheckpointError, load_mask_writer


@pytest.fixture(scope="module")
def exported(film, tmp_path_factory):
    torch.manual_seed(0)
    config = AnatomyVLMMaskConfig(
        structures=["left lung", "heart"], hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, image_size=32, patch_size=8, decoder_num_layers=1, decoder_num_heads=2,
        glimpse_channels=[4, 8], codec_levels=[4, 4], codec_hidden_size=16, codec_num_layers=1,
        codec_encoder_sizes=[4, 4, 4], codec_decoder_sizes=[4, 4, 4],
    )  # fmt: skip
    model = AnatomyVLMForMaskGeneration(config).eval()
    model.presence_head.bias.data.fill_(9.0)
    scratch = tmp_path_factory.mktemp("writer")
    model.save_pretrained(scratch / "checkpoint")
    AnatomyVLMImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(scratch / "checkpoint")
    film.save(scratch / "film.png")
    assert main(["export", str(scratch / "checkpoint"), str(scratch / "model")]) == 0
    return scratch / "model"


def test_without_the_package_it_writes_the_same(exported, film, tmp_path):
    names = {path.name for path in exported.iterdir()}
    config = json.loads((exported / "config.json").read_text())
    assert config["auto_map"]["AutoModelForMaskGeneration"] == "mask_writer_anatomy_vlm.AnatomyVLMForMaskGeneration"
    assert {"mask_writer_anatomy_vlm.py", "mask_fsq_anatomy_vlm.py", "model.safetensors"} <= names
    environment = {
        **os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1",
        "TRANSFORMERS_VERBOSITY": "error",
    }  # fmt: skip
    environment.pop("HF_MODULES_CACHE", None)
    script, out = Path(__file__).with_name("remote_writer.py"), tmp_path / "results.pt"
    done = subprocess.run(
        [sys.executable, str(script), str(exported), str(out)],
        env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    remote = torch.load(out, weights_only=True)
    assert all(name.startswith("transformers_modules.") for name in remote["classes"])
    model, processor = load_mask_writer(exported)
    pixel_values = processor(film, return_tensors="pt")["pixel_values"]
    rows = [model.generate(pixel_values, decoder_input_ids=model.prompt([name])) for name in model.config.structures]
    assert torch.equal(remote["tokens"], torch.cat(rows))
    assert torch.equal(remote["masks"], model.decode_masks(torch.cat(rows), (film.height, film.width)))
    written = model.write_masks(pixel_values, model.config.structures)
    torch.testing.assert_close(remote["rasters"], written.rasters, rtol=1e-4, atol=1e-5)


def test_another_model_is_refused(hub_folder, tmp_path):
    with pytest.raises(CheckpointError, match="model type 'anatomy_vlm'; expected 'anatomy_vlm_mask_generation'"):
        load_mask_writer(hub_folder)
    with pytest.raises(CheckpointError, match="no such folder"):
        load_mask_writer(tmp_path / "no where")
