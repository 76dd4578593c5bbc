"""Whole runs: three stages, several processes, interruptions."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoProcessor

from anatomy_vlm.training.checkpoints import last_complete_checkpoint
from anatomy_vlm.training.loaders.layouts import write_layout
from anatomy_vlm.training.recipe import RecipeError, load_recipe
from anatomy_vlm.training.run import main, train
from anatomy_vlm.training.trainer import trainable


ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


def command(recipe: str, output: Path, processes: int = 1, *overrides: str) -> list[str]:
    launcher = [sys.executable]
    if processes > 1:
        launcher += ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    settings = [part for override in overrides for part in ("--set", override)]
    return [*launcher, str(ROOT / "training" / "run.py"), "--recipe", recipe, "--output", str(output), *settings]


def run(*arguments) -> None:
    done = subprocess.run(command(*arguments), env=ENVIRONMENT, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]


def weights(output: Path, stage: str = "3-fine") -> dict[str, torch.Tensor]:
    return load_file(output / stage / "trained.safetensors")


def largest_difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    assert one.keys() == other.keys()
    return max((one[name] - other[name]).abs().max().item() for name in one)


def test_three_stages_train_and_the_model_loads(write_recipe, tmp_path):
    result = train(load_recipe(write_recipe()), tmp_path / "out")
    first, second, third = (weights(result.output, f"{s}") for s in ("1-detection", "2-global", "3-fine"))
    log = json.loads((result.output / "3-fine" / "stage.json").read_text())["log"]
    assert {"loss_l1", "loss_giou", "loss_presence", "loss_global", "loss_fine"} <= set(log[0])
    moved = {name for name in first if not torch.equal(first[name], second[name])}
    assert {"visual_projection.weight", "logit_bias", "box_head.fc1.weight"} <= moved
    assert not {name for name in moved if name.startswith(("region_", "text_model"))}
    assert not torch.equal(second["region_enrichment.projection.weight"], third["region_enrichment.projection.weight"])
    model = AutoModel.from_pretrained(result.model)
    processor = AutoProcessor.from_pretrained(result.model)
    assert set(processor.finding_prompts) == {"pleural effusion", "pneumothorax"}
    assert largest_difference({k: v for k, v in model.state_dict().items() if k in third}, third) == 0
    again = train(load_recipe(write_recipe()), tmp_path / "out")
    assert largest_difference(weights(again.output), third) == 0


def test_a_finished_stage_of_another_model_is_refused(write_recipe, tmp_path, capsys):
    recipe, out = write_recipe(training__num_train_epochs=1), tmp_path / "out"
    train(load_recipe(recipe), out)
    path = out / "1-detection" / "trained.safetensors"
    state = load_file(path)
    state.pop("presence_head.weight")
    save_file(state, path)
    assert main(["--recipe", recipe, "--output", str(out)]) == 2
    assert "holds the weights of another model" in capsys.readouterr().err


def test_the_text_encoder_is_not_trained(write_recipe, tmp_path):
    from anatomy_vlm.training.text_encoder import load_text_encoder

    recipe = load_recipe(write_recipe(training__num_train_epochs=1))
    result = train(recipe, tmp_path / "out")
    model = AutoModel.from_pretrained(result.model)
    tokenizer = AutoProcessor.from_pretrained(result.model).tokenizer
    words = [word for word in tokenizer.get_vocab() if not word.startswith("[")]
    encoder, _ = load_text_encoder(recipe.model.text, words, recipe.seed)
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(tensor, model.text_model.state_dict()[name]), name


@pytest.mark.parametrize(
    ("processes", "batch", "accumulation"),
    [(2, 3, 2), pytest.param(3, 2, 2, marks=pytest.mark.slow), pytest.param(4, 3, 1, marks=pytest.mark.slow)],
)
def test_processes_that_accumulate_train_as_one_with_the_whole_batch(
    write_recipe, tmp_path, processes, batch, accumulation
):
    """16 images in updates of 12: the last one is shared unevenly."""
    # SGD: AdamW divides a gradient by its own size, and so makes steps of what is zero but for rounding.
    recipe = write_recipe(training__optim="sgd", training__dataloader_drop_last=False, training__learning_rate=0.01)
    parts = (
        f"training.per_device_train_batch_size={batch}",
        f"training.gradient_accumulation_steps={accumulation}",
    )
    run(recipe, tmp_path / "several", processes, *parts)
    run(recipe, tmp_path / "one", 1, "training.per_device_train_batch_size=12")
    for stage in ("1-detection", "2-global", "3-fine"):
        several, one = weights(tmp_path / "several", stage), weights(tmp_path / "one", stage)
        assert largest_difference(several, one) < 1e-6 * max(tensor.abs().max().item() for tensor in one.values())


def test_killed_in_stage_two_and_resumed_ends_where_the_uninterrupted_run_ends(write_recipe, tmp_path):
    settings = ("training.save_strategy=steps", "training.save_steps=1", "training.num_train_epochs=4")
    recipe, killed = write_recipe(), tmp_path / "killed"
    process = subprocess.Popen(
        command(recipe, killed, 1, *settings), env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 200
    while last_complete_checkpoint(killed / "2-global") is None:
        assert process.poll() is None and time.monotonic() < deadline, "the run ended before it could be killed"
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (killed / "1-detection" / "stage.json").is_file()
    assert not (killed / "2-global" / "stage.json").is_file()
    assert last_complete_checkpoint(killed / "2-global") is not None
    run(recipe, killed, 1, *settings)
    run(recipe, tmp_path / "whole", 1, *settings)
    assert largest_difference(weights(killed), weights(tmp_path / "whole")) == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data__loader": "fantom"}, "unknown loader 'fantom'; did you mean 'phantom'"),
        ({"data__arguments": {"pth": "x"}}, "unknown argument 'pth'; did you mean 'path'"),
        ({"data__arguments": {}}, "the argument 'path' is missing"),
        ({"data__arguments": {"path": "nowhere"}}, "nowhere: no such folder"),
        ({"data__test": "tset"}, "no split 'tset'"),
        ({"augmentation": {"zom": 1}}, "unknown key 'zom'; did you mean 'zoom'"),
        ({"augmentation": {"zoom": 7}}, "'zoom' must be within"),
        ({"labels": {"positives": "some"}}, "positives must be"),
        ({"labels": {"perturbation_probability": 3}}, "perturbation_probability is 3"),
        ({"model__vision": {"hidden_size": 30}}, "multiple of `num_attention_heads`"),
        ({"model__vision": {"hidden_sise": 30}}, "unknown keys hidden_sise"),
        ({"model__text": {"package": "no_such_package"}}, "pip install no-such-package"),
        ({"model__text": {"name": "no/such/folder"}}, "cannot load the text encoder 'no/such/folder'"),
        ({"model__pretrained": "nowhere"}, "nowhere: cannot be loaded as an Anatomy-VLM checkpoint"),
        ({"training": {"per_device_train_batch_size": 99}}, "16 training images do not fill one batch of 99"),
    ],
)
def test_mistakes_are_one_line(write_recipe, tmp_path, capsys, changes, message):
    recipe = write_recipe(**changes)
    assert main(["--recipe", recipe, "--output", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("run.py: error: ") and message in error


def test_a_stream_is_refused_with_the_cure(write_recipe, tmp_path, capsys):
    arguments = {**write_layout("nih_chestxray14", tmp_path / "nih"), "streaming": True}
    recipe = write_recipe(data__loader="nih_chestxray14", data__arguments=arguments)
    assert main(["--recipe", recipe, "--output", str(tmp_path / "out")]) == 2
    assert "`anatomy-vlm prepare nih_chestxray14`" in capsys.readouterr().err


def test_each_loss_trains_its_own_heads():
    assert trainable("box_head.fc1.weight", ["anatomy"], [])
    assert not trainable("visual_projection.weight", ["anatomy"], [])
    assert trainable("text_projection.weight", ["anatomy", "fine"], [])
    assert not trainable("logit_bias", ["fine"], [])
    assert trainable("vision_model.layernorm.weight", ["global"], [])
    assert not trainable("vision_model.layernorm.weight", ["global"], ["vision_model."])
    assert not trainable("text_model.embeddings.weight", ["anatomy", "global", "fine"], [])


def test_a_patient_in_two_splits_is_refused(saved_dataset, tmp_path):
    import datasets

    from anatomy_vlm.training.loaders.saved import load_saved

    splits = datasets.load_from_disk(saved_dataset)
    splits["test"] = splits["train"].select(range(2))
    splits.save_to_disk(tmp_path / "leaking")
    with pytest.raises(RecipeError, match=r"patient 'train-[01]' is in the splits"):
        load_saved(str(tmp_path / "leaking"))
    without = datasets.DatasetDict({"train": splits["train"].remove_columns("boxes")})
    without.save_to_disk(tmp_path / "without")
    with pytest.raises(RecipeError, match="split 'train' has no column 'boxes'"):
        load_saved(str(tmp_path / "without"))
    empty = datasets.DatasetDict({"train": splits["train"].select([])})
    empty.save_to_disk(tmp_path / "empty")
    with pytest.raises(RecipeError, match="split is empty"):
        load_saved(str(tmp_path / "empty"))
