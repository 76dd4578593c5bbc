"""Exported folders with the package installed, and what export refuses or leaves alone."""

import json

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForObjectDetection,
    AutoModelForZeroShotImageClassification,
    AutoProcessor,
    BertConfig,
    BertModel,
)

from anatomy_vlm.cli import main
from anatomy_vlm.modeling import AnatomyVLMConfig, AnatomyVLMModel, AnatomyVLMVisionModel
from anatomy_vlm.processing import AnatomyVLMImageProcessorPil, AnatomyVLMProcessor
from anatomy_vlm.training.export_hub import ExportError, export


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_folder_is_complete(hub_folder):
    names = {path.name for path in hub_folder.iterdir()}
    assert names >= {
        "README.md", "config.json", "model.safetensors", "processor_config.json", "tokenizer.json",
        "configuration_anatomy_vlm.py", "modeling_anatomy_vlm.py", "vision_anatomy_vlm.py", "losses_anatomy_vlm.py",
        "processing_anatomy_vlm.py", "image_processing_anatomy_vlm.py", "image_processing_pil_anatomy_vlm.py",
    }  # fmt: skip
    config = json.loads((hub_folder / "config.json").read_text())
    processor = json.loads((hub_folder / "processor_config.json").read_text())
    backends = processor["image_processor"]["auto_map"]["AutoImageProcessor"]
    assert set(backends) == {"pil", "torchvision"}
    for reference in [*config["auto_map"].values(), *processor["auto_map"].values(), *backends.values()]:
        assert f"{reference.partition('.')[0]}.py" in names


@pytest.mark.parametrize("auto", [AutoModel, AutoModelForZeroShotImageClassification, AutoModelForObjectDetection])
def test_with_the_package_no_trust_is_needed(auto, hub_folder, tiny):
    model = auto.from_pretrained(hub_folder)
    assert type(model) is AnatomyVLMModel
    for name, value in tiny[0].state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name


def test_with_the_package_the_other_auto_classes_give_its_own(hub_folder):
    assert type(AutoConfig.from_pretrained(hub_folder)) is AnatomyVLMConfig
    assert type(AutoProcessor.from_pretrained(hub_folder)) is AnatomyVLMProcessor
    assert type(AutoImageProcessor.from_pretrained(hub_folder)) is AnatomyVLMImageProcessorPil


def test_the_package_wins_over_the_code_of_a_folder(hub_folder):
    assert type(AutoModel.from_pretrained(hub_folder, trust_remote_code=True)) is AnatomyVLMModel


def test_the_vision_tower_alone_loads_from_the_folder(hub_folder, tiny):
    tower = AnatomyVLMVisionModel.from_pretrained(hub_folder)
    assert torch.equal(tower.embeddings.anatomy_queries, tiny[0].vision_model.embeddings.anatomy_queries)


def test_export_leaves_the_model_as_it_was(tiny, hub_folder):
    assert not hasattr(tiny[0].config, "auto_map") and not hasattr(tiny[0].config.vision_config, "auto_map")


def test_an_export_of_an_export_is_equal(hub_folder, tmp_path):
    again = export(hub_folder, tmp_path / "again", card=(hub_folder / "README.md").read_text())
    first, second = contents(hub_folder), contents(again)
    assert first.keys() == second.keys()
    # Transformers notes where a tokenizer came from, and the dtype of weights that were loaded.
    notes = {"config.json", "tokenizer_config.json"}
    assert {name for name in first if first[name] != second[name]} <= notes


def test_a_failed_export_leaves_the_old_one(tiny, hub_folder, tmp_path, monkeypatch):
    folder = export(tiny[0], tmp_path / "model", tiny[1], "first")
    before = contents(folder)

    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(AnatomyVLMProcessor, "save_pretrained", fail)
    with pytest.raises(OSError, match="disk full"):
        export(tiny[0], folder, tiny[1], "second")
    assert contents(folder) == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert not hasattr(tiny[0].config, "auto_map")


def test_an_export_that_cannot_be_moved_puts_the_old_one_back(tiny, tmp_path, monkeypatch):
    folder = export(tiny[0], tmp_path / "model", tiny[1], "first")
    before = contents(folder)
    from anatomy_vlm.training import export_hub

    moves, replace = [], export_hub.os.replace

    def second_fails(source, target):
        moves.append(source)
        if len(moves) == 2:
            raise OSError("no permission")
        replace(source, target)

    monkeypatch.setattr(export_hub.os, "replace", second_fails)
    with pytest.raises(OSError, match="no permission"):
        export(tiny[0], folder, tiny[1], "second")
    assert contents(folder) == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_new_export_replaces_the_old_one_whole(tiny, tmp_path):
    folder = export(tiny[0], tmp_path / "model", tiny[1], "first")
    (folder / "left-over.txt").write_text("of the first")
    export(tiny[0], folder, tiny[1], "second")
    assert (folder / "README.md").read_text() == "second"
    assert not (folder / "left-over.txt").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_folder_of_something_else_is_not_touched(tiny, tmp_path):
    (tmp_path / "thesis.txt").write_text("chapter 1")
    with pytest.raises(ExportError, match="not empty and no model folder"):
        export(tiny[0], tmp_path, tiny[1])
    assert contents(tmp_path) == {"thesis.txt": b"chapter 1"}


def test_a_foreign_checkpoint_is_refused_in_one_line(tmp_path, capsys):
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    BertModel(BertConfig(**sizes, vocab_size=10)).save_pretrained(tmp_path / "bert")
    capsys.readouterr()
    assert main(["export", str(tmp_path / "bert"), str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err.strip()
    assert error.count("\n") == 0 and str(tmp_path / "bert") in error
    assert not (tmp_path / "out").exists()
