"""A model of public towers: their features, the pooling of the text encoder, saving and loading."""

import json

import pytest
import torch
import transformers
from torch import nn
from transformers import AutoConfig, PreTrainedModel

from anatomy_vlm.modeling import AnatomyVLMModel
from anatomy_vlm.modeling.text_source_anatomy_vlm import load_text_model, trained_pooling


SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
LENGTH = {"vocab_size": 40, "max_position_embeddings": 12}
IDS = torch.tensor([[5, 7, 9, 3, 2], [6, 8, 2, 1, 1]])
MASK = (IDS != 1).long()


def vision() -> PreTrainedModel:
    torch.manual_seed(0)
    return transformers.ViTModel(transformers.ViTConfig(**SIZES, image_size=16, patch_size=8)).eval()


def text(name: str, **fields) -> PreTrainedModel:
    torch.manual_seed(1)
    cls = getattr(transformers, name)
    return cls(cls.config_class(**{**SIZES, **LENGTH, **fields})).eval()


def test_a_model_of_two_folders_is_saved_and_loaded(tmp_path):
    vision().save_pretrained(tmp_path / "vision")
    text("BertModel").save_pretrained(tmp_path / "text")
    fields = {"vision_config": {"query_attention": "read_only"}, "projection_dim": 8}
    model = AnatomyVLMModel.from_vision_text_pretrained(str(tmp_path / "vision"), str(tmp_path / "text"), **fields)
    assert model.config.text_pooling == "cls" and not model.training
    assert str(tmp_path) not in model.config.to_json_string()
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        outputs = model(pixel_values=images, input_ids=IDS, attention_mask=MASK)
        states = outputs.vision_model_output.last_hidden_state
        torch.testing.assert_close(states[:, [0, *range(30, 34)]], vision()(images).last_hidden_state)
        expected = text("BertModel")(IDS, MASK).last_hidden_state[:, 0]
        torch.testing.assert_close(model.sentence_features(IDS, MASK), expected)
        model.save_pretrained(tmp_path / "saved")
        again = AnatomyVLMModel.from_pretrained(tmp_path / "saved")
        same = again(pixel_values=images, input_ids=IDS, attention_mask=MASK)
        assert torch.equal(same.logits_per_region, outputs.logits_per_region)


def test_clip_text_is_pooled_at_its_end_token():
    clip = text("CLIPTextModel", eos_token_id=2, pad_token_id=1)
    clip.config.eos_token_id = clip.eos_token_id = 3  # not the legacy id, which takes the highest
    ids = torch.tensor([[5, 7, 9, 3, 1], [6, 3, 1, 1, 1]])
    model = AnatomyVLMModel.from_vision_text_pretrained(vision(), clip)
    assert model.config.text_pooling == "pooler" and model.config.text_length is None
    with torch.no_grad():
        features = model.sentence_features(ids, (ids != 1).long())
        states = clip(ids).last_hidden_state  # causal: what follows the end token cannot matter
    torch.testing.assert_close(features, torch.stack((states[0, 3], states[1, 1])), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["SiglipTextModel", "Siglip2TextModel"])
def test_siglip_text_is_padded_to_its_full_length(name, tmp_path):
    siglip = text(name, pad_token_id=1, projection_size=16)
    model = AnatomyVLMModel.from_vision_text_pretrained(vision(), siglip)
    assert model.config.text_pooling == "pooler" and model.config.text_length == 12
    with torch.no_grad():
        expected = siglip(nn.functional.pad(IDS, (0, 7), value=1)).pooler_output
        torch.testing.assert_close(model.sentence_features(IDS, MASK), expected)
        model.save_pretrained(tmp_path)
        again = AnatomyVLMModel.from_pretrained(tmp_path)
        torch.testing.assert_close(again.sentence_features(IDS), expected)


def test_the_text_tower_of_a_dual_checkpoint_is_taken(tmp_path):
    cls = transformers.SiglipModel
    fields = {**SIZES, **LENGTH, "projection_size": 16}
    config = cls.config_class(vision_config={**SIZES, "image_size": 16, "patch_size": 8}, text_config=fields)
    torch.manual_seed(0)
    whole = cls(config).eval()
    whole.save_pretrained(tmp_path)
    model = AnatomyVLMModel.from_vision_text_pretrained(str(tmp_path), str(tmp_path))
    full = nn.functional.pad(IDS, (0, 7), value=1)
    with torch.no_grad():
        torch.testing.assert_close(model.sentence_features(IDS), whole.text_model(full).pooler_output)


def test_pooling_files_and_configurations_decide(tmp_path):
    text("BertModel").save_pretrained(tmp_path)
    folder = tmp_path / "1_Pooling"
    folder.mkdir()
    config = AutoConfig.from_pretrained(tmp_path)
    assert trained_pooling(config, str(tmp_path)) == "cls"
    for file, expected in (
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, "mean"),
        ({"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True, "include_prompt": True}, "cls"),
        ({"pooling_mode": "mean"}, "mean"),
    ):
        (folder / "config.json").write_text(json.dumps(file))
        assert trained_pooling(config, str(tmp_path)) == expected
    model = AnatomyVLMModel.from_vision_text_pretrained(vision(), str(tmp_path))
    with torch.no_grad():
        states = text("BertModel")(IDS, MASK).last_hidden_state
        mean = (states * MASK[..., None]).sum(1) / MASK.sum(1, keepdim=True)
        torch.testing.assert_close(model.sentence_features(IDS, MASK), mean)
    (folder / "config.json").write_text(json.dumps({"pooling_mode_lasttoken": True}))
    with pytest.raises(ValueError, match="pools its tokens by lasttoken; we have cls and mean"):
        trained_pooling(config, str(tmp_path))
    assert trained_pooling(transformers.ModernBertConfig(classifier_pooling="mean")) == "mean"


def test_cxr_bert_is_read_without_its_own_code(tmp_path):
    source = transformers.BertForMaskedLM(text("BertModel").config).eval()
    source.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "cxr-bert", "projection_size": 8, "auto_map": {"AutoModel": "modeling_cxrbert.CXRBert"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = AnatomyVLMModel.from_vision_text_pretrained(vision(), str(tmp_path))
    assert model.config.text_config.model_type == "bert"
    with torch.no_grad():
        expected = source.bert(IDS, MASK).last_hidden_state[:, 0]
        torch.testing.assert_close(model.sentence_features(IDS, MASK), expected)


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ValueError, match="cannot be loaded as a text encoder"):
        load_text_model(str(tmp_path / "absent"))
    (tmp_path / "open_clip_config.json").write_text("{}")
    with pytest.raises(ValueError, match="holds an OpenCLIP model"):
        load_text_model(str(tmp_path))
