"""Where a run stands: checkpoints that are whole or not there, and stages that are done."""

import json
import logging
import os
import shutil
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR


DONE_FILE = "stage.json"
MANIFEST = "complete.json"
# Below the folder of a stage: what is being written and what is being deleted. Leftovers of a killed run.
WRITING, DELETING = ".writing", ".deleting"
CHUNK = 1 << 22

logger = logging.getLogger(__name__)


def sync(path: Path) -> None:
    """Bring a file or folder to the disk, so that a loss of power after a rename does not empty it."""
    # Not every system opens folders, and not every file system can sync one.
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _checksum(path: Path) -> int:
    """CRC-32: it is damage that is looked for, not malice."""
    value = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            value = zlib.crc32(chunk, value)
    return value


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST)


def seal(folder: Path, about: dict[str, Any] | None = None) -> None:
    """
    Write the manifest of a checkpoint, with size and checksum of every file, and bring all of it to the disk.

    Args:
        folder: The checkpoint.
        about: Further entries, such as the number of processes that wrote it.
    """
    entries = {}
    for path in _files(folder):
        entries[path.relative_to(folder).as_posix()] = [path.stat().st_size, _checksum(path)]
        sync(path)
    text = json.dumps({**(about or {}), "files": entries}, indent=1)
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    sync(folder / MANIFEST)
    for inner in [path for path in folder.rglob("*") if path.is_dir()]:
        sync(inner)
    sync(folder)


def manifest(checkpoint: Path) -> dict[str, Any]:
    """What `seal` wrote; empty where there is nothing to read."""
    try:
        values = json.loads((checkpoint / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def damage(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint, in words, or None: every file must be as it was when it was written."""
    entries = manifest(checkpoint).get("files")
    if not isinstance(entries, dict):
        return f"{MANIFEST} is missing or cannot be read"
    if "trainer_state.json" not in entries:
        return "it holds no trainer_state.json"
    for name, (size, checksum) in entries.items():
        path = checkpoint / name
        try:
            if path.stat().st_size != size:
                return f"{name} has {path.stat().st_size} bytes instead of {size}"
            if _checksum(path) != checksum:
                return f"{name} has changed since it was written"
        except OSError as error:
            return f"{name} cannot be read ({error.strerror})"
    return None


def is_complete(checkpoint: Path) -> bool:
    """Can this checkpoint be trusted?"""
    return damage(checkpoint) is None


def checkpoint_steps(folder: Path) -> dict[int, Path]:
    """The checkpoints of a stage's folder by step, ascending, whatever state they are in."""
    steps = {}
    for path in Path(folder).glob(f"{PREFIX_CHECKPOINT_DIR}-*"):
        number = path.name.removeprefix(f"{PREFIX_CHECKPOINT_DIR}-")
        if number.isdigit():
            steps[int(number)] = path
    return dict(sorted(steps.items()))


def last_complete_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint of a stage's folder that can be trusted, or None; a damaged one is named and skipped."""
    for path in reversed(checkpoint_steps(folder).values()):
        reason = damage(path)
        if reason is None:
            return path
        logger.warning("%s: damaged checkpoint, not used: %s", path, reason)
    return None


def delete(path: Path) -> None:
    """Remove a folder: first out of sight, so that nobody meets it half deleted."""
    if path.exists():
        grave = path.parent / DELETING
        grave.mkdir(exist_ok=True)
        hidden = grave / f"{path.name}.{os.getpid()}"
        shutil.rmtree(hidden, ignore_errors=True)
        os.replace(path, hidden)
        shutil.rmtree(hidden, ignore_errors=True)
        with suppress(OSError):
            grave.rmdir()


def clear_leftovers(folder: Path) -> None:
    """Remove what a killed run left half written or half deleted in a stage's folder."""
    for name in (WRITING, DELETING):
        shutil.rmtree(folder / name, ignore_errors=True)


def publish(scratch: Path, target: Path) -> None:
    """Move a sealed checkpoint into its place; one of the same step that was there gives way to it."""
    delete(target)
    os.replace(scratch, target)
    sync(target.parent)


def rotate(folder: Path, keep: int | None) -> None:
    """
    Delete all checkpoints of a stage but the newest `keep` that can be trusted (never fewer than one); None or 0 keeps
    all. Sizes are compared only: a checksum of every file at every save would be read for nothing.
    """
    if not keep or keep < 1:
        return
    kept = 0
    for path in reversed(checkpoint_steps(folder).values()):
        if kept >= keep:
            delete(path)
        elif _sizes_match(path):
            kept += 1


def _sizes_match(checkpoint: Path) -> bool:
    entries = manifest(checkpoint).get("files") or {}
    try:
        return bool(entries) and all((checkpoint / n).stat().st_size == size for n, (size, _) in entries.items())
    except OSError:
        return False


def finished_stage(folder: Path) -> dict[str, Any] | None:
    """What a finished stage wrote about itself, or None."""
    try:
        return json.loads((Path(folder) / DONE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
