"""What makes training faster leaves it the same: compiled, checkpointed, in bfloat16, with workers that load ahead."""

import json

import pytest
import torch
from safetensors.torch import load_file
from torch._dynamo.utils import counters

from anatomy_vlm.modeling import AnatomyVLMConfig, AnatomyVLMModel
from anatomy_vlm.training.recipe import load_recipe
from anatomy_vlm.training.run import train


SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
STAGE = {"name": "fine", "losses": ["anatomy", "global", "fine"], "training": {}}


def small_model(**config) -> AnatomyVLMModel:
    torch.manual_seed(0)
    vision = {**SIZES, "num_hidden_layers": 1, "image_size": 32, "patch_size": 8}
    text = {"model_type": "bert", **SIZES, "vocab_size": 50}
    return AnatomyVLMModel(
        AnatomyVLMConfig(vision_config=vision, text_config=text, projection_dim=24, **config)
    ).train()


def small_batch(num_texts: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(num_texts)
    corners = torch.rand(4, 29, 2, generator=generator) / 2
    known = torch.tensor([1.0, 0.0, float("nan")])
    return {
        "pixel_values": torch.randn(4, 3, 32, 32, generator=generator),
        "boxes": torch.cat((corners, corners + 0.3), -1),
        "box_mask": torch.rand(4, 29, generator=generator) > 0.2,
        "text_features": torch.randn(num_texts, 32, generator=generator),
        "image_labels": known[torch.randint(0, 3, (4, num_texts), generator=generator)],
        "region_labels": known[torch.randint(0, 3, (4, 29, num_texts), generator=generator)],
    }


@pytest.mark.parametrize(
    "config",
    [
        pytest.param({"region_pooling": "box", "glimpse_size": 8}, id="contrastive"),
        pytest.param({"fine_loss_type": "sigmoid"}, id="sigmoid", marks=pytest.mark.slow),
    ],
)
def test_one_graph_serves_every_number_of_texts(config):
    """Without a break; the second number of texts makes it a graph of a variable number, and no other does."""
    compiled_model, model = small_model(**config), small_model(**config)
    torch._dynamo.reset()
    counters.clear()
    compiled = torch.compile(compiled_model, backend="aot_eager", fullgraph=True)
    for number in (20, 33, 27):
        ours, expected = compiled(**small_batch(number)), model(**small_batch(number))
        ours.loss.backward()
        expected.loss.backward()
        assert torch.allclose(ours.loss, expected.loss, atol=1e-6)
        for a, b in zip(compiled_model.parameters(), model.parameters(), strict=True):
            assert (a.grad is None) == (b.grad is None)
            assert a.grad is None or torch.allclose(a.grad, b.grad, atol=1e-5)
        compiled_model.zero_grad()
        model.zero_grad()
    assert counters["stats"]["unique_graphs"] == 2
    assert not counters["graph_break"]
    torch._dynamo.reset()


@pytest.fixture
def trained(write_recipe, tmp_path):
    """The weights and losses of a short third stage with more training arguments."""

    def run(name: str, **arguments) -> tuple[dict[str, torch.Tensor], list[float]]:
        changes = {f"training__{key}": value for key, value in arguments.items()}
        recipe = load_recipe(write_recipe(stages=[STAGE], **changes))
        train(recipe, tmp_path / name)
        log = json.loads((tmp_path / name / "1-fine" / "stage.json").read_text())["log"]
        losses = [entry["loss"] for entry in log if "loss" in entry]
        return load_file(tmp_path / name / "1-fine" / "trained.safetensors"), losses

    return run


def test_options_of_speed_train_the_same(trained):
    plain, losses = trained("plain")
    exact = {
        "checkpointed": {"activation_checkpointing": True},
        "loading ahead": {"dataloader_num_workers": 1, "dataloader_prefetch_factor": 2},
        "compiled": {"torch_compile": True, "torch_compile_backend": "aot_eager"},
        "optimizer of foreach": {"optim": "adamw_torch"},
    }
    for name, arguments in exact.items():
        torch._dynamo.reset()
        counters.clear()
        weights, _ = trained(name.replace(" ", "-"), **arguments)
        for key, value in plain.items():
            assert torch.allclose(weights[key], value, atol=1e-5), (name, key)
        assert bool(counters["stats"]["unique_graphs"]) == (name == "compiled")
        assert not counters["graph_break"]
    _, rounded = trained("bf16", bf16=True)
    assert rounded == pytest.approx(losses, rel=0.02) and rounded != losses
