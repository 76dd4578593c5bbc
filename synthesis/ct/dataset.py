"""Datasets of CT projections on disk: many scans, one process each, whatever happens to some of them.

<out>/manifest.json                     request, seeds, versions, splits, problems; written once all was tried
<out>/dataset_dict.json, <out>/<split>/ what `datasets.load_from_disk` reads
<out>/cases/<case>.arrow, .json         the films of a scan, how each was taken; the .json once it is done
<out>/CT_projections_PA/<case>/         CheXanatomy's layout (`chexanatomy`), also under `CT_projections_LR`
"""

import hashlib
import json
import multiprocessing
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from anatomy_vlm.processing.atomic_files import write_json
from anatomy_vlm.synthesis.ct.chexanatomy import CHEXANATOMY_VIEWS, write_chexanatomy_film
from anatomy_vlm.synthesis.ct.example import film_example
from anatomy_vlm.synthesis.ct.film import CTFilm, study_films
from anatomy_vlm.synthesis.ct.study import read_study
from anatomy_vlm.synthesis.manifest import SynthesisError, check_request, split_counts, versions


GENERATOR_VERSION = 1
PACKAGES = ("anatomy-vlm", "numpy", "numba", "scipy", "pillow", "datasets", "nibabel", "pydicom")
VIEWS = ("PA", "AP", "LATERAL")
FORMATS = {"dataset": ("dataset",), "chexanatomy": ("chexanatomy",), "both": ("dataset", "chexanatomy")}
DEFAULT_SPLITS = {"train": 0.7, "validation": 0.1, "test": 0.2}


@dataclass(frozen=True)
class CTCase:
    """One scan to project.

    Args:
        name: Of the case; a plain folder name, no two alike.
        patient: Whose it is; the scans of a patient share a split.
        scan: NIfTI file or folder with one DICOM series.
        labels: Label maps or folders of masks (`read_study`).
    """

    name: str
    patient: str
    scan: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class CTDataset:
    """What `generate_ct_dataset` made.

    Attributes:
        films: Number of films by split.
        problems: Name of a case -> why it was skipped.
    """

    films: dict[str, int]
    problems: dict[str, str]


def generate_ct_dataset(
    cases: Sequence[CTCase],
    out: str | Path,
    *,
    scheme: str | None = None,
    views: Sequence[str] = ("PA", "LATERAL"),
    num_poses: int = 0,
    image_size: int = 512,
    seed: int = 0,
    domain: str = "default",
    splits: Mapping[str, float] | None = None,
    output_format: str = "dataset",
    num_workers: int = 2,
    progress: bool = True,
) -> CTDataset:
    """Projects scans and keeps their films in `out`; a scan that cannot be used is noted and skipped.

    A scan that is done is not done again, so a run that was killed goes on, and scans can be added; the same arguments
    give the same films whatever `num_workers` is. Splits are drawn over the patients that are there.

    Args:
        cases: The scans.
        out: Folder to write to.
        scheme: What the values of label maps mean (`label_names`); None takes the names in the files' headers.
        views: Of "PA", "AP" and "LATERAL".
        num_poses: Films per view in random poses and looks; 0 makes one in the standard pose and look.
        image_size: Pixels along a film's longer side.
        seed: Of poses, looks and splits.
        domain: Of the random looks (`RandomFilmLook`).
        splits: Share of the patients by split; 70/10/20 by default, or all for training where there are fewer than 3.
        output_format: "dataset", "chexanatomy" or "both".
        num_workers: Processes.
        progress: Show a progress bar.

    Raises:
        SynthesisError: For a request that cannot be met or that differs from what `out` holds.
    """
    if unknown := [view for view in views if view not in VIEWS]:
        raise SynthesisError(f"view {unknown[0]!r} is unknown; choose from {', '.join(VIEWS)}")
    if output_format not in FORMATS:
        raise SynthesisError(f"format {output_format!r} is unknown; choose from {', '.join(FORMATS)}")
    formats, views = FORMATS[output_format], tuple(dict.fromkeys(views))
    if "chexanatomy" in formats and not set(views) <= set(CHEXANATOMY_VIEWS):
        raise SynthesisError("CheXanatomy's layout has no folder for AP films; choose the views PA and LATERAL")
    if not views or image_size < 32 or num_poses < 0 or seed < 0:
        raise SynthesisError("views must not be empty, image_size at least 32, num_poses and seed at least 0")
    cases = sorted(cases, key=lambda case: case.name)
    if not cases or len({case.name for case in cases}) < len(cases):
        raise SynthesisError("cases must not be empty, and no two may have one name")
    if splits:
        split_counts(len({case.patient for case in cases}), splits)
    request = {
        "generator": "ct_projection", "generator_version": GENERATOR_VERSION, "scheme": scheme, "views": list(views),
        "num_poses": num_poses, "image_size": image_size, "seed": seed, "domain": domain, "formats": list(formats),
    }  # fmt: skip
    folder = Path(out)
    note = folder / "request.json"
    if note.exists():
        check_request(note, request)
    elif folder.exists() and any(folder.iterdir()):
        raise SynthesisError(f"{folder} is not empty and holds no CT projections; choose another folder")
    (folder / "cases").mkdir(parents=True, exist_ok=True)
    write_json(note, {"request": request})
    problems = _draw(cases, request, folder, num_workers, progress)
    records = [_record(folder, case.name) for case in cases if case.name not in problems]
    chosen = _assign(sorted({record["patient"] for record in records}), seed, splits)
    if "dataset" in formats and records:
        _write_splits(folder, request, records, chosen)
    films = dict.fromkeys(chosen.values(), 0)
    for record in records:
        films[chosen[record["patient"]]] += len(record["films"])
    keys = ("name", "patient", "scan", "labels", "seeds")
    listed = [{key: record[key] for key in keys} | {"split": chosen[record["patient"]]} for record in records]
    write_json(
        folder / "manifest.json",
        {"request": request, "versions": versions(PACKAGES), "cases": listed, "films": films, "problems": problems},
    )
    return CTDataset(films, problems)


