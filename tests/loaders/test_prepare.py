"""Preparing: the same bytes whatever happens on the way, every problem listed, the passport, the result read back."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anatomy_vlm.commands.dataset_folder import read_splits
from anatomy_vlm.training.loaders import load_data, open_source
from anatomy_vlm.training.loaders.errors import DatasetError
from anatomy_vlm.training.loaders.layouts.films import film, save_film, write_table
from anatomy_vlm.training.preparation import plan as plan_module
from anatomy_vlm.training.preparation import prepare
from anatomy_vlm.training.preparation.counts import expected_and_found, expected_text
from anatomy_vlm.training.preparation.mirrored_films import asymmetry_scores
from anatomy_vlm.training.preparation.near_duplicates import near_duplicates
from anatomy_vlm.training.preparation.pixel_bytes import to_bytes, to_pixels


# Forks a run of `prepare` and kills it, five times, then lets it finish. In a process of its own, that has no threads
# before it forks. A kill waits until the run has finished another shard, and then a random while.
KILLS = """
import os, random, signal, sys, time
from pathlib import Path
from anatomy_vlm.training.preparation import plan, prepare
plan.IMAGES_PER_SHARD = 16
source, out = sys.argv[1], Path(sys.argv[2])
rng, kills = random.Random(0), 0
for turn in range(40):
    before = len(list(out.glob("shards/*.json")))
    child = os.fork()
    if child == 0:
        prepare("folder", {"path": source}, out, image_size=64, progress=False)
        os._exit(0)
    if kills < 5:
        while len(list(out.glob("shards/*.json"))) <= before:
            time.sleep(0.001)
        time.sleep(rng.random() * 0.04)
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    kills += os.WIFSIGNALED(status)
    if not os.WIFSIGNALED(status):
        sys.exit(0 if kills == 5 and os.WEXITSTATUS(status) == 0 else f"{kills} kills, status {status}")
"""


def write_films(folder: Path, count: int) -> None:
    for number in range(count):
        save_film(folder / f"{number:04d}.png", film([number], 96, 112))
    rows = [(f"{number:04d}.png", f"p{number // 2}", number % 2) for number in range(count)]
    write_table(folder / "metadata.csv", ("file_name", "patient_id", "pleural effusion"), rows)


def hashes(folder: Path) -> dict[str, str]:
    """The bytes of every file apart from the lock."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    write_films(folder, 200)
    return folder


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(plan_module, "IMAGES_PER_SHARD", 16)


def test_killed_five_times_gives_the_same_bytes(films, tmp_path, small_shards):
    prepare("folder", {"path": str(films)}, tmp_path / "undisturbed", image_size=64, progress=False)
    out = tmp_path / "killed"
    subprocess.run([sys.executable, "-c", KILLS, str(films), str(out)], check=True, timeout=300)
    assert hashes(out) == hashes(tmp_path / "undisturbed")


def test_processes_write_the_same_bytes(films, tmp_path):
    small = tmp_path / "films"
    write_films(small, 40)
    one = prepare("folder", {"path": str(small)}, tmp_path / "one", image_size=64, progress=False)
    two = prepare("folder", {"path": str(small)}, tmp_path / "two", image_size=64, workers=2, progress=False)
    assert hashes(one.folder) == hashes(two.folder)


def test_a_dask_cluster_writes_the_same_bytes(tmp_path):
    distributed = pytest.importorskip("distributed")
    write_films(tmp_path / "films", 24)
    arguments = {"path": str(tmp_path / "films")}
    one = prepare("folder", arguments, tmp_path / "one", image_size=64, progress=False)
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        address = cluster.scheduler_address
        two = prepare("folder", arguments, tmp_path / "two", image_size=64, distributed=address, progress=False)
    assert hashes(one.folder) == hashes(two.folder)


