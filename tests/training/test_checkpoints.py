"""Only checkpoints that were written to their end are trusted."""

import torch
from safetensors.torch import save_file

from anatomy_vlm.processing.atomic_files import write_json
from anatomy_vlm.training.checkpoints import finished_stage, is_complete, last_complete_checkpoint


def checkpoint(folder, step: int):
    path = folder / f"checkpoint-{step}"
    path.mkdir()
    save_file({"weight": torch.zeros(2)}, path / "model.safetensors")
    for name in ("optimizer.pt", "scheduler.pt"):
        (path / name).write_bytes(b"x")
    write_json(path / "trainer_state.json", {"global_step": step})
    return path


def test_the_newest_complete_checkpoint_is_taken(tmp_path):
    assert last_complete_checkpoint(tmp_path) is None
    first, second = checkpoint(tmp_path, 9), checkpoint(tmp_path, 10)
    assert last_complete_checkpoint(tmp_path) == second
    (second / "trainer_state.json").unlink()
    assert last_complete_checkpoint(tmp_path) == first


def test_cut_files_are_not_complete(tmp_path):
    for step, name in enumerate(("model.safetensors", "trainer_state.json")):
        path = checkpoint(tmp_path, step)
        assert is_complete(path)
        data = (path / name).read_bytes()
        (path / name).write_bytes(data[: len(data) // 2])
        assert not is_complete(path)


def test_stage_record(tmp_path):
    assert finished_stage(tmp_path) is None
    write_json(tmp_path / "stage.json", {"name": "detection"})
    assert finished_stage(tmp_path) == {"name": "detection"}
