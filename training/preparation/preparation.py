"""Prepare a dataset: plan its shards, write those that are missing, and sum up."""

import csv
import importlib.metadata
import io
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from tqdm import tqdm

from anatomy_vlm.training.loaders import open_source
from anatomy_vlm.training.loaders.dataset_cards import announce
from anatomy_vlm.training.loaders.errors import DatasetError
from anatomy_vlm.training.loaders.prepared import MANIFEST
from anatomy_vlm.training.loaders.source import Source
from anatomy_vlm.training.preparation.counts import expected_and_found
from anatomy_vlm.training.preparation.executors import run_tasks
from anatomy_vlm.training.preparation.passport import make_passport
from anatomy_vlm.training.preparation.passport_text import passport_text
from anatomy_vlm.training.preparation.plan import ShardPlan, describe_request, plan_shards
from anatomy_vlm.training.preparation.shard import file_stat, write_beside, write_shard


REQUEST = "request.json"
PROBLEMS = "problems.csv"
PASSPORT = "passport.json"
PASSPORT_TEXT = "passport.md"
_LOCK = ".lock"
_VERSIONS = ("anatomy-vlm", "datasets", "numpy", "pillow", "pyarrow")


@dataclass(frozen=True)
class Preparation:
    """
    Args:
        folder: The prepared dataset; the loader `prepared` reads it.
        manifest: Its request, shards with hashes, counts and versions.
        passport: What was found in it.
        problems: Images that are not in it: `image_id`, `kind`, `reason`, `file`.
    """

    folder: Path
    manifest: dict[str, Any]
    passport: dict[str, Any]
    problems: list[dict[str, Any]]


def prepare(
    dataset: str,
    arguments: dict[str, Any],
    out: str | Path,
    *,
    image_size: int = 512,
    workers: int = 1,
    distributed: str | None = None,
    progress: bool = True,
) -> Preparation:
    """
    Decode and resize every film of a dataset once, into shards of `out`.

    A run that was killed goes on with the shards that are missing; the bytes are the same as without the interruption,
    whatever the number of processes. When it is run again after files that were missing or damaged have been replaced,
    their shards are made anew.

    Args:
        dataset: Name of a dataset's loader.
        arguments: Of the loader.
        out: Folder to write to.
        image_size: Pixels of the longer side; smaller films keep their size.
        workers: Processes.
        distributed: Address of a Dask scheduler, or "local", instead of processes of this machine.
        progress: Show a progress bar.

    Raises:
        DatasetError: the dataset cannot be read, or `out` holds another one.
    """
    if image_size < 32:
        raise DatasetError(f"image_size: {image_size} is below 32 pixels")
    source = open_source(dataset, arguments)
    announce(source.name)
    plans = plan_shards(source)
    request = describe_request(source, plans, image_size)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        _claim(folder, request)
        todo = [plan for plan in plans if not _is_done(folder, plan)]
        bare = source.without_entries()
        images = request["num_images"]
        with tqdm(total=images, unit="film", desc=f"prepare {dataset}", disable=not progress) as bar:
            bar.update(images - sum(len(plan.entries) for plan in todo))
            for note in run_tasks(
                write_shard, [(bare, plan, str(folder), image_size) for plan in todo], workers, distributed
            ):
                bar.update(note["rows"] + len(note["problems"]))
        return _finish(folder, plans, request, source)


def _finish(folder: Path, plans: list[ShardPlan], request: dict[str, Any], source: Source) -> Preparation:
    shards = [json.loads((folder / plan.note_file).read_text(encoding="utf-8")) for plan in plans]
    problems = [problem for shard in shards for problem in shard.pop("problems")]
    dirt = Counter(source.notes)
    for shard in shards:
        dirt.update(shard.pop("notes"))
    counts = Counter[str]()
    for shard in shards:
        counts[shard["split"]] += shard["rows"]
    manifest = {
        "request": request,
        "images": dict(sorted(counts.items())),
        "counts": expected_and_found(source, counts),
        "problems": dict(sorted(Counter(problem["kind"] for problem in problems).items())),
        "notes": dict(sorted(dirt.items())),
        "versions": {name: importlib.metadata.version(name) for name in _VERSIONS},
        "shards": shards,
    }
    if not sum(counts.values()):
        raise DatasetError(f"{request['dataset']}: no film could be read; the first: {problems[0]['reason']}")
    passport = make_passport(folder, manifest, problems)
    _write_problems(folder / PROBLEMS, problems)
    _write_json(folder / PASSPORT, passport)
    write_beside(folder / PASSPORT_TEXT, passport_text(passport).encode())
    _write_json(folder / MANIFEST, manifest)
    return Preparation(folder, manifest, passport, problems)


def _claim(folder: Path, request: dict[str, Any]) -> None:
    """Make the folder this request's. Raises `DatasetError` if it holds something else."""
    path = folder / REQUEST
    if path.is_file():
        held = json.loads(path.read_text(encoding="utf-8"))
        wrong = sorted(key for key in request if held.get(key) != request[key])
        if wrong:
            raise DatasetError(
                f"{folder}: holds another preparation, its {', '.join(wrong)} differ; choose another folder or delete "
                "this one"
            )
    elif any(child.name != _LOCK for child in folder.iterdir()):
        raise DatasetError(f"{folder}: is not empty and holds no preparation; choose another folder")
    else:
        _write_json(path, request)
    for partial in folder.glob("*/.*.part"):
        partial.unlink(missing_ok=True)


def _is_done(folder: Path, plan: ShardPlan) -> bool:
    """Whether a shard is complete and the files that it lacks are as they were."""
    try:
        note = json.loads((folder / plan.note_file).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return False
    data, audit = folder / plan.data_file, folder / plan.audit_file
    if note["rows"] and not (data.is_file() and data.stat().st_size == note["bytes"] and audit.is_file()):
        return False
    now = {entry.image_id: entry.path for entry in plan.entries}
    return all(
        now[problem["image_id"]] == problem["file"]
        and (file_stat(problem["file"]) or None) == (tuple(problem["stat"]) if problem["stat"] else None)
        for problem in note["problems"]
    )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep a second run out of the folder; the lock goes with the process."""
    lock = FileLock(folder / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise DatasetError(f"{folder}: another run is preparing this folder; wait for it") from None
    try:
        yield
    finally:
        lock.release()


def _write_json(path: Path, value: Any) -> None:
    write_beside(path, (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())


def _write_problems(path: Path, problems: list[dict[str, Any]]) -> None:
    stream = io.StringIO(newline="")
    names = ("image_id", "kind", "reason", "file")
    writer = csv.DictWriter(stream, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(problems)
    write_beside(path, stream.getvalue().encode())
