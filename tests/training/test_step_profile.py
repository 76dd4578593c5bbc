"""Cost and profile of training: counted operations, parts of a step, and a training that they do not change."""

import json

import pytest
import torch
from safetensors.torch import load_file

from anatomy_vlm.modeling import AnatomyVLMConfig
from anatomy_vlm.training.cost import step_cost, transformer_flops
from anatomy_vlm.training.recipe import load_recipe
from anatomy_vlm.training.run import main, train
from anatomy_vlm.training.step_profile import PARTS, PartClock, ProfileOptions


SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}


def small_config(**vision) -> AnatomyVLMConfig:
    return AnatomyVLMConfig(
        vision_config={**SIZES, "image_size": 32, "patch_size": 8, **vision},
        text_config={"model_type": "bert", **SIZES, "vocab_size": 50},
        projection_dim=24,
    )


def test_the_counted_operations_are_those_of_the_closed_form():
    regions, patches, hidden, projected = 29, 16, 32, 24
    tower = transformer_flops(1 + regions + patches, hidden, 48, 2, 3 * 64, patches)
    # Edges: queries, keys and their products; a perceptron of three layers; presence.
    boxes = 2 * hidden * (regions * hidden + patches * hidden + regions * patches + 2 * regions * hidden + regions * 5)
    embeddings = 2 * projected * (regions * 2 * hidden + hidden)
    cost = step_cost(small_config(), ("anatomy",), batch_size=3)
    assert (cost.tower, cost.heads, cost.text) == (3 * tower, 3 * (boxes + embeddings), 0)
    # Two more of each product, but none for the pixels, and none where nothing learns.
    pixels = 2 * patches * 3 * 64 * hidden
    assert cost.backward == 3 * (2 * (tower + boxes) - pixels)
    assert cost.total == cost.tower + cost.heads + cost.backward == 3 * cost.per_image


def test_cost_follows_size_stage_and_texts():
    small, large = step_cost(small_config(), batch_size=2), step_cost(small_config(), batch_size=2, image_size=64)
    assert large.tower == 2 * transformer_flops(1 + 29 + 64, 32, 48, 2, 3 * 64, 64) > small.tower
    frozen = step_cost(small_config(), freeze=["vision_model."], batch_size=2)
    assert frozen.tower == small.tower and frozen.backward < small.backward / 2
    assert frozen.trained + frozen.frozen == small.trained + small.frozen
    naive = step_cost(small_config(), batch_size=2, text_tokens=6)
    assert naive.text > 0 and naive.backward == small.backward
    assert small.gradient_bytes == 4 * small.trained


def test_a_configuration_is_not_changed_by_its_cost():
    config = small_config()
    before = config.to_dict(), config.vision_config._attn_implementation, torch.random.get_rng_state()
    step_cost(config)
    after = config.to_dict(), config.vision_config._attn_implementation, torch.random.get_rng_state()
    assert before[:2] == after[:2] and torch.equal(before[2], after[2])


def test_parts_inside_parts_are_counted_once(monkeypatch):
    clock, times = PartClock(torch.device("cpu")), iter([0.0, 1.0, 3.0, 6.0, 10.0, 15.0])
    monkeypatch.setattr(clock, "now", lambda: next(times))
    clock.restart()
    with clock.part("outer"), clock.part("inner"):
        pass
    clock._turn()
    assert clock.seconds == {"other": 1.0 + 5.0, "outer": 2.0 + 4.0, "inner": 3.0}


@pytest.fixture
def profiled(write_recipe, tmp_path):
    """The same recipe run with and without a profile."""
    recipe = load_recipe(write_recipe(training__num_train_epochs=3))
    plain, measured = tmp_path / "plain", tmp_path / "measured"
    train(recipe, plain)
    train(recipe, measured, ProfileOptions(measured, warmup=1, steps=4, trace=True))
    return plain, measured


def test_a_profile_changes_nothing_and_accounts_for_the_whole_step(profiled, capsys):
    plain, measured = profiled
    for stage in ("1-detection", "2-global", "3-fine"):
        one, other = (load_file(run / stage / "trained.safetensors") for run in profiled)
        assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one), stage
        logs = [json.loads((run / stage / "stage.json").read_text())["log"] for run in profiled]
        assert [entry.get("loss") for entry in logs[0]] == [entry.get("loss") for entry in logs[1]]
    assert not (plain / "profile.json").exists()
    stages = json.loads((measured / "profile.json").read_text())["stages"]
    assert list(stages) == ["detection", "global", "fine"]
    for name, result in stages.items():
        parts = result["parts_milliseconds"]
        assert set(parts) <= set(PARTS)
        assert {"data wait", "forward: tower", "forward: losses", "backward", "optimizer"} <= set(parts)
        assert ("texts and labels" in parts) == (name != "detection")
        assert sum(parts.values()) == pytest.approx(result["milliseconds_per_step"])
        assert result["steps"] == 4 and result["images_per_step"] == 4
        assert result["images_per_second"] == pytest.approx(4000 / result["milliseconds_per_step"])
        rate = result["flops_per_image"] * result["images_per_second"]
        assert result["achieved_flops_per_second"] == pytest.approx(rate)
        assert result["mfu"] == pytest.approx(rate / result["matrix_product"]["flops_per_second"])
        assert result["peak_memory_bytes"] > 2**20
        trace = json.loads((measured / f"trace-{name}.json").read_text())
        assert any("backward" in str(event.get("name")).lower() for event in trace["traceEvents"])


def test_a_stage_that_is_too_short_says_so(write_recipe, tmp_path, capsys):
    recipe = write_recipe(training__max_steps=2, stages=[{"name": "detection", "losses": ["anatomy"], "training": {}}])
    assert main(["--recipe", recipe, "--output", str(tmp_path / "run"), "--profile"]) == 0
    assert "2 steps are too few, 5 are needed" in capsys.readouterr().out
    assert not (tmp_path / "run" / "profile.json").exists()
