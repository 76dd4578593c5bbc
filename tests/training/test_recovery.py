"""Runs that are stopped, that run out of something, or that diverge: what is said, what is kept, and going on."""

import errno
import json
import os
import signal
from pathlib import Path

import datasets
import pytest
import torch
from safetensors.torch import load_file

from anatomy_vlm.training import stages as stages_module
from anatomy_vlm.training.batches import TrainingImages
from anatomy_vlm.training.checkpoints import WRITING, last_complete_checkpoint
from anatomy_vlm.training.recovery import explained
from anatomy_vlm.training.recovery_signals import Interrupted, StopWatch
from anatomy_vlm.training.run import main
from anatomy_vlm.training.trainer import AnatomyVLMTrainer


STAGES = ("1-detection", "2-global", "3-fine")
DROPOUT = {"hidden_dropout": 0.1, "drop_path_rate": 0.1}
TIMES = ("train_runtime", "train_samples_per_second", "train_steps_per_second", "total_flos", "train_loss")
DETECTION = [{"name": "detection", "losses": ["anatomy"]}]


def recipe_with(write_recipe, **changes) -> str:
    """A checkpoint every other step, logs over three, random layers."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    training = {"save_strategy": "steps", "save_steps": 2, "logging_steps": 3}
    values = {f"training__{key}": value for key, value in training.items()} | changes
    return write_recipe(model__vision={**sizes, "image_size": 32, "patch_size": 8, **DROPOUT}, **values)


def result(output: Path) -> dict:
    """Weights of every stage, and what was logged of the losses."""
    found: dict = {}
    for stage in STAGES:
        if (output / stage).is_dir():
            found |= {f"{stage} {k}": v for k, v in load_file(output / stage / "trained.safetensors").items()}
            log = json.loads((output / stage / "stage.json").read_text())["log"]
            found[stage] = [{k: v for k, v in entry.items() if k not in TIMES} for entry in log if "loss" in entry]
    return found


def assert_equal(one: dict, other: dict) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        same = torch.equal(value, other[name]) if isinstance(value, torch.Tensor) else value == other[name]
        assert same, name


@pytest.fixture
def at_step(monkeypatch):
    """Do something when the losses are computed for the n-th time in this process."""

    def install(number: int, action) -> None:
        compute, calls = AnatomyVLMTrainer.compute_loss, []

        def wrapped(self, *args, **kwargs):
            calls.append(1)
            if len(calls) == number:
                action()
            return compute(self, *args, **kwargs)

        monkeypatch.setattr(AnatomyVLMTrainer, "compute_loss", wrapped)

    yield install
    monkeypatch.undo()


def send(number: int) -> None:
    # Without a handler the signal would end the tests' own process, and nobody would know why.
    assert callable(signal.getsignal(number)), f"nobody handles {signal.Signals(number).name}"
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(
    "variant",
    [
        {},
        {
            "training__bf16": True,
            "training__dataloader_num_workers": 1,
            "training__gradient_accumulation_steps": 2,
            "training__per_device_train_batch_size": 2,
        },
    ],
    ids=["plain", "bf16, worker, accumulation"],
)
def test_stopped_by_three_signals_and_resumed_equals_undisturbed(variant, write_recipe, tmp_path, capsys):
    recipe = recipe_with(write_recipe, **variant)
    arguments = ["--recipe", recipe, "--output"]
    assert main([*arguments, str(tmp_path / "whole")]) == 0
    cut = tmp_path / "cut"
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)]
    parts = variant.get("training__gradient_accumulation_steps", 1)
    # In the middle of the first stage's first epoch, of the second stage's second, and at an odd step of the third.
    for number, step, status, where in (
        (signal.SIGTERM, 3, 143, "step 3 of 8 is saved in"),
        (signal.SIGUSR1, 5 + 7, 138, "step 7 of 8 is saved in"),
        (signal.SIGINT, 1 + 5, 130, "step 5 of 8 is saved in"),
    ):
        with pytest.MonkeyPatch.context() as patch:
            compute, calls = AnatomyVLMTrainer.compute_loss, []

            def wrapped(self, *args, compute=compute, calls=calls, last=step * parts, number=number, **kwargs):
                calls.append(1)
                if len(calls) == last:
                    send(number)
                return compute(self, *args, **kwargs)

            patch.setattr(AnatomyVLMTrainer, "compute_loss", wrapped)
            assert main([*arguments, str(cut)]) == status
        said = capsys.readouterr().err.strip().splitlines()[-1]
        assert f"stopped by {signal.Signals(number).name}" in said and where in said
        assert "the same command goes on from there" in said
    assert handlers == [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)]
    assert main([*arguments, str(cut)]) == 0
    assert_equal(result(cut), result(tmp_path / "whole"))


def test_a_stage_that_ended_without_its_record_takes_no_further_step(write_recipe, tmp_path, monkeypatch):
    """The last step of `max_steps` is not the last one of its epoch."""
    recipe = recipe_with(write_recipe, training__max_steps=6, stages=DETECTION)
    assert main(["--recipe", recipe, "--output", str(tmp_path / "whole")]) == 0

    class Killed(BaseException):
        pass

    def killed(*args):
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(stages_module, "finish_stage", killed)
        main(["--recipe", recipe, "--output", str(tmp_path / "cut")])
    assert main(["--recipe", recipe, "--output", str(tmp_path / "cut")]) == 0
    assert_equal(result(tmp_path / "cut"), result(tmp_path / "whole"))


def test_a_full_disk_ends_the_run_and_keeps_the_checkpoint_before(write_recipe, tmp_path, monkeypatch, capsys):
    recipe = recipe_with(write_recipe, stages=DETECTION)
    assert main(["--recipe", recipe, "--output", str(tmp_path / "whole")]) == 0
    out, save = tmp_path / "cut", torch.save

    def full(value, path, *args, **kwargs):
        if "checkpoint-4" in str(path) and "optimizer" in str(path):
            save(value, path, *args, **kwargs)
            raise OSError(errno.ENOSPC, "No space left on device")
        save(value, path, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        assert main(["--recipe", recipe, "--output", str(out)]) == 75
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "stage 'detection', step 4: the checkpoint could not be written" in said and "No space left" in said
    assert (
        "MB are free there" in said and f"the last good checkpoint is {out / '1-detection' / 'checkpoint-2'}" in said
    )
    assert not (out / "1-detection" / WRITING).exists() and not (out / "1-detection" / "checkpoint-4").exists()
    assert main(["--recipe", recipe, "--output", str(out)]) == 0
    assert_equal(result(out), result(tmp_path / "whole"))


def test_a_loss_that_is_not_finite_ends_the_run_before_the_update(write_recipe, tmp_path, capsys, monkeypatch):
    recipe = recipe_with(write_recipe, stages=DETECTION, training__save_steps=1)
    compute, calls = AnatomyVLMTrainer.compute_loss, []

    def diverging(self, *args, **kwargs):
        loss = compute(self, *args, **kwargs)
        calls.append(1)
        if len(calls) == 4:
            self._parts["giou"] = self._parts["giou"] * float("nan")
            return loss * float("nan")
        return loss

    monkeypatch.setattr(AnatomyVLMTrainer, "compute_loss", diverging)
    out = tmp_path / "out"
    assert main(["--recipe", recipe, "--output", str(out)]) == 3
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "stage 'detection', step 4: the loss 'giou' is not finite for the images train-" in said
    last = out / "1-detection" / "checkpoint-3"
    assert f"the last good checkpoint is {last}" in said and last_complete_checkpoint(last.parent) == last
    assert all(torch.isfinite(tensor).all() for tensor in load_file(last / "model.safetensors").values())


def test_a_gradient_that_is_not_finite_ends_the_run_too(write_recipe, tmp_path, capsys, monkeypatch):
    recipe = recipe_with(write_recipe, stages=DETECTION)
    compute = AnatomyVLMTrainer.compute_loss

    def steep(self, model, inputs, *args, **kwargs):
        # The square root of zero is zero, its slope is not.
        return compute(self, model, inputs, *args, **kwargs) + (self.model.box_head.fc1.weight * 0).sum().sqrt()

    monkeypatch.setattr(AnatomyVLMTrainer, "compute_loss", steep)
    assert main(["--recipe", recipe, "--output", str(tmp_path / "out")]) == 3
    assert "step 1: the losses are finite, but their gradient is not finite" in capsys.readouterr().err


def item_that(monkeypatch, index: int, action) -> None:
    get = TrainingImages.__getitem__

    def wrapped(self, number):
        if number == index:
            action()
        return get(self, number)

    monkeypatch.setattr(TrainingImages, "__getitem__", wrapped)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_cannot_be_read_is_named(workers, write_recipe, tmp_path, capsys, monkeypatch):
    def fail():
        raise OSError("Expected to be able to read 73912 bytes")

    item_that(monkeypatch, 5, fail)
    recipe = recipe_with(write_recipe, stages=DETECTION, training__dataloader_num_workers=workers)
    assert main(["--recipe", recipe, "--output", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "training image 'train-5' cannot be read: OSError: Expected to be able to read 73912 bytes" in said
    assert "delete that and it is made again" in said


def test_a_killed_worker_is_explained(write_recipe, tmp_path, capsys, monkeypatch):
    item_that(monkeypatch, 5, lambda: os.kill(os.getpid(), signal.SIGKILL))
    recipe = recipe_with(write_recipe, stages=DETECTION, training__dataloader_num_workers=1)
    assert main(["--recipe", recipe, "--output", str(tmp_path / "out")]) == 75
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "DataLoader worker" in said and "lower training.dataloader_num_workers" in said


def test_a_device_without_memory_is_explained(write_recipe, tmp_path, capsys, at_step):
    def full():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore.")

    at_step(4, full)
    recipe = recipe_with(write_recipe, stages=DETECTION)
    assert main(["--recipe", recipe, "--output", str(tmp_path / "out")]) == 75
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "CUDA out of memory. Tried to allocate 2.00 GiB" in said and "checkpoint-2" in said
    assert "lower training.per_device_train_batch_size and raise training.gradient_accumulation_steps" in said


def test_signals_outside_of_a_training_stop_at_once():
    watch = StopWatch()
    with watch.installed():
        with pytest.raises(Interrupted) as stop:
            os.kill(os.getpid(), signal.SIGTERM)
        assert stop.value.exit_status == 143
        with watch.deferred():
            os.kill(os.getpid(), signal.SIGTERM)
            assert watch.pending == signal.SIGTERM
            with pytest.raises(Interrupted):
                os.kill(os.getpid(), signal.SIGTERM)


def test_a_bug_is_not_explained_away(tmp_path):
    with pytest.raises(RuntimeError, match="a bug"), explained("here", tmp_path, processes=2):
        raise RuntimeError("a bug")
    with pytest.raises(OSError, match="no such"), explained("here", tmp_path):
        raise OSError(errno.ENOENT, "no such file")


def test_a_film_that_cannot_be_decoded_is_named_in_the_setup(recipe_values, write_recipe, tmp_path, capsys):
    splits = datasets.load_from_disk(recipe_values["data"]["arguments"]["path"])
    raw = splits["train"].cast_column("image", datasets.Image(decode=False))
    cut = raw.map(
        lambda row, index: {"image": {**row["image"], "bytes": row["image"]["bytes"][: 40 if index == 5 else None]}},
        with_indices=True,
    )
    splits["train"] = cut.cast(splits["train"].features)
    splits.save_to_disk(tmp_path / "damaged")
    recipe = recipe_with(write_recipe, data__arguments={"path": str(tmp_path / "damaged")})
    assert main(["--recipe", recipe, "--output", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "image 'train-5' cannot be decoded" in said and "replace the file" in said
