"""The segmentation model: shapes, losses against references, what it starts from, and its masks on the film."""

import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError
from PIL import Image
from torch import nn
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForSemanticSegmentation,
    BertConfig,
    pipeline,
)
from transformers.modeling_outputs import SemanticSegmenterOutput

from anatomy_vlm.modeling import (
    AnatomyVLMConfig,
    AnatomyVLMForSemanticSegmentation,
    AnatomyVLMModel,
    AnatomyVLMSegmentationConfig,
    AnatomyVLMVisionModel,
)
from anatomy_vlm.modeling.segmentation_losses_anatomy_vlm import mask_losses, structure_masks
from anatomy_vlm.processing import AnatomyVLMImageProcessorPil


VISION = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 37,
    "image_size": 32,
    "patch_size": 8,
}
NAMES = {0: "background", 1: "right lung", 2: "left lung", 3: "cardiac silhouette"}


def tiny(**fields) -> AnatomyVLMForSemanticSegmentation:
    torch.manual_seed(0)
    settings = {**VISION, "decoder_channels": [16, 8], "id2label": NAMES, **fields}
    return AnatomyVLMForSemanticSegmentation(AnatomyVLMSegmentationConfig(**settings)).eval()


def films(*size: int) -> torch.Tensor:
    return torch.randn(2, 3, *(size or (32, 32)), generator=torch.Generator().manual_seed(1))


def masks() -> torch.Tensor:
    return (torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(2)) > 0.6).float()


@pytest.mark.parametrize("stem", [None, [8, 12]])
@pytest.mark.parametrize("decoder", ["unet", "linear"])
@pytest.mark.parametrize("size", [(32, 32), (48, 40), (35, 61)])
def test_logits_have_the_size_of_the_film(decoder, size, stem):
    outputs = tiny(decoder_type=decoder, stem_channels=stem, num_register_tokens=2)(films(*size))
    assert isinstance(outputs, SemanticSegmenterOutput) and outputs.loss is None
    assert outputs.logits.shape == (2, 4, *size) and torch.isfinite(outputs.logits).all()


def test_what_fills_no_patch_moves_nothing():
    model, wide = tiny(stem_channels=[8, 12]), films(37, 45)
    logits = model(wide).logits
    torch.testing.assert_close(logits[..., :32, :40], model(wide[..., :32, :40]).logits)
    assert torch.equal(logits[..., 36, :], logits[..., 31, :])


def test_the_background_is_where_no_structure_is_probable():
    logits = tiny()(films()).logits
    nothing = (logits[:, 1:].sigmoid() <= 0.5).all(1)
    assert 0 < nothing.float().mean() < 1
    assert torch.equal(logits.argmax(1) == 0, nothing)


def test_losses_equal_independent_ones():
    logits, targets = torch.randn(2, 3, 8, 8), (torch.rand(2, 3, 8, 8) > 0.7).float()
    losses = mask_losses(logits, targets)
    expected = nn.functional.binary_cross_entropy_with_logits(logits, targets)
    torch.testing.assert_close(losses["bce"], expected)
    monai = pytest.importorskip("monai.losses")
    reference = monai.DiceLoss(sigmoid=True, smooth_nr=1.0, smooth_dr=1.0)
    torch.testing.assert_close(losses["dice"], reference(logits, targets))


def test_unknown_pixels_and_structures_leave_the_losses_alone():
    logits, targets = torch.randn(2, 3, 8, 8), (torch.rand(2, 3, 8, 8) > 0.7).float()
    targets[0, 1], targets[1, 2] = float("nan"), float("nan")
    known = [(0, 0), (0, 2), (1, 0), (1, 1)]
    alone = [mask_losses(logits[None, i, k, None], targets[None, i, k, None]) for i, k in known]
    for name, value in mask_losses(logits, targets).items():
        torch.testing.assert_close(value, torch.stack([losses[name] for losses in alone]).mean())
    half = targets[:1, :1].clone()
    half[..., 4:] = float("nan")
    for name, value in mask_losses(logits[:1, :1], half).items():
        torch.testing.assert_close(value, mask_losses(logits[:1, :1, :, :4], half[..., :4])[name])
    nothing = logits.requires_grad_()
    losses = mask_losses(nothing, torch.full_like(targets, float("nan")))
    (losses["dice"] + losses["bce"]).backward()
    assert losses["dice"] == losses["bce"] == 0 and (nothing.grad == 0).all()


