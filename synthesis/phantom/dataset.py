"""Datasets of synthetic patients on disk: shards, a manifest, patient-disjoint splits."""

import json
import multiprocessing
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm

from anatomy_vlm.processing.atomic_files import write_json
from anatomy_vlm.synthesis.manifest import SynthesisError, check_request, split_counts, versions


if TYPE_CHECKING:
    import datasets


GENERATOR_VERSION = 3
PATIENTS_PER_SHARD = 16
PATIENT_STRIDE = 10_000_000
PACKAGES = ("anatomy-vlm", "numpy", "numba", "scipy", "pillow", "datasets")
DEFAULT_SPLITS = {"train": 0.8, "validation": 0.1, "test": 0.1}


@dataclass(frozen=True)
class Shard:
    """A run of patients of one split.

    Args:
        split: Name of the split.
        index: Number of the shard within the split.
        patients: Seeds of the patients.
        num_studies: Films per patient.
        image_size: Pixels per side.
        domain: Film look.
        label_noise: Chance of a misreading.
        reader_style: How reports are written.
    """

    split: str
    index: int
    patients: tuple[int, ...]
    num_studies: int
    image_size: int
    domain: str
    label_noise: float = 0.0
    reader_style: str = "narrative"

    @property
    def file_name(self) -> str:
        """Path below the dataset's folder."""
        return f"{self.split}/shard-{self.index:05d}.arrow"


def plan_shards(
    num_patients: int,
    *,
    seed: int,
    image_size: int,
    splits: Mapping[str, float],
    num_studies: int,
    domain: str | Mapping[str, str],
    label_noise: float = 0.0,
    reader_style: str = "narrative",
) -> list[Shard]:
    """Shards of a request; they depend on nothing else, so neither do the bytes."""
    shards, start = [], seed * PATIENT_STRIDE
    for split, count in split_counts(num_patients, splits).items():
        look = domain if isinstance(domain, str) else domain[split]
        for index, offset in enumerate(range(0, count, PATIENTS_PER_SHARD)):
            size = min(PATIENTS_PER_SHARD, count - offset)
            patients = tuple(range(start + offset, start + offset + size))
            shards.append(Shard(split, index, patients, num_studies, image_size, look, label_noise, reader_style))
        start += count
    return shards


def write_shard(shard: Shard, folder: str) -> int:
    """Draw a shard and write it (Arrow with its parameters beside, as JSON lines); the number of films."""
    from datasets.arrow_writer import ArrowWriter

    from anatomy_vlm.processing.schema import features

    from .patient import generate_study, to_example

    path = Path(folder) / shard.file_name
    path.parent.mkdir(parents=True, exist_ok=True)
    # A worker of a run that was killed may still be at this very shard.
    partial, notes = path.with_suffix(f".{os.getpid()}.part"), []
    schema = features()
    with ArrowWriter(features=schema, path=str(partial)) as writer:
        for patient in shard.patients:
            name = f"phantom-{patient:08d}"
            for number in range(shard.num_studies):
                study = generate_study(
                    patient,
                    number,
                    image_size=shard.image_size,
                    domain=shard.domain,
                    label_noise=shard.label_noise,
                    reader_style=shard.reader_style,
                )
                example = to_example(study, patient_id=name, study_id=f"{name}-{number:02d}", seed=patient)
                writer.write(schema.encode_example(example))
                notes.append(
                    json.dumps(
                        {"image_id": example["image_id"], "seed": patient, "parameters": study.parameters.to_dict()}
                    )
                )
        writer.finalize()
    path.with_suffix(".jsonl").write_text("\n".join(notes) + "\n", encoding="utf-8")
    os.replace(partial, path)
    return len(notes)


