"""One shard: films decoded and resized, in the schema, as Parquet; and what was found on the way."""

import hashlib
import json
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from anatomy_vlm.training.loaders.record import Entry
from anatomy_vlm.training.loaders.source import Source, expected_place
from anatomy_vlm.training.preparation.audit import audit_film
from anatomy_vlm.training.preparation.pixel_bytes import to_bytes
from anatomy_vlm.training.preparation.plan import ShardPlan


_ROW_GROUP = 64
_ZSTD_LEVEL = 3
AUDIT_SCHEMA = pa.schema(
    {
        "image_id": pa.string(),
        "patient_id": pa.string(),
        "study_id": pa.string(),
        "view": pa.string(),
        "hash": pa.binary(32),
        "thumbnail": pa.binary(1024),
        "level_low": pa.float32(),
        "level_middle": pa.float32(),
        "level_high": pa.float32(),
        "width": pa.int32(),
        "height": pa.int32(),
        "row_spacing": pa.float32(),
        "column_spacing": pa.float32(),
        "flags": pa.list_(pa.string()),
        "mark_left": pa.bool_(),
        "mark_right": pa.bool_(),
    }
)


@dataclass(frozen=True)
class Problem:
    """
    An image that is not in the shard.

    Args:
        image_id: Which.
        kind: "missing" or "unreadable".
        reason: What is wrong, in a line.
        file: Where it is, or should be.
        stat: Size and time of change of the file, None where there is none; when they change, it is read again.
    """

    image_id: str
    kind: str
    reason: str
    file: str
    stat: tuple[int, int] | None

    @classmethod
    def of(cls, entry: Entry, kind: str, reason: str) -> "Problem":
        return cls(entry.image_id, kind, " ".join(reason.split()), entry.path, file_stat(entry.path))


def file_stat(path: str) -> tuple[int, int] | None:
    """Size and time of change in nanoseconds."""
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns


def write_shard(source: Source, plan: ShardPlan, folder: str, image_size: int) -> dict[str, Any]:
    """
    Write a shard into a dataset's folder: `data/`, `audit/`, and last its note in `shards/`, which is returned.

    Files are written beside their place and then moved there, so that each is complete or not there.
    """
    columns: dict[str, list[Any]] = {}
    audits: list[dict[str, Any]] = []
    problems: list[Problem] = []
    notes: Counter[str] = Counter()
    for entry in plan.entries:
        if not os.path.exists(entry.path):
            problems.append(Problem.of(entry, "missing", f"looked for {expected_place(entry)}"))
            continue
        try:
            sample = source.sample(entry, image_size)
        except ValueError as error:
            problems.append(Problem.of(entry, "unreadable", str(error)))
            continue
        notes.update(sample.notes)
        audits.append(audit_film(sample))
        for name, value in sample.example.items():
            packed = {"bytes": to_bytes(value), "path": None} if name in ("image", "mask") else value
            columns.setdefault(name, []).append(packed)
    root = Path(folder)
    size, digest = 0, ""
    if audits:
        size, digest = _write_parquet(root / plan.data_file, _schema_table(columns, source.has_mask))
        _write_parquet(root / plan.audit_file, pa.Table.from_pylist(audits, schema=AUDIT_SCHEMA))
    note = {
        "split": plan.split,
        "file": plan.data_file,
        "audit": plan.audit_file,
        "rows": len(audits),
        "bytes": size,
        "sha256": digest,
        "problems": [vars(problem) for problem in problems],
        "notes": dict(sorted(notes.items())),
    }
    write_beside(root / plan.note_file, (json.dumps(note, indent=1, ensure_ascii=False) + "\n").encode())
    return note


def _schema_table(columns: dict[str, list[Any]], mask: bool) -> pa.Table:
    import datasets

    from anatomy_vlm.processing.schema import features

    return datasets.Dataset.from_dict(columns, features=features(mask=mask)).data.table


def _write_parquet(path: Path, table: pa.Table) -> tuple[int, str]:
    """Size and SHA-256 of the file."""
    sink = pa.BufferOutputStream()
    pq.write_table(
        table, sink, row_group_size=_ROW_GROUP, compression="zstd", compression_level=_ZSTD_LEVEL,
        use_dictionary=False, write_statistics=False,
    )  # fmt: skip
    data = sink.getvalue().to_pybytes()
    write_beside(path, data)
    return len(data), hashlib.sha256(data).hexdigest()


def write_beside(path: Path, data: bytes) -> None:
    """Write a file beside its place, then move it there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