def test_corrupt_files_are_listed_and_the_others_are_there(films, tmp_path, small_shards):
    folder = tmp_path / "films"
    shutil.copytree(films, folder)
    rng = np.random.default_rng(0)
    broken = sorted(f"{number:04d}.png" for number in rng.choice(200, 8, replace=False))
    for number, name in enumerate(broken):
        data = (folder / name).read_bytes()
        kinds = (b"", data[: len(data) // 2], b"not an image", data[:100] + bytes(200) + data[300:])
        (folder / name).write_bytes(kinds[number % len(kinds)])
    result = prepare("folder", {"path": str(folder)}, tmp_path / "out", image_size=64, progress=False)
    assert sorted(problem["image_id"] for problem in result.problems) == broken
    assert {problem["kind"] for problem in result.problems} == {"unreadable"}
    assert all(name in (tmp_path / "out" / "problems.csv").read_text() for name in broken)
    kept = [
        name for split in load_data("prepared", {"path": str(tmp_path / "out")}).values() for name in split["image_id"]
    ]
    assert sorted([*kept, *broken]) == [f"{number:04d}.png" for number in range(200)]
    # Once the files are replaced, the same command makes their shards anew, as if nothing had happened.
    for name in broken:
        shutil.copy(films / name, folder / name)
    again = prepare("folder", {"path": str(folder)}, tmp_path / "out", image_size=64, progress=False)
    whole = prepare("folder", {"path": str(folder)}, tmp_path / "whole", image_size=64, progress=False)
    assert not again.problems and hashes(again.folder) == hashes(whole.folder)


def test_prepared_equals_the_loader(layout_name, layout, tmp_path):
    name, arguments = layout_name.partition("-")[0], layout(layout_name)
    result = prepare(name, arguments, tmp_path / "out", image_size=96, progress=False)
    kept = load_data("prepared", {"path": str(result.folder)})
    streams = load_data("prepared", {"path": str(result.folder), "streaming": True})
    direct = load_data(name, {**arguments, "image_size": 96})
    assert read_splits(result.folder, next(iter(kept))).keys() == kept.keys(), "evaluate takes such a folder"
    assert {split: len(rows) for split, rows in kept.items()} == {split: len(rows) for split, rows in direct.items()}
    for split, rows in direct.items():
        for row, prepared, streamed in zip(rows, kept[split], streams[split]):
            assert row.keys() == prepared.keys() == streamed.keys()
            for key in row:
                np.testing.assert_array_equal(np.asarray(prepared[key]), np.asarray(row[key]), err_msg=key)
                np.testing.assert_array_equal(np.asarray(streamed[key]), np.asarray(row[key]), err_msg=key)
    assert result.passport["leaks"] == {"patients": 0, "studies": 0, "examples": []}
    assert sum(row["images"] for row in result.passport["splits"].values()) == sum(map(len, kept.values()))


def test_missing_files_are_told_with_their_origin(layout, tmp_path):
    result = prepare("mimic_cxr", layout("mimic_cxr"), tmp_path / "out", image_size=64, progress=False)
    assert result.manifest["problems"] == {"missing": 1}
    assert "looked for at" in result.problems[0]["reason"]
    text = (result.folder / "passport.md").read_text()
    assert "Missing files come from: PhysioNet, projects mimic-cxr-jpg" in text and "368960" in text


def test_the_passport_counts(layout, tmp_path):
    result = prepare("nih_chestxray14", layout("nih_chestxray14"), tmp_path / "out", image_size=64, progress=False)
    splits = load_data("prepared", {"path": str(result.folder)})
    counts = result.passport["prevalence"]["pneumothorax"]["train"]
    names = splits["train"].features["labels"].length
    assert names == 76
    labels = np.array(splits["train"]["labels"])
    from anatomy_vlm.processing.vocabulary import FINDING_NAMES

    column = labels[:, FINDING_NAMES.index("pneumothorax")]
    assert counts == {"present": int((column == 1).sum()), "absent": int((column == 0).sum()), "unknown": 0}
    assert result.passport["views"]["train"] == {"PA": len(labels)}


def test_spacing_and_photometry_of_dicom(layout, tmp_path):
    result = prepare("vindr_cxr", layout("vindr_cxr"), tmp_path / "out", image_size=64, progress=False)
    spacing = result.passport["spacing"]
    assert spacing["films_with_spacing"] == 24 and spacing["row_mm"]["median"] == pytest.approx(0.4)
    # Half of the films are MONOCHROME1; shown right, none is doubted as inverted.
    assert "inverted" not in result.passport["photometry"]["doubts"]


def test_another_request_does_not_overwrite(films, tmp_path):
    small = tmp_path / "films"
    write_films(small, 24)
    arguments = {"path": str(small)}
    prepare("folder", arguments, tmp_path / "out", image_size=64, progress=False)
    before = hashes(tmp_path / "out")
    with pytest.raises(DatasetError, match=r"holds another preparation, its image_size differ"):
        prepare("folder", arguments, tmp_path / "out", image_size=48, progress=False)
    with pytest.raises(DatasetError, match="is not empty and holds no preparation"):
        prepare("folder", arguments, small, image_size=64, progress=False)
    assert hashes(tmp_path / "out") == before


def test_unfinished_is_not_read(tmp_path):
    with pytest.raises(DatasetError, match=r"manifest\.json: no such file"):
        load_data("prepared", {"path": str(tmp_path)})


def test_near_duplicates_across_splits_are_found(tmp_path):
    folder = tmp_path / "films"
    rng = np.random.default_rng(0)
    for number in range(40):
        pixels = (rng.random((12, 12)) * 200 + 20).astype(np.uint8)
        image = Image.fromarray(pixels).resize((128, 128), Image.Resampling.BICUBIC)
        (folder).mkdir(exist_ok=True)
        image.save(folder / f"{number}.png")
    copy = Image.open(folder / "3.png").resize((100, 100), Image.Resampling.BICUBIC)
    copy.save(folder / "40.jpg", quality=75)
    names = [f"{number}.png" for number in range(40)] + ["40.jpg"]
    rows = [(name, f"p{n}", "train" if n < 20 else "validation" if n < 30 else "test") for n, name in enumerate(names)]
    write_table(folder / "metadata.csv", ("file_name", "patient_id", "split"), rows)
    result = prepare("folder", {"path": str(folder)}, tmp_path / "out", image_size=96, progress=False)
    twins = result.passport["near_duplicates"]
    assert (twins["pairs"], twins["across_splits"]) == (1, 1)
    assert {twins["examples"][0]["first"], twins["examples"][0]["second"]} == {"3.png", "40.jpg"}


def test_near_duplicates_against_all_pairs():
    rng = np.random.default_rng(1)
    bits = rng.random((300, 256)) < 0.5
    for first, second, changes in ((3, 250, 10), (40, 41, 0), (99, 120, 14)):
        bits[second] = bits[first]
        bits[second, rng.choice(256, changes, replace=False)] ^= True
    packed = [np.packbits(row).tobytes() for row in bits]
    expected = [
        (i, j, int((bits[i] != bits[j]).sum()))
        for i in range(300)
        for j in range(i + 1, 300)
        if (bits[i] != bits[j]).sum() <= 24
    ]
    assert near_duplicates(packed) == expected and len(expected) == 3
    assert near_duplicates([]) == []


def test_mirrored_films_stand_out():
    films = np.stack([np.asarray(Image.fromarray(film([n], 64, 64)).resize((32, 32))) for n in range(40)])
    films[:4] = films[:4, :, ::-1]
    scores = asymmetry_scores(films)
    assert scores is not None
    assert set(np.argsort(scores)[:4].tolist()) == {0, 1, 2, 3} and (scores[:4] < 0).all()
    assert asymmetry_scores(films[:5]) is None


def test_pixel_bytes_round_trip_even_with_line_breaks_among_the_pixels():
    pixels = np.full((5, 7), 10, dtype=np.uint8)
    data = to_bytes(Image.fromarray(pixels))
    np.testing.assert_array_equal(to_pixels(data), pixels)
    with pytest.raises(ValueError, match="not a film"):
        to_pixels(b"P5\n5 5\n255\n12")


def test_a_source_describes_itself_the_same_in_every_process(layout):
    arguments = layout("chest_imagenome")
    first, second = (open_source("chest_imagenome", arguments).describe() for _ in range(2))
    assert first == second and " at 0x" not in first


def test_the_manifest_names_the_shards_and_their_hashes(films, tmp_path, small_shards):
    result = prepare("folder", {"path": str(films)}, tmp_path / "out", image_size=64, progress=False)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest == result.manifest
    for shard in manifest["shards"]:
        data = (tmp_path / "out" / shard["file"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == shard["sha256"] and len(data) == shard["bytes"]


def test_what_was_left_out_on_purpose_is_not_missing(source, layout):
    cxr = source("mimic_cxr")
    found = {name: len(rows) for name, rows in cxr.split_entries().items()}
    everything = source("mimic_cxr", frontal_only=False)
    all_of_them = {name: len(rows) for name, rows in everything.split_entries().items()}
    rows = {row["name"]: row for row in expected_and_found(cxr, found)}
    for name, row in rows.items():
        missing = [entry for entry in everything.missing if entry.split == name]
        left_out = all_of_them[name] + len(missing) - found[name] - len([e for e in cxr.missing if e.split == name])
        assert row["left_out"] == left_out > 0
        assert row["missing"] == row["expected"] - row["found"] - row["left_out"]


def test_drawn_splits_are_compared_by_their_total(source):
    drawn = source("nih_chestxray14", splits={"train": 0.5, "validation": 0.2, "test": 0.3})
    assert expected_and_found(drawn, {"train": 60_000, "validation": 22_120, "test": 30_000})[0] == {
        "name": "total", "expected": 112_120, "approximate": False, "found": 112_120, "left_out": 0, "missing": 0,
    }  # fmt: skip
    own = {row["name"]: row["missing"] for row in expected_and_found(source("nih_chestxray14"), {"train": 86_000})}
    assert own == {"train+validation": 524, "test": 25_596}
    # Kaggle has the training films only; they are split by chance.
    [kaggle] = [row for row in expected_and_found(source("vindr_cxr-kaggle"), {"train": 14_000}) if row["expected"]]
    assert (kaggle["name"], kaggle["missing"]) == ("total", 1_000)


def test_numbers_that_differ_between_versions_accuse_nobody(source):
    [row] = [row for row in expected_and_found(source("padchest"), {"train": 100}) if row["expected"]]
    assert row["missing"] == 0 and expected_text(row) == "about 160868"


def test_an_incomplete_shard_is_named(layout, tmp_path):
    arguments = layout("folder")
    result = prepare("folder", arguments, tmp_path / "out", image_size=64, progress=False)
    before = hashes(result.folder)
    shard = result.folder / result.manifest["shards"][0]["file"]
    shard.write_bytes(shard.read_bytes()[:-100])
    for streaming in (False, True):
        with pytest.raises(DatasetError, match=rf"{shard.name}: .*incomplete; run `anatomy-vlm prepare` again"):
            load_data("prepared", {"path": str(result.folder), "streaming": streaming})
    prepare("folder", arguments, tmp_path / "out", image_size=64, progress=False)
    assert hashes(result.folder) == before
