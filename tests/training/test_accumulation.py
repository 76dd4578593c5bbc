"""The parts of a batch, one after another, give the gradient of the whole."""

import pytest
import torch

from anatomy_vlm.modeling import AnatomyVLMConfig, AnatomyVLMModel
from anatomy_vlm.training.accumulation import AccumulatedBatch


TEXTS = 5
TEXT_TARGETS = ("text_features", "text_weights", "region_weights")


def small_model(**config) -> AnatomyVLMModel:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16}
    vision = {**sizes, "num_hidden_layers": 2, "image_size": 32, "patch_size": 8, **config.pop("vision", {})}
    text = {**sizes, "model_type": "bert", "num_hidden_layers": 1, "vocab_size": 20}
    return AnatomyVLMModel(
        AnatomyVLMConfig(vision_config=vision, text_config=text, projection_dim=8, **config)
    ).train()


def batch(size: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    labels = torch.tensor([1.0, 0.0, float("nan")])
    corners = torch.rand(size, 29, 2) / 2
    return {
        "pixel_values": torch.randn(size, 3, 32, 32),
        "boxes": torch.cat((corners, corners + 0.3), -1),
        "box_mask": torch.rand(size, 29) > 0.4,
        "image_labels": labels[torch.randint(0, 3, (size, TEXTS))],
        "region_labels": labels[torch.randint(0, 3, (size, 29, TEXTS))],
        "text_features": torch.randn(TEXTS, 16),
        "text_weights": torch.rand(TEXTS) + 0.1,
        "region_weights": torch.rand(29) + 0.1,
    }


def accumulated(model: AnatomyVLMModel, whole: dict[str, torch.Tensor], sizes: list[int]) -> tuple:
    own = {name: tensor.split(sizes) for name, tensor in whole.items() if name not in TEXT_TARGETS}
    parts = [{name: tensors[i] for name, tensors in own.items()} for i in range(len(sizes))]
    shared = {name: whole[name] for name in TEXT_TARGETS}
    window = AccumulatedBatch(parts, lambda p: {k: v for k, v in p.items() if k != "pixel_values"} | shared, False)
    total, by_name = torch.zeros(()), {}
    for _ in sizes:
        loss, losses, _ = window.loss(model, model)
        loss.backward()
        total = total + loss.detach()
        for name, value in losses.items():
            by_name[name] = by_name.get(name, 0) + value.detach()
    return total, by_name


@pytest.mark.parametrize("sizes", [[3, 3], [4, 1, 1, 0]])
@pytest.mark.parametrize(
    "config",
    [{}, {"fine_loss_type": "sigmoid"}, {"box_assignment": "hungarian", "auxiliary_loss": True}],
    ids=["contrastive", "sigmoid", "hungarian"],
)
def test_parts_equal_the_whole(config, sizes):
    model, whole = small_model(**config), batch(6)
    outputs = model(**whole)
    outputs.loss.backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    total, by_name = accumulated(model, whole, sizes)
    torch.testing.assert_close(total, outputs.loss.detach())
    for name, value in outputs.loss_dict.items():
        torch.testing.assert_close(by_name[name], value.detach(), msg=name)
    for name, parameter in model.named_parameters():
        if name in expected:
            scale = expected[name].abs().max().clamp(min=1e-3)
            assert float((parameter.grad - expected[name]).abs().max() / scale) < 1e-4, name


def test_a_mean_of_means_would_be_another_gradient():
    """The test above can fail: parts with unequal numbers of boxes do not weigh the same."""
    model, whole = small_model(), batch(6)
    whole["box_mask"][:3] = False
    whole["box_mask"][0, 0] = True
    _, by_name = accumulated(model, whole, [3, 3])
    halves = [model(**{k: v if k in TEXT_TARGETS else v[s] for k, v in whole.items()}).loss_dict for s in
              (slice(0, 3), slice(3, 6))]  # fmt: skip
    assert abs(float((halves[0]["l1"] + halves[1]["l1"]).detach() / 2 - by_name["l1"])) > 1e-3
    torch.testing.assert_close(by_name["l1"], model(**whole).loss_dict["l1"].detach())


@pytest.mark.parametrize("autocast", [False, True])
def test_both_passes_drop_out_the_same(autocast, monkeypatch):
    model, whole = small_model(vision={"hidden_dropout": 0.5, "drop_path_rate": 0.5}), batch(6)
    seen = []
    model.register_forward_hook(lambda module, args, output: seen.append(output.region_embeds.detach()))
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        accumulated(model, whole, [3, 3])
    assert torch.equal(seen[0], seen[2]) and torch.equal(seen[1], seen[3])
    assert not torch.equal(seen[0], seen[1])
    # Casts that the first pass left behind would have no gradient.
    assert model.vision_model.layers[0].mlp.fc1.weight.grad.abs().sum() > 0


def test_a_process_without_images_gets_the_shapes_of_a_batch():
    from anatomy_vlm.processing import AnatomyVLMImageProcessorPil
    from anatomy_vlm.training.augmentation import Augmentation
    from anatomy_vlm.training.batches import collate

    augmentation = Augmentation()
    image = {
        "pixels": torch.zeros(32, 32, dtype=torch.uint8),
        "boxes": torch.rand(29, 4),
        "box_mask": torch.ones(29, dtype=torch.bool),
        "draws": augmentation.sample(torch.Generator()),
    }
    collate_batch = collate(augmentation, AnatomyVLMImageProcessorPil(), [image])
    full, empty = collate_batch([image, image]), collate_batch([])
    assert {name: tensor.shape[1:] for name, tensor in empty.items()} == {n: t.shape[1:] for n, t in full.items()}
    assert {len(tensor) for tensor in empty.values()} == {0}
