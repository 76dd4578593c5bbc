"""Adapters from files: those of older versions of Transformers find their modules, others are refused."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from anatomy_vlm.training.masks.vlm_adapters import AdapterOptions, adapt, plain_name, with_adapter
from anatomy_vlm.training.masks.vlm_model import load_vlm
from anatomy_vlm.training.masks.vlm_parts import find_parts, linear_targets


# How names of modules were before Transformers 4.52, and before 5.
OLD = {
    "before 4.52": [
        ("base_model.model.model.language_model.", "base_model.model.language_model.model."),
        ("base_model.model.model.vision_tower.", "base_model.model.vision_tower.vision_model."),
        ("base_model.model.model.multi_modal_projector.", "base_model.model.multi_modal_projector."),
    ],
    "before 5": [("base_model.model.model.vision_tower.", "base_model.model.model.vision_tower.vision_model.")],
    "now": [],
}
LEAVES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@pytest.fixture
def adapter(tiny_model, codec_file, tmp_path):
    """An adapter as the published code makes it: by names of layers, so that the vision model's are adapted too."""
    from peft import LoraConfig

    vlm = load_vlm(tiny_model("paligemma"), codec_file)
    config = LoraConfig(r=4, target_modules=LEAVES, task_type="CAUSAL_LM")
    vlm.model = with_adapter(vlm.model, config)
    torch.manual_seed(0)
    for name, parameter in vlm.model.named_parameters():
        if "lora_" in name:
            parameter.data.normal_(0, 0.3)
    vlm.model.eval().save_pretrained(tmp_path / "adapter")
    return vlm, tmp_path / "adapter"


@pytest.mark.parametrize("age", OLD)
def test_adapters_of_older_versions_mean_the_same(age, adapter, codec_file, logits_of):
    trained, folder = adapter
    weights = load_file(folder / "adapter_model.safetensors")
    for new, old in OLD[age]:
        weights = {name.replace(new, old): tensor for name, tensor in weights.items()}
    assert sum("vision_tower" in name for name in weights) and sum("language_model" in name for name in weights)
    save_file(weights, folder / "adapter_model.safetensors")
    loaded = load_vlm(folder, codec_file)
    torch.testing.assert_close(logits_of(loaded), logits_of(trained))


def test_adapters_of_another_architecture_or_without_all_weights_are_refused(adapter, tiny_model, codec_file):
    _, folder = adapter
    weights = load_file(folder / "adapter_model.safetensors")
    with pytest.raises(ValueError, match=r"the model has no place for .* more; .* another architecture"):
        load_vlm(folder, codec_file, base=str(tiny_model("florence2")))
    name = next(iter(weights))
    save_file({key: value for key, value in weights.items() if key != name}, folder / "adapter_model.safetensors")
    with pytest.raises(ValueError, match=r"no weights for .* it is incomplete"):
        load_vlm(folder, codec_file)
    save_file({**weights, name: weights[name][:1]}, folder / "adapter_model.safetensors")
    with pytest.raises(ValueError, match="another model, or another number of tokens"):
        load_vlm(folder, codec_file)
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"no adapter_model\.safetensors"):
        load_vlm(folder, codec_file)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": None}))
    with pytest.raises(ValueError, match="does not name its model"):
        load_vlm(folder, codec_file)


def test_frozen_vision_is_frozen_and_lora_reaches_what_it_is_meant_for(tiny_model, codec_file):
    for kind, leaves in (("paligemma", LEAVES), ("smolvlm", LEAVES), ("florence2", ["fc1", "q_proj"])):
        model = load_vlm(tiny_model(kind), codec_file).model
        parts = find_parts(model)
        assert all(leaf in linear_targets(model, parts.text) for leaf in leaves)
        adapted = adapt(model, AdapterOptions(rank=2, projector=False))
        named = [name for name, parameter in adapted.named_parameters() if parameter.requires_grad]
        assert named and all(f"{parts.text}." in name and "lora_" in name for name in named)
    for vision in ("lora", "full"):
        model = load_vlm(tiny_model("paligemma"), codec_file).model
        named = [
            name
            for name, parameter in adapt(model, AdapterOptions(rank=2, vision=vision)).named_parameters()
            if parameter.requires_grad and "vision_tower" in name
        ]
        assert named and all("lora_" in name for name in named) == (vision == "lora")


def test_without_adapters_the_parts_are_frozen_as_asked(tiny_model, codec_file):
    model = adapt(load_vlm(tiny_model("paligemma"), codec_file).model, AdapterOptions(rank=0, projector=False))
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert learning == {name for name, _ in model.named_parameters() if "language_model" in name}
    with pytest.raises(ValueError, match="vision must be one of"):
        AdapterOptions(vision="thawed")
    with pytest.raises(ValueError, match="no text model"):
        find_parts(torch.nn.Linear(2, 2))


def test_plain_names_of_other_models():
    assert plain_name("base_model.model.visual.blocks.0.attn.qkv.lora_A.weight") == plain_name(
        "base_model.model.model.visual.blocks.0.attn.qkv.lora_A.weight"
    )
    assert plain_name("base_model.model.model.layers.1.mlp.up_proj.lora_B.weight") == plain_name(
        "base_model.model.model.language_model.layers.1.mlp.up_proj.lora_B.weight"
    )
