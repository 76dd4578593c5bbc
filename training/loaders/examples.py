"""A source as what `datasets` users know: a `DatasetDict`, or streams of examples."""

import hashlib
import logging
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import datasets

from anatomy_vlm.processing.schema import features
from anatomy_vlm.training.loaders.dataset_cards import announce
from anatomy_vlm.training.loaders.errors import DatasetError
from anatomy_vlm.training.loaders.record import Entry
from anatomy_vlm.training.loaders.saved import check_splits
from anatomy_vlm.training.loaders.source import Source, expected_place


logger = logging.getLogger(__name__)

ON_ERROR = ("raise", "skip")
# Entries that a stream opens, shuffles and hands to workers together.
_CHUNK = 64
_MANY_IMAGES = 20_000


def iterate(
    source: Source, chunks: Sequence[Sequence[Entry]], image_size: int | None, on_error: str
) -> Iterator[dict]:
    """The examples of entries; what cannot be read is an error, or left out with a warning."""
    notes = Counter[str]()
    for entry in (entry for chunk in chunks for entry in chunk):
        try:
            sample = source.sample(entry, image_size)
        except ValueError as error:
            if on_error == "raise":
                raise DatasetError(f"{error}; on_error: skip leaves such images out") from error
            logger.warning("left out: %s", error)
        else:
            notes.update(sample.notes)
            yield sample.example
    for note, count in sorted(notes.items()):
        logger.warning("%s: %d x %s", source.name, count, note)


def fingerprint(source: Source, entries: Sequence[Entry], options: object) -> str:
    """A hash of what the examples depend on; files count by their size and time of change."""
    digest = hashlib.sha256(repr((source.describe(), options)).encode())
    for entry in entries:
        stat = os.stat(entry.path) if os.path.isfile(entry.path) else None
        digest.update(repr((entry, stat and (stat.st_size, stat.st_mtime_ns))).encode())
    return digest.hexdigest()[:16]


def load_source(
    source: Source, *, streaming: bool = False, image_size: int | None = None, on_error: str = "raise"
) -> "datasets.DatasetDict | datasets.IterableDatasetDict":
    """
    The splits of a source in the example schema.

    Args:
        source: What to read.
        streaming: Read images when they are asked for, instead of once into the cache of `datasets`.
        image_size: Pixels of the longer side of the films; their own size by default.
        on_error: What to do with an image that cannot be read: "raise" or "skip".

    Raises:
        DatasetError: an image or annotation that cannot be used.
    """
    if on_error not in ON_ERROR:
        raise DatasetError(f"on_error: '{on_error}' is not one of {', '.join(ON_ERROR)}")
    if image_size is not None and image_size < 16:
        raise DatasetError(f"image_size: {image_size} is below 16 pixels")
    announce(source.name)
    _report_dirt(source)
    if not streaming and image_size is None and len(source.entries) > _MANY_IMAGES:
        logger.warning(
            "%s: %d films are decoded at full size into the cache; `anatomy-vlm prepare %s` keeps them at training "
            "size", source.name, len(source.entries), source.name,
        )  # fmt: skip
    schema, bare = features(mask=source.has_mask), source.without_entries()
    made: dict[str, datasets.Dataset | datasets.IterableDataset] = {}
    for name, entries in source.split_entries().items():
        chunks = [tuple(entries[i : i + _CHUNK]) for i in range(0, len(entries), _CHUNK)]
        arguments = {"source": bare, "chunks": chunks, "image_size": image_size, "on_error": on_error}
        if streaming:
            made[name] = datasets.IterableDataset.from_generator(iterate, features=schema, gen_kwargs=arguments)
        else:
            key = fingerprint(source, entries, (image_size, on_error))
            made[name] = _cached(schema, arguments, key)
    if streaming:
        return datasets.IterableDatasetDict(made)
    return check_splits(datasets.DatasetDict(made), source.name)


def _cached(schema: "datasets.Features", arguments: dict[str, Any], key: str) -> "datasets.Dataset":
    try:
        return datasets.Dataset.from_generator(iterate, features=schema, gen_kwargs=arguments, fingerprint=key)
    except datasets.exceptions.DatasetGenerationError as error:
        # `datasets` says only that something went wrong; what it was is the cause.
        if isinstance(error.__cause__, ValueError | OSError):
            raise error.__cause__ from None
        raise


def _report_dirt(source: Source) -> None:
    if source.missing:
        first = source.missing[0]
        print(
            f"{source.name}: {len(source.missing)} of {len(source.missing) + len(source.entries)} images are missing; "
            f"'{first.image_id}' was looked for {expected_place(first)}",
            file=sys.stderr,
        )
    for note, count in sorted(source.notes.items()):
        print(f"{source.name}: {count} x {note}", file=sys.stderr)
