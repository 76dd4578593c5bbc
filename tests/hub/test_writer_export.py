"""Exported mask writers: by the command, and read where the package is not installed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from anatomy_vlm.training.model_folder import CheckpointError, load_mask_writer


def test_without_the_package_it_writes_the_same(writer_folder, film, tmp_path):
    names = {path.name for path in writer_folder.iterdir()}
    config = json.loads((writer_folder / "config.json").read_text())
    assert config["auto_map"]["AutoModelForMaskGeneration"] == "mask_writer_anatomy_vlm.AnatomyVLMForMaskGeneration"
    assert {"mask_writer_anatomy_vlm.py", "mask_fsq_anatomy_vlm.py", "model.safetensors"} <= names
    environment = {
        **os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1",
        "TRANSFORMERS_VERBOSITY": "error",
    }  # fmt: skip
    environment.pop("HF_MODULES_CACHE", None)
    script, out = Path(__file__).with_name("remote_writer.py"), tmp_path / "results.pt"
    done = subprocess.run(
        [sys.executable, str(script), str(writer_folder), str(out)],
        env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    remote = torch.load(out, weights_only=True)
    assert all(name.startswith("transformers_modules.") for name in remote["classes"])
    model, processor = load_mask_writer(writer_folder)
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
