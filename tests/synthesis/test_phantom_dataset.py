"""Datasets of synthetic patients: splits, workers, resuming, clear errors."""

import hashlib
import json

import numpy as np
import pytest


pytest.importorskip("numba", reason="the parametric chest needs the extra `synthesis`")

from anatomy_vlm.synthesis.phantom import PhantomParameters, SynthesisError, draw_study, generate_dataset
from anatomy_vlm.synthesis.phantom import dataset as module
from anatomy_vlm.synthesis.phantom.dataset import split_counts
from anatomy_vlm.training.loaders import load_data


REQUEST = {"seed": 4, "image_size": 64, "num_studies": 2, "progress": False}
SPLITS = {"train": 0.6, "validation": 0.2, "test": 0.2}


def hashes(folder):
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantom") / "data"
    return folder, generate_dataset(20, splits=SPLITS, out=folder, num_workers=1, **REQUEST)


def test_what_synthesize_writes_is_a_dataset_for_every_command(written):
    folder, data = written
    loaded = load_data("saved", {"path": str(folder)})
    assert {name: split["image_id"] for name, split in loaded.items()} == {
        name: split["image_id"] for name, split in data.items()
    }


def test_splits_are_disjoint_by_patient(written):
    _, data = written
    patients = [set(part["patient_id"]) for part in data.values()]
    assert [len(p) for p in patients] == [12, 4, 4]
    assert len(set.union(*patients)) == 20
    assert all(len(part) == 2 * len(p) for part, p in zip(data.values(), patients, strict=True))


def test_bytes_do_not_depend_on_the_workers(written, tmp_path, monkeypatch):
    folder, _ = written
    generate_dataset(20, splits=SPLITS, out=tmp_path / "again", num_workers=2, **REQUEST)
    assert hashes(tmp_path / "again") == hashes(folder)


def test_a_killed_run_goes_on_with_what_is_missing(written, tmp_path, monkeypatch):
    folder, _ = written
    target = tmp_path / "killed"
    drawn = []
    write = module.write_shard

    def stop_after_one(shard, path):
        if drawn:
            raise KeyboardInterrupt
        drawn.append(shard)
        return write(shard, path)

    monkeypatch.setattr(module, "write_shard", stop_after_one)
    with pytest.raises(KeyboardInterrupt):
        generate_dataset(20, splits=SPLITS, out=target, num_workers=1, **REQUEST)
    assert not target.exists()
    again = []
    monkeypatch.setattr(module, "write_shard", lambda shard, path: again.append(shard) or write(shard, path))
    generate_dataset(20, splits=SPLITS, out=target, num_workers=1, **REQUEST)
    assert drawn[0] not in again and len(again) == 2
    assert hashes(target) == hashes(folder)


def test_the_notes_redraw_every_film(written):
    folder, data = written
    line = (folder / "test" / "shard-00000.jsonl").read_text().splitlines()[0]
    note = json.loads(line)
    film = draw_study(PhantomParameters.from_dict(note["parameters"])).film
    row = data["test"][0]
    assert row["image_id"] == note["image_id"]
    assert np.array_equal(np.asarray(row["image"]), film)


def test_an_existing_dataset_is_read_not_drawn(written, monkeypatch):
    folder, data = written
    monkeypatch.setattr(module, "write_shard", lambda *_: pytest.fail("drew a shard"))
    again = generate_dataset(20, splits=SPLITS, out=folder, num_workers=1, **REQUEST)
    assert again["train"][3]["report"] == data["train"][3]["report"]
    with pytest.raises(SynthesisError, match="another seed"):
        generate_dataset(20, splits=SPLITS, out=folder, num_workers=1, **{**REQUEST, "seed": 5})


def test_bad_requests_are_named(tmp_path):
    with pytest.raises(SynthesisError, match="sum to 1"):
        split_counts(10, {"train": 0.5, "test": 0.4})
    with pytest.raises(SynthesisError, match="more patients"):
        split_counts(2, SPLITS)
    with pytest.raises(SynthesisError, match="domain of split 'train' is 'mri'"):
        generate_dataset(4, domain="mri")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(SynthesisError, match="not empty"):
        generate_dataset(4, out=tmp_path, splits={"train": 1.0})


def test_without_a_folder_the_dataset_is_in_memory():
    data = generate_dataset(2, splits={"train": 1.0}, num_workers=1, image_size=64, progress=False)
    assert len(data["train"]) == 2
    assert data["train"][0]["image"].size == (64, 64)
