"""Identities of the model that Transformers' common tests do not check."""

import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError
from torch import nn

from anatomy_vlm.modeling import CHEST_REGIONS, AnatomyVLMConfig, AnatomyVLMModel, AnatomyVLMVisionConfig
from anatomy_vlm.modeling.heads_anatomy_vlm import detection_logits, patch_weights
from anatomy_vlm.processing.vocabulary import REGION_NAMES


VISION = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 37,
    "image_size": 32,
    "patch_size": 8,
}
TEXT = {**VISION, "model_type": "bert", "vocab_size": 60, "max_position_embeddings": 16}
TEXT.pop("image_size"), TEXT.pop("patch_size")


def tiny(vision: dict | None = None, **config) -> AnatomyVLMModel:
    torch.manual_seed(0)
    settings = AnatomyVLMConfig(
        vision_config={**VISION, **(vision or {})}, text_config=TEXT, projection_dim=16, **config
    )
    return AnatomyVLMModel(settings)


def inputs(side: int = 32) -> dict[str, torch.Tensor]:
    ids = torch.randint(1, 60, (5, 7), generator=torch.Generator().manual_seed(1))
    return {
        "pixel_values": torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(2)),
        "input_ids": ids,
        "attention_mask": (torch.arange(7) < torch.tensor([7, 5, 3, 7, 1])[:, None]).long(),
    }


def test_region_names_agree_with_the_vocabulary():
    assert tuple(REGION_NAMES) == CHEST_REGIONS
    assert list(AnatomyVLMConfig().id2label.values()) == list(CHEST_REGIONS)


def test_outputs_have_the_documented_shapes_and_unit_embeddings():
    model = tiny().eval()
    outputs = model(**inputs())
    assert outputs.logits_per_image.shape == (2, 5)
    assert torch.equal(outputs.logits_per_text, outputs.logits_per_image.t())
    assert outputs.logits_per_region.shape == (2, 29, 5)
    assert outputs.pred_boxes.shape == (2, 29, 4)
    assert outputs.logits.shape == (2, 29, 30)
    for embeds in (outputs.image_embeds, outputs.region_embeds, outputs.text_embeds):
        assert torch.allclose(embeds.norm(dim=-1), torch.ones(embeds.shape[:-1]), atol=1e-5)
    expected = outputs.region_embeds @ outputs.text_embeds.t() * model.region_logit_scale.exp()
    assert torch.allclose(outputs.logits_per_region, expected + model.region_logit_bias, atol=1e-5)


def test_detection_logits_say_presence():
    presence = torch.tensor([[2.0, -1.0, 0.5]])
    probabilities = detection_logits(presence).softmax(-1)
    assert torch.allclose(probabilities[0, range(3), range(3)], presence[0].sigmoid())
    assert torch.allclose(probabilities[..., -1], 1 - presence.sigmoid())


@pytest.mark.parametrize("pooling", ["cls", "mean", "pooler"])
def test_text_features_of_the_bank_equal_reading_the_texts(pooling):
    model, batch = tiny(text_pooling=pooling).eval(), inputs()
    outputs = model(**batch)
    encoded = model.text_model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    features = model.pool_text(encoded, batch["attention_mask"])
    again = model(pixel_values=batch["pixel_values"], text_features=features)
    assert torch.allclose(outputs.logits_per_region, again.logits_per_region, atol=1e-6)
    projected = model.get_text_features(batch["input_ids"], batch["attention_mask"]).pooler_output
    assert torch.allclose(nn.functional.normalize(projected, dim=-1), outputs.text_embeds, atol=1e-6)


def test_mean_pooling_leaves_padding_out():
    model, batch = tiny(text_pooling="mean").eval(), inputs()
    short = {"input_ids": batch["input_ids"][2:3, :3], "attention_mask": torch.ones(1, 3, dtype=torch.long)}
    alone = model.get_text_features(**short).pooler_output
    padded = model.get_text_features(batch["input_ids"], batch["attention_mask"]).pooler_output[2:3]
    assert torch.allclose(alone, padded, atol=1e-5)


def test_text_encoder_is_frozen_and_stays_in_eval():
    assert not tiny().text_model.training
    model = tiny().train()
    assert not model.text_model.training and model.vision_model.training
    assert not any(p.requires_grad for p in model.text_model.parameters())
    assert model.text_projection.weight.requires_grad
    assert tiny(freeze_text_encoder=False).train().text_model.training


