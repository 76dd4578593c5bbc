"""Training on prepared shards as they are."""

import json
import pickle
import sys
from pathlib import Path

import datasets
import pytest
import torch
from safetensors.torch import load_file

from anatomy_vlm.processing.schema import features
from anatomy_vlm.training.recipe import RecipeError, load_recipe
from anatomy_vlm.training.run import train
from anatomy_vlm.training.shared_batches import SharedBatches
from anatomy_vlm.training.streaming import ShardStream, mixed_order
from anatomy_vlm.training.trainer import AnatomyVLMTrainer


@pytest.fixture(scope="module")
def prepared_folder(saved_dataset, tmp_path_factory) -> str:
    """`saved_dataset` in shards of 8 films and row groups of 3, with a manifest."""
    folder = tmp_path_factory.mktemp("prepared")
    shards = []
    for split, rows in datasets.load_from_disk(saved_dataset).items():
        for start in range(0, len(rows), 8):
            file = folder / f"{split}-{start}.parquet"
            part = rows.select(range(start, min(start + 8, len(rows))))
            part.to_parquet(file, batch_size=3)
            shards.append({"split": split, "file": file.name, "rows": len(part), "bytes": file.stat().st_size})
    (folder / "manifest.json").write_text(json.dumps({"shards": shards, "request": {"mask": False}}))
    return str(folder)


@pytest.fixture
def stream(prepared_folder) -> ShardStream:
    return ShardStream(sorted(map(str, Path(prepared_folder).glob("train-*.parquet"))), features())


def test_every_row_once_and_from_a_few_groups_at_a_time():
    groups = [64] * 40 + [17]
    order = mixed_order(groups, torch.Generator().manual_seed(0), lanes=8)
    assert sorted(order) == list(range(sum(groups)))
    assert order != mixed_order(groups, torch.Generator().manual_seed(1), lanes=8)
    for start in range(0, len(order) // 2, 64):
        assert len({row // 64 for row in order[start : start + 64]}) <= 16


@pytest.mark.parametrize(("processes", "accumulation"), [(2, 1), (4, 2)])
def test_processes_read_different_groups(processes, accumulation):
    groups = [16] * 64
    order = mixed_order(groups, torch.Generator().manual_seed(0))
    read = []
    for rank in range(processes):
        batches = SharedBatches(
            lambda epoch: order, len(order), 4, accumulation=accumulation, rank=rank, num_processes=processes
        )
        read.append({row // 16 for batch in batches for row in batch})
    assert sum(map(len, read)) == len(groups)


def test_rows_and_columns_are_those_of_the_dataset(stream, saved_dataset):
    rows = datasets.load_from_disk(saved_dataset)["train"]
    assert len(stream) == len(rows) and len(stream.groups) == 6
    for index in (15, 0, 7, 8):
        example = stream[index]
        assert example["image_id"] == rows[index]["image_id"]
        assert example["image"].tobytes() == rows[index]["image"].tobytes()
        assert example["region_findings"] == rows[index]["region_findings"]
    assert stream["image_id"][:] == rows["image_id"][:]
    assert pickle.loads(pickle.dumps(stream))[3]["image_id"] == rows[3]["image_id"]
    with pytest.raises(IndexError, match="no example 16 of 16"):
        stream[16]


def recipe_of(write_recipe, prepared_folder, **changes):
    arguments = {"path": prepared_folder, "streaming": True}
    stages = [{"name": "fine", "losses": ["anatomy", "global", "fine"]}]
    return load_recipe(write_recipe(data__loader="prepared", data__arguments=arguments, stages=stages, **changes))


def weights(output: Path) -> dict[str, torch.Tensor]:
    return load_file(output / "1-fine" / "trained.safetensors")


def test_an_interrupted_stream_goes_on_where_it_stopped(write_recipe, prepared_folder, tmp_path, monkeypatch):
    recipe = recipe_of(write_recipe, prepared_folder, training__save_strategy="steps", training__save_steps=1)
    train(recipe, tmp_path / "whole")
    steps, seen = AnatomyVLMTrainer.training_step, []

    def step_until_the_seventh(self, model, inputs, *args, **kwargs):
        if len(seen) == 6:  # in the middle of the second epoch
            raise ZeroDivisionError
        seen.append(inputs["example"].tolist())
        return steps(self, model, inputs, *args, **kwargs)

    monkeypatch.setattr(AnatomyVLMTrainer, "training_step", step_until_the_seventh)
    with pytest.raises(ZeroDivisionError):
        train(recipe, tmp_path / "stopped")
    monkeypatch.setattr(AnatomyVLMTrainer, "training_step", steps)
    train(recipe, tmp_path / "stopped")
    assert sorted(i for batch in seen[:4] for i in batch) == list(range(16))
    expected, found = weights(tmp_path / "whole"), weights(tmp_path / "stopped")
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_a_patient_in_two_splits_of_a_stream_is_refused(write_recipe, prepared_folder, tmp_path):
    folder = tmp_path / "leaking"
    folder.mkdir()
    for file in Path(prepared_folder).iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["shards"].append({**manifest["shards"][0], "split": "test"})
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(RecipeError, match=r"patient 'train-\d+' is in the splits 'train' and 'test'"):
        train(recipe_of(write_recipe, str(folder)), tmp_path / "out")


@pytest.mark.slow
def test_two_processes_train_on_a_stream_as_one(write_recipe, prepared_folder, tmp_path):
    sys.path.insert(0, str(Path(__file__).parent))
    from test_run import largest_difference, run

    arguments = {"path": prepared_folder, "streaming": True}
    recipe = write_recipe(data__loader="prepared", data__arguments=arguments, training__dataloader_num_workers=1)
    run(recipe, tmp_path / "two", 2, "training.per_device_train_batch_size=4")
    run(recipe, tmp_path / "one", 1, "training.per_device_train_batch_size=8")
    for stage in ("1-detection", "2-global", "3-fine"):
        two, one = (load_file(tmp_path / name / stage / "trained.safetensors") for name in ("two", "one"))
        assert largest_difference(two, one) < 1e-5
