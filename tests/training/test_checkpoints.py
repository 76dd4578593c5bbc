"""Only checkpoints that are as they were written are trusted, and the last one of them is never deleted."""

import json

import pytest
import torch
from safetensors.torch import save_file

from anatomy_vlm.processing.atomic_files import write_json
from anatomy_vlm.training.checkpoints import (
    WRITING,
    checkpoint_steps,
    clear_leftovers,
    damage,
    finished_stage,
    is_complete,
    last_complete_checkpoint,
    publish,
    rotate,
    seal,
)


def checkpoint(folder, step: int):
    scratch = folder / WRITING / f"checkpoint-{step}"
    scratch.mkdir(parents=True)
    save_file({"weight": torch.full((2,), float(step))}, scratch / "model.safetensors")
    (scratch / "optimizer.pt").write_bytes(b"moments")
    write_json(scratch / "trainer_state.json", {"global_step": step})
    seal(scratch, {"processes": 1})
    publish(scratch, folder / scratch.name)
    return folder / scratch.name


def test_the_newest_good_checkpoint_is_taken_and_a_damaged_one_is_named(tmp_path, caplog):
    assert last_complete_checkpoint(tmp_path) is None
    first, second = checkpoint(tmp_path, 9), checkpoint(tmp_path, 10)
    assert last_complete_checkpoint(tmp_path) == second
    (second / "trainer_state.json").unlink()
    assert last_complete_checkpoint(tmp_path) == first
    assert f"{second}: damaged checkpoint, not used: trainer_state.json cannot be read" in caplog.text


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "trainer_state.json", "complete.json"])
def test_cut_and_changed_files_are_not_trusted(tmp_path, name):
    path = checkpoint(tmp_path, 1)
    assert is_complete(path)
    data = (path / name).read_bytes()
    (path / name).write_bytes(data[: len(data) // 2])
    assert not is_complete(path)
    if name != "complete.json":
        (path / name).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        assert damage(path) == f"{name} has changed since it was written"
    (path / name).write_bytes(data)
    assert is_complete(path)


def test_what_is_still_being_written_is_no_checkpoint(tmp_path):
    scratch = tmp_path / WRITING / "checkpoint-3"
    scratch.mkdir(parents=True)
    write_json(scratch / "trainer_state.json", {})
    assert checkpoint_steps(tmp_path) == {}
    clear_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_rotation_counts_good_checkpoints_only(tmp_path):
    paths = [checkpoint(tmp_path, step) for step in (8, 9, 10, 11)]
    (paths[3] / "optimizer.pt").write_bytes(b"")
    rotate(tmp_path, 2)
    assert list(checkpoint_steps(tmp_path)) == [9, 10, 11]
    rotate(tmp_path, 1)
    assert list(checkpoint_steps(tmp_path)) == [10, 11]
    assert last_complete_checkpoint(tmp_path) == paths[2]
    rotate(tmp_path, None)
    assert len(checkpoint_steps(tmp_path)) == 2
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != WRITING) == [
        "checkpoint-10",
        "checkpoint-11",
    ]


def test_a_checkpoint_takes_the_place_of_a_damaged_one_of_its_step(tmp_path):
    path = checkpoint(tmp_path, 4)
    (path / "optimizer.pt").write_bytes(b"")
    assert checkpoint(tmp_path, 4) == path
    assert is_complete(path) and json.loads((path / "complete.json").read_text())["processes"] == 1


def test_stage_record(tmp_path):
    assert finished_stage(tmp_path) is None
    write_json(tmp_path / "stage.json", {"name": "detection"})
    assert finished_stage(tmp_path) == {"name": "detection"}