@pytest.mark.parametrize("size", [(32, 32), (48, 32), (40, 88), (35, 61)])
@pytest.mark.parametrize(("pooling", "glimpse_size"), [("image", 0), ("box", 0), ("box", 6)])
def test_any_input_size(size, pooling, glimpse_size):
    model = tiny(region_pooling=pooling, glimpse_size=glimpse_size).eval()
    outputs = model(pixel_values=torch.randn(1, 3, *size))
    assert outputs.region_embeds.shape == (1, 29, 16)
    assert torch.isfinite(outputs.region_embeds).all()


@pytest.mark.parametrize("size", [(35, 61), (39, 40)])
def test_with_a_stem_what_does_not_fill_a_patch_is_not_seen_either(size):
    model = tiny(vision={"stem_channels": [8, 16]}).eval()
    pixels = torch.randn(1, 3, *size)
    whole = model(pixel_values=pixels)
    seen = model(pixel_values=pixels[..., : size[0] // 8 * 8, : size[1] // 8 * 8])
    assert torch.equal(whole.pred_boxes, seen.pred_boxes)


def test_queries_see_the_patches_and_the_patches_the_queries():
    model = tiny(vision={"initializer_range": 0.3}).eval()
    pixel_values = inputs()["pixel_values"]

    def states(pixels):
        return model.vision_model(pixels).last_hidden_state

    before = states(pixel_values)
    changed = pixel_values.clone()
    changed[:, :, :8, :8] += 1
    assert ((states(changed) - before)[:, 1:30].abs().amax(-1) > 1e-4).all()
    with torch.no_grad():
        model.vision_model.embeddings.anatomy_queries[:, 3] += torch.randn(32)
    assert ((states(pixel_values) - before)[:, 30:].abs().amax(-1) > 1e-4).all()


def test_sequence_order_with_registers_and_stem():
    model = tiny(vision={"num_register_tokens": 3, "stem_channels": [8, 16]}).eval()
    states = model(pixel_values=inputs()["pixel_values"]).vision_model_output.last_hidden_state
    assert states.shape == (2, 1 + 29 + 3 + 16, 32)


def test_patch_weights_average_what_lies_inside():
    boxes = torch.tensor([[[0.25, 0.5, 0.5, 1.0], [0.9, 0.1, 0.01, 0.01], [0.5, 0.5, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0]]])
    weights = patch_weights(boxes, (2, 4)).reshape(4, 2, 4)
    left_half = torch.tensor([[0.25, 0.25, 0, 0], [0.25, 0.25, 0, 0]])
    assert torch.allclose(weights[0], left_half)
    assert weights[1, 0, 3] == 1 and weights[1].sum() == 1
    assert torch.allclose(weights.sum((1, 2)), torch.ones(4))


def test_glimpses_show_the_inside_of_the_boxes():
    glimpse = tiny(glimpse_size=8).glimpse
    image = torch.zeros(1, 1, 40, 40)
    image[..., 10:20, 24:36] = 1  # rows 10 to 20, columns 24 to 36: the right of the image, the patient's left
    inside = torch.tensor([[[30 / 40, 15 / 40, 10 / 40 / 1.2, 8 / 40 / 1.2], [0.25, 0.75, 0.2, 0.2]]])
    crops = glimpse.cut_out(image, inside)
    assert crops.shape == (1, 2, 64)
    assert torch.allclose(crops[0, 0], torch.ones(64)) and (crops[0, 1] == 0).all()
    half = glimpse.cut_out(image, torch.tensor([[[24 / 40, 15 / 40, 10 / 40, 4 / 40]]])).reshape(8, 8)
    assert (half[:, :4] < 0.5).all() and (half[:, 4:] > 0.5).all()


def test_glimpses_reach_regions_and_image_but_do_not_move_the_boxes():
    model = tiny(glimpse_size=6)
    outputs = model(**inputs())
    assert torch.equal(
        model.get_image_features(inputs()["pixel_values"]).pooler_output.argmax(-1), outputs.image_embeds.argmax(-1)
    )
    (outputs.logits_per_region.sum() + outputs.logits_per_image.sum()).backward()
    assert model.glimpse.pixel_projection.weight.grad.abs().sum() > 0
    assert model.box_head.reference.grad is None or (model.box_head.reference.grad == 0).all()


def test_loss_is_the_weighted_sum_of_what_the_targets_allow():
    model, batch = tiny(anatomy_loss_weight=0.5, giou_loss_weight=3.0, fine_loss_weight=0.25), inputs()
    corner = torch.rand(2, 29, 2) / 2
    targets = {
        "boxes": torch.cat((corner, corner + 0.3), -1),
        "image_labels": torch.randint(0, 2, (2, 5)).float(),
        "region_labels": torch.randint(0, 2, (2, 29, 5)).float(),
    }
    outputs = model(**batch, **targets)
    losses = outputs.loss_dict
    expected = 0.5 * (5 * losses["l1"] + 3 * losses["giou"] + losses["presence"]) + losses["global"]
    assert torch.allclose(outputs.loss, expected + 0.25 * losses["fine"])
    assert set(model(**batch, boxes=targets["boxes"]).loss_dict) == {"l1", "giou", "presence"}
    assert set(model(**batch, image_labels=targets["image_labels"]).loss_dict) == {"global"}


def test_hungarian_loss_does_not_depend_on_the_order_of_the_regions():
    model = tiny(box_assignment="hungarian").eval()
    corner = torch.rand(2, 29, 2) / 2
    boxes, order = torch.cat((corner, corner + 0.3), -1), torch.randperm(29)
    pixel_values = inputs()["pixel_values"]
    one, other = (model(pixel_values=pixel_values, boxes=b).loss for b in (boxes, boxes[:, order]))
    assert torch.allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("assignment", ["fixed", "hungarian"])
def test_auxiliary_losses_are_those_of_the_boxes_of_each_layer(assignment):
    corner = torch.rand(2, 29, 2) / 2
    boxes, pixel_values = torch.cat((corner, corner + 0.3), -1), inputs()["pixel_values"]
    plain = tiny(box_assignment=assignment)(pixel_values=pixel_values, boxes=boxes)
    assert plain.auxiliary_pred_boxes is None and set(plain.loss_dict) == {"l1", "giou", "presence"}

    model = tiny(box_assignment=assignment, auxiliary_loss=True)
    outputs = model(pixel_values=pixel_values, boxes=boxes)
    losses = outputs.loss_dict
    assert outputs.auxiliary_pred_boxes.shape == (1, 2, 29, 4)
    assert torch.allclose(losses["l1"], plain.loss_dict["l1"])
    expected = plain.loss + 5 * losses["l1_auxiliary"] + 2 * losses["giou_auxiliary"]
    assert torch.allclose(outputs.loss, expected)
    # Without its last layer, the model's boxes are those of the layer before.
    model.vision_model.layers = model.vision_model.layers[:1]
    model.config.auxiliary_loss = False
    shorter = model(pixel_values=pixel_values, boxes=boxes)
    assert torch.allclose(outputs.auxiliary_pred_boxes[0], shorter.pred_boxes, atol=1e-6)
    if assignment == "fixed":
        assert torch.allclose(losses["giou_auxiliary"], shorter.loss_dict["giou"], atol=1e-6)


@pytest.mark.parametrize("kind", ["contrastive", "sigmoid"])
def test_large_logits_are_not_kept_while_training(kind, monkeypatch):
    model, labels = tiny(fine_loss_type=kind), torch.randint(0, 2, (2, 29, 5)).float()
    small = model(**inputs(), region_labels=labels)
    monkeypatch.setattr("anatomy_vlm.modeling.modeling_anatomy_vlm.LARGE_LOGITS", 2 * 29 * 5 - 1)
    large = model(**inputs(), region_labels=labels)
    assert large.logits_per_region is None and small.logits_per_region is not None
    assert torch.equal(large.loss, small.loss)
    assert model(**inputs()).logits_per_region is not None
    assert model.eval()(**inputs(), region_labels=labels).logits_per_region is not None


def test_weights_of_texts_and_regions_reach_the_losses():
    model, batch = tiny(), inputs()
    labels = {"image_labels": torch.ones(2, 5), "region_labels": torch.randint(0, 2, (2, 29, 5)).float()}
    plain = model(**batch, **labels).loss_dict
    ones = {"text_weights": torch.ones(5), "region_weights": torch.ones(29)}
    for name, loss in model(**batch, **labels, **ones).loss_dict.items():
        assert torch.allclose(loss, plain[name])
    heavy = model(**batch, **labels, text_weights=torch.tensor([9.0, 1, 1, 1, 1])).loss_dict
    assert all(not torch.allclose(heavy[name], plain[name]) for name in plain)
    regions = model(**batch, **labels, region_weights=torch.arange(1.0, 30.0)).loss_dict
    assert torch.equal(regions["global"], plain["global"]) and not torch.allclose(regions["fine"], plain["fine"])


def test_compiles_without_graph_breaks():
    model = tiny().eval()
    batch = inputs()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    with torch.no_grad():
        assert torch.allclose(compiled(**batch).logits_per_region, model(**batch).logits_per_region, atol=1e-5)


def test_exports():
    model, batch = tiny().eval(), inputs()
    pixel_values = batch.pop("pixel_values")
    exported = torch.export.export(model, (pixel_values,), batch)
    with torch.no_grad():
        assert torch.equal(
            exported.module()(pixel_values, **batch).pred_boxes, model(pixel_values, **batch).pred_boxes
        )


@pytest.mark.parametrize("attention", ["eager", "sdpa", "flex_attention"])
def test_attention_backends_agree(attention):
    if attention == "flex_attention" and torch.__version__ < "2.13":
        pytest.skip("flex attention of small heads does not compile on the CPU with PyTorch 2.8")
    model = tiny(vision={"initializer_range": 0.3}).eval()
    pixel_values = inputs()["pixel_values"]
    with torch.no_grad():  # flex attention has no backward pass on the CPU
        expected = model.vision_model(pixel_values).last_hidden_state
        model.set_attn_implementation({"vision_config": attention, "text_config": "eager"})
        assert model.vision_model.config._attn_implementation == attention
        assert torch.allclose(model.vision_model(pixel_values).last_hidden_state, expected, atol=1e-4)


def test_gradient_checkpointing_gives_the_same_gradients():
    gradients = []
    for checkpointing in (False, True):
        model = tiny().train()
        if checkpointing:
            model.activation_checkpointing_enable()
        model(pixel_values=inputs()["pixel_values"]).pred_boxes.sum().backward()
        gradients.append(model.vision_model.embeddings.anatomy_queries.grad)
    assert torch.allclose(*gradients, atol=1e-6)


def test_bfloat16_runs_and_stays_close():
    model, batch = tiny().eval(), inputs()
    expected = model(**batch).pred_boxes
    half = model.to(torch.bfloat16)(**batch)
    assert half.pred_boxes.dtype == torch.bfloat16
    assert torch.allclose(half.pred_boxes.float(), expected, atol=0.02)


def test_stochastic_depth_acts_in_training_only():
    model = tiny(vision={"drop_path_rate": 0.5, "initializer_range": 0.3}).vision_model
    pixel_values = inputs()["pixel_values"].repeat(8, 1, 1, 1)

    def differ():
        return not torch.equal(model(pixel_values).last_hidden_state, model(pixel_values).last_hidden_state)

    model.eval()
    assert not differ()
    model.train()
    assert differ()


def test_missing_inputs_are_named():
    with pytest.raises(ValueError, match="pixel_values"):
        tiny()(input_ids=torch.ones(1, 3, dtype=torch.long))
    with pytest.raises(ValueError, match="need texts"):
        tiny()(pixel_values=inputs()["pixel_values"], image_labels=torch.ones(2, 5))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hidden_size": 30}, "multiple of `num_attention_heads`"),
        ({"image_size": 33}, "multiple of `patch_size`"),
        ({"num_anatomy_queries": 0}, "at least 1"),
        ({"stem_channels": [8, 8, 8, 8]}, "stem_channels"),
    ],
)
def test_impossible_architectures_are_refused(fields, message):
    with pytest.raises(StrictDataclassClassValidationError, match=message):
        AnatomyVLMVisionConfig(**{**VISION, **fields})


def test_unknown_choices_are_refused():
    with pytest.raises(StrictDataclassClassValidationError, match="region_pooling"):
        AnatomyVLMConfig(region_pooling="max")