def draw_case(case: CTCase, request: Mapping[str, Any], out: str) -> str:
    """Projects one scan and writes its films, its record last; returns why it cannot be used, "" if it can.

    A worker of `generate_ct_dataset`.
    """
    folder = Path(out)
    if not case.labels:
        return f"{case.scan}: no labels were found for this scan; name them (--labels)"
    seeds = [_seed(request["seed"], case.name, pose) for pose in range(request["num_poses"])]
    examples, records = [], []
    try:
        study = read_study(case.scan, case.labels, request["scheme"])
        for pose, seed in enumerate(seeds or [None]):
            suffix = "" if seed is None else f"_{pose:02d}"
            # A pose at a time: the projections of a film weigh more than the film.
            for film in study_films(
                study, request["views"], request["image_size"], seed=seed, domain=request["domain"]
            ):
                image_id = f"{case.name}_{film.geometry.view.lower()}{suffix}"
                if "chexanatomy" in request["formats"]:
                    write_chexanatomy_film(study, film, folder, case=case.name + suffix)
                if "dataset" in request["formats"]:
                    examples.append({**film_example(film, case.name, image_id), "patient_id": case.patient})
                records.append(_film_record(film, image_id, seed))
        if examples:
            _write_films(folder / "cases" / f"{case.name}.arrow", examples)
    except (ValueError, OSError) as error:
        return " ".join(str(error).split())
    write_json(folder / "cases" / f"{case.name}.json", {**asdict(case), "seeds": seeds, "films": records})
    return ""


def _seed(seed: int, case: str, pose: int) -> int:
    """Of a case's own, so that other cases do not change its films."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{case}/{pose}".encode()).digest()[:6], "big")


def _write_films(path: Path, examples: Iterable[Mapping[str, Any]]) -> None:
    from datasets.arrow_writer import ArrowWriter

    from anatomy_vlm.processing.schema import features

    schema, partial = features(), path.with_suffix(".arrow.part")
    with ArrowWriter(features=schema, path=str(partial)) as writer:
        for example in examples:
            writer.write(schema.encode_example(example))
        writer.finalize()
    os.replace(partial, path)


def _film_record(film: CTFilm, image_id: str, seed: int | None) -> dict[str, Any]:
    return {
        "image_id": image_id,
        "seed": seed,
        "geometry": asdict(film.geometry),
        "look": film.look.parameters(),
        "valid": film.valid,
        "regions": sorted(film.regions),
    }


def _record(folder: Path, case: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "cases" / f"{case}.json").read_text(encoding="utf-8"))
    return record


def _draw(
    cases: Sequence[CTCase], request: Mapping[str, Any], folder: Path, num_workers: int, progress: bool
) -> dict[str, str]:
    missing = [case for case in cases if not (folder / "cases" / f"{case.name}.json").exists()]
    problems = {}
    done = len(cases) - len(missing)
    with tqdm(total=len(cases), initial=done, unit="scan", desc="projection", disable=not progress) as bar:
        for case, problem in _outcomes(missing, request, folder, num_workers):
            bar.update()
            if problem:
                problems[case.name] = problem
    return dict(sorted(problems.items()))


def _outcomes(
    cases: Sequence[CTCase], request: Mapping[str, Any], folder: Path, num_workers: int
) -> Iterator[tuple[CTCase, str]]:
    if num_workers <= 1 or len(cases) <= 1:
        for case in cases:
            yield case, draw_case(case, request, str(folder))
        return
    # Spawned, so that a parent with threads or a CUDA context cannot hang its children.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(num_workers, len(cases)), mp_context=context) as pool:
        futures = {pool.submit(draw_case, case, request, str(folder)): case for case in cases}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _assign(patients: Sequence[str], seed: int, splits: Mapping[str, float] | None) -> dict[str, str]:
    """Patient -> split, in an order that the seed draws."""
    if not patients:
        return {}
    shares = dict(splits or DEFAULT_SPLITS)
    if len(patients) < len(shares):
        # Few were given, or many of them were broken.
        shares = {max(shares, key=lambda name: shares[name]): 1.0}
    drawn = sorted(patients, key=lambda patient: hashlib.sha256(f"{seed}/{patient}".encode()).digest())
    counts = split_counts(len(drawn), shares)
    names = [name for name, count in counts.items() for _ in range(count)]
    return dict(zip(drawn, names))


def _write_splits(
    folder: Path, request: Mapping[str, Any], records: Sequence[Mapping[str, Any]], chosen: Mapping[str, str]
) -> None:
    """The files by which `datasets.load_from_disk` finds the films; these stay where they are when splits change."""
    from datasets import Dataset

    names = sorted(set(chosen.values()))
    for split in names:
        files = [f"../cases/{record['name']}.arrow" for record in records if chosen[record["patient"]] == split]
        first = Dataset.from_file(str((folder / split / files[0]).resolve()))
        (folder / split).mkdir(exist_ok=True)
        first.info.write_to_directory(str(folder / split))
        fingerprint = hashlib.sha256(json.dumps([request, files], sort_keys=True).encode()).hexdigest()[:16]
        state: dict[str, Any] = {
            "_data_files": [{"filename": file} for file in files], "_fingerprint": fingerprint,
            "_format_columns": None, "_format_kwargs": {}, "_format_type": None, "_output_all_columns": False,
            "_split": split,
        }  # fmt: skip
        write_json(folder / split / "state.json", state)
    write_json(folder / "dataset_dict.json", {"splits": names})