def test_overlapping_masks_and_label_maps():
    labels = torch.tensor([[[0, 1, 2], [3, 255, 1]]])
    made = structure_masks(labels, 3)
    assert made[0, :, 0].tolist() == [[0, 1, 0], [0, 0, 1], [0, 0, 0]]
    assert made[0, 2, 1, 0] == 1 and made[0, :, 1, 1].isnan().all()
    overlapping = torch.ones(1, 3, 2, 3, dtype=torch.bool)
    assert torch.equal(structure_masks(overlapping, 3), torch.ones(1, 3, 2, 3))
    with pytest.raises(ValueError, match="0 to 3, or 255"):
        structure_masks(torch.full((1, 2, 2), 4), 3)
    with pytest.raises(ValueError, match=r"masks \(batch_size, 3"):
        structure_masks(torch.zeros(1, 2, 2, 2), 3)


def test_the_loss_of_a_batch_is_the_mean_over_its_films():
    model = tiny(dice_loss_weight=0.5, bce_loss_weight=2.0)
    together = model(films(), labels=masks())
    parts = [mask_losses(together.logits[:, 1:], masks())[name] for name in ("dice", "bce")]
    torch.testing.assert_close(together.loss, 0.5 * parts[0] + 2 * parts[1])
    alone = [model(films()[i : i + 1], labels=masks()[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(together.loss, torch.stack([o.loss for o in alone]).mean())
    for index, outputs in enumerate(alone):
        torch.testing.assert_close(outputs.logits[0], together.logits[index], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("decoder", ["unet", "linear"])
def test_it_learns_overlapping_masks(decoder):
    model = tiny(decoder_type=decoder).train()
    y, x = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    one = torch.stack((x < 16, x >= 8, (y > 8) & (x > 8)))[None].float()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        model(films()[:1], labels=one).loss.backward()
        optimizer.step()
    found = model.eval()(films()[:1]).logits[0, 1:] > 0
    # Both the first and the second hold the columns 8 to 15.
    assert ((found & one[0].bool()).sum((1, 2)) / (found | one[0].bool()).sum((1, 2))).min() > 0.9
    assert all(p.grad is not None for p in model.decoder.parameters())


def test_every_layer_of_the_decoder_and_the_film_itself_are_read():
    model = tiny(stem_channels=[8, 12], decoder_layers=[1, 2, 3], initializer_range=0.3)
    pixel_values = films()
    outputs = model.vision_model(pixel_values, output_hidden_states=True)
    states, feature_map = list(outputs.hidden_states), outputs.feature_map
    before = model.decode(pixel_values, states, feature_map)
    for layer in (1, 2, 3):
        changed = [s + torch.randn_like(s) if i == layer else s for i, s in enumerate(states)]
        assert not torch.allclose(model.decode(pixel_values, changed, feature_map), before)
    assert not torch.allclose(model.decode(pixel_values, states, feature_map + 1), before)
    assert not torch.allclose(model.decode(pixel_values + torch.randn_like(pixel_values), states, feature_map), before)
    # Tokens before the patches are no places.
    states[3] = torch.cat((torch.randn(2, 30, 32), states[3][:, 30:]), dim=1)
    assert torch.equal(model.decode(pixel_values, states, feature_map), before)


def test_a_bright_left_lung_is_found_on_the_images_right():
    """Places of the logits are places of the film: the patient's left lung lies on the image's right."""
    model = tiny(decoder_type="linear").train()
    pixel_values = torch.zeros(2, 3, 32, 32)
    pixel_values[0, :, 4:28, 20:30] = 1
    pixel_values[1, :, 4:28, 2:12] = 1
    bright = pixel_values[:, 0] > 0
    labels = torch.zeros(2, 3, 32, 32)
    labels[0, 1], labels[1, 0] = bright[0].float(), bright[1].float()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    for _ in range(80):
        optimizer.zero_grad()
        model(pixel_values, labels=labels).loss.backward()
        optimizer.step()
    probabilities = model.eval()(pixel_values).logits[:, 1:].sigmoid()
    assert probabilities[0, 1, :, 20:28].mean() > 0.6 > 0.4 > probabilities[0, 1, :, :12].mean()
    assert probabilities[1, 0, :, 4:12].mean() > 0.6 > 0.4 > probabilities[1, 0, :, 20:].mean()


def test_saved_and_loaded_by_the_auto_classes(tmp_path):
    model = tiny()
    model.save_pretrained(tmp_path)
    AnatomyVLMImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    assert type(AutoConfig.from_pretrained(tmp_path)) is AnatomyVLMSegmentationConfig
    again = AutoModelForSemanticSegmentation.from_pretrained(tmp_path)
    assert type(again) is AnatomyVLMForSemanticSegmentation and again.config.id2label == NAMES
    assert again.config.decoder_channels == [16, 8]
    assert torch.equal(again.eval()(films()).logits, model(films()).logits)
    assert AutoImageProcessor.from_pretrained(tmp_path).size["height"] == 32


def test_it_starts_from_the_tower_of_a_whole_model_or_from_a_tower(tmp_path, capsys):
    sizes = {key: VISION[key] for key in ("hidden_size", "num_hidden_layers", "num_attention_heads")}
    text = BertConfig(**sizes, intermediate_size=37, vocab_size=60, max_position_embeddings=16).to_dict()
    whole = AnatomyVLMModel(AnatomyVLMConfig(vision_config=VISION, text_config=text, projection_dim=16))
    whole.save_pretrained(tmp_path / "whole")
    whole.vision_model.save_pretrained(tmp_path / "tower")
    for source in ("whole", "tower"):
        model = AnatomyVLMForSemanticSegmentation.from_pretrained(
            tmp_path / source, id2label=NAMES, decoder_type="linear"
        )
        there = {
            name: value for name, value in whole.vision_model.state_dict().items() if not name.startswith("layernorm.")
        }
        assert model.vision_model.state_dict().keys() == there.keys()
        assert all(torch.equal(value, there[name]) for name, value in model.vision_model.state_dict().items())
        assert model.config.num_labels == 4 and model.decoder.classifier.out_features == 3
    assert "UNEXPECTED" not in capsys.readouterr().err
    tower = AnatomyVLMVisionModel.from_pretrained(tmp_path / "whole")
    assert torch.equal(tower.layernorm.weight, whole.vision_model.layernorm.weight)


def test_a_frozen_encoder_stays_as_it_is():
    model = tiny(drop_path_rate=0.5)
    model.freeze_encoder()
    model.train()
    assert not model.vision_model.training and model.decoder.training
    model(films(), labels=masks()).loss.backward()
    assert all(p.grad is None for p in model.vision_model.parameters())
    assert all(p.grad is not None for p in model.decoder.parameters())


def test_gradient_checkpointing_gives_the_same_gradients():
    gradients = []
    for checkpointing in (False, True):
        model = tiny().train()
        if checkpointing:
            model.activation_checkpointing_enable()
        model(films(), labels=masks()).loss.backward()
        gradients.append(model.vision_model.embeddings.cls_token.grad)
    torch.testing.assert_close(*gradients)


def test_hidden_states_and_attentions_on_request():
    model = tiny()
    assert model(films()).hidden_states is None
    model.set_attn_implementation("eager")
    outputs = model(films(), output_hidden_states=True, output_attentions=True)
    assert len(outputs.hidden_states) == 4 and outputs.hidden_states[0].shape == (2, 46, 32)
    assert len(outputs.attentions) == 3
    some = model(films(), output_hidden_states=[1, -1]).hidden_states
    assert [state is not None for state in some] == [False, True, False, True]
    assert len(model(films(), return_dict=False)) == 1


def test_it_compiles_and_exports():
    model = tiny(num_hidden_layers=1, decoder_channels=[8])
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    with torch.no_grad():
        expected = model(films()).logits
        torch.testing.assert_close(compiled(films()).logits, expected)
        exported = torch.export.export(model, (films(),))
        torch.testing.assert_close(exported.module()(films()).logits, expected)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"decoder_type": "fpn"}, "decoder_type"),
        ({"decoder_channels": []}, "at least one level"),
        ({"decoder_layers": [1, 2]}, "one layer for each"),
        ({"decoder_layers": [1, 2, 9]}, "from 0 to 3"),
    ],
)
def test_impossible_configurations_are_refused(fields, message):
    with pytest.raises(StrictDataclassClassValidationError, match=message):
        tiny(**fields)


