"""Which images go into which shard; depends on the request alone, so that the bytes do, too."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from anatomy_vlm.training.loaders.record import Entry
from anatomy_vlm.training.loaders.source import Source


FORMAT = 1
IMAGES_PER_SHARD = 256


@dataclass(frozen=True)
class ShardPlan:
    """
    Args:
        split: Name of the split.
        index: Number of the shard within the split.
        entries: Its images, in order; those that are missing too.
    """

    split: str
    index: int
    entries: tuple[Entry, ...]

    @property
    def name(self) -> str:
        return f"{self.split}-{self.index:05d}"

    @property
    def data_file(self) -> str:
        """The shard below the dataset's folder."""
        return f"data/{self.name}.parquet"

    @property
    def audit_file(self) -> str:
        """What was measured on its films."""
        return f"audit/{self.name}.parquet"

    @property
    def note_file(self) -> str:
        """Its hash and problems; written last, so that it says the shard is complete."""
        return f"shards/{self.name}.json"


def plan_shards(source: Source) -> list[ShardPlan]:
    """The shards of a source: images in order of their names, split by split."""
    by_split: dict[str, list[Entry]] = {}
    for entry in sorted((*source.entries, *source.missing), key=lambda entry: entry.image_id):
        by_split.setdefault(entry.split, []).append(entry)
    return [
        ShardPlan(split, index, tuple(entries[start : start + IMAGES_PER_SHARD]))
        for split, entries in sorted(by_split.items())
        for index, start in enumerate(range(0, len(entries), IMAGES_PER_SHARD))
    ]


def describe_request(source: Source, plans: list[ShardPlan], image_size: int) -> dict[str, Any]:
    """What the bytes of the shards depend on; two requests with the same description give the same bytes."""
    digest = hashlib.sha256()
    for part in _parts(source, plans):
        digest.update(part.encode())
    return {
        "format": FORMAT,
        "dataset": source.name,
        "image_size": image_size,
        "images_per_shard": IMAGES_PER_SHARD,
        "mask": source.has_mask,
        "num_images": sum(len(plan.entries) for plan in plans),
        "content": digest.hexdigest(),
    }


def _parts(source: Source, plans: list[ShardPlan]) -> Iterator[str]:
    yield source.describe()
    for plan in plans:
        for entry in plan.entries:
            yield repr((entry.image_id, entry.patient_id, entry.split, entry.row))