def generate_dataset(
    num_patients: int,
    *,
    seed: int = 0,
    image_size: int = 224,
    splits: Mapping[str, float] | None = None,
    num_studies: int = 1,
    domain: str | Mapping[str, str] = "mixed",
    label_noise: float = 0.0,
    reader_style: str = "narrative",
    out: str | Path | None = None,
    num_workers: int = 2,
    progress: bool = True,
) -> "datasets.DatasetDict":
    """Synthetic patients as a `DatasetDict` in the schema, splits disjoint by patient.

    With `out` the dataset is kept there: Arrow shards, each film's parameters as JSON lines and `manifest.json`. It is
    drawn in `<out>.partial` and renamed when complete; a run that was killed goes on with the shards that are missing.
    The same arguments give the same bytes whatever `num_workers` is.

    Args:
        num_patients: Patients over all splits.
        seed: Seed; patients of different seeds differ.
        image_size: Pixels per side.
        splits: Share of patients by split; 80/10/10 by default.
        num_studies: Films per patient.
        domain: Film look for all splits, or one by split, see `DOMAINS`.
        label_noise: Chance of missed and overcalled findings, see `generate_patient`; each film's parameters tell
            which.
        reader_style: How reports are written, see `generate_patient`.
        out: Folder to keep the dataset in; without it the dataset is held in memory.
        num_workers: Processes.
        progress: Show a progress bar.

    Raises:
        SynthesisError: For a request that cannot be met or that differs from what `out` holds.
    """
    from .domains import DOMAINS
    from .reader import check_reader

    splits = dict(splits or DEFAULT_SPLITS)
    looks = {split: domain if isinstance(domain, str) else domain.get(split, "") for split in splits}
    for split, look in looks.items():
        if look not in DOMAINS:
            raise SynthesisError(f"domain of split {split!r} is {look!r}; choose one of {', '.join(DOMAINS)}")
    if image_size < 32 or num_studies < 1 or num_patients < 1 or seed < 0:
        raise SynthesisError(
            "image_size must be at least 32, num_studies and num_patients at least 1, seed at least 0"
        )
    try:
        check_reader(label_noise, reader_style)
    except ValueError as error:
        raise SynthesisError(str(error)) from None
    shards = plan_shards(
        num_patients,
        seed=seed,
        image_size=image_size,
        splits=splits,
        num_studies=num_studies,
        domain=looks,
        label_noise=label_noise,
        reader_style=reader_style,
    )
    request = {
        "generator": "phantom", "generator_version": GENERATOR_VERSION, "num_patients": num_patients, "seed": seed,
        "image_size": image_size,
        "splits": splits, "num_studies": num_studies, "domain": looks, "label_noise": label_noise,
        "reader_style": reader_style, "patients_per_shard": PATIENTS_PER_SHARD,
    }  # fmt: skip
    if out is None:
        with tempfile.TemporaryDirectory(prefix="anatomy-vlm-") as folder:
            _draw(shards, Path(folder), num_workers, progress)
            return _load(shards, Path(folder), in_memory=True)
    target = Path(out)
    if (target / "manifest.json").exists():
        check_request(target / "manifest.json", request)
        return _load(shards, target, in_memory=False)
    if target.exists() and any(target.iterdir()):
        raise SynthesisError(f"{target} is not empty and holds no synthetic dataset; choose another folder")
    partial = target.with_name(target.name + ".partial")
    partial.mkdir(parents=True, exist_ok=True)
    note = partial / "request.json"
    if note.exists():
        check_request(note, request)
    else:
        write_json(note, {"request": request})
    _draw(shards, partial, num_workers, progress)
    for leftover in partial.rglob("*.part"):
        leftover.unlink(missing_ok=True)
    write_json(
        partial / "manifest.json",
        {"request": request, "versions": versions(PACKAGES), "shards": [asdict(shard) for shard in shards]},
    )
    note.unlink()
    if target.exists():
        target.rmdir()
    shutil.move(str(partial), str(target))
    return _load(shards, target, in_memory=False)


def _end_with(parent: int) -> None:
    """End this worker when its parent is gone: one that is killed cannot tell its workers, and they would wait on."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _draw(shards: list[Shard], folder: Path, num_workers: int, progress: bool) -> None:
    missing = [shard for shard in shards if not (folder / shard.file_name).exists()]
    films = sum(len(shard.patients) * shard.num_studies for shard in shards)
    done = films - sum(len(shard.patients) * shard.num_studies for shard in missing)
    with tqdm(total=films, initial=done, unit="film", desc="synthesis", disable=not progress) as bar:
        if num_workers <= 1 or len(missing) <= 1:
            for shard in missing:
                bar.update(write_shard(shard, str(folder)))
            return
        # Spawned, so that a parent with threads or a CUDA context cannot hang its children.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(
            min(num_workers, len(missing)), mp_context=context, initializer=_end_with, initargs=(os.getpid(),)
        ) as pool:
            for future in as_completed([pool.submit(write_shard, shard, str(folder)) for shard in missing]):
                bar.update(future.result())


def _load(shards: list[Shard], folder: Path, *, in_memory: bool) -> "datasets.DatasetDict":
    from datasets import Dataset, DatasetDict, concatenate_datasets

    parts: dict[str, list[Any]] = {}
    for shard in shards:
        parts.setdefault(shard.split, []).append(Dataset.from_file(str(folder / shard.file_name), in_memory=in_memory))
    return DatasetDict({split: concatenate_datasets(members) for split, members in parts.items()})