def test_missing_inputs_and_labels_are_named():
    with pytest.raises(ValueError, match="pixel_values"):
        tiny()(labels=masks())
    with pytest.raises(ValueError, match="the background and a structure"):
        tiny(id2label={0: "background"})


def planted(height: int, width: int) -> SemanticSegmenterOutput:
    """Logits on a canvas of 40 x 40 of a film of `height` x `width`: its right quarter, and its lower half."""
    logits = torch.full((1, 3, 40, 40), -4.0)
    scale = 40 / max(height, width)
    tall, wide = round(height * scale), round(width * scale)
    top, left = (40 - tall) // 2, (40 - wide) // 2
    logits[0, 1, top : top + tall, left + round(wide * 0.75) : left + wide] = 4.0
    logits[0, 2, top + tall // 2 : top + tall, left : left + wide] = 2.0
    logits[0, 0] = -logits[0, 1:].amax(0)
    return SemanticSegmenterOutput(logits=logits)


@pytest.mark.parametrize("size", [(200, 100), (100, 200), (40, 40), (16, 12)])
def test_masks_come_back_to_the_film(size):
    height, width = size
    processor = AnatomyVLMImageProcessorPil(size={"height": 40, "width": 40})
    (found,) = processor.post_process_multi_label_segmentation(planted(*size), [size])
    assert found.shape == (2, height, width) and found.dtype == torch.bool
    true = torch.zeros(2, height, width, dtype=torch.bool)
    true[0, :, round(width * 0.75) :], true[1, height // 2 :] = True, True
    # To one pixel of the canvas at the edges.
    wrong = (found != true).sum((1, 2)) / torch.tensor([height, width])
    assert (wrong <= max(1, max(size) / 40)).all()
    assert (found[0] & found[1]).any()
    (labels,) = processor.post_process_semantic_segmentation(planted(*size), [size])
    assert torch.equal(labels == 0, ~found.any(0)) and (labels[found[0]] == 1).float().mean() > 0.9
    (scored,) = processor.post_process_semantic_segmentation(planted(*size), [size], return_segmentation_scores=True)
    assert torch.equal(scored.segmentation, labels)
    assert torch.equal(scored.segmentation_scores[1:] > 0, found)
    strict = processor.post_process_multi_label_segmentation(planted(*size), [size], threshold=0.95)[0]
    assert strict[0].any() and not strict[1].any()


def test_masks_of_the_canvas_without_sizes_and_wrong_sizes():
    processor = AnatomyVLMImageProcessorPil(size={"height": 40, "width": 40})
    assert processor.post_process_multi_label_segmentation(planted(40, 40))[0].shape == (2, 40, 40)
    with pytest.raises(ValueError, match="all 1 images; got 2"):
        processor.post_process_semantic_segmentation(planted(40, 40), [(40, 40)] * 2)


def test_the_pipeline_of_transformers():
    segment = pipeline(
        "image-segmentation",
        model=tiny(),
        image_processor=AnatomyVLMImageProcessorPil(size={"height": 32, "width": 32}),
    )
    film = Image.fromarray((films()[0, 0].numpy() * 60 + 120).clip(0, 255).astype("uint8")).resize((50, 70))
    found = segment(film)
    assert {entry["label"] for entry in found} <= set(NAMES.values()) and len(found) > 1
    assert all(entry["mask"].size == (50, 70) for entry in found)
